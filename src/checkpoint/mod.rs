//! Checkpoints: a folder each, complete or absent, verified when read.
//!
//! ```text
//! at-000000050000/
//!   model.safetensors       parameters, f32
//!   optimiser.safetensors   Adam's moments, named first/… and second/…
//!   experiment.toml         what was trained
//!   manifest.json           run, sequences, steps, and size and SHA-256 of each file; written last
//! ```

mod recovery;

pub use recovery::{keep_recovery_point, latest_verified};

use crate::clamp::Moments;
use crate::experiment::Experiment;
use crate::transformer::Architecture;
use crate::{Error, Result, durable};
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A model at one moment of its training.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The run's name.
    pub run_id: String,
    /// Sequences seen.
    pub sequences: u64,
    /// Steps of the optimiser.
    pub steps: u64,
    /// The experiment file.
    pub experiment: String,
    /// Parameters by name, f32 on the CPU.
    pub parameters: Vec<(String, Tensor)>,
    /// The optimiser's moments by name, likewise.
    pub optimiser: Vec<(String, Tensor)>,
    /// When the thresholds of its interventions were crossed, one an intervention.
    pub moments: Vec<Moments>,
}

const MODEL: &str = "model.safetensors";
const OPTIMISER: &str = "optimiser.safetensors";
const EXPERIMENT: &str = "experiment.toml";
const MANIFEST: &str = "manifest.json";

#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u32,
    run_id: String,
    sequences: u64,
    steps: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    moments: Vec<Moments>,
    files: BTreeMap<String, FileMark>,
}

#[derive(Serialize, Deserialize)]
struct FileMark {
    bytes: u64,
    sha256: String,
}

/// The folder of the checkpoint at a number of sequences; names sort by it.
pub fn folder_at(checkpoints: &Path, sequences: u64) -> PathBuf {
    checkpoints.join(format!("at-{sequences:012}"))
}

/// The checkpoints in a folder and their numbers of sequences, in order; what has another name is left alone.
pub fn list(checkpoints: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let number = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("at-")?.parse().ok();
    let mut all: Vec<_> = durable::entries(checkpoints)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    all.sort();
    Ok(all)
}

impl Checkpoint {
    /// Writes it as a folder, which replaces one of that name.
    pub fn write(&self, folder: &Path) -> Result<()> {
        durable::write_folder(folder, |folder| {
            let mut files = BTreeMap::new();
            let mut put = |name: &str, bytes: &[u8]| -> Result<()> {
                let path = folder.join(name);
                durable::write_file(&path, |file| file.write_all(bytes).map_err(Error::file(&path)))?;
                files.insert(name.to_owned(), FileMark { bytes: bytes.len() as u64, sha256: hexadecimal(bytes) });
                Ok(())
            };
            put(MODEL, &serialised(&self.parameters)?)?;
            put(OPTIMISER, &serialised(&self.optimiser)?)?;
            put(EXPERIMENT, self.experiment.as_bytes())?;
            let (run_id, moments) = (self.run_id.clone(), self.moments.clone());
            let manifest = Manifest { version: 1, run_id, sequences: self.sequences, steps: self.steps, moments, files };
            let text = serde_json::to_string_pretty(&manifest).map_err(|error| Error::Internal(error.to_string()))?;
            let path = folder.join(MANIFEST);
            durable::write_file(&path, |file| file.write_all(text.as_bytes()).map_err(Error::file(&path)))
        })
    }

    /// SHA-256 of the manifest of a checkpoint, which names that of every file.
    pub fn sha256(folder: &Path) -> Result<String> {
        let path = folder.join(MANIFEST);
        Ok(hexadecimal(&fs::read(&path).map_err(Error::file(&path))?))
    }

    /// Reads and verifies it.
    ///
    /// # Errors
    /// A file is missing, or not what the manifest says.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let text = fs::read(&path).map_err(Error::file(&path))?;
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| Error::damaged(&path, error.to_string()))?;
        if manifest.version != 1 {
            return Err(Error::damaged(&path, format!("version {} of the format, this program reads version 1", manifest.version)));
        }
        let get = |name: &str| -> Result<Vec<u8>> {
            let path = folder.join(name);
            let bytes = fs::read(&path).map_err(Error::file(&path))?;
            match manifest.files.get(name) {
                Some(mark) if mark.bytes == bytes.len() as u64 && mark.sha256 == hexadecimal(&bytes) => Ok(bytes),
                Some(mark) => {
                    Err(Error::damaged(&path, format!("not the {} bytes of SHA-256 {} that its manifest names", mark.bytes, mark.sha256)))
                }
                None => Err(Error::damaged(&folder.join(MANIFEST), format!("does not name {name}"))),
            }
        };
        let tensors = |name: &str| deserialised(&get(name)?).map_err(|error| Error::damaged(&folder.join(name), error.to_string()));
        let experiment =
            String::from_utf8(get(EXPERIMENT)?).map_err(|error| Error::damaged(&folder.join(EXPERIMENT), error.to_string()))?;
        Ok(Self {
            run_id: manifest.run_id.clone(),
            sequences: manifest.sequences,
            steps: manifest.steps,
            experiment,
            parameters: tensors(MODEL)?,
            optimiser: tensors(OPTIMISER)?,
            moments: manifest.moments.clone(),
        })
    }
}

impl Checkpoint {
    /// The moments before the evaluation that belongs to it: whoever goes on from here evaluates here once more, and crosses again what that crossed.
    pub fn moments_before(&self) -> Vec<Moments> {
        let before = |moment: Option<u64>| moment.filter(|&at| at < self.sequences);
        self.moments.iter().map(|own| Moments { began: before(own.began), ended: before(own.ended) }).collect()
    }

    /// The architecture that its experiment says, of as many features as its parameters read.
    ///
    /// # Errors
    /// It has no example embedding; `path` is how the message calls it.
    pub fn architecture(&self, experiment: &Experiment, path: &Path) -> Result<Architecture> {
        let find = |name: &str| self.parameters.iter().find(|entry| entry.0 == name);
        let Some(features) = find("example_embed/weight").and_then(|(_, weight)| weight.dims().get(1).copied()) else {
            return Err(Error::damaged(path, "it has no example embedding"));
        };
        Ok(Architecture::new(experiment, features, find("example_embed/bias").is_none()))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tensors in the safetensors format; the order of the list is kept in the metadata, since the format sorts by name.
fn serialised(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let views = tensors.iter().map(|(name, tensor)| {
        let numbers: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Ok((name.as_str(), tensor.dims().to_vec(), bytes))
    });
    let owned: Vec<(&str, Vec<usize>, Vec<u8>)> = views.collect::<Result<_>>()?;
    let refused = |error: safetensors::SafeTensorError| Error::Internal(error.to_string());
    let views = owned.iter().map(|(name, shape, bytes)| {
        Ok((*name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).map_err(refused)?))
    });
    let order = tensors.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("\n");
    let metadata = Some([("order".to_string(), order)].into());
    safetensors::serialize(views.collect::<Result<Vec<_>>>()?, metadata).map_err(refused)
}

fn deserialised(bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let refused = |error: safetensors::SafeTensorError| Error::Invalid(error.to_string());
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(refused)?;
    let order = metadata.metadata().as_ref().and_then(|all| all.get("order")).cloned().unwrap_or_default();
    let tensors = SafeTensors::deserialize(bytes).map_err(refused)?;
    order
        .lines()
        .map(|name| {
            let view = tensors.tensor(name).map_err(refused)?;
            let numbers =
                view.data().chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect::<Vec<_>>();
            Ok((name.to_owned(), Tensor::from_vec(numbers, view.shape(), &Device::Cpu)?))
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example(sequences: u64) -> Checkpoint {
        let tensor = |numbers: &[f32]| Tensor::new(numbers, &Device::Cpu).unwrap();
        Checkpoint {
            run_id: "a".into(),
            sequences,
            steps: sequences / 32,
            experiment: "name = \"a\"\n".into(),
            parameters: vec![("z".into(), tensor(&[1.0, -0.0, f32::MIN_POSITIVE])), ("a".into(), tensor(&[sequences as f32]))],
            optimiser: vec![("first/z".into(), tensor(&[0.5]))],
            moments: vec![Moments { began: Some(64), ended: None }],
        }
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let home = tempfile::tempdir().unwrap();
        let folder = folder_at(home.path(), 640);
        example(640).write(&folder).unwrap();
        assert_eq!(folder.file_name().unwrap(), "at-000000000640");
        let read = Checkpoint::read(&folder).unwrap();
        assert_eq!((read.run_id.as_str(), read.sequences, read.steps), ("a", 640, 20));
        assert_eq!(read.experiment, "name = \"a\"\n");
        let names = |tensors: &[(String, Tensor)]| tensors.iter().map(|entry| entry.0.clone()).collect::<Vec<_>>();
        assert_eq!((names(&read.parameters), names(&read.optimiser)), (vec!["z".to_string(), "a".into()], vec!["first/z".to_string()]));
        let bits: Vec<u32> = read.parameters[0].1.to_vec1::<f32>().unwrap().iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, [1f32.to_bits(), (-0f32).to_bits(), f32::MIN_POSITIVE.to_bits()]);
    }

    #[test]
    fn checkpoints_are_listed_by_step() {
        let home = tempfile::tempdir().unwrap();
        for sequences in [1_000_000_000_000, 64, 9_600] {
            example(sequences).write(&folder_at(home.path(), sequences)).unwrap();
        }
        fs::create_dir(home.path().join("notes")).unwrap();
        let numbers: Vec<u64> = list(home.path()).unwrap().into_iter().map(|entry| entry.0).collect();
        assert_eq!(numbers, [64, 9_600, 1_000_000_000_000]);
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let home = tempfile::tempdir().unwrap();
        let folder = folder_at(home.path(), 64);
        example(64).write(&folder).unwrap();
        let path = folder.join(MODEL);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        let message = Checkpoint::read(&folder).unwrap_err().to_string();
        assert!(
            message.contains("at-000000000064/model.safetensors: not the ") && message.ends_with("that its manifest names"),
            "{message}"
        );
    }
}
