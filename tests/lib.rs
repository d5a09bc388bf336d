//! Proof: what the end-to-end tests share.

pub mod reference;
