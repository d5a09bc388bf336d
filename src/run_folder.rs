//! A run's folder `OUT/run=<id>/`, and that only one process writes to it.

use crate::lock_file::LockFile;
use crate::{Error, Result, durable, say};
use bevy_ecs::component::Component;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Once;

/// The file that stands in for flock where the file system has none.
const EXCLUSIVE: &str = "lock.exclusive";

/// A run folder, locked while this lives.
#[derive(Component, Debug)]
pub struct RunFolder {
    path: PathBuf,
    run_id: String,
    _lock: File,
    _exclusive: Option<LockFile>,
}

impl RunFolder {
    /// Where the folder of a run lies below `out`.
    pub fn place(out: &Path, run_id: &str) -> PathBuf {
        out.join(format!("run={run_id}"))
    }

    /// Opens the folder of a run below `out`, and makes it where it is not there.
    ///
    /// # Errors
    /// It cannot be written; another process writes to it; a run is in it already, and `resume` is not asked for.
    pub fn open(out: &Path, run_id: &str, resume: bool) -> Result<Self> {
        let path = Self::place(out, run_id);
        fs::create_dir_all(&path).map_err(|error| match error.kind() {
            // What --out names is, or lies below, a file.
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => Error::input(&path, error.to_string()),
            _ => Error::file(&path)(error),
        })?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(Error::file(&lock_path))?;
        let locked = match lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(path)),
            Err(TryLockError::Error(error)) if is_unknown(&error) => {
                warn_once(&path, &error);
                false
            }
            Err(TryLockError::Error(source)) => return Err(Error::File { path: lock_path, source }),
        };
        // Where it is there, a machine that knows no flock may be at work.
        let exclusive = if locked && !path.join(EXCLUSIVE).exists() { None } else { Some(LockFile::take(&path, EXCLUSIVE)?) };
        let folder = Self { path, run_id: run_id.into(), _lock: lock, _exclusive: exclusive };
        if !resume {
            refuse_existing(out, run_id)?;
        }
        for place in [folder.path.clone(), folder.checkpoints(), folder.recovery(), folder.journals()] {
            durable::remove_temporaries(&place)?;
        }
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's name.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The Parquet file of a table.
    pub fn table(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.parquet"))
    }

    /// The folder of the tables' journals.
    pub fn journals(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// The folder of the checkpoints that are kept.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The folder of the recovery points.
    pub fn recovery(&self) -> PathBuf {
        self.path.join("recovery")
    }
}

/// That no run of this name lies below `out`.
///
/// # Errors
/// One does.
pub fn refuse_existing(out: &Path, run_id: &str) -> Result<()> {
    let path = RunFolder::place(out, run_id);
    match path.join("run.parquet").exists() {
        true => Err(Error::Invalid(format!("{}: a run is there already; go on with --resume, or choose another --out", path.display()))),
        false => Ok(()),
    }
}

/// Whether a file system does not know flock: Lustre without its option, NFS without a lock daemon, and some others.
fn is_unknown(error: &io::Error) -> bool {
    use nix::errno::Errno::{ENOLCK, ENOSYS, EOPNOTSUPP};
    // ENOTSUP is another number on some systems; its kind is that of all of them.
    error.kind() == ErrorKind::Unsupported || [ENOLCK, ENOSYS, EOPNOTSUPP].iter().any(|code| error.raw_os_error() == Some(*code as i32))
}

/// Many runs are opened in one place.
fn warn_once(path: &Path, error: &io::Error) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        let instead = "so a file lock.exclusive in each run folder keeps other processes out";
        say::note(format!("warning: {}: files cannot be locked there ({error}), {instead}", path.display()));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writers_never_share_a_folder() {
        let out = tempfile::tempdir().unwrap();
        let first = RunFolder::open(out.path(), "a", false).unwrap();
        let error = RunFolder::open(out.path(), "a", true).unwrap_err();
        assert!(matches!(error, Error::InUse(_)));
        assert!(
            error.to_string().ends_with("run=a: in use by another process (it holds the lock); stop that one, or choose another --out")
        );
        RunFolder::open(out.path(), "b", false).unwrap();
        drop(first);
        RunFolder::open(out.path(), "a", true).unwrap();
    }

    #[test]
    fn a_run_is_not_overwritten() {
        let out = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(out.path(), "a", false).unwrap();
        fs::write(folder.table("run"), "").unwrap();
        drop(folder);
        let message = RunFolder::open(out.path(), "a", false).unwrap_err().to_string();
        assert!(message.ends_with("run=a: a run is there already; go on with --resume, or choose another --out"), "{message}");
    }

    #[test]
    fn an_unwritable_place_is_named() {
        let out = tempfile::tempdir().unwrap();
        let file = out.path().join("file");
        fs::write(&file, "").unwrap();
        let message = RunFolder::open(&file, "a", false).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}/run=a: ", file.display())), "{message}");
    }
}
