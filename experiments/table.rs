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
}

/// The table, with a line's end after the last line; nothing where there are no rows. The runs are named where there are several of them. Metrics'
/// names are broken at their underscores, so that all eight fit beside ordinary names into 120 columns; longer names are never broken.
/// `fancy` draws its lines with more than ASCII, which a terminal shows and a log may not.
pub fn final_metrics(rows: &[Row], fancy: bool) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let several = rows.iter().any(|row| row.run != first.run);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);

    let mut table = Table::new();
    table.load_style(if fancy { UTF8_HORIZONTAL_ONLY } else { ASCII_HORIZONTAL_ONLY }.row_separator(LineStyle::none()));
    let mut header: Vec<Cell> = if several { vec![Cell::new("run")] } else { Vec::new() };
    header.push(Cell::new("evaluator"));
    header.extend(Metrics::NAMES.map(|name| right(name.replace('_', "\n"))));
    table.set_header(header);
    let mut before = "";
    for row in rows {
        let mut cells: Vec<Cell> = if several { vec![Cell::new(if row.run == before { "" } else { &row.run })] } else { Vec::new() };
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
        Row { run: run.into(), evaluator: evaluator.into(), metrics: [loss, 0.996, 0.9881, 0.997, 0.98905, 1.0, 0.5, 0.99901] }
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

    #[test]
    fn nothing() {
        assert_eq!(final_metrics(&[], true), "");
    }
}
