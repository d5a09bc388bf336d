//! `optogen figures`: the figures and tables of a paper, drawn from the logs of its runs.
//!
//! A paper is a list of entries; each says which folders of runs it needs and what it makes of them. What a figure shows is kept beside it as a
//! Parquet table, so that it can be drawn again in any other way.

pub mod induction;
pub mod tables;
pub mod toy;

use crate::cli::FiguresArguments;
use crate::draw::Figure;
use crate::exit::code_of;
use crate::logs::{Run, folders_in, runs_in};
use clap::ValueEnum;
use optogen::{Cause, Error, Result, say};
use std::path::{Path, PathBuf};
use tables::{Column, Table};

/// A paper.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Paper {
    /// What needs to go right for an induction head? (Singh et al. 2024)
    Induction,
    /// The toy models of that paper and of "Strategy coopetition explains the emergence and transience of in-context learning" (Singh et al. 2025)
    Toy,
}

impl Paper {
    fn entries(self) -> &'static [Entry] {
        match self {
            Paper::Induction => induction::ENTRIES,
            Paper::Toy => toy::ENTRIES,
        }
    }

    /// The command that makes the runs of a folder below `root`.
    fn command(self, folder: &str, root: &Path) -> String {
        match self {
            Paper::Induction => induction::command(folder, root),
            Paper::Toy => toy::command(folder, root),
        }
    }
}

/// A figure or a table of a paper.
pub struct Entry {
    /// Names its files.
    pub name: &'static str,
    /// The folders of runs that it needs.
    pub needs: &'static [&'static str],
    /// Makes it.
    pub make: fn(&Runs) -> Result<Product>,
}

/// What becomes of an entry.
pub enum Product {
    /// A picture, and its numbers.
    Figure(Box<Figure>),
    /// A table.
    Table(Table),
}

impl From<Figure> for Product {
    fn from(figure: Figure) -> Self {
        Product::Figure(Box::new(figure))
    }
}

/// The folder in which the runs of a paper lie, a folder for each experiment file.
pub struct Runs {
    root: PathBuf,
}

impl Runs {
    /// The runs below this folder.
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The runs of one experiment file, by seed.
    ///
    /// # Errors
    /// A run cannot be read.
    pub fn of(&self, name: &str) -> Result<Vec<Run>> {
        runs_in(&self.root.join(name))
    }

    /// The run folders of one experiment file.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn folders(&self, name: &str) -> Result<Vec<PathBuf>> {
        folders_in(&self.root.join(name))
    }

    /// Those of some folders for which there are no runs.
    fn missing(&self, names: &[&'static str]) -> Result<Vec<&'static str>> {
        let mut missing = Vec::new();
        for &name in names {
            if self.folders(name)?.is_empty() {
                missing.push(name);
            }
        }
        Ok(missing)
    }
}

/// Draws what can be drawn and says what cannot; returns the exit code.
///
/// # Errors
/// There is no such folder of runs, or a file cannot be written.
pub fn figures(arguments: &FiguresArguments) -> Result<u8> {
    let runs = Runs::below(&arguments.runs);
    if !arguments.runs.is_dir() {
        return Err(Error::Invalid(format!("{}: there is no such folder of runs", arguments.runs.display())));
    }
    std::fs::create_dir_all(&arguments.out).map_err(Error::file(&arguments.out))?;
    let (mut drawn, mut code) = (0, 0);
    for entry in arguments.paper.entries() {
        let missing = runs.missing(entry.needs)?;
        if !missing.is_empty() {
            say::note(format!("{}: not drawn, there are no runs in {}; make them with", entry.name, places(&arguments.runs, &missing)));
            missing.iter().for_each(|folder| say::note(format!("  {}", arguments.paper.command(folder, &arguments.runs))));
            continue;
        }
        match (entry.make)(&runs) {
            Ok(product) => {
                write(product, &arguments.out, entry.name)?;
                say::answer(format!("{}\n", arguments.out.join(entry.name).display()));
                drawn += 1;
            }
            // The others do not need this one's runs.
            Err(error) => {
                say::note(format!("{}: not drawn: {error}", entry.name));
                // That a run is not what a figure is of, or a measure not in it, leaves the others as they are.
                if error.cause() != Cause::Request {
                    code = code_of(error.cause());
                }
            }
        }
    }
    Ok(if drawn == 0 && code == 0 { 2 } else { code })
}

fn places(root: &Path, names: &[&str]) -> String {
    names.iter().map(|name| root.join(name).display().to_string()).collect::<Vec<_>>().join(", ")
}

fn write(product: Product, out: &Path, name: &str) -> Result<()> {
    match product {
        Product::Figure(figure) => {
            figure.save(out, name)?;
            numbers(&figure).save_rows(out, name)
        }
        Product::Table(table) => table.save(out, name),
    }
}

/// What a figure shows, a row for each point.
pub fn numbers(figure: &Figure) -> Table {
    let numbers = figure.numbers();
    Table::of([
        ("panel", Column::Names(numbers.iter().map(|number| number.panel.replace('\n', " ")).collect())),
        ("series", Column::Names(numbers.iter().map(|number| number.series.replace('\n', " ")).collect())),
        ("seed", Column::Whole(numbers.iter().map(|number| number.seed).collect())),
        ("x", Column::Numbers(numbers.iter().map(|number| number.x).collect())),
        ("y", Column::Numbers(numbers.iter().map(|number| number.y).collect())),
    ])
}
