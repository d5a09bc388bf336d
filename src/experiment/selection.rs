//! How layers, heads, dimensions and tokens are chosen: `"all"`, `[0, 2]`, `{ except = [3] }`, or tokens by their role.

use crate::site::{Place, Site};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Which layers, heads or dimensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Every one.
    #[default]
    All,
    /// These.
    Only(Vec<usize>),
    /// All but these.
    Except(Vec<usize>),
}

impl Selection {
    /// Whether nothing is left out.
    pub fn is_all(&self) -> bool {
        *self == Selection::All
    }

    /// The numbers below `count` that it chooses, in order.
    pub fn of(&self, count: usize) -> Vec<usize> {
        (0..count)
            .filter(|number| match self {
                Selection::All => true,
                Selection::Only(list) => list.contains(number),
                Selection::Except(list) => !list.contains(number),
            })
            .collect()
    }

    /// The numbers that are written in it.
    pub fn named(&self) -> &[usize] {
        match self {
            Selection::All => &[],
            Selection::Only(list) | Selection::Except(list) => list,
        }
    }
}

/// Which tokens: x₁ l₁ x₂ l₂ … x_query, counted from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenSelection {
    /// Every token.
    #[default]
    All,
    /// By role.
    Role(Role),
    /// By number; −1 is the last, the query.
    Only(Vec<i64>),
}

/// The roles of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The last token.
    Query,
    /// Labels.
    Labels,
    /// Exemplars, the query among them.
    Exemplars,
    /// All but the query.
    Context,
    /// All but the first and the last.
    Inner,
    /// Labels equal to the query's.
    RightLabels,
    /// The other labels.
    OtherLabels,
    /// `to` alone: the token that attends.
    Itself,
    /// `to` alone: the token before the one that attends.
    Previous,
}

impl Role {
    /// All of them, by name.
    pub const NAMES: [(&str, Role); 9] = [
        ("query", Role::Query),
        ("labels", Role::Labels),
        ("exemplars", Role::Exemplars),
        ("context", Role::Context),
        ("inner", Role::Inner),
        ("right_labels", Role::RightLabels),
        ("other_labels", Role::OtherLabels),
        ("itself", Role::Itself),
        ("previous", Role::Previous),
    ];
}

impl TokenSelection {
    /// Whether nothing is left out.
    pub fn is_all(&self) -> bool {
        *self == TokenSelection::All
    }

    /// Whether which tokens these are depends on the labels of a sequence.
    pub fn depend_on_labels(&self) -> bool {
        matches!(self, TokenSelection::Role(Role::RightLabels | Role::OtherLabels))
    }

    /// Whether token `t` of `tokens` is one of them, as far as that does not depend on labels; `attending` is the token that attends.
    pub fn may_hold(&self, t: usize, tokens: usize, attending: usize) -> bool {
        match self {
            TokenSelection::All => true,
            TokenSelection::Only(list) => list.iter().any(|&at| if at < 0 { at + tokens as i64 } else { at } == t as i64),
            TokenSelection::Role(role) => match role {
                Role::Query => t + 1 == tokens,
                Role::Labels | Role::RightLabels | Role::OtherLabels => t % 2 == 1,
                Role::Exemplars => t.is_multiple_of(2),
                Role::Context => t + 1 < tokens,
                Role::Inner => t > 0 && t + 1 < tokens,
                Role::Itself => t == attending,
                Role::Previous => t + 1 == attending,
            },
        }
    }
}

/// Everything that entries of a site are chosen by: what an intervention replaces, and what a hook looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct Entries {
    /// Where.
    pub site: Site,
    /// In which layers.
    pub layers: Selection,
    /// For which heads.
    pub heads: Selection,
    /// At which tokens.
    pub at: TokenSelection,
    /// To which tokens, at `scores` and `pattern`.
    pub to: TokenSelection,
    /// Which numbers of the last dimension.
    pub dimensions: Selection,
}

impl Entries {
    /// The places at which they are, in a model of so many layers.
    pub fn places(&self, layers: usize) -> Vec<Place> {
        match self.site.in_blocks() {
            true => self.layers.of(layers).into_iter().map(|layer| (self.site, Some(layer))).collect(),
            false => vec![(self.site, None)],
        }
    }

    /// Whether which tokens these are depends on the labels of a sequence.
    pub fn depend_on_labels(&self) -> bool {
        self.at.depend_on_labels() || self.to.depend_on_labels()
    }
}

struct SelectionVisitor;

impl<'de> Visitor<'de> for SelectionVisitor {
    type Value = Selection;

    fn expecting(&self, to: &mut fmt::Formatter) -> fmt::Result {
        to.write_str("\"all\", a list of numbers, or { except = [..] }")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Selection, E> {
        if text == "all" { Ok(Selection::All) } else { Err(E::custom(format!("\"{text}\" is neither \"all\" nor a list of numbers"))) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Selection, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = list.next_element()? {
            numbers.push(number);
        }
        Ok(Selection::Only(numbers))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Selection, A::Error> {
        match map.next_key::<String>()?.as_deref() {
            Some("except") => Ok(Selection::Except(map.next_value()?)),
            other => Err(A::Error::custom(format!("unknown key \"{}\"; known is \"except\"", other.unwrap_or_default()))),
        }
    }
}

impl<'de> Deserialize<'de> for Selection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SelectionVisitor)
    }
}

impl Serialize for Selection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Selection::All => serializer.serialize_str("all"),
            Selection::Only(list) => list.serialize(serializer),
            Selection::Except(list) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("except", list)?;
                map.end()
            }
        }
    }
}

struct TokenVisitor;

impl<'de> Visitor<'de> for TokenVisitor {
    type Value = TokenSelection;

    fn expecting(&self, to: &mut fmt::Formatter) -> fmt::Result {
        to.write_str("\"all\", a role of tokens, or a list of numbers")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TokenSelection, E> {
        if text == "all" {
            return Ok(TokenSelection::All);
        }
        let names = || std::iter::once("all").chain(Role::NAMES.iter().map(|entry| entry.0));
        Role::NAMES.iter().find(|entry| entry.0 == text).map(|entry| TokenSelection::Role(entry.1)).ok_or_else(|| {
            let hint = super::nearest(text, names()).map_or(String::new(), |name| format!("; did you mean \"{name}\"?"));
            let known: Vec<String> = names().map(|name| format!("\"{name}\"")).collect();
            E::custom(format!("unknown value \"{text}\"{hint} (known are {}, and lists of numbers)", known.join(", ")))
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TokenSelection, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = list.next_element()? {
            numbers.push(number);
        }
        Ok(TokenSelection::Only(numbers))
    }
}

impl<'de> Deserialize<'de> for TokenSelection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TokenVisitor)
    }
}

impl Serialize for TokenSelection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            TokenSelection::All => serializer.serialize_str("all"),
            TokenSelection::Role(role) => role.serialize(serializer),
            TokenSelection::Only(list) => {
                let mut sequence = serializer.serialize_seq(Some(list.len()))?;
                list.iter().try_for_each(|number| sequence.serialize_element(number))?;
                sequence.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Both {
        heads: Selection,
        at: TokenSelection,
    }

    #[test]
    fn they_are_read_as_they_are_written() {
        for (heads, at) in [
            (Selection::All, TokenSelection::All),
            (Selection::Only(vec![0, 2]), TokenSelection::Only(vec![0, -1])),
            (Selection::Except(vec![3]), TokenSelection::Role(Role::OtherLabels)),
        ] {
            let both = Both { heads, at };
            assert_eq!(toml::from_str::<Both>(&toml::to_string(&both).unwrap()).unwrap(), both);
        }
        for (name, role) in Role::NAMES {
            assert_eq!(toml::Value::try_from(role).unwrap().as_str(), Some(name));
        }
        let refused = |text: &str| toml::from_str::<Both>(text).unwrap_err().message().to_owned();
        assert_eq!(refused("heads = \"most\"\nat = \"all\""), "\"most\" is neither \"all\" nor a list of numbers");
        assert_eq!(refused("heads = { but = [1] }\nat = \"all\""), "unknown key \"but\"; known is \"except\"");
        assert!(refused("heads = \"all\"\nat = \"qurey\"").starts_with("unknown value \"qurey\"; did you mean \"query\"?"));
    }

    #[test]
    fn numbers_and_roles_choose() {
        assert_eq!(Selection::Except(vec![1]).of(4), [0, 2, 3]);
        assert_eq!(Selection::Only(vec![3, 1]).of(4), [1, 3]);
        let held = |at: TokenSelection, attending| (0..5).filter(|&t| at.may_hold(t, 5, attending)).collect::<Vec<_>>();
        assert_eq!(held(TokenSelection::Only(vec![0, -1]), 0), [0, 4]);
        assert_eq!(held(TokenSelection::Only(vec![7, -9]), 0), [0; 0], "an evaluator of shorter sequences has no such token");
        assert_eq!(held(TokenSelection::Role(Role::Labels), 0), [1, 3]);
        assert_eq!(held(TokenSelection::Role(Role::Inner), 0), [1, 2, 3]);
        assert_eq!(held(TokenSelection::Role(Role::Previous), 3), [2]);
        assert_eq!(held(TokenSelection::Role(Role::Previous), 0), [0; 0]);
    }
}
