//! Every operation in f64: its gradients against finite differences, and the fused against the composed.

use super::*;
use crate::seeds::stream;
use candle_core::{DType, Device, Var};
use rand_distr::{Distribution, StandardNormal};

fn random(shape: &[usize], seed: u64) -> Var {
    let mut random = stream(seed, "gradient check", shape.iter().fold(0, |hash, &size| hash * 31 + size as u64));
    let numbers: Vec<f64> = (0..shape.iter().product()).map(|_| StandardNormal.sample(&mut random)).collect();
    Var::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

fn integers(shape: (usize, usize, usize), below: u32) -> Tensor {
    let numbers: Vec<u32> = (0..(shape.0 * shape.1 * shape.2) as u32).map(|i| (i * 7 + i / 3) % below).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// Holds `fused` to `composed` in values and gradients, and the gradients to finite differences of a random sum of the output.
fn check(inputs: &[Var], fused: impl Fn() -> Result<Tensor>, composed: impl Fn() -> Result<Tensor>) {
    let (a, b) = (fused().unwrap(), composed().unwrap());
    assert_eq!(a.dims(), b.dims());
    assert!(distance(&a, &b) < 1e-12, "fused and composed differ by {}", distance(&a, &b));
    let weights = random(a.dims(), 99);
    let total = |out: &Tensor| out.mul(&weights).unwrap().sum_all().unwrap();
    let (a, b) = (total(&a).backward().unwrap(), total(&b).backward().unwrap());
    for (index, input) in inputs.iter().enumerate() {
        let (fused_gradient, composed_gradient) = (a.get(input).unwrap(), b.get(input).unwrap());
        assert!(distance(fused_gradient, composed_gradient) < 1e-11, "gradients of input {index} differ");
        let gradient: Vec<f64> = fused_gradient.flatten_all().unwrap().to_vec1().unwrap();
        let numbers: Vec<f64> = input.flatten_all().unwrap().to_vec1().unwrap();
        let at = |numbers: Vec<f64>| {
            input.set(&Tensor::from_vec(numbers, input.shape(), &Device::Cpu).unwrap()).unwrap();
            total(&fused().unwrap()).to_scalar::<f64>().unwrap()
        };
        for place in (0..numbers.len()).step_by(1 + numbers.len() / 40) {
            let moved = |by: f64| numbers.iter().enumerate().map(|(i, &x)| if i == place { x + by } else { x }).collect();
            let slope = (at(moved(1e-5)) - at(moved(-1e-5))) / 2e-5;
            assert!(
                (slope - gradient[place]).abs() < 1e-7 * slope.abs().max(1.0),
                "input {index}, {place}: {slope}, not {}",
                gradient[place]
            );
        }
        at(numbers);
    }
}

#[test]
fn linear_has_its_gradients() {
    let (x, weight, bias, residual) = (random(&[2, 3, 5, 7], 1), random(&[2, 11, 7], 2), random(&[2, 11], 3), random(&[2, 3, 5, 11], 4));
    let inputs = [x.clone(), weight.clone()];
    check(&inputs, || linear(&x, &weight, Plus::Nothing), || linear_composed(&x, &weight, Plus::Nothing));
    let inputs = [x.clone(), weight.clone(), bias.clone()];
    check(&inputs, || linear(&x, &weight, Plus::Bias(&bias)), || linear_composed(&x, &weight, Plus::Bias(&bias)));
    let inputs = [x.clone(), weight.clone(), residual.clone()];
    check(&inputs, || linear(&x, &weight, Plus::Residual(&residual)), || linear_composed(&x, &weight, Plus::Residual(&residual)));
}

#[test]
fn layer_norm_has_its_gradients() {
    for width in [6, 8, 19] {
        let inputs = [random(&[2, 3, 5, width], 1), random(&[2, width], 2), random(&[2, width], 3)];
        let [x, gain, bias] = &inputs;
        check(&inputs, || layer_norm(x, gain, bias), || layer_norm_composed(x, gain, bias));
    }
}

#[test]
fn attention_has_its_gradients() {
    for rotary in [None, Some(100.0)] {
        for causal in [true, false] {
            for query_alone in [true, false] {
                let heads = Heads { count: 3, rotary, causal };
                let inputs = [random(&[2, 2, 5, 3 * 3 * 4], 1)];
                for silenced in [None, Some([false, true, true, false, false, false].into())] {
                    check(
                        &inputs,
                        || attention(&inputs[0], heads, query_alone, silenced.clone()),
                        || attention_composed(&inputs[0], heads, query_alone, silenced.clone()),
                    );
                }
            }
        }
    }
}

#[test]
fn steps_of_attention_have_their_gradients() {
    use attention_steps::*;
    // Twelve dimensions a head are eight at once and four one by one.
    let qkv = [random(&[2, 2, 5, 3 * 3 * 12], 1)];
    let [q, k, v] = [2, 3, 4].map(|seed| random(&[2, 2, 3, 5, 12], seed));
    for rotary in [None, Some(100.0)] {
        for causal in [true, false] {
            let heads = Heads { count: 3, rotary, causal };
            for part in 0..3 {
                let of = |parts: [Tensor; 3]| parts[part].affine(2.0, 1.0);
                check(&qkv, || of(split(&qkv[0], heads)?), || of(split_composed(&qkv[0], heads)?));
            }
            let turned = |x: Tensor| x.affine(2.0, 1.0);
            check(std::slice::from_ref(&q), || turned(rotated(&q, heads)?), || turned(rotated_composed(&q, heads)?));
            // So that what may not be looked at does not drown the rest.
            let tamed = |scores: Tensor| scores.maximum(-50.0);
            check(&[q.clone(), k.clone()], || tamed(scores(&q, &k, heads)?), || tamed(scores_composed(&q, &k, heads)?));
        }
    }
    let own = [random(&[2, 2, 3, 5, 5], 5)];
    check(&own, || pattern(&own[0]), || pattern_composed(&own[0]));
    check(&[own[0].clone(), v.clone()], || weighted(&own[0], &v), || weighted_composed(&own[0], &v));
}

#[test]
fn gelu_has_its_gradient() {
    let inputs = [Var::from_tensor(&(random(&[50], 1).as_tensor() * 3.0).unwrap()).unwrap()];
    check(&inputs, || gelu(&inputs[0]), || gelu_composed(&inputs[0]));
}

#[test]
fn gelu_is_itself_far_from_zero() {
    let x = Tensor::new(&[-1e4f32, -20.0, 0.0, 20.0, 1e4], &Device::Cpu).unwrap();
    assert_eq!(gelu(&x).unwrap().to_vec1::<f32>().unwrap(), [0.0, 0.0, 0.0, 20.0, 1e4]);
}

#[test]
fn cross_entropy_has_its_gradient() {
    let inputs = [random(&[2, 3, 5], 1)];
    let targets = integers((2, 3, 1), 5).squeeze(2).unwrap();
    check(&inputs, || cross_entropy(&inputs[0], &targets), || cross_entropy_composed(&inputs[0], &targets));
}

#[test]
fn tokens_have_their_gradients() {
    let (examples, labels) = (integers((2, 4, 3), 6), integers((2, 4, 3), 5));
    let (embedded, table, positions) = (random(&[2, 6, 8], 1), random(&[2, 8, 5], 2), random(&[2, 8, 32], 3));
    let composed = || interleave(&pick(&embedded, &examples)?, &pick(&table.transpose(1, 2)?.contiguous()?, &labels)?);
    let inputs = [embedded.clone(), table.clone()];
    check(&inputs, || tokens(&embedded, &table, None, &examples, &labels), composed);
    let placed = || composed()?.broadcast_add(&positions.narrow(2, 0, 5)?.transpose(1, 2)?.contiguous()?.unsqueeze(1)?);
    let inputs = [embedded.clone(), table.clone(), positions.clone()];
    check(&inputs, || tokens(&embedded, &table, Some(&positions), &examples, &labels), placed);
}

#[test]
fn the_query_label_is_not_seen() {
    let (embedded, table) = (random(&[1, 6, 8], 1), random(&[1, 8, 5], 2));
    let labels = |query: u32| Tensor::new(&[[[1u32, 2, query]]], &Device::Cpu).unwrap();
    let examples = integers((1, 1, 3), 6);
    let with = |query| tokens(&embedded, &table, None, &examples, &labels(query)).unwrap();
    assert_eq!(distance(&with(0), &with(4)), 0.0);
}

/// Two steps by hand, of two members with their own rates and clipping.
#[test]
fn adam_takes_the_published_step() {
    let var = |numbers: &[f64]| Var::from_vec(numbers.to_vec(), (2, 1), &Device::Cpu).unwrap();
    let (parameter, first, second) = (var(&[1.0, 1.0]), var(&[0.0, 0.0]), var(&[0.0, 0.0]));
    let mut expected = [(1.0, 0.0, 0.0); 2];
    for (step, gradients) in [[0.5, -2.0], [0.1, 3.0]].into_iter().enumerate() {
        let with = Adam { rates: &[0.1, 0.2], scales: &[1.0, 0.5], correction: correction(step as u64 + 1) };
        adam(&parameter, &first, &second, var(&gradients).as_tensor(), with).unwrap();
        for (member, (p, m, v)) in expected.iter_mut().enumerate() {
            let gradient = gradients[member] * with.scales[member];
            *m = 0.9 * *m + 0.1 * gradient;
            *v = 0.999 * *v + 0.001 * gradient * gradient;
            let (m_hat, v_hat) = (*m / (1.0 - 0.9f64.powi(step as i32 + 1)), *v / (1.0 - 0.999f64.powi(step as i32 + 1)));
            *p -= with.rates[member] * m_hat / (v_hat.sqrt() + 1e-8);
        }
    }
    let is: Vec<f64> = parameter.flatten_all().unwrap().to_vec1().unwrap();
    for (is, (expected, _, _)) in is.iter().zip(expected) {
        assert!((is - expected).abs() < 1e-12, "{is}, not {expected}");
    }
}

#[test]
fn other_numbers_are_refused_by_name() {
    let half = Tensor::zeros((1, 2, 3), DType::F16, &Device::Cpu).unwrap();
    let message = gelu(&half).unwrap_err().to_string();
    assert!(message.contains("a transformer of F16 is not supported, only of F32 and F64"), "{message}");
}
