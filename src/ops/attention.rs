//! The core of attention: from queries, keys and values to the weighted values of each head.

use super::attention_steps::{pattern_composed, rotated_composed, scores_composed, split_composed, weighted_composed};
use super::heads::{Heads, angles};
use super::{Real, accumulate, dot, for_real, like, look, slice, softmax, zeros};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use std::sync::{Arc, OnceLock};

/// softmax(q kᵀ/√dh) v for each head.
///
/// With `query_alone` only the last token attends. `silenced` [K, H] says which heads have no values.
///
/// # Shapes
/// `qkv` [K, B, T, 3·H·dh] → [K, B, T, H·dh], or [K, B, 1, H·dh] with `query_alone`.
pub fn attention(qkv: &Tensor, heads: Heads, query_alone: bool, silenced: Option<Arc<[bool]>>) -> Result<Tensor> {
    if !qkv.device().is_cpu() {
        #[cfg(feature = "cuda")]
        if super::cuda::takes(qkv) {
            return Ok(super::cuda::attention(qkv, heads, query_alone, silenced)?.0);
        }
        return attention_composed(qkv, heads, query_alone, silenced);
    }
    for_real!(qkv, T => qkv.apply_op1(Attention::<T> { heads, query_alone, silenced, look: false, pattern: Arc::default() }))
}

/// The same for all tokens, and the pattern `[K, B, H, T, T]`, to be looked at: no gradient flows into it.
pub fn attention_and_pattern(qkv: &Tensor, heads: Heads, silenced: Option<Arc<[bool]>>) -> Result<(Tensor, Tensor)> {
    if !qkv.device().is_cpu() {
        #[cfg(feature = "cuda")]
        if super::cuda::takes(qkv) {
            return super::cuda::attention(qkv, heads, false, silenced);
        }
        let (z, pattern) = composed(qkv, heads, silenced)?;
        return Ok((z, pattern.detach()));
    }
    let (members, sequences, tokens, _) = qkv.dims4()?;
    for_real!(qkv, T => {
        let kept = Arc::<OnceLock<Vec<T>>>::default();
        let z = qkv.apply_op1(Attention::<T> { heads, query_alone: false, silenced, look: true, pattern: kept.clone() })?;
        let pattern = kept.get().cloned().unwrap_or_default();
        Ok((z, Tensor::from_vec(pattern, (members, sequences, heads.count, tokens, tokens), qkv.device())?))
    })
}

/// The same of plain operations.
pub fn attention_composed(qkv: &Tensor, heads: Heads, query_alone: bool, silenced: Option<Arc<[bool]>>) -> Result<Tensor> {
    let (z, _) = composed(qkv, heads, silenced)?;
    if query_alone { z.narrow(2, z.dim(2)? - 1, 1)?.contiguous() } else { Ok(z) }
}

/// Weighted values and pattern.
fn composed(qkv: &Tensor, heads: Heads, silenced: Option<Arc<[bool]>>) -> Result<(Tensor, Tensor)> {
    let [q, k, v] = split_composed(qkv, heads)?;
    let pattern = pattern_composed(&scores_composed(&rotated_composed(&q, heads)?, &rotated_composed(&k, heads)?, heads)?)?;
    Ok((weighted_composed(&pattern, &heard(&v, silenced)?)?, pattern))
}

/// Values `[K, B, H, T, dh]` without those of silenced heads.
fn heard(v: &Tensor, silenced: Option<Arc<[bool]>>) -> Result<Tensor> {
    let Some(silenced) = silenced else { return Ok(v.clone()) };
    let heads = v.dim(2)?;
    let mask: Vec<u8> = silenced.iter().map(|&silent| u8::from(!silent)).collect();
    let mask = Tensor::from_vec(mask, (silenced.len() / heads, 1, heads, 1, 1), v.device())?.broadcast_as(v.shape())?;
    mask.where_cond(v, &v.zeros_like()?)
}

struct Attention<T> {
    heads: Heads,
    query_alone: bool,
    silenced: Option<Arc<[bool]>>,
    /// Somebody looks at the pattern, so silenced heads have one too.
    look: bool,
    /// What the forward pass leaves for the backward pass: `[K·B, H, T or 1, T]`.
    pattern: Arc<OnceLock<Vec<T>>>,
}

/// Sizes of one application, and where things lie within a sequence.
struct Plan<T> {
    tokens: usize,
    width: usize,
    heads: usize,
    head_width: usize,
    causal: bool,
    first_attending: usize,
    scale: T,
    turns: Vec<(T, T)>,
}

impl<T: Real> Plan<T> {
    fn attending(&self) -> usize {
        self.tokens - self.first_attending
    }

    /// How many tokens token `t` sees.
    fn seen(&self, t: usize) -> usize {
        if self.causal { t + 1 } else { self.tokens }
    }

    /// Copies queries (0), keys (1) or values (2) of a sequence into `[H, T, dh]`, turned unless they are values.
    fn gather(&self, part: usize, qkv: &[T], into: &mut [T]) {
        for t in 0..self.tokens {
            let row = &qkv[t * 3 * self.width + part * self.width..][..self.width];
            for (head, from) in row.chunks_exact(self.head_width).enumerate() {
                let to = &mut into[(head * self.tokens + t) * self.head_width..][..self.head_width];
                to.copy_from_slice(from);
                if part < 2 {
                    self.turn(t, to, T::one());
                }
            }
        }
    }

    /// The transpose of `gather`.
    fn scatter(&self, part: usize, from: &mut [T], qkv: &mut [T]) {
        for t in 0..self.tokens {
            let row = &mut qkv[t * 3 * self.width + part * self.width..][..self.width];
            for (head, to) in row.chunks_exact_mut(self.head_width).enumerate() {
                let from = &mut from[(head * self.tokens + t) * self.head_width..][..self.head_width];
                if part < 2 {
                    self.turn(t, from, -T::one());
                }
                to.copy_from_slice(from);
            }
        }
    }

    /// Rotary positions, forwards or backwards.
    #[inline(always)]
    fn turn(&self, t: usize, x: &mut [T], direction: T) {
        let turns = self.turns.get(t * self.head_width / 2..(t + 1) * self.head_width / 2).unwrap_or(&[]);
        for (pair, &(cosine, sine)) in x.chunks_exact_mut(2).zip(turns) {
            let sine = direction * sine;
            let (a, b) = (pair[0], pair[1]);
            pair[0] = a * cosine - b * sine;
            pair[1] = a * sine + b * cosine;
        }
    }
}

impl<T: Real> Attention<T> {
    /// Whether a head of a member has no values.
    fn is_silent(&self, member: usize, head: usize) -> bool {
        self.silenced.as_ref().is_some_and(|silenced| silenced[(member * self.heads.count + head) % silenced.len()])
    }

    fn plan(&self, tokens: usize, triple: usize) -> Plan<T> {
        let (width, heads) = (triple / 3, self.heads.count);
        let turns = |time| angles(tokens, width / heads, time).map(|angle| (T::of(angle.cos()), T::of(angle.sin()))).collect();
        Plan {
            tokens,
            width,
            heads,
            head_width: width / heads,
            causal: self.heads.causal,
            first_attending: if self.query_alone { tokens - 1 } else { 0 },
            scale: T::of((width as f64 / heads as f64).powf(-0.5)),
            turns: self.heads.rotary.map(turns).unwrap_or_default(),
        }
    }
}

impl<T: Real> CustomOp1 for Attention<T> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let (members, sequences, tokens, triple) = at.shape().dims4()?;
        let plan = self.plan(tokens, triple);
        let Plan { width, heads, head_width, scale, .. } = plan;
        let attending = plan.attending();
        let (mut q, mut k, mut v) = (zeros::<T>(tokens * width), zeros::<T>(tokens * width), zeros::<T>(tokens * width));
        let mut z = zeros::<T>(members * sequences * attending * width);
        let mut patterns = zeros::<T>(members * sequences * heads * attending * tokens);
        let sequences_of = slice::<T>(qkv, at)?.chunks_exact(tokens * triple);
        let outputs = z.chunks_exact_mut(attending * width).zip(patterns.chunks_exact_mut(heads * attending * tokens));
        for (sequence, (qkv, (z, patterns))) in sequences_of.zip(outputs).enumerate() {
            plan.gather(0, qkv, &mut q);
            plan.gather(1, qkv, &mut k);
            plan.gather(2, qkv, &mut v);
            for head in 0..heads {
                let silent = self.is_silent(sequence / sequences, head);
                if silent && !self.look {
                    continue;
                }
                let own = |x| row(x, head * tokens * head_width, tokens * head_width);
                let (q, k, v): (&[T], &[T], &[T]) = (own(&q), own(&k), own(&v));
                for (index, t) in (plan.first_attending..tokens).enumerate() {
                    let pattern = &mut patterns[(head * attending + index) * tokens..][..plan.seen(t)];
                    let query = row(q, t * head_width, head_width);
                    for (s, score) in pattern.iter_mut().enumerate() {
                        *score = dot(query, row(k, s * head_width, head_width)) * scale;
                    }
                    softmax(pattern);
                    let out = &mut z[index * width + head * head_width..][..head_width];
                    for (s, &weight) in pattern.iter().enumerate().filter(|_| !silent) {
                        accumulate(out, weight, row(v, s * head_width, head_width));
                    }
                }
            }
        }
        // The operation is applied once, so the cell is empty.
        let _ = self.pattern.set(patterns);
        Ok((T::to_cpu_storage_owned(z), (members, sequences, attending, width).into()))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, sequences, tokens, triple) = qkv.dims4()?;
        let plan = self.plan(tokens, triple);
        let Plan { width, heads, head_width, scale, .. } = plan;
        let attending = plan.attending();
        let Some(patterns) = self.pattern.get() else { candle_core::bail!("backward before forward in attention") };
        let mut grad_qkv = zeros::<T>(qkv.elem_count());
        let [mut q, mut k, mut v, mut grad_q, mut grad_k, mut grad_v] = std::array::from_fn(|_| zeros::<T>(tokens * width));
        let mut slope = zeros::<T>(tokens);
        look(qkv, |qkv: &[T]| {
            look(&grad.contiguous()?, |grad: &[T]| {
                let inputs = qkv.chunks_exact(tokens * triple).zip(grad_qkv.chunks_exact_mut(tokens * triple));
                let outputs = grad.chunks_exact(attending * width).zip(patterns.chunks_exact(heads * attending * tokens));
                for (sequence, ((qkv, grad_qkv), (grad, patterns))) in inputs.zip(outputs).enumerate() {
                    plan.gather(0, qkv, &mut q);
                    plan.gather(1, qkv, &mut k);
                    plan.gather(2, qkv, &mut v);
                    for x in [&mut grad_q, &mut grad_k, &mut grad_v] {
                        x.fill(T::zero());
                    }
                    for head in (0..heads).filter(|&head| !self.is_silent(sequence / sequences, head)) {
                        let at = |t: usize| (head * tokens + t) * head_width;
                        for (index, t) in (plan.first_attending..tokens).enumerate() {
                            let pattern = &patterns[(head * attending + index) * tokens..][..plan.seen(t)];
                            let grad = row(grad, index * width + head * head_width, head_width);
                            let mut mean = T::zero();
                            for (s, &weight) in pattern.iter().enumerate() {
                                slope[s] = dot(grad, row(&v, at(s), head_width));
                                mean += weight * slope[s];
                                accumulate(&mut grad_v[at(s)..at(s) + head_width], weight, grad);
                            }
                            for (s, &weight) in pattern.iter().enumerate() {
                                let score = weight * (slope[s] - mean) * scale;
                                accumulate(&mut grad_q[at(t)..at(t) + head_width], score, row(&k, at(s), head_width));
                                accumulate(&mut grad_k[at(s)..at(s) + head_width], score, row(&q, at(t), head_width));
                            }
                        }
                    }
                    plan.scatter(0, &mut grad_q, grad_qkv);
                    plan.scatter(1, &mut grad_k, grad_qkv);
                    plan.scatter(2, &mut grad_v, grad_qkv);
                }
                Ok(())
            })
        })?;
        Ok(Some(like(qkv, grad_qkv)?))
    }
}

#[inline(always)]
fn row<T>(x: &[T], start: usize, length: usize) -> &[T] {
    &x[start..start + length]
}
