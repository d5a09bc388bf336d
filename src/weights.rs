//! What the weights of heads say by themselves: the measures of `weights.parquet`.
//!
//! | measure | of one head, or of an earlier head and a later one |
//! |---|---|
//! | `q_composition`, `k_composition`, `v_composition` | ‖W_x W_O‖_F / (‖W_x‖_F ‖W_O‖_F), W_O of the earlier head and W_Q, W_K or W_V of the later one (Elhage et al. 2021, "composition"; Singh et al. 2024, figure 11) |
//! | `qk_match` | score between exemplars of the same class, less that between exemplars of different ones, mean over the classes trained on: e Wᵀ_Q W_K e / √dh of their embeddings e, straight from the embedding and without positions; absent where nothing is drawn from a class bank |
//! | `ov_copying` | what a label's embedding adds to its own logit by W_V, W_O and the unembedding, less what it adds to the others', mean over labels |

use crate::transformer::{Architecture, Transformer};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// A measure of a head, or of two.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Its name.
    pub measure: &'static str,
    /// Layer and head of the earlier, where there are two.
    pub from: Option<(usize, usize)>,
    /// Layer of the head.
    pub layer: usize,
    /// The head.
    pub head: usize,
    /// The value.
    pub value: f64,
}

/// All measures of one member's weights; `features` [N, E] are exemplars of different classes.
pub fn measure(transformer: &Transformer, member: usize, features: Option<&Tensor>) -> Result<Vec<Weight>> {
    let architecture = transformer.architecture();
    let parameters = transformer.parameters().of_member(member)?;
    let get = |name: String| -> Result<Tensor> {
        let found = parameters.iter().find(|entry| entry.0 == name).map(|entry| entry.1.to_dtype(DType::F64));
        Ok(found.ok_or_else(|| Error::Internal(format!("there is no parameter {name}")))??)
    };
    let mut all = Vec::new();
    let mut outputs: Vec<Vec<Tensor>> = Vec::new();
    let labels = get("label_embed/weight".into())?;
    let unembedding = get("unembed/weight".into())?;
    let embedded = match features {
        Some(features) => {
            let embedded = features.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.matmul(&get("example_embed/weight".into())?.t()?)?;
            Some(match architecture.example_bias {
                true => embedded.broadcast_add(&get("example_embed/bias".into())?)?,
                false => embedded,
            })
        }
        None => None,
    };
    for layer in 0..architecture.layers {
        let at = |name: &str| format!("transformer/blocks/{layer}/attn/{name}/weight");
        let inputs = head_inputs(&get(at("qkv"))?, architecture)?;
        let own = head_outputs(&get(at("proj"))?, architecture)?;
        for (head, [q, k, v]) in inputs.iter().enumerate() {
            for (earlier, heads) in outputs.iter().enumerate() {
                for (from, output) in heads.iter().enumerate() {
                    for (measure, input) in [("q_composition", q), ("k_composition", k), ("v_composition", v)] {
                        let value = norm(&input.matmul(output)?)? / (norm(input)? * norm(output)?);
                        all.push(Weight { measure, from: Some((earlier, from)), layer, head, value });
                    }
                }
            }
            if let Some(embedded) = &embedded {
                let scores = embedded.matmul(&q.t()?)?.matmul(&k.matmul(&embedded.t()?)?)?;
                let value = own_less_others(&scores)? / (architecture.width as f64 / architecture.heads as f64).sqrt();
                all.push(Weight { measure: "qk_match", from: None, layer, head, value });
            }
            let copied = unembedding.matmul(&own[head])?.matmul(&v.matmul(&labels)?)?;
            all.push(Weight { measure: "ov_copying", from: None, layer, head, value: own_less_others(&copied)? });
        }
        outputs.push(own);
    }
    Ok(all)
}

/// W_Q, W_K and W_V of each head, `[dh, D]`, of `[3·H·dh, D]`.
fn head_inputs(qkv: &Tensor, architecture: &Architecture) -> Result<Vec<[Tensor; 3]>> {
    let (width, size) = (architecture.width, architecture.width / architecture.heads);
    let part = |which: usize, head: usize| -> Result<Tensor> { Ok(qkv.narrow(0, which * width + head * size, size)?.contiguous()?) };
    (0..architecture.heads).map(|head| Ok([part(0, head)?, part(1, head)?, part(2, head)?])).collect()
}

/// W_O of each head, `[D, dh]`, of `[D, H·dh]`.
fn head_outputs(projection: &Tensor, architecture: &Architecture) -> Result<Vec<Tensor>> {
    let size = architecture.width / architecture.heads;
    (0..architecture.heads).map(|head| Ok(projection.narrow(1, head * size, size)?.contiguous()?)).collect()
}

fn norm(x: &Tensor) -> Result<f64> {
    Ok(x.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt())
}

/// The mean of the diagonal less the mean of the rest.
fn own_less_others(square: &Tensor) -> Result<f64> {
    let rows: Vec<Vec<f64>> = square.to_vec2()?;
    let count = rows.len() as f64;
    let own: f64 = rows.iter().enumerate().map(|(index, row)| row[index]).sum();
    let all: f64 = rows.iter().flatten().sum();
    Ok(own / count - if count > 1.0 { (all - own) / (count * (count - 1.0)) } else { 0.0 })
}

/// How much each head adds, straight through the final LayerNorm with its scale held, to the right label's logit at the query less the mean of the
/// other labels of the context ("direct logit attribution", Elhage et al. 2021): mean over sequences, `[H]` of one layer.
///
/// # Shapes
/// `z` [B, T, D] of that layer; `last` [B, T, D], the residual stream before the final LayerNorm; `labels` u32 [B, P].
pub fn attribution(transformer: &Transformer, layer: usize, z: &Tensor, last: &Tensor, labels: &Tensor) -> Result<Vec<f64>> {
    let architecture = transformer.architecture();
    let parameters = transformer.parameters();
    let get = |name: &str| -> Result<Tensor> { Ok(parameters.get(name)?.get(0)?.detach()) };
    let query = |x: &Tensor| -> Result<Tensor> { Ok(x.narrow(1, x.dim(1)? - 1, 1)?.squeeze(1)?.contiguous()?) };
    let (z, last) = (query(z)?, query(last)?);
    let (sequences, width) = z.dims2()?;
    let (heads, size) = (architecture.heads, width / architecture.heads);
    let projection = get(&format!("transformer/blocks/{layer}/attn/proj/weight"))?;
    // For each head [B, dh] · [dh, D].
    let z = z.reshape((sequences, heads, size))?.transpose(0, 1)?.contiguous()?;
    let projection = projection.t()?.reshape((heads, size, width))?;
    let mut added = z.matmul(&projection.contiguous()?)?;
    if architecture.norms {
        let centre = |x: &Tensor| x.broadcast_sub(&x.mean_keepdim(candle_core::D::Minus1)?);
        let deviation = (centre(&last)?.sqr()?.mean_keepdim(1)? + 1e-5)?.sqrt()?;
        added = centre(&added)?.broadcast_div(&deviation.unsqueeze(0)?)?.broadcast_mul(&get("transformer/norm/weight")?)?;
    }
    let directions = directions(&get("unembed/weight")?, labels)?;
    let each = added.broadcast_mul(&directions.unsqueeze(0)?)?.sum(2)?.mean(1)?;
    Ok(each.to_dtype(DType::F64)?.to_device(&Device::Cpu)?.to_vec1()?)
}

/// The unembedding of the right label less the mean of that of the other labels of the context, `[B, D]`.
fn directions(unembedding: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let labels: Vec<Vec<u32>> = labels.to_device(&Device::Cpu)?.to_vec2()?;
    let classes = unembedding.dim(0)?;
    let mut weights = vec![0f32; labels.len() * classes];
    for (labels, weights) in labels.iter().zip(weights.chunks_exact_mut(classes)) {
        let (context, right) = (&labels[..labels.len() - 1], labels[labels.len() - 1]);
        let others: Vec<u32> = context.iter().copied().filter(|&label| label != right).collect();
        weights[right as usize] += 1.0;
        others.iter().for_each(|&label| weights[label as usize] -= 1.0 / others.len() as f32);
    }
    let weights = Tensor::from_vec(weights, (labels.len(), classes), unembedding.device())?.to_dtype(unembedding.dtype())?;
    Ok(weights.matmul(unembedding)?)
}
