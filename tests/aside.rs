//! One model on two threads is measured beside its own steps, and has the same numbers as if they had waited; its batches are drawn ahead.

use bevy_app::App;
use bevy_ecs::prelude::*;
use candle_core::Device;
use optogen::components::{Evaluation, Model};
use optogen::experiment::{Changes, load};
use optogen_systems::TrainingPlugins;
use optogen_systems::ahead::{Ahead, AheadPlugin};
use optogen_systems::aside::{AsidePlugin, Underway};
use optogen_systems::spawn::{StartingPoint, drawn_evaluator, form_cohorts, spawn_model};
use optogen_systems::stage::Step;
use optogen_tests::program::BASE;
use std::time::{Duration, Instant};

/// A small model, evaluated every ten steps, with or without the plugins.
fn world(aside: bool) -> App {
    let sets = ["train.sequences=32_000", "evaluation.every=320", "evaluation.sequences=40"].map(str::to_owned);
    let experiment = load(BASE.as_ref(), &Changes { sets: &sets, ..Changes::default() }).unwrap().remove(0);
    let bank = optogen_data::embedded_bank(&Device::Cpu).unwrap();
    let evaluators = experiment.evaluators.iter().map(|spec| drawn_evaluator(&experiment, spec, &bank).unwrap()).collect();
    let mut app = optogen_systems::app(|app| {
        app.add_plugins(TrainingPlugins);
        if aside {
            app.add_plugins((AheadPlugin, AsidePlugin));
        }
    });
    let start = StartingPoint::initial(&experiment, &bank).unwrap();
    let entity = app.world_mut().spawn(bank).id();
    let model = spawn_model(app.world_mut(), entity, "one".into(), experiment, evaluators, start).unwrap();
    form_cohorts(app.world_mut(), &[model], 1, &Device::Cpu).unwrap();
    app
}

fn step(app: &mut App, steps: usize) {
    (0..steps).for_each(|_| app.world_mut().run_schedule(Step));
}

fn is_measured_aside(app: &mut App) -> bool {
    app.world_mut().query_filtered::<(), (With<Model>, With<Underway>)>().iter(app.world()).next().is_some()
}

/// Sequences seen and mean metrics of each evaluator, where they are known.
fn measured(app: &mut App) -> Vec<(u64, Vec<f64>)> {
    let mut all = app.world_mut().query::<&Evaluation>();
    let known = all.iter(app.world()).filter_map(|evaluation| evaluation.0.as_ref());
    known.map(|measured| measured.as_ref().map(|own| (own.sequences, own.metrics.means().to_vec())).unwrap()).collect()
}

#[test]
fn a_model_is_measured_beside_its_steps() {
    optogen_systems::use_threads(2);
    let (mut waiting, mut aside) = (world(false), world(true));
    step(&mut waiting, 10);
    assert!(!is_measured_aside(&mut waiting));
    step(&mut aside, 10);
    assert!(is_measured_aside(&mut aside), "an evaluation was due after 320 sequences");
    // Brought in at the latest in the step before the next one is due.
    step(&mut aside, 9);
    assert!(!is_measured_aside(&mut aside));
    let (waited, beside) = (measured(&mut waiting), measured(&mut aside));
    assert_eq!(waited.len(), 4);
    assert_eq!(waited, beside);
    assert!(beside.iter().all(|(sequences, _)| *sequences == 320));
}

#[test]
fn batches_are_drawn_ahead() {
    optogen_systems::use_threads(2);
    let mut app = world(true);
    let ahead = |app: &mut App| app.world_mut().query::<&Ahead>().iter(app.world()).next().map(Ahead::count);
    step(&mut app, 1);
    assert_eq!(ahead(&mut app), Some(0));
    step(&mut app, 1);
    let since = Instant::now();
    while ahead(&mut app) != Some(48) {
        assert!(since.elapsed() < Duration::from_secs(10), "{:?} batches were drawn", ahead(&mut app));
        std::thread::yield_now();
    }
    // Taken one by one, and drawn anew when less than half are left.
    step(&mut app, 20);
    assert_eq!(ahead(&mut app), Some(28));
}
