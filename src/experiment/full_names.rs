//! TransformerLens' full names of sites, such as `blocks.1.attn.hook_v`: wherever an experiment names a site by one, it becomes the site and its layer.

use super::tree::{self, Part, Value};
use super::wording::described;
use crate::site::Site;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A site that is named in full.
pub(super) struct FullName {
    /// The path of the table whose `site` it is.
    table: Vec<Part>,
    /// Where the name stands.
    at: usize,
    site: Site,
    /// The key that says the layer, and its value as it would be written.
    layer: (&'static str, String),
}

/// All of them in interventions, in what these copy, and in hooks.
///
/// # Errors
/// Where one stands whose layer is not the one that is given beside it, and what is wrong.
pub(super) fn full_names(experiment: &DeTable) -> Result<Vec<FullName>, (usize, String)> {
    let mut all = Vec::new();
    for list in ["intervention", "hook"] {
        let Some(DeValue::Array(items)) = experiment.get(list).map(Spanned::get_ref) else { continue };
        for (index, item) in items.iter().enumerate() {
            let DeValue::Table(item) = item.get_ref() else { continue };
            let path = format!("{list}.{index}");
            all.extend(full_name(item, &path, "layers")?);
            let copied = item.get("action").and_then(|action| action.get_ref().get("copy")).map(Spanned::get_ref);
            if let Some(DeValue::Table(copy)) = copied {
                all.extend(full_name(copy, &format!("{path}.action.copy"), "layer")?);
            }
        }
    }
    Ok(all)
}

/// The one that a table has as its site, if it has one.
fn full_name(table: &DeTable, path: &str, key: &'static str) -> Result<Option<FullName>, (usize, String)> {
    let Some(value) = table.get("site") else { return Ok(None) };
    let Some((name, (site, layer))) = value.get_ref().as_str().and_then(|name| Some((name, Site::in_full(name)?))) else { return Ok(None) };
    let at = value.span().start;
    let written = if key == "layers" { format!("[{layer}]") } else { layer.to_string() };
    match table.get(key) {
        Some(given) if !is(given, layer) => {
            let found = match given.get_ref() {
                DeValue::Array(items) => {
                    let items: Vec<String> = items.iter().map(|item| described(item.get_ref())).collect();
                    format!("[{}]", items.join(", "))
                }
                other => described(other),
            };
            Err((
                at,
                format!(
                    "{path}.site: \"{name}\" is in layer {layer}, and {key} beside it says {found}; leave {key} out, or write {key} = {written}"
                ),
            ))
        }
        _ => Ok(Some(FullName { table: tree::parts(path, at), at, site, layer: (key, written) })),
    }
}

/// Whether a value says this layer alone, by itself or as a list of one.
fn is(value: &Value, layer: usize) -> bool {
    match value.get_ref() {
        DeValue::Integer(number) => number.to_string() == layer.to_string(),
        DeValue::Array(items) => matches!(&items[..], [one] if is(one, layer)),
        _ => false,
    }
}

/// Writes them as sites and layers.
pub(super) fn take_apart<'a>(experiment: &mut DeTable<'a>, names: &'a [FullName]) -> Result<(), String> {
    for FullName { table, at, site, layer: (key, layer) } in names {
        let path = |key: &str| [&table[..], &tree::parts(key, *at)].concat();
        let name = Spanned::new(*at..*at + 1, DeValue::String(site.name().into()));
        tree::set(experiment, &path("site"), name)?;
        if site.in_blocks() {
            tree::set(experiment, &path(key), super::sweep::value(layer, *at))?;
        } else {
            tree::take_out(experiment, &path(key));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::experiment::read::tests::{BASE, with};
    use crate::experiment::{Action, Selection, parse};
    use crate::site::Site;

    fn read(more: &str) -> crate::Result<crate::experiment::Experiment> {
        parse(&format!("{BASE}{more}"), "f.toml")
    }

    #[test]
    fn a_full_name_is_a_site_and_its_layer() {
        let of = |site: &str| {
            let own = read(&format!("[[intervention]]\nsite = \"{site}\"\naction = \"zero\"\n")).unwrap().interventions.remove(0);
            (own.site, own.layers)
        };
        let first = || Selection::Only(vec![1]);
        for (name, site) in [
            ("blocks.1.attn.hook_v", Site::Value),
            ("blocks.1.attn.hook_pattern", Site::Pattern),
            ("blocks.1.hook_resid_pre", Site::ResidualPre),
            ("blocks.1.ln1.hook_normalized", Site::AttentionNorm),
        ] {
            assert_eq!(of(name), (site, first()), "{name}");
        }
        for (name, site) in [
            ("hook_embed", Site::TokenEmbedding),
            ("ln_final.hook_normalized", Site::FinalNorm),
            ("blocks.0.hook_resid_pre", Site::Embedding),
        ] {
            assert_eq!(of(name), (site, Selection::All), "{name}");
        }
    }

    /// It is written, and so named, as by our own names.
    #[test]
    fn it_is_the_same_experiment_as_with_our_names() {
        let lens = read(
            "[[intervention]]\nsite = \"blocks.1.hook_resid_post\"\nlayers = [1]\naction = { copy = { pass = \"clean\", site = \"blocks.0.hook_resid_post\" } }\n\
             [[hook]]\ntable = \"t\"\nsite = \"blocks.1.attn.hook_z\"\n",
        );
        let ours = read(
            "[[intervention]]\nsite = \"resid_post\"\nlayers = [1]\naction = { copy = { pass = \"clean\", site = \"resid_post\", layer = 0 } }\n\
             [[hook]]\ntable = \"t\"\nsite = \"z\"\nlayers = [1]\n",
        );
        let (lens, ours) = (lens.unwrap(), ours.unwrap());
        assert_eq!((&lens, lens.run_id()), (&ours, ours.run_id()));
        assert!(matches!(&lens.interventions[0].action, Action::Copy(copy) if copy.layer == Some(0)));
        assert_eq!(
            read("[[hook]]\ntable = \"t\"\nsite = \"blocks.0.hook_resid_pre\"\nlayers = [0]\n").unwrap().hooks[0].site,
            Site::Embedding
        );
    }

    #[test]
    fn another_layer_beside_it_is_refused_where_it_stands() {
        let said = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            said("[[hook]]\ntable = \"t\"\nsite = \"blocks.1.attn.hook_v\"\nlayers = [0]\n"),
            "f.toml:25:8: hook.0.site: \"blocks.1.attn.hook_v\" is in layer 1, and layers beside it says [0]; leave layers out, or write layers = [1]"
        );
        assert!(
            said("[[hook]]\ntable = \"t\"\nsite = \"blocks.9.attn.hook_v\"\n")
                .starts_with("f.toml:25:8: hook.0.layers: there is no layer 9")
        );
    }

    #[test]
    fn the_command_line_and_its_grids_may_name_sites_in_full() {
        let hook = "hook=[{ table = \"t\", site = \"blocks.0.attn.hook_q\" }]";
        let runs = with(&[hook], &[]).unwrap();
        assert_eq!((runs[0].hooks[0].site, &runs[0].hooks[0].layers), (Site::QueryPreRope, &Selection::Only(vec![0])));
    }
}
