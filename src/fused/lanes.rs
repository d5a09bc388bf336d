//! Arithmetic on eight heads at once, one a lane.

use crate::ops::Real;

/// Heads that are worked on together.
pub(super) const LANES: usize = 8;

/// The same number of each of eight heads.
pub(super) type Lanes<T> = [T; LANES];

/// Part `index` of numbers that lie in parts of one size.
#[inline(always)]
pub(super) fn part<T>(of: &[T], index: usize, size: usize) -> &[T] {
    &of[index * size..(index + 1) * size]
}

#[inline(always)]
pub(super) fn part_mut<T>(of: &mut [T], index: usize, size: usize) -> &mut [T] {
    &mut of[index * size..(index + 1) * size]
}

#[inline(always)]
pub(super) fn each<T: Real>(a: Lanes<T>, b: Lanes<T>, of: impl Fn(T, T) -> T) -> Lanes<T> {
    std::array::from_fn(|lane| of(a[lane], b[lane]))
}

/// The same done to each of eight heads. Arrays' own `map` is not always inlined.
#[inline(always)]
pub(super) fn all<T: Real>(a: Lanes<T>, of: impl Fn(T) -> T) -> Lanes<T> {
    std::array::from_fn(|lane| of(a[lane]))
}

#[inline(always)]
pub(super) fn times<T: Real>(a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
    (T::Eight::from(a) * T::Eight::from(b)).into()
}

#[inline(always)]
pub(super) fn plus<T: Real>(a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
    (T::Eight::from(a) + T::Eight::from(b)).into()
}

#[inline(always)]
pub(super) fn minus<T: Real>(a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
    (T::Eight::from(a) - T::Eight::from(b)).into()
}

/// `sum` + Σ aᵢbᵢ, lane by lane.
#[inline(always)]
pub(super) fn dot<T: Real, const W: usize>(sum: Lanes<T>, a: &[Lanes<T>; W], b: &[Lanes<T>; W]) -> Lanes<T> {
    let mut sum = T::Eight::from(sum);
    for i in 0..W {
        sum = T::fused(a[i].into(), b[i].into(), sum);
    }
    sum.into()
}

/// to = Σ aₛxₛ, each a the same for all of its vectors.
#[inline(always)]
pub(super) fn weigh<'x, T: Real, const W: usize>(to: &mut [Lanes<T>; W], terms: impl Iterator<Item = (Lanes<T>, &'x [Lanes<T>; W])>) {
    let mut sums = [T::Eight::from([T::zero(); LANES]); W];
    for (a, x) in terms {
        let a = T::Eight::from(a);
        for i in 0..W {
            sums[i] = T::fused(a, x[i].into(), sums[i]);
        }
    }
    for i in 0..W {
        to[i] = sums[i].into();
    }
}

/// y += x.
#[inline(always)]
pub(super) fn add<T: Real>(y: &mut [Lanes<T>], x: &[Lanes<T>]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = plus(*y, x);
    }
}

/// softmax of scores, lane by lane.
#[inline(always)]
pub(super) fn softmax<T: Real>(scores: &mut [Lanes<T>]) {
    let largest = scores.iter().fold([T::neg_infinity(); LANES], |largest, &score| each(largest, score, |a, b| if b > a { b } else { a }));
    let mut total = [T::zero(); LANES];
    for score in scores.iter_mut() {
        *score = all(minus(*score, largest), Real::exponential);
        total = plus(total, *score);
    }
    let share = all(total, T::recip);
    for score in scores {
        *score = times(*score, share);
    }
}

/// Turns the vectors of eight heads by the angles of a position, or back with `direction` −1: pairs of dimensions (0, 1), (2, 3), …
#[inline(always)]
pub(super) fn turn<T: Real>(vectors: &mut [Lanes<T>], turns: &[(T, T)], direction: T) {
    for (pair, &(cosine, sine)) in vectors.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
        let ([a, b], cosine, sine) = (*pair, [cosine; LANES], [direction * sine; LANES]);
        *pair = [minus(times(a, cosine), times(b, sine)), plus(times(a, sine), times(b, cosine))];
    }
}
