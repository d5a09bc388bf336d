//! The core of attention; a thread makes what a head does at a token.

use super::Argument::{self, Number, Size, Tensor as Given};
use super::{attach, launch, tensor};
use crate::ops::attention::{Heads, angles};
use candle_core::{Device, DeviceLocation, Result, Tensor};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// As [`crate::ops::attention`]; and the pattern `[K, B, H, T or 1, T]`, without a gradient, which silenced heads have too.
pub(crate) fn attention(qkv: &Tensor, heads: Heads, query_alone: bool, silenced: Option<Arc<[bool]>>) -> Result<(Tensor, Tensor)> {
    let (members, sequences, tokens, triple) = qkv.dims4()?;
    let (width, first) = (triple / 3, if query_alone { tokens - 1 } else { 0 });
    let (head_width, attending) = (width / heads.count, tokens - first);
    let device = qkv.device();
    let turns = heads.rotary.map(|time| kept(device, Constant::Turns(tokens, head_width, time.to_bits()))).transpose()?;
    let all_members = |silenced: Arc<[bool]>| silenced.iter().copied().cycle().take(members * heads.count).collect();
    let heard = silenced.map(|silenced| kept(device, Constant::Heard(all_members(silenced)))).transpose()?;
    let sizes = [Size(sequences), Size(tokens), Size(heads.count), Size(head_width), Size(first), Size(heads.causal.into())];
    let scale = Number((head_width as f64).powf(-0.5));

    let rows = members * sequences * attending * heads.count;
    let given = [&[Given(qkv), Argument::maybe(turns.as_ref()), Argument::maybe(heard.as_ref())], &sizes[..], &[scale]].concat();
    let [z, pattern] = launch("attention", rows, device, [members * sequences * attending * width, rows * tokens], &given)?;
    let pattern = tensor(pattern, &[members, sequences, heads.count, attending, tokens][..]);
    let weights = pattern.clone();
    let z = attach("attention", &[qkv], z, (members, sequences, attending, width), move |inputs, grad| {
        let (qkv, heard) = (inputs[0], Argument::maybe(heard.as_ref()));
        let sizes = [Size(sequences), Size(tokens), Size(heads.count), Size(head_width), Size(first), Size(heads.causal.into())];
        let given = [&[Given(&weights), Given(qkv), Given(grad), heard], &sizes[..], &[scale]].concat();
        let [slopes] = launch("attention_scores_backward", rows, qkv.device(), [rows * tokens], &given)?;
        let slopes = tensor(slopes, weights.shape());
        let turns = Argument::maybe(turns.as_ref());
        let given = [&[Given(&slopes), Given(&weights), Given(qkv), Given(grad), turns, heard], &sizes[..]].concat();
        let count = members * sequences * tokens * heads.count;
        let [grad_qkv] = launch("attention_backward", count, qkv.device(), [qkv.elem_count()], &given)?;
        Ok(vec![Some(tensor(grad_qkv, qkv.shape()))])
    })?;
    Ok((z, pattern))
}

/// What is brought to a device once, and stays there.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Constant {
    /// Cosines and sines of rotary positions `[T, dh/2, 2]`: tokens, the width of a head, the bits of the time scale.
    Turns(usize, usize, u64),
    /// Which heads have values `[K, H]`, given which have none.
    Heard(Vec<bool>),
}

static KEPT: OnceLock<Mutex<HashMap<(DeviceLocation, Constant), Tensor>>> = OnceLock::new();

fn kept(device: &Device, constant: Constant) -> Result<Tensor> {
    let Ok(mut kept) = KEPT.get_or_init(Mutex::default).lock() else { candle_core::bail!("the constants of attention are lost") };
    let key = (device.location(), constant);
    if let Some(tensor) = kept.get(&key) {
        return Ok(tensor.clone());
    }
    let tensor = match &key.1 {
        Constant::Turns(tokens, width, time) => {
            let turns = angles(*tokens, *width, f64::from_bits(*time)).flat_map(|angle| [angle.cos() as f32, angle.sin() as f32]);
            Tensor::from_vec(turns.collect(), (*tokens, width / 2, 2), device)?
        }
        Constant::Heard(silenced) => {
            let heard: Vec<u32> = silenced.iter().map(|&silent| u32::from(!silent)).collect();
            let count = heard.len();
            Tensor::from_vec(heard, count, device)?
        }
    };
    kept.insert(key, tensor.clone());
    Ok(tensor)
}
