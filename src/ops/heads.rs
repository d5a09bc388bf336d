//! The heads of a layer, and their rotary positions.

/// How the heads of a layer attend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// How many, H.
    pub count: usize,
    /// Time scale of rotary positions (Su et al. 2021), where there are.
    pub rotary: Option<f64>,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
}

/// Angles of the rotary positions, token by token, pair by pair.
pub(crate) fn angles(tokens: usize, width: usize, time: f64) -> impl Iterator<Item = f64> {
    (0..tokens).flat_map(move |t| (0..width / 2).map(move |i| t as f64 / time.powf(2.0 * i as f64 / width as f64)))
}
