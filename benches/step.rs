//! Milliseconds a training step and model. Prints a line of JSON for each repeat, as the peers in `peers/` do.
//!
//! `cargo bench -p optogen-tests --bench step -- CASE MODELS THREADS STEPS REPEATS [KEY=VALUE]...`, CASE one of ih_base, c_base and depth12
//!
//! `… -- products` says instead how many operations a second one core does at best.

mod worlds;

use candle_core::{Device, Tensor};
use optogen::ops::{Plus, linear};
use serde_json::json;
use std::time::Instant;
use worlds::{Result, bank, case, train, world};

/// Operations a second of one thread in a product of large matrices.
fn products() -> Result<()> {
    const SIDE: usize = 768;
    let matrix = || Tensor::randn(0f32, 1.0, (1, SIDE, SIDE), &Device::Cpu);
    let (x, weight) = (matrix()?, matrix()?);
    let mut least = f64::INFINITY;
    for _ in 0..12 {
        let start = Instant::now();
        std::hint::black_box(linear(&x, &weight, Plus::Nothing)?);
        least = least.min(start.elapsed().as_secs_f64());
    }
    println!("{}", json!({ "operations_per_second": 2.0 * SIDE.pow(3) as f64 / least }));
    Ok(())
}

fn main() -> Result<()> {
    // SAFETY: nothing has been started yet.
    unsafe { optogen_systems::keep_operations_whole() };
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |index: usize, default: usize| arguments.get(index).map_or(Ok(default), |text| text.parse::<usize>());
    let name = arguments.first().map_or("ih_base", String::as_str);
    if name == "products" {
        return products();
    }
    let (models, threads, steps, repeats) = (number(1, 1)?, number(2, 1)?, number(3, 500)?, number(4, 3)?);
    let (sets, classes) = case(name).ok_or_else(|| format!("there is no case {name}; they are ih_base, c_base and depth12"))?;
    optogen_systems::use_threads(threads);
    let sets: Vec<String> = sets.into_iter().map(str::to_owned).chain(arguments.iter().skip(5).cloned()).collect();
    let mut app = world("base.toml", &sets, models, &bank(classes, &Device::Cpu)?)?;
    let mut run = |steps: usize| {
        let start = Instant::now();
        let steps = train(&mut app, steps);
        (steps, start.elapsed().as_secs_f64())
    };
    run(steps / 10 + 1);
    for _ in 0..repeats {
        let (steps, seconds) = run(steps);
        let each = seconds * 1e3 / (steps * models as f64);
        let line = json!({
            "peer": "optogen", "version": env!("CARGO_PKG_VERSION"), "case": name, "form": format!("{threads} threads"), "models": models,
            "steps": steps, "seconds": seconds, "ms_per_model_step": each,
        });
        println!("{line}");
    }
    Ok(())
}
