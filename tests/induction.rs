//! An induction head forms: the base experiment's plateau and phase change, where the published code has them.

use arrow::array::{Array, Float64Array, Int64Array, StringArray};
use optogen::log::read_table;
use optogen_tests::program::{BASE, Program, runs};

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));

#[test]
fn the_loss_stays_near_ln_2_and_then_falls() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().to_str().unwrap();
    let table = PROGRAM.succeed(&["run", BASE, "--out", out, "--set", "train.sequences=400000", "--set", "evaluation.every=20000"]);
    assert!(table.contains("fsl_train") && table.contains("losses.png"), "{table}");
    let run = &runs(home.path())[0];
    let mut losses = Vec::new();
    for batch in read_table(&run.join("eval.parquet")).unwrap() {
        let sequences = batch.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
        let evaluators = batch.column(2).as_any().downcast_ref::<StringArray>().unwrap();
        let loss = batch.column(3).as_any().downcast_ref::<Float64Array>().unwrap();
        let own = (0..batch.num_rows()).filter(|&row| evaluators.value(row) == "fsl_train");
        losses.extend(own.map(|row| (sequences.value(row) as f64, loss.value(row))));
    }
    let at = |count: f64| losses.iter().min_by(|a, b| (a.0 - count).abs().total_cmp(&(b.0 - count).abs())).unwrap().1;
    let threshold = 0.4 * std::f64::consts::LN_2;
    let crossed = losses.iter().find(|(_, loss)| *loss < threshold).unwrap().0;
    assert!((2e5..=4e5).contains(&crossed), "crossed .4 ln 2 at {crossed}");
    assert!((0.65..0.80).contains(&at(1e5)), "the plateau's loss is {}", at(1e5));
    assert!(at(4e5) < 0.12, "the final loss is {}", at(4e5));
    let picture = std::fs::read(run.join("losses.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
}
