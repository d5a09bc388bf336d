//! Milliseconds a training step, per model: IH-base on the embedded bank; alone, beside the same with a hook and an intervention that never come
//! to act, and with seven of the eight heads of layer 1 clamped. Measured in turns, medians.
//!
//! `cargo bench -p optogen-tests --bench step -- [THREADS [MODELS [STEPS]]]`

use bevy_app::App;
use candle_core::Device;
use optogen::bank::ClassBank;
use optogen::experiment::load;
use optogen_systems::spawn::{StartingPoint, form_cohorts, spawn_model};
use optogen_systems::stage::Step;
use std::path::PathBuf;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Turns of each kind.
const TURNS: usize = 15;

/// A world of models of an experiment file, of so many seeds.
fn world(file: &str, sets: &[String], models: usize, bank: &ClassBank) -> Result<App> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/induction")).join(file);
    let seeds = format!("seeds.init={}", (5..5 + models).map(|seed| seed.to_string()).collect::<Vec<_>>().join(","));
    let mut app = optogen_systems::app(|app| {
        app.add_plugins(optogen_systems::TrainingPlugins);
    });
    let world = app.world_mut();
    let entity = world.spawn(bank.clone()).id();
    let mut spawned = Vec::new();
    for experiment in load(&path, sets, &[seeds])? {
        let start = StartingPoint::initial(&experiment, bank)?;
        spawned.push(spawn_model(world, entity, experiment.run_id(), experiment, Vec::new(), start)?);
    }
    form_cohorts(world, &spawned, 1, &Device::Cpu)?;
    Ok(app)
}

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let (threads, models, steps) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(1), numbers.next().unwrap_or(3000));
    optogen_systems::use_threads(threads);
    let bank = optogen_data::embedded_bank(&Device::Cpu)?;
    let idle = [
        "intervention=[{ site = \"v\", layers = [1], action = \"zero\", from = 1_000_000_000 }]".to_string(),
        "hook=[{ table = \"idle\", site = \"pattern\", every = 1_000_000_000, during = \"training\" }]".to_string(),
    ];
    let mut worlds = [
        ("nobody there", world("base.toml", &[], models, &bank)?, Vec::new()),
        ("somebody who never acts", world("base.toml", &idle, models, &bank)?, Vec::new()),
        ("seven heads zero", world("one_head.toml", &[], models, &bank)?, Vec::new()),
    ];
    for turn in 0..=TURNS {
        for (_, app, times) in &mut worlds {
            let start = Instant::now();
            (0..steps / TURNS).for_each(|_| app.world_mut().run_schedule(Step));
            // The first turn warms up.
            if turn > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e3 / (steps / TURNS * models) as f64);
            }
        }
    }
    println!("{models} models on {threads} threads, milliseconds a step and model");
    let mut first = None;
    for (name, _, times) in &mut worlds {
        times.sort_by(f64::total_cmp);
        let median = times[TURNS / 2];
        let ratio = median / *first.get_or_insert(median);
        println!("{name:24} {median:.3} (from {:.3} to {:.3})  {ratio:.3}", times[0], times[TURNS - 1]);
    }
    Ok(())
}
