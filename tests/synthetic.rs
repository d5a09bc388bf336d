//! Logs of runs that never were: losses that wait and fall when they are told to, for tests of what is drawn from logs.

use crate::program::BASE;
use candle_core::{Device, Tensor};
use optogen::experiment::{Changes, load_with};
use optogen::heads::HeadMeasures;
use optogen::log::{RunLog, RunRow, write_run_row};
use optogen::metrics::Metrics;
use optogen::run_folder::RunFolder;
use optogen::weights::Weight;
use std::f64::consts::LN_2;
use std::path::{Path, PathBuf};

/// Induction strengths that heads of layer 1 come to have.
pub const STRENGTHS: [f64; 8] = [0.42, 0.74, 0.71, 0.85, 0.29, 0.55, 0.1, 0.57];
/// Every evaluator has so many sequences.
const EXAMPLES: usize = 50;

/// What is logged of a run.
pub struct Synthetic<'a> {
    /// TOML on top of the base experiment: interventions.
    pub more: &'a str,
    /// As with `--set`.
    pub sets: Vec<String>,
    /// When the loss has fallen by half.
    pub falls: f64,
    /// Whether heads and weights are logged.
    pub heads: bool,
    /// Whether single sequences are logged.
    pub examples: bool,
    /// Logged evaluations: until when, and how far apart.
    pub until: (u64, u64),
    /// The share of right answers at the last evaluation; as the loss has it if absent.
    pub accuracy: Option<f64>,
}

impl Default for Synthetic<'_> {
    fn default() -> Self {
        Self { more: "", sets: Vec::new(), falls: 2.4e5, heads: false, examples: false, until: (1_000_000, 20_000), accuracy: None }
    }
}

impl Synthetic<'_> {
    /// Writes the run below a folder; returns its own.
    pub fn write(&self, out: &Path) -> PathBuf {
        let home = tempfile::tempdir().expect("a folder");
        let more = home.path().join("more.toml");
        let analysis = "\n[[evaluator]]\nname = \"analysis\"\nexhaustive = true\nclasses = \"train\"\nrelabel = \"train\"\n";
        std::fs::write(&more, format!("{}{analysis}", self.more)).expect("written");
        let mut sets = vec![format!("evaluation.examples={}", self.examples)];
        sets.extend(self.sets.iter().cloned());
        let experiment =
            load_with(Path::new(BASE), Some(&more), &Changes { sets: &sets, ..Changes::default() }).expect("an experiment").remove(0);
        let folder = RunFolder::open(out, &experiment.run_id(), false).expect("a run folder");
        let mut log = RunLog::create(&folder, &experiment.tables()).expect("tables");
        for sequences in (0..=self.until.0).step_by(self.until.1 as usize) {
            let fallen = 1.0 / (1.0 + ((self.falls - sequences as f64) / 2.5e4).exp());
            for (number, evaluator) in ["fsl_train", "fsl_val_rl", "fsl_test_class", "analysis"].into_iter().enumerate() {
                let above = if evaluator == "analysis" { 0.0 } else { 0.05 * number as f64 };
                let loss = LN_2 * (1.0 - fallen) + (-(sequences as f64) / 2e4).exp() + above + 0.002;
                log.evaluation(sequences, evaluator, metrics(loss, self.accuracy.unwrap_or(0.5 + fallen / 2.0)));
                if self.heads {
                    log.heads(sequences, evaluator, heads(fallen));
                }
            }
        }
        if experiment.measures.weights {
            log.weights(self.until.0, compositions());
        }
        log.close().expect("journalled").into_iter().for_each(|table| _ = table.finish().expect("sealed"));
        let row = RunRow { status: "finished".into(), sequences: self.until.0, ..RunRow::default() };
        write_run_row(&folder, &experiment.run(experiment.run_id()), &row).expect("written");
        folder.path().to_owned()
    }
}

fn metrics(loss: f64, accuracy: f64) -> Metrics {
    // Not the same sequences are right for every accuracy.
    let shift = (accuracy * 1e3) as usize;
    let right = |example: usize| f32::from(((example * 7 + shift) % EXAMPLES) < (accuracy * EXAMPLES as f64).round() as usize);
    let all = |value: f64| vec![value as f32; EXAMPLES];
    Metrics {
        loss: (0..EXAMPLES).map(|example| (loss * (0.5 + example as f64 / (EXAMPLES - 1) as f64)) as f32).collect(),
        acc: (0..EXAMPLES).map(right).collect(),
        prob: all((-loss).exp()),
        in_context_acc: all(accuracy),
        in_context_prob: all((-loss).exp()),
        out_context_acc: all(0.0),
        out_context_prob: all(0.0),
        use_context_prob: all(1.0),
    }
}

fn heads(fallen: f64) -> HeadMeasures {
    let labels = Tensor::new(&[[0u32, 1, 1]], &Device::Cpu).expect("labels");
    let mut measures = HeadMeasures::default();
    for layer in 0..2 {
        let mut pattern = vec![0.0f32; 8 * 25];
        for (head, strength) in STRENGTHS.iter().enumerate() {
            let strength = if layer == 1 { strength * fallen } else { 0.0 };
            // The query's row: the first label is the other's, the second is its own.
            pattern[head * 25 + 21] = ((1.0 - strength) / 2.0) as f32;
            pattern[head * 25 + 23] = ((1.0 + strength) / 2.0) as f32;
        }
        measures.append(layer, &Tensor::from_vec(pattern, (1, 8, 5, 5), &Device::Cpu).expect("a pattern"), &labels).expect("measured");
    }
    measures
}

fn compositions() -> Vec<Weight> {
    let score = |from: usize, head: usize| 0.09 + 0.001 * (from * 8 + head) as f64;
    let pairs = (0..8).flat_map(|from| (0..8).map(move |head| (from, head)));
    pairs
        .flat_map(|(from, head)| {
            ["k_composition", "v_composition"].map(|measure| Weight {
                measure,
                from: Some((0, from)),
                layer: 1,
                head,
                value: score(from, head),
            })
        })
        .collect()
}

/// An intervention that leaves only some heads of a layer active.
pub fn only(layer: usize, heads: &[usize]) -> String {
    format!(
        "[[intervention]]\nname = \"only-{layer}\"\nsite = \"v\"\nlayers = [{layer}]\nheads = {{ except = {heads:?} }}\naction = \"zero\"\norder = 1\n"
    )
}

/// An intervention that keeps a site of the clean pass.
pub fn kept(site: &str) -> String {
    format!(
        "[[intervention]]\nname = \"kept-{site}\"\nsite = \"{site}\"\nlayers = [1]\naction = {{ copy = {{ pass = \"clean\" }} }}\norder = 0\n"
    )
}
