//! Sentences: the program optogen and the experiment files of the papers

pub mod picture;
pub mod table;
