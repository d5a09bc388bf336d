//! The experiment file: what a researcher writes, as types. Reading, checking and sweeping are in the files beside this one.
//!
//! Every table refuses keys that it does not know. Counts are in sequences unless a name says otherwise.

pub(crate) mod check;
mod derived;
mod full_names;
mod hook;
mod identity;
mod intervention;
mod read;
mod scale;
mod schedule;
mod selection;
mod sizes;
mod source;
mod spec;
mod sweep;
mod tree;
mod wording;

pub use check::{Fault, beyond_outputs, check, check_bank};
pub use hook::*;
pub use identity::FlatValue;
pub(crate) use identity::{canonical, json, name_of, number, text, word};
pub use intervention::*;
#[cfg(test)]
pub(crate) use read::expand_layers;
pub use read::{Changes, Described, has_table, load, load_as, load_with, parse};
pub use schedule::Schedule;
pub use selection::{Entries, Role, Selection, TokenSelection};
pub use sizes::{evaluator_bytes, feature_bytes, model_fits};
pub(crate) use sizes::{fits, logarithmic_fits};
pub use spec::*;
pub use wording::nearest;
