//! Attention patterns and logits that interventions set.

use super::mask::right_labels;
use crate::ops;
use crate::ops::kept::{Constant, kept};
use crate::transformer::Tokens;
use candle_core::{D, DType, Device, Result, Tensor};

/// A score that is not attended to, and a logit that is not chosen, as in the published code.
pub(super) const NEVER: f64 = -1e9;

/// `strength` on the token before, the rest on the token itself, the first token on itself: `[1, 1, 1, T, T]`.
pub(super) fn previous_token(tokens: usize, strength: f64, device: &Device) -> Result<Tensor> {
    let weight = |t: usize, s: usize| match () {
        _ if t == 0 && s == 0 => 1.0,
        _ if s + 1 == t => strength as f32,
        _ if s == t && t > 0 => 1.0 - strength as f32,
        _ => 0.0,
    };
    let numbers: Vec<f32> = (0..tokens).flat_map(|t| (0..tokens).map(move |s| weight(t, s))).collect();
    Tensor::from_vec(numbers, (1, 1, 1, tokens, tokens), device)
}

/// `strength` shared among the labels equal to the query's, the rest among the others; all of it on those that there are: `[K, B, 1, 1, T]`.
pub(super) fn induction(input: &Tokens, strength: f64) -> Result<Tensor> {
    let context = input.labels.dim(2)? - 1;
    let right = right_labels(&input.labels)?.narrow(2, 0, context)?.to_dtype(DType::F64)?;
    let other = (1.0 - &right)?;
    let share = |part: &Tensor, strength: f64| -> Result<Tensor> {
        let count = part.sum_keepdim(2)?;
        // Nobody to share with: the factor does not matter, it multiplies zeros.
        part.broadcast_mul(&count.maximum(1.0)?.recip()?.affine(strength, 0.0)?)
    };
    let attention = (share(&right, strength)? + share(&other, 1.0 - strength)?)?;
    let total = attention.sum_keepdim(2)?;
    let some = total.gt(0.0)?;
    let whole = attention.broadcast_div(&some.where_cond(&total, &total.ones_like()?)?)?;
    at_label_tokens(&whole)
}

/// Softmax over the context of the cosine similarity of its exemplars' features with the query's, over `temperature`: `[K, B, 1, 1, T]`.
/// At 0 the most similar alone, evenly where there are several.
pub(super) fn matched(input: &Tokens, temperature: f64) -> Result<Tensor> {
    let features = ops::pick(&input.features, &input.examples)?;
    let features = features.broadcast_div(&features.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)?;
    let context = features.dim(2)? - 1;
    let similarity = features.narrow(2, 0, context)?.broadcast_mul(&features.narrow(2, context, 1)?)?.sum(D::Minus1)?;
    let attention = if temperature > 0.0 {
        candle_nn::ops::softmax(&(similarity / temperature)?, D::Minus1)?
    } else {
        let best = similarity.broadcast_eq(&similarity.max_keepdim(D::Minus1)?)?.to_dtype(DType::F64)?;
        best.broadcast_div(&best.sum_keepdim(D::Minus1)?)?
    };
    at_label_tokens(&attention)
}

/// Numbers of the context's pairs `[K, B, P−1]` at the label tokens, 0 elsewhere: `[K, B, 1, 1, T]`.
fn at_label_tokens(numbers: &Tensor) -> Result<Tensor> {
    let (members, sequences, context) = numbers.dims3()?;
    let both = Tensor::stack(&[&numbers.zeros_like()?, numbers], 3)?.reshape((members, sequences, 2 * context))?;
    both.pad_with_zeros(2, 0, 1)?.unsqueeze(2)?.unsqueeze(2)
}

/// Logits `[K, B, 1, C]`: each label in the context the score by which one head of `scores` `[K, B, H, T, T]` attends from the query to it,
/// log-sum-exp where it stands there more than once; the others −10⁹.
pub(super) fn copied_from_head(scores: &Tensor, head: usize, labels: &Tensor, classes: usize) -> Result<Tensor> {
    let (members, sequences, pairs) = labels.dims3()?;
    let (context, tokens) = (pairs - 1, 2 * pairs - 1);
    let query = scores.narrow(2, head, 1)?.squeeze(2)?.narrow(2, tokens - 1, 1)?.squeeze(2)?;
    // Label tokens are the odd ones.
    let own = query.narrow(2, 0, tokens - 1)?.reshape((members, sequences, context, 2))?.narrow(3, 1, 1)?;
    let numbers = kept(Constant::Numbers(classes), labels.device())?;
    let stands = labels.narrow(2, 0, context)?.unsqueeze(3)?.broadcast_eq(&numbers.reshape((1, 1, 1, classes))?)?;
    let shape = stands.shape().clone();
    let never = Tensor::full(NEVER, (), scores.device())?.to_dtype(scores.dtype())?;
    let each = stands.where_cond(&own.broadcast_as(&shape)?, &never.broadcast_as(&shape)?)?;
    let logits = each.log_sum_exp(2)?;
    let any = stands.max(2)?;
    any.where_cond(&logits, &never.broadcast_as(logits.shape())?)?.unsqueeze(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(labels: &[u32], pairs: usize) -> Tokens {
        let sequences = labels.len() / pairs;
        let numbers: Vec<f32> = vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        Tokens {
            features: Tensor::from_vec(numbers, (1, 3, 2), &Device::Cpu).unwrap(),
            examples: Tensor::from_vec((0..labels.len() as u32).map(|index| index % 3).collect(), (1, sequences, pairs), &Device::Cpu)
                .unwrap(),
            labels: Tensor::from_vec(labels.to_vec(), (1, sequences, pairs), &Device::Cpu).unwrap(),
        }
    }

    fn rounded(x: &Tensor) -> Vec<f64> {
        let x: Vec<f64> = x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        x.into_iter().map(|x| (x * 1e6).round() / 1e6).collect()
    }

    #[test]
    fn induction_is_shared_evenly_and_always_whole() {
        let two = induction(&tokens(&[3, 4, 4], 3), 0.75).unwrap();
        assert_eq!(two.dims(), [1, 1, 1, 1, 5]);
        assert_eq!(rounded(&two), [0.0, 0.25, 0.0, 0.75, 0.0]);
        assert_eq!(rounded(&induction(&tokens(&[4, 3, 4, 2, 4], 5), 0.5).unwrap()), [0.0, 0.25, 0.0, 0.25, 0.0, 0.25, 0.0, 0.25, 0.0]);
        assert_eq!(rounded(&induction(&tokens(&[4, 4, 4], 3), 0.75).unwrap()), [0.0, 0.5, 0.0, 0.5, 0.0], "there are no others");
        assert_eq!(rounded(&induction(&tokens(&[1, 2, 4], 3), 0.75).unwrap()), [0.0, 0.5, 0.0, 0.5, 0.0], "there is no match");
        assert_eq!(rounded(&induction(&tokens(&[1, 2, 4], 3), 1.0).unwrap()), [0.0; 5], "nobody to attend to");
    }

    #[test]
    fn matching_goes_by_the_cosine() {
        // The query is (1, 1): equally like both.
        assert_eq!(rounded(&matched(&tokens(&[0, 1, 0], 3), 0.0).unwrap()), [0.0, 0.5, 0.0, 0.5, 0.0]);
        let mut input = tokens(&[0, 1, 0], 3);
        input.examples = Tensor::from_vec(vec![0u32, 1, 1], (1, 1, 3), &Device::Cpu).unwrap();
        assert_eq!(rounded(&matched(&input, 0.0).unwrap()), [0.0, 0.0, 0.0, 1.0, 0.0]);
        let soft = 1.0 / (1.0 + 2f64.exp());
        assert_eq!(rounded(&matched(&input, 0.5).unwrap())[1], (soft * 1e6).round() / 1e6);
    }

    #[test]
    fn a_label_that_stands_twice_gets_the_log_sum_exp() {
        let input = tokens(&[2, 2, 1, 2], 4);
        let scores: Vec<f32> = (0..2 * 7 * 7).map(|index| index as f32 / 10.0).collect();
        let scores = Tensor::from_vec(scores, (1, 1, 2, 7, 7), &Device::Cpu).unwrap();
        let logits = rounded(&copied_from_head(&scores, 1, &input.labels, 4).unwrap());
        let row = |token: usize| (49 + 42 + token) as f64 / 10.0;
        let twice = (row(1).exp() + row(3).exp()).ln();
        assert_eq!((logits[0], logits[3]), (-1e9, -1e9));
        assert!((logits[1] - row(5)).abs() < 1e-5 && (logits[2] - twice).abs() < 1e-5, "{logits:?}");
    }

    #[test]
    fn the_first_token_attends_to_itself() {
        assert_eq!(rounded(&previous_token(3, 0.75, &Device::Cpu).unwrap()), [1.0, 0.0, 0.0, 0.75, 0.25, 0.0, 0.0, 0.75, 0.25]);
    }
}
