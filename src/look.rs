//! What hooks keep of the values that they see: the rows of their tables.

use crate::experiment::{Experiment, HookSpec, Reduction, Schedule};
use crate::memory::Budget;
use crate::site::Axes;
use crate::site::Place;
use crate::transformer::Architecture;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// Rows of a hook's table, by column; what does not apply is null.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Sequences seen.
    pub sequences: u64,
    /// `training`, or the evaluator.
    pub during: String,
    /// The layer.
    pub layer: Vec<Option<i64>>,
    /// The head.
    pub head: Vec<Option<i64>>,
    /// The sequence.
    pub example: Vec<Option<i64>>,
    /// The token, or the one that attends.
    pub at: Vec<Option<i64>>,
    /// The token that is attended to.
    pub to: Vec<Option<i64>>,
    /// The number in the last dimension.
    pub dimension: Vec<Option<i64>>,
    /// What the value is: `value`, `mean`, `deviation`, `entropy`, `norm` or `q0.5`; with `gradient of` before it where it is of one.
    pub statistic: Vec<String>,
    /// The value.
    pub value: Vec<f32>,
}

/// An entry of a sequence's value: its coordinates, and where it lies in the flat array.
struct Entry {
    head: Option<i64>,
    at: Option<i64>,
    to: Option<i64>,
    dimension: Option<i64>,
    offset: usize,
}

impl Rows {
    /// No rows yet.
    pub fn new(sequences: u64, during: &str) -> Self {
        Self { sequences, during: during.into(), ..Self::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.value.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }

    /// Adds what a hook keeps of one member's value at a place, over all sequences at once.
    ///
    /// # Shapes
    /// `value` is the site's without its first dimension.
    pub fn add(&mut self, hook: &HookSpec, architecture: &Architecture, place: Place, value: &Tensor) -> Result<()> {
        let flat = value.dims();
        let numbers: Vec<f32> = value.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        let sequences = if hook.site.axes() == Axes::Positions { 1 } else { flat.first().copied().unwrap_or(1) };
        let size = numbers.len() / sequences.max(1);
        let tokens = match hook.site.axes() {
            Axes::Positions => flat[0],
            Axes::Tokens | Axes::Pairs | Axes::HeadsSideBySide => flat[1],
            Axes::Heads | Axes::Attention => flat[2],
        };
        let sequences = hook.examples.map_or(sequences, |first| first.min(sequences));
        let each = |entry: &Entry| (0..sequences).map(|sequence| numbers[sequence * size + entry.offset]).collect::<Vec<f32>>();
        let layer = place.1.map(|layer| layer as i64);
        let entries = entries(hook, architecture, tokens);
        match &hook.reduce {
            Reduction::None => {
                for entry in &entries {
                    for (example, value) in each(entry).into_iter().enumerate() {
                        self.row(hook, layer, entry, Some(example as i64), "value", value);
                    }
                }
            }
            Reduction::MeanOverSequences => entries.iter().for_each(|entry| self.row(hook, layer, entry, None, "mean", mean(&each(entry)))),
            Reduction::MeanAndDeviation => {
                for entry in &entries {
                    let values = each(entry);
                    let mean = mean(&values);
                    let square = values.iter().map(|&x| f64::from(x - mean).powi(2)).sum::<f64>() / values.len() as f64;
                    self.row(hook, layer, entry, None, "mean", mean);
                    self.row(hook, layer, entry, None, "deviation", square.sqrt() as f32);
                }
            }
            Reduction::Quantiles(list) => {
                for entry in &entries {
                    let mut values = each(entry);
                    values.sort_by(f32::total_cmp);
                    for &quantile in list {
                        self.row(hook, layer, entry, None, &format!("q{quantile}"), interpolated(&values, quantile));
                    }
                }
            }
            Reduction::Entropy | Reduction::Norm => {
                let (name, fold): (_, fn(&[f32]) -> f32) =
                    if hook.reduce == Reduction::Norm { ("norm", norm) } else { ("entropy", entropy) };
                let same = |a: &Entry, b: &Entry| a.head == b.head && a.at == b.at;
                for group in entries.chunk_by(same) {
                    let of =
                        |sequence: usize| fold(&group.iter().map(|entry| numbers[sequence * size + entry.offset]).collect::<Vec<f32>>());
                    let whole = Entry { to: None, dimension: None, ..group[0] };
                    self.row(hook, layer, &whole, None, name, mean(&(0..sequences).map(of).collect::<Vec<_>>()));
                }
            }
        }
        Ok(())
    }

    fn row(&mut self, hook: &HookSpec, layer: Option<i64>, entry: &Entry, example: Option<i64>, statistic: &str, value: f32) {
        self.layer.push(layer);
        self.head.push(entry.head);
        self.example.push(example);
        self.at.push(entry.at);
        self.to.push(entry.to);
        self.dimension.push(entry.dimension);
        self.statistic.push(if hook.gradient { format!("gradient of {statistic}") } else { statistic.to_owned() });
        self.value.push(value);
    }
}

/// The chosen entries of a sequence's value, in their order.
fn entries(hook: &HookSpec, architecture: &Architecture, tokens: usize) -> Vec<Entry> {
    let mut all = Vec::new();
    each_entry(hook, architecture, tokens, |entry| all.push(entry));
    all
}

/// Visits them, which are too many to be listed perhaps.
fn each_entry(hook: &HookSpec, architecture: &Architecture, tokens: usize, mut visit: impl FnMut(Entry)) {
    let whole = |number: usize| Some(number as i64);
    let positions = || (0..tokens).filter(|&t| hook.at.may_hold(t, tokens, t));
    let size = hook.site.last_dimension(architecture).unwrap_or(tokens);
    let dimensions = hook.dimensions.of(size);
    match hook.site.axes() {
        Axes::Heads => {
            for head in hook.heads.of(architecture.heads) {
                for t in positions() {
                    let of_dimension = |&d: &usize| Entry {
                        head: whole(head),
                        at: whole(t),
                        to: None,
                        dimension: whole(d),
                        offset: (head * tokens + t) * size + d,
                    };
                    dimensions.iter().map(of_dimension).for_each(&mut visit);
                }
            }
        }
        Axes::Attention => {
            for head in hook.heads.of(architecture.heads) {
                for t in positions() {
                    let attended = |s: usize| Entry {
                        head: whole(head),
                        at: whole(t),
                        to: whole(s),
                        dimension: None,
                        offset: (head * tokens + t) * tokens + s,
                    };
                    (0..tokens).filter(|&s| hook.to.may_hold(s, tokens, t)).map(attended).for_each(&mut visit);
                }
            }
        }
        axes => {
            let (heads, width) = (hook.heads.of(architecture.heads), size / architecture.heads);
            let side_by_side = axes == Axes::HeadsSideBySide;
            for t in positions() {
                let own = dimensions.iter().filter(|&&d| !side_by_side || heads.contains(&(d / width)));
                let of_dimension = |&d: &usize| Entry {
                    head: if side_by_side { whole(d / width) } else { None },
                    at: whole(t),
                    to: None,
                    dimension: whole(if side_by_side { d % width } else { d }),
                    offset: t * size + d,
                };
                own.map(of_dimension).for_each(&mut visit);
            }
        }
    }
}

/// Rows that a hook writes each time it looks at `sequences` sequences of so many pairs.
pub fn rows_a_look(hook: &HookSpec, architecture: &Architecture, sequences: usize, pairs: usize) -> u64 {
    let tokens = if hook.site.axes() == Axes::Pairs { pairs } else { 2 * pairs - 1 };
    let layers = hook.entries().places(architecture.layers).len();
    let (mut entries, mut groups, mut last) = (0u64, 0u64, None);
    each_entry(hook, architecture, tokens, |Entry { head, at, .. }| {
        entries += 1;
        groups += u64::from(last.replace((head, at)) != Some((head, at)));
    });
    let sequences = if hook.site.axes() == Axes::Positions { 1 } else { hook.examples.map_or(sequences, |first| first.min(sequences)) };
    let rows = match &hook.reduce {
        Reduction::None => entries.saturating_mul(sequences as u64),
        Reduction::MeanOverSequences => entries,
        Reduction::MeanAndDeviation => entries.saturating_mul(2),
        Reduction::Quantiles(list) => entries.saturating_mul(list.len() as u64),
        Reduction::Entropy | Reduction::Norm => groups,
    };
    rows.saturating_mul(layers as u64)
}

/// The largest size of a row on the disk, in bytes: a value, and coordinates that compress well.
pub const BYTES_A_ROW: u64 = 12;

/// Bytes of a row in memory: five coordinates that may be null, the name of the statistic, and the value.
const BYTES_IN_MEMORY: u64 = 5 * 16 + 24 + 4;

/// What the hooks of an experiment will write.
pub struct Writing {
    /// The table.
    pub table: String,
    /// Rows in all.
    pub rows: u64,
}

impl Writing {
    /// A line for the start of a run.
    pub fn told(&self) -> String {
        format!("hook {}: up to {} rows, {:.1} MB", self.table, self.rows, self.rows as f64 * BYTES_A_ROW as f64 / 1e6)
    }
}

/// What each hook of an experiment will write in all; of each evaluator its name, how many sequences it has, and of how many exemplars. A replay
/// looks at so many `checkpoints`, and not at training.
///
/// # Errors
/// It is more than the experiment allows, or what is seen at once is more than there is memory for.
pub fn writing(
    experiment: &Experiment,
    architecture: &Architecture,
    evaluators: &[(String, usize, usize)],
    checkpoints: Option<u64>,
) -> Result<Vec<Writing>> {
    let training = experiment.data.mixture.first().map_or(0, |mixture| mixture.context) + 1;
    let budget = Budget::here();
    let all: Result<Vec<Writing>> = experiment
        .hooks
        .iter()
        .enumerate()
        .map(|(index, hook)| {
            let schedule = Schedule::hook(experiment, hook.every);
            let looks = checkpoints.unwrap_or_else(|| schedule.points().count() as u64);
            let named = |name: &str| hook.during.iter().any(|own| own == name);
            let (mut rows, mut at_once) = (0u64, 0u64);
            let mut add = |looks: u64, rows_a_look: u64| {
                rows = rows.saturating_add(looks.saturating_mul(rows_a_look));
                at_once = at_once.saturating_add(rows_a_look);
            };
            if named("training") && checkpoints.is_none() {
                // No step follows the last evaluation.
                let steps = schedule.points().filter(|&at| at < experiment.train.total()).count() as u64;
                add(steps, rows_a_look(hook, architecture, experiment.train.batch, training));
            }
            for (name, sequences, pairs) in evaluators {
                if named("evaluation") || named(name) {
                    add(looks, rows_a_look(hook, architecture, *sequences, *pairs));
                }
            }
            let bytes = u128::from(at_once) * u128::from(BYTES_IN_MEMORY);
            let fits = budget.fits(bytes, || format!("the {at_once} rows of a look"));
            fits.map_err(|message| Error::Invalid(format!("hook.{index} ({}): {message}; look at less, or reduce", hook.table)))?;
            Ok(Writing { table: hook.table.clone(), rows })
        })
        .collect();
    let all = all?;
    let megabytes = all.iter().map(|one| one.rows as f64 * BYTES_A_ROW as f64).sum::<f64>() / 1e6;
    if megabytes > experiment.measures.hook_megabytes {
        let each: Vec<String> = all.iter().map(|one| format!("{} {} rows", one.table, one.rows)).collect();
        return Err(Error::Invalid(format!(
            "the hooks would write up to {megabytes:.0} MB ({}), and measures.hook_megabytes is {}; look at less, less often, reduce, or raise it",
            each.join(", "),
            experiment.measures.hook_megabytes
        )));
    }
    Ok(all)
}

fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len() as f64) as f32
}

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt() as f32
}

fn entropy(values: &[f32]) -> f32 {
    values.iter().map(|&p| f64::from(p)).filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum::<f64>() as f32
}

/// A quantile of sorted values, in a straight line between neighbours.
fn interpolated(sorted: &[f32], quantile: f64) -> f32 {
    let place = quantile * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract() as f32
}
