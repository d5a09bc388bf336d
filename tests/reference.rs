//! The published code's numbers: on three small models, as `data/conformance.h5` holds them, and of toy models.

use candle_core::{DType, Device, Tensor};
use optogen::experiment::{Experiment, OptimiserName, OptimiserSpec, Positions};
use optogen::transformer::{Architecture, Parameters, Tokens, Transformer};
use optogen_data::reference::read_config;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Numbers of `data/toy.h5`, the first thousand steps of the published toy models.
pub fn toy(name: &str) -> Vec<f64> {
    let file = hdf5::File::open(TOY).expect("the reference's numbers are part of the project");
    file.dataset(name).and_then(|dataset| dataset.read_raw()).expect(name)
}

/// The file of the published toy models; each instance is a group with its vectors.
pub const TOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/toy.h5");

/// One of the three models, with its parameters, its bank and a batch.
pub struct Case {
    name: &'static str,
    file: hdf5::File,
}

/// The three.
pub const CASES: [&str; 3] = ["induction", "deep_mlp_sinusoidal", "learned_positions"];

impl Case {
    /// Opens a case.
    pub fn open(name: &'static str) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/conformance.h5");
        Self { name, file: hdf5::File::open(path).expect("the reference's numbers are part of the project") }
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.name)
    }

    /// Whether there is something at a place.
    pub fn has(&self, path: &str) -> bool {
        self.file.link_exists(&self.at(path))
    }

    /// Numbers, as a tensor.
    pub fn tensor(&self, path: &str, dtype: DType) -> Tensor {
        let dataset = self.file.dataset(&self.at(path)).expect(path);
        let numbers: Vec<f64> = dataset.read_raw().expect(path);
        Tensor::from_vec(numbers, dataset.shape(), &Device::Cpu).and_then(|tensor| tensor.to_dtype(dtype)).expect(path)
    }

    /// Integers.
    pub fn integers(&self, path: &str) -> Vec<u32> {
        self.file.dataset(&self.at(path)).expect(path).read_raw().expect(path)
    }

    /// The names of the things at a place.
    pub fn members(&self, path: &str) -> Vec<String> {
        self.file.group(&self.at(path)).expect(path).member_names().expect(path)
    }

    /// What the model is made of.
    pub fn architecture(&self) -> Architecture {
        let width = self.file.dataset(&self.at("params/example_embed/weight")).expect("weight").shape();
        let outputs = self.file.dataset(&self.at("params/unembed/weight")).expect("weight").shape()[0];
        let common = Architecture {
            layers: 2,
            width: width[0],
            heads: 8,
            hidden: None,
            features: width[1],
            example_bias: true,
            outputs,
            positions: Positions::Rope,
            time: 10_000.0,
            norms: true,
            causal: true,
        };
        match self.name {
            "induction" => common,
            "learned_positions" => Architecture { heads: 4, positions: Positions::Learned, ..common },
            _ => Architecture { layers: 3, heads: 4, hidden: Some(4 * width[0]), positions: Positions::Sinusoidal, time: 30.0, ..common },
        }
    }

    /// Parameters below a place, in the model's order.
    pub fn parameters(&self, path: &str, dtype: DType) -> Vec<(String, Tensor)> {
        let names = self.architecture().parameters().into_iter();
        names.map(|(name, _)| (name.clone(), self.tensor(&format!("{path}/{name}"), dtype))).collect()
    }

    /// `copies` of the model as one cohort.
    pub fn transformer(&self, copies: usize, dtype: DType) -> Transformer {
        let models = vec![self.parameters("params", dtype); copies];
        Transformer::new(self.architecture(), Parameters::stack(&models, &Device::Cpu).unwrap()).unwrap()
    }

    /// The batch, for each of `copies` members.
    pub fn batch(&self, copies: usize, dtype: DType) -> Tokens {
        let shape = self.file.dataset(&self.at("batch/classes")).expect("batch").shape();
        let read = |name: &str| self.integers(&format!("batch/{name}"));
        self.tokens(&read("classes"), &read("exemplars"), &read("labels"), (copies, shape[0], shape[1]), dtype)
    }

    /// Batch `index` of a training trajectory.
    pub fn training_batch(&self, training: &str, index: usize) -> Tokens {
        let path = |name: &str| format!("training/{training}/batches/{name}");
        let shape = self.file.dataset(&self.at(&path("classes"))).expect("batches").shape();
        let size = shape[1] * shape[2];
        let read = |name: &str| self.integers(&path(name))[index * size..][..size].to_vec();
        self.tokens(&read("classes"), &read("exemplars"), &read("labels"), (1, shape[1], shape[2]), DType::F32)
    }

    fn tokens(&self, classes: &[u32], exemplars: &[u32], labels: &[u32], shape: (usize, usize, usize), dtype: DType) -> Tokens {
        let bank = self.tensor("data/bank", dtype);
        let (_, each, features) = bank.dims3().unwrap();
        let rows: Vec<u32> = classes.iter().zip(exemplars).map(|(class, exemplar)| class * each as u32 + exemplar).collect();
        let mut distinct = rows.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let index: Vec<u32> = rows.iter().map(|row| distinct.binary_search(row).unwrap() as u32).collect();
        let used = Tensor::new(distinct.as_slice(), &Device::Cpu).unwrap();
        let one = bank.reshape(((), features)).unwrap().index_select(&used, 0).unwrap();
        let stack = |numbers: &[u32]| Tensor::from_vec(numbers.repeat(shape.0), shape, &Device::Cpu).unwrap();
        Tokens { features: Tensor::stack(&vec![one; shape.0], 0).unwrap(), examples: stack(&index), labels: stack(labels) }
    }

    /// The experiment that the flags of one of `clamps` ask for; grafts take `donor`.
    pub fn experiment(&self, clamp: &str, donor: Option<&Path>) -> Experiment {
        let text = |at: hdf5::Result<hdf5::Attribute>| -> String {
            at.and_then(|at| at.read_scalar::<hdf5::types::VarLenUnicode>()).expect("an attribute").as_str().to_owned()
        };
        let config = text(self.file.group(self.name).and_then(|case| case.attr("config")));
        let flags = text(self.file.group(&self.at(&format!("clamps/{clamp}"))).and_then(|clamp| clamp.attr("flags")));
        let mut config: Map<String, Value> = serde_json::from_str(&config).expect("a config");
        let flags: Vec<String> = serde_json::from_str(&flags).expect("flags");
        for own in flags.chunk_by(|_, next| !next.starts_with("--")) {
            let number = |text: &String| text.parse::<f64>().map_or_else(|_| text.clone().into(), |number| json!(number));
            let whole = |text: &String| text.parse::<u64>().map_or_else(|_| text.clone().into(), |number| json!(number));
            let name = own[0].trim_start_matches("--");
            let value = match &own[1..] {
                [] if name.ends_with("model_ckpt") || name.ends_with("model_cfg") => "donor".into(),
                [] => true.into(),
                [one] if name.ends_with("strength") || name.ends_with("head_temperature") && name.contains("match") => number(one),
                [one] if name.ends_with("layer") => whole(one),
                [one] if name.ends_with("pattern") || name.ends_with("fn") => one.clone().into(),
                list => list.iter().map(whole).collect(),
            };
            config.insert(name.into(), value);
        }
        let path = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(path.path(), serde_json::to_string(&config).expect("JSON")).expect("written");
        let (mut experiment, grafts) = read_config(path.path()).expect("a config that is understood");
        for pass in experiment.passes.iter_mut().filter(|pass| grafts.iter().any(|graft| graft.pass == pass.name)) {
            pass.donor = donor.map(Path::to_owned);
        }
        experiment
    }

    /// The optimiser of a training trajectory.
    pub fn optimiser(&self, training: &str) -> OptimiserSpec {
        let (name, rate) = match training {
            "sgd" => (OptimiserName::Sgd, 0.05),
            _ => (OptimiserName::Adam, 1e-3),
        };
        OptimiserSpec { name, rate, warmup: None, decay: None }
    }
}

/// The largest |a − b|.
pub fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let away = (a - b).and_then(|away| away.abs()?.flatten_all()?.max(0)?.to_dtype(DType::F64)?.to_scalar::<f64>());
    away.expect("two tensors of the same shape")
}

/// The largest |a|.
pub fn largest(a: &Tensor) -> f64 {
    a.abs().and_then(|a| a.flatten_all()?.max(0)?.to_dtype(DType::F64)?.to_scalar::<f64>()).expect("a tensor")
}
