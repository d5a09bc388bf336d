//! Nouns: the components, the transformer, the experiment file, logs and checkpoints of optogen.

pub mod bank;
mod error;
pub mod experiment;
pub mod sampler;
pub mod seeds;

pub use error::{Error, Result};
