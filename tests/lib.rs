//! Proof: end to end, as a user would notice
