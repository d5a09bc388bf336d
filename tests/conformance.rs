//! The published code's activations, logits, metrics, gradients and training, for its three small models.

use candle_core::{DType, Tensor};
use optogen::fused::{Clamps, Fused, Workspace};
use optogen::gate::Gate;
use optogen::gradients::Gradients;
use optogen::metrics::Metrics;
use optogen::numbers::Numbers;
use optogen::ops;
use optogen::optimiser::Optimiser;
use optogen::site::Site;
use optogen::transformer::{Tokens, Transformer};
use optogen_tests::reference::{CASES, Case, distance, largest};

/// Every activation that both have, fused and composed alike.
#[test]
fn activations_agree() {
    for name in CASES {
        let case = Case::open(name);
        let architecture = case.architecture();
        let places = Site::all().flat_map(|site| match site.in_blocks() {
            true => (0..architecture.layers).map(|layer| (site, Some(layer))).collect(),
            false => vec![(site, None)],
        });
        let mut gate = Gate::looking_at(places);
        let transformer = case.transformer(1, DType::F32);
        let composed = transformer.forward(&case.batch(1, DType::F32), &mut gate).unwrap();
        let fused = transformer.forward(&case.batch(1, DType::F32), &mut Gate::closed()).unwrap();
        assert!(distance(&composed, &fused) < 2e-6 * largest(&fused).max(1.0), "{name}");
        let mut compared = 0;
        for ((site, layer), value) in gate.take_seen() {
            let Some(path) = published_path(site, layer) else { continue };
            // Without an MLP the published code calls the residual stream "mlp"; rotary positions have no table.
            let expected = match case.has(&path) {
                true if site != Site::PositionEmbedding || value.rank() > 1 => case.tensor(&path, DType::F32),
                _ => continue,
            };
            // The published code repeats the table of positions for every sequence.
            let value = value
                .squeeze(0)
                .and_then(|value| value.broadcast_as(expected.shape()).or_else(|_| value.reshape(expected.shape())))
                .unwrap_or_else(|_| panic!("{name} {}: {:?}, published {:?}", site.name(), value.shape(), expected.shape()));
            let away = distance(&value, &expected) / finite_largest(&expected).max(1.0);
            assert!(away < 1e-5, "{name} {} of layer {layer:?}: {away}", site.name());
            compared += 1;
        }
        assert!(compared >= 7 + 13 * architecture.layers, "{name}: only {compared} activations compared");
    }
}

/// Where a site stands in the file.
fn published_path(site: Site, layer: Option<usize>) -> Option<String> {
    let name = site.published_name();
    let within = match (site, layer) {
        (Site::Logits, _) => "out".to_string(),
        (Site::FinalNorm, _) => "transformer_output/pre_unembed".into(),
        (_, None) => name?.into(),
        (_, Some(layer)) => {
            let attention = Site::QueryPreRope <= site && site <= Site::AttentionOut;
            format!("transformer_output/block_outputs/{layer}/{}{}", if attention { "attn_output/" } else { "" }, name?)
        }
    };
    Some(format!("clamps/none/sites/{within}"))
}

/// The largest entry that is not a mask.
fn finite_largest(x: &Tensor) -> f64 {
    let numbers: Vec<f32> = x.flatten_all().unwrap().to_vec1().unwrap();
    numbers.iter().map(|x| f64::from(x.abs())).filter(|&x| x < 1e19).fold(0.0, f64::max)
}

#[test]
fn logits_and_metrics_agree() {
    for name in CASES {
        let case = Case::open(name);
        let input = case.batch(1, DType::F32);
        let logits = case.transformer(1, DType::F32).forward(&input, &mut Gate::closed()).unwrap();
        let all = case.tensor("clamps/none/logits", DType::F32);
        let query = all.narrow(1, all.dim(1).unwrap() - 1, 1).unwrap().squeeze(1).unwrap();
        assert!(distance(&logits.get(0).unwrap(), &query) / largest(&query) < 1e-5, "{name}");
        let mut metrics = Metrics::default();
        metrics.append(&logits.get(0).unwrap(), &input.labels.get(0).unwrap()).unwrap();
        for (metric, column) in Metrics::NAMES.iter().zip(metrics.columns()) {
            let expected: Vec<f32> = case.tensor(&format!("clamps/none/metrics/{metric}"), DType::F32).to_vec1().unwrap();
            for (&is, &should) in column.iter().zip(&expected) {
                assert!((is - should).abs() <= 1e-5 * should.abs().max(1.0), "{name} {metric}: {is}, published {should}");
            }
            assert_eq!(column.len(), expected.len());
        }
    }
}

#[test]
fn gradients_of_every_parameter_agree() {
    for name in CASES {
        let case = Case::open(name);
        let transformer = case.transformer(1, DType::F32);
        let input = case.batch(1, DType::F32);
        let logits = transformer.forward(&input, &mut Gate::closed()).unwrap();
        let loss = ops::cross_entropy(&logits, &input.targets().unwrap()).unwrap();
        let expected = case.tensor("clamps/none/mean_loss", DType::F32).flatten_all().unwrap();
        assert!(distance(&loss, &expected) / largest(&expected) < 1e-5, "{name}");
        let graph = Gradients::of(&loss, transformer.parameters()).unwrap();
        let mut fused = Fused::<f32>::new(&transformer).unwrap();
        let own = fused.step(&mut Workspace::default(), &transformer, &input, &Clamps::default()).unwrap();
        assert!(distance(&Tensor::new(own, input.features.device()).unwrap(), &expected) / largest(&expected) < 1e-5, "{name}");
        for (((parameter, _), graph), fused) in transformer.parameters().iter().zip(graph.iter()).zip(fused.gradients()) {
            let expected = case.tensor(&format!("clamps/none/grads/{parameter}"), DType::F32);
            for (way, gradient) in [("graph", graph), ("fused", fused)] {
                let away = distance(&gradient.get(0).unwrap(), &expected) / largest(&expected);
                assert!(away < 1e-4, "{name} {parameter}, {way}: {away}");
            }
        }
    }
}

#[test]
fn training_follows_the_published_trajectories() {
    for (name, training, decay) in [
        ("induction", "adam", 0.0),
        ("induction", "adam_weight_decay", 1e-3),
        ("induction", "sgd", 0.0),
        ("deep_mlp_sinusoidal", "adam", 0.0),
        ("learned_positions", "adam", 0.0),
    ] {
        follow(name, training, decay, |transformer, input| {
            let logits = transformer.forward(input, &mut Gate::closed()).unwrap();
            let losses = ops::cross_entropy(&logits, &input.targets().unwrap()).unwrap();
            (losses.to_vec1::<f32>().unwrap()[0], Gradients::of(&losses, transformer.parameters()).unwrap())
        });
        let (mut fused, mut workspace) = (None, Workspace::default());
        follow(name, training, decay, |transformer, input| {
            let fused = fused.get_or_insert_with(|| Fused::<f32>::new(transformer).unwrap());
            let losses = fused.step(&mut workspace, transformer, input, &Clamps::default()).unwrap();
            let mut gradients = Gradients::default();
            gradients.set(fused.gradients());
            (losses[0], gradients)
        });
    }
}

/// Trains as the published code did, with losses and gradients by `step`.
fn follow(name: &'static str, training: &str, decay: f64, mut step: impl FnMut(&Transformer, &Tokens) -> (f32, Gradients)) {
    let case = Case::open(name);
    let transformer = case.transformer(1, DType::F32);
    let parameters = transformer.parameters();
    let mut optimiser = Optimiser::new(vec![case.optimiser(training)], parameters).unwrap();
    let read = |what: &str| -> Vec<f32> { case.tensor(&format!("training/{training}/{what}"), DType::F32).to_vec1().unwrap() };
    for (index, (loss, norm)) in read("loss").into_iter().zip(read("grad_norm")).enumerate() {
        let input = case.training_batch(training, index);
        let (own, mut gradients) = step(&transformer, &input);
        let first = |numbers: &Numbers| Numbers::read(vec![numbers.clone()]).unwrap()[0][0];
        let penalty = if decay > 0.0 { first(&gradients.add_norm_penalty(parameters, &[decay]).unwrap()) } else { 0.0 };
        let is = f64::from(own) + penalty;
        assert!((is - f64::from(loss)).abs() < 1e-4 * f64::from(loss), "{name} {training} step {index}: loss {is}, published {loss}");
        let norms = optimiser.descend(parameters, &gradients).unwrap();
        assert!(
            (first(&norms) - f64::from(norm)).abs() < 1e-3 * f64::from(norm),
            "{name} {training} step {index}: norm {norms:?}, published {norm}"
        );
    }
    for (parameter, var) in parameters.iter() {
        let (before, after) = (
            case.tensor(&format!("params/{parameter}"), DType::F32),
            case.tensor(&format!("training/{training}/final_params/{parameter}"), DType::F32),
        );
        let away = distance(&var.get(0).unwrap(), &after) / distance(&before, &after);
        assert!(away < 1e-3, "{name} {training} {parameter}: {away} of the largest update");
    }
}

/// A member's numbers do not depend on its neighbours.
#[test]
fn three_in_a_cohort_are_each_as_one_alone() {
    for name in CASES {
        let case = Case::open(name);
        let gradients = |copies: usize| {
            let transformer = case.transformer(copies, DType::F32);
            let input = case.batch(copies, DType::F32);
            let logits = transformer.forward(&input, &mut Gate::closed()).unwrap();
            let losses = ops::cross_entropy(&logits, &input.targets().unwrap()).unwrap();
            let gradients = Gradients::of(&losses, transformer.parameters()).unwrap();
            (losses, gradients.iter().cloned().collect::<Vec<_>>())
        };
        let (alone, three) = (gradients(1), gradients(3));
        for member in 0..3 {
            assert_eq!(distance(&alone.0.get(0).unwrap(), &three.0.get(member).unwrap()), 0.0, "{name}");
            for (alone, three) in alone.1.iter().zip(&three.1) {
                assert_eq!(distance(&alone.get(0).unwrap(), &three.get(member).unwrap()), 0.0, "{name}");
            }
        }
    }
}
