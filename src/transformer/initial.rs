//! Initial parameters, drawn from the init seed: one stream a parameter, so that none depends on another.

use crate::experiment::SeedSpec;
use crate::seeds::{ChaCha8Rng, stream, uniform};
use crate::transformer::Architecture;
use candle_core::{Device, Result, Tensor};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

/// Standard deviation of a standard normal cut off at ±2.
const CUT_DEVIATION: f64 = 0.879_625_661_034_239_8;

/// The parameters of a new model, f32 on the CPU, in the order of the architecture.
///
/// Linear weights: LeCun normal, a normal cut off at ±2σ, of variance 1/in. Label embedding: .02 × a normal cut off at ±2.
/// Position table: uniform within ±1/√32. Biases 0, gains 1. `rescale` multiplies what the published code calls linear:
/// the weights, and the two tables. The embedding of one-hot exemplars is .02 × a normal cut off at ±2 as well.
pub fn initial_parameters(architecture: &Architecture, seeds: &SeedSpec, rescale: f64) -> Result<Vec<(String, Tensor)>> {
    let draw = |(name, shape): (String, Vec<usize>)| {
        let count = shape.iter().product();
        let mut random = stream(seeds.init, &format!("parameter {name}"), 0);
        let mut all =
            |draw: &dyn Fn(&mut ChaCha8Rng) -> f64| -> Vec<f32> { (0..count).map(|_| (rescale * draw(&mut random)) as f32).collect() };
        let numbers = match name.as_str() {
            "label_embed/weight" => all(&|random| 0.02 * cut_normal(random)),
            "example_embed/weight" if !architecture.example_bias => all(&|random| 0.02 * cut_normal(random)),
            "pos_embed/weight" => all(&|random| (2.0 * uniform(random) - 1.0) * (shape[1] as f64).powf(-0.5)),
            _ if shape.len() == 2 => all(&|random| (shape[1] as f64).powf(-0.5) / CUT_DEVIATION * cut_normal(random)),
            _ if name.contains("norm") && name.ends_with("weight") => vec![1.0; count],
            _ => vec![0.0; count],
        };
        Ok((name, Tensor::from_vec(numbers, shape, &Device::Cpu)?))
    };
    architecture.parameters().into_iter().map(draw).collect()
}

/// A standard normal, drawn again until it lies within ±2.
fn cut_normal(random: &mut impl Rng) -> f64 {
    loop {
        let number: f64 = StandardNormal.sample(random);
        if number.abs() <= 2.0 {
            return number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Positions;

    /// Mean square of the numbers of a parameter, and the largest.
    fn spread(parameters: &[(String, Tensor)], name: &str) -> (f64, f64) {
        let numbers: Vec<f32> = parameters.iter().find(|entry| entry.0 == name).unwrap().1.flatten_all().unwrap().to_vec1().unwrap();
        let square = numbers.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / numbers.len() as f64;
        (square, numbers.iter().map(|&x| f64::from(x).abs()).fold(0.0, f64::max))
    }

    #[test]
    fn parameters_have_the_spread_of_the_published_ones() {
        let architecture = Architecture {
            layers: 2,
            width: 64,
            heads: 8,
            hidden: Some(256),
            features: 512,
            example_bias: true,
            outputs: 1000,
            positions: Positions::Learned,
            time: 1e4,
            norms: true,
            causal: true,
        };
        let seeds = SeedSpec::default();
        let drawn = initial_parameters(&architecture, &seeds, 1.0).unwrap();
        for (name, square, largest) in [
            ("example_embed/weight", 1.0 / 512.0, 2.0 / 512f64.sqrt() / CUT_DEVIATION),
            ("transformer/blocks/1/attn/qkv/weight", 1.0 / 64.0, 2.0 / 8.0 / CUT_DEVIATION),
            ("transformer/blocks/0/mlp/fc2/weight", 1.0 / 256.0, 2.0 / 16.0 / CUT_DEVIATION),
            ("label_embed/weight", (0.02 * CUT_DEVIATION).powi(2), 0.04),
            ("pos_embed/weight", 1.0 / 96.0, 32f64.powf(-0.5)),
            ("transformer/norm/weight", 1.0, 1.0),
            ("unembed/bias", 0.0, 0.0),
        ] {
            let (is, most) = spread(&drawn, name);
            assert!((is - square).abs() <= 0.05 * square, "{name}: mean square {is}, not {square}");
            assert!(most <= largest * (1.0 + 1e-6) && most >= 0.95 * largest, "{name}: at most {most}, not {largest}");
        }
        let halved = initial_parameters(&architecture, &seeds, 0.5).unwrap();
        assert!((spread(&halved, "unembed/weight").0 / spread(&drawn, "unembed/weight").0 - 0.25).abs() < 1e-6);
        assert_eq!(spread(&halved, "transformer/norm/weight").0, 1.0);
    }
}
