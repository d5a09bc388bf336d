//! The eight metrics of a sequence, measured at its query.

use candle_core::{DType, Device, Result, Tensor};

/// One number a sequence for each metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Cross-entropy of the target, in nats.
    pub loss: Vec<f32>,
    /// Whether the target has the largest logit (the first, of equals).
    pub acc: Vec<f32>,
    /// Probability of the target.
    pub prob: Vec<f32>,
    /// `acc` with the logits of labels that are not in the context removed.
    pub in_context_acc: Vec<f32>,
    /// `prob` likewise.
    pub in_context_prob: Vec<f32>,
    /// `acc` with the logits of labels that are in the context removed.
    pub out_context_acc: Vec<f32>,
    /// `prob` likewise.
    pub out_context_prob: Vec<f32>,
    /// Probability mass on the labels in the context.
    pub use_context_prob: Vec<f32>,
}

/// What the published code gives to logits that are removed.
const REMOVED: f32 = -1e20;

impl Metrics {
    /// The metrics' names, in the order of `columns`.
    pub const NAMES: [&'static str; 8] =
        ["loss", "acc", "prob", "in_context_acc", "in_context_prob", "out_context_acc", "out_context_prob", "use_context_prob"];

    /// Appends the metrics of some sequences.
    ///
    /// # Shapes
    /// `logits` [B, C] at the query, `labels` u32 [B, P], the last of each the target.
    pub fn append(&mut self, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let (_, classes) = logits.dims2()?;
        let (_, pairs) = labels.dims2()?;
        let logits: Vec<f32> = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        let labels: Vec<u32> = labels.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        let mut in_context = vec![false; classes];
        let mut kept = vec![0.0; classes];
        for (logits, labels) in logits.chunks_exact(classes).zip(labels.chunks_exact(pairs)) {
            let (context, target) = (&labels[..pairs - 1], labels[pairs - 1] as usize);
            context.iter().for_each(|&label| in_context[label as usize] = true);
            let (maximum, total) = maximum_and_total(logits);
            let probability = |class: usize| (logits[class] - maximum).exp() / total;
            self.loss.push(maximum + total.ln() - logits[target]);
            self.acc.push(f32::from(first_largest(logits) == target));
            self.prob.push(probability(target));
            self.use_context_prob.push((0..classes).filter(|&class| in_context[class]).map(probability).sum());
            let mut among = |wanted: bool| {
                for class in 0..classes {
                    kept[class] = if in_context[class] == wanted { logits[class] } else { REMOVED };
                }
                let (maximum, total) = maximum_and_total(&kept);
                (f32::from(first_largest(&kept) == target), (kept[target] - maximum).exp() / total)
            };
            let (acc, prob) = among(true);
            self.in_context_acc.push(acc);
            self.in_context_prob.push(prob);
            let (acc, prob) = among(false);
            self.out_context_acc.push(acc);
            self.out_context_prob.push(prob);
            context.iter().for_each(|&label| in_context[label as usize] = false);
        }
        Ok(())
    }

    /// Appends those of other sequences.
    pub fn extend(&mut self, other: Metrics) {
        let Metrics { loss, acc, prob, in_context_acc, in_context_prob, out_context_acc, out_context_prob, use_context_prob } = other;
        self.loss.extend(loss);
        self.acc.extend(acc);
        self.prob.extend(prob);
        self.in_context_acc.extend(in_context_acc);
        self.in_context_prob.extend(in_context_prob);
        self.out_context_acc.extend(out_context_acc);
        self.out_context_prob.extend(out_context_prob);
        self.use_context_prob.extend(use_context_prob);
    }

    /// All metrics in the order of `NAMES`, each of one number a sequence.
    pub fn columns(&self) -> [&Vec<f32>; 8] {
        [
            &self.loss,
            &self.acc,
            &self.prob,
            &self.in_context_acc,
            &self.in_context_prob,
            &self.out_context_acc,
            &self.out_context_prob,
            &self.use_context_prob,
        ]
    }

    /// The mean of each, added up in f64.
    pub fn means(&self) -> [f64; 8] {
        self.columns().map(|column| column.iter().map(|&x| f64::from(x)).sum::<f64>() / column.len() as f64)
    }

    /// How many sequences there are.
    pub fn len(&self) -> usize {
        self.loss.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.loss.is_empty()
    }
}

fn maximum_and_total(logits: &[f32]) -> (f32, f32) {
    let maximum = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (maximum, logits.iter().map(|&x| (x - maximum).exp()).sum())
}

fn first_largest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, &x) in logits.iter().enumerate() {
        if x > logits[best] {
            best = class;
        }
    }
    best
}
