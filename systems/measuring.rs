//! How an evaluator's sequences are measured.

use crate::spread::each;
use crate::workspace::with_workspace;
use candle_core::{DType, Tensor};
use optogen::bank::ClassBank;
use optogen::clamp::{Fusible, Now, Plan};
use optogen::components::{Evaluator, EvaluatorSequences, Measured};
use optogen::experiment::MeasureSpec;
use optogen::fused::{FusedEvaluation, Pattern};
use optogen::gate::Gate;
use optogen::heads::HeadMeasures;
use optogen::metrics::Metrics;
use optogen::site::{Place, Site};
use optogen::transformer::{Tokens, Transformer};
use optogen::weights::attribution;
use optogen::{Error, Result};

/// Who is measured, and how.
pub(crate) struct Measuring<'a> {
    pub transformer: &'a Transformer,
    /// Sequences that the transformer has seen.
    pub sequences: u64,
    pub bank: Option<&'a ClassBank>,
    pub measures: &'a MeasureSpec,
    pub way: Way<'a>,
}

/// How sequences go through a transformer.
pub(crate) enum Way<'a> {
    /// By the fused pass: nothing is clamped but values and patterns of heads.
    Fused(Fusible<'a>),
    /// Through the gate.
    Gate(&'a Plan, &'a Now),
}

impl<'a> Way<'a> {
    /// The fused one where that is possible. What heads add to the answer is seen at the gate alone.
    pub fn of(transformer: &Transformer, plan: &'a Plan, now: &'a Now, measures: &MeasureSpec) -> Self {
        let parameters = transformer.parameters();
        let possible = parameters.device().is_cpu() && parameters.dtype() == DType::F32 && !(measures.heads && measures.attribution);
        match plan.fusible(transformer.architecture().layers, now).filter(|_| possible) {
            Some(fusible) => Way::Fused(fusible),
            None => Way::Gate(plan, now),
        }
    }
}

/// Chunks that are measured one after another. An evaluator of more is spread over threads in blocks of so many, and what they measure is put
/// together in their order, so that the sums do not depend on the threads.
const BLOCK: usize = 16;

impl Measuring<'_> {
    /// The metrics that the transformer has on all sequences of an evaluator and, where that is asked for, how each head attends and what it adds.
    pub fn measure(&self, evaluator: &Evaluator) -> Result<Measured> {
        let chunks = match self.way {
            Way::Gate(plan, now) if plan.couples_sequences(now) => evaluator.together(self.bank, self.transformer.parameters().device())?,
            _ => evaluator.sequences.clone(),
        };
        if chunks.len() <= BLOCK {
            return self.measure_block(&chunks);
        }
        let mut all = self.nothing_yet();
        for block in each(chunks.chunks(BLOCK).collect(), |block| self.measure_block(block)) {
            let block = block?;
            all.metrics.extend(block.metrics);
            if let (Some(heads), Some(more)) = (&mut all.heads, &block.heads) {
                heads.add(more);
            }
        }
        Ok(all)
    }

    fn nothing_yet(&self) -> Measured {
        let heads = self.measures.heads.then(HeadMeasures::default);
        Measured { sequences: self.sequences, metrics: Metrics::default(), heads }
    }

    fn measure_block(&self, chunks: &[EvaluatorSequences]) -> Result<Measured> {
        let mut fused = match self.way {
            Way::Fused(_) => Some(FusedEvaluation::new(self.transformer)?),
            Way::Gate(..) => None,
        };
        let mut measured = self.nothing_yet();
        for chunk in chunks {
            let input = chunk.tokens(self.bank, self.transformer.parameters().device())?;
            let labels = input.labels.squeeze(0)?;
            let logits = match (&self.way, &mut fused) {
                (Way::Fused(fusible), Some(fused)) => self.fused(fused, &input, fusible, &labels, &mut measured)?,
                (Way::Gate(plan, now), _) => self.gated(&input, plan, now, &labels, &mut measured)?,
                (Way::Fused(_), None) => return Err(Error::Internal("a fused pass is gone".into())),
            };
            measured.metrics.append(&logits.squeeze(0)?, &labels)?;
        }
        Ok(measured)
    }

    /// Logits `[1, B, C]`; heads are measured on the way.
    fn fused(
        &self,
        fused: &mut FusedEvaluation,
        input: &Tokens,
        fusible: &Fusible,
        labels: &Tensor,
        measured: &mut Measured,
    ) -> Result<Tensor> {
        let clamps = fusible.clamps(input)?;
        with_workspace(|workspace| {
            let Some(heads) = &mut measured.heads else {
                return Ok(fused.forward(workspace, self.transformer, input, &clamps, None)?);
            };
            let mut look = |layer: usize, pattern: Pattern<f32>| {
                heads.append_each(layer, pattern.heads(), |sequence, head, t, s| pattern.at(sequence, head, t, s), labels)
            };
            Ok(fused.forward(workspace, self.transformer, input, &clamps, Some(&mut look))?)
        })
    }

    /// The same through the gate.
    fn gated(&self, input: &Tokens, plan: &Plan, now: &Now, labels: &Tensor, measured: &mut Measured) -> Result<Tensor> {
        let layers = self.transformer.architecture().layers;
        let in_layers = |site: Site, wanted: bool| (0..layers).filter(move |_| wanted).map(move |layer| (site, Some(layer)));
        let mut gate = Gate::looking_at(in_layers(Site::Pattern, measured.heads.is_some()));
        let logits = plan.forward(self.transformer, input, now, &mut gate)?;
        let Some(heads) = &mut measured.heads else { return Ok(logits) };
        for (layer, (_, pattern)) in gate.take_seen().into_iter().enumerate() {
            heads.append(layer, &pattern.squeeze(0)?, labels)?;
        }
        if self.measures.attribution {
            // In a pass of its own, since looking at these sites takes the composed way.
            let last = (Site::ResidualPost, Some(layers - 1));
            let mut gate = Gate::looking_at(in_layers(Site::Z, true).chain([last]));
            plan.forward(self.transformer, input, now, &mut gate)?;
            heads.attribute(&self.attributions(&gate.take_seen(), last, labels)?, labels.dim(0)?);
        }
        Ok(logits)
    }

    fn attributions(&self, seen: &[(Place, Tensor)], last: Place, labels: &Tensor) -> Result<Vec<f64>> {
        let at = |place: Place| -> Result<_> {
            let found = seen.iter().find(|(own, _)| *own == place).map(|(_, value)| value.squeeze(0));
            Ok(found.ok_or_else(|| Error::Internal(format!("{} was not seen", place.0.name())))??)
        };
        let last = at(last)?;
        let mut all = Vec::new();
        for layer in 0..self.transformer.architecture().layers {
            all.extend(attribution(self.transformer, layer, &at((Site::Z, Some(layer)))?, &last, labels)?);
        }
        Ok(all)
    }
}
