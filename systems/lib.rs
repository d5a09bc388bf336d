//! Verbs: what happens at each step, one file and one plugin a step.

pub mod backward;
pub mod evaluate;
pub mod forward;
pub mod sample;
pub mod spawn;
pub mod stage;
pub mod update;
