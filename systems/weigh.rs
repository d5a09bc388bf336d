//! weigh: measures the weights of heads where evaluations are due and the experiment asks for it.

use crate::clamp::watch;
use crate::run::fail;
use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::Result;
use optogen::bank::ClassBank;
use optogen::components::*;
use optogen::log::RunLog;
use optogen::transformer::Transformer;
use optogen::weights::{Weight, measure};

/// Adds the systems to both schedules.
pub struct WeighPlugin;

impl Plugin for WeighPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, weigh.in_set(Stage::Measure).after(watch));
        app.add_systems(Begin, weigh.in_set(Stage::Measure).after(watch));
    }
}

/// Classes whose exemplars are compared with each other, at most.
const CLASSES: usize = 200;

type Weighed<'a> = (Entity, &'a Model, &'a MemberOf, &'a mut Status, &'a mut RunLog, Option<&'a FedBy>, Option<&'a Evaluators>);

fn weigh(
    mut models: Query<Weighed>,
    cohorts: Query<(&Members, &Progress, &Transformer)>,
    drawn: Query<&StreamOf>,
    banks: Query<&ClassBank>,
) {
    for (entity, model, cohort, mut status, mut log, fed, evaluators) in &mut models {
        let Ok((members, progress, transformer)) = cohorts.get(cohort.0) else { continue };
        if !model.experiment.measures.weights || *status != Status::Running || !model.evaluations.due(progress.sequences) {
            continue;
        }
        // A model that is trained has a stream; one that is replayed may have evaluators that draw.
        let mut drawing = fed.map(FedBy::stream).into_iter().chain(evaluators.into_iter().flat_map(|list| list.iter()));
        let bank = drawing.find_map(|one| banks.get(drawn.get(one).ok()?.0).ok());
        let weigh = || -> Result<Vec<Weight>> {
            // One exemplar of each class that is trained on.
            let rows = |bank: &ClassBank| {
                let classes = 0..model.experiment.data.classes.train.min(CLASSES) as u32;
                let rows: Vec<u32> = classes.map(|class| bank.row(class, 0)).collect();
                let count = rows.len();
                bank.gather(&candle_core::Tensor::from_vec(rows, count, transformer.parameters().device())?)
            };
            let features = bank.map(rows).transpose()?;
            let member = match transformer.parameters().members() {
                1 => 0,
                _ => members.iter().position(|member| member == entity).unwrap_or_default(),
            };
            measure(transformer, member, features.as_ref())
        };
        let recorded = weigh().map(|rows| log.weights(progress.sequences, rows));
        fail(&mut status, recorded);
    }
}
