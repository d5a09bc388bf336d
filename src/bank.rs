//! The class bank: what every example of a sequence is made of.

use crate::ops::kept::{Constant, kept};
use crate::ops::look;
use crate::{Error, Result};
use bevy_ecs::component::Component;
use candle_core::{DType, Device, Tensor, WithDType};
use half::f16;
use half::slice::HalfFloatSliceExt;

/// Exemplars of classes, each a vector of features; on the device once, so that a batch moves indices alone.
#[derive(Component, Clone, Debug)]
pub struct ClassBank {
    /// Where it comes from, for messages and the run table.
    pub name: String,
    /// How many classes.
    pub classes: usize,
    /// Exemplars a class.
    pub exemplars: usize,
    /// Length of a feature vector.
    pub features: usize,
    /// The feature vectors.
    pub rows: Features,
}

/// The feature vectors of a bank, one a row; see [`ClassBank::row`].
#[derive(Clone, Debug)]
pub enum Features {
    /// `[classes · exemplars, features]`, f32, or f16 where the bank was stored in half precision: every such number is one of f32 too, so that
    /// rows become f32 when they are gathered, exactly, and the bank takes half the memory.
    Table(Tensor),
    /// Row i is the i-th unit vector. No matrix: a product with such a row is a look-up.
    OneHot,
}

impl ClassBank {
    /// A bank of the given features, f32 or f16, `[class · exemplar · feature]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a size is 0 or does not fit the features.
    pub fn new<T: WithDType>(
        name: &str,
        classes: usize,
        exemplars: usize,
        features: usize,
        values: Vec<T>,
        device: &Device,
    ) -> Result<Self> {
        let size = classes.checked_mul(exemplars).and_then(|rows| rows.checked_mul(features));
        if size != Some(values.len()) || values.is_empty() {
            let shape = format!("[{classes}, {exemplars}, {features}]");
            return Err(Error::Invalid(format!("class bank {name}: {} features do not make a bank of shape {shape}", values.len())));
        }
        let rows = Features::Table(Tensor::from_vec(values, (classes * exemplars, features), device)?);
        Ok(Self { name: name.into(), classes, exemplars, features, rows })
    }

    /// A bank of one exemplar a class, its one-hot vector.
    pub fn one_hot(classes: usize) -> Self {
        Self { name: "one_hot".into(), classes, exemplars: 1, features: classes, rows: Features::OneHot }
    }

    /// The row of an exemplar of a class.
    pub fn row(&self, class: u32, exemplar: u32) -> u32 {
        class * self.exemplars as u32 + exemplar
    }

    /// The features `[n, features]`, f32, of rows `[n]`, u32, on their device.
    ///
    /// # Errors
    /// If a row is not in the bank, or on another device than it is.
    pub fn gather(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(match &self.rows {
            Features::Table(table) if table.dtype() == DType::F16 && table.device().is_cpu() => self.widened(table, rows)?,
            Features::Table(table) => table.index_select(rows, 0)?.to_dtype(DType::F32)?,
            Features::OneHot => {
                let units = kept(Constant::Numbers(self.features), rows.device())?;
                rows.unsqueeze(1)?.broadcast_eq(&units)?.to_dtype(DType::F32)?
            }
        })
    }

    /// Rows of a table of halves, eight numbers at a time, which candle's conversion does one by one.
    fn widened(&self, table: &Tensor, rows: &Tensor) -> candle_core::Result<Tensor> {
        let rows: Vec<u32> = rows.to_vec1()?;
        // By way of a piece in the nearest cache, so that the whole need not be filled with zeros first.
        let mut piece = [0.0f32; 256];
        let mut features = Vec::with_capacity(rows.len() * self.features);
        look(table, |table: &[f16]| {
            for &row in &rows {
                let start = row as usize * self.features;
                let Some(from) = table.get(start..start + self.features) else { candle_core::bail!("row {row} is not in the bank") };
                for from in from.chunks(piece.len()) {
                    let piece = &mut piece[..from.len()];
                    from.convert_to_f32_slice(piece);
                    features.extend_from_slice(piece);
                }
            }
            Ok(())
        })?;
        Tensor::from_vec(features, (rows.len(), self.features), table.device())
    }

    /// Bytes that it takes on its device.
    pub fn bytes(&self) -> usize {
        match &self.rows {
            Features::Table(table) => table.elem_count() * table.dtype().size_in_bytes(),
            Features::OneHot => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_hold_the_exemplars_of_a_class() {
        let values = (0..2 * 3 * 4).map(|value| value as f32).collect();
        let bank = ClassBank::new("test", 2, 3, 4, values, &Device::Cpu).unwrap();
        let rows = Tensor::new(&[bank.row(1, 2), bank.row(0, 1)], &Device::Cpu).unwrap();
        let features = bank.gather(&rows).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(features, [[20.0, 21.0, 22.0, 23.0], [4.0, 5.0, 6.0, 7.0]]);
    }

    /// Every finite half, widened, is itself; and the bank keeps them as halves.
    #[test]
    fn halves_stay_halves_until_they_are_gathered() {
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|half| half.is_finite()).collect();
        let bank = ClassBank::new("halves", 31, 64, 32, halves.clone(), &Device::Cpu).unwrap();
        assert_eq!(bank.bytes(), 2 * halves.len());
        let rows = Tensor::arange(0u32, 31 * 64, &Device::Cpu).unwrap();
        let features: Vec<f32> = bank.gather(&rows).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(features.iter().zip(&halves).all(|(wide, half)| wide.to_bits() == half.to_f32().to_bits()));
        let beyond = Tensor::new(&[31 * 64u32], &Device::Cpu).unwrap();
        assert!(bank.gather(&beyond).unwrap_err().to_string().starts_with("row 1984 is not in the bank"));
    }

    #[test]
    fn a_large_one_hot_bank_costs_nothing_until_it_is_looked_at() {
        let bank = ClassBank::one_hot(12_800);
        assert_eq!((bank.classes, bank.exemplars, bank.features), (12_800, 1, 12_800));
        let rows = Tensor::new(&[12_799u32, 3], &Device::Cpu).unwrap();
        let features = bank.gather(&rows).unwrap().to_vec2::<f32>().unwrap();
        for (features, class) in features.iter().zip([12_799, 3]) {
            assert!(features.iter().enumerate().all(|(feature, &value)| value == f32::from(feature == class)));
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let refusal = |classes, values| ClassBank::new("b", classes, 1, 2, values, &Device::Cpu).unwrap_err().to_string();
        assert_eq!(refusal(2, vec![0.0; 3]), "class bank b: 3 features do not make a bank of shape [2, 1, 2]");
        assert_eq!(refusal(0, vec![]), "class bank b: 0 features do not make a bank of shape [0, 1, 2]");
    }
}
