//! What a figure shows: panels in rows, each with series over two axes or with a heat map.

use super::colours::Colour;
use super::layout;
use optogen::Result;
use std::path::Path;

/// A figure.
#[derive(Clone)]
pub struct Figure {
    /// Stands above all.
    pub title: String,
    /// The panels, row by row.
    pub rows: Vec<Vec<Panel>>,
    /// Width and height in pixels.
    pub size: (u32, u32),
}

/// Axes, and what lies between them.
#[derive(Clone, Default)]
pub struct Panel {
    /// Stands above it.
    pub title: String,
    /// The axis below.
    pub x: Axis,
    /// The axis at the left.
    pub y: Axis,
    /// The lines and dots; the first lies on top.
    pub series: Vec<Series>,
    /// Dashed horizontal lines.
    pub levels: Vec<Level>,
    /// A heat map in place of series.
    pub heat: Option<Heat>,
    /// How one finds out what is what.
    pub legend: Legend,
}

/// An axis. Where it begins and ends is taken from what is drawn, unless it is said.
#[derive(Clone, Default)]
pub struct Axis {
    /// What it counts.
    pub label: String,
    /// Where it begins.
    pub from: Option<f64>,
    /// Where it ends.
    pub to: Option<f64>,
    /// Whether it is logarithmic; what is not above 0 is then left out.
    pub logarithmic: bool,
    /// The only ticks there are, in place of round numbers.
    pub ticks: Option<Vec<(f64, String)>>,
}

/// A line or dots.
#[derive(Clone)]
pub struct Series {
    /// What it is called in the legend and in the table of numbers.
    pub name: String,
    /// The seed of its run, where it is of one run.
    pub seed: Option<i64>,
    /// What is not a number is left out.
    pub points: Vec<(f64, f64)>,
    /// Line or dots.
    pub look: Look,
    /// Its colour.
    pub colour: Colour,
    /// Whether the legend has it; of several runs alike, only the first.
    pub in_legend: bool,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Look {
    /// A line of so many pixels.
    Line(f64),
    /// A dashed line of so many pixels.
    Dashes(f64),
    /// A mark at every point, so many pixels wide.
    Dots(Shape, f64),
}

/// The form of a mark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// ●
    Disc,
    /// ▲
    Triangle,
    /// ■
    Square,
}

/// A dashed horizontal line.
#[derive(Clone)]
pub struct Level {
    /// Where.
    pub at: f64,
    /// What it is.
    pub name: String,
}

/// A table of numbers as colours, rows from above to below.
#[derive(Clone)]
pub struct Heat {
    /// The numbers, row by row.
    pub values: Vec<Vec<f64>>,
    /// What the first and the last colour stand for.
    pub range: (f64, f64),
    /// The colour of a number between 0 and 1.
    pub colour: fn(f64) -> Colour,
}

/// How one finds out what is what.
#[derive(Clone, Default)]
pub enum Legend {
    /// One does not need to.
    #[default]
    None,
    /// Names at the right, below a title, which may be empty.
    Names(String),
    /// At the end of each line, its last value and its name.
    Ends,
    /// A bar with the colours of numbers.
    Scale {
        /// What they count.
        title: String,
        /// What the first and the last colour stand for.
        range: (f64, f64),
        /// The colour of a number between 0 and 1.
        colour: fn(f64) -> Colour,
    },
}

/// A point of a figure, as a row of its table.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// The panel's title.
    pub panel: String,
    /// The series' name.
    pub series: String,
    /// The run's seed, where it is of one run.
    pub seed: Option<i64>,
    /// Along the axis below.
    pub x: f64,
    /// Along the axis at the left; in a heat map, the value.
    pub y: f64,
}

impl Figure {
    /// A figure of one panel.
    pub fn of(title: &str, panel: Panel) -> Self {
        Self { title: title.into(), rows: vec![vec![panel]], size: (1600, 960) }
    }

    /// Panels side by side, at most `across` in a row.
    pub fn side_by_side(title: &str, panels: Vec<Panel>, across: usize) -> Self {
        let across = across.clamp(1, panels.len().max(1));
        let rows: Vec<_> = panels.chunks(across).map(<[Panel]>::to_vec).collect();
        let size = (600 * across as u32 + 300, 560 * rows.len() as u32 + 120);
        Self { title: title.into(), size: if across == 1 && rows.len() == 1 { (1600, 960) } else { size }, rows }
    }

    /// As `side_by_side`, of panels that share one legend: it stands at the right of the first row.
    pub fn alike(title: &str, mut panels: Vec<Panel>, across: usize) -> Self {
        let shown = across.clamp(1, panels.len().max(1)) - 1;
        let others = panels.iter_mut().enumerate().filter(|(number, _)| *number != shown);
        others.for_each(|(_, panel)| panel.legend = Legend::None);
        Self::side_by_side(title, panels, across)
    }

    /// Draws `NAME.svg` and `NAME.png` in a folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, folder: &Path, name: &str) -> Result<()> {
        layout::picture(self).save(folder, name)
    }

    /// Everything that it shows, to be drawn again.
    pub fn numbers(&self) -> Vec<Number> {
        let mut all = Vec::new();
        let several = self.rows.iter().flatten().count() > 1;
        for panel in self.rows.iter().flatten() {
            // Panels without titles are told apart by what they are drawn against.
            let title = if several && panel.title.is_empty() { &panel.x.label } else { &panel.title };
            for series in &panel.series {
                let number = |&(x, y): &(f64, f64)| Number { panel: title.clone(), series: series.name.clone(), seed: series.seed, x, y };
                all.extend(series.points.iter().map(number));
            }
            for (row, values) in panel.heat.iter().flat_map(|heat| heat.values.iter().enumerate()) {
                let series = format!("{} {row}", panel.y.label);
                let number = |(x, &y): (usize, &f64)| Number { panel: title.clone(), series: series.clone(), seed: None, x: x as f64, y };
                all.extend(values.iter().enumerate().map(number));
            }
        }
        all
    }
}

impl Panel {
    /// An empty panel with these axes.
    pub fn new(x: Axis, y: Axis) -> Self {
        Self { x, y, ..Self::default() }
    }

    /// With a title.
    pub fn titled(self, title: &str) -> Self {
        Self { title: title.into(), ..self }
    }

    /// With series.
    pub fn with(self, series: Vec<Series>) -> Self {
        Self { series, ..self }
    }

    /// With one more dashed horizontal line.
    pub fn level(mut self, at: f64, name: &str) -> Self {
        self.levels.push(Level { at, name: name.into() });
        self
    }

    /// With a legend.
    pub fn legend(self, legend: Legend) -> Self {
        Self { legend, ..self }
    }
}

impl Axis {
    /// An axis that reaches as far as what is drawn, and from 0.
    pub fn of(label: &str) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// With these ends.
    pub fn between(self, from: f64, to: f64) -> Self {
        Self { from: Some(from), to: Some(to), ..self }
    }

    /// With ticks at whole numbers alone.
    pub fn whole(self, numbers: impl IntoIterator<Item = usize>) -> Self {
        Self { ticks: Some(numbers.into_iter().map(|number| (number as f64, number.to_string())).collect()), ..self }
    }
}

impl Series {
    /// A line.
    pub fn line(name: &str, points: Vec<(f64, f64)>, colour: Colour) -> Self {
        Self { name: name.into(), seed: None, points, look: Look::Line(4.0), colour, in_legend: true }
    }

    /// Dots.
    pub fn dots(name: &str, points: Vec<(f64, f64)>, colour: Colour, shape: Shape) -> Self {
        Self { look: Look::Dots(shape, 22.0), ..Self::line(name, points, colour) }
    }

    /// Of the run with this seed.
    pub fn of_seed(self, seed: Option<i64>) -> Self {
        Self { seed, ..self }
    }

    /// Drawn otherwise.
    pub fn look(self, look: Look) -> Self {
        Self { look, ..self }
    }

    /// Not in the legend.
    pub fn unnamed(self) -> Self {
        Self { in_legend: false, ..self }
    }
}
