//! Sizes and options of a transformer; models of one architecture can form a cohort.

use crate::experiment::{Experiment, Positions};
use crate::memory::product;
use crate::ops::Heads;

/// Positions in a learned table.
pub const LEARNED_POSITIONS: usize = 32;

/// What a transformer is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Blocks.
    pub layers: usize,
    /// Width of the residual stream, D.
    pub width: usize,
    /// Heads a layer, H.
    pub heads: usize,
    /// Width of the MLP's hidden layer, M; none: attention only.
    pub hidden: Option<usize>,
    /// Features of an exemplar, E.
    pub features: usize,
    /// Whether the example embedding has a bias; not so for one-hot exemplars, each of which has its own vector.
    pub example_bias: bool,
    /// Output classes, C.
    pub outputs: usize,
    /// How positions enter.
    pub positions: Positions,
    /// Time scale of rotary and sinusoidal positions.
    pub time: f64,
    /// LayerNorm before each half block and before the unembedding.
    pub norms: bool,
    /// A token sees itself and those before it.
    pub causal: bool,
}

impl Architecture {
    /// The architecture of an experiment on a bank.
    pub fn new(experiment: &Experiment, features: usize, one_hot: bool) -> Self {
        let model = &experiment.model;
        Self {
            layers: model.layers,
            width: model.width,
            heads: model.heads,
            hidden: model.mlp_ratio.map(|ratio| (model.width as f64 * ratio) as usize),
            features,
            example_bias: !one_hot,
            outputs: experiment.outputs(),
            positions: model.positions,
            time: model.time,
            norms: model.norms,
            causal: model.causal,
        }
    }

    /// How its heads attend.
    pub fn attention_heads(&self) -> Heads {
        Heads { count: self.heads, rotary: (self.positions == Positions::Rope).then_some(self.time), causal: self.causal }
    }

    /// How many numbers the parameters hold, without listing them: sizes that were not held against anything yet may be any.
    pub fn parameter_count(&self) -> u128 {
        let d = self.width;
        let sum = |parts: &[u128]| parts.iter().fold(0, |sum: u128, &part| sum.saturating_add(part));
        let norm = if self.norms { product(&[2, d]) } else { 0 };
        let example_bias = if self.example_bias { d } else { 0 };
        let positions = if self.positions == Positions::Learned { product(&[d, LEARNED_POSITIONS]) } else { 0 };
        let outputs = [product(&[2, d, self.outputs]), self.outputs as u128];
        let mlp = self.hidden.map_or(0, |hidden| sum(&[norm, product(&[2, d, hidden]), hidden as u128, d as u128]));
        let layer = sum(&[norm, product(&[4, d, d]), mlp]);
        let others = [product(&[d, self.features]), example_bias as u128, positions, norm, sum(&outputs)];
        layer.saturating_mul(self.layers as u128).saturating_add(sum(&others))
    }

    /// Names and shapes of the parameters, in order; linear weights are `[out, in]`, the tables `[D, rows]`.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let mut all = Vec::new();
        let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
        let d = self.width;
        add("example_embed/weight".into(), &[d, self.features]);
        if self.example_bias {
            add("example_embed/bias".into(), &[d]);
        }
        add("label_embed/weight".into(), &[d, self.outputs]);
        if self.positions == Positions::Learned {
            add("pos_embed/weight".into(), &[d, LEARNED_POSITIONS]);
        }
        for layer in 0..self.layers {
            let at = |name: &str| format!("transformer/blocks/{layer}/{name}");
            if self.norms {
                add(at("norm1/weight"), &[d]);
                add(at("norm1/bias"), &[d]);
            }
            add(at("attn/qkv/weight"), &[3 * d, d]);
            add(at("attn/proj/weight"), &[d, d]);
            if let Some(hidden) = self.hidden {
                if self.norms {
                    add(at("norm2/weight"), &[d]);
                    add(at("norm2/bias"), &[d]);
                }
                add(at("mlp/fc1/weight"), &[hidden, d]);
                add(at("mlp/fc1/bias"), &[hidden]);
                add(at("mlp/fc2/weight"), &[d, hidden]);
                add(at("mlp/fc2/bias"), &[d]);
            }
        }
        if self.norms {
            add("transformer/norm/weight".into(), &[d]);
            add("transformer/norm/bias".into(), &[d]);
        }
        add("unembed/weight".into(), &[self.outputs, d]);
        add("unembed/bias".into(), &[self.outputs]);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_as_they_are_listed() {
        let base = Architecture {
            layers: 3,
            width: 6,
            heads: 2,
            hidden: Some(7),
            features: 11,
            example_bias: true,
            outputs: 5,
            positions: Positions::Learned,
            time: 1e4,
            norms: true,
            causal: true,
        };
        let variants = [
            Architecture { norms: false, ..base.clone() },
            Architecture { hidden: None, positions: Positions::Rope, ..base.clone() },
            Architecture { example_bias: false, ..base.clone() },
            base.clone(),
        ];
        for architecture in variants {
            let listed: usize = architecture.parameters().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            assert_eq!(architecture.parameter_count(), listed as u128, "{architecture:?}");
        }
        assert_eq!(Architecture { layers: usize::MAX, width: usize::MAX, ..base }.parameter_count(), u128::MAX);
    }
}
