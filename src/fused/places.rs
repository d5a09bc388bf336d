//! Which parameter of the architecture's list is which.

use crate::transformer::Architecture;
use candle_core::{Result, bail};

/// Gain and bias of a LayerNorm.
pub(super) type NormPlaces = (usize, usize);

/// The parameters of a block.
pub(super) struct BlockPlaces {
    pub norm: Option<NormPlaces>,
    pub qkv: usize,
    pub projection: usize,
    pub mlp: Option<MlpPlaces>,
}

/// The parameters of an MLP: weights and biases.
pub(super) struct MlpPlaces {
    pub norm: Option<NormPlaces>,
    pub fc1: (usize, usize),
    pub fc2: (usize, usize),
}

/// The parameters of a transformer.
pub(super) struct Places {
    pub example_weight: usize,
    pub example_bias: Option<usize>,
    pub label_table: usize,
    /// Learned positions.
    pub positions: Option<usize>,
    pub blocks: Vec<BlockPlaces>,
    pub norm: Option<NormPlaces>,
    pub unembedding: (usize, usize),
}

impl Places {
    pub fn of(architecture: &Architecture) -> Result<Self> {
        let names: Vec<String> = architecture.parameters().into_iter().map(|(name, _)| name).collect();
        let find = |wanted: &str| names.iter().position(|name| name == wanted);
        let at = |wanted: &str| match find(wanted) {
            Some(place) => Ok(place),
            None => bail!("the architecture has no parameter {wanted}"),
        };
        let norm = |name: String| match architecture.norms {
            true => Ok::<_, candle_core::Error>(Some((at(&format!("{name}/weight"))?, at(&format!("{name}/bias"))?))),
            false => Ok(None),
        };
        let block = |layer: usize| {
            let block = format!("transformer/blocks/{layer}");
            let linear =
                |name: &str| Ok::<_, candle_core::Error>((at(&format!("{block}/{name}/weight"))?, at(&format!("{block}/{name}/bias"))?));
            let mlp = match architecture.hidden {
                Some(_) => Some(MlpPlaces { norm: norm(format!("{block}/norm2"))?, fc1: linear("mlp/fc1")?, fc2: linear("mlp/fc2")? }),
                None => None,
            };
            let (qkv, projection) = (at(&format!("{block}/attn/qkv/weight"))?, at(&format!("{block}/attn/proj/weight"))?);
            Ok(BlockPlaces { norm: norm(format!("{block}/norm1"))?, qkv, projection, mlp })
        };
        Ok(Self {
            example_weight: at("example_embed/weight")?,
            example_bias: find("example_embed/bias"),
            label_table: at("label_embed/weight")?,
            positions: find("pos_embed/weight"),
            blocks: (0..architecture.layers).map(block).collect::<Result<_>>()?,
            norm: norm("transformer/norm".into())?,
            unembedding: (at("unembed/weight")?, at("unembed/bias")?),
        })
    }
}
