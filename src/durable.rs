//! Files and folders that are complete or absent: a temporary name, fsync, rename, fsync of the folder above.
//!
//! Who may read and write them is for the umask to say, and for the folder above (its setgid bit): nothing here changes that afterwards.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempDir};

/// How temporary names begin; what a killed writer left under such a name is nobody's.
pub(crate) const TEMPORARY: &str = ".writing-";

/// How a folder's name begins while another takes its place, where the file system cannot exchange the two in one step.
const REPLACED: &str = ".replaced-";

/// A file under a temporary name, for whomever the umask lets.
pub fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(TEMPORARY).permissions(fs::Permissions::from_mode(0o666)).tempfile_in(folder)
}

/// A folder under a temporary name, likewise.
fn temporary_folder(above: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(TEMPORARY).permissions(fs::Permissions::from_mode(0o777)).tempdir_in(above)
}

/// Writes a file: afterwards it is there as a whole, or, after an error or a crash, as it was before.
pub fn write_file(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> Result<()>) -> Result<()> {
    let folder = folder_of(path);
    let temporary = temporary_file(folder).map_err(Error::file(path))?;
    let mut buffer = BufWriter::new(temporary.as_file());
    write(&mut buffer)?;
    buffer.flush().map_err(Error::file(path))?;
    drop(buffer);
    temporary.as_file().sync_all().map_err(Error::file(path))?;
    temporary.persist(path).map_err(|error| Error::File { path: path.to_owned(), source: error.error })?;
    sync_folder(folder)
}

/// Writes a folder: `fill` puts files into it under a temporary name. A folder of that name is replaced, and there at every moment, the old or the
/// new one.
pub fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let above = folder_of(path);
    fs::create_dir_all(above).map_err(Error::file(above))?;
    let temporary = temporary_folder(above).map_err(Error::file(path))?;
    fill(temporary.path())?;
    sync_folder(temporary.path())?;
    if !path.exists() {
        fs::rename(temporary.keep(), path).map_err(Error::file(path))?;
        return sync_folder(above);
    }
    if exchange(temporary.path(), path).is_ok() {
        sync_folder(above)?;
        // Now the old one has the temporary name.
        return temporary.close().map_err(Error::file(path));
    }
    replace(&temporary.keep(), path)
}

/// Has two files or folders change names, in one step.
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    return Ok(nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, one, nix::fcntl::AT_FDCWD, other, nix::fcntl::RenameFlags::RENAME_EXCHANGE)?);
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    Err(io::Error::new(io::ErrorKind::Unsupported, format!("{} and {} cannot change names", one.display(), other.display())))
}

/// Puts a folder in the place of another in two steps. After a kill between them, [`remove_temporaries`] gives the old one its name back.
fn replace(new: &Path, path: &Path) -> Result<()> {
    let old = path.with_file_name(format!("{REPLACED}{}", path.file_name().unwrap_or_default().display()));
    if old.exists() {
        fs::remove_dir_all(&old).map_err(Error::file(&old))?;
    }
    fs::rename(path, &old).map_err(Error::file(path))?;
    if let Err(error) = fs::rename(new, path) {
        fs::rename(&old, path).map_err(Error::file(path))?;
        return Err(Error::file(path)(error));
    }
    sync_folder(folder_of(path))?;
    fs::remove_dir_all(&old).map_err(Error::file(&old))
}

/// Removes what killed writers left in a folder, and gives a folder that was being replaced its name back.
pub fn remove_temporaries(folder: &Path) -> Result<()> {
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let replaced = name.strip_prefix(REPLACED).map(|name| folder.join(name));
        if let Some(before) = replaced.as_ref().filter(|before| !before.exists()) {
            fs::rename(&path, before).map_err(Error::file(&path))?;
        } else if replaced.is_some() || name.starts_with(TEMPORARY) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::file(&path))?;
        }
    }
    Ok(())
}

/// What lies in a folder, sorted by name; nothing where there is no folder.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).map_err(Error::file(folder))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>().map_err(Error::file(folder))?;
    paths.sort();
    Ok(paths)
}

/// Moves a damaged file or folder aside, into `damaged/` of `home`, and returns a sentence that names it.
pub fn set_aside(path: &Path, home: &Path, why: &Error) -> Result<String> {
    let folder = home.join("damaged");
    fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let free = |number: &usize| !folder.join(format!("{name}.{number}")).exists();
    let to = folder.join(format!("{name}.{}", (0..).find(free).unwrap_or_default()));
    fs::rename(path, &to).map_err(Error::file(path))?;
    Ok(format!("{why}; it was set aside as {}", to.display()))
}

/// Makes renames in a folder last.
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::file(folder))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_could_not_be_written_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_file(&path, |file| file.write_all(b"first").map_err(Error::file(&path))).unwrap();
        let failed = write_file(&path, |file| {
            file.write_all(b"second, half").map_err(Error::file(&path))?;
            Err(Error::Invalid("power cut".into()))
        });
        assert_eq!(failed.unwrap_err().to_string(), "power cut");
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(entries(folder.path()).unwrap(), [path]);
    }

    #[test]
    fn a_folder_is_replaced_as_a_whole() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("folder");
        let put = |name: &'static str| move |folder: &Path| fs::write(folder.join(name), name).map_err(Error::file(folder));
        write_folder(&path, put("a")).unwrap();
        write_folder(&path, put("b")).unwrap();
        assert_eq!(entries(&path).unwrap(), [path.join("b")]);
        assert_eq!(entries(home.path()).unwrap(), [path]);
    }

    /// Folders `folder` and `new`, with a file `a` and a file `b`.
    fn old_and_new(home: &Path) -> (PathBuf, PathBuf) {
        let folders = [("folder", "a"), ("new", "b")].map(|(name, file)| {
            let folder = home.join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(file), file).unwrap();
            folder
        });
        folders.into()
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn two_folders_change_names_in_one_step() {
        let home = tempfile::tempdir().unwrap();
        let (path, new) = old_and_new(home.path());
        exchange(&new, &path).unwrap();
        assert_eq!((entries(&path).unwrap(), entries(&new).unwrap()), (vec![path.join("b")], vec![new.join("a")]));
        exchange(&new, &home.path().join("none")).unwrap_err();
    }

    #[test]
    fn a_folder_is_replaced_in_two_steps_too() {
        let home = tempfile::tempdir().unwrap();
        let (path, new) = old_and_new(home.path());
        // What an earlier kill left is in nobody's way.
        fs::create_dir(home.path().join(".replaced-folder")).unwrap();
        replace(&new, &path).unwrap();
        assert_eq!((entries(home.path()).unwrap(), entries(&path).unwrap()), (vec![path.clone()], vec![path.join("b")]));
        // Where the second step fails, the first is taken back.
        let message = replace(&home.path().join("none"), &path).unwrap_err().to_string();
        assert_eq!(message, format!("{}: No such file or directory (os error 2)", path.display()));
        assert_eq!((entries(home.path()).unwrap(), entries(&path).unwrap()), (vec![path.clone()], vec![path.join("b")]));
    }

    #[test]
    fn a_kill_between_the_two_steps_loses_neither() {
        let home = tempfile::tempdir().unwrap();
        let (path, new) = old_and_new(home.path());
        let (replaced, writing) = (home.path().join(".replaced-folder"), home.path().join(".writing-folder"));
        fs::rename(&new, &writing).unwrap();
        // After the first: the old one is there again.
        fs::rename(&path, &replaced).unwrap();
        remove_temporaries(home.path()).unwrap();
        assert_eq!((entries(home.path()).unwrap(), entries(&path).unwrap()), (vec![path.clone()], vec![path.join("a")]));
        // After the second: the new one stays.
        fs::create_dir(&replaced).unwrap();
        remove_temporaries(home.path()).unwrap();
        assert_eq!((entries(home.path()).unwrap(), entries(&path).unwrap()), (vec![path.clone()], vec![path.join("a")]));
    }

    #[test]
    fn leftovers_go_and_the_damaged_are_kept() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(".writing-x"), "half").unwrap();
        fs::create_dir(home.path().join(".writing-folder")).unwrap();
        remove_temporaries(home.path()).unwrap();
        assert!(entries(home.path()).unwrap().is_empty());
        for number in 0..2 {
            let path = home.path().join("table");
            fs::write(&path, "garbage").unwrap();
            let sentence = set_aside(&path, home.path(), &Error::damaged(&path, "not a table")).unwrap();
            assert!(sentence.ends_with(&format!(
                "table: not a table; it was set aside as {}",
                home.path().join(format!("damaged/table.{number}")).display()
            )));
        }
    }
}
