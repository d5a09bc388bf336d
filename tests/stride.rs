//! Models that take several steps at once have the numbers of models that take one after another, and stop where anything is due.

use bevy_app::App;
use bevy_ecs::prelude::*;
use candle_core::Device;
use optogen::components::{Looked, Progress, Status};
use optogen::experiment::{Changes, load};
use optogen::steps::{StepNumbers, Steps};
use optogen::transformer::Transformer;
use optogen_systems::TrainingPlugins;
use optogen_systems::spawn::{StartingPoint, drawn_evaluator, form_cohorts, spawn_model};
use optogen_systems::stage::{Stage, Step};
use optogen_systems::stride::StridePlugin;
use optogen_tests::program::BASE;

const BATCH: u64 = 32;

/// Every step's numbers, cohort by cohort, and where every run of the schedule ended.
#[derive(Resource, Default, PartialEq, Debug)]
struct Told {
    steps: Vec<Vec<StepNumbers>>,
    ends: Vec<u64>,
}

fn tell(mut told: ResMut<Told>, cohorts: Query<(&Steps, &Progress)>) {
    for (index, (steps, progress)) in cohorts.iter().enumerate() {
        if told.steps.len() <= index {
            told.steps.push(Vec::new());
        }
        told.steps[index].extend_from_slice(steps.just_read());
        if index == 0 {
            told.ends.push(progress.sequences);
        }
    }
}

/// Models of one or two seeds, in strides or not.
fn world(strides: bool, seeds: &str, sets: &[&str]) -> App {
    let common = ["train.sequences=3_200", "evaluation.every=640", "evaluation.sequences=40", "checkpoint.every=1_024"];
    let sets: Vec<String> = common.iter().chain(sets).map(|set| set.to_string()).collect();
    let grids = [format!("seeds.init={seeds}")];
    let bank = optogen_data::embedded_bank(&Device::Cpu).unwrap();
    let mut app = optogen_systems::app(|app| {
        app.add_plugins(TrainingPlugins).init_resource::<Told>().add_systems(Step, tell.in_set(Stage::Record));
        if strides {
            app.add_plugins(StridePlugin);
        }
    });
    let entity = app.world_mut().spawn(bank.clone()).id();
    let mut models = Vec::new();
    for (index, experiment) in
        load(BASE.as_ref(), &Changes { sets: &sets, grids: &grids, ..Changes::default() }).unwrap().into_iter().enumerate()
    {
        let evaluators = experiment.evaluators.iter().map(|spec| drawn_evaluator(&experiment, spec, &bank).unwrap()).collect();
        let start = StartingPoint::initial(&experiment, &bank).unwrap();
        models.push(spawn_model(app.world_mut(), entity, index.to_string(), experiment, evaluators, start).unwrap());
    }
    form_cohorts(app.world_mut(), &models, 1, &Device::Cpu).unwrap();
    app
}

/// Runs the schedule so often, or until all sequences are seen.
fn run(app: &mut App, times: usize) {
    let mut cohorts = app.world_mut().query::<&Progress>();
    for _ in 0..times {
        if cohorts.iter(app.world()).all(|progress| progress.sequences >= progress.total) {
            return;
        }
        app.world_mut().run_schedule(Step);
    }
}

/// All parameters of all cohorts.
fn parameters(app: &mut App) -> Vec<Vec<f32>> {
    let mut all = app.world_mut().query::<&Transformer>();
    let numbers = |transformer: &Transformer| -> Vec<f32> {
        transformer.parameters().iter().flat_map(|(_, var)| var.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
    };
    all.iter(app.world()).map(numbers).collect()
}

#[test]
fn strides_end_where_something_is_due_and_leave_the_same_numbers() {
    optogen_systems::use_threads(2);
    let (mut one, mut many) = (world(false, "5,6", &[]), world(true, "5,6", &[]));
    run(&mut one, 100);
    run(&mut many, 100);
    let (one_by_one, at_once) = (one.world().resource::<Told>(), many.world().resource::<Told>());
    assert_eq!(one_by_one.steps, at_once.steps);
    assert_eq!(at_once.steps.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100]);
    let ends = &at_once.ends;
    assert!(ends.len() < 60, "{} runs of the schedule for 100 steps", ends.len());
    for due in [640, 1024, 1280, 1920, 2048, 2560, 3072, 3200] {
        // Where something is due, and in the step before: there is time to bring in what is measured aside.
        assert!(ends.contains(&due) && ends.contains(&(due - BATCH)), "{due} is not among {ends:?}");
    }
    let (one, many) = (parameters(&mut one), parameters(&mut many));
    assert!(one == many && one[0] != one[1]);
}

#[test]
fn a_stride_ends_where_a_hook_looks() {
    let hook = "hook=[{ table = \"stream\", site = \"resid_post\", layers = [0], at = \"query\", during = \"training\", every = 96 }]";
    let mut app = world(true, "5", &[hook]);
    let mut looked = app.world_mut().query::<&Looked>();
    run(&mut app, 100);
    let looked = &looked.single(app.world()).unwrap().0;
    let sequences: Vec<u64> = looked.iter().map(|rows| rows.as_ref().unwrap().sequences).collect();
    assert_eq!(sequences, (0..34).map(|look| look * 96).collect::<Vec<_>>());
    assert!(app.world().resource::<Told>().ends.len() < 80);
}

#[test]
fn a_stride_ends_where_a_loss_is_no_longer_a_number() {
    let ended = |strides: bool| {
        let mut app = world(strides, "5", &["train.optimiser={ name = \"sgd\", rate = 1e4 }"]);
        let mut status = app.world_mut().query::<&Status>();
        while *status.single(app.world()).unwrap() != Status::Diverged {
            app.world_mut().run_schedule(Step);
        }
        app.world().resource::<Told>().steps[0].len()
    };
    let steps = ended(true);
    assert_eq!(steps, ended(false));
    assert!(steps > 2, "{steps}");
}
