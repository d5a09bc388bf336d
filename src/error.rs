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
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is there but does not hold what it should.
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

impl Error {
    /// For `map_err` on file operations.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::File { path: path.to_owned(), source }
    }

    /// A file that does not hold what it should.
    pub fn damaged(path: &Path, message: impl Into<String>) -> Error {
        Error::Damaged { path: path.to_owned(), message: message.into() }
    }
}
