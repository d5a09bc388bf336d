//! Every kernel, forward and backward, held to the operation of the CPU; one is skipped, with a message, where there is no C++ compiler.

use super::{Descent, host};
use crate::ops::{self, Adam, Heads, Plus};
use crate::seeds::stream;
use candle_core::{Device, Result, Tensor, Var};
use rand_distr::{Distribution, StandardNormal};

/// Of the largest number: sums of the same numbers in another order.
const TOLERANCE: f32 = 4e-6;

fn random(shape: &[usize], seed: u64) -> Var {
    let mut random = stream(seed, "kernels", shape.iter().fold(0, |hash, &size| hash * 31 + size as u64));
    let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| StandardNormal.sample(&mut random)).collect();
    Var::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

fn integers(shape: (usize, usize, usize), below: u32) -> Tensor {
    let numbers: Vec<u32> = (0..(shape.0 * shape.1 * shape.2) as u32).map(|i| (i * 7 + i / 3) % below).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

fn assert_near(what: &str, own: &Tensor, expected: &Tensor) {
    assert_eq!(own.dims(), expected.dims(), "{what}");
    let largest = |x: &Tensor| x.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
    let (away, size) = (largest(&(own - expected).unwrap()), largest(expected).max(1.0));
    let finite = own.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|number| number.is_finite());
    assert!(finite && away <= TOLERANCE * size, "{what}: {away} away, of {size}");
}

/// Holds values, and gradients of a random sum of them, to each other.
fn hold(what: &str, inputs: &[Var], kernels: impl Fn() -> Result<Tensor>, cpu: impl Fn() -> Result<Tensor>) {
    if !host::is_there() {
        return;
    }
    let (own, expected) = (kernels().unwrap(), cpu().unwrap());
    assert_near(what, &own, &expected);
    let weights = random(own.dims(), 99);
    let gradients = |out: &Tensor| out.mul(&weights).unwrap().sum_all().unwrap().backward().unwrap();
    let (own, expected) = (gradients(&own), gradients(&expected));
    for (index, input) in inputs.iter().enumerate() {
        assert_near(&format!("{what}, gradient of input {index}"), own.get(input).unwrap(), expected.get(input).unwrap());
    }
}

#[test]
fn layer_norm() {
    for (width, rows) in [(6, 1), (19, 5), (64, 160)] {
        let inputs = [random(&[3, rows, 2, width], 1), random(&[3, width], 2), random(&[3, width], 3)];
        let [x, gain, bias] = &inputs;
        hold(&format!("norm of {width}"), &inputs, || super::layer_norm(x, gain, bias), || ops::layer_norm(x, gain, bias));
    }
}

#[test]
fn attention() {
    for rotary in [None, Some(100.0)] {
        for (causal, query_alone) in [(true, true), (true, false), (false, true), (false, false)] {
            // The heads of one member, of each of two, and of both alike.
            let silenced = [vec![], vec![false, true, true, false, false, true], vec![true, false, false]];
            for (count, silenced) in silenced.into_iter().enumerate() {
                let silenced = (count > 0).then(|| silenced.into());
                let heads = Heads { count: 3, rotary, causal };
                let inputs = [random(&[2, 7, 5, 3 * 3 * 4], 1)];
                let what = format!("attention, {heads:?}, of the query alone: {query_alone}, silenced: {silenced:?}");
                let own = || Ok(super::attention(&inputs[0], heads, query_alone, silenced.clone())?.0);
                hold(&what, &inputs, own, || ops::attention(&inputs[0], heads, query_alone, silenced.clone()));
                if host::is_there() && !query_alone {
                    let (_, own) = super::attention(&inputs[0], heads, false, silenced.clone()).unwrap();
                    let (_, expected) = ops::attention_and_pattern(&inputs[0], heads, silenced).unwrap();
                    assert_near(&what, &own, &expected);
                }
            }
        }
    }
}

/// Heads of an odd width, which rotary positions are not for.
#[test]
fn attention_of_odd_heads() {
    let heads = Heads { count: 2, rotary: None, causal: true };
    let inputs = [random(&[1, 3, 4, 3 * 2 * 5], 1)];
    hold(
        "odd heads",
        &inputs,
        || Ok(super::attention(&inputs[0], heads, false, None)?.0),
        || ops::attention(&inputs[0], heads, false, None),
    );
}

#[test]
fn tokens() {
    let (examples, labels) = (integers((2, 40, 3), 6), integers((2, 40, 3), 5));
    let inputs = [random(&[2, 6, 8], 1), random(&[2, 8, 5], 2), random(&[2, 8, 32], 3)];
    let [embedded, table, positions] = &inputs;
    for positions in [None, Some(positions.as_tensor())] {
        let own = || super::tokens(embedded, table, positions, &examples, &labels);
        let given = if positions.is_some() { &inputs[..] } else { &inputs[..2] };
        hold("tokens", given, own, || ops::tokens(embedded, table, positions, &examples, &labels));
    }
    let short = random(&[2, 8, 4], 3);
    let message = super::tokens(embedded, table, Some(&short), &examples, &labels).unwrap_err().to_string();
    assert!(message.contains("5 tokens, but a table of 4 positions"), "{message}");
}

#[test]
fn cross_entropy() {
    for classes in [2, 5, 300] {
        let inputs = [random(&[3, 33, classes], 1)];
        let targets = integers((3, 33, 1), classes as u32).squeeze(2).unwrap();
        let own = || super::cross_entropy(&inputs[0], &targets);
        hold(&format!("cross-entropy of {classes}"), &inputs, own, || ops::cross_entropy(&inputs[0], &targets));
    }
}

#[test]
fn gelu() {
    let inputs = [Var::from_tensor(&(random(&[2, 300], 1).as_tensor() * 3.0).unwrap()).unwrap()];
    hold("gelu", &inputs, || super::gelu(&inputs[0]), || ops::gelu(&inputs[0]));
    if host::is_there() {
        let far = Tensor::new(&[-1e4f32, -20.0, 0.0, 20.0, 1e4], &Device::Cpu).unwrap();
        assert_eq!(super::gelu(&far).unwrap().to_vec1::<f32>().unwrap(), [0.0, 0.0, 0.0, 20.0, 1e4]);
    }
}

#[test]
fn linear() {
    let (x, weight) = (random(&[2, 3, 5, 7], 1), random(&[2, 11, 7], 2));
    let (bias, residual) = (random(&[2, 11], 3), random(&[2, 3, 5, 11], 4));
    let cases = [
        ("nothing", Plus::Nothing, None),
        ("bias", Plus::Bias(&bias), Some(&bias)),
        ("residual", Plus::Residual(&residual), Some(&residual)),
    ];
    for (what, plus, third) in cases {
        let inputs: Vec<Var> = [&x, &weight].into_iter().chain(third).cloned().collect();
        hold(what, &inputs, || super::linear(&x, &weight, plus), || ops::linear(&x, &weight, plus));
    }
}

/// Features need no gradient, so none is computed.
#[test]
fn features_have_no_gradient() {
    if host::is_there() {
        let (features, weight) = (random(&[2, 3, 7], 1).as_detached_tensor(), random(&[2, 11, 7], 2));
        let store = super::linear(&features, &weight, Plus::Nothing).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(store.get(&features).is_none() && store.get(&weight).is_some());
    }
}

/// Three steps of two members with their own rates, one of them clipped.
#[test]
fn descent() {
    if !host::is_there() {
        return;
    }
    let shape = [2, 9, 40];
    let twice = |seed| [random(&shape, seed), random(&shape, seed)];
    let zeros = || Var::zeros(&shape[..], candle_core::DType::F32, &Device::Cpu).unwrap();
    let (parameters, plain) = (twice(1), twice(2));
    let moments = [(zeros(), zeros()), (zeros(), zeros())];
    let rates = [0.1, 0.02];
    let on_device = Tensor::new(&rates.map(|rate| rate as f32), &Device::Cpu).unwrap();
    for step in 1..=3 {
        let small = Tensor::new(&[0.1f32, 1.0], &Device::Cpu).unwrap().reshape((2, 1, 1)).unwrap();
        let grad = random(&shape, 10 + step).broadcast_mul(&small).unwrap();
        let norms = super::norms([&grad]).unwrap();
        let exact: Vec<f64> = grad
            .flatten_from(1)
            .unwrap()
            .sqr()
            .unwrap()
            .sum(1)
            .unwrap()
            .sqrt()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
            .into_iter()
            .map(f64::from)
            .collect();
        assert!(exact[0] < 5.0 && exact[1] > 5.0, "{exact:?}");
        assert_near("norms", &norms, &Tensor::new(&[exact[0] as f32, exact[1] as f32], &Device::Cpu).unwrap());
        let by = Descent { rates: &on_device, clip: Some((&norms, 5.0)) };
        let with = Adam { rates: &rates, scales: &[1.0, 5.0 / exact[1]], correction: ops::correction(step) };
        super::adam(&parameters[0], (&moments[0].0, &moments[0].1), &grad, by, with.correction).unwrap();
        ops::adam(&parameters[1], &moments[1].0, &moments[1].1, &grad, with).unwrap();
        super::descend(&plain[0], &grad, Descent { rates: &on_device, clip: None }).unwrap();
        ops::descend(&plain[1], &grad, &rates, &[1.0, 1.0]).unwrap();
    }
    assert_near("Adam", &parameters[0], &parameters[1]);
    assert_near("Adam's first moments", &moments[0].0, &moments[1].0);
    assert_near("Adam's second moments", &moments[0].1, &moments[1].1);
    assert_near("descent", &plain[0], &plain[1]);
}

/// Norms go over several tensors.
#[test]
fn norms() {
    if host::is_there() {
        let tensors = [random(&[3, 700], 1), random(&[3, 2, 5], 2)];
        let own = super::norms(tensors.iter().map(Var::as_tensor)).unwrap();
        let squares = |x: &Var| x.flatten_from(1).unwrap().sqr().unwrap().sum(1).unwrap();
        assert_near("norms", &own, &(squares(&tensors[0]) + squares(&tensors[1])).unwrap().sqrt().unwrap());
    }
}

#[test]
fn what_a_kernel_cannot_take_is_refused() {
    let turned = random(&[4, 6], 1).t().unwrap();
    let message = super::gelu(&turned).unwrap_err().to_string();
    assert!(message.contains("a kernel was given a tensor that is not contiguous"), "{message}");
    let double = Tensor::zeros(3, candle_core::DType::F64, &Device::Cpu).unwrap();
    let message = super::gelu(&double).unwrap_err().to_string();
    assert!(message.contains("a kernel was given a tensor of another device or type"), "{message}");
}
