//! A lock file that stands in for flock, where the file system has none: it is made exclusively, and says which process holds the lock.

use crate::{Error, Result, durable};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The lock of a folder; the file goes when this is dropped. After a crash it is left behind, and the next process of the same machine takes it over.
#[derive(Debug)]
pub(crate) struct LockFile(PathBuf);

/// A process, told apart from a later one of the same number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Holder {
    /// The machine.
    host: String,
    /// The process' number there.
    process: u32,
    /// When it began, in the kernel's words: which boot, and how many ticks after it.
    began: String,
}

impl LockFile {
    /// Locks `folder` by a file of this name in it.
    ///
    /// # Errors
    /// [`Error::InUse`] if a process of this machine holds the lock; [`Error::Invalid`] if one of another machine does, of which nobody here can tell
    /// whether it is still there: the message says which file to remove if it is not.
    pub fn take(folder: &Path, name: &str) -> Result<Self> {
        let (path, own) = (folder.join(name), Holder::this());
        if !write_new(&path, &own)? {
            take_over(folder, &path, &own)?;
        }
        Ok(Self(path))
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Takes over from a process that is no more.
fn take_over(folder: &Path, path: &Path, own: &Holder) -> Result<()> {
    let in_use = |by: &str, file: &Path| {
        let message = "stop that one, or choose another --out; if it is surely gone, remove";
        Error::Invalid(format!("{}: in use by {by}; {message} {}", folder.display(), file.display()))
    };
    let before = Holder::read(path)?.ok_or_else(|| in_use("another process", path))?;
    if before.host != own.host {
        return Err(in_use(&format!("process {} on {}", before.process, before.host), path));
    }
    if before.is_there() {
        return Err(Error::InUse(folder.to_owned()));
    }
    // Of several that find it gone one takes over.
    let guard = path.with_extension("taken-over");
    if !write_new(&guard, own)? {
        return Err(in_use("another process, which is about to take it over", &guard));
    }
    let took = match Holder::read(path) {
        Ok(Some(holder)) if holder == before => write(path, own),
        Ok(_) => Err(Error::InUse(folder.to_owned())),
        Err(error) => Err(error),
    };
    fs::remove_file(&guard).map_err(Error::file(&guard))?;
    took?;
    crate::say::note(format!(
        "warning: {}: process {} was stopped before it could give it back; taken over",
        path.display(),
        before.process
    ));
    Ok(())
}

/// Writes who holds a lock into a file that was not there; false where it was.
fn write_new(path: &Path, holder: &Holder) -> Result<bool> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => {
            file.write_all(&holder.text()?).and_then(|()| file.sync_all()).map_err(Error::file(path))?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::file(path)(error)),
    }
}

/// Writes it into one that was.
fn write(path: &Path, holder: &Holder) -> Result<()> {
    let text = holder.text()?;
    durable::write_file(path, |file| file.write_all(&text).map_err(Error::file(path)))
}

impl Holder {
    /// This process.
    fn this() -> Self {
        let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let process = std::process::id();
        Self { host, process, began: began(process).unwrap_or_default() }
    }

    /// Who holds a lock; nobody who could be named where the file is only just being written, or was cut off.
    fn read(path: &Path) -> Result<Option<Self>> {
        match fs::read(path) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            // Given back a moment ago.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file(path)(error)),
        }
    }

    fn text(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| Error::Internal(error.to_string()))
    }

    /// Whether this process of this machine is still there.
    fn is_there(&self) -> bool {
        if Path::new("/proc/self/stat").exists() {
            return began(self.process).is_some_and(|began| began == self.began);
        }
        let sent = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.process as i32), None);
        sent != Err(nix::errno::Errno::ESRCH)
    }
}

/// When a process began; nothing where there is none of this number, or only what its parent has not asked for yet.
fn began(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything. What follows it: the state first, and twenty fields on when it began (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (state, ticks) = (fields.first()?, fields.get(19)?);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    (!["Z", "X"].contains(state)).then(|| format!("{} {ticks}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "lock.exclusive";

    #[test]
    fn one_holds_it_and_gives_it_back() {
        let home = tempfile::tempdir().unwrap();
        let first = LockFile::take(home.path(), NAME).unwrap();
        let holder = Holder::read(&home.path().join(NAME)).unwrap().unwrap();
        assert_eq!((holder.process, holder.is_there()), (std::process::id(), true));
        assert!(matches!(LockFile::take(home.path(), NAME), Err(Error::InUse(path)) if path == home.path()));
        drop(first);
        assert!(durable::entries(home.path()).unwrap().is_empty());
        LockFile::take(home.path(), NAME).unwrap();
    }

    #[test]
    fn that_of_a_process_that_is_gone_is_taken_over() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(NAME);
        // Of our number, but of another time.
        let gone = Holder { began: "an earlier boot 1".into(), ..Holder::this() };
        write_new(&path, &gone).unwrap();
        let lock = LockFile::take(home.path(), NAME).unwrap();
        assert_eq!(Holder::read(&path).unwrap(), Some(Holder::this()));
        assert_eq!(durable::entries(home.path()).unwrap(), [path]);
        drop(lock);
        assert!(durable::entries(home.path()).unwrap().is_empty());
    }

    #[test]
    fn of_several_that_find_it_gone_one_takes_over() {
        let home = tempfile::tempdir().unwrap();
        write_new(&home.path().join(NAME), &Holder { began: "an earlier boot 1".into(), ..Holder::this() }).unwrap();
        let locks: Vec<_> = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..8).map(|_| scope.spawn(|| LockFile::take(home.path(), NAME))).collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).collect()
        });
        assert_eq!(locks.iter().filter(|lock| lock.is_ok()).count(), 1, "{locks:?}");
    }

    #[test]
    fn that_of_another_machine_is_left_alone_and_named() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(NAME);
        write_new(&path, &Holder { host: "elsewhere".into(), process: 7, began: String::new() }).unwrap();
        let refused = || LockFile::take(home.path(), NAME).unwrap_err().to_string().replace(&home.path().display().to_string(), "run=a");
        let what = "stop that one, or choose another --out; if it is surely gone, remove run=a/lock.exclusive";
        assert_eq!(refused(), format!("run=a: in use by process 7 on elsewhere; {what}"));
        fs::write(&path, "").unwrap();
        assert_eq!(refused(), format!("run=a: in use by another process; {what}"));
        assert!(path.exists());
    }
}
