//! The published code's own files: `config.json`, and checkpoints in equinox's format. (Its evaluation files are HDF5, read as ours are.)

mod config;
mod eqx;
mod interventions;
mod npy;
mod options;

pub use config::read_config;
pub use eqx::{PublishedCheckpoint, read_eqx};
pub use interventions::{Graft, Opto, interventions};
