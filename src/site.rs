//! The places in a forward pass that can be looked at, by our names, the published code's and TransformerLens'.

use crate::experiment::Positions;
use crate::transformer::Architecture;
use crate::{Error, Result};

/// A place in the forward pass at which a value is given a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// Embedded exemplars `[K, B, P, D]`.
    ExampleEmbedding,
    /// Embedded labels, the query's included, `[K, B, P, D]`.
    LabelEmbedding,
    /// Tokens before positions are added `[K, B, T, D]`.
    TokenEmbedding,
    /// What positions add `[K, T, D]`; there are none with rotary positions.
    PositionEmbedding,
    /// Tokens as they enter the first block `[K, B, T, D]`.
    Embedding,
    /// Residual stream before a block `[K, B, T, D]`.
    ResidualPre,
    /// Input of attention, after LayerNorm `[K, B, T, D]`.
    AttentionNorm,
    /// Queries before rotation `[K, B, H, T, dh]`.
    QueryPreRope,
    /// Keys before rotation `[K, B, H, T, dh]`.
    KeyPreRope,
    /// Queries `[K, B, H, T, dh]`.
    Query,
    /// Keys `[K, B, H, T, dh]`.
    Key,
    /// Values `[K, B, H, T, dh]`.
    Value,
    /// Scores before the softmax, masked, `[K, B, H, T, T]`: to whom, by whom the last.
    Scores,
    /// Attention pattern, after the softmax, `[K, B, H, T, T]`.
    Pattern,
    /// Weighted values of the heads, side by side, `[K, B, T, D]`.
    Z,
    /// Output of attention `[K, B, T, D]`.
    AttentionOut,
    /// Residual stream between attention and MLP `[K, B, T, D]`.
    ResidualMid,
    /// Input of the MLP, after LayerNorm `[K, B, T, D]`.
    MlpNorm,
    /// The MLP's hidden layer before GELU `[K, B, T, M]`.
    MlpPre,
    /// The MLP's hidden layer after GELU `[K, B, T, M]`.
    MlpPost,
    /// Output of the MLP `[K, B, T, D]`.
    MlpOut,
    /// Residual stream after a block `[K, B, T, D]`.
    ResidualPost,
    /// Input of the unembedding, after the final LayerNorm `[K, B, T, D]`.
    FinalNorm,
    /// Logits at every token `[K, B, T, C]`.
    Unembedding,
    /// Logits at exemplar tokens `[K, B, P, C]`.
    Logits,
}

/// A site in one layer, or one that belongs to no layer.
pub type Place = (Site, Option<usize>);

/// What the dimensions of a site's value mean; the first is always the cohort's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes {
    /// `[K, B, T, D]`.
    Tokens,
    /// `[K, B, P, D]`.
    Pairs,
    /// `[K, T, D]`: the same for all sequences.
    Positions,
    /// `[K, B, H, T, dh]`.
    Heads,
    /// `[K, B, T, H·dh]`.
    HeadsSideBySide,
    /// `[K, B, H, T, T]`: who attends, to whom.
    Attention,
}

/// Site, our name, the published code's, TransformerLens'.
const NAMES: [(Site, &str, &str, &str); 25] = [
    (Site::ExampleEmbedding, "example_embedding", "example_embedding", ""),
    (Site::LabelEmbedding, "label_embedding", "label_embedding", ""),
    (Site::TokenEmbedding, "tok_embedding", "tok_embedding", "hook_embed"),
    (Site::PositionEmbedding, "pos_embedding", "pos_embedding", "hook_pos_embed"),
    (Site::Embedding, "embedding", "embedding", "blocks.0.hook_resid_pre"),
    (Site::ResidualPre, "resid_pre", "x", "hook_resid_pre"),
    (Site::AttentionNorm, "ln1", "norm_inp", "ln1.hook_normalized"),
    (Site::QueryPreRope, "q_pre_rope", "pre_rope_q", "attn.hook_q"),
    (Site::KeyPreRope, "k_pre_rope", "pre_rope_k", "attn.hook_k"),
    (Site::Query, "q", "q", "attn.hook_rot_q"),
    (Site::Key, "k", "k", "attn.hook_rot_k"),
    (Site::Value, "v", "v", "attn.hook_v"),
    (Site::Scores, "scores", "attn_pre_softmax", "attn.hook_attn_scores"),
    (Site::Pattern, "pattern", "attn_scores", "attn.hook_pattern"),
    (Site::Z, "z", "values_pre_proj", "attn.hook_z"),
    (Site::AttentionOut, "attn_out", "values_post_proj", "hook_attn_out"),
    (Site::ResidualMid, "resid_mid", "residual_post_attn", "hook_resid_mid"),
    (Site::MlpNorm, "ln2", "norm_residual_post_attn", "ln2.hook_normalized"),
    (Site::MlpPre, "mlp_pre", "", "mlp.hook_pre"),
    (Site::MlpPost, "mlp_post", "", "mlp.hook_post"),
    (Site::MlpOut, "mlp_out", "mlp", "hook_mlp_out"),
    (Site::ResidualPost, "resid_post", "out", "hook_resid_post"),
    (Site::FinalNorm, "ln_final", "pre_unembed", "ln_final.hook_normalized"),
    (Site::Unembedding, "unembedding", "unembedding", ""),
    (Site::Logits, "logits", "", ""),
];

impl Site {
    /// Every site, in the order of the forward pass.
    pub fn all() -> impl Iterator<Item = Site> {
        NAMES.iter().map(|names| names.0)
    }

    /// Our name.
    pub fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

    /// The published code's name within its part of the forward pass, where it has one.
    pub fn published_name(self) -> Option<&'static str> {
        Some(NAMES[self as usize].2).filter(|name| !name.is_empty())
    }

    /// TransformerLens' name (within a block where it belongs to one), where it has one.
    pub fn lens_name(self) -> Option<&'static str> {
        Some(NAMES[self as usize].3).filter(|name| !name.is_empty())
    }

    /// What the dimensions of its value mean.
    pub fn axes(self) -> Axes {
        match self {
            Site::ExampleEmbedding | Site::LabelEmbedding | Site::Logits => Axes::Pairs,
            Site::PositionEmbedding => Axes::Positions,
            Site::QueryPreRope | Site::KeyPreRope | Site::Query | Site::Key | Site::Value => Axes::Heads,
            Site::Scores | Site::Pattern => Axes::Attention,
            Site::Z => Axes::HeadsSideBySide,
            _ => Axes::Tokens,
        }
    }

    /// Size of the last dimension; none where that is tokens.
    pub fn last_dimension(self, architecture: &Architecture) -> Option<usize> {
        match self {
            Site::Scores | Site::Pattern => None,
            Site::MlpPre | Site::MlpPost => architecture.hidden,
            Site::Unembedding | Site::Logits => Some(architecture.outputs),
            _ if self.axes() == Axes::Heads => Some(architecture.width / architecture.heads),
            _ => Some(architecture.width),
        }
    }

    /// Whether a model has this site.
    pub fn is_in(self, architecture: &Architecture) -> bool {
        match self {
            Site::PositionEmbedding => architecture.positions != Positions::Rope,
            Site::MlpNorm | Site::MlpPre | Site::MlpPost | Site::MlpOut => architecture.hidden.is_some(),
            _ => true,
        }
    }

    /// What a model without this site lacks.
    pub fn needs(self) -> &'static str {
        match self {
            Site::PositionEmbedding => "rotary positions add nothing",
            _ => "it has no MLP (model.mlp_ratio)",
        }
    }

    /// The part of the forward pass that it is in: 0 before the blocks, 1 in them, 2 after them.
    pub fn part(self) -> u8 {
        if self.in_blocks() { 1 } else { 2 * u8::from(self > Site::ResidualPost) }
    }

    /// Whether each layer has one.
    pub fn in_blocks(self) -> bool {
        Site::ResidualPre <= self && self <= Site::ResidualPost
    }

    /// Finds a site by our name or TransformerLens' (within its block).
    ///
    /// # Errors
    /// There is no such site; the message has the name of which it is a slip, if there is one.
    pub fn named(name: &str) -> Result<Site> {
        let found = NAMES.iter().find(|names| names.1 == name || (!names.3.is_empty() && names.3 == name));
        found.map(|names| names.0).ok_or_else(|| {
            let why = match (Self::in_full(name), Self::without_block(name)) {
                (Some((site, layer)), _) => format!("\"{name}\" is \"{}\" of layer {layer}, given without a layer here", site.name()),
                (None, Some((_, inner))) if Site::named(inner).is_ok_and(|site| !site.in_blocks()) => {
                    format!("there is no site \"{name}\"; \"{inner}\" belongs to no layer")
                }
                _ => format!("there is no site \"{name}\"{}", hint(name)),
            };
            Error::Invalid(format!("{why} (`optogen sites FILE` lists them all)"))
        })
    }

    /// A site and its layer by TransformerLens' full name, such as `blocks.1.attn.hook_v`.
    pub fn in_full(name: &str) -> Option<(Site, usize)> {
        let (layer, inner) = Self::without_block(name)?;
        // What enters the first block has a name of its own here, which belongs to no layer.
        let whole = NAMES.iter().find(|names| names.3 == name);
        whole.or_else(|| NAMES.iter().find(|names| names.0.in_blocks() && names.3 == inner)).map(|names| (names.0, layer))
    }

    /// The number in `blocks.1.…`, and what follows.
    fn without_block(name: &str) -> Option<(usize, &str)> {
        let (layer, inner) = name.strip_prefix("blocks.")?.split_once('.')?;
        Some((layer.parse().ok()?, inner))
    }
}

/// The names of which a name is a slip: those that end in the same part, or else the only one that is at most a letter or two away. A name that is
/// merely like another is that of something else, as `hook_mlp_in` is, and no hint at all is better.
fn hint(name: &str) -> String {
    let names = || NAMES.iter().flat_map(|names| [names.1, names.3]).filter(|name| !name.is_empty());
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let mut likely: Vec<&str> = names().filter(|other| last(other) == last(name)).collect();
    if likely.is_empty() {
        let slips = |other: &str| strsim::osa_distance(&name.to_lowercase(), other);
        let least = names().map(slips).min().unwrap_or_default();
        likely = names().filter(|other| slips(other) == least && 5 * least <= other.len().max(5)).collect();
        likely.truncate(if likely.len() == 1 { 1 } else { 0 });
    }
    match &likely[..] {
        [] => String::new(),
        all => format!("; did you mean {}?", all.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ")),
    }
}

/// As it is written in an experiment file: by its name.
impl<'de> serde::Deserialize<'de> for Site {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Site::named(&name).map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Site {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_the_sites() {
        for (index, (site, name, _, lens)) in NAMES.iter().enumerate() {
            assert_eq!(*site as usize, index);
            assert_eq!(Site::named(name).unwrap(), *site);
            if !lens.is_empty() {
                assert_eq!(Site::named(lens).unwrap(), *site);
            }
        }
    }

    #[test]
    fn an_unknown_site_is_answered_with_the_nearest_name() {
        let message = Site::named("patern").unwrap_err().to_string();
        assert_eq!(message, "there is no site \"patern\"; did you mean \"pattern\"? (`optogen sites FILE` lists them all)");
        let said = |name: &str| Site::named(name).unwrap_err().to_string().replace(" (`optogen sites FILE` lists them all)", "");
        assert_eq!(said("hook_resid_pots"), "there is no site \"hook_resid_pots\"; did you mean \"hook_resid_post\"?");
        assert_eq!(said("blocks.1.hook_pattern"), "there is no site \"blocks.1.hook_pattern\"; did you mean \"attn.hook_pattern\"?");
        assert_eq!(
            said("blocks.1.ln3.hook_normalized"),
            "there is no site \"blocks.1.ln3.hook_normalized\"; did you mean \"ln1.hook_normalized\" or \"ln2.hook_normalized\" or \"ln_final.hook_normalized\"?"
        );
        assert_eq!(said("blocks.1.hook_embed"), "there is no site \"blocks.1.hook_embed\"; \"hook_embed\" belongs to no layer");
        assert_eq!(said("blocks.1.attn.hook_v"), "\"blocks.1.attn.hook_v\" is \"v\" of layer 1, given without a layer here");
    }

    /// Names of TransformerLens for what is no site here.
    #[test]
    fn a_name_of_something_else_is_not_answered_with_a_site() {
        for name in
            ["blocks.0.hook_mlp_in", "hook_attn_in", "attn.hook_result", "blocks.1.ln1.hook_scale", "attn.hook_x", "w", "hook_tokens"]
        {
            let message = Site::named(name).unwrap_err().to_string();
            assert_eq!(message, format!("there is no site \"{name}\" (`optogen sites FILE` lists them all)"));
        }
    }

    #[test]
    fn full_names_have_their_layer() {
        for site in Site::all().filter(|site| site.in_blocks()) {
            let lens = site.lens_name().unwrap();
            assert_eq!(Site::in_full(&format!("blocks.3.{lens}")), Some((site, 3)));
            assert_eq!(Site::in_full(lens), None);
        }
        assert_eq!(Site::in_full("blocks.0.hook_resid_pre"), Some((Site::Embedding, 0)));
        assert_eq!(Site::in_full("blocks.x.attn.hook_v"), None);
    }
}
