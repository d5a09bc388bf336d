//! Nouns: the components, the transformer, the experiment file, logs and checkpoints of optogen.

mod error;
pub mod experiment;

pub use error::{Error, Result};
