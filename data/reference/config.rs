//! The published code's `config.json` as an experiment.
//!
//! What changes the numbers is carried over or refused by name. What does not (folders, names of runs, printing, batches of evaluation) is dropped.

use super::interventions::{self, Graft};
use super::options::{Config, KNOWN, REFUSED};
use crate::evaluation_file::evaluation_names;
use optogen::experiment::*;
use optogen::memory::Budget;
use optogen::{Error, Result};
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

/// Reads a `config.json`, and which other models it grafts. Files that it names are looked for beside it, then where it says. Evaluators with labels
/// beyond the model's outputs, which the published code evaluates all the same and an experiment must not have, are among the evaluators
/// ([`beyond_outputs`] finds them).
///
/// Dropped, since no number depends on it: config_from_file, suppress_output, base_folder, use_wandb, raw_name, disable_jit, no_load_seeds,
/// no_load_opt_state, eval_bs.
///
/// # Errors
/// [`Error::Input`]: it is no such file, has an option that the published code does not have, or one that is not supported; the message names it.
pub fn read_config(path: &Path) -> Result<(Experiment, Vec<Graft>)> {
    let text = fs::read_to_string(path).map_err(Error::input_file(path))?;
    let wrong = |message: String| Error::input(path, message);
    let options: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| wrong(format!("not a config of the published code: {error}")))?;
    for (name, value) in &options {
        match name.as_str() {
            refused if REFUSED.contains(&refused) && !value.is_null() => return Err(wrong(format!("{name}: {value}: not supported"))),
            known if KNOWN.contains(&known) || interventions::names().any(|option| option == known) => {}
            _ => {
                let names = KNOWN.into_iter().chain(interventions::names());
                let hint = nearest(name, names).map_or(String::new(), |nearest| format!("; did you mean \"{nearest}\"?"));
                return Err(wrong(format!("{name}: the published code has no such option{hint}")));
            }
        }
    }
    let config: Config = serde_json::from_value(Value::Object(options.clone())).map_err(|error| wrong(error.to_string()))?;
    let opto = interventions::interventions(&options, config.depth, config.num_heads).map_err(|error| wrong(error.to_string()))?;
    let mut experiment = config.experiment(path).map_err(|error| wrong(error.to_string()))?;
    (experiment.passes, experiment.interventions) = (opto.passes, opto.interventions);
    let carried = opto.grafts.into_iter().map(|graft| Graft {
        checkpoint: found(&graft.checkpoint, path),
        config: found(&graft.config, path),
        ..graft
    });
    let grafts: Vec<Graft> = carried.collect();
    // What is continued in another model needs that model's checkpoint, which is imported later.
    let mut checked = experiment.clone();
    checked.evaluators.retain(|evaluator| beyond_outputs(&experiment, evaluator).is_none());
    for graft in &grafts {
        checked.passes.iter_mut().filter(|pass| pass.name == graft.pass).for_each(|pass| pass.donor = Some(graft.checkpoint.clone()));
    }
    model_fits(&experiment, &Budget::here())
        .map_err(|fault| Error::input(path, format!("{}: {}", published(&fault.key), fault.message)))?;
    check(&checked).map_err(|error| wrong(error.to_string()))?;
    Ok((experiment, grafts))
}

/// The option that is behind a key of ours that says how large a model is.
fn published(key: &str) -> &str {
    match key {
        "model.layers" => "depth",
        "model.width" => "d_model",
        "model.mlp_ratio" => "mlp_ratio",
        "model.outputs" => "model_output_classes",
        "data.relabel.labels" => "fs_relabel",
        "data.classes" | "data.classes.train" => "class_split",
        other => other,
    }
}

/// An entry of an option that is given for each sampler or evaluator, or not at all.
fn entry<T: Clone>(list: &Option<Vec<T>>, index: usize, option: &str) -> Result<Option<T>> {
    match list {
        None => Ok(None),
        Some(list) => list.get(index).cloned().map(Some).ok_or_else(|| short(option)),
    }
}

fn short(option: &str) -> Error {
    Error::Invalid(format!("{option}: has too few entries"))
}

fn flag(list: &Option<Vec<u8>>, index: usize, option: &str) -> Result<Option<bool>> {
    Ok(entry(list, index, option)?.map(|value| value != 0))
}

fn split([train, val, test]: [usize; 3]) -> Split {
    Split { train, val, test }
}

/// A file as the config names it, or beside the config where it lies there.
fn found(file: &Path, config: &Path) -> PathBuf {
    let beside = config.parent().map(|folder| folder.join(file)).filter(|path| path.exists());
    beside.unwrap_or_else(|| file.to_owned())
}

impl Config {
    fn experiment(self, path: &Path) -> Result<Experiment> {
        if self.mixing_coeffs.len() != self.pt_burstiness.len() {
            return Err(short("pt_burstiness"));
        }
        let word = |option: &str, value: &str| Error::Invalid(format!("{option}: \"{value}\" is not known"));
        let name = match self.optimizer.as_str() {
            "adam" => OptimiserName::Adam,
            "sgd" => OptimiserName::Sgd,
            "warmup_decay" => OptimiserName::WarmupDecay,
            "cosine" => OptimiserName::Cosine,
            other => return Err(word("optimizer", other)),
        };
        let scheduled = matches!(name, OptimiserName::WarmupDecay | OptimiserName::Cosine);
        let micro_batch = self.train_microbs.filter(|&micro| micro != self.train_bs);
        Ok(Experiment {
            name: self.run.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect(),
            data: self.data(path)?,
            model: ModelSpec {
                layers: self.depth,
                width: self.d_model,
                heads: self.num_heads,
                positions: match self.pos_embedding_type.as_str() {
                    "rope" => Positions::Rope,
                    "ape" => Positions::Learned,
                    "sinusoidal" => Positions::Sinusoidal,
                    other => return Err(word("pos_embedding_type", other)),
                },
                time: self.sin_time,
                mlp_ratio: self.mlp_ratio,
                norms: !self.no_norm,
                causal: !self.not_causal,
                outputs: self.model_output_classes,
                init_rescale: self.init_rescale,
            },
            train: TrainSpec {
                sequences: self.train_iters,
                // As there: made a multiple of the micro-batch.
                batch: micro_batch.map_or(self.train_bs, |micro| self.train_bs.next_multiple_of(micro.max(1))),
                micro_batch,
                optimiser: OptimiserSpec {
                    name,
                    rate: self.lr,
                    warmup: scheduled.then_some(self.warmup_steps),
                    decay: scheduled.then_some(self.decay_steps),
                },
                weight_decay: self.weight_decay,
            },
            seeds: SeedSpec { init: self.init_seed, train: self.train_seed, eval: self.eval_seed },
            evaluation: EvaluationSpec {
                every: if self.eval_sched.is_none() { self.eval_every } else { None },
                at: self.eval_sched.clone(),
                logarithmic: None,
                sequences: self.eval_iters,
                examples: true,
                write: self.save_eval_data.is_some(),
            },
            evaluators: self.evaluators(path)?,
            checkpoint: CheckpointSpec {
                every: if self.ckpt_sched.is_none() { self.ckpt_every } else { None },
                at: self.ckpt_sched.clone(),
                ..CheckpointSpec::default()
            },
            measures: MeasureSpec::default(),
            passes: Vec::new(),
            interventions: Vec::new(),
            hooks: Vec::new(),
            parent: None,
            sweep: None,
        })
    }

    fn data(&self, path: &Path) -> Result<DataSpec> {
        let sampler = |index: usize| {
            Ok(MixtureSpec {
                context: self.train_context_len,
                burstiness: self.pt_burstiness[index],
                weight: self.mixing_coeffs[index],
                distractor: flag(&self.pt_distract, index, "pt_distract")?.unwrap_or(true),
                support: !flag(&self.pt_no_support, index, "pt_no_support")?.unwrap_or(false),
                unique: flag(&self.pt_unique_rest, index, "pt_unique_rest")?.unwrap_or(false),
            })
        };
        let bank = match self.data_type.as_str() {
            "file" => found(&self.data_file, path),
            "onehot" => "one_hot".into(),
            other => return Err(Error::Invalid(format!("data_type: \"{other}\" is not known"))),
        };
        let relabel = (self.fs_relabel > 0).then(|| RelabelSpec {
            labels: self.fs_relabel,
            pairs: self.fs_relabel_split.map(|shares| pairs(self.fs_relabel, shares)),
            seed: self.fs_relabel_split_seed,
        });
        Ok(DataSpec {
            bank: Some(bank),
            dataset: self.data_path_in_file.clone(),
            classes: split(self.class_split),
            exemplars: split(self.exemplar_split),
            relabel,
            mixture: (0..self.mixing_coeffs.len()).map(sampler).collect::<Result<_>>()?,
            zipf: self.zipf_alpha,
            match_exemplars: self.match_query_and_distractors,
            random_query_label: self.assign_query_label_random,
            noise: self.noise_scale_train,
        })
    }

    fn evaluators(&self, path: &Path) -> Result<Vec<EvaluatorSpec>> {
        let mut all = Vec::new();
        for file in self.load_eval_data.iter().flatten() {
            let file = found(file, path);
            for name in evaluation_names(&file)? {
                all.push(EvaluatorSpec::from_file(name, file.clone()));
            }
        }
        for (index, name) in self.pe_names.iter().enumerate() {
            let (classes, exemplars) = (self.pe_classes.get(index), self.pe_exemplars.get(index));
            let relabel = match entry(&self.pe_fs_relabel_scheme, index, "pe_fs_relabel_scheme")?.as_deref() {
                None => None,
                Some("None") => Some(RelabelName::None),
                Some("train") => Some(RelabelName::Train),
                Some("val") => Some(RelabelName::Val),
                Some("test") => Some(RelabelName::Test),
                Some("all") => Some(RelabelName::All),
                Some("01") => Some(RelabelName::ZeroOne),
                Some("flip") => Some(RelabelName::Flip),
                Some(other) => return Err(Error::Invalid(format!("pe_fs_relabel_scheme: \"{other}\" is not known"))),
            };
            all.push(EvaluatorSpec {
                name: name.clone(),
                file: None,
                exhaustive: false,
                classes: Some(*classes.ok_or_else(|| short("pe_classes"))?),
                exemplars: Some(*exemplars.ok_or_else(|| short("pe_exemplars"))?),
                relabel,
                context: Some(entry(&self.pe_context_len, index, "pe_context_len")?.unwrap_or(self.train_context_len)),
                burstiness: Some(*self.pe_burstiness.get(index).ok_or_else(|| short("pe_burstiness"))?),
                distractor: flag(&self.pe_distract, index, "pe_distract")?,
                support: flag(&self.pe_no_support, index, "pe_no_support")?.map(|no_support| !no_support),
                unique: flag(&self.pe_unique_rest, index, "pe_unique_rest")?,
                random_query_label: flag(&self.pe_assign_query_label_random, index, "pe_assign_query_label_random")?,
                noise: entry(&self.pe_noise_scale, index, "pe_noise_scale")?,
            });
        }
        Ok(all)
    }
}

/// How many of the n(n−1)/2 label pairs go where: shares rounded down for validation and test, the rest is trained on.
fn pairs(labels: usize, shares: [f64; 3]) -> Split {
    let all = labels * (labels - 1) / 2;
    let count = |share: f64| (all as f64 * (share / shares.iter().sum::<f64>())) as usize;
    let (val, test) = (count(shares[1]), count(shares[2]));
    Split { train: all.saturating_sub(val + test), val, test }
}

#[cfg(test)]
mod tests {
    use super::*;
    use optogen::site::Site;

    fn published(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/published").join(name)
    }

    /// The message for a config of one option.
    fn refusal(options: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, options).unwrap();
        read_config(&path).unwrap_err().to_string().replace(&path.display().to_string(), "config.json")
    }

    #[test]
    fn the_induction_experiment_is_ours() {
        let theirs = read_config(&published("base_s5.json")).unwrap().0;
        let ours = &load(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/induction/base.toml"),
            &optogen::experiment::Changes::default(),
        )
        .unwrap()[0];
        assert_eq!(theirs.name, "base_s5");
        assert_eq!(theirs.model, ModelSpec { outputs: Some(5), ..ours.model.clone() });
        assert_eq!(theirs.train, ours.train);
        assert_eq!(theirs.seeds, ours.seeds);
        assert_eq!((theirs.data.classes, theirs.data.exemplars), (ours.data.classes, ours.data.exemplars));
        assert_eq!((&theirs.data.relabel, &theirs.data.mixture), (&ours.data.relabel, &ours.data.mixture));
        assert_eq!(theirs.evaluation.at.as_ref().map(Vec::len), Some(120));
        let names = |experiment: &Experiment| experiment.evaluators.iter().map(|evaluator| evaluator.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&theirs), names(ours));
        assert_eq!(theirs.evaluators[1].relabel, Some(RelabelName::Val));
        assert_eq!(theirs.evaluators[2].exemplars, Some(SplitName::Val));
    }

    #[test]
    fn a_deep_model_is_carried_over() {
        let experiment = read_config(&published("deep_mlp_sinusoidal.none.json")).unwrap().0;
        let model = experiment.model;
        assert_eq!((model.layers, model.width, model.heads, model.mlp_ratio), (3, 32, 4, Some(4.0)));
        assert_eq!((model.positions, model.time, model.outputs), (Positions::Sinusoidal, 30.0, Some(36)));
        assert_eq!((experiment.data.mixture[0].context, experiment.data.mixture[0].burstiness), (8, 3));
        assert_eq!(experiment.data.relabel, None);
    }

    #[test]
    fn every_option_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let options = r#"{
            "run": "my run", "depth": 3, "not_causal": true, "init_rescale": 0.5, "no_norm": true, "lr": 0.01, "optimizer": "cosine",
            "warmup_steps": 10, "decay_steps": 90, "weight_decay": 0.1, "train_bs": 30, "train_microbs": 8, "train_context_len": 4,
            "mixing_coeffs": [0.9, 0.1], "pt_burstiness": [2, 0], "pt_distract": [0, 1], "pt_no_support": [1, 0], "pt_unique_rest": [0, 1],
            "eval_every": 100, "ckpt_every": 50, "eval_iters": 77, "save_eval_data": "e.h5", "pe_names": ["a"], "pe_classes": ["test"],
            "pe_exemplars": ["all"], "pe_burstiness": [1], "pe_noise_scale": [0.3], "pe_distract": [1], "pe_no_support": [1],
            "pe_unique_rest": [1], "pe_fs_relabel_scheme": ["01"], "pe_context_len": [3], "pe_assign_query_label_random": [1],
            "class_split": [20, 5, 10], "exemplar_split": [3, 1, 1], "noise_scale_train": 0.2, "zipf_alpha": 1.5,
            "match_query_and_distractors": true, "assign_query_label_random": true, "data_type": "onehot", "model_output_classes": 40
        }"#;
        fs::write(&path, options.replace("[3, 1, 1]", "[1, 0, 0]")).unwrap();
        let e = read_config(&path).unwrap().0;
        assert_eq!((e.name.as_str(), e.model.causal, e.model.init_rescale, e.model.norms), ("my-run", false, 0.5, false));
        assert_eq!(e.train.optimiser, OptimiserSpec { name: OptimiserName::Cosine, rate: 0.01, warmup: Some(10), decay: Some(90) });
        assert_eq!((e.train.weight_decay, e.train.batch, e.train.micro_batch), (0.1, 32, Some(8)));
        let sampler =
            |weight, burstiness, distractor, support, unique| MixtureSpec { context: 4, burstiness, weight, distractor, support, unique };
        assert_eq!(e.data.mixture, [sampler(0.9, 2, false, false, false), sampler(0.1, 0, true, true, true)]);
        assert_eq!((e.evaluation.every, e.evaluation.sequences, e.evaluation.write, e.checkpoint.every), (Some(100), 77, true, Some(50)));
        let evaluator = EvaluatorSpec {
            name: "a".into(),
            file: None,
            exhaustive: false,
            classes: Some(SplitName::Test),
            exemplars: Some(SplitName::All),
            relabel: Some(RelabelName::ZeroOne),
            context: Some(3),
            burstiness: Some(1),
            distractor: Some(true),
            support: Some(false),
            unique: Some(true),
            random_query_label: Some(true),
            noise: Some(0.3),
        };
        assert_eq!(e.evaluators, [evaluator]);
        assert_eq!((e.data.noise, e.data.zipf, e.data.match_exemplars, e.data.random_query_label), (0.2, 1.5, true, true));
        assert_eq!(e.data.bank, Some("one_hot".into()));
    }

    #[test]
    fn interventions_are_carried_over() {
        let of = |name: &str| read_config(&published(name)).unwrap().0;
        let rest = of("induction.ablate_rest.json").interventions;
        assert_eq!(rest.len(), 1);
        assert_eq!((rest[0].site, rest[0].layers.of(2), rest[0].heads.of(8)), (Site::Value, vec![1], vec![0, 1, 2, 4, 5, 6, 7]));
        let layer1 = of("induction.layer1_copy.json");
        assert_eq!((layer1.passes.len(), layer1.interventions.len()), (1, 3));
        assert_eq!(refusal(r#"{"opto_ablate_heads": ["one:two"]}"#), "config.json: opto_ablate_heads: \"one:two\" is no layer:head");
        assert_eq!(
            refusal(r#"{"opto_specific_fn": "perfect_prev_token_input", "opto_preserve_keys": true}"#),
            "config.json: opto_preserve_keys: the published code ignores it beside perfect_prev_token_input; take it out"
        );
    }

    #[test]
    fn temperatures_may_name_every_head() {
        let of = |heads: &str, depth: usize| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("config.json");
            let data = r#""data_type": "onehot", "class_split": [20, 5, 10], "exemplar_split": [1, 0, 0], "mixing_coeffs": [1.0],
                "pt_burstiness": [1], "eval_every": 100, "num_heads": 2"#;
            fs::write(&path, format!("{{{data}, \"depth\": {depth}, \"opto_set_head_temperature\": [{heads}]}}")).unwrap();
            let all = read_config(&path).unwrap().0.interventions;
            all.into_iter().map(|one| (one.name.unwrap(), one.layers.of(depth), one.heads.of(2))).collect::<Vec<_>>()
        };
        let named = |name: &str, layer, heads: &[usize]| (name.to_owned(), vec![layer], heads.to_vec());
        assert_eq!(
            of(r#""1:0:0.5", "1:1:2.0", "0:1:0.5""#, 2),
            [
                named("temperature-1.0", 1, &[0]),
                named("temperature-1.1", 1, &[1]),
                named("temperature-0.1", 0, &[1]),
                named("frozen-0", 0, &[0])
            ]
        );
    }

    #[test]
    fn evaluators_with_labels_beyond_the_outputs_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let options = r#"{"data_type": "onehot", "class_split": [20, 5, 10], "exemplar_split": [1, 0, 0], "mixing_coeffs": [1.0],
            "pt_burstiness": [1], "eval_every": 100, "pe_names": ["seen", "unseen"], "pe_classes": ["train", "test"],
            "pe_exemplars": ["all", "all"], "pe_burstiness": [1, 1]}"#;
        fs::write(&path, options).unwrap();
        let experiment = read_config(&path).unwrap().0;
        let beyond: Vec<_> = experiment.evaluators.iter().map(|evaluator| beyond_outputs(&experiment, evaluator)).collect();
        let which =
            "the evaluator \"unseen\" has labels up to 34: each class its number (test classes); the model has 20 outputs (model.outputs)";
        assert_eq!(beyond, [None, Some(which.to_owned())]);
        // Of training that is no warning.
        fs::write(&path, options.replace("\"eval_every\"", "\"model_output_classes\": 19, \"eval_every\"")).unwrap();
        assert!(read_config(&path).unwrap_err().to_string().contains("model.outputs: training has labels up to 19"));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        assert_eq!(refusal(r#"{"dmodel": 3}"#), "config.json: dmodel: the published code has no such option; did you mean \"d_model\"?");
        assert_eq!(refusal(r#"{"load_from_ckpt": "a.eqx"}"#), "config.json: load_from_ckpt: \"a.eqx\": not supported");
        assert_eq!(refusal(r#"{"optimizer": "lion"}"#), "config.json: optimizer: \"lion\" is not known");
        assert!(refusal("[1]").starts_with("config.json: not a config of the published code: "));
        assert!(refusal(r#"{"depth": "two"}"#).contains("invalid type: string \"two\""));
    }
}
