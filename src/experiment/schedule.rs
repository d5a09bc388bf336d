//! When evaluators run and checkpoints are kept: a question about the counter of sequences alone, so that a resumed run answers it as before.

use super::{Cadence, CheckpointSpec, EvaluationSpec, Experiment};

/// The counts of sequences at which something is due.
///
/// The counter moves by the batch from 0 to the total. A count that is asked for is due when the counter first reaches or passes it; several
/// within one batch are due once; the end is always due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    counts: Counts,
    batch: u64,
    total: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Counts {
    /// Multiples, 0 included.
    Every(u64),
    /// These, in ascending order.
    At(Vec<u64>),
}

impl Schedule {
    /// When the evaluators run.
    pub fn evaluation(experiment: &Experiment) -> Self {
        let EvaluationSpec { every, at, logarithmic, .. } = &experiment.evaluation;
        Self::of(experiment, *every, at.as_deref(), *logarithmic)
    }

    /// When checkpoints are kept.
    pub fn checkpoint(experiment: &Experiment) -> Self {
        let CheckpointSpec { every, at, logarithmic, .. } = &experiment.checkpoint;
        Self::of(experiment, *every, at.as_deref(), *logarithmic)
    }

    /// When a hook looks.
    pub fn hook(experiment: &Experiment, cadence: Cadence) -> Self {
        match cadence {
            Cadence::Evaluation => Self::evaluation(experiment),
            Cadence::Checkpoint => Self::checkpoint(experiment),
            Cadence::Sequences(every) => Self::of(experiment, Some(every), None, None),
        }
    }

    /// At every count, for what is looked at afterwards.
    pub fn always() -> Self {
        Self { counts: Counts::Every(1), batch: 1, total: u64::MAX }
    }

    fn of(experiment: &Experiment, every: Option<u64>, at: Option<&[u64]>, logarithmic: Option<usize>) -> Self {
        Self::new(experiment.train.batch as u64, experiment.train.total(), every, at, logarithmic)
    }

    /// Of a counter that moves by `batch` to `total`: multiples of `every`, or else so many counts evenly spaced in their logarithm, or else `at`.
    pub fn new(batch: u64, total: u64, every: Option<u64>, at: Option<&[u64]>, logarithmic: Option<usize>) -> Self {
        let counts = match (every, logarithmic) {
            (Some(every), _) => Counts::Every(every),
            (None, Some(count)) => Counts::At(logarithmic_counts(count, batch, total)),
            (None, None) => {
                let mut counts = at.unwrap_or_default().to_vec();
                counts.sort_unstable();
                Counts::At(counts)
            }
        };
        Self { counts, batch, total }
    }

    /// Whether it is due when so many sequences have been seen; `counter` is 0 or a multiple of the batch.
    pub fn due(&self, counter: u64) -> bool {
        // Due are the counts above the counter's value one batch ago, and up to the counter.
        let below = |limit: u64| match &self.counts {
            Counts::Every(every) => limit.div_ceil(*every),
            Counts::At(counts) => counts.partition_point(|&count| count < limit) as u64,
        };
        let before = if counter == 0 { 0 } else { below((counter + 1).saturating_sub(self.batch)) };
        counter == self.total || before < below(counter + 1)
    }

    /// All values of the counter at which it is due, in ascending order.
    pub fn points(&self) -> impl Iterator<Item = u64> + '_ {
        (0..=self.total / self.batch).map(|step| step * self.batch).filter(|&counter| self.due(counter))
    }
}

/// 0, and counts from the first batch to the total, evenly spaced in the logarithm of the step, each once: however many are asked for, there are no more
/// than steps.
fn logarithmic_counts(count: usize, batch: u64, total: u64) -> Vec<u64> {
    let steps = (total / batch) as f64;
    let share = |index: usize| if index + 1 == count { 1.0 } else { index as f64 / (count - 1) as f64 };
    let step = |index: usize| steps.powf(share(index)).round() as u64;
    let (mut counts, mut index) = (vec![0], 0);
    while index < count {
        let own = step(index);
        counts.push(own * batch);
        // Of the next indices those that give the same step are left out: none in most lists, and in long ones more and more.
        let is_same = |index: usize, stride: usize| stride < count - index && step(index + stride) == own;
        let mut stride = 1;
        while is_same(index, stride) {
            (index, stride) = (index + stride, 2 * stride);
        }
        while stride > 1 {
            stride /= 2;
            index += if is_same(index, stride) { stride } else { 0 };
        }
        index += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::parse;
    use crate::experiment::read::tests::BASE;

    /// Points of `evaluation` with this schedule and so many sequences in batches of 32.
    fn points(schedule: &str, sequences: u64) -> Vec<u64> {
        let text = BASE.replace("every = 5_000", schedule).replace("600_000", &sequences.to_string());
        Schedule::evaluation(&parse(&text, "f.toml").unwrap()).points().collect()
    }

    #[test]
    fn every_begins_at_0_and_is_due_when_first_reached() {
        assert_eq!(points("every = 64", 256), [0, 64, 128, 192, 256]);
        assert_eq!(points("every = 100", 300), [0, 128, 224, 320], "300 is rounded up to 320, and due there once");
        assert_eq!(points("every = 5", 96), [0, 32, 64, 96], "several within a batch are due once");
        assert_eq!(points("every = 1000", 96), [0, 96], "the end is always due");
        assert_eq!(points("every = 5000", 600_000).len(), 121);
    }

    #[test]
    fn a_list_is_due_when_first_reached() {
        assert_eq!(points("at = [70, 33, 64]", 128), [64, 96, 128]);
        assert_eq!(points("at = [0, 1000]", 128), [0, 128]);
        assert_eq!(points("at = [1, 128]", 128), [32, 128]);
    }

    #[test]
    fn logarithmic_counts_are_evenly_spaced_in_the_logarithm() {
        assert_eq!(points("logarithmic = 5", 32 * 10_000), [0, 32, 320, 3200, 32_000, 320_000]);
        assert_eq!(points("logarithmic = 1", 320), [0, 320]);
        assert_eq!(points("logarithmic = 20", 64), [0, 32, 64], "no more than there are steps");
    }

    #[test]
    fn a_list_is_no_longer_than_there_are_steps() {
        for (count, steps) in [(1, 1), (2, 1), (7, 3), (100, 64), (1000, 64), (1_000_000, 1000)] {
            let listed = logarithmic_counts(count, 32, 32 * steps);
            let share = |index: usize| if index + 1 == count { 1.0 } else { index as f64 / (count - 1) as f64 };
            let mut each: Vec<u64> = (0..count).map(|index| (steps as f64).powf(share(index)).round() as u64 * 32).collect();
            each.insert(0, 0);
            each.dedup();
            assert_eq!(listed, each, "{count} of {steps} steps");
        }
        assert_eq!(logarithmic_counts(usize::MAX, 32, 320), [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320]);
    }

    #[test]
    fn checkpoints_without_a_schedule_are_the_end_alone() {
        let schedule = Schedule::checkpoint(&parse(BASE, "f.toml").unwrap());
        assert_eq!(schedule.points().collect::<Vec<_>>(), [600_000]);
    }
}
