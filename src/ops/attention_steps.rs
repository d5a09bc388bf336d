//! Attention step by step, for whoever stands inside: every value between queries and weighted values is a tensor of its own.

use super::heads::{Heads, angles};
use super::kept::{Constant, kept};
use super::{Real, accumulate, dot, for_real, like, look, look_at_three, slice, softmax, zeros};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor};
use std::marker::PhantomData;

/// The score of a token that comes later, where those are not seen.
const LATER: f64 = -1e20;

/// Queries, keys and values, each `[K, B, H, T, dh]`, of `[K, B, T, 3·H·dh]`.
pub fn split(qkv: &Tensor, heads: Heads) -> Result<[Tensor; 3]> {
    if !qkv.device().is_cpu() {
        return split_composed(qkv, heads);
    }
    let part = |part: usize| for_real!(qkv, T => qkv.apply_op1(Part::<T> { part, heads: heads.count, number: PhantomData }));
    Ok([part(0)?, part(1)?, part(2)?])
}

/// The same of plain operations.
pub fn split_composed(qkv: &Tensor, heads: Heads) -> Result<[Tensor; 3]> {
    let (members, sequences, tokens, triple) = qkv.dims4()?;
    let parts = qkv.reshape(&[members, sequences, tokens, 3, heads.count, triple / 3 / heads.count])?;
    let part = |index: usize| parts.narrow(3, index, 1)?.squeeze(3)?.transpose(2, 3)?.contiguous();
    Ok([part(0)?, part(1)?, part(2)?])
}

/// Queries or keys `[K, B, H, T, dh]` with rotary positions: pairs (0,1), (2,3), … turned by t / time^(2i/dh).
pub fn rotated(x: &Tensor, heads: Heads) -> Result<Tensor> {
    let Some(time) = heads.rotary else { return Ok(x.clone()) };
    if !x.device().is_cpu() {
        return rotated_composed(x, heads);
    }
    let (_, _, _, tokens, width) = x.dims5()?;
    for_real!(x, T => {
        let turns = angles(tokens, width, time).map(|angle| (T::of(angle.cos()), T::of(angle.sin()))).collect();
        x.apply_op1(Turned::<T> { turns })
    })
}

/// The same of plain operations.
pub fn rotated_composed(x: &Tensor, heads: Heads) -> Result<Tensor> {
    let Some(time) = heads.rotary else { return Ok(x.clone()) };
    let (_, _, _, tokens, width) = x.dims5()?;
    let rotary = (tokens, width, time.to_bits());
    let cosines = kept(Constant::Cosines(rotary, x.dtype()), x.device())?;
    let sines = kept(Constant::Sines(rotary, x.dtype()), x.device())?;
    let turned = candle_nn::rotary_emb::rope_i_slow(&x.flatten_to(1)?, &cosines, &sines)?;
    turned.reshape(x.shape())
}

/// q kᵀ/√dh, `[K, B, H, T, T]`, with −1e20 where a token may not look.
pub fn scores(q: &Tensor, k: &Tensor, heads: Heads) -> Result<Tensor> {
    if !q.device().is_cpu() {
        return scores_composed(q, k, heads);
    }
    for_real!(q, T => q.apply_op2(k, Scores::<T> { causal: heads.causal, number: PhantomData }))
}

/// The same of plain operations.
pub fn scores_composed(q: &Tensor, k: &Tensor, heads: Heads) -> Result<Tensor> {
    let products = q.flatten_to(2)?.matmul(&k.flatten_to(2)?.t()?)?;
    let (members, sequences, count, tokens, width) = q.dims5()?;
    let scores = (products * (width as f64).powf(-0.5))?.reshape((members, sequences, count, tokens, tokens))?;
    if !heads.causal {
        return Ok(scores);
    }
    let later = kept(Constant::Later(tokens), scores.device())?.broadcast_as(scores.shape())?;
    let never = Tensor::full(LATER, (), scores.device())?.to_dtype(scores.dtype())?.broadcast_as(scores.shape())?;
    later.where_cond(&never, &scores)
}

/// softmax of scores `[…, T]` over the last dimension.
pub fn pattern(scores: &Tensor) -> Result<Tensor> {
    if !scores.device().is_cpu() {
        return pattern_composed(scores);
    }
    for_real!(scores, T => scores.apply_op1(Softmax::<T>(PhantomData)))
}

/// The same of plain operations.
pub fn pattern_composed(scores: &Tensor) -> Result<Tensor> {
    candle_nn::ops::softmax(scores, D::Minus1)
}

/// The heads' weighted values side by side, `[K, B, T, H·dh]`, of a pattern `[K, B, H, T, T]` and values `[K, B, H, T, dh]`.
pub fn weighted(pattern: &Tensor, v: &Tensor) -> Result<Tensor> {
    if !v.device().is_cpu() {
        return weighted_composed(pattern, v);
    }
    for_real!(v, T => pattern.apply_op2(v, Weighted::<T>(PhantomData)))
}

/// The same of plain operations.
pub fn weighted_composed(pattern: &Tensor, v: &Tensor) -> Result<Tensor> {
    let z = pattern.flatten_to(2)?.matmul(&v.flatten_to(2)?)?.reshape(v.shape())?;
    z.transpose(2, 3)?.contiguous()?.flatten_from(3)
}

/// Queries (0), keys (1) or values (2) of `[K, B, T, 3·H·dh]`.
struct Part<T> {
    part: usize,
    heads: usize,
    number: PhantomData<T>,
}

impl<T> Part<T> {
    /// For each row of a head, `dh` numbers in `[K, B, H, T, dh]`, where it stands in `[K, B, T, 3·H·dh]`.
    fn places(&self, tokens: usize, triple: usize) -> impl Iterator<Item = usize> + use<T> {
        let (part, heads, width) = (self.part, self.heads, triple / 3);
        (0..).flat_map(move |sequence| {
            let of_token = move |t: usize| (sequence * tokens + t) * triple + part * width;
            (0..heads).flat_map(move |head| (0..tokens).map(move |t| of_token(t) + head * width / heads))
        })
    }
}

impl<T: Real> CustomOp1 for Part<T> {
    fn name(&self) -> &'static str {
        "part"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let (members, sequences, tokens, triple) = at.shape().dims4()?;
        let (qkv, head_width) = (slice::<T>(qkv, at)?, triple / 3 / self.heads);
        let mut part = Vec::with_capacity(qkv.len() / 3);
        for place in self.places(tokens, triple).take(qkv.len() / 3 / head_width) {
            part.extend_from_slice(&qkv[place..place + head_width]);
        }
        Ok((T::to_cpu_storage_owned(part), (members, sequences, self.heads, tokens, head_width).into()))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, _, tokens, triple) = qkv.dims4()?;
        let (mut grad_qkv, head_width) = (zeros::<T>(qkv.elem_count()), triple / 3 / self.heads);
        look(&grad.contiguous()?, |grad: &[T]| {
            for (place, row) in self.places(tokens, triple).zip(grad.chunks_exact(head_width)) {
                grad_qkv[place..place + head_width].copy_from_slice(row);
            }
            Ok(())
        })?;
        Ok(Some(like(qkv, grad_qkv)?))
    }
}

/// Pairs of dimensions, turned; `turns` are cosine and sine of the angles, token by token, pair by pair.
struct Turned<T> {
    turns: Vec<(T, T)>,
}

impl<T: Real> Turned<T> {
    /// Turns all pairs, forwards or backwards.
    fn turn(&self, x: &[T], direction: T) -> Vec<T> {
        let mut turned = Vec::with_capacity(x.len());
        for (pair, &(cosine, sine)) in x.as_chunks::<2>().0.iter().zip(self.turns.iter().cycle()) {
            let (&[a, b], sine) = (pair, direction * sine);
            turned.extend([a * cosine - b * sine, a * sine + b * cosine]);
        }
        turned
    }
}

impl<T: Real> CustomOp1 for Turned<T> {
    fn name(&self) -> &'static str {
        "rotated"
    }

    fn cpu_fwd(&self, x: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((T::to_cpu_storage_owned(self.turn(slice(x, at)?, T::one())), at.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(like(x, look(&grad.contiguous()?, |grad: &[T]| Ok(self.turn(grad, -T::one())))?)?))
    }
}

/// Scores of queries and keys `[K, B, H, T, dh]`.
struct Scores<T> {
    causal: bool,
    number: PhantomData<T>,
}

impl<T> Scores<T> {
    /// How many tokens token `t` sees.
    fn seen(&self, t: usize, tokens: usize) -> usize {
        if self.causal { t + 1 } else { tokens }
    }
}

impl<T: Real> CustomOp2 for Scores<T> {
    fn name(&self) -> &'static str {
        "scores"
    }

    fn cpu_fwd(&self, q: &CpuStorage, at: &Layout, k: &CpuStorage, k_at: &Layout) -> Result<(CpuStorage, Shape)> {
        let (members, sequences, heads, tokens, width) = at.shape().dims5()?;
        let scale = T::of((width as f64).powf(-0.5));
        let mut scores = vec![T::of(LATER); members * sequences * heads * tokens * tokens];
        let of_heads = slice::<T>(q, at)?.chunks_exact(tokens * width).zip(slice::<T>(k, k_at)?.chunks_exact(tokens * width));
        for (scores, (q, k)) in scores.chunks_exact_mut(tokens * tokens).zip(of_heads) {
            for (t, (scores, q)) in scores.chunks_exact_mut(tokens).zip(q.chunks_exact(width)).enumerate() {
                for (score, k) in scores[..self.seen(t, tokens)].iter_mut().zip(k.chunks_exact(width)) {
                    *score = dot(q, k) * scale;
                }
            }
        }
        Ok((T::to_cpu_storage_owned(scores), (members, sequences, heads, tokens, tokens).into()))
    }

    fn bwd(&self, q: &Tensor, k: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, _, _, tokens, width) = q.dims5()?;
        let scale = T::of((width as f64).powf(-0.5));
        let (mut grad_q, mut grad_k) = (zeros::<T>(q.elem_count()), zeros::<T>(k.elem_count()));
        look_at_three([q, k, &grad.contiguous()?], |[q, k, grad]: [&[T]; 3]| {
            let heads = q.chunks_exact(tokens * width).zip(k.chunks_exact(tokens * width));
            let grads = grad_q.chunks_exact_mut(tokens * width).zip(grad_k.chunks_exact_mut(tokens * width));
            for (((q, k), (grad_q, grad_k)), grad) in heads.zip(grads).zip(grad.chunks_exact(tokens * tokens)) {
                let rows = q.chunks_exact(width).zip(grad_q.chunks_exact_mut(width)).zip(grad.chunks_exact(tokens));
                for (t, ((q, grad_q), grad)) in rows.enumerate() {
                    let keys = k.chunks_exact(width).zip(grad_k.chunks_exact_mut(width));
                    for (&grad, (k, grad_k)) in grad[..self.seen(t, tokens)].iter().zip(keys) {
                        accumulate(grad_q, grad * scale, k);
                        accumulate(grad_k, grad * scale, q);
                    }
                }
            }
            Ok(())
        })?;
        Ok((Some(like(q, grad_q)?), Some(like(k, grad_k)?)))
    }
}

/// Rows of scores `[…, T]` become rows of a pattern.
struct Softmax<T>(PhantomData<T>);

impl<T: Real> CustomOp1 for Softmax<T> {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, scores: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut pattern = slice::<T>(scores, at)?.to_vec();
        for row in pattern.chunks_exact_mut(at.shape().dim(D::Minus1)?) {
            softmax(row);
        }
        Ok((T::to_cpu_storage_owned(pattern), at.shape().clone()))
    }

    fn bwd(&self, scores: &Tensor, pattern: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let tokens = scores.dim(D::Minus1)?;
        let mut slopes = Vec::with_capacity(scores.elem_count());
        look(pattern, |pattern: &[T]| {
            look(&grad.contiguous()?, |grad: &[T]| {
                for (pattern, grad) in pattern.chunks_exact(tokens).zip(grad.chunks_exact(tokens)) {
                    let mean = dot(pattern, grad);
                    slopes.extend(pattern.iter().zip(grad).map(|(&weight, &grad)| weight * (grad - mean)));
                }
                Ok(())
            })
        })?;
        Ok(Some(like(scores, slopes)?))
    }
}

/// A pattern `[K, B, H, T, T]` and values `[K, B, H, T, dh]` become weighted values `[K, B, T, H·dh]`.
struct Weighted<T>(PhantomData<T>);

impl<T: Real> CustomOp2 for Weighted<T> {
    fn name(&self) -> &'static str {
        "weighted"
    }

    fn cpu_fwd(&self, pattern: &CpuStorage, at: &Layout, v: &CpuStorage, v_at: &Layout) -> Result<(CpuStorage, Shape)> {
        let (members, sequences, heads, tokens, head_width) = v_at.shape().dims5()?;
        let width = heads * head_width;
        let mut z = zeros::<T>(members * sequences * tokens * width);
        let of_heads = slice::<T>(pattern, at)?.chunks_exact(tokens * tokens).zip(slice::<T>(v, v_at)?.chunks_exact(tokens * head_width));
        for (index, (pattern, v)) in of_heads.enumerate() {
            let (sequence, head) = (index / heads, index % heads);
            for (t, pattern) in pattern.chunks_exact(tokens).enumerate() {
                let z = &mut z[(sequence * tokens + t) * width + head * head_width..][..head_width];
                pattern.iter().zip(v.chunks_exact(head_width)).for_each(|(&weight, v)| accumulate(z, weight, v));
            }
        }
        Ok((T::to_cpu_storage_owned(z), (members, sequences, tokens, width).into()))
    }

    fn bwd(&self, pattern: &Tensor, v: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, _, heads, tokens, head_width) = v.dims5()?;
        let width = heads * head_width;
        let (mut grad_pattern, mut grad_v) = (zeros::<T>(pattern.elem_count()), zeros::<T>(v.elem_count()));
        look_at_three([pattern, v, &grad.contiguous()?], |[pattern, v, grad]: [&[T]; 3]| {
            let of_heads = pattern.chunks_exact(tokens * tokens).zip(v.chunks_exact(tokens * head_width));
            let grads = grad_pattern.chunks_exact_mut(tokens * tokens).zip(grad_v.chunks_exact_mut(tokens * head_width));
            for (index, ((pattern, v), (grad_pattern, grad_v))) in of_heads.zip(grads).enumerate() {
                let (sequence, head) = (index / heads, index % heads);
                let rows = pattern.chunks_exact(tokens).zip(grad_pattern.chunks_exact_mut(tokens));
                for (t, (pattern, grad_pattern)) in rows.enumerate() {
                    let grad = &grad[(sequence * tokens + t) * width + head * head_width..][..head_width];
                    let values = v.chunks_exact(head_width).zip(grad_v.chunks_exact_mut(head_width));
                    for ((&weight, grad_weight), (v, grad_v)) in pattern.iter().zip(grad_pattern).zip(values) {
                        *grad_weight = dot(grad, v);
                        accumulate(grad_v, weight, grad);
                    }
                }
            }
            Ok(())
        })?;
        Ok((Some(like(pattern, grad_pattern)?), Some(like(v, grad_v)?)))
    }
}
