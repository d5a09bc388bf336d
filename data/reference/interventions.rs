//! The published code's `opto_*` options as interventions, in its order of precedence: the later wins.

use optogen::experiment::{
    Action, CLEAN, CopySpec, GradientName, HeadSpec, InterventionSpec, Moment, PassSpec, Role, Selection, TokenSelection,
};
use optogen::site::Site;
use optogen::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The options, and the values at which they do nothing.
const OPTIONS: [(&str, Idle); 25] = [
    ("opto_specific_fn", Idle::Null),
    ("opto_induction_heads", Idle::Null),
    ("opto_induction_head_strength", Idle::Number(1.0)),
    ("opto_match_heads", Idle::Null),
    ("opto_match_head_temperature", Idle::Number(0.0)),
    ("opto_prev_token_heads", Idle::Null),
    ("opto_prev_token_head_strength", Idle::Number(1.0)),
    ("opto_prev_token_only_label", Idle::False),
    ("opto_disallow_prev_token_heads", Idle::Null),
    ("opto_disallow_prev_token_only_label", Idle::False),
    ("opto_ablate_heads", Idle::Null),
    ("opto_ablate_embedding", Idle::False),
    ("opto_perfect_copy_from_head_pattern", Idle::Null),
    ("opto_set_head_temperature", Idle::Null),
    ("opto_final_layer_silence_non_label_attn", Idle::Null),
    ("opto_preserve_patterns", Idle::False),
    ("opto_preserve_values", Idle::False),
    ("opto_preserve_queries", Idle::False),
    ("opto_preserve_keys", Idle::False),
    ("opto_graft_in_model_ckpt", Idle::Null),
    ("opto_graft_in_model_cfg", Idle::Null),
    ("opto_graft_in_model_till_layer", Idle::Null),
    ("opto_graft_out_model_ckpt", Idle::Null),
    ("opto_graft_out_model_cfg", Idle::Null),
    ("opto_graft_out_model_from_layer", Idle::Null),
];

enum Idle {
    Null,
    False,
    Number(f64),
}

impl Idle {
    fn is(&self, value: &Value) -> bool {
        match self {
            Idle::Null => value.is_null(),
            Idle::False => value == &Value::Bool(false) || value.is_null(),
            Idle::Number(number) => value.as_f64() == Some(*number),
        }
    }
}

/// All names of the options.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(name, _)| *name)
}

#[derive(Deserialize)]
struct Options {
    opto_specific_fn: Option<String>,
    opto_induction_heads: Option<Vec<String>>,
    #[serde(default = "one")]
    opto_induction_head_strength: f64,
    opto_match_heads: Option<Vec<String>>,
    #[serde(default)]
    opto_match_head_temperature: f64,
    opto_prev_token_heads: Option<Vec<String>>,
    #[serde(default = "one")]
    opto_prev_token_head_strength: f64,
    #[serde(default)]
    opto_prev_token_only_label: bool,
    opto_disallow_prev_token_heads: Option<Vec<String>>,
    #[serde(default)]
    opto_disallow_prev_token_only_label: bool,
    opto_ablate_heads: Option<Vec<String>>,
    #[serde(default)]
    opto_ablate_embedding: bool,
    opto_perfect_copy_from_head_pattern: Option<String>,
    opto_set_head_temperature: Option<Vec<String>>,
    opto_final_layer_silence_non_label_attn: Option<Vec<usize>>,
    #[serde(default)]
    opto_preserve_patterns: bool,
    #[serde(default)]
    opto_preserve_values: bool,
    #[serde(default)]
    opto_preserve_queries: bool,
    #[serde(default)]
    opto_preserve_keys: bool,
    opto_graft_in_model_ckpt: Option<PathBuf>,
    opto_graft_in_model_cfg: Option<PathBuf>,
    opto_graft_in_model_till_layer: Option<usize>,
    opto_graft_out_model_ckpt: Option<PathBuf>,
    opto_graft_out_model_cfg: Option<PathBuf>,
    opto_graft_out_model_from_layer: Option<usize>,
}

fn one() -> f64 {
    1.0
}

/// Another model that is grafted in or out: its checkpoint and its config, as the options name them.
#[derive(Clone, Debug, PartialEq)]
pub struct Graft {
    /// The pass that runs it.
    pub pass: String,
    /// Its `.eqx` file.
    pub checkpoint: PathBuf,
    /// Its `config.json`.
    pub config: PathBuf,
}

/// What the options come to. The passes of grafts have no donor yet: it is the folder to which the graft's checkpoint is imported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opto {
    /// Further passes.
    pub passes: Vec<PassSpec>,
    /// What is clamped.
    pub interventions: Vec<InterventionSpec>,
    /// Other models.
    pub grafts: Vec<Graft>,
}

/// Reads the `opto_*` options of a config for a model of so many layers, with so many heads in each.
///
/// # Errors
/// An option is not as the published code has it, or cannot be combined with another; the message names it.
pub fn interventions(config: &Map<String, Value>, layers: usize, heads: usize) -> Result<Opto> {
    let given = config.iter().filter(|(name, value)| name.starts_with("opto_") && !value.is_null());
    let own: Map<String, Value> = given.map(|(name, value)| (name.clone(), value.clone())).collect();
    let active = |name: &str| {
        let idle = OPTIONS.iter().find(|(option, _)| *option == name);
        own.get(name).is_some_and(|value| idle.is_some_and(|(_, idle)| !idle.is(value)))
    };
    let options: Options = serde_json::from_value(Value::Object(own.clone())).map_err(|error| Error::Invalid(error.to_string()))?;
    match options.opto_specific_fn.as_deref() {
        None | Some("standard") => standard(options, layers, heads),
        Some("perfect_prev_token_input") => {
            let known = ["opto_specific_fn", "opto_ablate_heads", "opto_perfect_copy_from_head_pattern"];
            if let Some(other) = names().find(|name| active(name) && !known.contains(name)) {
                return Err(Error::Invalid(format!("{other}: the published code ignores it beside perfect_prev_token_input; take it out")));
            }
            layer_1(options, layers)
        }
        Some(other) => Err(Error::Invalid(format!("opto_specific_fn: \"{other}\" is not known"))),
    }
}

/// An intervention with nothing special about it.
fn at(name: &str, site: Site, action: Action, order: i64) -> InterventionSpec {
    InterventionSpec {
        name: Some(name.into()),
        pass: None,
        site,
        layers: Selection::All,
        heads: Selection::All,
        at: TokenSelection::All,
        to: TokenSelection::All,
        dimensions: Selection::All,
        action,
        gradient: GradientName::Flow,
        strength: 1.0,
        during: Vec::new(),
        from: Moment::default(),
        until: None,
        ramp: 0,
        order: Some(order),
    }
}

fn from_pass(pass: &str) -> Action {
    Action::Copy(CopySpec { pass: Some(pass.into()), ..CopySpec::default() })
}

/// `["1:3", "1:7"]` as layers and their heads.
fn heads(option: &str, list: &[String]) -> Result<BTreeMap<usize, Vec<usize>>> {
    let mut all = BTreeMap::<usize, Vec<usize>>::new();
    for pair in list {
        let (layer, head) = layer_and_head(option, pair)?;
        all.entry(layer).or_default().push(head);
    }
    Ok(all)
}

fn layer_and_head(option: &str, pair: &str) -> Result<(usize, usize)> {
    let parts = pair.split_once(':').and_then(|(layer, head)| Some((layer.parse().ok()?, head.parse().ok()?)));
    parts.ok_or_else(|| Error::Invalid(format!("{option}: \"{pair}\" is no layer:head")))
}

fn standard(options: Options, layers: usize, heads_of_layer: usize) -> Result<Opto> {
    let mut opto = Opto::default();
    let all = &mut opto.interventions;
    for (kept, name, site) in [
        (options.opto_preserve_patterns, "preserve_patterns", Site::Pattern),
        (options.opto_preserve_values, "preserve_values", Site::Value),
        (options.opto_preserve_queries, "preserve_queries", Site::Query),
        (options.opto_preserve_keys, "preserve_keys", Site::Key),
    ] {
        if kept {
            all.push(at(name, site, from_pass(CLEAN), 0));
        }
    }
    if let Some(list) = &options.opto_set_head_temperature {
        frozen_temperatures(list, heads_of_layer, all)?;
    }
    if let Some(head) = &options.opto_perfect_copy_from_head_pattern {
        all.push(copy_from_head(head, CLEAN)?);
    }
    if options.opto_ablate_embedding {
        all.push(at("ablate_embedding", Site::TokenEmbedding, Action::Zero, 1));
    }
    let mut each = |option: &str, name: &str, list: &Option<Vec<String>>, base: InterventionSpec| -> Result<()> {
        for (layer, heads) in heads(option, list.as_deref().unwrap_or_default())? {
            let name = Some(format!("{name}-{layer}"));
            all.push(InterventionSpec { name, layers: Selection::Only(vec![layer]), heads: Selection::Only(heads), ..base.clone() });
        }
        Ok(())
    };
    let labels = |only: bool| if only { TokenSelection::Role(Role::Labels) } else { TokenSelection::All };
    let query = TokenSelection::Role(Role::Query);
    each("opto_ablate_heads", "ablate_heads", &options.opto_ablate_heads, at("", Site::Value, Action::Zero, 1))?;
    let action = Action::PreviousToken { strength: options.opto_prev_token_head_strength };
    let base = InterventionSpec { at: labels(options.opto_prev_token_only_label), ..at("", Site::Pattern, action, 1) };
    each("opto_prev_token_heads", "prev_token", &options.opto_prev_token_heads, base)?;
    let action = Action::Induction { strength: options.opto_induction_head_strength };
    let base = InterventionSpec { at: query.clone(), ..at("", Site::Pattern, action, 2) };
    each("opto_induction_heads", "induction", &options.opto_induction_heads, base)?;
    let action = Action::Match { temperature: options.opto_match_head_temperature };
    let base = InterventionSpec { at: query.clone(), ..at("", Site::Pattern, action, 3) };
    each("opto_match_heads", "match", &options.opto_match_heads, base)?;
    let base = InterventionSpec {
        at: labels(options.opto_disallow_prev_token_only_label),
        to: TokenSelection::Role(Role::Previous),
        ..at("", Site::Scores, Action::Forbid, 1)
    };
    each("opto_disallow_prev_token_heads", "disallow_prev_token", &options.opto_disallow_prev_token_heads, base)?;
    // As there, no heads are no intervention.
    if let Some(list) = options.opto_final_layer_silence_non_label_attn.filter(|list| !list.is_empty()) {
        all.push(InterventionSpec {
            layers: Selection::Only(vec![layers.saturating_sub(1)]),
            heads: Selection::Only(list),
            at: query,
            to: TokenSelection::Role(Role::Exemplars),
            ..at("labels_only", Site::Scores, Action::Forbid, 2)
        });
    }
    for (pass, checkpoint, config, layer) in [
        ("graft_in", options.opto_graft_in_model_ckpt, options.opto_graft_in_model_cfg, options.opto_graft_in_model_till_layer),
        ("graft_out", options.opto_graft_out_model_ckpt, options.opto_graft_out_model_cfg, options.opto_graft_out_model_from_layer),
    ] {
        match (checkpoint, config, layer) {
            (None, None, None) => {}
            (Some(checkpoint), Some(config), Some(layer)) => {
                let action = if pass == "graft_in" { from_pass(pass) } else { Action::ContinueIn(pass.into()) };
                opto.interventions
                    .push(InterventionSpec { layers: Selection::Only(vec![layer]), ..at(pass, Site::ResidualPost, action, 0) });
                opto.passes.push(PassSpec { name: pass.into(), input: None, donor: None });
                opto.grafts.push(Graft { pass: pass.into(), checkpoint, config });
            }
            _ => return Err(Error::Invalid(format!("opto_{pass}_*: checkpoint, config and layer must all be given"))),
        }
    }
    Ok(opto)
}

/// The whole layer is frozen to the clean pass, as in the published code; the named heads are divided by their temperatures besides.
fn frozen_temperatures(list: &[String], heads_of_layer: usize, all: &mut Vec<InterventionSpec>) -> Result<()> {
    let option = "opto_set_head_temperature";
    let mut named = BTreeMap::<usize, Vec<usize>>::new();
    for triple in list {
        let parts = triple.rsplit_once(':').and_then(|(pair, temperature)| Some((pair, temperature.parse::<f64>().ok()?)));
        let (pair, temperature) = parts.ok_or_else(|| Error::Invalid(format!("{option}: \"{triple}\" is no layer:head:temperature")))?;
        let (layer, head) = layer_and_head(option, pair)?;
        named.entry(layer).or_default().push(head);
        all.push(InterventionSpec {
            layers: Selection::Only(vec![layer]),
            heads: Selection::Only(vec![head]),
            ..at(&format!("temperature-{layer}.{head}"), Site::Scores, Action::FrozenTemperature(temperature), 0)
        });
    }
    for (layer, heads) in named {
        // Where every head is named, none is left to freeze.
        if (0..heads_of_layer).all(|head| heads.contains(&head)) {
            continue;
        }
        all.push(InterventionSpec {
            layers: Selection::Only(vec![layer]),
            heads: Selection::Except(heads),
            ..at(&format!("frozen-{layer}"), Site::Scores, from_pass(CLEAN), 0)
        });
    }
    Ok(())
}

fn copy_from_head(head: &str, pass: &str) -> Result<InterventionSpec> {
    let (layer, head) = layer_and_head("opto_perfect_copy_from_head_pattern", head)?;
    let action = Action::CopyFromHead(HeadSpec { layer, head, pass: pass.into() });
    Ok(InterventionSpec { at: TokenSelection::Role(Role::Query), ..at("copy_from_head", Site::Logits, action, 0) })
}

/// The "layer 1" clamp: patterns of layer 1 from a pass in which every token but the first and the last holds the embedding of the one before.
fn layer_1(options: Options, layers: usize) -> Result<Opto> {
    if layers != 2 {
        return Err(Error::Invalid(format!("opto_specific_fn: perfect_prev_token_input is for two layers, this model has {layers}")));
    }
    const PASS: &str = "previous_token_input";
    let first = Selection::Only(vec![0]);
    let embedding = |shift: usize| Action::Copy(CopySpec { site: Some(Site::Embedding), shift, ..CopySpec::default() });
    let mut all = vec![
        InterventionSpec {
            pass: Some(PASS.into()),
            layers: first.clone(),
            at: TokenSelection::Role(Role::Inner),
            ..at("previous_embedding", Site::ResidualPost, embedding(1), 0)
        },
        InterventionSpec {
            pass: Some(PASS.into()),
            layers: first.clone(),
            at: TokenSelection::Only(vec![0, -1]),
            ..at("own_embedding", Site::ResidualPost, embedding(0), 0)
        },
    ];
    match &options.opto_perfect_copy_from_head_pattern {
        Some(head) => all.push(copy_from_head(head, PASS)?),
        None => {
            all.push(InterventionSpec { layers: first, ..at("embedding", Site::ResidualPost, embedding(0), 0) });
            let second = Selection::Only(vec![1]);
            all.push(InterventionSpec { layers: second, ..at("patterns", Site::Pattern, from_pass(PASS), 0) });
            for (layer, heads) in heads("opto_ablate_heads", options.opto_ablate_heads.as_deref().unwrap_or_default())? {
                if layer != 1 {
                    return Err(Error::Invalid("opto_ablate_heads: with perfect_prev_token_input only heads of layer 1".into()));
                }
                let (layers, heads) = (Selection::Only(vec![1]), Selection::Only(heads));
                all.push(InterventionSpec { layers, heads, ..at("ablate_heads-1", Site::Value, Action::Zero, 1) });
            }
        }
    }
    Ok(Opto { passes: vec![PassSpec { name: PASS.into(), input: None, donor: None }], interventions: all, grafts: Vec::new() })
}
