//! update: from gradients to new parameters, and the counter moves on. A model whose loss is no longer a number stops here, alone; on a GPU, when its
//! numbers are read.

use crate::run::StopRequest;
use crate::spread::spread;
use crate::stage::{Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::components::{Active, Members, Model, Progress, Run, Status, Trouble};
use optogen::gradients::Gradients;
use optogen::optimiser::Optimiser;
use optogen::steps::Steps;
use optogen::transformer::Transformer;
use optogen::{Error, Result, numbers::Numbers};

/// Adds the systems.
pub struct UpdatePlugin;

impl Plugin for UpdatePlugin {
    fn build(&self, app: &mut App) {
        app.init_resource::<StopRequest>();
        app.add_systems(Step, (update, read_numbers, stop_diverged).chain().in_set(Stage::Update));
    }
}

/// What a step of the optimiser takes.
pub type Cohort<'a> = (&'a Transformer, &'a Gradients, &'a mut Optimiser, &'a mut Steps, &'a mut Progress, &'a mut Trouble);

/// One step of every active cohort's optimiser.
pub fn update(mut cohorts: Query<Cohort, With<Active>>) {
    spread(cohorts.iter_mut(), |(transformer, gradients, mut optimiser, mut steps, mut progress, mut trouble)| {
        trouble.guard(|| descend(transformer, gradients, &mut optimiser, &mut steps, &mut progress));
    });
}

/// One step of the optimiser, and the counter moves on.
pub(crate) fn descend(
    transformer: &Transformer,
    gradients: &Gradients,
    optimiser: &mut Optimiser,
    steps: &mut Steps,
    progress: &mut Progress,
) -> Result<()> {
    let step = steps.unread.last_mut().ok_or_else(|| Error::Internal("the numbers of a step are gone".into()))?;
    step.learning_rate = optimiser.rates();
    step.grad_norm = optimiser.descend(transformer.parameters(), gradients)?;
    progress.sequences += progress.batch as u64;
    Ok(())
}

/// Steps that a GPU may be ahead of the rows in the logs.
const AHEAD: usize = 64;

/// Reads the numbers of steps: at once where they are at hand; on a GPU many steps' together, before anything is done that a user could see.
pub(crate) fn read_numbers(
    mut cohorts: Query<(&Members, &Progress, &mut Steps, &mut Trouble), With<Active>>,
    models: Query<(&Model, &Run)>,
    stop: Res<StopRequest>,
) {
    for (members, progress, mut steps, mut trouble) in &mut cohorts {
        let at_hand = steps.unread.last().is_none_or(|step| matches!(step.loss, Numbers::Here(_)));
        let due = |(model, run): (&Model, &Run)| model.evaluations.due(progress.sequences) || run.checkpoints.due(progress.sequences);
        let now = at_hand
            || steps.unread.len() >= AHEAD
            || progress.sequences >= progress.total
            || stop.made()
            || models.iter_many(members.iter()).flatten().any(due);
        trouble.guard(|| steps.read(now));
    }
}

fn stop_diverged(cohorts: Query<(&Members, &Steps), With<Active>>, mut models: Query<&mut Status>) {
    for (members, numbers) in cohorts.iter().flat_map(|(members, steps)| steps.just_read().iter().map(move |step| (members, step))) {
        for (member, (loss, norm)) in members.iter().zip(numbers.loss.iter().zip(&numbers.grad_norm)) {
            if !(loss.is_finite() && norm.is_finite())
                && let Ok(mut status) = models.get_mut(member)
                && *status == Status::Running
            {
                *status = Status::Diverged;
            }
        }
    }
}
