//! Measures of weights and of what heads add, against their definitions written out.

use candle_core::{DType, Tensor};
use optogen::gate::Gate;
use optogen::site::Site;
use optogen::weights::{Weight, attribution, measure};
use optogen_tests::reference::Case;

fn find(all: &[Weight], name: &str, from: Option<(usize, usize)>, layer: usize, head: usize) -> f64 {
    let wanted = |one: &&Weight| one.measure == name && one.from == from && (one.layer, one.head) == (layer, head);
    all.iter().find(wanted).expect("the measure is there").value
}

/// Rows of a tensor [R, C].
fn rows(x: &Tensor) -> Vec<Vec<f64>> {
    x.to_dtype(DType::F64).unwrap().to_vec2().unwrap()
}

#[test]
fn weights_are_measured_as_defined() {
    let case = Case::open("induction");
    let features = case.tensor("data/bank", DType::F32).narrow(1, 0, 1).unwrap().squeeze(1).unwrap().narrow(0, 0, 6).unwrap();
    let all = measure(&case.transformer(1, DType::F32), 0, Some(&features)).unwrap();
    // 3 compositions of 8 · 8 pairs, and two measures of 16 heads.
    assert_eq!(all.len(), 3 * 64 + 2 * 16);
    let get = |name: &str| rows(&case.tensor(&format!("params/{name}"), DType::F64));
    let (projection, later) = (get("transformer/blocks/0/attn/proj/weight"), get("transformer/blocks/1/attn/qkv/weight"));
    let (from, head, size) = (2, 3, 8);
    // ‖W_K W_O‖ / (‖W_K‖ ‖W_O‖) of 0.2 and 1.3, entry by entry.
    let key = |i: usize, d: usize| later[64 + head * size + i][d];
    let output = |d: usize, j: usize| projection[d][from * size + j];
    let (mut product, mut keys, mut outputs) = (0.0, 0.0, 0.0);
    for i in 0..size {
        for j in 0..size {
            product += (0..64).map(|d| key(i, d) * output(d, j)).sum::<f64>().powi(2);
        }
        for d in 0..64 {
            keys += key(i, d).powi(2);
            outputs += output(d, i).powi(2);
        }
    }
    let expected = (product / (keys * outputs)).sqrt();
    assert!((find(&all, "k_composition", Some((0, from)), 1, head) - expected).abs() < 1e-9);

    // U W_O W_V L of 0.2: a label to itself, less to the others.
    let (unembedding, labels, values) = (get("unembed/weight"), get("label_embed/weight"), get("transformer/blocks/0/attn/qkv/weight"));
    let logit = |to: usize, label: usize| -> f64 {
        let value = |j: usize| (0..64).map(|d| values[128 + from * size + j][d] * labels[d][label]).sum::<f64>();
        let own: Vec<f64> = (0..size).map(value).collect();
        (0..64).map(|d| unembedding[to][d] * (0..size).map(|j| output(d, j) * own[j]).sum::<f64>()).sum()
    };
    let itself: f64 = (0..5).map(|label| logit(label, label)).sum::<f64>() / 5.0;
    let others: f64 = (0..25).filter(|pair| pair / 5 != pair % 5).map(|pair| logit(pair / 5, pair % 5)).sum::<f64>() / 20.0;
    assert!((find(&all, "ov_copying", None, 0, from) - (itself - others)).abs() < 1e-9);

    // e W_Q W_K e of 0.0: with itself, less with the others.
    let (weight, bias) = (get("example_embed/weight"), case.tensor("params/example_embed/bias", DType::F64).to_vec1::<f64>().unwrap());
    let features = rows(&features);
    let embedded: Vec<Vec<f64>> =
        features.iter().map(|x| (0..64).map(|d| bias[d] + weight[d].iter().zip(x).map(|(w, x)| w * x).sum::<f64>()).collect()).collect();
    let part = |which: usize, e: &[f64], i: usize| (0..64).map(|d| values[which * 64 + i][d] * e[d]).sum::<f64>();
    let score = |a: usize, b: usize| (0..size).map(|i| part(0, &embedded[a], i) * part(1, &embedded[b], i)).sum::<f64>() / 8f64.sqrt();
    let own = (0..6).map(|a| score(a, a)).sum::<f64>() / 6.0;
    let other = (0..36).filter(|pair| pair / 6 != pair % 6).map(|pair| score(pair / 6, pair % 6)).sum::<f64>() / 30.0;
    let found = find(&all, "qk_match", None, 0, 0);
    assert!((found - (own - other)).abs() < 1e-6 * found.abs().max(1.0), "{found}, not {}", own - other);
}

/// What all heads add, what the embedding adds and the biases make up the difference of the logits.
#[test]
fn attributions_add_up_to_the_logits() {
    let case = Case::open("induction");
    let transformer = case.transformer(1, DType::F64);
    let input = case.batch(1, DType::F64);
    let last = (Site::ResidualPost, Some(1));
    let mut gate = Gate::looking_at([(Site::Embedding, None), (Site::Z, Some(0)), (Site::Z, Some(1)), last]);
    let logits = rows(&transformer.forward(&input, &mut gate).unwrap().get(0).unwrap());
    let seen = gate.take_seen();
    let at = |place| seen.iter().find(|(own, _)| *own == place).unwrap().1.get(0).unwrap();
    let labels = input.labels.get(0).unwrap();
    let mut total = 0.0;
    for layer in 0..2 {
        total += attribution(&transformer, layer, &at((Site::Z, Some(layer))), &at(last), &labels).unwrap().iter().sum::<f64>();
    }
    let get = |name: &str| case.tensor(&format!("params/{name}"), DType::F64);
    let (unembedding, bias) = (rows(&get("unembed/weight")), get("unembed/bias").to_vec1::<f64>().unwrap());
    let (gain, shift) = (get("transformer/norm/weight").to_vec1::<f64>().unwrap(), get("transformer/norm/bias").to_vec1::<f64>().unwrap());
    let query = |x: &Tensor| rows(&x.narrow(1, 4, 1).unwrap().squeeze(1).unwrap());
    let (embedding, stream) = (query(&at((Site::Embedding, None))), query(&at(last)));
    let (mut expected, mut rest) = (0.0, 0.0);
    let labels: Vec<Vec<u32>> = labels.to_vec2().unwrap();
    for (sequence, labels) in labels.iter().enumerate() {
        let others: Vec<usize> = labels[..2].iter().filter(|&&label| label != labels[2]).map(|&label| label as usize).collect();
        let right = labels[2] as usize;
        let mean = |of: &dyn Fn(usize) -> f64| others.iter().map(|&label| of(label)).sum::<f64>() / others.len() as f64;
        expected += logits[sequence][right] - mean(&|label| logits[sequence][label]);
        rest += bias[right] - mean(&|label| bias[label]);
        let average = |x: &[f64]| x.iter().sum::<f64>() / 64.0;
        let x = &stream[sequence];
        let deviation = (x.iter().map(|&x| (x - average(&stream[sequence])).powi(2)).sum::<f64>() / 64.0 + 1e-5).sqrt();
        for d in 0..64 {
            let direction = unembedding[right][d] - mean(&|label| unembedding[label][d]);
            let own = (embedding[sequence][d] - average(&embedding[sequence])) / deviation * gain[d] + shift[d];
            rest += own * direction;
        }
    }
    let count = labels.len() as f64;
    assert!((total + rest / count - expected / count).abs() < 1e-9, "{total} + {} is not {}", rest / count, expected / count);
}

/// The gradient at the logits of all tokens, added up, is that of the unembedding's bias.
#[test]
fn gradients_of_sites_are_known() {
    use optogen::gradients::Gradients;
    use optogen::ops;
    let case = Case::open("induction");
    let (transformer, input) = (case.transformer(1, DType::F64), case.batch(1, DType::F64));
    let place = (Site::Unembedding, None);
    let mut gate = Gate::probing([place]);
    let loss = ops::cross_entropy(&transformer.forward(&input, &mut gate).unwrap(), &input.targets().unwrap()).unwrap();
    let probes = gate.take_probes();
    assert_eq!((probes.len(), probes[0].0), (1, place));
    let gradient = loss.sum_all().unwrap().backward().unwrap().get(&probes[0].1).unwrap().clone();
    let summed = gradient.sum(2).unwrap().sum(1).unwrap();
    let logits = transformer.forward(&input, &mut Gate::closed()).unwrap();
    let plain = ops::cross_entropy(&logits, &input.targets().unwrap()).unwrap();
    let gradients = Gradients::of(&plain, transformer.parameters()).unwrap();
    let bias = transformer.parameters().iter().zip(gradients.iter()).find(|((name, _), _)| *name == "unembed/bias").unwrap().1.clone();
    assert!(optogen_tests::reference::distance(&summed, &bias) < 1e-12);
}
