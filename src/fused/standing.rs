//! From rows to where tokens stand, and back: queries and keys are turned to their positions, and what tokens share is brought to each.

use super::lanes::{Lanes, add, part, part_mut, turn};
use super::sizes::Sizes;
use crate::ops::Real;

/// Where tokens stand.
#[derive(Clone, Copy)]
pub(super) struct Standing<'a, T> {
    pub sizes: Sizes,
    /// The first token of a sequence that attends.
    pub first: usize,
    /// Cosine and sine of the rotary positions, token by token, pair by pair; empty where there are none.
    pub turns: &'a [(T, T)],
}

/// Queries `[…, vectors]`, and keys and values `[…, 2, vectors]`: of rows, or of tokens.
pub(super) type Both<'m, T> = [&'m mut [Lanes<T>]; 2];

impl<T: Real> Standing<'_, T> {
    /// The vectors of token `t` turned to its position, or back with `direction` −1.
    #[inline(always)]
    fn turn(&self, t: usize, vectors: &mut [Lanes<T>], direction: T) {
        let Sizes { head_width, .. } = self.sizes;
        if !self.turns.is_empty() {
            let turns = part(self.turns, t, head_width / 2);
            vectors.chunks_exact_mut(head_width).for_each(|head| turn(head, turns, direction));
        }
    }

    /// Turns queries and keys of whole sequences where they are, or their gradients back with `direction` −1.
    pub fn turn_all(&self, [q, kv]: Both<T>, direction: T) {
        let (tokens, vectors) = (self.sizes.tokens, self.sizes.vectors());
        if self.turns.is_empty() {
            return;
        }
        for q in q.chunks_exact_mut((tokens - self.first) * vectors) {
            for (query, t) in q.chunks_exact_mut(vectors).zip(self.first..) {
                self.turn(t, query, direction);
            }
        }
        for kv in kv.chunks_exact_mut(tokens * 2 * vectors) {
            for (t, kv) in kv.chunks_exact_mut(2 * vectors).enumerate() {
                self.turn(t, &mut kv[..vectors], direction);
            }
        }
    }

    /// Brings what rows hold to the tokens, turned; `rows` says which row a token has.
    pub fn bring(&self, rows: &[u32], [row_q, row_kv]: [&[Lanes<T>]; 2], [q, kv]: Both<T>) {
        let (tokens, vectors) = (self.sizes.tokens, self.sizes.vectors());
        let mut queries = q.chunks_exact_mut(vectors);
        for (token, (&row, to)) in rows.iter().zip(kv.chunks_exact_mut(2 * vectors)).enumerate() {
            let (row, t) = (row as usize, token % tokens);
            to.copy_from_slice(part(row_kv, row, 2 * vectors));
            self.turn(t, &mut to[..vectors], T::one());
            if t < self.first {
                continue;
            }
            if let Some(query) = queries.next() {
                query.copy_from_slice(part(row_q, row, vectors));
                self.turn(t, query, T::one());
            }
        }
    }

    /// Adds the gradients of one sequence's tokens, turned back where they are, to those of their rows.
    pub fn give_back(&self, rows: &[u32], [q, kv]: Both<T>, [row_q, row_kv]: Both<T>) {
        let vectors = self.sizes.vectors();
        self.turn_all([q, kv], -T::one());
        for (&row, query) in rows[self.first..].iter().zip(q.chunks_exact(vectors)) {
            add(part_mut(row_q, row as usize, vectors), query);
        }
        for (&row, kv) in rows.iter().zip(kv.chunks_exact(2 * vectors)) {
            add(part_mut(row_kv, row as usize, 2 * vectors), kv);
        }
    }
}
