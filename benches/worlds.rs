//! Worlds of models that do nothing but train, for the benchmarks.

use bevy_app::App;
use bevy_ecs::query::QueryState;
use candle_core::Device;
use optogen::bank::ClassBank;
use optogen::components::Progress;
use optogen::experiment::{Changes, load};
use optogen_systems::spawn::{StartingPoint, form_cohorts, spawn_model};
use optogen_systems::stage::Step;
use optogen_systems::stride::StridePlugin;
use rand_distr::{Distribution, StandardNormal};
use std::path::PathBuf;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[allow(dead_code, reason = "not every benchmark has cases")]
/// The keys of a case on top of the base experiment, and the classes of its bank.
pub fn case(name: &str) -> Option<(Vec<&'static str>, usize)> {
    const MLP: [&str; 12] = [
        "data.relabel=",
        "data.classes={ train = 1600 }",
        "data.exemplars={ train = 1 }",
        "evaluator=[]",
        "model.layers=12",
        "model.mlp_ratio=4",
        "model.positions=sinusoidal",
        "model.time=30",
        "data.mixture.0.context=8",
        "data.mixture.0.burstiness=3",
        "train.optimiser.rate=3e-4",
        "train.sequences=1_000_000_000",
    ];
    match name {
        "ih_base" => Some((vec!["train.sequences=1_000_000_000"], 0)),
        "c_base" => Some((
            vec![
                "data.relabel=",
                "data.classes={ train = 12800 }",
                "data.exemplars={ train = 1 }",
                "evaluator=[]",
                "model.positions=learned",
                "train.sequences=1_000_000_000",
            ],
            12_800,
        )),
        "depth12" => Some((MLP.to_vec(), 1600)),
        _ => None,
    }
}

/// A bank of so many classes, of random features; the embedded one for none.
pub fn bank(classes: usize, device: &Device) -> Result<ClassBank> {
    if classes == 0 {
        return Ok(optogen_data::embedded_bank(device)?);
    }
    let mut random = optogen::seeds::stream(0, "benchmark", 0);
    let features: Vec<f32> = (0..classes * 512).map(|_| StandardNormal.sample(&mut random)).collect();
    Ok(ClassBank::new("random", classes, 1, 512, features, device)?)
}

#[allow(dead_code, reason = "not every benchmark has models on their own")]
/// A world of models of an experiment file, of so many seeds, each on its own.
pub fn world(file: &str, sets: &[String], models: usize, bank: &ClassBank) -> Result<App> {
    let seeds = (5..5 + models).map(|seed| seed.to_string()).collect::<Vec<_>>().join(",");
    cohorts(file, sets, &[format!("seeds.init={seeds}")], bank, 1, &Device::Cpu)
}

/// A world of the models of grids over an experiment file, in cohorts of at most `size`.
pub fn cohorts(file: &str, sets: &[String], grids: &[String], bank: &ClassBank, size: usize, device: &Device) -> Result<App> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/induction")).join(file);
    let mut app = optogen_systems::app(|app| {
        app.add_plugins((optogen_systems::TrainingPlugins, StridePlugin));
    });
    let world = app.world_mut();
    let entity = world.spawn(bank.clone()).id();
    let mut spawned = Vec::new();
    for experiment in load(&path, &Changes { sets, grids, ..Changes::default() })? {
        let start = StartingPoint::initial(&experiment, bank)?;
        spawned.push(spawn_model(world, entity, experiment.run_id(), experiment, Vec::new(), start)?);
    }
    form_cohorts(world, &spawned, size, device)?;
    Ok(app)
}

/// Trains until every cohort has taken so many steps, or a few more; returns how many they took on the average.
pub fn train(app: &mut App, steps: usize) -> f64 {
    let mut cohorts = app.world_mut().query::<&Progress>();
    let taken = |app: &App, cohorts: &QueryState<&Progress>| -> Vec<u64> {
        cohorts.iter_manual(app.world()).map(|progress| progress.sequences / progress.batch as u64).collect()
    };
    let before = taken(app, &cohorts);
    loop {
        app.world_mut().run_schedule(Step);
        cohorts.update_archetypes(app.world());
        let own: Vec<u64> = taken(app, &cohorts).iter().zip(&before).map(|(now, before)| now - before).collect();
        if own.iter().all(|&own| own >= steps as u64) {
            return own.iter().sum::<u64>() as f64 / own.len() as f64;
        }
    }
}
