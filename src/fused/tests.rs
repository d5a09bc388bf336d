//! The fused step against the transformer's own forward pass and candle's gradients, and against finite differences, in f64.

use super::*;
use crate::clamp::{Clamp, New};
use crate::experiment::Positions;
use crate::gate::Gate;
use crate::gradients::Gradients;
use crate::ops::cross_entropy;
use crate::seeds::stream;
use crate::site::Site;
use crate::transformer::Parameters;
use crate::transformer::{Architecture, Tokens, Transformer};
use candle_core::{DType, Device, Tensor};
use rand_distr::{Distribution, StandardNormal};
use std::sync::Arc;

const BASE: Architecture = Architecture {
    layers: 2,
    width: 12,
    heads: 3,
    hidden: None,
    features: 7,
    example_bias: true,
    outputs: 5,
    positions: Positions::Rope,
    time: 100.0,
    norms: true,
    causal: true,
};

fn transformer(architecture: &Architecture, members: u64) -> Transformer {
    let models = (0..members).map(|member| {
        let draw = |(name, shape): (String, Vec<usize>)| {
            let mut random = stream(member, &name, 0);
            let numbers: Vec<f64> = (0..shape.iter().product()).map(|_| StandardNormal.sample(&mut random)).collect();
            (name, (Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap() * 0.5).unwrap())
        };
        architecture.parameters().into_iter().map(draw).collect()
    });
    let parameters = Parameters::stack(&models.collect::<Vec<_>>(), &Device::Cpu).unwrap();
    Transformer::new(architecture.clone(), parameters).unwrap()
}

/// Six sequences of three pairs of four exemplars; one label is never seen.
fn tokens(architecture: &Architecture, members: usize, batch: u64) -> Tokens {
    let mut random = stream(batch, "features", 0);
    let numbers: Vec<f64> = (0..members * 4 * architecture.features).map(|_| StandardNormal.sample(&mut random)).collect();
    let whole = |below: u32, salt: u32| {
        let numbers: Vec<u32> = (0..(members * 18) as u32).map(|i| (i * 7 + i / 3 + salt + batch as u32) % below).collect();
        Tensor::from_vec(numbers, (members, 6, 3), &Device::Cpu).unwrap()
    };
    Tokens {
        features: Tensor::from_vec(numbers, (members, 4, architecture.features), &Device::Cpu).unwrap(),
        examples: whole(4, 0),
        labels: whole(architecture.outputs as u32 - 1, 1),
    }
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

fn largest(a: &Tensor) -> f64 {
    distance(a, &a.zeros_like().unwrap())
}

/// The same clamps for the gate: no values for some heads of the last layer, patterns for some.
fn at_the_gate(architecture: &Architecture, clamps: &Clamps) -> Vec<Clamp> {
    let clamp = |place, flags: &[bool], shape: (usize, usize, usize, usize, usize), new| {
        let mask = Tensor::from_vec(flags.iter().map(|&flag| u8::from(flag)).collect::<Vec<_>>(), shape, &Device::Cpu).unwrap();
        Clamp { place, mask: Some(mask), new, strength: None, detach: false, silences: None, replaces: None }
    };
    let heads = architecture.heads;
    let silenced = clamps.silenced.iter().enumerate().filter_map(|(layer, silenced)| Some((layer, silenced.as_ref()?)));
    let values =
        silenced.map(|(layer, flags)| clamp((Site::Value, Some(layer)), flags, (flags.len() / heads, 1, heads, 1, 1), New::Constant(0.0)));
    let patterns = clamps.given.iter().map(|given| {
        let shape = (given.rows.len() / heads / TOKENS, 1, heads, TOKENS, 1);
        clamp((Site::Pattern, Some(given.layer)), &given.rows, shape, New::Given(given.pattern.clone()))
    });
    values.chain(patterns).collect()
}

/// Two steps' losses and gradients, both ways; the second on other labels, so that nothing may be left of the first.
fn check(architecture: &Architecture, members: usize, clamps: &Clamps) {
    let transformer = transformer(architecture, members as u64);
    let mut fused = Fused::<f64>::new(&transformer).unwrap();
    let mut workspace = Workspace::default();
    for batch in 0..2 {
        let input = tokens(architecture, members, batch);
        let logits = transformer.forward(&input, &mut Gate::clamping(at_the_gate(architecture, clamps))).unwrap();
        let losses = cross_entropy(&logits, &input.targets().unwrap()).unwrap();
        let expected = Gradients::of(&losses, transformer.parameters()).unwrap();
        let own = fused.step(&mut workspace, &transformer, &input, clamps).unwrap();
        for (own, expected) in own.iter().zip(losses.to_vec1::<f64>().unwrap()) {
            assert!((own - expected).abs() < 1e-12, "{architecture:?}: loss {own}, not {expected}");
        }
        if members == 1 {
            check_evaluation(&mut workspace, &transformer, &input, clamps, &logits);
        }
        for (((name, _), own), expected) in transformer.parameters().iter().zip(fused.gradients()).zip(expected.iter()) {
            let away = distance(own, expected) / largest(expected).max(1.0);
            assert!(away < 1e-12, "{architecture:?}, batch {batch}: {name} by {away}");
        }
    }
}

/// Logits, with and without looking at the patterns, and the patterns.
fn check_evaluation(workspace: &mut Workspace<f64>, transformer: &Transformer, input: &Tokens, clamps: &Clamps, logits: &Tensor) {
    let layers = transformer.architecture().layers;
    let mut gate = Gate::looking_at((0..layers).map(|layer| (Site::Pattern, Some(layer))));
    gate.put_first(at_the_gate(transformer.architecture(), clamps));
    transformer.forward(input, &mut gate).unwrap();
    let mut evaluation = FusedEvaluation::<f64>::new(transformer).unwrap();
    let (sequences, tokens) = (input.examples.dims()[1], 2 * input.examples.dims()[2] - 1);
    let (mut seen, mut heads) = (Vec::new(), 0);
    let mut look = |layer: usize, pattern: Pattern<f64>| {
        assert_eq!(layer * sequences * pattern.heads() * tokens * tokens, seen.len());
        heads = pattern.heads();
        for place in 0..sequences * heads * tokens * tokens {
            let (row, s) = (place / tokens, place % tokens);
            seen.push(pattern.at(row / tokens / heads, row / tokens % heads, row % tokens, s));
        }
        Ok(())
    };
    let own = evaluation.forward(workspace, transformer, input, clamps, Some(&mut look)).unwrap();
    assert!(distance(&own, logits) < 1e-12 * largest(logits).max(1.0));
    let seen = Tensor::from_vec(seen, (layers, sequences, heads, tokens, tokens), &Device::Cpu).unwrap();
    let expected: Vec<Tensor> = gate.take_seen().into_iter().map(|(_, pattern)| pattern).collect();
    assert!(distance(&seen, &Tensor::cat(&expected, 0).unwrap()) < 1e-12);
    let own = evaluation.forward(workspace, transformer, input, clamps, None).unwrap();
    assert!(distance(&own, logits) < 1e-12 * largest(logits).max(1.0));
}

#[test]
fn the_base_and_each_option_agree_with_the_graph() {
    let options: [fn(&mut Architecture); 14] = [
        |_| (),
        |own| own.positions = Positions::Learned,
        |own| own.positions = Positions::Sinusoidal,
        |own| own.norms = false,
        |own| own.causal = false,
        |own| own.hidden = Some(9),
        |own| own.layers = 1,
        |own| (own.layers, own.positions) = (1, Positions::Learned),
        |own| (own.heads, own.width, own.layers, own.hidden) = (9, 36, 3, Some(10)),
        |own| (own.heads, own.width, own.hidden) = (9, 36, Some(250)),
        // Heads whose dimensions are gone through in two parts, and one by one.
        |own| own.width = 48,
        |own| (own.width, own.positions) = (48, Positions::Learned),
        |own| (own.width, own.positions) = (9, Positions::Learned),
        |own| (own.example_bias, own.norms, own.causal, own.hidden) = (false, false, false, Some(9)),
    ];
    for option in options {
        let mut architecture = BASE;
        option(&mut architecture);
        check(&architecture, 1, &Clamps::default());
    }
}

#[test]
fn members_have_their_own_numbers() {
    check(&BASE, 3, &Clamps::default());
    check(&Architecture { positions: Positions::Learned, ..BASE }, 2, &Clamps::default());
}

/// No values for some heads of the last layer.
fn silence(heads: &[bool]) -> Clamps {
    Clamps { silenced: vec![None, Some(heads.into())], given: Vec::new() }
}

#[test]
fn silenced_heads_have_no_values() {
    check(&BASE, 1, &silence(&[true, false, true]));
    check(&BASE, 2, &silence(&[true, false, true, false, false, true]));
}

/// Tokens of the sequences above.
const TOKENS: usize = 5;

/// Patterns for head 1 of layer 0 at all tokens, and for head 2 of layer 1 at the query; the later over the earlier.
#[test]
fn heads_attend_as_they_are_given() {
    let numbers = |shape: (usize, usize, usize, usize, usize)| {
        let count = shape.0 * shape.1 * shape.3 * shape.4;
        Tensor::from_vec((0..count).map(|i| ((i * 7 + i / 5) % 11) as f64 / 10.0).collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()
    };
    let rows = |members: usize, head: usize, first: usize| -> Arc<[bool]> {
        let one = (0..BASE.heads).flat_map(|own| (0..TOKENS).map(move |t| own == head && t >= first));
        std::iter::repeat_n(one.collect::<Vec<_>>(), members).flatten().collect()
    };
    for members in [1, 2] {
        let lower = Tensor::tril2(TOKENS, DType::F64, &Device::Cpu).unwrap();
        let of_all = numbers((1, 1, 1, TOKENS, TOKENS)).broadcast_mul(&lower).unwrap();
        let of_each = numbers((members, 6, 1, 1, TOKENS));
        let given = vec![
            Given { layer: 0, rows: rows(members, 1, 0), pattern: of_all.clone() },
            Given { layer: 1, rows: rows(members, 2, 0), pattern: of_all },
            Given { layer: 1, rows: rows(members, 2, TOKENS - 1), pattern: of_each },
        ];
        let silenced = vec![None, Some(vec![true, false, false].into())];
        check(&BASE, members, &Clamps { silenced: silenced.clone(), given: given.clone() });
        check(&Architecture { positions: Positions::Learned, hidden: Some(9), ..BASE }, members, &Clamps { silenced, given });
    }
}

#[test]
fn gradients_are_finite_differences() {
    let architecture = Architecture { hidden: Some(6), ..BASE };
    let (transformer, input) = (transformer(&architecture, 1), tokens(&architecture, 1, 0));
    let mut fused = Fused::<f64>::new(&transformer).unwrap();
    let (clamps, mut workspace) = (Clamps::default(), Workspace::default());
    fused.step(&mut workspace, &transformer, &input, &clamps).unwrap();
    let gradients: Vec<Tensor> = fused.gradients().iter().map(|gradient| gradient.copy().unwrap()).collect();
    for (index, (name, var)) in transformer.parameters().iter().enumerate() {
        let numbers: Vec<f64> = var.flatten_all().unwrap().to_vec1().unwrap();
        let gradient: Vec<f64> = gradients[index].flatten_all().unwrap().to_vec1().unwrap();
        let mut at = |numbers: Vec<f64>| {
            var.set(&Tensor::from_vec(numbers, var.shape(), &Device::Cpu).unwrap()).unwrap();
            fused.step(&mut workspace, &transformer, &input, &clamps).unwrap()[0]
        };
        for place in (0..numbers.len()).step_by(1 + numbers.len() / 15) {
            let mut moved = |by: f64| at(numbers.iter().enumerate().map(|(i, &x)| if i == place { x + by } else { x }).collect());
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((slope - gradient[place]).abs() < 1e-8, "{name}, {place}: {slope}, not {}", gradient[place]);
        }
        at(numbers);
    }
}

#[test]
fn another_type_of_number_is_refused() {
    let message = Fused::<f32>::new(&transformer(&BASE, 1)).err().unwrap().to_string();
    assert!(message.contains("a fused step is for F32 on the CPU"), "{message}");
    assert_eq!(transformer(&BASE, 1).parameters().dtype(), DType::F64);
}
