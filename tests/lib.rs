//! Proof: what the end-to-end tests share.

pub mod files;
pub mod program;
pub mod reference;
pub mod small;
pub mod synthetic;
