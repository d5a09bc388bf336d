//! Sections 4 and 5: how training goes when parts of the circuit are given, and what the data does to each part.

use super::{Runs, TRAIN, lines, one_legend, sequences, thick_first};
use crate::draw::{Axis, Colour, Figure, Legend, Panel, cool};
use crate::figures::Product;
use crate::logs::{Points, Run};
use optogen::Result;
use plotters::style::RGBColor;

/// What is clamped in figure 5b, with the folder of its runs and its colour.
pub const CLAMPS: [(&str, &str, Colour); 6] = [
    ("none", "one_head", RGBColor(0, 0, 0)),
    ("1", "previous_token", RGBColor(255, 127, 0)),
    ("1, 2 (layer 1)", "layer_1", RGBColor(227, 26, 28)),
    ("1, 2, 3qk, 4 (match)", "match", RGBColor(51, 160, 44)),
    ("3v, 5 (copy)", "copy", RGBColor(31, 120, 180)),
    ("1, 2, 3v, 5\n(layer 1 + copy)", "layer_1_copy", RGBColor(152, 78, 163)),
];

/// Figure 5b: training with steps of the circuit given.
pub fn dynamics(runs: &Runs) -> Result<Product> {
    let mut series = Vec::new();
    for (name, folder, colour) in CLAMPS {
        series.extend(lines(name, &runs.of(folder)?, colour, |run| Ok(before(run.loss(TRAIN)?, 4e5)))?);
    }
    let axes = Panel::new(sequences().between(0.0, 4e5), Axis::of("Loss"));
    let panel = axes.with(thick_first(series)).legend(Legend::Names("\"Clamped\" steps".into()));
    Ok(Figure::of("Loss when various steps are clamped", panel).into())
}

/// Figure 6: more classes, and more labels.
pub fn data(runs: &Runs) -> Result<Product> {
    let columns = [
        ("Normal training", "one_head", 2e6),
        ("Subcircuit B", "layer_1_copy", 3e5),
        ("Subcircuit C", "match", 3e5),
        ("Subcircuits B, C", "layer_1", 3e5),
    ];
    let mut rows = Vec::new();
    for varied in [Varied::Classes, Varied::Labels] {
        let mut row = Vec::new();
        for (title, folder, until) in columns {
            let found = runs.of(&format!("{folder}_{}", varied.name()))?;
            let mut values: Vec<usize> = found.iter().map(|run| varied.of(run)).collect();
            values.sort_unstable();
            values.dedup();
            let mut series = Vec::new();
            for (number, value) in values.iter().enumerate() {
                let alike = found.iter().filter(|run| varied.of(run) == *value);
                let colour = cool([1.0, 0.5, 0.1][number.min(2)]);
                series.extend(lines(&value.to_string(), alike, colour, |run| Ok(before(run.loss(TRAIN)?, until)))?);
            }
            let panel = Panel::new(sequences().between(0.0, until), Axis::of("Loss").between(0.0, 1.5)).titled(title);
            row.push(panel.with(thick_first(series)).legend(Legend::Names(format!("# {}", varied.name()))));
        }
        rows.push(one_legend(row));
    }
    let title = "What the number of classes and labels does to the formation of subcircuits";
    Ok(Figure { title: title.into(), rows, size: (2400, 1160) }.into())
}

/// What differs between the runs of a row of figure 6.
#[derive(Clone, Copy)]
enum Varied {
    Classes,
    Labels,
}

impl Varied {
    fn name(self) -> &'static str {
        match self {
            Varied::Classes => "classes",
            Varied::Labels => "labels",
        }
    }

    fn of(self, run: &Run) -> usize {
        let data = &run.experiment.data;
        match self {
            Varied::Classes => data.classes.train,
            Varied::Labels => data.relabel.as_ref().map_or(0, |relabel| relabel.labels),
        }
    }
}

/// The part of a curve before so many sequences.
pub fn before(points: Points, sequences: f64) -> Points {
    points.into_iter().filter(|point| point.0 < sequences).collect()
}
