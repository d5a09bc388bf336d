//! Scales: `[scale.laptop]`, `[scale.smoke]`: what a file says differently when less than what was published is to be done.

use super::source::Sources;
use super::tree::{self, Part, Value};
use super::wording;
use toml::de::{DeTable, DeValue};

/// The name of the file as it stands.
const FULL: &str = "full";

/// One scale of a file.
pub(super) struct Scale<'a> {
    name: String,
    /// The keys that it sets, and their values.
    pub(super) keys: Vec<(Vec<Part>, Value<'a>)>,
}

/// Takes `[scale]` out of the file's table.
///
/// # Errors
/// A message that begins with the place.
pub(super) fn take_scales<'a>(table: &mut DeTable<'a>, sources: &Sources) -> Result<Vec<Scale<'a>>, String> {
    let Some(scales) = table.remove("scale") else { return Ok(Vec::new()) };
    let not_a_table = |key: &str, value: &Value| {
        format!("{}: {key}: expected a table, found {}", sources.place(value.span().start), wording::described(value.get_ref()))
    };
    let DeValue::Table(named) = scales.get_ref() else { return Err(not_a_table("scale", &scales)) };
    let mut all = Vec::new();
    for (name, keys) in named {
        if name.get_ref() == FULL {
            let place = sources.place(name.span().start);
            return Err(format!("{place}: scale.{FULL}: that is the file as it stands; give this scale another name"));
        }
        let DeValue::Table(inner) = keys.get_ref() else { return Err(not_a_table(&format!("scale.{}", name.get_ref()), keys)) };
        let mut scale = Scale { name: name.get_ref().to_string(), keys: Vec::new() };
        add_keys(inner, &[], &mut scale.keys);
        all.push(scale);
    }
    Ok(all)
}

fn add_keys<'a>(table: &DeTable<'a>, above: &[Part], keys: &mut Vec<(Vec<Part>, Value<'a>)>) {
    for (key, value) in table {
        let path = [above, &[Part::new(key.span(), key.get_ref().to_string())]].concat();
        match value.get_ref() {
            DeValue::Table(inner) => add_keys(inner, &path, keys),
            _ => keys.push((path, value.clone())),
        }
    }
}

/// The scale of this name; none for the file as it stands.
///
/// # Errors
/// There is no such scale; the message names those there are. `file` is how it calls the file.
pub(super) fn chosen<'s, 'a>(scales: &'s [Scale<'a>], name: Option<&str>, file: &str) -> Result<Option<&'s Scale<'a>>, String> {
    let Some(name) = name.filter(|name| *name != FULL) else { return Ok(None) };
    let known: Vec<&str> = scales.iter().map(|scale| scale.name.as_str()).chain([FULL]).collect();
    let found = scales.iter().find(|scale| scale.name == name);
    found.map(Some).ok_or_else(|| {
        let likely = wording::nearest(name, known.iter().copied()).map_or(String::new(), |name| format!("; did you mean \"{name}\"?"));
        format!("--scale {name}: {file} has no such scale{likely} (known are {})", wording::quoted(&known))
    })
}

impl<'a> Scale<'a> {
    /// Sets its keys.
    ///
    /// # Errors
    /// A message that begins with the place.
    pub(super) fn lay_over(&self, table: &mut DeTable<'a>, sources: &Sources) -> Result<(), String> {
        self.keys.iter().try_for_each(|(path, value)| {
            tree::set(table, path, value.clone())
                .map_err(|message| format!("{}: {message}", sources.place(path.last().map_or(0, |part| part.span().start))))
        })
    }

    /// Whether one of its keys or values stands at `offset`.
    pub(super) fn stands_at(&self, offset: usize) -> bool {
        let holds = |span: std::ops::Range<usize>| span.contains(&offset) || span.start == offset;
        self.keys.iter().any(|(path, value)| holds(value.span()) || path.iter().any(|part| holds(part.span())))
    }
}

#[cfg(test)]
mod tests {
    use crate::Result;
    use crate::experiment::read::tests::BASE;
    use crate::experiment::read::{Changes, expand, expand_layers};
    use crate::experiment::{Experiment, parse};

    const SCALES: &str = r#"[scale.laptop]
train.sequences = 1000
[scale.smoke]
train = { sequences = 64, batch = 16 }
data.mixture.0.weight = 4
evaluation = { sequences = 20 }
"#;

    fn scaled(more: &str, scale: &str, sets: &[&str], grids: &[&str]) -> Result<Vec<Experiment>> {
        let strings = |options: &[&str]| options.iter().map(|&option| option.into()).collect::<Vec<String>>();
        let (sets, grids) = (strings(sets), strings(grids));
        expand(&format!("{BASE}{SCALES}{more}"), "f.toml", &Changes { scale: Some(scale), sets: &sets, grids: &grids })
    }

    #[test]
    fn a_scale_sets_keys_before_options_do() {
        let one = |scale: &str, sets: &[&str]| {
            let run = scaled("", scale, sets, &[]).unwrap().remove(0);
            (run.train.sequences, run.train.batch, run.data.mixture[0].weight, run.train.optimiser.rate)
        };
        assert_eq!(one("full", &[]), (600_000, 32, 1.0, 1e-5));
        assert_eq!(one("laptop", &[]), (1000, 32, 1.0, 1e-5));
        assert_eq!(one("smoke", &[]), (64, 16, 4.0, 1e-5));
        assert_eq!(one("smoke", &["train.batch=8"]), (64, 8, 4.0, 1e-5));
        let full = scaled("", "full", &[], &[]).unwrap().remove(0);
        assert_eq!(full, parse(BASE, "f.toml").unwrap());
    }

    #[test]
    fn a_key_that_a_scale_sets_is_not_swept_over_there() {
        let runs = |more: &str, scale: &str, grids: &[&str]| -> Vec<u64> {
            let sweep = format!("{more}[sweep]\ngrid = {{ \"seeds.init\" = [5, 6, 7] }}\n");
            scaled(&sweep, scale, &[], grids).unwrap().iter().map(|run| run.seeds.init).collect()
        };
        assert_eq!(runs("seeds.init = 9\n", "laptop", &[]), [5, 6, 7]);
        assert_eq!(runs("seeds.init = 9\n", "smoke", &[]), [9]);
        assert_eq!(runs("seeds.init = 9\n", "smoke", &["seeds.init=3,4"]), [3, 4]);
        assert_eq!(runs("sweep.grid = { \"seeds.init\" = [5] }\n", "smoke", &[]), [5]);
    }

    #[test]
    fn scales_are_inherited_key_by_key() {
        let above = "[scale.smoke]\ntrain.sequences = 96\n[scale.tiny]\ntrain.batch = 2\n";
        let below = format!("{BASE}{SCALES}");
        let run = |scale| {
            let changes = Changes { scale: Some(scale), ..Changes::default() };
            let run = expand_layers::<Experiment>(&[("below.toml", &below), ("above.toml", above)], &changes).unwrap().remove(0);
            (run.train.sequences, run.train.batch)
        };
        assert_eq!([run("laptop"), run("smoke"), run("tiny")], [(1000, 32), (96, 16), (600_000, 2)]);
    }

    #[test]
    fn a_wrong_scale_is_refused_also_where_it_is_not_chosen() {
        let refused = |more: &str, scale: &str| scaled(more, scale, &[], &[]).map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            refused("", "smok"),
            "--scale smok: f.toml has no such scale; did you mean \"smoke\"? (known are \"laptop\", \"smoke\", \"full\")"
        );
        let changes = Changes { scale: Some("smoke"), ..Changes::default() };
        assert_eq!(
            expand(BASE, "f.toml", &changes).unwrap_err().to_string(),
            "--scale smoke: f.toml has no such scale (known are \"full\")"
        );
        for scale in ["full", "laptop", "smoke"] {
            assert_eq!(refused("model.widht = 5\n", scale), "f.toml:29:7: unknown key \"widht\" in [model]; did you mean \"width\"?");
            assert_eq!(
                refused("model.width = \"5\"\n", scale),
                "f.toml:29:15: model.width: expected a whole number from 0 on, found the text \"5\""
            );
            assert_eq!(
                refused("evaluator.zebra.classes = \"val\"\n", scale),
                "f.toml:29:17: evaluator has no item zebra; its items go by number, from 0 to 0, or by name: fsl_train"
            );
        }
        // What makes no sense is told where it is chosen.
        assert_eq!(refused("model.width = 65\n", "smoke"), "f.toml:9:2: model.heads: a width of 65 cannot be divided among 8 heads");
        assert!(scaled("model.width = 65\n", "laptop", &[], &[]).is_ok());
        assert_eq!(
            refused("[scale.full]\n", "full"),
            "f.toml:29:8: scale.full: that is the file as it stands; give this scale another name"
        );
        assert_eq!(
            expand(&format!("scale = 5\n{BASE}"), "f.toml", &Changes::default()).unwrap_err().to_string(),
            "f.toml:1:9: scale: expected a table, found 5"
        );
    }
}
