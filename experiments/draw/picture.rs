//! A picture as a list of marks, and its files: an SVG with real text, and a PNG that is drawn larger and averaged.

use super::band::Band;
use super::colours::Colour;
use optogen::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::Pos;
pub use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{FontStyle, register_font};
use std::fs::{File, Permissions};
use std::io::Error as IoError;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Everything is drawn this much larger: the PNG is then averaged, which smooths its lines, and the SVG scaled, which spares it rounding.
const FINER: u32 = 3;

/// Rows of the PNG that are drawn at once.
const BAND: u32 = 64;

/// How the typeface is called: in an SVG, the first of these that the reader has.
const TYPEFACE: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";

/// What lies in a picture, in pixels from its upper left corner; later marks lie on top.
pub struct Picture {
    size: (u32, u32),
    marks: Vec<Mark>,
}

enum Mark {
    Line { points: Vec<(f64, f64)>, colour: Colour, thickness: f64 },
    Area { points: Vec<(f64, f64)>, colour: Colour },
    Text { text: String, at: (f64, f64), font: Font, colour: Colour, anchor: (HPos, VPos) },
}

impl Mark {
    /// Whether some of it may lie in these rows.
    fn reaches(&self, rows: &Range<u32>) -> bool {
        let (top, bottom) = match self {
            Mark::Line { points, thickness, .. } => extent(points, *thickness),
            Mark::Area { points, .. } => extent(points, 0.0),
            Mark::Text { at, font, .. } => extent(&[*at], 2.0 * font.size),
        };
        bottom >= f64::from(rows.start) && top <= f64::from(rows.end)
    }
}

/// Top and bottom of points with so much around them.
fn extent(points: &[(f64, f64)], around: f64) -> (f64, f64) {
    let around = around + 1.0;
    points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(top, bottom), &(_, y)| (top.min(y - around), bottom.max(y + around)))
}

/// How large a text is, and whether it is bold.
#[derive(Clone, Copy)]
pub struct Font {
    /// Height in pixels.
    pub size: f64,
    /// Whether it is bold.
    pub bold: bool,
}

impl Font {
    fn style(self) -> FontDesc<'static> {
        let style = if self.bold { FontStyle::Bold } else { FontStyle::Normal };
        FontDesc::new(FontFamily::Name(TYPEFACE), self.size * f64::from(FINER), style)
    }

    /// The width of a text in pixels.
    pub fn width(self, text: &str) -> f64 {
        register();
        self.style().box_size(text).map_or(0.0, |(width, _)| f64::from(width) / f64::from(FINER))
    }
}

/// Makes the typeface in this program known; that it is whole is tested.
fn register() {
    for (style, typeface) in [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())] {
        let _ = register_font(TYPEFACE, style, typeface);
    }
}

impl Picture {
    /// An empty picture of so many pixels.
    pub fn new(size: (u32, u32)) -> Self {
        Self { size, marks: Vec::new() }
    }

    /// A line through points.
    pub fn line(&mut self, points: impl IntoIterator<Item = (f64, f64)>, colour: Colour, thickness: f64) {
        self.marks.push(Mark::Line { points: points.into_iter().collect(), colour, thickness });
    }

    /// A dashed line through points.
    pub fn dashes(&mut self, points: &[(f64, f64)], colour: Colour, thickness: f64) {
        for dash in dashed(points, 12.0, 9.0) {
            self.line(dash, colour, thickness);
        }
    }

    /// A filled area.
    pub fn area(&mut self, points: impl IntoIterator<Item = (f64, f64)>, colour: Colour) {
        self.marks.push(Mark::Area { points: points.into_iter().collect(), colour });
    }

    /// A text; `anchor` says which point of it is at `at`.
    pub fn text(&mut self, text: &str, at: (f64, f64), font: Font, colour: Colour, anchor: (HPos, VPos)) {
        self.marks.push(Mark::Text { text: text.to_owned(), at, font, colour, anchor });
    }

    /// Writes `NAME.svg` and `NAME.png` in a folder; each is there as a whole or not at all.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, folder: &Path, name: &str) -> Result<()> {
        register();
        let (width, height) = (self.size.0 * FINER, self.size.1 * FINER);
        write(&folder.join(format!("{name}.svg")), |path| {
            let mut text = String::new();
            let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
            area.fill(&WHITE).map_err(IoError::other)?;
            self.draw(&self.marks.iter().collect::<Vec<_>>(), &area, 0.08)?;
            drop(area);
            let (drawn, shown) = (size_of((width, height)), size_of(self.size));
            std::fs::write(path, text.replacen(&drawn, &shown, 1))
        })?;
        write(&folder.join(format!("{name}.png")), |path| {
            let pixels = self.pixels(BAND)?;
            let area = BitMapBackend::new(path, self.size).into_drawing_area();
            area.draw(&BitMapElement::with_owned_buffer((0, 0), self.size, pixels).ok_or(IoError::other("no picture"))?)
                .map_err(IoError::other)?;
            area.present().map_err(IoError::other)
        })
    }

    /// Red, green, blue, row by row; so many rows are drawn at once.
    fn pixels(&self, band: u32) -> std::io::Result<Vec<u8>> {
        let (width, height) = (self.size.0 * FINER, self.size.1 * FINER);
        let mut pixels = Vec::with_capacity((3 * self.size.0 * self.size.1) as usize);
        let mut fine = vec![0; (3 * width * band * FINER) as usize];
        for first in (0..self.size.1).step_by(band as usize) {
            let rows = first..(first + band).min(self.size.1);
            let fine = &mut fine[..3 * (width * rows.len() as u32 * FINER) as usize];
            let seen: Vec<&Mark> = self.marks.iter().filter(|mark| mark.reaches(&rows)).collect();
            let area = Band::new((width, height), rows.start * FINER..rows.end * FINER, fine).into_drawing_area();
            self.draw(&seen, &area, 0.2)?;
            drop(area);
            averaged(fine, self.size.0, &mut pixels);
        }
        Ok(pixels)
    }

    /// `text_above`: by how much of its size the format draws text above where it is asked to.
    fn draw<B: DrawingBackend>(&self, marks: &[&Mark], area: &DrawingArea<B, Shift>, text_above: f64) -> std::io::Result<()> {
        let finer_all = |points: &[(f64, f64)]| points.iter().copied().map(finer).collect::<Vec<_>>();
        let drawn = || {
            for mark in marks {
                match mark {
                    Mark::Line { points, colour, thickness } => {
                        let stroke_width = (thickness * f64::from(FINER)) as u32;
                        let style = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width };
                        area.draw(&PathElement::new(finer_all(points), style))?;
                    }
                    Mark::Area { points, colour } => area.draw(&Polygon::new(finer_all(points), colour.filled()))?,
                    Mark::Text { text, at, font, colour, anchor } => {
                        let sunk = if matches!(anchor.1, VPos::Center) { text_above * font.size } else { 0.0 };
                        let style = font.style().color(colour).pos(Pos::new(anchor.0, anchor.1));
                        area.draw(&Text::new(text.clone(), finer((at.0, at.1 + sunk)), style))?;
                    }
                }
            }
            area.present()
        };
        drawn().map_err(|error| IoError::other(error.to_string()))
    }
}

fn size_of((width, height): (u32, u32)) -> String {
    format!(r#"width="{width}" height="{height}""#)
}

fn finer((x, y): (f64, f64)) -> (i32, i32) {
    ((x * f64::from(FINER)).round() as i32, (y * f64::from(FINER)).round() as i32)
}

/// The dashes along a line.
fn dashed(points: &[(f64, f64)], dash: f64, gap: f64) -> Vec<Vec<(f64, f64)>> {
    let (mut dashes, mut current, mut left, mut drawing) = (Vec::new(), Vec::new(), dash, true);
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let mut gone = 0.0;
        if drawing {
            current.push(from);
        }
        while length - gone > left {
            gone += left;
            let here = (from.0 + (to.0 - from.0) * gone / length, from.1 + (to.1 - from.1) * gone / length);
            current.push(here);
            if drawing {
                dashes.push(std::mem::take(&mut current));
            }
            drawing = !drawing;
            left = if drawing { dash } else { gap };
        }
        left -= length - gone;
    }
    if let (true, Some(&last)) = (drawing && !current.is_empty(), points.last()) {
        current.push(last);
        dashes.push(current);
    }
    dashes
}

/// Has a file written under a temporary name and then gives it its own. The ending is kept: it says which format is meant.
fn write(path: &Path, fill: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let ending = format!(".{}", path.extension().unwrap_or_default().display());
    let written = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".writing-").suffix(&ending).permissions(Permissions::from_mode(0o666));
        let temporary = builder.tempfile_in(path.parent().unwrap_or(Path::new(".")))?.into_temp_path();
        fill(&temporary)?;
        File::open(&temporary)?.sync_all()?;
        temporary.persist(path).map_err(|refused| refused.error)
    };
    written().map_err(Error::file(path))
}

/// Appends the mean of every FINER × FINER pixels, row by row, red, green, blue.
fn averaged(fine: &[u8], width: u32, pixels: &mut Vec<u8>) {
    let (width, finer) = (width as usize, FINER as usize);
    for row in 0..fine.len() / (3 * width * finer * finer) {
        for byte in 0..3 * width {
            let (column, colour) = (byte / 3, byte % 3);
            let one = |number: usize| {
                let (down, right) = (number / finer, number % finer);
                u32::from(fine[3 * ((row * finer + down) * width * finer + column * finer + right) + colour])
            };
            let total: u32 = (0..finer * finer).map(one).sum();
            pixels.push((total / FINER.pow(2)) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_typeface_is_whole() {
        for (style, typeface) in [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())] {
            assert!(register_font("tested", style, typeface).is_ok());
        }
        let (normal, bold) = (Font { size: 26.0, bold: false }, Font { size: 26.0, bold: true });
        assert!(normal.width("200k") > 50.0 && normal.width("200k") < bold.width("200k"));
    }

    #[test]
    fn a_pixel_is_the_mean_of_nine() {
        let size = (16, 10);
        let mut fine = vec![255; (3 * size.0 * FINER * size.1 * FINER) as usize];
        let row = (3 * size.0 * FINER) as usize;
        // Green of the last three pixels of the last row.
        let last = fine.len() - 9;
        [1, 4, 7].into_iter().for_each(|green| fine[last + green] = 0);
        let of = |fine: &[u8]| {
            let mut pixels = Vec::new();
            averaged(fine, size.0, &mut pixels);
            pixels
        };
        let pixels = of(&fine);
        assert_eq!(pixels.len(), 480);
        assert_eq!(pixels[pixels.len() - 6..], [255, 255, 255, 255, 170, 255]);
        fine[row - 1] = 0;
        assert_eq!(of(&fine)[3 * 16 - 1], (8 * 255 / 9) as u8, "blue at the end of the first row");
    }

    #[test]
    fn bands_together_are_the_picture() {
        register();
        let mut picture = Picture::new((90, 70));
        picture.line([(5.0, 3.0), (80.0, 66.0)], BLACK, 2.0);
        picture.area([(10.0, 20.0), (40.0, 20.0), (40.0, 50.0)], BLACK);
        let font = Font { size: 26.0, bold: true };
        picture.text("Q", (60.0, 30.0), font, BLACK, (HPos::Center, VPos::Center));
        let whole = picture.pixels(70).unwrap();
        assert!(whole.iter().filter(|&&number| number < 128).count() > 1000);
        for band in [1, 8, 33] {
            assert!(picture.pixels(band).unwrap() == whole, "{band} rows at once");
        }
    }

    #[test]
    fn dashes_go_around_corners() {
        let dashes = dashed(&[(0.0, 0.0), (10.0, 0.0), (10.0, 12.0)], 6.0, 2.0);
        let expected = [vec![(0.0, 0.0), (6.0, 0.0)], vec![(8.0, 0.0), (10.0, 0.0), (10.0, 4.0)], vec![(10.0, 6.0), (10.0, 12.0)]];
        assert_eq!(dashes, expected);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let message = Picture::new((10, 10)).save(Path::new("/nowhere/at/all"), "losses").unwrap_err().to_string();
        assert!(message.starts_with("/nowhere/at/all/losses.svg: No such file or directory"), "{message}");
    }
}
