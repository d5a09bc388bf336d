//! The figures of the toy models: 5a and 9 of "What needs to go right for an induction head?", and those of strategy coopetition.
//!
//! Where runs differ in their seed alone, the first seed's line is thick and the others' are thin and pale, or every seed has a panel.

use super::tables::{Column, Table};
use super::{Entry, Product, Runs};
use crate::draw::{Axis, BLACK, Colour, Figure, Legend, Look, Panel, Series, faded};
use crate::logs::{Points, Rows, first_below};
use optogen::log::KeptRun;
use optogen::toy::ToyIntervention;
use optogen::{Error, Result};
use plotters::style::RGBColor;
use std::path::{Path, PathBuf};

/// All figures and tables.
pub const ENTRIES: &[Entry] = &[
    Entry { name: "figure_5a", needs: &["tensor_product"], make: clamped_losses },
    Entry { name: "figure_9", needs: &["tensor_product"], make: progress_measures },
    Entry { name: "tensor_product", needs: &["tensor_product"], make: plateaus },
    Entry { name: "coopetition", needs: &["coopetition"], make: coopetition },
    Entry { name: "coopetition_seeds", needs: &["coopetition"], make: |runs| every_seed(runs, "coopetition", 0.0) },
    Entry { name: "coopetition_no_bias", needs: &["coopetition_no_bias"], make: |runs| every_seed(runs, "coopetition_no_bias", 3e-3) },
    Entry { name: "coopetition_ends", needs: &["coopetition", "coopetition_no_bias"], make: mechanisms },
];

/// The command that makes the runs of a folder.
pub fn command(folder: &str, root: &Path) -> String {
    format!("optogen run experiments/toy/{folder}.toml --out {} --resume", root.join(folder).display())
}

/// What is clamped, as the legend calls it, and its colour.
const CLAMPS: [(&str, Colour); 3] = [("None", BLACK), ("c", RGBColor(55, 126, 184)), ("b, c", RGBColor(152, 78, 163))];
const MECHANISM_1: Colour = RGBColor(31, 120, 180);
const MECHANISM_2: Colour = RGBColor(51, 160, 44);
const COST: Colour = RGBColor(255, 127, 0);

/// A loss below which a tensor product is learned: a hundredth of what it is at first, or less.
const LEARNED: f64 = 0.01;
/// A loss below which coopetition has come to its end, as published.
const CONVERGED: f64 = 1e-6;

/// A run of a toy model.
struct ToyRun {
    folder: PathBuf,
    kept: KeptRun,
    seed: Option<i64>,
    /// The vectors that are clamped: `b, c`, or `None`.
    clamped: String,
    /// μ₁ and μ₂.
    bias: [f64; 2],
}

impl ToyRun {
    fn read(folder: PathBuf) -> Result<Self> {
        let path = folder.join("run.parquet");
        let (kept, row) = (KeptRun::open(&folder)?, Rows::read(&path)?);
        let damaged = |what: &str| Error::damaged(&path, format!("not the row of a toy model's run: {what}"));
        let number = |name: &str| Ok::<_, Error>(row.numbers(name)?.first().copied().unwrap_or(f64::NAN));
        let interventions = row.names("intervention")?.pop().ok_or_else(|| damaged("it is empty"))?;
        let clamps: Vec<ToyIntervention> = serde_json::from_str(&interventions).map_err(|error| damaged(&error.to_string()))?;
        let letters: Vec<String> = clamps.iter().map(|clamp| clamp.vector.to_string()).collect();
        let seed = Some(number("seeds.init")?).filter(|seed| !seed.is_nan()).map(|seed| seed as i64);
        let clamped = if letters.is_empty() { "None".into() } else { letters.join(", ") };
        Ok(Self { seed, clamped, bias: [number("toy.mu1")?, number("toy.mu2")?], folder, kept })
    }

    /// The loss before each step.
    fn loss(&self) -> Result<Points> {
        let train = Rows::of(&self.kept, &self.folder, "train")?;
        Ok(train.numbers("sequences")?.into_iter().zip(train.numbers("loss")?).collect())
    }

    /// How a measure went, of a vector or, with `""`, of the whole model.
    fn measure(&self, measure: &str, vector: &str) -> Result<Points> {
        let rows = Rows::of(&self.kept, &self.folder, "measures")?;
        let (names, vectors, points) = (rows.names("measure")?, rows.names("vector")?, rows.numbers("sequences")?);
        let points = points.into_iter().zip(rows.numbers("value")?);
        let own = names.iter().zip(&vectors).map(|(name, of)| name == measure && of == vector);
        Ok(points.zip(own).filter(|(_, own)| *own).map(|(point, _)| point).collect())
    }
}

/// The runs of one experiment file, by seed.
fn runs_of(runs: &Runs, name: &str) -> Result<Vec<ToyRun>> {
    let mut all = runs.folders(name)?.into_iter().map(ToyRun::read).collect::<Result<Vec<_>>>()?;
    all.sort_by_key(|run| run.seed);
    Ok(all)
}

/// A line for each run of some clamps, the first seed's of each before all others.
fn lines(runs: &[ToyRun], clamps: &[(&str, Colour)], points: impl Fn(&ToyRun) -> Result<Points>) -> Result<Vec<Series>> {
    let mut series = Vec::new();
    for &(clamped, colour) in clamps {
        for (number, run) in runs.iter().filter(|run| run.clamped == clamped).enumerate() {
            let line = Series::line(clamped, points(run)?, colour).of_seed(run.seed);
            series.push(match number {
                0 => line,
                _ => Series { colour: faded(colour, 0.4), ..line.look(Look::Line(1.2)).unnamed() },
            });
        }
    }
    series.sort_by_key(|series| !series.in_legend);
    Ok(series)
}

/// Figure 5a: the loss with nothing, one vector and two vectors clamped.
fn clamped_losses(runs: &Runs) -> Result<Product> {
    let series = lines(&runs_of(runs, "tensor_product")?, &CLAMPS, ToyRun::loss)?;
    let panel = Panel::new(Axis::of("Iterations"), Axis::of("Loss")).with(series);
    let panel = panel.legend(Legend::Names("\"Clamped\" variable".into()));
    Ok(Figure::of("Loss dynamics of toy model when \"clamping\" variables", panel).into())
}

/// Figure 9: the loss, and two measures of how far one vector has come.
fn progress_measures(runs: &Runs) -> Result<Product> {
    let own: Vec<ToyRun> = runs_of(runs, "tensor_product")?;
    // One beginning says more here than many.
    let first = own.first().and_then(|run| run.seed);
    let own: Vec<ToyRun> = own.into_iter().filter(|run| run.seed == first).collect();
    let clamps = [CLAMPS[0], CLAMPS[2]];
    let panel = |title: &str, series| Panel::new(Axis::of("Iterations"), Axis::default()).titled(title).with(series);
    let panels = vec![
        panel("Train loss", lines(&own, &clamps, ToyRun::loss)?),
        panel("Progress measure 1:\n1 − cos² of a to what it should be", lines(&own, &clamps, |run| run.measure("misalignment", "a"))?),
        panel("Progress measure 2:\nloss of ±a with b and c right", lines(&own, &clamps, |run| run.measure("loss_alone", "a"))?)
            .legend(Legend::Names("Clamped\nvariable".into())),
    ];
    Ok(Figure::side_by_side("Progress measures of the toy model", panels, 3).into())
}

/// When a tensor product is learned, for each beginning and clamp.
fn plateaus(runs: &Runs) -> Result<Product> {
    let (mut clamped, mut seeds, mut learned, mut last) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut all = runs_of(runs, "tensor_product")?;
    all.sort_by_key(|run| (run.seed, CLAMPS.iter().position(|(clamped, _)| *clamped == run.clamped)));
    for run in all {
        let loss = run.loss()?;
        learned.push(first_below(&loss, LEARNED).map(|steps| steps as i64));
        last.push(loss.last().map_or(f64::NAN, |point| point.1));
        seeds.push(run.seed);
        clamped.push(run.clamped);
    }
    Ok(Product::Table(Table::of([
        ("clamped", Column::Names(clamped)),
        ("seed", Column::Whole(seeds)),
        ("steps until loss < .01", Column::Whole(learned)),
        ("last loss", Column::Numbers(last)),
    ])))
}

/// The loss and both mechanisms of a run, with what each can never learn; `below` ends the lines where the loss falls below it.
fn strategies(run: &ToyRun, with_cost: bool, below: f64) -> Result<Vec<Series>> {
    let loss = run.loss()?;
    let end = first_below(&loss, below).unwrap_or(f64::INFINITY);
    let until = |points: Points| -> Points { points.into_iter().filter(|point| point.0 <= end).collect() };
    let raised = |points: Points, by: f64| until(points.into_iter().map(|(x, y)| (x, y + by)).collect());
    let mut series = vec![
        Series::line("L(a, b, c, d)", until(loss), BLACK),
        Series::line("Mechanism 1", raised(run.measure("mechanism_1", "")?, run.bias[0]), MECHANISM_1),
        Series::line("Mechanism 2", raised(run.measure("mechanism_2", "")?, run.bias[1]), MECHANISM_2),
    ];
    if with_cost {
        series.insert(0, Series::line("Competition", until(run.measure("cost", "")?), COST));
    }
    Ok(series.into_iter().map(|one| one.of_seed(run.seed)).collect())
}

/// How the quick mechanism comes and goes.
fn coopetition(runs: &Runs) -> Result<Product> {
    let all = runs_of(runs, "coopetition")?;
    let mut converged = None;
    for run in &all {
        if converged.is_none() && first_below(&run.loss()?, CONVERGED).is_some() {
            converged = Some(run);
        }
    }
    // A beginning from which it comes to its end in time, where there is one.
    let Some(run) = converged.or(all.first()) else { return Err(Error::Invalid("there is no run of coopetition".into())) };
    let panel = Panel::new(Axis::of("Steps"), Axis::of("Loss")).with(strategies(run, false, 0.0)?).legend(Legend::Names(String::new()));
    Ok(Figure::of("Two mechanisms help each other, and then one is dropped", panel).into())
}

/// Every beginning, each in a panel.
fn every_seed(runs: &Runs, folder: &str, below: f64) -> Result<Product> {
    let mut panels = Vec::new();
    for run in runs_of(runs, folder)? {
        let mut series = strategies(&run, true, below)?;
        series.iter_mut().for_each(|line| line.look = Look::Line(3.0));
        let title = run.seed.map_or(String::new(), |seed| format!("Seed {seed}"));
        panels.push(Panel::new(Axis::of("Steps"), Axis::of("Loss")).titled(&title).with(series));
    }
    if let Some(last) = panels.last_mut() {
        last.legend = Legend::Names(String::new());
    }
    let title = match folder {
        "coopetition" => "Coopetition, from several beginnings",
        _ => "Without anything that mechanism 1 cannot learn",
    };
    Ok(Figure::side_by_side(title, panels, 4).into())
}

/// How each beginning ends: when, and what is left of the mechanisms.
fn mechanisms(runs: &Runs) -> Result<Product> {
    let mut names = Vec::new();
    let mut seeds = Vec::new();
    let (mut steps, mut converged) = (Vec::new(), Vec::new());
    let mut numbers: [Vec<f64>; 4] = Default::default();
    for folder in ["coopetition", "coopetition_no_bias"] {
        for run in runs_of(runs, folder)? {
            let (loss, one, two) = (run.loss()?, run.measure("mechanism_1", "")?, run.measure("mechanism_2", "")?);
            let least = |points: &Points| points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
            let last = |points: &Points| points.last().map_or(f64::NAN, |point| point.1);
            steps.push(loss.last().map(|point| point.0 as i64));
            converged.push(first_below(&loss, CONVERGED).map(|steps| steps as i64));
            let row = [last(&loss), least(&one), last(&one), last(&two)];
            numbers.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
            names.push(folder.to_owned());
            seeds.push(run.seed);
        }
    }
    let [loss, least, one, two] = numbers.map(Column::Numbers);
    Ok(Product::Table(Table::of([
        ("experiment", Column::Names(names)),
        ("seed", Column::Whole(seeds)),
        ("steps", Column::Whole(steps)),
        ("last loss", loss),
        ("steps until loss < 1e-6", Column::Whole(converged)),
        ("least of mechanism 1", least),
        ("last of mechanism 1", one),
        ("last of mechanism 2", two),
    ])))
}
