//! Which entries of a site's value are chosen.

use crate::experiment::{Entries, Role, TokenSelection};
use crate::site::Axes;
use crate::transformer::Architecture;
use candle_core::{D, Device, Result, Tensor};

impl Entries {
    /// Whether it chooses everything.
    pub(super) fn is_everything(&self) -> bool {
        self.heads.is_all() && self.at.is_all() && self.to.is_all() && self.dimensions.is_all()
    }

    /// The chosen entries as u8, `[1, …]`, of a shape that broadcasts to the site's value, as far as they do not depend on labels.
    pub(super) fn mask(&self, architecture: &Architecture, pairs: usize, device: &Device) -> Result<Tensor> {
        let tokens = 2 * pairs - 1;
        let size = self.site.last_dimension(architecture).unwrap_or(1);
        let dimensions = self.dimensions.of(size);
        let heads = self.heads.of(architecture.heads);
        let at = |count: usize| (0..count).map(|t| self.at.may_hold(t, count, t)).collect::<Vec<_>>();
        let cross = |rows: &[bool], columns: &[bool]| -> Vec<u8> {
            rows.iter().flat_map(|&row| columns.iter().map(move |&column| u8::from(row && column))).collect()
        };
        let chosen = |list: &[usize], count: usize| (0..count).map(|number| list.contains(&number)).collect::<Vec<_>>();
        let last = chosen(&dimensions, size);
        let (numbers, shape) = match self.site.axes() {
            Axes::Tokens => (cross(&at(tokens), &last), vec![1, 1, tokens, size]),
            Axes::Pairs => (cross(&at(pairs), &last), vec![1, 1, pairs, size]),
            Axes::Positions => (cross(&at(tokens), &last), vec![1, tokens, size]),
            Axes::HeadsSideBySide => {
                let width = size / architecture.heads;
                let own: Vec<bool> = (0..size).map(|index| last[index] && heads.contains(&(index / width))).collect();
                (cross(&at(tokens), &own), vec![1, 1, tokens, size])
            }
            Axes::Heads => {
                let rows: Vec<bool> = (0..architecture.heads)
                    .flat_map(|head| at(tokens).into_iter().map(move |at| (head, at)))
                    .map(|(head, at)| at && heads.contains(&head))
                    .collect();
                (cross(&rows, &last), vec![1, 1, architecture.heads, tokens, size])
            }
            Axes::Attention => {
                let pair = |head: usize, a: usize, b: usize| {
                    heads.contains(&head) && self.at.may_hold(a, tokens, a) && self.to.may_hold(b, tokens, a)
                };
                let all = (0..architecture.heads)
                    .flat_map(|head| (0..tokens).flat_map(move |a| (0..tokens).map(move |b| (head, a, b))))
                    .map(|(head, a, b)| u8::from(pair(head, a, b)));
                (all.collect(), vec![1, 1, architecture.heads, tokens, tokens])
            }
        };
        super::flags(numbers, &shape, device)
    }

    /// The part of the choice that depends on labels, u8 `[K, B, …]`, where there is one; `labels` [K, B, P].
    pub(super) fn by_label(&self, labels: &Tensor) -> Result<Option<Tensor>> {
        let side = |selection: &TokenSelection, attended: bool| -> Result<Option<Tensor>> {
            let TokenSelection::Role(role @ (Role::RightLabels | Role::OtherLabels)) = selection else { return Ok(None) };
            let tokens = label_tokens(labels, *role == Role::RightLabels)?;
            // From [K, B, T] to the site's axes.
            Ok(Some(match (self.site.axes(), attended) {
                (Axes::Attention, true) => tokens.unsqueeze(2)?.unsqueeze(2)?,
                (Axes::Attention | Axes::Heads, _) => tokens.unsqueeze(2)?.unsqueeze(4)?,
                _ => tokens.unsqueeze(3)?,
            }))
        };
        Ok(match (side(&self.at, false)?, side(&self.to, true)?) {
            (Some(at), Some(to)) => Some(at.broadcast_mul(&to)?),
            (at, to) => at.or(to),
        })
    }
}

/// Which tokens are labels equal to the query's, or other labels: u8 `[K, B, T]` of labels `[K, B, P]`.
fn label_tokens(labels: &Tensor, equal: bool) -> Result<Tensor> {
    let (members, sequences, pairs) = labels.dims3()?;
    let right = right_labels(labels)?;
    let chosen = if equal { right } else { right.eq(0u8)? };
    let nowhere = chosen.zeros_like()?;
    let both = Tensor::stack(&[&nowhere, &chosen], 3)?.reshape((members, sequences, 2 * pairs))?;
    both.narrow(2, 0, 2 * pairs - 1)?.contiguous()
}

/// Which pairs carry the query's label: u8 `[K, B, P]`, the query itself among them.
pub(super) fn right_labels(labels: &Tensor) -> Result<Tensor> {
    let last = labels.dim(D::Minus1)? - 1;
    labels.broadcast_eq(&labels.narrow(2, last, 1)?)
}

/// `[K, B, T, D]` in which each token has what the token `by` before it had; those without one keep their own.
pub(super) fn shifted(value: &Tensor, by: usize) -> Result<Tensor> {
    let tokens = value.dim(2)?;
    if by == 0 || by >= tokens {
        return Ok(value.clone());
    }
    Tensor::cat(&[value.narrow(2, 0, by)?, value.narrow(2, 0, tokens - by)?], 2)
}
