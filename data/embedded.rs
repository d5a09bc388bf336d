//! The bank inside the program: EfficientNet-Lite0 features of the small Omniglot sets; see README.md beside it.

use crate::bank::bank_of;
use crate::hdf5_file::File;
use candle_core::Device;
use optogen::bank::ClassBank;
use optogen::experiment::EMBEDDED_BANK;
use optogen::{Error, Result};
use std::io::Write;
use std::path::Path;

static FILE: &[u8] = include_bytes!("omniglot_small.h5");

/// The embedded bank: 1936 classes, 5 exemplars, 512 features.
///
/// # Errors
/// If no temporary file can be written.
pub fn embedded_bank(device: &Device) -> Result<ClassBank> {
    embedded("efficientnet_lite0/224/feat", device)
}

/// A dataset of the embedded file as a bank.
///
/// Read through a temporary file: HDF5's images of files in memory are not in the `hdf5` crate's safe interface, and would be one more copy.
pub(crate) fn embedded(dataset: &str, device: &Device) -> Result<ClassBank> {
    let folder = std::env::temp_dir();
    let mut copy = tempfile::Builder::new().prefix("optogen-bank-").suffix(".h5").tempfile_in(&folder).map_err(Error::file(&folder))?;
    copy.write_all(FILE).map_err(Error::file(copy.path()))?;
    let file = File::open_as(copy.path(), Path::new(EMBEDDED_BANK))?;
    // Open as it is, it can go from the folder: nothing is left there by whatever ends the program.
    copy.close().map_err(Error::file(&folder))?;
    bank_of(&file, EMBEDDED_BANK, dataset, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;
    use optogen::bank::Features;

    #[test]
    fn the_embedded_bank_has_the_norm_that_the_published_one_has() {
        let bank = embedded_bank(&Device::Cpu).unwrap();
        assert_eq!((bank.classes, bank.exemplars, bank.features), (1936, 5, 512));
        let Features::Table(rows) = &bank.rows else { panic!("not a table") };
        assert_eq!(rows.dtype(), DType::F16);
        let norms: Vec<f32> = rows.to_dtype(DType::F32).unwrap().sqr().unwrap().sum(1).unwrap().sqrt().unwrap().to_vec1().unwrap();
        let mean = norms.iter().sum::<f32>() / norms.len() as f32;
        assert!((mean - 28.0).abs() < 0.01, "{mean}");
        assert_eq!(optogen::content::of_bank(&bank).unwrap().as_deref(), Some(optogen::experiment::EMBEDDED_SHA256));
    }

    #[test]
    fn only_banks_are_taken_from_it() {
        let message = embedded("class_names", &Device::Cpu).unwrap_err().to_string();
        assert_eq!(
            message,
            "data/omniglot_small.h5: dataset \"class_names\" is of shape [1936]; a class bank is [classes, exemplars, features]"
        );
    }
}
