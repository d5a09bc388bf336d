//! A run's folder `OUT/run=<id>/`, and that only one process writes to it.

use crate::{Error, Result, durable};
use bevy_ecs::component::Component;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// A run folder, locked while this lives.
#[derive(Component, Debug)]
pub struct RunFolder {
    path: PathBuf,
    run_id: String,
    _lock: File,
}

impl RunFolder {
    /// Opens the folder of a run below `out`, and makes it where it is not there.
    ///
    /// # Errors
    /// It cannot be written; another process writes to it; a run is in it already, and `resume` is not asked for.
    pub fn open(out: &Path, run_id: &str, resume: bool) -> Result<Self> {
        let path = out.join(format!("run={run_id}"));
        fs::create_dir_all(&path).map_err(Error::file(&path))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(Error::file(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(path)),
            Err(TryLockError::Error(source)) => return Err(Error::File { path: lock_path, source }),
        }
        let folder = Self { path, run_id: run_id.into(), _lock: lock };
        if !resume && folder.table("run").exists() {
            let message = format!("{}: a run is there already; go on with --resume, or choose another --out", folder.path.display());
            return Err(Error::Invalid(message));
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
