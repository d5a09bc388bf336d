//! Nouns: the components, the transformer, the experiment file, logs and checkpoints of optogen.

pub mod bank;
pub mod batch;
pub mod checkpoint;
pub mod checksum;
pub mod clamp;
pub mod components;
pub mod content;
pub mod durable;
mod error;
pub mod experiment;
pub mod foreign;
pub mod fused;
pub mod gate;
pub mod gpu;
pub mod gradients;
pub mod heads;
mod lock_file;
pub mod log;
pub mod look;
pub mod memory;
pub mod metrics;
pub mod numbers;
pub mod ops;
pub mod optimiser;
pub mod run_folder;
pub mod sampler;
pub mod say;
pub mod seeds;
pub mod site;
pub mod steps;
pub mod toy;
pub mod transformer;
pub mod weights;

pub use error::{Cause, Error, Result};
