//! Cohorts of IH-base models on one device: model-steps a second, with and without a sweep over clamps in the cohort.
//!
//! `cargo bench -p optogen-tests --bench cohorts -- [DEVICE [STEPS]]`; DEVICE is `cpu` or the number of a GPU, by default the first one if the benchmark is
//! built with `--features cuda`.

#[allow(dead_code, reason = "this benchmark has one case")]
mod worlds;

use candle_core::Device;
use std::time::Instant;
use worlds::{Result, bank, cohorts, train};

/// Members of a cohort, and over how many sets of silent heads they are spread in a sweep.
const SIZES: [(usize, usize); 3] = [(1, 1), (64, 8), (256, 8)];

/// Measurements of each, of which the median is told.
const REPEATS: usize = 5;

fn main() -> Result<()> {
    // SAFETY: nothing has been started yet.
    unsafe { optogen_systems::keep_operations_whole() };
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let device = match arguments.first().map(String::as_str) {
        Some("cpu") => Device::Cpu,
        None if !candle_core::utils::cuda_is_available() => Device::Cpu,
        number => optogen::gpu::gpu(number.unwrap_or("0").parse()?)?,
    };
    let steps: usize = arguments.get(1).map_or(Ok(200), |text| text.parse())?;
    optogen_systems::use_threads(std::thread::available_parallelism()?.get());
    let bank = bank(0, &device)?;
    println!("IH-base on {:?}, medians of {REPEATS} times {steps} steps", device.location());
    println!("{:>8} {:>14} {:>12} {:>16}", "models", "clamps", "ms a step", "model-steps / s");
    for (models, sets) in SIZES {
        for (swept, file) in [("none", "base.toml"), ("swept heads", "one_head.toml")] {
            let heads: Vec<String> = (0..sets).map(|head| format!("{{ except = [{head}] }}")).collect();
            let kinds = if swept == "none" { 1 } else { sets };
            let seeds: Vec<String> = (5..5 + models / kinds).map(|seed| seed.to_string()).collect();
            let mut grids = vec![format!("seeds.init={}", seeds.join(","))];
            if kinds > 1 {
                grids.push(format!("intervention.0.heads={}", heads.join(",")));
            }
            let mut app = cohorts(file, &["train.sequences=1_000_000_000".into()], &grids, &bank, models, &device)?;
            let mut times: Vec<f64> = Vec::new();
            for repeat in 0..=REPEATS {
                let start = Instant::now();
                let taken = train(&mut app, steps);
                device.synchronize()?;
                // The first warms up.
                if repeat > 0 {
                    times.push(start.elapsed().as_secs_f64() / taken);
                }
            }
            times.sort_by(f64::total_cmp);
            let median = times[REPEATS / 2];
            println!("{models:>8} {swept:>14} {:>12.3} {:>16.0}", median * 1e3, models as f64 / median);
        }
    }
    Ok(())
}
