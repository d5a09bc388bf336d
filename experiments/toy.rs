//! `optogen run` of toy models: vectors that learn by gradient descent, in the same world and kept in the same way as transformers.

use crate::cli::RunArguments;
use crate::draw::{Axis, CLEARLY_APART, Figure, Legend, Panel, Series};
use crate::logs::Rows;
use crate::outcome::{Outcome, exit_code, show_each};
use crate::run::{Found, Plan, app_for, start_each, step_to_the_end};
use bevy_app::App;
use bevy_ecs::entity::Entity;
use bevy_ecs::world::World;
use candle_core::Device;
use comfy_table::presets::ASCII_HORIZONTAL_ONLY;
use comfy_table::{Cell, CellAlignment, LineStyle, Table};
use optogen::experiment::{has_table, load_as};
use optogen::log::KeptRun;
use optogen::memory::{Budget, product};
use optogen::toy::{BYTES_A_DIMENSION, ToyExperiment, ToyStart, Vector, drawn_vectors};
use optogen::{Cause, Error, Result, say};
use optogen_data::read_toy_vectors;
use optogen_systems::toy::spawn_toy;
use std::path::Path;

/// Runs every toy model that the arguments ask for; returns the exit code.
///
/// # Errors
/// The experiment, its vectors or the output folder are not as they should be. Nothing is written then, but for folders of runs that are.
pub fn run(arguments: &RunArguments, extend: impl Fn(&mut App)) -> Result<u8> {
    let device = &arguments.common.device;
    if !["auto", "cpu"].contains(&device.as_str()) {
        return Err(Error::Invalid(format!("--device {device}: a toy model has no work for a GPU; use --device cpu")));
    }
    if arguments.cohort.is_some() {
        return Err(Error::Invalid("--cohort: toy models are not stacked; leave it out".into()));
    }
    let experiments: Vec<ToyExperiment> = load_as(&arguments.file, None, &arguments.changes())?;
    let dimensions = experiments.iter().filter(|one| one.toy.vectors.is_none()).flat_map(|one| one.toy.dimensions());
    let bytes = dimensions.fold(0, |sum: u128, (_, dimension)| sum.saturating_add(product(&[dimension, BYTES_A_DIMENSION])));
    Budget::here()
        .fits(bytes, || format!("toy.dimensions: the vectors of {} runs", experiments.len()))
        .map_err(|message| Error::input(&arguments.file, message))?;
    let vectors = experiments.iter().map(vectors).collect::<Result<Vec<_>>>()?;
    let mut app = app_for(arguments, &Device::Cpu, extend)?;
    let world = app.world_mut();
    let plans = experiments.into_iter().zip(vectors).map(|(experiment, vectors)| Plan {
        run_id: experiment.run_id(),
        tables: experiment.tables(),
        what: (experiment, vectors),
    });
    let runs = start_each(plans.collect(), arguments, |(experiment, vectors), found| start(world, &experiment, vectors, found))?;
    let outcomes = step_to_the_end(world, runs, &arguments.out)?;
    let causes = tell(&outcomes, arguments.common.quiet);
    Ok(exit_code(&outcomes, &causes))
}

/// That a file describes a toy model, for what is for transformers alone.
///
/// # Errors
/// It does, or cannot be read.
pub fn refuse(file: &Path) -> Result<()> {
    match has_table(file, "toy")? {
        true => Err(Error::Invalid(format!("{}: a toy model, for which there is only `optogen run` and its tables", file.display()))),
        false => Ok(()),
    }
}

/// The vectors that an experiment begins with.
fn vectors(experiment: &ToyExperiment) -> Result<Vec<Vector>> {
    let toy = &experiment.toy;
    let Some(file) = &toy.vectors else {
        let (truth, init) = experiment.seeds();
        return Ok(drawn_vectors(&toy.dimensions(), truth, init));
    };
    let vectors = read_toy_vectors(file, experiment)?;
    for (index, clamp) in experiment.interventions.iter().enumerate() {
        let length = vectors.iter().find(|vector| vector.name == clamp.vector).map_or(0, |vector| vector.now.len());
        if let Some(first) = clamp.first.filter(|&first| first > length) {
            let what = format!("intervention.{index}.first: the vector {} has {length} entries", clamp.vector);
            return Err(Error::Invalid(format!("{what} in {}, not {first}", file.display())));
        }
    }
    Ok(vectors)
}

fn start(world: &mut World, experiment: &ToyExperiment, vectors: Vec<Vector>, found: Found) -> Result<Entity> {
    let start = match &found.checkpoint {
        Some(checkpoint) => ToyStart::from_checkpoint(experiment, checkpoint, found.folder.path())?,
        None => ToyStart::initial(experiment, vectors)?,
    };
    let kept = found.go_on(&experiment.to_toml(), start.steps)?;
    let entity = spawn_toy(world, experiment, start);
    world.entity_mut(entity).insert(kept);
    Ok(entity)
}

/// Draws each run's loss, and prints where they ended; returns whose it is to mend what could not be shown.
fn tell(outcomes: &[Outcome], quiet: bool) -> Vec<Cause> {
    let (mut rows, mut pictures) = (Vec::new(), Vec::new());
    let causes = show_each(outcomes, |outcome| {
        let kept = KeptRun::open(&outcome.folder)?;
        let train = Rows::of(&kept, &outcome.folder, "train")?;
        let losses: Vec<(f64, f64)> = train.numbers("sequences")?.into_iter().zip(train.numbers("loss")?).collect();
        let mut row = vec![("loss".to_owned(), losses.last().map_or(f64::NAN, |point| point.1))];
        row.extend(last_measures(&Rows::of(&kept, &outcome.folder, "measures")?)?);
        rows.push((outcome.run_id.clone(), row));
        let panel = Panel::new(Axis::of("steps"), Axis::of("loss"));
        let panel = panel.with(vec![Series::line("loss", losses, CLEARLY_APART[0])]).legend(Legend::Ends);
        Figure::of(&outcome.run_id, panel).save(&outcome.folder, "losses")?;
        pictures.push(outcome.folder.join("losses.png"));
        Ok(())
    });
    if !quiet && !rows.is_empty() {
        say::answer(ends(&rows));
        pictures.iter().for_each(|picture| say::answer(format!("{}\n", picture.display())));
    }
    causes
}

/// What was measured last of the whole model, and how far each vector is from its direction.
fn last_measures(measures: &Rows) -> Result<Vec<(String, f64)>> {
    let (sequences, values) = (measures.numbers("sequences")?, measures.numbers("value")?);
    let (names, vectors) = (measures.names("measure")?, measures.names("vector")?);
    let last = sequences.iter().copied().fold(0.0, f64::max);
    let told = (0..values.len()).filter(|&row| sequences[row] == last && (vectors[row].is_empty() || names[row] == "misalignment"));
    Ok(told.map(|row| (format!("{} {}", names[row], vectors[row]).trim().to_owned(), values[row])).collect())
}

/// The ends of runs as a table, with a line's end after the last line.
fn ends<N: AsRef<str>>(rows: &[(N, Vec<(String, f64)>)]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|(_, row)| row) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let mut table = Table::new();
    table.load_style(ASCII_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(std::iter::once(Cell::new("run")).chain(names.iter().map(|name| right(name.replace([' ', '_'], "\n")))));
    for (run, row) in rows {
        let value = |name: &&str| row.iter().find(|(own, _)| own == name).map_or(String::new(), |(_, value)| format!("{value:.6}"));
        table.add_row(std::iter::once(Cell::new(run.as_ref())).chain(names.iter().map(|name| right(value(name)))));
    }
    table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 1)));
    format!("{}\n", table.trim_fmt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_runs_are_a_table() {
        let row = |values: &[(&str, f64)]| values.iter().map(|(name, value)| (name.to_string(), *value)).collect::<Vec<_>>();
        let rows = [("one", row(&[("loss", 0.25), ("mechanism_1", 1e-6)])), ("two", row(&[("loss", 12.0)]))];
        let expected = "\
--------------------------
run       loss  mechanism
                        1
==========================
one   0.250000   0.000001
two  12.000000
--------------------------
";
        assert_eq!(ends(&rows).lines().map(str::trim_end).collect::<Vec<_>>(), expected.lines().collect::<Vec<_>>());
    }
}
