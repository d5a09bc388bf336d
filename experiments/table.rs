//! The final metrics as a table, a row for each evaluator.

use comfy_table::presets::{ASCII_HORIZONTAL_ONLY, UTF8_HORIZONTAL_ONLY};
use comfy_table::{Cell, CellAlignment, LineStyle, Table};
use optogen::metrics::Metrics;

/// What an evaluator saw at last.
pub struct Row {
    /// The run's name.
    pub run: String,
    /// The evaluator's.
    pub evaluator: String,
    /// The mean of each metric, in the order of `Metrics::NAMES`.
    pub metrics: [f64; 8],
    /// How the run ended, where that is not at its end, and after how many sequences the evaluator saw this.
    pub early: Option<(&'static str, u64)>,
}

/// The table, with a line's end after the last line; nothing where there are no rows. The runs are named where there are several of them. Those that did
/// not come to their end stand behind the others, with a column that says so: what was measured last of them is of an earlier moment. Metrics'
/// names are broken at their underscores, so that all eight fit beside ordinary names into 120 columns; longer names are never broken.
/// `fancy` draws its lines with more than ASCII, which a terminal shows and a log may not.
pub fn final_metrics(rows: &[Row], fancy: bool) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let several = rows.iter().any(|row| row.run != first.run);
    let any_early = rows.iter().any(|row| row.early.is_some());
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);

    let mut table = Table::new();
    table.load_style(if fancy { UTF8_HORIZONTAL_ONLY } else { ASCII_HORIZONTAL_ONLY }.row_separator(LineStyle::none()));
    let mut header: Vec<Cell> = if several { vec![Cell::new("run")] } else { Vec::new() };
    if any_early {
        header.push(Cell::new("ended"));
    }
    header.push(Cell::new("evaluator"));
    header.extend(Metrics::NAMES.map(|name| right(name.replace('_', "\n"))));
    table.set_header(header);
    let mut before = "";
    let (whole, early): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.early.is_none());
    for row in whole.into_iter().chain(early) {
        let is_first = row.run != before;
        let mut cells: Vec<Cell> = if several { vec![Cell::new(if is_first { &row.run } else { "" })] } else { Vec::new() };
        if any_early {
            cells.push(Cell::new(match row.early {
                _ if !is_first => String::new(),
                Some((how, sequences)) => format!("{how}; at {sequences}"),
                None => "finished".into(),
            }));
        }
        cells.push(Cell::new(&row.evaluator));
        cells.extend(row.metrics.map(|metric| right(format!("{metric:.4}"))));
        table.add_row(cells);
        before = &row.run;
    }
    table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 1)));
    format!("{}\n", table.trim_fmt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(run: &str, evaluator: &str, loss: f64) -> Row {
        Row { run: run.into(), evaluator: evaluator.into(), metrics: [loss, 0.996, 0.9881, 0.997, 0.98905, 1.0, 0.5, 0.99901], early: None }
    }

    #[test]
    fn one_run() {
        let rows = [row("induction-base", "fsl_train", 0.012345), row("induction-base", "fsl_train_valex", 0.68)];
        let expected = "\
-------------------------------------------------------------------------------------
evaluator          loss     acc    prob       in       in      out      out      use
                                         context  context  context  context  context
                                             acc     prob      acc     prob     prob
=====================================================================================
fsl_train        0.0123  0.9960  0.9881   0.9970   0.9890   1.0000   0.5000   0.9990
fsl_train_valex  0.6800  0.9960  0.9881   0.9970   0.9890   1.0000   0.5000   0.9990
-------------------------------------------------------------------------------------
";
        assert_eq!(final_metrics(&rows, false), expected);
        assert_eq!(final_metrics(&rows, true), expected.replace('-', "─").replace('=', "═"));
    }

    #[test]
    fn several_runs() {
        let mut rows = Vec::new();
        for init in [5, 6] {
            let run = format!("induction-base-0123456{init}");
            rows.extend([row(&run, "fsl_train", 0.0123), row(&run, "fsl_train_valex", f64::NAN)]);
        }
        let expected = "\
--------------------------------------------------------------------------------------------------------------
run                      evaluator          loss     acc    prob       in       in      out      out      use
                                                                  context  context  context  context  context
                                                                      acc     prob      acc     prob     prob
==============================================================================================================
induction-base-01234565  fsl_train        0.0123  0.9960  0.9881   0.9970   0.9890   1.0000   0.5000   0.9990
                         fsl_train_valex     NaN  0.9960  0.9881   0.9970   0.9890   1.0000   0.5000   0.9990
induction-base-01234566  fsl_train        0.0123  0.9960  0.9881   0.9970   0.9890   1.0000   0.5000   0.9990
                         fsl_train_valex     NaN  0.9960  0.9881   0.9970   0.9890   1.0000   0.5000   0.9990
--------------------------------------------------------------------------------------------------------------
";
        assert_eq!(final_metrics(&rows, false), expected);
    }

    /// A run that diverged after its first evaluation is not taken for one that learned nothing.
    #[test]
    fn runs_that_did_not_come_to_their_end_are_marked_and_stand_behind() {
        let early = |how, run: &str, evaluator: &str, loss| Row { early: Some((how, 640)), ..row(run, evaluator, loss) };
        let rows = [early("diverged", "a", "fsl_train", 1.9), early("diverged", "a", "other", 1.8), row("b", "fsl_train", 0.1)];
        let expected = "\
------------------------------------------------------------------------------------------------------
run  ended             evaluator    loss     acc    prob       in       in      out      out      use
                                                          context  context  context  context  context
                                                              acc     prob      acc     prob     prob
======================================================================================================
b    finished          fsl_train  0.1000  0.9960  0.9881   0.9970   0.9890   1.0000   0.5000   0.9990
a    diverged; at 640  fsl_train  1.9000  0.9960  0.9881   0.9970   0.9890   1.0000   0.5000   0.9990
                       other      1.8000  0.9960  0.9881   0.9970   0.9890   1.0000   0.5000   0.9990
------------------------------------------------------------------------------------------------------
";
        assert_eq!(final_metrics(&rows, false), expected);
        let alone = final_metrics(&[early("interrupted", "a", "fsl_train", 1.9)], false);
        assert!(alone.contains("interrupted; at 640  fsl_train"), "{alone}");
    }

    #[test]
    fn nothing() {
        assert_eq!(final_metrics(&[], true), "");
    }
}
