//! Files and folders that are complete or absent: a temporary name, fsync, rename, fsync of the folder above.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// How temporary names begin; what a killed writer left under such a name is nobody's.
pub(crate) const TEMPORARY: &str = ".writing-";

/// Writes a file: afterwards it is there as a whole, or, after an error or a crash, as it was before.
pub fn write_file(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> Result<()>) -> Result<()> {
    let folder = folder_of(path);
    let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder).map_err(Error::file(path))?;
    let mut buffer = BufWriter::new(temporary.as_file());
    write(&mut buffer)?;
    buffer.flush().map_err(Error::file(path))?;
    drop(buffer);
    set_permissions(temporary.as_file(), 0o644).map_err(Error::file(path))?;
    temporary.as_file().sync_all().map_err(Error::file(path))?;
    temporary.persist(path).map_err(|error| Error::File { path: path.to_owned(), source: error.error })?;
    sync_folder(folder)
}

/// Writes a folder: `fill` puts files into it under a temporary name. A folder of that name is replaced.
pub fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let above = folder_of(path);
    fs::create_dir_all(above).map_err(Error::file(above))?;
    let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(above).map_err(Error::file(path))?;
    fill(temporary.path())?;
    set_permissions(&File::open(temporary.path()).map_err(Error::file(path))?, 0o755).map_err(Error::file(path))?;
    sync_folder(temporary.path())?;
    if path.exists() {
        fs::remove_dir_all(path).map_err(Error::file(path))?;
    }
    fs::rename(temporary.keep(), path).map_err(Error::file(path))?;
    sync_folder(above)
}

/// Removes what killed writers left in a folder.
pub fn remove_temporaries(folder: &Path) -> Result<()> {
    for path in entries(folder)? {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY)) {
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

/// Temporary files are the owner's alone; logs are for everybody.
fn set_permissions(file: &File, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(mode))
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
