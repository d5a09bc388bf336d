//! The transformer: pre-norm blocks over interleaved exemplars and labels, read at the query.
//!
//! Everything is stacked over the members of a cohort, on a leading axis K; K = 1 is one model.

mod architecture;
mod block;
mod initial;
mod parameters;

pub use architecture::Architecture;
pub use initial::initial_parameters;
pub use parameters::{Parameters, check_shapes};

use crate::gate::Gate;
use crate::ops::{self, Plus};
use crate::site::Site;
use bevy_ecs::component::Component;
use block::{Block, Norm};
use candle_core::{Device, Result, Tensor};

/// Sites before the blocks.
const EMBEDDING_SITES: [Site; 5] =
    [Site::ExampleEmbedding, Site::LabelEmbedding, Site::TokenEmbedding, Site::PositionEmbedding, Site::Embedding];

/// The longest sequence, in tokens, for which sinusoidal positions are kept.
const LONGEST: usize = 256;

/// What a forward pass reads: the distinct exemplars of a batch, and which of them stands where.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Features of the distinct exemplars `[K, U, E]`.
    pub features: Tensor,
    /// Which of them each pair holds, u32 `[K, B, P]`; the last pair is the query.
    pub examples: Tensor,
    /// The label of each pair, u32 `[K, B, P]`; the last is the target, which the model does not see.
    pub labels: Tensor,
}

impl Tokens {
    /// The labels of the queries, u32 `[K, B]`.
    pub fn targets(&self) -> Result<Tensor> {
        self.labels.narrow(2, self.labels.dim(2)? - 1, 1)?.squeeze(2)?.contiguous()
    }
}

/// The transformers of a cohort.
#[derive(Component)]
pub struct Transformer {
    architecture: Architecture,
    parameters: Parameters,
    example_weight: Tensor,
    example_bias: Option<Tensor>,
    label_table: Tensor,
    /// What positions add, `[K, D, ≥T]`.
    positions: Option<Tensor>,
    blocks: Vec<Block>,
    norm: Option<Norm>,
    unembedding: (Tensor, Tensor),
}

impl Transformer {
    /// Puts parameters to work.
    ///
    /// # Errors
    /// Parameters are missing, or of another shape.
    pub fn new(architecture: Architecture, parameters: Parameters) -> crate::Result<Self> {
        parameters.check(&architecture)?;
        let get = |name: &str| parameters.get(name);
        let norm = |name: &str| -> crate::Result<Option<Norm>> {
            Ok(match architecture.norms {
                true => Some(Norm { gain: get(&format!("{name}/weight"))?, bias: get(&format!("{name}/bias"))? }),
                false => None,
            })
        };
        let blocks = (0..architecture.layers).map(|layer| {
            let at = |name: &str| format!("transformer/blocks/{layer}/{name}");
            Ok(Block {
                layer,
                heads: architecture.attention_heads(),
                norm1: norm(&at("norm1"))?,
                qkv: get(&at("attn/qkv/weight"))?,
                projection: get(&at("attn/proj/weight"))?,
                mlp: match architecture.hidden {
                    None => None,
                    Some(_) => Some(block::Mlp {
                        norm: norm(&at("norm2"))?,
                        fc1: (get(&at("mlp/fc1/weight"))?, get(&at("mlp/fc1/bias"))?),
                        fc2: (get(&at("mlp/fc2/weight"))?, get(&at("mlp/fc2/bias"))?),
                    }),
                },
            })
        });
        Ok(Self {
            example_weight: get("example_embed/weight")?,
            example_bias: if architecture.example_bias { Some(get("example_embed/bias")?) } else { None },
            label_table: get("label_embed/weight")?,
            positions: match architecture.positions {
                crate::experiment::Positions::Rope => None,
                crate::experiment::Positions::Learned => Some(get("pos_embed/weight")?),
                crate::experiment::Positions::Sinusoidal => Some(sinusoids(&architecture, &parameters)?),
            },
            blocks: blocks.collect::<crate::Result<_>>()?,
            norm: norm("transformer/norm")?,
            unembedding: (get("unembed/weight")?, get("unembed/bias")?),
            architecture,
            parameters,
        })
    }

    /// Sizes and options.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// All parameters, in order.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// What positions add, `[K, D, ≥T]`; none where they are rotary.
    pub(crate) fn positions(&self) -> Option<&Tensor> {
        self.positions.as_ref()
    }

    /// Does something with one member by itself: a cohort of one, copied where it has neighbours.
    pub fn alone<R>(&self, member: usize, work: impl FnOnce(&Self) -> crate::Result<R>) -> crate::Result<R> {
        if self.parameters.members() == 1 {
            return work(self);
        }
        work(&self.copy_of(member)?)
    }

    /// A copy of one member: a cohort of one.
    pub fn copy_of(&self, member: usize) -> crate::Result<Self> {
        Self::new(self.architecture.clone(), self.parameters.copy_of(member)?)
    }

    /// Logits at the query, `[K, B, C]`. Every value on the way goes through the gate.
    ///
    /// What nobody reads is not computed: where nobody looks at the last layer, what does not lead to the query; a block whose output is replaced;
    /// and where the logits themselves are, or nobody reads them, all that comes after the last place where somebody stands.
    pub fn forward(&self, input: &Tokens, gate: &mut Gate) -> Result<Tensor> {
        self.forward_sharing(input, &mut None, gate)
    }

    /// The same for one of several passes over an input, of which the first that can leaves it `embedded` for the others.
    pub(crate) fn forward_sharing(&self, input: &Tokens, embedded: &mut Option<Tensor>, gate: &mut Gate) -> Result<Tensor> {
        let (members, sequences, pairs) = input.labels.dims3()?;
        if !gate.is_answered(pairs) {
            let stream = self.stream(input, embedded, true, gate)?;
            return self.answer(stream, gate);
        }
        if gate.touches_from(0) || gate.touches_any(&EMBEDDING_SITES, None) {
            self.stream(input, embedded, false, gate)?;
        }
        let shape = (members, sequences, pairs, self.architecture.outputs);
        let any = Tensor::zeros(shape, self.parameters.dtype(), self.parameters.device())?;
        gate.pass(Site::Logits, None, any)?.narrow(2, pairs - 1, 1)?.squeeze(2)?.contiguous()
    }

    /// The residual stream after the blocks, of all tokens or of the last alone. Where it is not `read`, it ends where nobody stands any more.
    fn stream(&self, input: &Tokens, embedded: &mut Option<Tensor>, read: bool, gate: &mut Gate) -> Result<Tensor> {
        let mut stream = self.embed(input, embedded, gate)?;
        for block in &self.blocks {
            if !read && !gate.touches_from(block.layer) {
                break;
            }
            let last = block.layer + 1 == self.blocks.len();
            let query_alone = last && !self.someone_looks_after_attention(gate);
            stream = block.forward(&stream, query_alone, read || gate.touches_from(block.layer + 1), gate)?;
        }
        Ok(stream)
    }

    /// Logits at the query of the stream after the blocks.
    fn answer(&self, stream: Tensor, gate: &mut Gate) -> Result<Tensor> {
        let out = match &self.norm {
            Some(norm) => norm.apply(&stream)?,
            None => stream,
        };
        let out = gate.pass(Site::FinalNorm, None, out)?;
        let all_tokens = out.dim(2)? > 1;
        let logits = ops::linear(&out, &self.unembedding.0, Plus::Bias(&self.unembedding.1))?;
        if !all_tokens {
            return logits.squeeze(2);
        }
        let logits = gate.pass(Site::Unembedding, None, logits)?;
        let (members, sequences, tokens, classes) = logits.dims4()?;
        // Exemplars stand at even tokens; one more token makes whole pairs.
        let logits = logits.pad_with_zeros(2, 0, 1)?.reshape((members, sequences, tokens.div_ceil(2), 2, classes))?;
        let logits = gate.pass(Site::Logits, None, logits.narrow(3, 0, 1)?.squeeze(3)?.contiguous()?)?;
        logits.narrow(2, tokens / 2, 1)?.squeeze(2)?.contiguous()
    }

    fn someone_looks_after_attention(&self, gate: &Gate) -> bool {
        let last = Some(self.architecture.layers - 1);
        let inner = gate.touches_any(&block::INNER_SITES, last)
            && (gate.silenced(last, &block::INNER_SITES).is_none() || gate.touches(Site::Pattern, last));
        gate.touches_any(&[Site::FinalNorm, Site::Unembedding, Site::Logits], None)
            || gate.touches_any(&block::LATE_SITES, Some(self.architecture.layers - 1))
            || inner
    }

    /// The residual stream as it enters the first block, `[K, B, T, D]`; `embedded` is what it was in another pass, as far as nobody stands.
    fn embed(&self, input: &Tokens, embedded: &mut Option<Tensor>, gate: &mut Gate) -> Result<Tensor> {
        // The last is the stream itself, which is handed through in any case.
        let [parts @ .., _] = EMBEDDING_SITES;
        let stream = if gate.touches_any(&parts, None) {
            let examples = gate.pass(Site::ExampleEmbedding, None, ops::pick(&self.embed_examples(input)?, &input.examples)?)?;
            let labels = ops::pick(&self.label_table.transpose(1, 2)?.contiguous()?, &input.labels)?;
            let labels = gate.pass(Site::LabelEmbedding, None, labels)?;
            let tokens = gate.pass(Site::TokenEmbedding, None, ops::interleave(&examples, &labels)?)?;
            match &self.positions {
                Some(positions) => {
                    let positions = positions.narrow(2, 0, tokens.dim(2)?)?.transpose(1, 2)?.contiguous()?;
                    tokens.broadcast_add(&gate.pass(Site::PositionEmbedding, None, positions)?.unsqueeze(1)?)?
                }
                None => tokens,
            }
        } else if let Some(stream) = embedded {
            stream.clone()
        } else {
            let examples = self.embed_examples(input)?;
            let stream = ops::tokens(&examples, &self.label_table, self.positions.as_ref(), &input.examples, &input.labels)?;
            embedded.insert(stream).clone()
        };
        gate.pass(Site::Embedding, None, stream)
    }

    /// The distinct exemplars `[K, U, D]`.
    fn embed_examples(&self, input: &Tokens) -> Result<Tensor> {
        let plus = self.example_bias.as_ref().map_or(Plus::Nothing, Plus::Bias);
        ops::linear(&input.features, &self.example_weight, plus)
    }
}

/// Sinusoidal positions `[K, D, LONGEST]`: token t at dimension i is t / time^(2⌊i/2⌋/D), its sine at even i, its cosine at odd.
fn sinusoids(architecture: &Architecture, parameters: &Parameters) -> crate::Result<Tensor> {
    let width = architecture.width;
    let number = |i: usize, t: usize| {
        let angle = t as f64 / architecture.time.powf(2.0 * (i / 2) as f64 / width as f64);
        if i.is_multiple_of(2) { angle.sin() } else { angle.cos() }
    };
    let numbers: Vec<f64> = (0..width).flat_map(|i| (0..LONGEST).map(move |t| number(i, t))).collect();
    let table = Tensor::from_vec(numbers, (1, width, LONGEST), &Device::Cpu)?.to_dtype(parameters.dtype())?;
    Ok(table.to_device(parameters.device())?.broadcast_as((parameters.members(), width, LONGEST))?.contiguous()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Positions, SeedSpec};

    const SMALL: Architecture = Architecture {
        layers: 2,
        width: 16,
        heads: 2,
        hidden: None,
        features: 7,
        example_bias: false,
        outputs: 5,
        positions: Positions::Rope,
        time: 1e4,
        norms: true,
        causal: true,
    };

    /// What is wanted of a pass whose logits nobody reads is what it would be in a whole one; the logits are left as they are.
    #[test]
    fn a_pass_that_nobody_reads_ends_where_nobody_stands() {
        let drawn = initial_parameters(&SMALL, &SeedSpec::default(), 1.0).unwrap();
        let transformer = Transformer::new(SMALL, Parameters::stack(&[drawn], &Device::Cpu).unwrap()).unwrap();
        let features = Tensor::arange(0f32, 21.0, &Device::Cpu).unwrap().sin().unwrap().reshape((1, 3, 7)).unwrap();
        let whole = |numbers: &[u32]| Tensor::from_slice(numbers, (1, 2, 3), &Device::Cpu).unwrap();
        let input = Tokens { features, examples: whole(&[0, 1, 0, 2, 1, 1]), labels: whole(&[3, 4, 3, 0, 2, 2]) };
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for place in [
            (Site::Embedding, None),
            (Site::ResidualPre, Some(0)),
            (Site::Scores, Some(0)),
            (Site::Pattern, Some(1)),
            (Site::ResidualPost, Some(0)),
        ] {
            let mut looking = Gate::looking_at([place]);
            let read = transformer.forward(&input, &mut looking).unwrap();
            assert!(numbers(&read).iter().all(|&logit| logit != 0.0));
            let mut keeping = Gate::closed();
            keeping.keep([place]);
            keeping.leave_unread();
            let unread = transformer.forward(&input, &mut keeping).unwrap();
            assert_eq!(numbers(&unread), [0.0; 10], "{place:?}");
            let [(seen, kept), (_, expected)] = [keeping.take_kept().remove(0), looking.take_seen().remove(0)];
            assert_eq!((seen, numbers(&kept)), (place, numbers(&expected)), "{place:?}");
        }
        // Who looks at the logits is shown them.
        let mut keeping = Gate::closed();
        keeping.keep([(Site::Logits, None)]);
        keeping.leave_unread();
        transformer.forward(&input, &mut keeping).unwrap();
        assert!(numbers(&keeping.take_kept()[0].1).iter().all(|&logit| logit != 0.0));
    }
}
