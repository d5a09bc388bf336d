//! Puts models into the world: each with its stream and evaluators, then all of them into cohorts.

use crate::memory::{CohortMemory, Load};
use bevy_ecs::prelude::*;
use candle_core::{Device, Tensor};
use optogen::bank::{ClassBank, Features};
use optogen::batch::Batch;
use optogen::checkpoint::Checkpoint;
use optogen::clamp::{Moments, Plan};
use optogen::components::*;
use optogen::experiment::{EvaluatorSpec, Experiment, Schedule, evaluator_bytes};
use optogen::fused::Fused;
use optogen::gradients::Gradients;
use optogen::memory::Budget;
use optogen::optimiser::Optimiser;
use optogen::sampler::{Exhaustive, SequenceSampler, Sequences};
use optogen::steps::Steps;
use optogen::transformer::{Architecture, Parameters, Transformer, initial_parameters};
use optogen::{Error, Result};
use std::sync::Arc;

/// Sequences of an evaluator that go through the transformer together, where they do not depend on each other.
pub const EVALUATION_CHUNK: usize = 250;

/// Where a model's training starts: its parameters, its optimiser, and how far it is.
#[derive(Component, Clone)]
pub struct StartingPoint {
    /// Sequences seen.
    pub sequences: u64,
    /// Parameters in the architecture's order.
    pub parameters: Vec<(String, Tensor)>,
    /// Steps of the optimiser, and its moments.
    pub optimiser: (u64, Vec<(String, Tensor)>),
    /// When the thresholds of its interventions were crossed.
    pub moments: Vec<Moments>,
}

impl StartingPoint {
    /// The beginning: parameters drawn from the init seed.
    pub fn initial(experiment: &Experiment, bank: &ClassBank) -> Result<Self> {
        let parameters = initial_parameters(&architecture(experiment, bank), &experiment.seeds, experiment.model.init_rescale)?;
        Ok(Self { sequences: 0, parameters, optimiser: (0, Vec::new()), moments: Vec::new() })
    }

    /// Where a checkpoint stands.
    pub fn from_checkpoint(checkpoint: Checkpoint) -> Self {
        let moments = checkpoint.moments_before();
        let optimiser = (checkpoint.steps, checkpoint.optimiser);
        Self { sequences: checkpoint.sequences, parameters: checkpoint.parameters, optimiser, moments }
    }
}

/// The architecture of an experiment on a bank.
pub fn architecture(experiment: &Experiment, bank: &ClassBank) -> Architecture {
    Architecture::new(experiment, bank.features, matches!(bank.rows, Features::OneHot))
}

/// An evaluator whose sequences are drawn from the bank, or all that there are.
///
/// # Errors
/// There are no such sequences, or more than fit into memory, or they carry labels that the model has no output for.
pub fn drawn_evaluator(experiment: &Experiment, spec: &EvaluatorSpec, bank: &ClassBank) -> Result<Evaluator> {
    Budget::here()
        .fits(evaluator_bytes(experiment, spec, bank.features), || "its sequences".into())
        .map_err(|message| Error::Invalid(format!("evaluator \"{}\": {message}", spec.name)))?;
    if spec.exhaustive {
        let all = Arc::new(Exhaustive::new(experiment, spec)?);
        check_labels(&format!("evaluator \"{}\"", spec.name), all.labels(), experiment)?;
        let chunk = |first: usize| EvaluatorSequences::Exhaustive(all.clone(), first..all.count().min(first + EVALUATION_CHUNK));
        return Ok(Evaluator { name: spec.name.clone(), sequences: (0..all.count()).step_by(EVALUATION_CHUNK).map(chunk).collect() });
    }
    let sampler = SequenceSampler::evaluator(experiment, spec)?;
    check_labels(&format!("evaluator \"{}\"", spec.name), sampler.labels(), experiment)?;
    let total = experiment.evaluation.sequences;
    let chunk = |first: usize| {
        let count = EVALUATION_CHUNK.min(total - first);
        let (mut sequences, mut noise) = (Sequences::default(), Vec::new());
        sampler.fill(first as u64, count, &mut sequences);
        if sampler.noise_scale() > 0.0 {
            sampler.noise(first as u64, count, bank.features, &mut noise);
        }
        EvaluatorSequences::Drawn { sequences, noise }
    };
    Ok(Evaluator { name: spec.name.clone(), sequences: (0..total).step_by(EVALUATION_CHUNK).map(chunk).collect() })
}

fn check_labels(who: &str, labels: usize, experiment: &Experiment) -> Result<()> {
    let outputs = experiment.outputs();
    if labels > outputs {
        let message = format!("{who}: labels go up to {}, but the model has {outputs} outputs; set model.outputs", labels - 1);
        return Err(Error::Invalid(message));
    }
    Ok(())
}

/// That an experiment's training sequences can be drawn, and that the model has an output for each of their labels.
///
/// # Errors
/// They cannot, or it has not.
pub fn check_training(experiment: &Experiment) -> Result<()> {
    training(experiment).map(drop)
}

fn training(experiment: &Experiment) -> Result<SequenceSampler> {
    let sampler = SequenceSampler::training(experiment)?;
    check_labels("training", sampler.labels(), experiment)?;
    Ok(sampler)
}

/// Spawns a model with its stream and evaluators; it trains once it is in a cohort.
///
/// # Errors
/// The experiment asks for sequences that are not there, or for labels that the model has no output for.
pub fn spawn_model(
    world: &mut World,
    bank: Entity,
    run_id: String,
    experiment: Experiment,
    evaluators: Vec<Evaluator>,
    start: StartingPoint,
) -> Result<Entity> {
    let sampler = training(&experiment)?;
    let moments = start.moments.clone();
    let (run, evaluations) = (experiment.run(run_id), Schedule::evaluation(&experiment));
    let model = world.spawn((run, Model { experiment, evaluations }, Status::Running, start)).id();
    world.spawn((Stream(sampler), StreamOf(bank), Feeds(model)));
    spawn_around(world, model, Some(bank), evaluators, &moments);
    Ok(model)
}

/// Spawns a model that is not trained, only evaluated whenever it is shown a state of itself by `place`.
pub fn spawn_measured(
    world: &mut World,
    bank: Option<Entity>,
    run_id: String,
    experiment: Experiment,
    evaluators: Vec<Evaluator>,
) -> Entity {
    let (run, own) = (experiment.run(run_id), Model { experiment, evaluations: Schedule::always() });
    let model = world.spawn((run, own, Status::Running, Replayed)).id();
    spawn_around(world, model, bank, evaluators, &[]);
    model
}

/// A model's evaluators, interventions and hooks.
fn spawn_around(world: &mut World, model: Entity, bank: Option<Entity>, evaluators: Vec<Evaluator>, moments: &[Moments]) {
    for evaluator in evaluators {
        let mut evaluator = world.spawn((evaluator, EvaluatorOf(model), Evaluation::default(), Plan::default()));
        if let Some(bank) = bank {
            evaluator.insert(StreamOf(bank));
        }
    }
    let Some(experiment) = world.get::<Model>(model).map(|model| model.experiment.clone()) else { return };
    let replayed = world.get::<Replayed>(model).is_some();
    for (index, spec) in experiment.interventions.iter().enumerate() {
        world.spawn((Intervention(spec.clone()), InterventionOn(model), moments.get(index).copied().unwrap_or_default()));
    }
    for spec in &experiment.hooks {
        let looks = if replayed { Schedule::always() } else { Schedule::hook(&experiment, spec.every) };
        world.spawn((Hook { spec: spec.clone(), looks }, HookOf(model), Looked::default()));
    }
}

/// Gives a model's interventions, as far as they were there then, the moments of a checkpoint.
pub fn recall(world: &mut World, model: Entity, moments: &[Moments]) {
    let own: Vec<Entity> = world.get::<Interventions>(model).into_iter().flat_map(|list| list.iter()).collect();
    for (intervention, moments) in own.into_iter().zip(moments) {
        world.entity_mut(intervention).insert(*moments);
    }
}

/// Makes a transformer the state of models after so many sequences, in place of the one before.
pub fn place(world: &mut World, models: &[Entity], transformer: Transformer, sequences: u64) {
    let before = models.first().and_then(|&model| world.get::<MemberOf>(model)).map(|cohort| cohort.0);
    let progress = Progress { sequences, total: sequences, batch: 1, micro_batch: 1 };
    let cohort = world.spawn((transformer, progress, Trouble::default())).id();
    for &model in models {
        world.entity_mut(model).insert(MemberOf(cohort));
    }
    before.map(|cohort| world.despawn(cohort));
}

/// Puts models into cohorts of at most `size`: those of one architecture, batch and optimiser that are equally far. Their starting points are used up.
///
/// # Errors
/// A starting point is not of the model's architecture.
pub fn form_cohorts(world: &mut World, models: &[Entity], size: usize, device: &Device) -> Result<()> {
    for (recipe, members) in grouped(world, models, size)? {
        form_cohort(world, recipe, &members, device)?;
    }
    Ok(())
}

/// What the cohorts that would be formed take, one entry for all that are alike.
///
/// # Errors
/// As [`form_cohorts`].
pub fn cohort_memory(world: &World, models: &[Entity], size: usize) -> Result<Vec<CohortMemory>> {
    let mut all: Vec<CohortMemory> = Vec::new();
    for (recipe, members) in grouped(world, models, size)? {
        // Where sequences depend on each other, a batch goes through as a whole.
        let coupled = |&member: &Entity| world.get::<Model>(member).is_some_and(|model| model.experiment.couples_training_sequences());
        let Progress { batch, micro_batch, .. } = recipe.progress;
        let load = Load { sequences: if members.iter().any(coupled) { batch } else { micro_batch }, pairs: recipe.pairs + 1 };
        let bank = world.get::<ClassBank>(recipe.bank).map_or(0, ClassBank::bytes);
        let own = CohortMemory::of(&recipe.architecture, members.len(), recipe.optimiser, load, bank);
        match all.iter_mut().find(|other| CohortMemory { cohorts: 1, ..(*other).clone() } == own) {
            Some(alike) => alike.cohorts += 1,
            None => all.push(own),
        }
    }
    Ok(all)
}

fn grouped(world: &World, models: &[Entity], size: usize) -> Result<Vec<(Recipe, Vec<Entity>)>> {
    let mut cohorts: Vec<(Recipe, Vec<Entity>)> = Vec::new();
    for &model in models {
        let recipe = Recipe::of(world, model)?;
        match cohorts.iter_mut().find(|(other, members)| *other == recipe && members.len() < size) {
            Some((_, members)) => members.push(model),
            None => cohorts.push((recipe, vec![model])),
        }
    }
    Ok(cohorts)
}

/// What the members of a cohort have in common.
#[derive(PartialEq)]
struct Recipe {
    architecture: Architecture,
    bank: Entity,
    progress: Progress,
    optimiser: optogen::experiment::OptimiserName,
    steps: u64,
    noisy: bool,
    pairs: usize,
}

fn lost() -> Error {
    Error::Internal("a model has lost its stream, its class bank or its starting point".into())
}

impl Recipe {
    fn of(world: &World, model: Entity) -> Result<Self> {
        let entity = world.entity(model);
        let (Some(own), Some(start), Some(fed)) = (entity.get::<Model>(), entity.get::<StartingPoint>(), entity.get::<FedBy>()) else {
            return Err(lost());
        };
        let bank = world.get::<StreamOf>(fed.stream()).ok_or_else(lost)?.0;
        let train = &own.experiment.train;
        Ok(Self {
            architecture: architecture(&own.experiment, world.get::<ClassBank>(bank).ok_or_else(lost)?),
            bank,
            progress: Progress {
                sequences: start.sequences,
                total: train.total(),
                batch: train.batch,
                micro_batch: train.micro_batch.unwrap_or(train.batch),
            },
            optimiser: train.optimiser.name,
            steps: start.optimiser.0,
            noisy: own.experiment.data.noise > 0.0,
            pairs: own.experiment.data.mixture.first().map_or(0, |mixture| mixture.context),
        })
    }
}

fn form_cohort(world: &mut World, recipe: Recipe, members: &[Entity], device: &Device) -> Result<()> {
    let starts: Vec<StartingPoint> = members.iter().filter_map(|&model| world.entity_mut(model).take()).collect();
    let specs = members.iter().filter_map(|&model| Some(world.get::<Model>(model)?.experiment.train.optimiser.clone())).collect();
    let parameters: Vec<_> = starts.iter().map(|start| start.parameters.clone()).collect();
    let transformer = Transformer::new(recipe.architecture, Parameters::stack(&parameters, device)?)?;
    let mut optimiser = Optimiser::new(specs, transformer.parameters())?;
    if recipe.steps > 0 {
        let moments: Vec<_> = starts.into_iter().map(|start| start.optimiser.1).collect();
        optimiser.restore(transformer.parameters(), recipe.steps, &moments)?;
    }
    let fused = if device.is_cpu() { Some(Fused::<f32>::new(&transformer)?) } else { None };
    let cohort = world.spawn((
        transformer,
        optimiser,
        recipe.progress,
        Batch::default(),
        Losses::default(),
        Gradients::default(),
        Steps::default(),
        Plan::default(),
        Trouble::default(),
        Active,
    ));
    let cohort = cohort.id();
    if let Some(fused) = fused {
        world.entity_mut(cohort).insert(fused);
    }
    for &model in members {
        world.entity_mut(model).insert(MemberOf(cohort));
    }
    Ok(())
}
