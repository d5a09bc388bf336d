//! The core of attention; a thread makes what a head does at a token.

use super::Argument::{self, Number, Size, Tensor as Given};
use super::{attach, launch, tensor};
use crate::ops::Heads;
use crate::ops::kept::{Constant, kept};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// As [`crate::ops::attention`]; and the pattern `[K, B, H, T or 1, T]`, without a gradient, which silenced heads have too.
pub(crate) fn attention(qkv: &Tensor, heads: Heads, query_alone: bool, silenced: Option<Arc<[bool]>>) -> Result<(Tensor, Tensor)> {
    let (members, sequences, tokens, triple) = qkv.dims4()?;
    let (width, first) = (triple / 3, if query_alone { tokens - 1 } else { 0 });
    let (head_width, attending) = (width / heads.count, tokens - first);
    let device = qkv.device();
    let turns = heads.rotary.map(|time| kept(Constant::Turns((tokens, head_width, time.to_bits())), device)).transpose()?;
    let all_members = |silenced: Arc<[bool]>| silenced.iter().copied().cycle().take(members * heads.count).collect();
    let heard = silenced.map(|silenced| kept(Constant::Heard(all_members(silenced)), device)).transpose()?;
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
