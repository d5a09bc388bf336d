//! Whether a toy experiment makes sense, before anything is written.

use super::{ToyEvaluationSpec, ToyExperiment, ToyKind};
use crate::experiment::check::{Checked, at_least_one, below_2_63, name, not_negative, positive, require, schedule, utf8};
use crate::experiment::{Described, Fault, fits, logarithmic_fits};
use crate::memory::{Budget, product};
use std::path::PathBuf;

/// Bytes that a dimension of a vector takes: what it is, what it should be, and its slope.
pub const BYTES_A_DIMENSION: usize = 4 + 4 + 8;

impl Described for ToyExperiment {
    const GROWING: &'static [&'static str] = &["intervention"];

    fn first_too_large(&self, budget: &Budget) -> Result<(), Fault> {
        for (letter, dimension) in self.toy.dimensions() {
            let bytes = product(&[dimension, BYTES_A_DIMENSION]);
            fits(budget, bytes, format!("toy.dimensions.{letter}"), || format!("the vectors of {dimension} dimensions"))?;
        }
        logarithmic_fits(budget, "evaluation", self.evaluation.logarithmic, self.toy.steps)?;
        logarithmic_fits(budget, "checkpoint", self.checkpoint.logarithmic, self.toy.steps)
    }

    fn first_fault(&self) -> Result<(), Fault> {
        name(&self.name, "name")?;
        model(self)?;
        vectors(self)?;
        let ToyEvaluationSpec { every, at, logarithmic } = &self.evaluation;
        at_most_one("evaluation", schedule("evaluation", *every, at.as_deref(), *logarithmic)?)?;
        let checkpoint = &self.checkpoint;
        let given = schedule("checkpoint", checkpoint.every, checkpoint.at.as_deref(), checkpoint.logarithmic)?;
        at_most_one("checkpoint", given)?;
        not_negative(checkpoint.recovery_seconds, "checkpoint.recovery_seconds")?;
        interventions(self)
    }

    fn run_id(&self) -> String {
        ToyExperiment::run_id(self)
    }

    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        self.toy.vectors.iter_mut().map(|vectors| ("toy.vectors".to_owned(), vectors)).collect()
    }
}

fn at_most_one(table: &str, given: usize) -> Checked {
    require(given <= 1, table, || format!("needs one of \"every\", \"at\" and \"logarithmic\" at most, and has {given} of them"))
}

fn model(experiment: &ToyExperiment) -> Checked {
    let toy = &experiment.toy;
    at_least_one(toy.steps, "toy.steps")?;
    require(toy.steps <= i64::MAX as u64, "toy.steps", || "more than 2^63 steps".into())?;
    positive(toy.rate, "toy.rate")?;
    toy.until_loss.map_or(Ok(()), |loss| positive(loss, "toy.until_loss"))?;
    for (key, given) in [("alpha", toy.alpha), ("mu1", toy.mu1), ("mu2", toy.mu2)] {
        let Some(given) = given else { continue };
        require(toy.kind == ToyKind::Coopetition, format!("toy.{key}"), || {
            "only the kind \"coopetition\" has it; take it out, or choose that kind".into()
        })?;
        not_negative(given, format!("toy.{key}"))?;
    }
    Ok(())
}

/// Vectors are drawn, or given in a file.
fn vectors(experiment: &ToyExperiment) -> Checked {
    let toy = &experiment.toy;
    if let Some(file) = &toy.vectors {
        utf8(file, "toy.vectors")?;
        let of_the_file = || format!("the vectors are those of {}; take it out, or toy.vectors", file.display());
        require(toy.dimensions.is_none(), "toy.dimensions", of_the_file)?;
        require(experiment.seeds.is_none(), "seeds", of_the_file)?;
    } else {
        let (truth, init) = experiment.seeds();
        below_2_63(truth, "seeds.true")?;
        below_2_63(init, "seeds.init")?;
        require(toy.group.is_none(), "toy.group", || "names a group of the file toy.vectors, and there is none".into())?;
    }
    let has_d = toy.dimensions.is_some_and(|dimensions| dimensions.d.is_some());
    require(!has_d || toy.kind == ToyKind::Coopetition, "toy.dimensions.d", || "only the kind \"coopetition\" has a vector d".into())?;
    toy.dimensions().into_iter().try_for_each(|(letter, dimension)| at_least_one(dimension as u64, format!("toy.dimensions.{letter}")))
}

fn interventions(experiment: &ToyExperiment) -> Checked {
    let toy = &experiment.toy;
    for (index, clamp) in experiment.interventions.iter().enumerate() {
        let key = |name: &str| format!("intervention.{index}.{name}");
        require(toy.kind.letters().contains(&clamp.vector), key("vector"), || {
            let known = toy.kind.letters().iter().map(char::to_string).collect::<Vec<_>>().join(", ");
            format!("there is no vector {}; there are {known}", clamp.vector)
        })?;
        if let Some(first) = clamp.first {
            at_least_one(first as u64, key("first"))?;
            let (_, dimension) = toy.dimensions().into_iter().find(|(letter, _)| *letter == clamp.vector).unwrap_or(('a', usize::MAX));
            require(toy.vectors.is_some() || first <= dimension, key("first"), || {
                format!("the vector {} has {dimension} entries, not {first}", clamp.vector)
            })?;
        }
        if let Some(until) = clamp.until {
            require(until > clamp.from, key("until"), || format!("is not after from, {}", clamp.from))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Changes, expand_layers};

    const BASE: &str = r#"name = "toy"
[toy]
kind = "coopetition"
dimensions = { a = 4, d = 9 }
steps = 100
mu1 = 0.1
[seeds]
init = 3
[[intervention]]
vector = "c"
first = 10
"#;

    fn read(text: &str, sets: &[&str]) -> crate::Result<Vec<ToyExperiment>> {
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        expand_layers(&[("f.toml", text)], &Changes { sets: &sets, ..Changes::default() })
    }

    fn refused(line: &str, replacement: &str) -> String {
        assert!(BASE.contains(line), "{line}");
        read(&BASE.replacen(line, replacement, 1), &[]).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_and_read_back() {
        let own = read(BASE, &[]).unwrap().remove(0);
        assert_eq!(own.toy.dimensions(), [('a', 4), ('b', 20), ('c', 20), ('d', 9)]);
        assert_eq!((own.seeds(), own.toy.alpha(), own.toy.mu2(), own.toy.rate), ((3, 3), 0.1, 0.0, 1.0));
        assert_eq!(own.evaluations().points().count(), 101, "every step");
        assert_eq!(read(&own.to_toml(), &[]).unwrap(), std::slice::from_ref(&own));
        assert_eq!(read(BASE, &["checkpoint.recovery_seconds=1"]).unwrap()[0].run_id(), own.run_id());
        let sparse = read(BASE, &["evaluation.at=[5,50]", "seeds.true=4"]).unwrap().remove(0);
        assert_eq!((sparse.evaluations().points().collect::<Vec<_>>(), sparse.seeds()), (vec![5, 50, 100], (4, 3)));
        assert_ne!(sparse.run_id(), own.run_id());
        let both =
            expand_layers::<ToyExperiment>(&[("f.toml", BASE), ("g.toml", "[[intervention]]\nvector = \"b\"\n")], &Changes::default());
        assert_eq!(both.unwrap()[0].interventions.iter().map(|one| one.vector).collect::<String>(), "cb");
    }

    #[test]
    fn every_key_is_a_column() {
        let all = ["evaluation.at=[1]", "toy.until_loss=1e-6", "checkpoint.every=5", "toy.alpha=0.2", "toy.mu2=1", "seeds.true=1"];
        let names = |own: &ToyExperiment| own.flat().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let (full, plain) = (read(BASE, &all).unwrap().remove(0), read(BASE, &[]).unwrap().remove(0));
        assert_eq!(names(&full), names(&plain));
        fn leaves(table: &toml::Table, above: &str, keys: &mut Vec<String>) {
            for (key, value) in table {
                match value {
                    toml::Value::Table(inner) => leaves(inner, &format!("{above}{key}."), keys),
                    _ => keys.push(format!("{above}{key}")),
                }
            }
        }
        let mut given = Vec::new();
        leaves(&toml::from_str(&full.to_toml()).unwrap(), "", &mut given);
        assert!(given.len() > 12 && given.iter().all(|key| names(&full).contains(key)), "{given:?}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_where_it_stands() {
        assert_eq!(refused("steps", "stpes"), r#"f.toml:5:1: unknown key "stpes" in [toy]; did you mean "steps"?"#);
        assert_eq!(
            refused("[seeds]", "[data]\n[seeds]"),
            r#"f.toml:7:2: unknown key "data"; known are "name", "toy", "seeds", "evaluation", "checkpoint", "intervention", "sweep""#
        );
        assert_eq!(
            refused("\"coopetition\"", "\"cooperation\""),
            r#"f.toml:3:8: toy.kind: unknown value "cooperation"; did you mean "coopetition"? (known are "tensor_product", "coopetition")"#
        );
        assert_eq!(
            refused("\"coopetition\"", "\"tensor_product\""),
            "f.toml:6:1: toy.mu1: only the kind \"coopetition\" has it; take it out, or choose that kind"
        );
        let product = BASE.replace("coopetition", "tensor_product").replace("mu1 = 0.1\n", "");
        assert_eq!(
            read(&product, &[]).unwrap_err().to_string(),
            "f.toml:4:23: toy.dimensions.d: only the kind \"coopetition\" has a vector d"
        );
        assert_eq!(refused("a = 4", "a = 0"), "f.toml:4:16: toy.dimensions.a: must be at least 1");
        assert_eq!(
            refused("steps", "vectors = \"x.h5\"\nsteps"),
            "f.toml:4:1: toy.dimensions: the vectors are those of x.h5; take it out, or toy.vectors"
        );
        assert_eq!(
            refused("steps", "group = \"x\"\nsteps"),
            "f.toml:5:1: toy.group: names a group of the file toy.vectors, and there is none"
        );
        assert_eq!(refused("steps = 100", "steps = 0"), "f.toml:5:1: toy.steps: must be at least 1");
        assert_eq!(refused("\"c\"", "\"e\""), "f.toml:10:1: intervention.0.vector: there is no vector e; there are a, b, c, d");
        assert_eq!(refused("first = 10", "first = 21"), "f.toml:11:1: intervention.0.first: the vector c has 20 entries, not 21");
        assert_eq!(refused("first = 10", "from = 5\nuntil = 5"), "f.toml:12:1: intervention.0.until: is not after from, 5");
        assert_eq!(
            refused("[seeds]", "[evaluation]\nevery = 2\nat = [1]\n[seeds]"),
            "f.toml:7:2: evaluation: needs one of \"every\", \"at\" and \"logarithmic\" at most, and has 2 of them"
        );
    }
}
