//! A picture of how losses fall: every curve against the sequences seen, named where it ends, with a dashed line at ln 2, the loss of a model that
//! knows two labels to choose from and not which.

use optogen::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use std::f64::consts::LN_2;
use std::fs::{File, Permissions};
use std::io::Error as IoError;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// One line of the picture.
pub struct Curve {
    /// Stands at its end.
    pub name: String,
    /// Sequences seen and loss in nats, in order. What is not a number is left out.
    pub points: Vec<(f64, f64)>,
}

/// Width and height in pixels.
const SIZE: (u32, u32) = (1600, 1000);
/// Everything is drawn this much larger: the PNG is then averaged, which smooths its lines, and the SVG scaled, which spares it rounding.
const FINER: u32 = 3;
/// Pixels around the curves: left, right (and what the names need), top, bottom.
const MARGIN: (i32, i32, i32, i32) = (110, 80, 150, 105);
/// Least distance of names, in pixels.
const LINE_HEIGHT: f64 = 34.0;

/// How the typeface is called: in an SVG, the first of these that the reader has.
const TYPEFACE: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";
const TITLE: f64 = 36.0;
const WORDS: f64 = 26.0;

const INK: RGBColor = RGBColor(34, 34, 34);
const QUIET: RGBColor = RGBColor(110, 110, 110);
const FAINT: RGBColor = RGBColor(230, 230, 230);
/// Colours that everybody can tell apart (Okabe & Ito 2008), yellow left out: it is too light for a line.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Draws `losses.png` and `losses.svg` in a folder; each is there as a whole or not at all.
///
/// # Errors
/// A file cannot be written.
pub fn losses(folder: &Path, title: &str, curves: &[Curve]) -> Result<()> {
    for (style, typeface) in [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())] {
        register_font(TYPEFACE, style, typeface).map_err(|_| Error::Invalid("the typeface in this program is damaged".into()))?;
    }
    let (width, height) = (SIZE.0 * FINER, SIZE.1 * FINER);
    write(&folder.join("losses.svg"), |path| {
        let mut text = String::new();
        let backend = SVGBackend::with_string(&mut text, (width, height));
        draw(Canvas { area: backend.into_drawing_area(), text_above: 0.08 }, title, curves)?;
        let shown =
            text.replacen(&format!(r#"width="{width}" height="{height}""#), &format!(r#"width="{}" height="{}""#, SIZE.0, SIZE.1), 1);
        std::fs::write(path, shown)
    })?;
    write(&folder.join("losses.png"), |path| {
        let mut fine = vec![0; (3 * width * height) as usize];
        let backend = BitMapBackend::with_buffer(&mut fine, (width, height));
        draw(Canvas { area: backend.into_drawing_area(), text_above: 0.2 }, title, curves)?;
        let area = BitMapBackend::new(path, SIZE).into_drawing_area();
        area.draw(&BitMapElement::with_owned_buffer((0, 0), SIZE, averaged(&fine)).ok_or(IoError::other("no picture"))?)
            .map_err(IoError::other)?;
        area.present().map_err(IoError::other)
    })
}

/// Has a file written under a temporary name and then gives it its own. The ending is kept: it says which format is meant.
fn write(path: &Path, fill: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let ending = format!(".{}", path.extension().unwrap_or_default().display());
    let written = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".writing-").suffix(&ending).permissions(Permissions::from_mode(0o644));
        let temporary = builder.tempfile_in(path.parent().unwrap_or(Path::new(".")))?.into_temp_path();
        fill(&temporary)?;
        File::open(&temporary)?.sync_all()?;
        temporary.persist(path).map_err(|refused| refused.error)
    };
    written().map_err(Error::file(path))
}

/// The mean of every FINER × FINER pixels, row by row, red, green, blue.
fn averaged(fine: &[u8]) -> Vec<u8> {
    let (width, height, finer) = (SIZE.0 as usize, SIZE.1 as usize, FINER as usize);
    let mut pixels = Vec::with_capacity(3 * width * height);
    for row in 0..height {
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
    pixels
}

/// A drawing area measured in the picture's own pixels.
struct Canvas<B: DrawingBackend> {
    area: DrawingArea<B, Shift>,
    /// By how much of its size the format draws text above where it is asked to.
    text_above: f64,
}

impl<B: DrawingBackend> Canvas<B> {
    fn line(&self, points: impl IntoIterator<Item = (f64, f64)>, colour: RGBColor, thickness: f64) -> std::io::Result<()> {
        let points: Vec<_> = points.into_iter().map(finer).collect();
        let style = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: (thickness * f64::from(FINER)) as u32 };
        self.area.draw(&PathElement::new(points, style)).map_err(|error| IoError::other(error.to_string()))
    }

    fn text(&self, text: &str, at: (f64, f64), size: f64, colour: RGBColor, anchor: (HPos, VPos)) -> std::io::Result<()> {
        let sunk = if matches!(anchor.1, VPos::Center) { self.text_above * size } else { 0.0 };
        let style = font(size).color(&colour).pos(Pos::new(anchor.0, anchor.1));
        self.area.draw(&Text::new(text.to_owned(), finer((at.0, at.1 + sunk)), style)).map_err(|error| IoError::other(error.to_string()))
    }

    fn width(&self, text: &str) -> std::io::Result<f64> {
        let size = self.area.estimate_text_size(text, &font(WORDS).into_text_style(&self.area));
        Ok(f64::from(size.map_err(|error| IoError::other(error.to_string()))?.0) / f64::from(FINER))
    }
}

fn font(size: f64) -> FontDesc<'static> {
    let style = if size == TITLE { FontStyle::Bold } else { FontStyle::Normal };
    FontDesc::new(FontFamily::Name(TYPEFACE), size * f64::from(FINER), style)
}

fn finer((x, y): (f64, f64)) -> (i32, i32) {
    ((x * f64::from(FINER)).round() as i32, (y * f64::from(FINER)).round() as i32)
}

fn draw<B: DrawingBackend>(canvas: Canvas<B>, title: &str, curves: &[Curve]) -> std::io::Result<()> {
    canvas.area.fill(&WHITE).map_err(|error| IoError::other(error.to_string()))?;
    let curves: Vec<(&str, Vec<(f64, f64)>)> = curves
        .iter()
        .map(|curve| (curve.name.as_str(), curve.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()))
        .filter(|(_, points): &(_, Vec<_>)| !points.is_empty())
        .collect();

    // What stands at the right: ln 2, and every curve's last loss and name.
    let mut names = vec![Name { text: name(LN_2, "ln 2"), loss: LN_2, colour: QUIET }];
    for (number, (text, points)) in curves.iter().enumerate() {
        let loss = points[points.len() - 1].1;
        names.push(Name { text: name(loss, text), loss, colour: COLOURS[number % COLOURS.len()] });
    }
    let mut widest = 0.0_f64;
    for name in &names {
        widest = widest.max(canvas.width(&name.text)?);
    }

    let all = || curves.iter().flat_map(|(_, points)| points);
    let most = all().map(|point| point.0).fold(0.0, f64::max);
    let (most, highest) = (if most > 0.0 { most } else { 1.0 }, all().map(|point| point.1).fold(1.1 * LN_2, f64::max));
    let (left, top) = (f64::from(MARGIN.0), f64::from(MARGIN.2));
    let right = (f64::from(SIZE.0) - f64::from(MARGIN.1) - widest).max(f64::from(SIZE.0) / 2.0);
    let bottom = f64::from(SIZE.1) - f64::from(MARGIN.3);
    let x = |sequences: f64| left + (right - left) * sequences / most;
    let y = |loss: f64| bottom - (bottom - top) * loss / (1.03 * highest);

    canvas.text(title, (left, 40.0), TITLE, INK, (HPos::Left, VPos::Top))?;
    canvas.text("loss, nats", (left, 94.0), WORDS, QUIET, (HPos::Left, VPos::Top))?;
    canvas.text("sequences seen", (right, bottom + 56.0), WORDS, QUIET, (HPos::Right, VPos::Top))?;
    let step = step(highest, 3.0);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    for loss in (0..).map(|number| f64::from(number) * step).take_while(|&loss| y(loss) >= top) {
        canvas.line([(left, y(loss)), (right, y(loss))], if loss == 0.0 { QUIET } else { FAINT }, 1.5)?;
        canvas.text(&format!("{loss:.decimals$}"), (left - 16.0, y(loss)), WORDS, QUIET, (HPos::Right, VPos::Center))?;
    }
    let step = self::step(most, 4.0);
    for sequences in (0..).map(|number| f64::from(number) * step).take_while(|&sequences| sequences <= most) {
        canvas.line([(x(sequences), bottom), (x(sequences), bottom + 9.0)], QUIET, 1.5)?;
        canvas.text(&count(sequences), (x(sequences), bottom + 18.0), WORDS, QUIET, (HPos::Center, VPos::Top))?;
    }

    let (dash, gap) = (12.0, 9.0);
    for from in (0..).map(|number| left + f64::from(number) * (dash + gap)).take_while(|&from| from < right) {
        canvas.line([(from, y(LN_2)), ((from + dash).min(right), y(LN_2))], QUIET, 2.0)?;
    }
    // The first is the one that is looked for first, so it lies on top.
    for (number, (_, points)) in curves.iter().enumerate().rev() {
        canvas.line(points.iter().map(|&(sequences, loss)| (x(sequences), y(loss))), COLOURS[number % COLOURS.len()], 4.0)?;
    }

    names.sort_by(|a, b| b.loss.total_cmp(&a.loss));
    let wanted: Vec<f64> = names.iter().map(|name| y(name.loss)).collect();
    for ((name, &end), height) in names.iter().zip(&wanted).zip(apart(&wanted, (top, bottom))) {
        canvas.line([(right + 8.0, end), (right + 34.0, height)], name.colour, 1.5)?;
        canvas.text(&name.text, (right + 42.0, height), WORDS, name.colour, (HPos::Left, VPos::Center))?;
    }
    canvas.area.present().map_err(|error| IoError::other(error.to_string()))
}

/// What stands at the end of a line.
struct Name {
    text: String,
    loss: f64,
    colour: RGBColor,
}

fn name(loss: f64, name: &str) -> String {
    format!("{loss:.3}  {name}")
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

/// The largest of 1, 2 and 5 times a power of ten of which at least so many fit below `to`.
fn step(to: f64, at_least: f64) -> f64 {
    let power = 10_f64.powf((to / at_least).log10().floor());
    [5.0, 2.0].into_iter().map(|times| times * power).find(|&step| to / step >= at_least).unwrap_or(power)
}

/// 200000 as 200k.
fn count(sequences: f64) -> String {
    match sequences {
        1e6.. => format!("{}M", sequences / 1e6),
        1e3.. => format!("{}k", sequences / 1e3),
        _ => format!("{sequences}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falling(name: &str, at: f64) -> Curve {
        let loss = |sequences: f64| 0.02 + (1.0 + (-sequences / 2e4).exp()) * LN_2 / (1.0 + ((sequences - at) / 3e4).exp());
        Curve { name: name.into(), points: (0..=120).map(|number| 5e3 * f64::from(number)).map(|x| (x, loss(x))).collect() }
    }

    #[test]
    fn both_files_are_drawn_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut curves = vec![falling("fsl_train", 2.4e5), falling("fsl_<held out>", 2.6e5)];
        curves[1].points.push((6.05e5, f64::NAN));
        losses(folder.path(), "induction-base", &curves).unwrap();
        let png = std::fs::read(folder.path().join("losses.png")).unwrap();
        assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");
        assert_eq!(png[16..24], [0, 0, 6, 64, 0, 0, 3, 232], "1600 by 1000");
        let svg = std::fs::read_to_string(folder.path().join("losses.svg")).unwrap();
        assert!(svg.starts_with(r#"<svg width="1600" height="1000" viewBox="0 0 4800 3000""#), "{}", &svg[..100]);
        for text in
            ["induction-base", "0.020  fsl_train", "0.020  fsl_&lt;held out&gt;", "0.693  ln 2", "sequences seen", "loss, nats", "200k"]
        {
            assert!(svg.contains(&format!("\n{text}\n")), "{text}");
        }
        let mut files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["losses.png", "losses.svg"]);
    }

    #[test]
    fn a_pixel_is_the_mean_of_nine() {
        let mut fine = vec![255; (3 * SIZE.0 * FINER * SIZE.1 * FINER) as usize];
        let row = (3 * SIZE.0 * FINER) as usize;
        // Green of the last three pixels of the last row.
        let last = fine.len() - 9;
        [1, 4, 7].into_iter().for_each(|green| fine[last + green] = 0);
        let pixels = averaged(&fine);
        assert_eq!(pixels.len(), (3 * SIZE.0 * SIZE.1) as usize);
        assert_eq!(pixels[pixels.len() - 6..], [255, 255, 255, 255, 170, 255]);
        fine[row - 1] = 0;
        assert_eq!(averaged(&fine)[3 * SIZE.0 as usize - 1], (8 * 255 / 9) as u8, "blue at the end of the first row");
    }

    #[test]
    fn no_curve_and_a_single_point_are_drawn_too() {
        let folder = tempfile::tempdir().unwrap();
        losses(folder.path(), "nothing", &[]).unwrap();
        losses(folder.path(), "one", &[Curve { name: "start".into(), points: vec![(0.0, 1.6)] }]).unwrap();
        assert!(std::fs::read_to_string(folder.path().join("losses.svg")).unwrap().contains("1.600  start"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let message = losses(Path::new("/nowhere/at/all"), "title", &[]).unwrap_err().to_string();
        assert!(message.starts_with("/nowhere/at/all/losses.svg: No such file or directory"), "{message}");
    }

    #[test]
    fn names_do_not_lie_on_each_other() {
        assert_eq!(apart(&[100.0, 300.0], (0.0, 900.0)), [100.0, 300.0]);
        assert_eq!(apart(&[500.0, 500.0, 500.0], (0.0, 900.0)), [466.0, 500.0, 534.0]);
        assert_eq!(apart(&[890.0, 900.0], (0.0, 900.0)), [866.0, 900.0]);
        assert_eq!(apart(&[0.0, 0.0], (0.0, 900.0)), [0.0, 34.0]);
    }

    #[test]
    fn axes_are_counted_in_round_numbers() {
        assert_eq!([600e3, 1e6, 3e4, 100.0].map(|to| step(to, 4.0)), [1e5, 2e5, 5e3, 20.0]);
        assert_eq!([0.0, 500.0, 1500.0, 2e5, 1.2e6].map(count), ["0", "500", "1.5k", "200k", "1.2M"]);
    }
}
