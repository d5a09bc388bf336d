//! Checkpoints: a folder each, complete or absent, verified when read.
//!
//! ```text
//! at-000000050000/
//!   model.safetensors       parameters, f32
//!   optimiser.safetensors   Adam's moments, named first/… and second/…
//!   experiment.toml         what was trained
//!   manifest.json           run, sequences, steps, the rows of its tables, size and SHA-256 of each file, and SHA-256 of itself; written last
//! ```

mod recovery;

pub use recovery::{forget_recovery_points_after, keep_recovery_point, latest_verified};

use crate::checksum::sha256;
use crate::clamp::Moments;
use crate::experiment::Experiment;
use crate::log::Tally;
use crate::transformer::Architecture;
use crate::{Error, Result, durable};
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
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
    /// The rows that the run's tables have of before this moment; those of version 0.1 do not say.
    pub tables: BTreeMap<String, Tally>,
}

const MODEL: &str = "model.safetensors";
const OPTIMISER: &str = "optimiser.safetensors";
const EXPERIMENT: &str = "experiment.toml";
const MANIFEST: &str = "manifest.json";

/// The version of the format that is written. The first had neither rows nor a hash of itself.
const VERSION: u32 = 2;

#[derive(Clone, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    run_id: String,
    sequences: u64,
    steps: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    moments: Vec<Moments>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tables: BTreeMap<String, Tally>,
    files: BTreeMap<String, FileMark>,
    /// Of the manifest's text, in which 64 zeros stand in its place.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sha256: String,
}

impl Manifest {
    /// Its text, with its own hash in it.
    fn to_text(&self) -> Result<String> {
        let internal = |error: serde_json::Error| Error::Internal(error.to_string());
        let unsigned = serde_json::to_string_pretty(&Manifest { sha256: unsigned(), ..self.clone() }).map_err(internal)?;
        serde_json::to_string_pretty(&Manifest { sha256: sha256(&unsigned), ..self.clone() }).map_err(internal)
    }

    /// Reads one of a checkpoint.
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::file(path))?;
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|error| Error::damaged(path, format!("it is not what was written: {error}")))?;
        match manifest.version {
            1 => {}
            2 if sha256(text.replacen(&manifest.sha256, &unsigned(), 1)) == manifest.sha256 => {}
            2 => return Err(Error::damaged(path, "it is not what was written")),
            newer => {
                let message = format!("version {newer} of the format; this program reads versions up to {VERSION}: use a newer optogen");
                return Err(Error::input(path, message));
            }
        }
        Ok(manifest)
    }
}

/// What stands in the place of a manifest's hash while it is made.
fn unsigned() -> String {
    "0".repeat(64)
}

#[derive(Clone, Serialize, Deserialize)]
struct FileMark {
    bytes: u64,
    sha256: String,
}

/// The folder of the checkpoint at a number of sequences; names sort by it.
pub fn folder_at(checkpoints: &Path, sequences: u64) -> PathBuf {
    checkpoints.join(format!("at-{sequences:012}"))
}

/// The number of sequences in a checkpoint folder's name, if it has such a name.
fn sequences_of(folder: &Path) -> Option<u64> {
    folder.file_name()?.to_str()?.strip_prefix("at-")?.parse().ok()
}

/// The run of whose checkpoints or recovery points one is, `run=ID/checkpoints/at-…`, if it lies there; a donor in a run's folder is another's.
fn run_of(folder: &Path) -> Option<&str> {
    let own = folder.parent().filter(|own| own.ends_with("checkpoints") || own.ends_with("recovery"))?;
    own.parent()?.file_name()?.to_str()?.strip_prefix("run=")
}

/// The checkpoints in a folder and their numbers of sequences, in order; what has another name is left alone.
pub fn list(checkpoints: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut all: Vec<_> = durable::entries(checkpoints)?.into_iter().filter_map(|path| Some((sequences_of(&path)?, path))).collect();
    all.sort();
    Ok(all)
}

impl Checkpoint {
    /// Writes it as a folder, which replaces one of that name.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let files = self.files()?;
        let manifest = self.manifest(&files)?;
        durable::write_folder(folder, |folder| {
            let put = |(name, bytes): (&str, &[u8])| {
                let path = folder.join(name);
                durable::write_file(&path, |file| file.write_all(bytes).map_err(Error::file(&path)))
            };
            // The manifest last.
            files.iter().map(|(name, bytes)| (*name, &bytes[..])).chain([(MANIFEST, manifest.as_bytes())]).try_for_each(put)
        })
    }

    /// Its files, all but the manifest.
    fn files(&self) -> Result<[(&'static str, Vec<u8>); 3]> {
        let experiment = self.experiment.clone().into_bytes();
        Ok([(MODEL, serialised(&self.parameters)?), (OPTIMISER, serialised(&self.optimiser)?), (EXPERIMENT, experiment)])
    }

    /// The text of the manifest that goes with these files.
    fn manifest(&self, files: &[(&'static str, Vec<u8>)]) -> Result<String> {
        let mark = |(name, bytes): &(&str, Vec<u8>)| ((*name).to_owned(), FileMark { bytes: bytes.len() as u64, sha256: sha256(bytes) });
        let files = files.iter().map(mark).collect();
        let Self { run_id, moments, tables, sequences, steps, .. } = self.clone();
        Manifest { version: VERSION, run_id, sequences, steps, moments, tables, files, sha256: String::new() }.to_text()
    }

    /// What [`sha256`](Self::sha256) will say of it once it is written.
    pub fn sha256_as_written(&self) -> Result<String> {
        Ok(sha256(self.manifest(&self.files()?)?))
    }

    /// SHA-256 of the manifest of a checkpoint, which names that of every file.
    pub fn sha256(folder: &Path) -> Result<String> {
        let path = folder.join(MANIFEST);
        Ok(sha256(fs::read(&path).map_err(Error::file(&path))?))
    }

    /// Reads and verifies it.
    ///
    /// # Errors
    /// A file is missing, or not what the manifest says; the manifest is not what was written, or lies in the folder of another moment or run.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let manifest = Manifest::read(&path)?;
        if let Some(named) = sequences_of(folder).filter(|named| *named != manifest.sequences) {
            let message = format!("it is a checkpoint after {} sequences, in the folder of one after {named}", manifest.sequences);
            return Err(Error::damaged(&path, message));
        }
        if let Some(run_id) = run_of(folder).filter(|run_id| **run_id != manifest.run_id) {
            return Err(Error::damaged(folder, format!("a checkpoint of the run {}, this is {run_id}", manifest.run_id)));
        }
        let get = |name: &str| -> Result<Vec<u8>> {
            let path = folder.join(name);
            let bytes = fs::read(&path).map_err(Error::file(&path))?;
            match manifest.files.get(name) {
                Some(mark) if mark.bytes == bytes.len() as u64 && mark.sha256 == sha256(&bytes) => Ok(bytes),
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
            tables: manifest.tables.clone(),
        })
    }

    /// Reads and verifies the checkpoint of a run.
    ///
    /// # Errors
    /// As [`read`](Self::read); it is of another run.
    pub fn read_of(run_id: &str, folder: &Path) -> Result<Self> {
        let checkpoint = Self::read(folder)?;
        match checkpoint.run_id == run_id {
            true => Ok(checkpoint),
            false => Err(Error::damaged(folder, format!("a checkpoint of the run {}, this is {run_id}", checkpoint.run_id))),
        }
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
            tables: [("train".to_owned(), Tally { rows: sequences / 32, sha256: None })].into(),
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

    /// Whatever is changed in it.
    #[test]
    fn a_manifest_vouches_for_itself() {
        let home = tempfile::tempdir().unwrap();
        let folder = folder_at(home.path(), 640);
        example(640).write(&folder).unwrap();
        let path = folder.join(MANIFEST);
        let whole = fs::read(&path).unwrap();
        assert_eq!(Checkpoint::read(&folder).unwrap().tables["train"].rows, 20);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(Checkpoint::read(&folder).is_err(), "byte {at} of {}", String::from_utf8_lossy(&changed));
        }
        fs::write(&path, String::from_utf8(whole.clone()).unwrap().replace("\"steps\": 20", "\"steps\": 21")).unwrap();
        let message = Checkpoint::read(&folder).unwrap_err().to_string();
        assert!(message.ends_with("at-000000000640/manifest.json: it is not what was written"), "{message}");
        fs::write(&path, String::from_utf8(whole).unwrap().replace("\"version\": 2", "\"version\": 3")).unwrap();
        let message = Checkpoint::read(&folder).unwrap_err().to_string();
        assert!(message.ends_with("version 3 of the format; this program reads versions up to 2: use a newer optogen"), "{message}");
    }

    #[test]
    fn a_checkpoint_of_another_moment_or_run_is_named() {
        let home = tempfile::tempdir().unwrap();
        let folder = folder_at(home.path(), 640);
        example(320).write(&folder).unwrap();
        let message = Checkpoint::read(&folder).unwrap_err().to_string();
        assert!(message.ends_with("manifest.json: it is a checkpoint after 320 sequences, in the folder of one after 640"), "{message}");
        example(640).write(&folder).unwrap();
        assert!(Checkpoint::read_of("a", &folder).is_ok());
        let message = Checkpoint::read_of("b", &folder).unwrap_err().to_string();
        assert!(message.ends_with("at-000000000640: a checkpoint of the run a, this is b"), "{message}");
    }

    /// As version 0.1 wrote it: without rows, and without a hash of itself.
    #[test]
    fn the_first_version_of_a_manifest_is_read() {
        let home = tempfile::tempdir().unwrap();
        let folder = folder_at(home.path(), 640);
        example(640).write(&folder).unwrap();
        let path = folder.join(MANIFEST);
        let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let entries = manifest.as_object_mut().unwrap();
        entries.insert("version".into(), 1.into());
        for newer in ["tables", "sha256"] {
            assert!(entries.remove(newer).is_some());
        }
        fs::write(&path, manifest.to_string()).unwrap();
        let read = Checkpoint::read(&folder).unwrap();
        assert_eq!((read.steps, read.tables.len()), (20, 0));
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
