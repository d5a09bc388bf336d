//! A picture of how losses fall: every curve against the sequences seen, named where it ends, with a dashed line at ln 2, the loss of a model that
//! knows two labels to choose from and not which.

use crate::draw::{Axis, CLEARLY_APART, Figure, Legend, Panel, Series};
use optogen::Result;
use std::f64::consts::LN_2;
use std::path::Path;

/// One line of the picture.
pub struct Curve {
    /// Stands at its end.
    pub name: String,
    /// Sequences seen and loss in nats, in order. What is not a number is left out.
    pub points: Vec<(f64, f64)>,
}

/// Draws `losses.png` and `losses.svg` in a folder; each is there as a whole or not at all.
///
/// # Errors
/// A file cannot be written.
pub fn losses(folder: &Path, title: &str, curves: &[Curve]) -> Result<()> {
    let series =
        |(number, curve): (usize, &Curve)| Series::line(&curve.name, curve.points.clone(), CLEARLY_APART[number % CLEARLY_APART.len()]);
    let panel = Panel::new(Axis::of("sequences seen"), Axis::of("loss, nats"))
        .with(curves.iter().enumerate().map(series).collect())
        .level(LN_2, "ln 2")
        .legend(Legend::Ends);
    Figure { size: (1600, 1000), ..Figure::of(title, panel) }.save(folder, "losses")
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
    fn no_curve_and_a_single_point_are_drawn_too() {
        let folder = tempfile::tempdir().unwrap();
        losses(folder.path(), "nothing", &[]).unwrap();
        losses(folder.path(), "one", &[Curve { name: "start".into(), points: vec![(0.0, 1.6)] }]).unwrap();
        assert!(std::fs::read_to_string(folder.path().join("losses.svg")).unwrap().contains("1.600  start"));
    }
}
