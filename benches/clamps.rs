//! What it costs to clamp and to look: a training step of IH-base alone, with a hook and an intervention that never come to act, and with clamps.
//! Measured in turns, medians.
//!
//! `cargo bench -p optogen-tests --bench clamps -- [STEPS]`

mod worlds;

use candle_core::Device;
use std::time::Instant;
use worlds::{Result, bank, train, world};

/// Turns of each kind.
const TURNS: usize = 15;

fn main() -> Result<()> {
    // SAFETY: nothing has been started yet.
    unsafe { optogen_systems::keep_operations_whole() };
    let steps = std::env::args().skip(1).find_map(|argument| argument.parse::<usize>().ok()).unwrap_or(3000);
    optogen_systems::use_threads(1);
    let bank = bank(0, &Device::Cpu)?;
    let idle = [
        "intervention=[{ site = \"v\", layers = [1], action = \"zero\", from = 1_000_000_000 }]".to_string(),
        "hook=[{ table = \"idle\", site = \"pattern\", every = 1_000_000_000, during = \"training\" }]".to_string(),
    ];
    let mut worlds = Vec::new();
    for (name, file, sets) in [
        ("nobody there", "base.toml", &[][..]),
        ("somebody who never acts", "base.toml", &idle[..]),
        ("seven heads zero", "one_head.toml", &[]),
        ("previous token", "previous_token.toml", &[]),
        ("match", "match.toml", &[]),
        ("copy", "copy.toml", &[]),
        ("layer 1", "layer_1.toml", &[]),
        ("layer 1 and copy", "layer_1_copy.toml", &[]),
    ] {
        worlds.push((name, world(file, sets, 1, &bank)?, Vec::new()));
    }
    for turn in 0..=TURNS {
        for (_, app, times) in &mut worlds {
            let start = Instant::now();
            let taken = train(app, steps / TURNS);
            // The first turn warms up.
            if turn > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e3 / taken);
            }
        }
    }
    println!("milliseconds a step of one model on one thread, and how many times that of nobody there");
    let mut first = None;
    for (name, _, times) in &mut worlds {
        times.sort_by(f64::total_cmp);
        let median = times[TURNS / 2];
        let ratio = median / *first.get_or_insert(median);
        println!("{name:24} {median:.3} (from {:.3} to {:.3})  {ratio:.3}", times[0], times[TURNS - 1]);
    }
    Ok(())
}
