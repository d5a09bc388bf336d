//! Arithmetic on eight heads at once, one a lane: loops of a fixed length over copies, which the compiler keeps in vector registers.

use crate::ops::Real;

/// Heads that are worked on together.
pub(super) const LANES: usize = 8;

/// The same number of each of eight heads.
pub(super) type Lanes<T> = [T; LANES];

#[inline(always)]
pub(super) fn each<T: Real>(a: Lanes<T>, b: Lanes<T>, of: impl Fn(T, T) -> T) -> Lanes<T> {
    std::array::from_fn(|lane| of(a[lane], b[lane]))
}

#[inline(always)]
pub(super) fn times<T: Real>(a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
    each(a, b, |a, b| a * b)
}

#[inline(always)]
pub(super) fn plus<T: Real>(a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
    each(a, b, |a, b| a + b)
}

#[inline(always)]
pub(super) fn minus<T: Real>(a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
    each(a, b, |a, b| a - b)
}

/// Σ aᵢbᵢ, lane by lane.
#[inline(always)]
pub(super) fn dot<T: Real>(a: &[Lanes<T>], b: &[Lanes<T>]) -> Lanes<T> {
    a.iter().zip(b).fold([T::zero(); LANES], |sum, (&a, &b)| plus(sum, times(a, b)))
}

/// y += a·x, a the same for all vectors.
#[inline(always)]
pub(super) fn accumulate<T: Real>(y: &mut [Lanes<T>], a: Lanes<T>, x: &[Lanes<T>]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = plus(*y, times(a, x)));
}

/// y += x.
#[inline(always)]
pub(super) fn add<T: Real>(y: &mut [Lanes<T>], x: &[Lanes<T>]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = plus(*y, x));
}

/// softmax of scores, lane by lane.
#[inline(always)]
pub(super) fn softmax<T: Real>(scores: &mut [Lanes<T>]) {
    let largest = scores.iter().fold([T::neg_infinity(); LANES], |largest, &score| each(largest, score, |a, b| if b > a { b } else { a }));
    let mut total = [T::zero(); LANES];
    for score in scores.iter_mut() {
        *score = minus(*score, largest).map(Real::exponential);
        total = plus(total, *score);
    }
    scores.iter_mut().for_each(|score| *score = each(*score, total, |a, b| a / b));
}

/// The vectors of some heads turned by the angles of a position, or back with `direction` −1: pairs of dimensions (0, 1), (2, 3), …
#[inline(always)]
pub(super) fn turn<T: Real>(vectors: &mut [Lanes<T>], turns: &[(T, T)], direction: T) {
    for (pair, &(cosine, sine)) in vectors.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
        let ([a, b], sine) = (*pair, direction * sine);
        *pair = [each(a, b, |a, b| a * cosine - b * sine), each(a, b, |a, b| a * sine + b * cosine)];
    }
}
