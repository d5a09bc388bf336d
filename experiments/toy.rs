//! `optogen run` of toy models: vectors that learn by gradient descent, in the same world and kept in the same way as transformers.

use crate::cli::RunArguments;
use crate::draw::{Axis, CLEARLY_APART, Figure, Legend, Panel, Series};
use crate::identity::{Identity, tell_what_begins};
use crate::inputs::{check_folders, found};
use crate::logs::Rows;
use crate::outcome::{Outcome, exit_code, show_each};
use crate::run::{Found, Plan, app_for, start_each, step_to_the_end};
use crate::search::Asked;
use bevy_app::App;
use bevy_ecs::entity::Entity;
use bevy_ecs::world::World;
use candle_core::Device;
use comfy_table::presets::ASCII_HORIZONTAL_ONLY;
use comfy_table::{Cell, CellAlignment, LineStyle, Table};
use optogen::components::Run;
use optogen::content;
use optogen::experiment::{Input, has_table};
use optogen::log::KeptRun;
use optogen::memory::{Budget, product};
use optogen::toy::{BYTES_A_DIMENSION, ToyExperiment, ToyStart, Vector, drawn_vectors};
use optogen::{Cause, Error, Result, say};
use optogen_data::read_toy_vectors;
use optogen_systems::toy::spawn_toy;
use std::path::{Path, PathBuf};

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
    let plans = plan(arguments)?;
    let mut app = app_for(arguments, &Device::Cpu, extend)?;
    let world = app.world_mut();
    let runs = start_each(plans, arguments, |drawn, found| start(world, drawn, found))?;
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

/// What it takes to begin a run.
struct Drawn {
    experiment: ToyExperiment,
    identity: Identity<ToyExperiment>,
    inputs: Vec<Input>,
    vectors: Vec<Vector>,
}

/// The runs that can be done, checked before anything is written.
fn plan(arguments: &RunArguments) -> Result<Vec<Plan<Drawn>>> {
    check_folders(&arguments.also.data)?;
    let asked: Asked<ToyExperiment> = Asked::of_file(&arguments.file, &arguments.changes())?;
    let drawn = asked.written.experiments.iter().filter(|one| one.toy.vectors.is_none());
    let dimensions = drawn.flat_map(|one| one.toy.dimensions());
    let bytes = dimensions.fold(0, |sum: u128, (_, dimension)| sum.saturating_add(product(&[dimension, BYTES_A_DIMENSION])));
    Budget::here()
        .fits(bytes, || format!("toy.dimensions: the vectors of {} runs", asked.written.experiments.len()))
        .map_err(|message| Error::input(&arguments.file, message))?;
    let mut plans: Vec<Plan<Drawn>> = Vec::new();
    for written in &asked.written.experiments {
        let mut experiment = written.clone();
        let (vectors, inputs) = vectors(&mut experiment, &asked, &arguments.also.data)?;
        let identity = Identity::of(&arguments.out, &experiment, &inputs, asked.written.settled(written));
        if plans.iter().any(|other| other.run_id == identity.run_id) {
            let message = format!("the sweep asks for the same run twice ({}): all that it reads is the same", identity.run_id);
            return Err(Error::Invalid(message));
        }
        let (run_id, tables) = (identity.run_id.clone(), experiment.tables());
        plans.push(Plan { run_id, tables, what: Drawn { experiment, identity, inputs, vectors } });
    }
    if arguments.resume {
        let launched: Vec<_> = plans.iter().map(|Plan { what, .. }| what.identity.launched(&what.experiment, &what.inputs)).collect();
        tell_what_begins(&arguments.out, &launched, arguments.common.quiet)?;
    }
    Ok(plans)
}

/// The vectors that an experiment begins with, and the file that they were found in.
fn vectors(experiment: &mut ToyExperiment, asked: &Asked<ToyExperiment>, data: &[PathBuf]) -> Result<(Vec<Vector>, Vec<Input>)> {
    let Some(path) = experiment.toy.vectors.clone() else {
        let (truth, init) = experiment.seeds();
        return Ok((drawn_vectors(&experiment.toy.dimensions(), truth, init), Vec::new()));
    };
    let found = found(asked.wanted("toy.vectors", &path, "file").find(data, |place| {
        let vectors = read_toy_vectors(place, experiment)?;
        let sha256 = content::of_vectors(&vectors);
        Ok((place.to_owned(), vectors, sha256))
    }))?;
    let (file, vectors) = (found.path, found.value);
    for (index, clamp) in experiment.interventions.iter().enumerate() {
        let length = vectors.iter().find(|vector| vector.name == clamp.vector).map_or(0, |vector| vector.now.len());
        if let Some(first) = clamp.first.filter(|&first| first > length) {
            let what = format!("intervention.{index}.first: the vector {} has {length} entries", clamp.vector);
            return Err(Error::Invalid(format!("{what} in {}, not {first}", file.display())));
        }
    }
    experiment.toy.vectors = Some(file.clone());
    Ok((vectors, vec![Input { key: "toy.vectors".into(), path: file, sha256: Some(found.sha256) }]))
}

fn start(world: &mut World, drawn: Drawn, found: Found) -> Result<Entity> {
    let Drawn { experiment, identity, inputs, vectors } = drawn;
    let (experiment, run_id) = (&experiment, identity.run_id);
    let start = match &found.checkpoint {
        Some(checkpoint) => ToyStart::from_checkpoint(experiment, checkpoint, found.folder.path())?,
        None => ToyStart::initial(experiment, vectors)?,
    };
    let run = Run { run_id: run_id.clone(), inputs, ..identity.former.as_ref().unwrap_or(experiment).run() };
    let kept = found.go_on(&run.toml, start.steps)?;
    let entity = spawn_toy(world, experiment, start);
    world.entity_mut(entity).insert((kept, run));
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
