//! Toy models: a few vectors whose products learn, and in which what happens in a transformer can be seen without one.
//!
//! - The **tensor product** (Singh et al. 2024, "What needs to go right for an induction head?", section 5): a⊗b⊗c is to become what it should be. Each
//!   vector learns only as far as the others are right already, so the loss waits on a plateau and then falls, as when several subcircuits
//!   must come together.
//! - **Coopetition** (Singh et al. 2025, "Strategy coopetition explains the emergence and transience of in-context learning"): two mechanisms,
//!   a⊗b⊗c and d⊗b⊗c, share b and c; one of them is enough, and both at once cost something.
//!
//! All are trained by plain gradient descent, a step a count of `sequences`. Starting vectors in, trajectory out: nothing else is drawn by chance.

mod check;
mod components;
mod experiment;
mod start;
mod toy_model;

pub use check::BYTES_A_DIMENSION;
pub use components::{Clamp, Descent, Measures, ToyStart};
pub use experiment::{Dimensions, ToyEvaluationSpec, ToyExperiment, ToyIntervention, ToyKind, ToySeeds, ToySpec};
pub use start::{drawn_vectors, given_vectors};
pub use toy_model::{Measure, Slopes, ToyModel, Vector};
