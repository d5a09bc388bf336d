//! Verbs: what happens at each step, one file and one plugin a step
