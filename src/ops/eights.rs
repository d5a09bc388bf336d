//! Slices of one length gone through side by side, eight numbers at a time.
//!
//! A plain loop over slices, some of which are overwritten, is checked for overlaps each time it begins, which takes as long as a row of a small model.

use super::Real;

/// Where eight numbers lie, or as many as are left.
#[derive(Clone, Copy)]
pub(super) struct Eight {
    first: usize,
    count: usize,
}

/// Calls `work` with one place after another.
#[inline(always)]
pub(super) fn by_eights(length: usize, mut work: impl FnMut(Eight)) {
    let rest = length % 8;
    for first in (0..length - rest).step_by(8) {
        work(Eight { first, count: 8 });
    }
    if rest > 0 {
        work(Eight { first: length - rest, count: rest });
    }
}

impl Eight {
    /// The numbers that lie there, with zeros behind them where they are fewer.
    #[inline(always)]
    pub fn load<T: Real>(self, from: &[T]) -> T::Eight {
        let from = &from[self.first..self.first + self.count];
        let mut numbers = [T::zero(); 8];
        match from.first_chunk() {
            Some(whole) => numbers = *whole,
            None => numbers[..from.len()].copy_from_slice(from),
        }
        numbers.into()
    }

    /// Overwrites them.
    #[inline(always)]
    pub fn store<T: Real>(self, to: &mut [T], numbers: T::Eight) {
        let (to, numbers): (_, [T; 8]) = (&mut to[self.first..self.first + self.count], numbers.into());
        match to.first_chunk_mut() {
            Some(whole) => *whole = numbers,
            None => to.copy_from_slice(&numbers[..to.len()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_gone_through_once() {
        for length in [0, 5, 8, 19] {
            let from: Vec<f64> = (0..length).map(|number| number as f64).collect();
            let mut to = vec![-1.0; length];
            by_eights(length, |at| at.store(&mut to, at.load::<f64>(&from) + at.load::<f64>(&from)));
            assert!(to.iter().zip(&from).all(|(to, from)| *to == 2.0 * from), "{to:?}");
        }
    }
}
