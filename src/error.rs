//! One error for the whole library: what was wrong, where, and what to do about it.

use std::path::{Path, PathBuf};

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Its message is written for the person who started the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The experiment file or the command line asks for something that is not there or not possible; nothing has been written.
    #[error("{0}")]
    Invalid(String),
    /// A file that was named in the experiment or on the command line does not hold what it should; nothing has been written.
    #[error("{}: {message}", path.display())]
    Input {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A file could not be read or written: the disk or the file system failed.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of a run is there but does not hold what it should.
    #[error("{}: {message}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Another process writes to this run folder.
    #[error("{}: in use by another process (it holds the lock); stop that one, or choose another --out", .0.display())]
    InUse(PathBuf),
    /// Something that cannot be: a fault of this program, not of whoever started it.
    #[error("{0}")]
    Internal(String),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// Arrow refused.
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    /// Parquet refused.
    #[error(transparent)]
    Parquet(#[from] parquet::errors::ParquetError),
}

/// Whose an error is to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// What was asked for: the command line, the experiment file, or a file that one of them names.
    Request,
    /// The disk or the file system, or what became of a file on it.
    Disk,
    /// This program.
    Program,
}

impl Error {
    /// Whose it is to mend. What a library says of a file that failed is the disk's.
    pub fn cause(&self) -> Cause {
        match self {
            Error::Invalid(_) | Error::Input { .. } | Error::InUse(_) => Cause::Request,
            Error::File { .. } | Error::Damaged { .. } => Cause::Disk,
            _ if io_error(self).is_some() => Cause::Disk,
            _ => Cause::Program,
        }
    }

    /// For `map_err` on file operations.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::File { path: path.to_owned(), source }
    }

    /// For `map_err` where a file is read that the experiment or the command line names: that it is not there, or not to be read, is whoever named it
    /// to mend ([`Error::Input`]); anything else is a failure of the disk ([`Error::File`]).
    pub fn input_file(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        use std::io::ErrorKind::*;
        move |source| match source.kind() {
            NotFound | NotADirectory | IsADirectory | PermissionDenied | InvalidData | InvalidFilename => {
                Error::input(path, source.to_string())
            }
            _ => Error::File { path: path.to_owned(), source },
        }
    }

    /// A file that the experiment or the command line names, and that does not hold what it should.
    pub fn input(path: &Path, message: impl Into<String>) -> Error {
        Error::Input { path: path.to_owned(), message: message.into() }
    }

    /// A file of a run that does not hold what it should.
    pub fn damaged(path: &Path, message: impl Into<String>) -> Error {
        Error::Damaged { path: path.to_owned(), message: message.into() }
    }
}

/// The error of a file that is behind another one.
fn io_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::error::ArrowError;
    use parquet::errors::ParquetError;
    use std::io;

    /// The code of a full disk.
    const FULL: i32 = 28;

    #[test]
    fn a_full_disk_is_found_behind_what_a_library_says() {
        let full = || io::Error::from_raw_os_error(FULL);
        for error in [
            Error::from(ArrowError::from(full())),
            Error::from(ParquetError::from(full())),
            Error::from(ParquetError::External(Box::new(ArrowError::from(full())))),
            Error::file(Path::new("train.parquet"))(full()),
        ] {
            assert_eq!(error.cause(), Cause::Disk, "{error}");
        }
        assert_eq!(Error::from(ArrowError::ComputeError("one and one is three".into())).cause(), Cause::Program);
        assert_eq!(Error::InUse("run=a".into()).cause(), Cause::Request);
    }
}
