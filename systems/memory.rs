//! What cohorts will take, told before they are formed.

use optogen::experiment::OptimiserName;
use optogen::transformer::Architecture;

/// An estimate of a cohort's memory on its device, in bytes: what stays there, and what the values of one micro-batch take until their gradients are known.
#[derive(Clone, Debug, PartialEq)]
pub struct CohortMemory {
    /// How many such cohorts there are.
    pub cohorts: usize,
    /// Models in one.
    pub members: usize,
    /// Their architecture, in words.
    pub shape: String,
    /// Parameters.
    pub parameters: usize,
    /// Their gradients.
    pub gradients: usize,
    /// The optimiser's moments.
    pub optimiser: usize,
    /// Values between the layers, and features.
    pub activations: usize,
    /// The class bank, which all cohorts share.
    pub bank: usize,
}

/// Sequences that go through a cohort together, and how long they are.
#[derive(Clone, Copy)]
pub struct Load {
    /// Of each member, in one micro-batch.
    pub sequences: usize,
    /// Exemplars in each, the query among them.
    pub pairs: usize,
}

impl CohortMemory {
    /// Of `members` models.
    pub fn of(architecture: &Architecture, members: usize, optimiser: OptimiserName, load: Load, bank: usize) -> Self {
        let parameters: usize = architecture.parameters().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        let moments = if optimiser == OptimiserName::Sgd { 0 } else { 2 };
        let bytes = |numbers: usize| 4 * members * numbers;
        let shape = match architecture.hidden {
            None => format!("{} layers of width {}, {} heads", architecture.layers, architecture.width, architecture.heads),
            Some(hidden) => {
                format!("{} layers of width {}, {} heads, an MLP of {hidden}", architecture.layers, architecture.width, architecture.heads)
            }
        };
        Self {
            cohorts: 1,
            members,
            shape,
            parameters: bytes(parameters),
            gradients: bytes(parameters),
            optimiser: bytes(moments * parameters),
            activations: bytes(values(architecture, load)),
            bank,
        }
    }

    /// Bytes of one cohort, the bank left out.
    pub fn total(&self) -> usize {
        self.parameters + self.gradients + self.optimiser + self.activations
    }

    /// A line.
    pub fn told(&self) -> String {
        let megabytes = |bytes: usize| format!("{:.1}", bytes as f64 / 1e6);
        let models = if self.members == 1 { "one model".into() } else { format!("{} models", self.members) };
        let (who, each) = match self.cohorts {
            1 => (format!("cohort of {models}"), ""),
            count => (format!("{count} cohorts of {models}"), "each "),
        };
        format!(
            "{who} ({}): {each}about {} MB: parameters {}, gradients {}, optimiser {}, activations {}; and the class bank {}",
            self.shape,
            megabytes(self.total()),
            megabytes(self.parameters),
            megabytes(self.gradients),
            megabytes(self.optimiser),
            megabytes(self.activations),
            megabytes(self.bank)
        )
    }
}

/// Numbers that one member's forward pass leaves for its backward pass.
fn values(architecture: &Architecture, load: Load) -> usize {
    let Architecture { layers, width, heads, hidden, features, outputs, .. } = *architecture;
    let (tokens, items) = (2 * load.pairs - 1, load.sequences * load.pairs);
    let stream = load.sequences * tokens * width;
    let pattern = load.sequences * heads * tokens * tokens;
    // The norm, queries, keys and values, what the heads read, and the stream after it; with an MLP the norm, both sides of GELU, and the stream.
    let attention = 6 * stream + pattern;
    let mlp = hidden.map_or(0, |hidden| 2 * stream + 2 * load.sequences * tokens * hidden);
    items * (features + width) + stream + layers * (attention + mlp) + stream + 2 * load.sequences * outputs
}

/// Bytes that the values of one model's forward pass take, until they are given back together.
pub fn forward_bytes(architecture: &Architecture, load: Load) -> u64 {
    4 * values(architecture, load) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use optogen::experiment::Positions;

    /// By hand: 2 layers of width 4, 2 heads, 3 features, 5 classes; 2 sequences of 2 pairs, so 3 tokens.
    #[test]
    fn a_small_cohort_is_told_to_the_byte() {
        let architecture = Architecture {
            layers: 2,
            width: 4,
            heads: 2,
            hidden: None,
            features: 3,
            example_bias: true,
            outputs: 5,
            positions: Positions::Rope,
            time: 100.0,
            norms: true,
            causal: true,
        };
        let load = Load { sequences: 2, pairs: 2 };
        let mut memory = CohortMemory::of(&architecture, 10, OptimiserName::Adam, load, 9_000_000);
        let each = (4 * 3 + 4) + 4 * 5 + 2 * (2 * 4 + 3 * 4 * 4 + 4 * 4) + 2 * 4 + (5 * 4 + 5);
        let values = 4 * (3 + 4) + 24 + 2 * (6 * 24 + 2 * 2 * 9) + 24 + 2 * 2 * 5;
        assert_eq!((memory.parameters, memory.optimiser, memory.activations), (40 * each, 80 * each, 40 * values));
        assert_eq!(memory.total(), 40 * (4 * each + values));
        (memory.parameters, memory.gradients, memory.optimiser, memory.activations) = (1_000_000, 1_000_000, 2_000_000, 12_340_000);
        assert_eq!(
            memory.told(),
            "cohort of 10 models (2 layers of width 4, 2 heads): about 16.3 MB: parameters 1.0, gradients 1.0, optimiser 2.0, activations 12.3; \
             and the class bank 9.0"
        );
        (memory.cohorts, memory.members) = (3, 1);
        assert!(memory.told().starts_with("3 cohorts of one model (2 layers of width 4, 2 heads): each about 16.3 MB: "));
        assert_eq!(CohortMemory::of(&architecture, 1, OptimiserName::Sgd, load, 0).optimiser, 0);
    }
}
