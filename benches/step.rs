//! Milliseconds a training step, per model: IH-base on the embedded bank, one model or several, side by side in one process.
//!
//! `cargo bench -p optogen-tests --bench step -- [THREADS [MODELS [STEPS]]]`

use bevy_ecs::prelude::*;
use candle_core::Device;
use optogen::experiment::load;
use optogen_systems::spawn::{StartingPoint, form_cohorts, spawn_model};
use optogen_systems::stage::Step;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let (threads, models, steps) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(1), numbers.next().unwrap_or(1000));
    let base = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/induction/base.toml"));
    let seeds = format!("seeds.init={}", (5..5 + models).map(|seed| seed.to_string()).collect::<Vec<_>>().join(","));
    let experiments = load(base, &[], &[seeds])?;
    optogen_systems::use_threads(threads);
    let mut app = optogen_systems::app(|app| {
        app.add_plugins(optogen_systems::TrainingPlugins);
    });
    let world = app.world_mut();
    let bank = optogen_data::embedded_bank(&Device::Cpu)?;
    let mut spawned = Vec::new();
    let starts = experiments.iter().map(|experiment| StartingPoint::initial(experiment, &bank)).collect::<Result<Vec<_>, _>>()?;
    let bank = world.spawn(bank).id();
    for (experiment, start) in experiments.into_iter().zip(starts) {
        spawned.push(spawn_model(world, bank, experiment.run_id(), experiment, Vec::new(), start)?);
    }
    form_cohorts(world, &spawned, 1, &Device::Cpu)?;
    let mut run = |steps: usize| {
        let start = Instant::now();
        (0..steps).for_each(|_| world.run_schedule(Step));
        start.elapsed().as_secs_f64() * 1e3 / (steps * models) as f64
    };
    run(steps / 10);
    let mut times: Vec<f64> = (0..5).map(|_| run(steps / 5)).collect();
    times.sort_by(f64::total_cmp);
    println!("{models} models on {threads} threads: {:.3} ms a step and model (best {:.3}, worst {:.3})", times[2], times[0], times[4]);
    Ok(())
}
