//! Sentences: the program optogen, and the experiment files of the papers.

pub mod branch;
pub mod cli;
pub mod device;
pub mod evaluators;
pub mod import;
pub mod outcome;
pub mod picture;
pub mod replay;
pub mod run;
mod signals;
pub mod sites;
pub mod table;
