//! The published code's checkpoints: a run of NumPy arrays, one after another, without an index.
//!
//! In order: sequences seen; the model's leaves, numbers that are not learned among them; the optimiser's leaves; three random keys.

use super::npy::Array;
use crate::hdf5_file::position;
use candle_core::{Device, Tensor};
use optogen::experiment::{OptimiserName, Positions};
use optogen::transformer::Architecture;
use optogen::{Error, Result};
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;

/// A checkpoint of the published code.
#[derive(Debug)]
pub struct PublishedCheckpoint {
    /// Sequences seen.
    pub sequences: u64,
    /// Parameters by name, in the order of the architecture.
    pub parameters: Vec<(String, Tensor)>,
    /// Steps of the optimiser, and its moments, `first/NAME` and `second/NAME` for each parameter; none for SGD.
    pub optimiser: (u64, Vec<(String, Tensor)>),
    /// Whether numbers were in float64, and have been rounded.
    pub rounded: bool,
}

/// Reads a checkpoint of a model of this architecture. Numbers in float64, as JAX writes them with x64, are rounded to float32.
///
/// # Errors
/// [`Error::Input`]: an entry is not of the type and shape that the architecture has there, entries are missing or left over, or a number is not
/// finite; [`Error::File`]: the disk failed.
pub fn read_eqx(path: &Path, architecture: &Architecture, optimiser: OptimiserName) -> Result<PublishedCheckpoint> {
    let file = File::open(path).map_err(Error::input_file(path))?;
    let mut entries = Entries { path, stream: BufReader::new(file), number: 0, rounded: false };
    let sequences = entries.integer("the number of sequences seen", "<i8")?;
    let mut parameters = Vec::new();
    for leaf in leaves(architecture) {
        match leaf {
            Leaf::Parameter(name, shape) => parameters.push((name.clone(), entries.tensor(&name, &shape)?)),
            Leaf::Integer(name, value) => entries.setting(name, "<i8", Some(value as f64))?,
            Leaf::Flag(name, value) => entries.setting(name, "|b1", value.map(|set| f64::from(u8::from(set))))?,
            Leaf::Scalar(name, value) => entries.setting(name, "<f8", value)?,
        }
    }
    let optimiser = entries.optimiser(&parameters, optimiser)?;
    for key in ["the evaluation's", "the data's", "the training's"] {
        entries.expect(&format!("{key} random key"), "<u4", &[2])?;
    }
    entries.end()?;
    Ok(PublishedCheckpoint { sequences: sequences as u64, parameters, optimiser, rounded: entries.rounded })
}

/// What stands in the stream for a model, and the value that a setting must have, if any does not do.
enum Leaf {
    Parameter(String, Vec<usize>),
    Integer(&'static str, usize),
    Flag(&'static str, Option<bool>),
    Scalar(&'static str, Option<f64>),
}

/// The model's leaves: its parameters, and before or behind some of them numbers that are not learned.
fn leaves(architecture: &Architecture) -> Vec<Leaf> {
    use Leaf::*;
    let dropout = || [Scalar("a dropout rate", None), Flag("a dropout flag", None)];
    let mut all = vec![Integer("the model's width", architecture.width), Integer("the number of output classes", architecture.outputs)];
    let mut named = architecture.parameters().into_iter().peekable();
    while let Some((name, shape)) = named.next() {
        // Attention's own numbers stand before its first weight.
        if name.ends_with("attn/qkv/weight") {
            all.push(Integer("the number of heads", architecture.heads));
            all.push(Flag("causal", Some(architecture.causal)));
            all.push(Flag("use_rope", Some(architecture.positions == Positions::Rope)));
            all.push(Scalar("the time scale", Some(architecture.time)));
            all.push(Scalar("the scale of the scores", Some(((architecture.width / architecture.heads) as f64).powf(-0.5))));
        }
        let followed_by_bias = named.peek().is_some_and(|(next, _)| next.ends_with("bias"));
        let ends_layer = !(name.contains("norm") || name.ends_with("weight") && followed_by_bias);
        let layer = name.rsplit_once('/').map_or("", |(layer, _)| layer).to_owned();
        all.push(Parameter(name, shape));
        match layer.as_str() {
            "unembed" if ends_layer => all.push(Flag("the inference flag", None)),
            "label_embed" if architecture.positions == Positions::Learned => {}
            "label_embed" => all.push(Integer("the transformer's width", architecture.width)),
            "pos_embed" => {
                all.extend(dropout());
                all.push(Integer("the transformer's width", architecture.width));
            }
            _ if ends_layer => all.extend(dropout()),
            _ => {}
        }
        let transformer_ends = named.peek().is_some_and(|(next, _)| next.starts_with("unembed/weight"));
        if transformer_ends {
            all.push(Flag("the transformer's inference flag", None));
        }
    }
    all
}

/// The stream, which entry of it is read, counted from 1, and whether numbers were rounded.
struct Entries<'a> {
    path: &'a Path,
    stream: BufReader<File>,
    number: usize,
    rounded: bool,
}

impl Entries<'_> {
    fn wrong(&self, what: &str, wanted: &str, found: &str) -> Error {
        let message = format!("entry {}, {what}: expected {wanted}, found {found}; is this the checkpoint of another config?", self.number);
        Error::input(self.path, message)
    }

    /// The next entry, which is of this type and shape.
    fn expect(&mut self, what: &str, kind: &str, shape: &[usize]) -> Result<Array> {
        self.expect_one(what, &[kind], shape)
    }

    /// The next entry, which is of one of these types and of this shape.
    fn expect_one(&mut self, what: &str, kinds: &[&str], shape: &[usize]) -> Result<Array> {
        self.number += 1;
        let wanted = format!("{} of shape {shape:?}", kinds.join(" or "));
        let array = match Array::next(&mut self.stream) {
            Ok(Some(array)) => array,
            Ok(None) => return Err(self.wrong(what, &wanted, "the end of the file")),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(self.wrong(what, &wanted, "an entry cut short")),
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(self.wrong(what, &wanted, &error.to_string())),
            Err(error) => return Err(Error::File { path: self.path.to_owned(), source: error }),
        };
        if !kinds.contains(&array.kind.as_str()) || array.shape != shape {
            return Err(self.wrong(what, &wanted, &format!("{} of shape {:?}", array.kind, array.shape)));
        }
        Ok(array)
    }

    fn integer(&mut self, what: &str, kind: &str) -> Result<i64> {
        let array = self.expect(what, kind, &[])?;
        array.integer().filter(|&value| value >= 0).ok_or_else(|| self.wrong(what, "a count", "another number"))
    }

    /// A number that is not learned, and which value it must have.
    fn setting(&mut self, what: &str, kind: &str, value: Option<f64>) -> Result<()> {
        let array = self.expect(what, kind, &[])?;
        match (value, array.number()) {
            (Some(value), Some(is)) if (is - value).abs() > 1e-12 * value.abs() => {
                let told = |number: f64| match (kind, number) {
                    ("|b1", 0.0) => "false".to_owned(),
                    ("|b1", _) => "true".to_owned(),
                    _ => number.to_string(),
                };
                Err(self.wrong(what, &told(value), &told(is)))
            }
            _ => Ok(()),
        }
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let array = self.expect_one(name, &["<f4", "<f8"], shape)?;
        self.rounded |= array.kind == "<f8";
        let numbers = array.floats();
        if let Some(index) = numbers.iter().position(|number| !number.is_finite()) {
            let (number, place) = (numbers[index], position(index, shape));
            let message = format!("entry {}, {name}: holds {number} at {place:?}; every number must be finite in float32", self.number);
            return Err(Error::input(self.path, message));
        }
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
    }

    /// Steps, all first moments, all second moments; with a schedule of rates, the schedule's own count of steps.
    fn optimiser(&mut self, parameters: &[(String, Tensor)], name: OptimiserName) -> Result<(u64, Vec<(String, Tensor)>)> {
        if name == OptimiserName::Sgd {
            return Ok((0, Vec::new()));
        }
        let steps = self.integer("the optimiser's steps", "<i4")? as u64;
        let mut read = |which: &str| {
            let moment = |(name, parameter): &(String, Tensor)| {
                Ok((format!("{which}/{name}"), self.tensor(&format!("{which}/{name}"), parameter.dims())?))
            };
            parameters.iter().map(moment).collect::<Result<Vec<_>>>()
        };
        let (first, second) = (read("first")?, read("second")?);
        if name != OptimiserName::Adam {
            self.integer("the schedule's steps", "<i4")?;
        }
        Ok((steps, first.into_iter().zip(second).flat_map(|(first, second)| [first, second]).collect()))
    }

    fn end(&mut self) -> Result<()> {
        self.number += 1;
        match Array::next(&mut self.stream) {
            Ok(None) => Ok(()),
            _ => Err(self.wrong("behind the last", "the end of the file", "more")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn induction() -> Architecture {
        Architecture {
            layers: 2,
            width: 64,
            heads: 8,
            hidden: None,
            features: 48,
            example_bias: true,
            outputs: 5,
            positions: Positions::Rope,
            time: 1e4,
            norms: true,
            causal: true,
        }
    }

    fn path() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/published/induction.eqx")
    }

    fn refusal(path: &Path, architecture: &Architecture, optimiser: OptimiserName) -> String {
        let message = read_eqx(path, architecture, optimiser).unwrap_err().to_string();
        message.rsplit_once(".eqx: ").unwrap().1.replace("; is this the checkpoint of another config?", "")
    }

    #[test]
    fn a_checkpoint_is_read() {
        let checkpoint = read_eqx(&path(), &induction(), OptimiserName::Adam).unwrap();
        assert_eq!((checkpoint.sequences, checkpoint.optimiser.0), (3200, 0));
        assert_eq!(checkpoint.parameters.len(), 15);
        let names: Vec<&str> = checkpoint.optimiser.1.iter().take(3).map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["first/example_embed/weight", "second/example_embed/weight", "first/example_embed/bias"]);
    }

    #[test]
    fn another_model_is_refused_by_entry() {
        let with = |change: fn(&mut Architecture)| {
            let mut architecture = induction();
            change(&mut architecture);
            refusal(&path(), &architecture, OptimiserName::Adam)
        };
        assert_eq!(with(|a| a.width = 32), "entry 2, the model's width: expected 32, found 64");
        assert_eq!(
            with(|a| a.features = 40),
            "entry 4, example_embed/weight: expected <f4 or <f8 of shape [64, 40], found <f4 of shape [64, 48]"
        );
        assert_eq!(with(|a| a.heads = 4), "entry 12, the number of heads: expected 4, found 8");
        assert_eq!(with(|a| a.causal = false), "entry 13, causal: expected false, found true");
        assert_eq!(with(|a| a.positions = Positions::Sinusoidal), "entry 14, use_rope: expected false, found true");
        assert_eq!(with(|a| a.time = 30.0), "entry 15, the time scale: expected 30, found 10000");
        assert_eq!(with(|a| a.layers = 1), "entry 25, the transformer's inference flag: expected |b1 of shape [], found <i8 of shape []");
        let sgd = refusal(&path(), &induction(), OptimiserName::Sgd);
        assert_eq!(sgd, "entry 42, the evaluation's random key: expected <u4 of shape [2], found <i4 of shape []");
    }

    /// All entries of a checkpoint, each through `change`.
    fn changed(mut change: impl FnMut(usize, &mut Array)) -> Vec<u8> {
        let mut stream = BufReader::new(File::open(path()).unwrap());
        let mut bytes = Vec::new();
        let mut number = 0;
        while let Some(mut array) = Array::next(&mut stream).unwrap() {
            number += 1;
            change(number, &mut array);
            let shape: String = array.shape.iter().map(|length| format!("{length},")).collect();
            let header = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({shape}), }}\n", array.kind);
            bytes.extend(b"\x93NUMPY\x01\x00");
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.as_bytes());
            bytes.extend(&array.bytes);
        }
        bytes
    }

    #[test]
    fn float64_is_rounded() {
        let folder = tempfile::tempdir().unwrap();
        let wide = folder.path().join("wide.eqx");
        let widened = changed(|_, array| {
            if array.kind == "<f4" {
                let values = array.floats().into_iter().flat_map(|value| (f64::from(value) * (1.0 + 1e-12)).to_le_bytes());
                (array.bytes, array.kind) = (values.collect(), "<f8".into());
            }
        });
        std::fs::write(&wide, widened).unwrap();
        let read = |path: &Path| read_eqx(path, &induction(), OptimiserName::Adam).unwrap();
        let (wide, given) = (read(&wide), read(&path()));
        assert_eq!((wide.sequences, wide.parameters.len(), wide.rounded, given.rounded), (3200, 15, true, false));
        let of = |read: &PublishedCheckpoint| -> Vec<Vec<f32>> {
            let all = read.parameters.iter().chain(&read.optimiser.1);
            all.map(|(_, tensor)| tensor.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        assert_eq!(of(&wide), of(&given), "rounded to the nearest");
    }

    #[test]
    fn numbers_that_are_not_finite_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let poisoned = folder.path().join("poisoned.eqx");
        let refused = |entry: usize, index: usize, value: f32| {
            let bytes = changed(|number, array| {
                if number == entry {
                    array.bytes[4 * index..][..4].copy_from_slice(&value.to_le_bytes());
                }
            });
            std::fs::write(&poisoned, bytes).unwrap();
            refusal(&poisoned, &induction(), OptimiserName::Adam)
        };
        let must = "every number must be finite in float32";
        assert_eq!(refused(4, 48 * 2 + 5, f32::NAN), format!("entry 4, example_embed/weight: holds NaN at [2, 5]; {must}"));
        assert_eq!(refused(5, 7, f32::NEG_INFINITY), format!("entry 5, example_embed/bias: holds -inf at [7]; {must}"));
        assert_eq!(refused(43, 0, f32::NAN), format!("entry 43, first/example_embed/weight: holds NaN at [0, 0]; {must}"));
    }

    #[test]
    fn a_torn_stream_is_refused() {
        let bytes = std::fs::read(path()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let torn = folder.path().join("torn.eqx");
        let write = |bytes: &[u8]| std::fs::write(&torn, bytes).unwrap();
        write(&bytes[..2000]);
        let message = refusal(&torn, &induction(), OptimiserName::Adam);
        assert_eq!(message, "entry 4, example_embed/weight: expected <f4 or <f8 of shape [64, 48], found an entry cut short");
        write(&[&bytes[..], &bytes[..200]].concat());
        assert_eq!(
            refusal(&torn, &induction(), OptimiserName::Adam),
            "entry 76, behind the last: expected the end of the file, found more"
        );
        write(b"garbage, not a checkpoint");
        assert!(refusal(&torn, &induction(), OptimiserName::Adam).ends_with("found not a NumPy array"));
    }
}
