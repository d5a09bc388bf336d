//! One block: attention and, where there is one, an MLP, each behind a LayerNorm and added to the residual stream.

use crate::gate::Gate;
use crate::ops::{self, Heads, Plus};
use crate::site::Site;
use candle_core::{Result, Tensor};

/// Sites inside the core of attention; where somebody stands at one, the composed way is taken.
pub(super) const INNER_SITES: [Site; 7] =
    [Site::QueryPreRope, Site::KeyPreRope, Site::Query, Site::Key, Site::Value, Site::Scores, Site::Pattern];

/// Sites after it.
pub(super) const LATE_SITES: [Site; 8] =
    [Site::Z, Site::AttentionOut, Site::ResidualMid, Site::MlpNorm, Site::MlpPre, Site::MlpPost, Site::MlpOut, Site::ResidualPost];

/// Gain and bias `[K, D]`.
pub(super) struct Norm {
    pub gain: Tensor,
    pub bias: Tensor,
}

impl Norm {
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.gain, &self.bias)
    }
}

/// Weights and biases of the two layers.
pub(super) struct Mlp {
    pub norm: Option<Norm>,
    pub fc1: (Tensor, Tensor),
    pub fc2: (Tensor, Tensor),
}

pub(super) struct Block {
    pub layer: usize,
    pub heads: Heads,
    pub norm1: Option<Norm>,
    pub qkv: Tensor,
    pub projection: Tensor,
    pub mlp: Option<Mlp>,
}

fn normalised(norm: &Option<Norm>, x: &Tensor) -> Result<Tensor> {
    norm.as_ref().map_or_else(|| Ok(x.clone()), |norm| norm.apply(x))
}

impl Block {
    /// The residual stream after the block, `[K, B, T, D]`; with `query_alone` of the last token, `[K, B, 1, D]`. Where the stream is not `read`, it
    /// may be any.
    pub fn forward(&self, stream: &Tensor, query_alone: bool, read: bool, gate: &mut Gate) -> Result<Tensor> {
        let layer = Some(self.layer);
        if gate.replaces(Site::ResidualPost, layer) && !gate.touches_another(Site::ResidualPost, layer) {
            return gate.pass(Site::ResidualPost, layer, stream.detach());
        }
        let read = read || gate.touches_any(&LATE_SITES, layer);
        let stream = gate.pass(Site::ResidualPre, layer, stream.clone())?;
        let input = gate.pass(Site::AttentionNorm, layer, normalised(&self.norm1, &stream)?)?;
        let qkv = ops::linear(&input, &self.qkv, Plus::Nothing)?;
        let silenced = gate.silenced(layer, &INNER_SITES);
        let z = if silenced.is_none() && !gate.touches_any(&INNER_SITES, layer) {
            ops::attention(&qkv, self.heads, query_alone, None)?
        } else if gate.only_looks_at(Site::Pattern, layer, &INNER_SITES) || silenced.is_some() {
            if gate.touches(Site::Pattern, layer) {
                let (z, pattern) = ops::attention_and_pattern(&qkv, self.heads, silenced)?;
                gate.pass(Site::Pattern, layer, pattern)?;
                z
            } else {
                ops::attention(&qkv, self.heads, query_alone, silenced)?
            }
        } else {
            match self.attention(&qkv, read, gate)? {
                Some(z) => z,
                None => return Ok(stream),
            }
        };
        let z = gate.pass(Site::Z, layer, z)?;
        let stream = if query_alone { stream.narrow(2, stream.dim(2)? - 1, 1)?.contiguous()? } else { stream };
        let stream = if gate.touches(Site::AttentionOut, layer) {
            let out = gate.pass(Site::AttentionOut, layer, ops::linear(&z, &self.projection, Plus::Nothing)?)?;
            (stream + out)?
        } else {
            ops::linear(&z, &self.projection, Plus::Residual(&stream))?
        };
        let stream = gate.pass(Site::ResidualMid, layer, stream)?;
        let stream = match &self.mlp {
            Some(mlp) => self.mlp(mlp, &stream, gate)?,
            None => stream,
        };
        gate.pass(Site::ResidualPost, layer, stream)
    }

    /// `qkv` [K, B, T, 3D] → [K, B, T, D], every step through the gate; nothing where it is not `read`.
    fn attention(&self, qkv: &Tensor, read: bool, gate: &mut Gate) -> Result<Option<Tensor>> {
        let layer = Some(self.layer);
        let [q, k, v] = ops::split(qkv, self.heads)?;
        let q = gate.pass(Site::QueryPreRope, layer, q)?;
        let k = gate.pass(Site::KeyPreRope, layer, k)?;
        let q = gate.pass(Site::Query, layer, ops::rotated(&q, self.heads)?)?;
        let k = gate.pass(Site::Key, layer, ops::rotated(&k, self.heads)?)?;
        let v = gate.pass(Site::Value, layer, v)?;
        let scores = gate.pass(Site::Scores, layer, ops::scores(&q, &k, self.heads)?)?;
        if !read && !gate.touches(Site::Pattern, layer) {
            return Ok(None);
        }
        let pattern = gate.pass(Site::Pattern, layer, ops::pattern(&scores)?)?;
        if read { ops::weighted(&pattern, &v).map(Some) } else { Ok(None) }
    }

    fn mlp(&self, mlp: &Mlp, stream: &Tensor, gate: &mut Gate) -> Result<Tensor> {
        let layer = Some(self.layer);
        let input = gate.pass(Site::MlpNorm, layer, normalised(&mlp.norm, stream)?)?;
        let hidden = gate.pass(Site::MlpPre, layer, ops::linear(&input, &mlp.fc1.0, Plus::Bias(&mlp.fc1.1))?)?;
        let hidden = gate.pass(Site::MlpPost, layer, ops::gelu(&hidden)?)?;
        let out = gate.pass(Site::MlpOut, layer, ops::linear(&hidden, &mlp.fc2.0, Plus::Bias(&mlp.fc2.1))?)?;
        stream + out
    }
}
