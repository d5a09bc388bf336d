//! The bank inside the program: EfficientNet-Lite0 features of the small Omniglot sets; see README.md beside it.

use crate::bank::bank_of;
use crate::hdf5_file::File;
use candle_core::Device;
use optogen::Result;
use optogen::bank::ClassBank;

/// What experiments call the file.
pub(crate) const EMBEDDED_PATH: &str = "data/omniglot_small.h5";

static FILE: &[u8] = include_bytes!("omniglot_small.h5");

/// The embedded bank: 1936 classes, 5 exemplars, 512 features.
///
/// # Errors
/// The device has no room for it.
pub fn embedded_bank(device: &Device) -> Result<ClassBank> {
    embedded("efficientnet_lite0/224/feat", device)
}

/// A dataset of the embedded file as a bank, read from memory; the library's copy of the file goes with `file`.
pub(crate) fn embedded(dataset: &str, device: &Device) -> Result<ClassBank> {
    let file = File::open_image(FILE, EMBEDDED_PATH)?;
    bank_of(&file, EMBEDDED_PATH, dataset, device)
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
    }

    #[test]
    fn it_can_be_read_by_several_at_once() {
        let read = || std::thread::spawn(|| embedded_bank(&Device::Cpu).unwrap().classes);
        let all: Vec<_> = (0..4).map(|_| read()).collect();
        assert!(all.into_iter().all(|one| one.join().unwrap() == 1936));
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
