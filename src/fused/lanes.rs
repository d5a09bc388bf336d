//! Arithmetic on eight heads at once, one a lane.

use crate::ops::Real;

/// Heads that are worked on together.
pub(super) const LANES: usize = 8;

/// The same number of each of eight heads.
pub(super) type Lanes<T> = [T; LANES];

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

/// Σ aᵢbᵢ, lane by lane.
#[inline(always)]
pub(super) fn dot<T: Real>(a: &[Lanes<T>], b: &[Lanes<T>]) -> Lanes<T> {
    let mut sum = T::Eight::from([T::zero(); LANES]);
    for (&a, &b) in a.iter().zip(b) {
        sum = sum + T::Eight::from(a) * T::Eight::from(b);
    }
    sum.into()
}

/// y += a·x, a the same for all vectors.
#[inline(always)]
pub(super) fn accumulate<T: Real>(y: &mut [Lanes<T>], a: Lanes<T>, x: &[Lanes<T>]) {
    let a = T::Eight::from(a);
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (T::Eight::from(*y) + a * T::Eight::from(x)).into();
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
    for score in scores {
        *score = each(*score, total, |a, b| a / b);
    }
}

/// The vectors of some heads turned by the angles of a position, or back with `direction` −1: pairs of dimensions (0, 1), (2, 3), …
#[inline(always)]
pub(super) fn turn<T: Real>(vectors: &mut [Lanes<T>], turns: &[(T, T)], direction: T) {
    for (pair, &(cosine, sine)) in vectors.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
        let ([a, b], sine) = (*pair, direction * sine);
        *pair = [each(a, b, |a, b| a * cosine - b * sine), each(a, b, |a, b| a * sine + b * cosine)];
    }
}
