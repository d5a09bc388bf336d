//! The published code's interventions: logits, metrics, gradients of every parameter and training, for its three small models.

use candle_core::{DType, Tensor};
use optogen::checkpoint::Checkpoint;
use optogen::clamp::{Clamped, Donors, Now, Phase, Plan};
use optogen::experiment::Experiment;
use optogen::gate::Gate;
use optogen::gradients::Gradients;
use optogen::metrics::Metrics;
use optogen::ops;
use optogen::optimiser::Optimiser;
use optogen_tests::reference::{CASES, Case, distance, largest};
use std::path::Path;

/// What an intervention does to one of the three models: logits, losses and gradients.
struct Outcome {
    logits: Tensor,
    losses: Tensor,
    gradients: Vec<Tensor>,
}

fn plan(case: &Case, experiment: &Experiment, copies: usize) -> Plan {
    let donors = Donors::load(experiment).unwrap();
    let clamped = Clamped { specs: &experiment.interventions, passes: &experiment.passes };
    let pairs = case.batch(1, DType::F32).labels.dim(2).unwrap();
    let members = vec![clamped; copies];
    Plan::compile(&members, &case.architecture(), Phase::Training, &donors, pairs, &candle_core::Device::Cpu).unwrap()
}

fn outcome(case: &Case, experiment: &Experiment, copies: usize) -> Outcome {
    let plan = plan(case, experiment, copies);
    let transformer = case.transformer(copies, DType::F32);
    let input = case.batch(copies, DType::F32);
    let logits = plan.forward(&transformer, &input, &Now::default(), &mut Gate::closed()).unwrap();
    let losses = ops::cross_entropy(&logits, &input.targets().unwrap()).unwrap();
    let gradients = Gradients::of(&losses, transformer.parameters()).unwrap();
    Outcome { logits, losses, gradients: gradients.iter().cloned().collect() }
}

/// The donor of the two grafts, as a checkpoint.
fn write_donor(case: &Case, folder: &Path) {
    let plain = case.experiment("none", None);
    let checkpoint = Checkpoint {
        run_id: "donor".into(),
        sequences: 0,
        steps: 0,
        experiment: plain.to_toml(),
        parameters: case.parameters("donor_a", DType::F32),
        optimiser: Vec::new(),
        moments: Vec::new(),
    };
    checkpoint.write(folder).unwrap();
}

#[test]
fn all_interventions_agree() {
    let home = tempfile::tempdir().unwrap();
    let donor = home.path().join("donor");
    write_donor(&Case::open("induction"), &donor);
    let mut count = 0;
    for name in CASES {
        let case = Case::open(name);
        for clamp in case.members("clamps") {
            count += 1;
            let experiment = case.experiment(&clamp, Some(&donor));
            let outcome = outcome(&case, &experiment, 1);
            let at = |what: &str| format!("clamps/{clamp}/{what}");
            let all = case.tensor(&at("logits"), DType::F32);
            let query = all.narrow(1, all.dim(1).unwrap() - 1, 1).unwrap().squeeze(1).unwrap();
            let away = distance(&outcome.logits.get(0).unwrap(), &query) / largest(&query);
            assert!(away < 1e-5, "{name} {clamp}: logits {away}");
            let mut metrics = Metrics::default();
            let labels = case.batch(1, DType::F32).labels.get(0).unwrap();
            metrics.append(&outcome.logits.get(0).unwrap(), &labels).unwrap();
            for (metric, column) in Metrics::NAMES.iter().zip(metrics.columns()) {
                let expected: Vec<f32> = case.tensor(&at(&format!("metrics/{metric}")), DType::F32).to_vec1().unwrap();
                for (&is, &should) in column.iter().zip(&expected) {
                    assert!((is - should).abs() <= 2e-5 * should.abs().max(1.0), "{name} {clamp} {metric}: {is}, published {should}");
                }
            }
            let mean = case.tensor(&at("mean_loss"), DType::F32).flatten_all().unwrap();
            assert!(distance(&outcome.losses, &mean) / largest(&mean) < 1e-5, "{name} {clamp}: loss");
            for ((parameter, _), gradient) in case.parameters("params", DType::F32).iter().zip(&outcome.gradients) {
                let expected = case.tensor(&at(&format!("grads/{parameter}")), DType::F32);
                let away = distance(&gradient.get(0).unwrap(), &expected);
                let size = largest(&expected);
                assert!(away <= 1e-4 * size, "{name} {clamp} {parameter}: {away} of {size}");
            }
        }
    }
    assert_eq!(count, 30);
}

/// A member's numbers do not depend on its neighbours' interventions.
#[test]
fn members_of_a_cohort_are_clamped_each_by_itself() {
    let case = Case::open("induction");
    let names = ["ablate_rest", "none", "prev_token_and_ablate", "ablate_keep_patterns"];
    let experiments: Vec<Experiment> = names.iter().map(|name| case.experiment(name, None)).collect();
    let members: Vec<Clamped> = experiments.iter().map(|one| Clamped { specs: &one.interventions, passes: &one.passes }).collect();
    let architecture = case.architecture();
    let device = candle_core::Device::Cpu;
    let plan = Plan::compile(&members, &architecture, Phase::Training, &Donors::default(), 3, &device).unwrap();
    let transformer = case.transformer(names.len(), DType::F32);
    let input = case.batch(names.len(), DType::F32);
    let logits = plan.forward(&transformer, &input, &Now::default(), &mut Gate::closed()).unwrap();
    for (member, experiment) in experiments.iter().enumerate() {
        let alone = outcome(&case, experiment, 1).logits.get(0).unwrap();
        assert!(distance(&logits.get(member).unwrap(), &alone) < 2e-6 * largest(&alone), "{}", names[member]);
    }
}

#[test]
fn clamped_training_follows_the_published_trajectory() {
    let case = Case::open("induction");
    let training = "adam_clamped";
    let experiment = case.experiment("prev_token_and_ablate", None);
    let plan = plan(&case, &experiment, 1);
    let transformer = case.transformer(1, DType::F32);
    let parameters = transformer.parameters();
    let mut optimiser = Optimiser::new(vec![case.optimiser(training)], parameters).unwrap();
    let losses: Vec<f32> = case.tensor(&format!("training/{training}/loss"), DType::F32).to_vec1().unwrap();
    assert!(losses.len() > 3);
    for (step, loss) in losses.into_iter().enumerate() {
        let input = case.training_batch(training, step);
        let logits = plan.forward(&transformer, &input, &Now::default(), &mut Gate::closed()).unwrap();
        let own = ops::cross_entropy(&logits, &input.targets().unwrap()).unwrap();
        let gradients = Gradients::of(&own, parameters).unwrap();
        let norms = gradients.norms().unwrap();
        let is = own.to_vec1::<f32>().unwrap()[0];
        assert!((is - loss).abs() < 1e-4 * loss, "step {step}: loss {is}, published {loss}");
        optimiser.descend(parameters, &gradients, &norms).unwrap();
    }
    for (parameter, var) in parameters.iter() {
        let before = case.tensor(&format!("params/{parameter}"), DType::F32);
        let after = case.tensor(&format!("training/{training}/final_params/{parameter}"), DType::F32);
        let update = distance(&before, &after);
        let away = distance(&var.get(0).unwrap(), &after);
        assert!(away <= 1e-3 * update.max(1e-6), "{parameter}: {away} of an update of {update}");
    }
}
