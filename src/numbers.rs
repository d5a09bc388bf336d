//! One number for each member of a cohort, such as its loss.

use candle_core::{DType, Result, Tensor};

/// On a CPU the numbers are at hand; on a GPU they stay there until they are read, since reading waits for all that is under way there.
#[derive(Clone, Debug)]
pub enum Numbers {
    /// At hand.
    Here(Vec<f64>),
    /// On a device, f32 `[K]`.
    There(Tensor),
}

impl Numbers {
    /// Those of a tensor `[K]`.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        if tensor.device().is_cpu() {
            Ok(Self::Here(tensor.to_dtype(DType::F64)?.to_vec1()?))
        } else {
            Ok(Self::There(tensor.detach().to_dtype(DType::F32)?))
        }
    }

    /// Adds others, of the same place.
    pub fn add(&mut self, other: &Numbers) -> Result<()> {
        match (&mut *self, other) {
            (Self::Here(sums), Self::Here(other)) => sums.iter_mut().zip(other).for_each(|(sum, other)| *sum += other),
            (Self::There(sums), Self::There(other)) => *sums = (&*sums + other)?,
            _ => candle_core::bail!("numbers of a cohort lie in two places"),
        }
        Ok(())
    }

    /// Divided by a number.
    pub fn over(mut self, divisor: f64) -> Result<Self> {
        match &mut self {
            Self::Here(numbers) => numbers.iter_mut().for_each(|number| *number /= divisor),
            Self::There(numbers) => *numbers = (&*numbers / divisor)?,
        }
        Ok(self)
    }

    /// Their square roots.
    pub fn root(mut self) -> Result<Self> {
        match &mut self {
            Self::Here(numbers) => numbers.iter_mut().for_each(|number| *number = number.sqrt()),
            Self::There(numbers) => *numbers = numbers.sqrt()?,
        }
        Ok(self)
    }

    /// Reads many; whatever lies on a device comes over in one go.
    pub fn read(all: Vec<Numbers>) -> Result<Vec<Vec<f64>>> {
        let there: Vec<&Tensor> =
            all.iter().filter_map(|numbers| if let Self::There(there) = numbers { Some(there) } else { None }).collect();
        let brought: Vec<Vec<f32>> = if there.is_empty() { Vec::new() } else { Tensor::stack(&there, 0)?.to_vec2()? };
        let mut brought = brought.into_iter();
        let each = all.into_iter().map(|numbers| match numbers {
            Self::Here(numbers) => numbers,
            Self::There(_) => brought.next().unwrap_or_default().into_iter().map(f64::from).collect(),
        });
        Ok(each.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Both places compute the same.
    #[test]
    fn numbers_are_the_same_here_and_there() {
        let there = |numbers: [f32; 2]| Numbers::There(Tensor::new(&numbers, &Device::Cpu).unwrap());
        let here = |numbers: [f32; 2]| Numbers::of(&Tensor::new(&numbers, &Device::Cpu).unwrap()).unwrap();
        assert!(matches!(here([1.0, 2.0]), Numbers::Here(_)));
        let worked = |mut a: Numbers, b: Numbers| {
            a.add(&b).unwrap();
            a.over(4.0).unwrap().root().unwrap()
        };
        let all = vec![
            worked(here([3.0, 20.0]), here([1.0, 16.0])),
            worked(there([3.0, 20.0]), there([1.0, 16.0])),
            here([5.0, 6.0]),
            there([7.0, 8.0]),
        ];
        assert_eq!(Numbers::read(all).unwrap(), [[1.0, 3.0], [1.0, 3.0], [5.0, 6.0], [7.0, 8.0]]);
        assert!(here([1.0, 2.0]).add(&there([1.0, 2.0])).unwrap_err().to_string().contains("in two places"));
    }
}
