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
use optogen::site::Site;
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
        tables: Default::default(),
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
    let mut names = vec!["ablate_rest", "none", "prev_token_and_ablate", "ablate_keep_patterns"];
    let mut experiments: Vec<Experiment> = names.iter().map(|name| case.experiment(name, None)).collect();
    for role in ["right_labels", "other_labels"] {
        names.push(role);
        experiments.push(with(&case, &format!("[[intervention]]\nsite = \"v\"\nlayers = [1]\nat = \"{role}\"\naction = \"zero\"\n")));
    }
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
        let is = own.to_vec1::<f32>().unwrap()[0];
        assert!((is - loss).abs() < 1e-4 * loss, "step {step}: loss {is}, published {loss}");
        optimiser.descend(parameters, &gradients).unwrap();
    }
    for (parameter, var) in parameters.iter() {
        let before = case.tensor(&format!("params/{parameter}"), DType::F32);
        let after = case.tensor(&format!("training/{training}/final_params/{parameter}"), DType::F32);
        let update = distance(&before, &after);
        let away = distance(&var.get(0).unwrap(), &after);
        assert!(away <= 1e-3 * update.max(1e-6), "{parameter}: {away} of an update of {update}");
    }
}

/// Every action in f64: its gradient with `flow` against finite differences of the loss, and with `detach` against those with the new value held
/// as it is.
#[test]
fn every_action_has_its_gradients() {
    use optogen::clamp::{Clamp, New};
    let case = Case::open("induction");
    let input = case.batch(1, DType::F64);
    let transformer = case.transformer(1, DType::F64);
    let parameters = transformer.parameters();
    let loss = |logits: &Tensor| ops::cross_entropy(logits, &input.targets().unwrap()).unwrap();
    // Site, its layer, the action, and the new value as it is in the clean pass where there is one.
    type Whole = fn(&Tensor) -> Tensor;
    let roll: Whole = |v| Tensor::cat(&[v.narrow(1, 1, v.dim(1).unwrap() - 1).unwrap(), v.narrow(1, 0, 1).unwrap()], 1).unwrap();
    let mean: Whole = |v| v.mean_keepdim(1).unwrap();
    let doubled: Whole = |v| (v * 2.0).unwrap();
    let same: Whole = |v| v.clone();
    let nothing: Option<Whole> = None;
    let eight = format!("{:?}", [0.5; 8]);
    let cases: Vec<(&str, &str, String, Option<Whole>)> = vec![
        ("v", "heads = [1, 3]", "\"zero\"".into(), nothing),
        ("k", "at = \"context\"", "{ set = 0.25 }".into(), nothing),
        ("z", "dimensions = [0, 9, 17]", "{ scale = 2.0 }".into(), Some(doubled)),
        ("q", "heads = [2]", format!("{{ add = {eight} }}"), nothing),
        ("attn_out", "strength = 0.5", "\"mean\"".into(), Some(mean)),
        ("v", "at = \"right_labels\"", "\"resample\"".into(), Some(roll)),
        ("pattern", "at = \"query\"\nto = \"labels\"", "{ copy = { pass = \"clean\" } }".into(), Some(same)),
        ("scores", "to = \"previous\"", "\"forbid\"".into(), nothing),
        ("scores", "heads = [3]", "{ temperature = 0.5 }".into(), Some(doubled)),
        ("scores", "heads = [3]", "{ frozen_temperature = 0.5 }".into(), Some(doubled)),
        ("pattern", "heads = { except = [0] }", "{ previous_token = { strength = 0.75 } }".into(), nothing),
        ("pattern", "at = \"query\"", "{ induction = { strength = 0.75 } }".into(), nothing),
        ("pattern", "at = \"query\"", "{ match = { temperature = 0.5 } }".into(), nothing),
        ("logits", "at = \"query\"", "{ copy_from_head = { layer = 1, head = 3 } }".into(), nothing),
        ("resid_post", "layers = [0]\nat = \"inner\"", "{ copy = { site = \"embedding\", shift = 1 } }".into(), nothing),
        ("v", "layers = [0]", "{ copy = { pass = \"swapped\" } }".into(), nothing),
    ];
    let base = case.experiment("none", None).to_toml();
    for (site, chosen, action, whole) in cases {
        let layered = site != "logits";
        let layers = if layered && !chosen.contains("layers") { "layers = [1]" } else { "" };
        let text = |gradient: &str| {
            format!(
                "{base}\n[[pass]]\nname = \"swapped\"\ninput = \"swapped_labels\"\n[[intervention]]\nsite = \"{site}\"\n{layers}\n{chosen}\n\
                 action = {action}\ngradient = \"{gradient}\"\n"
            )
        };
        let plan_of = |gradient: &str| plan(&case, &optogen::experiment::parse(&text(gradient), "test").unwrap(), 1);
        let flowing = plan_of("flow");
        let clean = transformer.forward(&input, &mut Gate::closed()).unwrap();
        let run = |plan: &Plan| plan.forward(&transformer, &input, &Now::default(), &mut Gate::closed()).unwrap();
        assert!(distance(&run(&flowing), &clean) > 1e-6 || action.contains("clean"), "{action} at {site} does nothing");
        holds(&format!("{action} at {site}"), parameters, &|| loss(&run(&flowing)));

        let Some(whole) = whole else { continue };
        let place = (Site::named(site).unwrap(), Some(1));
        let mut looking = Gate::looking_at([place]);
        transformer.forward(&input, &mut looking).unwrap();
        let held = whole(&looking.take_seen()[0].1).detach().copy().unwrap();
        let detached = plan_of("detach");
        // The same selection, with a number in place of what is detached.
        let mut marks = Gate::looking_at([place]);
        let marked =
            optogen::experiment::parse(&text("flow").replace(&action, "{ set = 12345.0 }").replace("strength = 0.5", ""), "test").unwrap();
        plan(&case, &marked, 1).forward(&transformer, &input, &Now::default(), &mut marks).unwrap();
        let mask = marks.take_seen()[0].1.eq(12345.0).unwrap();
        let strength = chosen.contains("strength").then(|| Tensor::new(&[[[[0.5f64]]]], &candle_core::Device::Cpu).unwrap());
        let given = || {
            let clamp = Clamp {
                place,
                mask: Some(mask.clone()),
                new: New::Given(held.clone()),
                strength: strength.clone(),
                detach: false,
                silences: None,
                replaces: None,
            };
            transformer.forward(&input, &mut Gate::clamping(vec![clamp])).unwrap()
        };
        holds(&format!("{action} at {site}, held"), parameters, &|| loss(&given()));
        let gradients = |logits: Tensor| Gradients::of(&loss(&logits), parameters).unwrap();
        for ((name, _), (own, expected)) in parameters.iter().zip(gradients(run(&detached)).iter().zip(gradients(given()).iter())) {
            assert!(distance(own, expected) < 1e-10, "{action} at {site}, detached: {name}");
        }
    }
}

/// Holds the gradients of a loss to finite differences, at some places of every parameter.
fn holds(what: &str, parameters: &optogen::transformer::Parameters, loss: &dyn Fn() -> Tensor) {
    let gradients = Gradients::of(&loss(), parameters).unwrap();
    let at = || loss().flatten_all().unwrap().to_vec1::<f64>().unwrap()[0];
    for ((name, var), gradient) in parameters.iter().zip(gradients.iter()) {
        let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        let before = var.as_tensor().copy().unwrap();
        let numbers: Vec<f64> = before.flatten_all().unwrap().to_vec1().unwrap();
        for place in [numbers.len() / 3, numbers.len() - 1] {
            let moved = |by: f64| {
                let mut moved = numbers.clone();
                moved[place] += by;
                var.set(&Tensor::from_vec(moved, before.shape(), &candle_core::Device::Cpu).unwrap()).unwrap();
                at()
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            var.set(&before).unwrap();
            assert!(
                (slope - gradient[place]).abs() < 1e-7 * slope.abs().max(1.0),
                "{what}: {name} {place}: {slope}, not {}",
                gradient[place]
            );
        }
    }
}

/// The base experiment of a case with more tables.
fn with(case: &Case, more: &str) -> Experiment {
    optogen::experiment::parse(&format!("{}\n{more}", case.experiment("none", None).to_toml()), "test").unwrap()
}

/// Values at places of a forward pass through a gate.
fn seen(case: &Case, gate: &mut Gate, input: &optogen::transformer::Tokens) -> Vec<Tensor> {
    case.transformer(1, DType::F32).forward(input, gate).unwrap();
    gate.take_seen().into_iter().map(|(_, value)| value).collect()
}

/// Path patching (Wang et al. 2022): what head 0.2 writes on another input reaches head 1.3 by its keys alone.
#[test]
fn one_path_alone_can_be_patched() {
    use optogen::clamp::{Clamp, New};
    let case = Case::open("induction");
    let experiment = with(
        &case,
        "[[pass]]\nname = \"other\"\ninput = \"swapped_query\"\n[[pass]]\nname = \"sender\"\n\
         [[intervention]]\nname = \"send\"\npass = \"sender\"\nsite = \"z\"\nlayers = [0]\nheads = [2]\naction = { copy = { pass = \"other\" } }\n\
         [[intervention]]\nname = \"receive\"\nsite = \"q\"\nlayers = [1]\nheads = [3]\naction = { copy = { pass = \"sender\" } }\n",
    );
    let own = outcome(&case, &experiment, 1).logits;
    // The same by hand.
    let input = case.batch(1, DType::F32);
    let mut swapped = input.clone();
    let (examples, labels) =
        (input.examples.get(0).unwrap().to_vec2::<u32>().unwrap(), input.labels.get(0).unwrap().to_vec2::<u32>().unwrap());
    let other = examples.iter().zip(&labels).flat_map(|(examples, labels)| {
        let from = if labels[0] == labels[2] { 1 } else { 0 };
        [examples[0], examples[1], examples[from]]
    });
    swapped.examples = Tensor::from_vec(other.collect::<Vec<u32>>(), input.examples.shape(), &candle_core::Device::Cpu).unwrap();
    let z = seen(&case, &mut Gate::looking_at([(Site::Z, Some(0))]), &swapped).remove(0);
    let clamp = |place, mask: Vec<u8>, shape: &[usize], given: Tensor| Clamp {
        place,
        mask: Some(Tensor::from_vec(mask, shape, &candle_core::Device::Cpu).unwrap()),
        new: New::Given(given),
        strength: None,
        detach: false,
        silences: None,
        replaces: None,
    };
    let columns: Vec<u8> = (0..64).map(|d| u8::from(d / 8 == 2)).collect();
    let transformer = case.transformer(1, DType::F32);
    // What the sending pass's queries are: all of layer 0 as it was but for head 2.
    let mut sending = Gate::clamping(vec![clamp((Site::Z, Some(0)), columns, &[1, 1, 1, 64], z)]);
    sending.look_at([(Site::Query, Some(1))]);
    transformer.forward(&input, &mut sending).unwrap();
    let query = sending.take_seen().remove(0).1;
    let heads: Vec<u8> = (0..8).map(|head| u8::from(head == 3)).collect();
    let mut receiving = Gate::clamping(vec![clamp((Site::Query, Some(1)), heads, &[1, 1, 8, 1, 1], query)]);
    let expected = transformer.forward(&input, &mut receiving).unwrap();
    let clean = transformer.forward(&input, &mut Gate::closed()).unwrap();
    assert_eq!(distance(&own, &expected), 0.0);
    assert!(distance(&own, &clean) > 1e-4);
}

/// Another model's own interventions hold where it takes part, in both directions.
#[test]
fn donors_keep_their_interventions() {
    let case = Case::open("induction");
    let home = tempfile::tempdir().unwrap();
    let silent = "[[intervention]]\nname = \"own\"\nsite = \"v\"\naction = \"zero\"\n";
    let write = |name: &str, experiment: &Experiment| {
        let folder = home.path().join(name);
        let (parameters, optimiser) = (case.parameters("donor_a", DType::F32), Vec::new());
        let experiment = experiment.to_toml();
        let checkpoint = Checkpoint {
            run_id: name.into(),
            sequences: 0,
            steps: 0,
            experiment,
            parameters,
            optimiser,
            moments: Vec::new(),
            tables: Default::default(),
        };
        checkpoint.write(&folder).unwrap();
        folder
    };
    let plain = write("plain", &case.experiment("none", None));
    let clamped = write("clamped", &with(&case, silent));
    for graft in ["graft_in", "graft_out"] {
        let logits = |donor: &Path| outcome(&case, &case.experiment(graft, Some(donor)), 1).logits;
        assert!(distance(&logits(&plain), &logits(&clamped)) > 1e-3, "{graft}");
    }
    // A silent donor adds nothing to the embedding, so what is grafted in is its embedding alone.
    let own = outcome(&case, &case.experiment("graft_in", Some(&clamped)), 1).logits;
    let other = case.experiment("graft_in", Some(&plain));
    let mut copied = other.clone();
    let optogen::experiment::Action::Copy(copy) = &mut copied.interventions[0].action else { panic!("a graft copies") };
    copy.site = Some(Site::Embedding);
    assert!(distance(&own, &outcome(&case, &copied, 1).logits) < 1e-6);
}

/// Parameters that only lead to what is replaced, or to what nobody reads, are not even looked at: that they are no numbers is seen neither in the
/// logits nor in any gradient. Whoever looks inside changes nothing.
#[test]
fn what_nobody_reads_is_not_computed() {
    let case = Case::open("induction");
    let layer_0 = "[[intervention]]\nsite = \"resid_post\"\nlayers = [0]\n";
    let copied = "[[intervention]]\nsite = \"logits\"\nat = \"query\"\n";
    let apart = "at = \"inner\"\naction = { copy = { site = \"embedding\", shift = 1 } }\n";
    let ends = "name = \"ends\"\nat = [0, -1]\naction = { copy = { site = \"embedding\" } }\n";
    let late = &["transformer/blocks/1/attn/proj", "transformer/norm", "unembed"][..];
    for (clamps, unread, is_read) in [
        (format!("{layer_0}action = {{ set = 0.25 }}\n"), &["transformer/blocks/0/"][..], false),
        (format!("{layer_0}{apart}{layer_0}{ends}"), &["transformer/blocks/0/"], false),
        (format!("{layer_0}{apart}"), &["transformer/blocks/0/"], true),
        (format!("{layer_0}strength = 0.5\naction = {{ set = 0.25 }}\n"), &["transformer/blocks/0/"], true),
        (format!("{layer_0}action = {{ scale = 0.5 }}\n"), &["transformer/blocks/0/"], true),
        (format!("{copied}action = {{ copy_from_head = {{ layer = 1, head = 3 }} }}\n"), late, false),
        (
            format!(
                "[[pass]]\nname = \"other\"\ninput = \"swapped_labels\"\n{copied}action = {{ copy_from_head = {{ layer = 1, head = 3, pass = \"other\" }} }}\n"
            ),
            late,
            false,
        ),
        (format!("{copied}action = {{ scale = 0.5 }}\n"), late, true),
    ] {
        let plan = plan(&case, &with(&case, &clamps), 1);
        let input = case.batch(1, DType::F32);
        let transformer = case.transformer(1, DType::F32);
        let logits = |gate: &mut Gate| plan.forward(&transformer, &input, &Now::default(), gate).unwrap();
        let before = logits(&mut Gate::closed());
        let places = [(Site::Z, Some(0)), (Site::AttentionOut, Some(1)), (Site::FinalNorm, None)];
        assert!(distance(&logits(&mut Gate::looking_at(places)), &before) < 1e-6 * largest(&before), "{clamps}");
        for start in unread {
            let named: Vec<_> = transformer.parameters().iter().filter(|(name, _)| name.starts_with(start)).collect();
            assert!(!named.is_empty(), "no parameter is called {start}");
            named.iter().for_each(|(_, var)| var.set(&Tensor::full(f32::NAN, var.shape(), var.device()).unwrap()).unwrap());
        }
        let after = logits(&mut Gate::closed());
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        if is_read {
            assert!(numbers(&after).iter().any(|number| number.is_nan()), "{clamps}");
            continue;
        }
        assert_eq!(numbers(&after), numbers(&before), "{clamps}");
        let loss = ops::cross_entropy(&after, &input.targets().unwrap()).unwrap();
        let gradients = Gradients::of(&loss, transformer.parameters()).unwrap();
        for ((name, _), gradient) in transformer.parameters().iter().zip(gradients.iter()) {
            assert!(numbers(gradient).iter().all(|number| number.is_finite()), "{clamps}: the gradient of {name}");
        }
    }
}

/// Passes over one input share its embedding, but not where one of them clamps what it is made of.
#[test]
fn what_is_clamped_before_the_embedding_is_not_shared() {
    use optogen::clamp::{Clamp, New};
    let case = Case::open("induction");
    let clamp = |place, new| Clamp { place, mask: None, new, strength: None, detach: false, silences: None, replaces: None };
    let halved = || clamp((Site::TokenEmbedding, None), New::Scaled(0.5));
    let value = (Site::Value, Some(1));
    let (input, transformer) = (case.batch(1, DType::F32), case.transformer(1, DType::F32));
    for in_other in [true, false] {
        let pass = if in_other { "pass = \"other\"\n" } else { "" };
        let own = outcome(
            &case,
            &with(
                &case,
                &format!(
                    "[[pass]]\nname = \"other\"\n[[intervention]]\nname = \"halve\"\n{pass}site = \"tok_embedding\"\naction = {{ scale = 0.5 }}\n\
                     [[intervention]]\nsite = \"v\"\nlayers = [1]\naction = {{ copy = {{ pass = \"other\" }} }}\n"
                ),
            ),
            1,
        );
        let mut other = if in_other { Gate::clamping(vec![halved()]) } else { Gate::closed() };
        other.look_at([value]);
        let given = clamp(value, New::Given(seen(&case, &mut other, &input).remove(0)));
        let mut main = Gate::clamping(if in_other { vec![given] } else { vec![halved(), given] });
        let expected = transformer.forward(&input, &mut main).unwrap();
        assert!(distance(&own.logits, &expected) < 1e-6 * largest(&expected), "{in_other}");
        assert!(distance(&expected, &transformer.forward(&input, &mut Gate::closed()).unwrap()) > 1e-3);
    }
}

/// Single neurons of the MLP's hidden layer.
#[test]
fn neurons_can_be_clamped() {
    let case = Case::open("deep_mlp_sinusoidal");
    let clamp =
        "[[intervention]]\nname = \"n\"\nsite = \"mlp.hook_post\"\nlayers = [1]\ndimensions = [0, 7]\nat = [-1]\naction = { set = 2.0 }\n";
    let plan = plan(&case, &with(&case, clamp), 1);
    let place = (Site::MlpPost, Some(1));
    let mut gate = Gate::looking_at([place]);
    let input = case.batch(1, DType::F32);
    plan.forward(&case.transformer(1, DType::F32), &input, &Now::default(), &mut gate).unwrap();
    let clamped = gate.take_seen().remove(0).1;
    let clean = seen(&case, &mut Gate::looking_at([place]), &input).remove(0);
    let changed = clamped.ne(&clean).unwrap().flatten_all().unwrap().to_vec1::<u8>().unwrap();
    let (_, sequences, tokens, hidden) = clean.dims4().unwrap();
    for (index, changed) in changed.into_iter().enumerate() {
        let (token, neuron) = (index / hidden % tokens, index % hidden);
        assert_eq!(changed == 1, token + 1 == tokens && [0, 7].contains(&neuron), "token {token}, neuron {neuron}");
    }
    let set = clamped.narrow(2, tokens - 1, 1).unwrap().narrow(3, 7, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(set, vec![2.0; sequences]);
}
