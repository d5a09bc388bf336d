//! Chance, counter-based: (seed, purpose, counter) names a stream of random numbers, so that any sequence can be drawn without those before it.
//!
//! The key of ChaCha8 is SHA-256 of seed and purpose; the counter is its stream number. Nothing here depends on the batch size, the device,
//! the number of threads, or on where a run was resumed.

use rand::{Rng, SeedableRng};
pub use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// The streams of one seed and purpose, with the key hashed once.
#[derive(Clone, Debug)]
pub struct Streams {
    key: [u8; 32],
}

impl Streams {
    /// The streams for `purpose` ("sequences", "noise", …); other purposes of the same seed are independent of them.
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self { key: Sha256::new().chain_update(seed.to_le_bytes()).chain_update(purpose).finalize().into() }
    }

    /// Stream number `counter`, from its beginning.
    pub fn at(&self, counter: u64) -> ChaCha8Rng {
        let mut stream = ChaCha8Rng::from_seed(self.key);
        stream.set_stream(counter);
        stream
    }
}

/// One stream; where many of a purpose are needed, make [`Streams`] once.
pub fn stream(seed: u64, purpose: &str, counter: u64) -> ChaCha8Rng {
    Streams::new(seed, purpose).at(counter)
}

/// A whole number below `bound`, all equally likely (Lemire 2019, "Fast random integer generation in an interval", algorithm 5).
///
/// `bound` must not be 0.
pub fn below(random: &mut impl Rng, bound: u64) -> u64 {
    debug_assert!(bound > 0);
    loop {
        let product = u128::from(random.next_u64()) * u128::from(bound);
        // The first 2⁶⁴ mod bound low halves of each multiple would make some results likelier: draw again.
        let low = product as u64;
        if low >= bound || low >= bound.wrapping_neg() % bound {
            return (product >> 64) as u64;
        }
    }
}

/// A number in [0, 1), a multiple of 2⁻⁵³.
pub fn uniform(random: &mut impl Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of older versions depend on these numbers, which an implementation in another language gave as well.
    #[test]
    fn first_values_are_pinned() {
        let first = |seed, purpose, counter| stream(seed, purpose, counter).next_u64();
        assert_eq!(first(0, "sequences", 0), 12_350_450_821_197_061_689);
        assert_eq!(first(0, "sequences", 1), 9_018_220_852_336_447_224);
        assert_eq!(first(1, "sequences", 0), 14_832_543_254_960_208_791);
        assert_eq!(first(0, "noise", 0), 5_272_244_139_391_089_173);
        assert_eq!(first(0, "sequences", u64::MAX), 5_712_644_285_566_392_856);
    }

    #[test]
    fn a_stream_does_not_depend_on_the_others() {
        let streams = Streams::new(3, "sequences");
        let mut read_on = streams.at(6);
        read_on.fill_bytes(&mut [0; 1000]);
        assert_eq!(streams.at(7).next_u64(), stream(3, "sequences", 7).next_u64());
        assert_ne!(streams.at(7).next_u64(), streams.at(8).next_u64());
    }

    #[test]
    fn below_is_uniform() {
        let mut random = stream(0, "test", 0);
        let mut counts = [0.0f64; 7];
        (0..70_000).for_each(|_| counts[below(&mut random, 7) as usize] += 1.0);
        let chi_square: f64 = counts.iter().map(|count| (count - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi_square < 22.5, "{chi_square} with 6 degrees of freedom"); // 99.9 %
        // Three quarters of the range: without drawing again, multiples of 3 would come twice as often as the others.
        let bound = 3 << 62;
        let multiples = (0..30_000).filter(|_| below(&mut random, bound).is_multiple_of(3)).count();
        assert!((multiples as f64 - 10_000.0).abs() < 330.0, "{multiples}");
    }

    #[test]
    fn uniform_stays_below_one() {
        let mut random = stream(0, "test", 1);
        let mean = (0..10_000).map(|_| uniform(&mut random)).inspect(|u| assert!((0.0..1.0).contains(u))).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.012, "{mean}");
    }
}
