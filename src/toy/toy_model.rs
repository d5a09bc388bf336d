//! The two toy models: losses, slopes and measures, each by its formula.
//!
//! Losses are of whole tensors of n_a·n_b·n_c entries, but no tensor is ever made: with t what the vectors should be and x what they are,
//! mean (⊗t − ⊗x)² = (Π|t|² − 2 Π t·x + Π|x|²) / n. Vectors are kept in f32, as published; sums are in f64.

use bevy_ecs::prelude::Component;

/// A vector that learns.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector {
    /// Its letter.
    pub name: char,
    /// What it should be.
    pub truth: Vec<f32>,
    /// What it is.
    pub now: Vec<f32>,
}

/// What learns, with its vectors, in the order of their letters.
#[derive(Component, Clone, Debug, PartialEq)]
pub enum ToyModel {
    /// a⊗b⊗c: L = ½ mean (a⊗b⊗c as it should be − as it is)².
    TensorProduct([Vector; 3]),
    /// L = (M₁+μ₁)(M₂+μ₂) + α·cost, where M₁ = ½ mean (error of a⊗b⊗c)², M₂ = ½ mean (error of d⊗b⊗c)², cost = ½ mean (a⊗d)².
    Coopetition {
        /// a, b, c and d.
        vectors: [Vector; 4],
        /// Weight of the cost of both mechanisms at once.
        alpha: f64,
        /// What mechanism 1 cannot do.
        mu1: f64,
        /// What mechanism 2 cannot do.
        mu2: f64,
    },
}

/// A loss, and its slope in every entry of every vector.
#[derive(Component, Clone, Debug, Default, PartialEq)]
pub struct Slopes {
    /// The loss.
    pub loss: f64,
    /// A vector's slopes each.
    pub slopes: Vec<Vec<f64>>,
}

/// Something measured of a toy model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// What.
    pub measure: &'static str,
    /// Of which vector; none for the whole model.
    pub vector: Option<char>,
    /// How much.
    pub value: f64,
}

impl ToyModel {
    /// Its vectors.
    pub fn vectors(&self) -> &[Vector] {
        match self {
            Self::TensorProduct(vectors) => vectors,
            Self::Coopetition { vectors, .. } => vectors,
        }
    }

    /// Its vectors, to be changed.
    pub fn vectors_mut(&mut self) -> &mut [Vector] {
        match self {
            Self::TensorProduct(vectors) => vectors,
            Self::Coopetition { vectors, .. } => vectors,
        }
    }

    /// The loss and its slopes.
    pub fn slopes(&self) -> Slopes {
        match self {
            Self::TensorProduct([a, b, c]) => product([a, b, c]),
            Self::Coopetition { vectors: [a, b, c, d], alpha, mu1, mu2 } => {
                let (one, two, cost) = (product([a, b, c]), product([d, b, c]), cost(a, d));
                let (first, second) = (one.loss + mu1, two.loss + mu2);
                let shared = |index: usize| sum(&[(second, &one.slopes[index]), (first, &two.slopes[index])]);
                let slopes = vec![
                    sum(&[(second, &one.slopes[0]), (*alpha, &cost.slopes[0])]),
                    shared(1),
                    shared(2),
                    sum(&[(first, &two.slopes[0]), (*alpha, &cost.slopes[1])]),
                ];
                Slopes { loss: first * second + alpha * cost.loss, slopes }
            }
        }
    }

    /// Everything that is measured.
    ///
    /// | measure | of | is |
    /// |---|---|---|
    /// | `misalignment` | each vector | 1 − cos² of the angle to what it should be |
    /// | `distance` | each vector | from what it should be |
    /// | `norm`, `slope` | each vector | its length, and that of the loss's gradient in it |
    /// | `loss_alone` | a tensor product's vectors | the loss if the other two were right, up to sign: the smaller of that at ± the vector |
    /// | `mechanism_1`, `mechanism_2`, `cost` | coopetition | M₁, M₂ and the cost |
    pub fn measures(&self) -> Vec<Measure> {
        let slopes = self.slopes().slopes;
        let mut all: Vec<Measure> = Vec::new();
        for (vector, slope) in self.vectors().iter().zip(&slopes) {
            let (length, should_be, overlap) = (square(&vector.now), square(&vector.truth), dot(&vector.truth, &vector.now));
            all.extend([
                of(vector, "misalignment", 1.0 - overlap.powi(2) / (length * should_be)),
                of(vector, "distance", not_below_zero(should_be - 2.0 * overlap + length).sqrt()),
                of(vector, "norm", length.sqrt()),
                of(vector, "slope", slope.iter().map(|entry| entry.powi(2)).sum::<f64>().sqrt()),
            ]);
        }
        let whole = |measure, value| Measure { measure, vector: None, value };
        match self {
            Self::TensorProduct(vectors) => all.extend(vectors.iter().map(|vector| of(vector, "loss_alone", alone(vector, vectors)))),
            Self::Coopetition { vectors: [a, b, c, d], .. } => all.extend([
                whole("mechanism_1", product([a, b, c]).loss),
                whole("mechanism_2", product([d, b, c]).loss),
                whole("cost", cost(a, d).loss),
            ]),
        }
        all
    }
}

fn of(vector: &Vector, measure: &'static str, value: f64) -> Measure {
    Measure { measure, vector: Some(vector.name), value }
}

/// ½ mean (⊗t − ⊗x)², and its slopes in the entries of each x.
fn product(vectors: [&Vector; 3]) -> Slopes {
    let size = vectors.iter().map(|vector| vector.now.len() as f64).product::<f64>();
    let lengths = vectors.map(|vector| square(&vector.now));
    let overlaps = vectors.map(|vector| dot(&vector.truth, &vector.now));
    let truth: f64 = vectors.map(|vector| square(&vector.truth)).iter().product();
    let error = truth - 2.0 * overlaps.iter().product::<f64>() + lengths.iter().product::<f64>();
    let slope = |index: usize| -> Vec<f64> {
        let others = |of: &[f64; 3]| of.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, one)| one).product::<f64>();
        let (length, overlap) = (others(&lengths) / size, others(&overlaps) / size);
        let Vector { now, truth, .. } = vectors[index];
        now.iter().zip(truth).map(|(&now, &truth)| length * f64::from(now) - overlap * f64::from(truth)).collect()
    };
    Slopes { loss: not_below_zero(error) / (2.0 * size), slopes: (0..3).map(slope).collect() }
}

/// ½ mean (a⊗d)², and its slopes in the entries of a and of d.
fn cost(a: &Vector, d: &Vector) -> Slopes {
    let size = (a.now.len() * d.now.len()) as f64;
    let (one, two) = (square(&a.now), square(&d.now));
    let slope = |vector: &Vector, other: f64| vector.now.iter().map(|&entry| other / size * f64::from(entry)).collect();
    Slopes { loss: one * two / (2.0 * size), slopes: vec![slope(a, two), slope(d, one)] }
}

/// A tensor product's loss if all but one of its vectors were right, up to sign: ± the vector, whichever is nearer.
fn alone(vector: &Vector, vectors: &[Vector; 3]) -> f64 {
    let size = vectors.iter().map(|vector| vector.now.len() as f64).product::<f64>();
    let others = vectors.iter().filter(|other| other.name != vector.name).map(|other| square(&other.truth)).product::<f64>();
    let error = square(&vector.truth) - 2.0 * dot(&vector.truth, &vector.now).abs() + square(&vector.now);
    others * not_below_zero(error) / (2.0 * size)
}

/// What is a square, but for rounding. What is not a number stays so.
fn not_below_zero(number: f64) -> f64 {
    if number < 0.0 { 0.0 } else { number }
}

fn square(vector: &[f32]) -> f64 {
    dot(vector, vector)
}

fn dot(one: &[f32], other: &[f32]) -> f64 {
    one.iter().zip(other).map(|(&one, &other)| f64::from(one) * f64::from(other)).sum()
}

/// A sum of vectors of one length, with weights.
fn sum(parts: &[(f64, &Vec<f64>)]) -> Vec<f64> {
    let length = parts.first().map_or(0, |(_, vector)| vector.len());
    (0..length).map(|index| parts.iter().map(|(weight, vector)| weight * vector[index]).sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::drawn_vectors;

    fn models() -> [ToyModel; 2] {
        let [a, b, c, d]: [Vector; 4] = drawn_vectors(&[('a', 4), ('b', 3), ('c', 5), ('d', 7)], 2, 1).try_into().unwrap();
        let product = ToyModel::TensorProduct([a.clone(), b.clone(), c.clone()]);
        [product, ToyModel::Coopetition { vectors: [a, b, c, d], alpha: 0.3, mu1: 0.2, mu2: 0.05 }]
    }

    /// The definition, entry by entry of the tensor.
    fn by_entries(vectors: [&Vector; 3]) -> f64 {
        let [a, b, c] = vectors;
        let (mut sum, mut count) = (0.0, 0.0);
        for i in 0..a.now.len() {
            for j in 0..b.now.len() {
                for k in 0..c.now.len() {
                    let of = |a: &[f32], b: &[f32], c: &[f32]| f64::from(a[i]) * f64::from(b[j]) * f64::from(c[k]);
                    sum += (of(&a.truth, &b.truth, &c.truth) - of(&a.now, &b.now, &c.now)).powi(2);
                    count += 1.0;
                }
            }
        }
        sum / count / 2.0
    }

    #[test]
    fn losses_are_their_definitions() {
        let [product, coopetition] = models();
        let ToyModel::TensorProduct([a, b, c]) = &product else { unreachable!() };
        assert!((product.slopes().loss - by_entries([a, b, c])).abs() < 1e-12);
        let ToyModel::Coopetition { vectors: [a, b, c, d], alpha, mu1, mu2 } = &coopetition else { unreachable!() };
        let mut entries = 0.0;
        for one in &a.now {
            entries += d.now.iter().map(|other| (f64::from(*one) * f64::from(*other)).powi(2)).sum::<f64>();
        }
        let cost = entries / (a.now.len() * d.now.len()) as f64 / 2.0;
        let expected = (by_entries([a, b, c]) + mu1) * (by_entries([d, b, c]) + mu2) + alpha * cost;
        assert!((coopetition.slopes().loss - expected).abs() < 1e-12);
        let measure = |name: &str| coopetition.measures().into_iter().find(|one| one.measure == name).unwrap().value;
        assert!((measure("mechanism_1") - by_entries([a, b, c])).abs() < 1e-12);
        assert!((measure("mechanism_2") - by_entries([d, b, c])).abs() < 1e-12);
        assert!((measure("cost") - cost).abs() < 1e-12);
    }

    #[test]
    fn slopes_are_finite_differences() {
        for model in models() {
            let slopes = model.slopes().slopes;
            for (index, vector) in model.vectors().iter().enumerate() {
                for (entry, slope) in slopes[index].iter().enumerate() {
                    let beside = |by: f32| {
                        let mut moved = model.clone();
                        moved.vectors_mut()[index].now[entry] += by;
                        (f64::from(moved.vectors()[index].now[entry]), moved.slopes().loss)
                    };
                    let ((low, below), (high, above)) = (beside(-0.003), beside(0.003));
                    let expected = (above - below) / (high - low);
                    assert!((slope - expected).abs() < 1e-5 * expected.abs().max(1.0), "{}[{entry}]: {slope}, {expected}", vector.name);
                }
            }
        }
    }

    #[test]
    fn measures_are_0_where_all_is_right_up_to_sign() {
        let [mut product, _] = models();
        let value = |model: &ToyModel, name: &str, vector: char| {
            model.measures().into_iter().find(|one| one.measure == name && one.vector == Some(vector)).unwrap().value
        };
        assert!(value(&product, "misalignment", 'a') > 0.1 && value(&product, "loss_alone", 'a') > 0.01);
        for vector in product.vectors_mut() {
            vector.now = vector.truth.iter().map(|entry| -entry).collect();
        }
        for name in ['a', 'b', 'c'] {
            assert!(value(&product, "misalignment", name).abs() < 1e-12);
            assert!(value(&product, "loss_alone", name).abs() < 1e-12);
            assert!((value(&product, "distance", name) - 2.0 * value(&product, "norm", name)).abs() < 1e-9);
        }
        assert!(product.slopes().loss > 0.01, "three signs do not cancel");
    }
}
