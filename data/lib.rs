//! Raw material: class banks read from HDF5, one-hot banks, evaluation files.

mod bank;
mod constant;
mod embedded;
mod evaluation_file;
mod hdf5_contents;
mod hdf5_file;
mod hdf5_formats;
mod hdf5_library;
mod hdf5_whole;
pub mod reference;
mod toy_vectors;

pub use bank::{load_bank, read_bank};
pub use embedded::embedded_bank;
pub use evaluation_file::{EvaluationSet, evaluation_names, read_evaluation, write_evaluation};
pub use toy_vectors::read_toy_vectors;
