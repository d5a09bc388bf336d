//! Where everything lies: how much room titles, ticks and legends need, and what remains for the panels.

use super::colours::{Colour, faded};
use super::figure::{Axis, Figure, Heat, Legend, Look, Panel, Series, Shape};
use super::picture::{Font, HPos, Picture, VPos};
use super::ticks;
use plotters::style::RGBColor;

const TITLE: Font = Font { size: 36.0, bold: true };
const PANEL_TITLE: Font = Font { size: 28.0, bold: true };
const WORDS: Font = Font { size: 26.0, bold: false };
/// Least distance of lines of text.
const LINE_HEIGHT: f64 = 34.0;
/// White around everything.
const MARGIN: f64 = 40.0;
/// Between a panel and its legend.
const GAP: f64 = 28.0;
/// The sample of a line in a legend.
const SAMPLE: f64 = 40.0;

const INK: Colour = RGBColor(34, 34, 34);
const QUIET: Colour = RGBColor(110, 110, 110);
const FAINT: Colour = RGBColor(230, 230, 230);

/// Lays a figure out.
pub fn picture(figure: &Figure) -> Picture {
    let mut picture = Picture::new(figure.size);
    let columns = figure.rows.iter().map(Vec::len).max().unwrap_or(0);
    let column = |number: usize| figure.rows.iter().filter_map(move |row| row.get(number));
    let widest = |of: fn(&Panel) -> f64| (0..columns).map(|number| column(number).map(of).fold(0.0, f64::max)).collect::<Vec<_>>();
    let (lefts, rights) = (widest(left_of), widest(right_of));
    let taken: f64 = lefts.iter().chain(&rights).sum::<f64>() + 2.0 * MARGIN;
    let (total_width, total_height) = (f64::from(figure.size.0), f64::from(figure.size.1));
    let width = ((total_width - taken) / columns.max(1) as f64).max(60.0);
    let head = if figure.title.is_empty() { MARGIN } else { MARGIN + 1.6 * TITLE.size };
    let above: Vec<f64> = figure.rows.iter().map(|row| row.iter().map(above).fold(0.0, f64::max)).collect();
    let below = 100.0;
    let taken = head + above.iter().sum::<f64>() + below * figure.rows.len() as f64;
    let height = ((total_height - taken) / figure.rows.len().max(1) as f64).max(60.0);

    picture.text(&figure.title, (MARGIN + lefts.first().unwrap_or(&0.0), MARGIN), TITLE, INK, (HPos::Left, VPos::Top));
    let mut top = head;
    for (row, above) in figure.rows.iter().zip(above) {
        let mut left = MARGIN;
        top += above;
        for (number, panel) in row.iter().enumerate() {
            left += lefts[number];
            let frame = Frame::new(panel, (left, top), (width, height));
            frame.draw(&mut picture);
            left += width + rights[number];
        }
        top += height + below;
    }
    picture
}

/// Room for the ticks at the left.
fn left_of(panel: &Panel) -> f64 {
    let (_, y) = ranges(panel);
    y_ticks(panel, y).iter().map(|(_, text)| WORDS.width(text)).fold(0.0, f64::max) + 20.0
}

/// Room for the legend at the right.
fn right_of(panel: &Panel) -> f64 {
    let widest = |names: Vec<&str>| names.into_iter().flat_map(str::lines).map(|name| WORDS.width(name)).fold(0.0, f64::max);
    match &panel.legend {
        Legend::None => 24.0,
        Legend::Names(title) => {
            let names = panel.levels.iter().map(|level| level.name.as_str()).chain(named(panel).map(|series| series.name.as_str()));
            GAP + widest(names.collect()).max(widest(vec![title]) - SAMPLE - 12.0) + SAMPLE + 12.0 + 24.0
        }
        Legend::Ends => ends(panel).iter().map(|end| WORDS.width(&end.text)).fold(0.0, f64::max) + 42.0 + 24.0,
        Legend::Scale { title, range, .. } => {
            let ticks = ticks::round(range.0, range.1, 3.0);
            GAP + widest(ticks.iter().map(|tick| tick.1.as_str()).collect()).max(widest(vec![title]) - SAMPLE) + SAMPLE + 34.0
        }
    }
}

/// Room for the panel's title and the name of its left axis.
fn above(panel: &Panel) -> f64 {
    let titles = panel.title.lines().count() as f64 * 1.3 * PANEL_TITLE.size;
    titles + if panel.y.label.is_empty() { 16.0 } else { 52.0 }
}

fn named(panel: &Panel) -> impl Iterator<Item = &Series> {
    panel.series.iter().filter(|series| series.in_legend)
}

/// What stands at the end of a line.
struct End {
    text: String,
    value: f64,
    colour: Colour,
}

fn ends(panel: &Panel) -> Vec<End> {
    let end = |value: f64, name: &str, colour| End { text: format!("{value:.3}  {name}"), value, colour };
    let levels = panel.levels.iter().map(|level| end(level.at, &level.name, QUIET));
    let lines = named(panel).filter_map(|series| {
        let last = series.points.iter().rfind(|(x, y)| x.is_finite() && y.is_finite())?;
        Some(end(last.1, &series.name, series.colour))
    });
    levels.chain(lines).collect()
}

/// Where the axes begin and end.
fn ranges(panel: &Panel) -> ((f64, f64), (f64, f64)) {
    if let Some(heat) = &panel.heat {
        let across = heat.values.iter().map(Vec::len).max().unwrap_or(0);
        return ((-0.5, across as f64 - 0.5), (heat.values.len() as f64 - 0.5, -0.5));
    }
    let all = || panel.series.iter().flat_map(|series| &series.points).copied().filter(|(x, y)| x.is_finite() && y.is_finite());
    let y = range(&panel.y, all().map(|point| point.1).chain(panel.levels.iter().map(|level| level.at)), 1.03);
    (range(&panel.x, all().map(|point| point.0), 1.0), y)
}

/// From the least to the most, and from 0 on a linear axis; a little more than the most.
fn range(axis: &Axis, values: impl Iterator<Item = f64>, more: f64) -> (f64, f64) {
    let values: Vec<f64> = values.filter(|&value| !axis.logarithmic || value > 0.0).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (least, most) = if values.is_empty() { (1.0, 1.0) } else { (least, most) };
    let from = axis.from.unwrap_or(if axis.logarithmic { least / 1.2 } else { least.min(0.0) * more });
    let to = axis.to.unwrap_or(if axis.logarithmic { most * 1.2 } else { most.max(0.0) * more });
    if to > from { (from, to) } else { (from, from + 1.0) }
}

fn y_ticks(panel: &Panel, range: (f64, f64)) -> Vec<(f64, String)> {
    ticks_of(&panel.y, range, 3.0)
}

fn ticks_of(axis: &Axis, (from, to): (f64, f64), at_least: f64) -> Vec<(f64, String)> {
    match &axis.ticks {
        Some(ticks) => ticks.clone(),
        None if axis.logarithmic => ticks::powers(from, to),
        None => ticks::round(from, to, at_least),
    }
}

/// A panel in its place.
struct Frame<'a> {
    panel: &'a Panel,
    x: (f64, f64),
    y: (f64, f64),
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl<'a> Frame<'a> {
    fn new(panel: &'a Panel, (left, top): (f64, f64), (width, height): (f64, f64)) -> Self {
        let (x, y) = ranges(panel);
        // The cells of a heat map are squares.
        let side = if panel.heat.is_some() { width.min(height) } else { f64::INFINITY };
        Self { panel, x, y, left, top, right: left + width.min(side), bottom: top + height.min(side) }
    }

    fn across(&self, x: f64) -> f64 {
        self.left + (self.right - self.left) * way(&self.panel.x, self.x, x)
    }

    fn up(&self, y: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * way(&self.panel.y, self.y, y)
    }

    fn draw(&self, picture: &mut Picture) {
        self.axes(picture);
        for (row, values) in self.panel.heat.iter().flat_map(|heat| heat.values.iter().enumerate()) {
            let heat = self.panel.heat.as_ref();
            values.iter().enumerate().for_each(|(column, &value)| self.cell(picture, heat, (column as f64, row as f64), value));
        }
        for level in &self.panel.levels {
            picture.dashes(&[(self.left, self.up(level.at)), (self.right, self.up(level.at))], QUIET, 2.0);
        }
        self.panel.series.iter().rev().for_each(|series| self.series(picture, series));
        match &self.panel.legend {
            Legend::None => {}
            Legend::Names(title) => self.names(picture, title),
            Legend::Ends => self.ends(picture),
            Legend::Scale { title, range, colour } => self.scale(picture, title, *range, *colour),
        }
    }

    fn axes(&self, picture: &mut Picture) {
        let Self { panel, left, top, right, bottom, .. } = *self;
        let mut line = top - above(panel) + 4.0;
        for title in panel.title.lines() {
            picture.text(title, (left, line), PANEL_TITLE, INK, (HPos::Left, VPos::Top));
            line += 1.3 * PANEL_TITLE.size;
        }
        picture.text(&panel.y.label, (left, top - 16.0), WORDS, QUIET, (HPos::Left, VPos::Bottom));
        picture.text(&panel.x.label, (right, bottom + 54.0), WORDS, QUIET, (HPos::Right, VPos::Top));
        let heat = panel.heat.is_some();
        for (place, text) in y_ticks(panel, self.y) {
            let y = self.up(place);
            if !heat {
                picture.line([(left, y), (right, y)], FAINT, 1.5);
            }
            picture.text(&text, (left - 14.0, y), WORDS, QUIET, (HPos::Right, VPos::Center));
        }
        let room = (right - left) / 110.0;
        for (place, text) in ticks_of(&panel.x, self.x, room.clamp(2.0, 4.0)) {
            let x = self.across(place);
            if !heat {
                picture.line([(x, bottom), (x, bottom + 9.0)], QUIET, 1.5);
            }
            picture.text(&text, (x, bottom + 18.0), WORDS, QUIET, (HPos::Center, VPos::Top));
        }
        if !heat {
            picture.line([(left, bottom), (right, bottom)], QUIET, 1.5);
        }
    }

    fn series(&self, picture: &mut Picture, series: &Series) {
        let within = |&(x, y): &(f64, f64)| {
            let shown = x.is_finite() && y.is_finite() && x >= self.x.0 && x <= self.x.1;
            shown && !(self.panel.x.logarithmic && x <= 0.0) && !(self.panel.y.logarithmic && y <= 0.0)
        };
        // What leaves the panel above or below runs along its edge.
        let place = |&(x, y): &(f64, f64)| (self.across(x), self.up(y).clamp(self.top, self.bottom));
        let points: Vec<_> = series.points.iter().filter(|point| within(point)).map(place).collect();
        sample(picture, &points, series.look, series.colour);
    }

    fn cell(&self, picture: &mut Picture, heat: Option<&Heat>, (column, row): (f64, f64), value: f64) {
        let Some(heat) = heat else { return };
        let (left, right) = (self.across(column - 0.5), self.across(column + 0.5));
        let (top, bottom) = (self.up(row - 0.5), self.up(row + 0.5));
        let colour = if value.is_finite() { (heat.colour)((value - heat.range.0) / (heat.range.1 - heat.range.0)) } else { FAINT };
        picture.area([(left, top), (right, top), (right, bottom), (left, bottom)], colour);
    }

    fn names(&self, picture: &mut Picture, title: &str) {
        let left = self.right + GAP;
        let mut line = self.top + 0.5 * LINE_HEIGHT;
        for part in title.lines() {
            picture.text(part, (left, line), WORDS, QUIET, (HPos::Left, VPos::Center));
            line += LINE_HEIGHT;
        }
        line += if title.is_empty() { 0.0 } else { 0.2 * LINE_HEIGHT };
        let mut write = |name: &str, colour, draw: &mut dyn FnMut(&mut Picture, f64)| {
            draw(picture, line);
            for part in name.lines() {
                picture.text(part, (left + SAMPLE + 12.0, line), WORDS, colour, (HPos::Left, VPos::Center));
                line += LINE_HEIGHT;
            }
            line += 6.0;
        };
        for level in &self.panel.levels {
            write(&level.name, INK, &mut |picture, line| picture.dashes(&[(left, line), (left + SAMPLE, line)], QUIET, 2.0));
        }
        for series in named(self.panel) {
            let place = |line| match series.look {
                Look::Dots(..) => vec![(left + SAMPLE / 2.0, line)],
                _ => vec![(left, line), (left + SAMPLE, line)],
            };
            write(&series.name, INK, &mut |picture, line| sample(picture, &place(line), series.look, series.colour));
        }
    }

    fn ends(&self, picture: &mut Picture) {
        let mut ends = ends(self.panel);
        ends.sort_by(|a, b| b.value.total_cmp(&a.value));
        let wanted: Vec<f64> = ends.iter().map(|end| self.up(end.value).clamp(self.top, self.bottom)).collect();
        for ((end, &from), height) in ends.iter().zip(&wanted).zip(apart(&wanted, (self.top, self.bottom))) {
            picture.line([(self.right + 8.0, from), (self.right + 34.0, height)], end.colour, 1.5);
            picture.text(&end.text, (self.right + 42.0, height), WORDS, end.colour, (HPos::Left, VPos::Center));
        }
    }

    fn scale(&self, picture: &mut Picture, title: &str, range: (f64, f64), colour: fn(f64) -> Colour) {
        let (left, right) = (self.right + GAP, self.right + GAP + SAMPLE * 0.7);
        let mut top = self.top;
        for part in title.lines() {
            picture.text(part, (left, top), WORDS, QUIET, (HPos::Left, VPos::Top));
            top += LINE_HEIGHT;
        }
        top += 10.0;
        let steps = 120;
        let height = |step: usize| self.bottom - (self.bottom - top) * step as f64 / steps as f64;
        for step in 0..steps {
            let (below, above) = (height(step), height(step + 1));
            let colour = colour((step as f64 + 0.5) / steps as f64);
            picture.area([(left, below), (right, below), (right, above), (left, above)], colour);
        }
        for (place, text) in ticks::round(range.0, range.1, 3.0) {
            let y = self.bottom - (self.bottom - top) * (place - range.0) / (range.1 - range.0);
            picture.line([(right, y), (right + 8.0, y)], QUIET, 1.5);
            picture.text(&text, (right + 14.0, y), WORDS, QUIET, (HPos::Left, VPos::Center));
        }
    }
}

/// Where a value lies between the ends of an axis, from 0 to 1.
fn way(axis: &Axis, (from, to): (f64, f64), value: f64) -> f64 {
    match axis.logarithmic {
        true => (value / from).ln() / (to / from).ln(),
        false => (value - from) / (to - from),
    }
}

/// Draws a series, or its sample in a legend.
fn sample(picture: &mut Picture, points: &[(f64, f64)], look: Look, colour: Colour) {
    match look {
        Look::Line(thickness) if points.len() == 1 => dot(picture, points[0], Shape::Disc, 2.0 * thickness, colour, colour),
        Look::Line(thickness) => picture.line(points.iter().copied(), colour, thickness),
        Look::Dashes(thickness) => picture.dashes(points, colour, thickness),
        Look::Dots(shape, size) => points.iter().for_each(|&point| dot(picture, point, shape, size, colour, faded(INK, 0.9))),
    }
}

fn dot(picture: &mut Picture, (x, y): (f64, f64), shape: Shape, size: f64, colour: Colour, edge: Colour) {
    let (corners, begin, radius) = match shape {
        Shape::Disc => (36, 0.0, size / 2.0),
        Shape::Triangle => (3, -0.25, size * 0.62),
        Shape::Square => (4, 0.125, size * 0.62),
    };
    let corner = |number: usize| {
        let angle = std::f64::consts::TAU * (begin + number as f64 / corners as f64);
        (x + radius * angle.cos(), y + radius * angle.sin())
    };
    picture.area((0..corners).map(corner), colour);
    picture.line((0..=corners).map(corner), edge, 1.5);
}

/// The heights of names from above to below: as wanted where there is room, else pushed apart, evenly to both sides.
fn apart(wanted: &[f64], (top, bottom): (f64, f64)) -> Vec<f64> {
    let distance = LINE_HEIGHT.min((bottom - top) / wanted.len() as f64);
    // Groups of neighbours that touch: where the first is, and how many there are.
    let mut groups: Vec<(f64, usize)> = Vec::new();
    for &height in wanted {
        let mut group = (height.clamp(top, bottom), 1);
        while let Some(&(above, count)) = groups.last().filter(|&&(above, count)| above + count as f64 * distance > group.0) {
            groups.pop();
            let (first, second) = (count as f64, group.1 as f64);
            let start = (first * above + second * (group.0 - first * distance)) / (first + second);
            group = (start.clamp(top, bottom - (first + second - 1.0) * distance), count + group.1);
        }
        groups.push(group);
    }
    groups.iter().flat_map(|&(start, count)| (0..count).map(move |number| start + number as f64 * distance)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_lie_on_each_other() {
        assert_eq!(apart(&[100.0, 300.0], (0.0, 900.0)), [100.0, 300.0]);
        assert_eq!(apart(&[500.0, 500.0, 500.0], (0.0, 900.0)), [466.0, 500.0, 534.0]);
        assert_eq!(apart(&[890.0, 900.0], (0.0, 900.0)), [866.0, 900.0]);
        assert_eq!(apart(&[0.0, 0.0], (0.0, 900.0)), [0.0, 34.0]);
    }

    #[test]
    fn axes_begin_at_0_and_end_where_they_are_told() {
        let axis = Axis::of("Loss");
        assert_eq!(range(&axis, [0.2, 2.0, f64::NAN].into_iter().filter(|value| value.is_finite()), 1.0), (0.0, 2.0));
        assert_eq!(range(&axis, [-1.0, 2.0].into_iter(), 1.5), (-1.5, 3.0));
        assert_eq!(range(&axis.clone().between(0.2, 1.05), [7.0].into_iter(), 1.0), (0.2, 1.05));
        assert_eq!(range(&axis, [].into_iter(), 1.0), (0.0, 1.0));
        let logarithmic = Axis { logarithmic: true, ..axis };
        assert_eq!(range(&logarithmic, [0.0, 1e-3, 1.0].into_iter(), 1.0), (1e-3 / 1.2, 1.2));
        assert_eq!([1e-3 / 1.2, 1.2].map(|value| way(&logarithmic, (1e-3 / 1.2, 1.2), value)), [0.0, 1.0]);
    }
}
