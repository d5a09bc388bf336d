//! The experiment file: what a researcher writes, as types. Reading, checking and sweeping are in the files beside this one.
//!
//! Every table refuses keys that it does not know. Counts are in sequences unless a name says otherwise.

mod spec;

pub use spec::*;
