//! What experiments name — banks, files of sequences, checkpoints of other models — found, read once a launch, and known by what it holds.

use crate::evaluators::{Given, read_given};
use crate::search::{Asked, Found, Wanted, absolute};
use candle_core::Device;
use optogen::bank::ClassBank;
use optogen::checkpoint::{Checkpoint, folder_at};
use optogen::clamp::Donors;
use optogen::content;
use optogen::experiment::{
    BANK_KEY, DataSpec, EMBEDDED_BANK, EMBEDDED_SHA256, Experiment, Input, PARENT_KEY, ParentSpec, donor_key, evaluator_key,
    last_checkpoint, parse,
};
use optogen::log::read_run_status;
use optogen::{Error, Result};
use optogen_data::{load_bank, read_bank};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What was read so far, and where else to look.
pub struct Inputs<'a> {
    device: &'a Device,
    data: &'a [PathBuf],
    purpose: Purpose,
    /// By file and dataset, with their contents.
    banks: RefCell<HashMap<(PathBuf, String), (ClassBank, String)>>,
    /// By file and evaluator, with their contents.
    sequences: RefCell<HashMap<(PathBuf, String), (Given, String)>>,
}

/// What is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Training: the bank is needed.
    Training,
    /// Evaluating a model that was trained: the bank is needed where an evaluator draws from it, and is the one that the model was trained on.
    Evaluating,
}

/// An experiment whose inputs are found.
pub struct Resolved {
    /// It, with the path of each where it was found.
    pub experiment: Experiment,
    /// What each held.
    pub inputs: Vec<Input>,
    /// Its bank, if it is needed.
    pub bank: Option<ClassBank>,
    /// The sequences of its evaluators that come from files, by evaluator.
    pub given: HashMap<String, Given>,
    /// The models of its passes.
    pub donors: Donors,
}

impl<'a> Inputs<'a> {
    /// Nothing is read yet; `data` are further folders to look in.
    ///
    /// # Errors
    /// One of them is none.
    pub fn new(device: &'a Device, data: &'a [PathBuf], purpose: Purpose) -> Result<Self> {
        check_folders(data)?;
        Ok(Self { device, data, purpose, banks: RefCell::default(), sequences: RefCell::default() })
    }

    /// Finds and reads what an experiment names. Of a parent only the content is asked for; that needs no file where the experiment says it.
    ///
    /// # Errors
    /// Something is not there, cannot be read, or does not hold what it is known to have held.
    pub fn find(&self, written: &Experiment, asked: &Asked<Experiment>) -> Result<Resolved> {
        let mut experiment = written.clone();
        let mut inputs = Vec::new();
        let drawn = written.evaluators.iter().any(|evaluator| evaluator.file.is_none());
        let bank = self.bank(&mut experiment.data, drawn, asked, &mut inputs)?;
        let mut given = HashMap::new();
        for evaluator in &mut experiment.evaluators {
            let Some(file) = &mut evaluator.file else { continue };
            let (key, name) = (evaluator_key(&evaluator.name), &evaluator.name);
            let found = found(asked.wanted(&key, file, "file").find(self.data, |place| self.sequences(place, name)))?;
            *file = keep(&mut inputs, key, found.path, found.sha256);
            given.insert(name.clone(), found.value);
        }
        for pass in &mut experiment.passes {
            let Some(donor) = &mut pass.donor else { continue };
            let key = donor_key(&pass.name);
            let found = self.checkpoint(&asked.wanted(&key, donor, CHECKPOINT), &mut Vec::new())?;
            *donor = keep(&mut inputs, key, found.path, found.sha256);
        }
        let find = |path: &Path| match path.is_absolute() && path.is_dir() {
            true => Ok(path.to_owned()),
            false => Ok(self.checkpoint(&asked.wanted("pass.donor", path, CHECKPOINT), &mut Vec::new())?.path),
        };
        let donors = Donors::load_from(&experiment, &find)?;
        if let Some(parent) = &mut experiment.parent {
            let sha256 = parent.sha256.clone().or_else(|| recorded_parent(parent, asked));
            match sha256.is_none() && self.purpose == Purpose::Training {
                true => self.parent(parent, asked, &mut inputs)?,
                false => inputs.push(Input { key: PARENT_KEY.into(), path: parent.checkpoint.clone(), sha256 }),
            }
        }
        Ok(Resolved { experiment, inputs, bank, given, donors })
    }

    /// Finds the parent of an experiment itself.
    ///
    /// # Errors
    /// It is not there, or is not what it is known to have been.
    pub fn parent(&self, parent: &mut ParentSpec, asked: &Asked<Experiment>, inputs: &mut Vec<Input>) -> Result<()> {
        let (path, sha256) = (parent.checkpoint.clone(), parent.sha256.clone());
        let mut wanted = asked.wanted(PARENT_KEY, &path, CHECKPOINT);
        wanted.sha256 = sha256.as_deref().or(wanted.sha256);
        let found = self.checkpoint(&wanted, &mut Vec::new())?;
        inputs.retain(|input| input.key != PARENT_KEY);
        parent.sha256 = Some(found.sha256.clone());
        parent.checkpoint = keep(inputs, PARENT_KEY.into(), found.path, found.sha256);
        Ok(())
    }

    /// The bank, if it is needed.
    fn bank(&self, data: &mut DataSpec, drawn: bool, asked: &Asked<Experiment>, inputs: &mut Vec<Input>) -> Result<Option<ClassBank>> {
        let needed = self.purpose == Purpose::Training || drawn;
        let path = match data.bank.clone() {
            None => return needed.then(|| Ok(self.read_bank(None, data)?.1)).transpose(),
            Some(one_hot) if one_hot == Path::new("one_hot") => return needed.then(|| load_bank(data, self.device)).transpose(),
            Some(path) => path,
        };
        let mut wanted = asked.wanted(BANK_KEY, &path, "file");
        let trained_on = asked.run.as_ref().filter(|_| self.purpose == Purpose::Evaluating).and_then(|run| run.recorded(BANK_KEY));
        wanted.sha256 = wanted.sha256.or_else(|| trained_on?.sha256.as_deref());
        if !needed {
            inputs.push(Input { key: BANK_KEY.into(), path: path.clone(), sha256: wanted.sha256.map(str::to_owned) });
            return Ok(None);
        }
        let found = match wanted.find(self.data, |place| self.read_bank(Some(place), data))? {
            Ok(found) => found,
            Err(nowhere) if path == Path::new(EMBEDDED_BANK) => {
                let (path, value, sha256) = self.read_bank(None, data)?;
                match wanted.sha256.is_none_or(|wanted| wanted == sha256) {
                    true => Found { path, value, sha256 },
                    false => return Err(nowhere),
                }
            }
            Err(nowhere) => return Err(nowhere),
        };
        let path = if found.sha256 == EMBEDDED_SHA256 { EMBEDDED_BANK.into() } else { found.path };
        data.bank = Some(keep(inputs, BANK_KEY.into(), path, found.sha256));
        Ok(Some(found.value))
    }

    /// The bank in a file; in none, the embedded one.
    fn read_bank(&self, place: Option<&Path>, data: &DataSpec) -> Result<(PathBuf, ClassBank, String)> {
        let path = place.map_or_else(|| EMBEDDED_BANK.into(), absolute);
        let key = (path.clone(), data.dataset.clone());
        if let Some((bank, sha256)) = self.banks.borrow().get(&key).cloned() {
            return Ok((path, bank, sha256));
        }
        let bank = match place {
            Some(place) => read_bank(place, &data.dataset, self.device)?,
            None => load_bank(&DataSpec { bank: None, ..data.clone() }, self.device)?,
        };
        let sha256 = content::of_bank(&bank)?.ok_or_else(|| Error::Internal("a bank of a file has no features".into()))?;
        self.banks.borrow_mut().insert(key, (bank.clone(), sha256.clone()));
        Ok((path, bank, sha256))
    }

    /// The sequences of an evaluator in a file.
    fn sequences(&self, place: &Path, name: &str) -> Result<(PathBuf, Given, String)> {
        let key = (absolute(place), name.to_owned());
        if let Some((given, sha256)) = self.sequences.borrow().get(&key).cloned() {
            return Ok((place.to_owned(), given, sha256));
        }
        let (given, sha256) = read_given(name, place, self.device)?;
        self.sequences.borrow_mut().insert(key, (given.clone(), sha256.clone()));
        Ok((place.to_owned(), given, sha256))
    }

    /// A checkpoint, or the last one of a run's folder, whose own donors, if it has any, are part of its content.
    fn checkpoint(&self, wanted: &Wanted, above: &mut Vec<PathBuf>) -> Result<Found<()>> {
        let found = wanted.find(self.data, |place| {
            let last = last_checkpoint(place);
            if last.is_some() {
                check_last(place)?;
            }
            let folder = absolute(&last.unwrap_or_else(|| place.to_owned()));
            if !folder.join("manifest.json").is_file() {
                return Err(Error::input(
                    &folder,
                    "neither a checkpoint, which has a manifest.json, nor the folder of a run that has checkpoints",
                ));
            }
            let own = Checkpoint::sha256(&folder)?;
            let donors = self.donors_of(&folder, wanted, above)?;
            let sha256 = if donors.is_empty() { own } else { content::of_all(std::iter::once(&own).chain(&donors).map(String::as_str)) };
            Ok((folder, (), sha256))
        });
        self::found(found)
    }

    /// The contents of the donors that a checkpoint's model has.
    fn donors_of(&self, folder: &Path, wanted: &Wanted, above: &mut Vec<PathBuf>) -> Result<Vec<String>> {
        let file = folder.join("experiment.toml");
        // What cannot be read is told when the checkpoint is.
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let Ok(experiment) = parse(&text, &file.display().to_string()) else { return Ok(Vec::new()) };
        if wanted.key == PARENT_KEY || above.iter().any(|other| other == folder) {
            return Ok(Vec::new());
        }
        above.push(folder.to_owned());
        let mut contents = Vec::new();
        for path in experiment.passes.iter().filter_map(|pass| pass.donor.as_ref()) {
            contents.push(self.checkpoint(&Wanted { path, known: None, sha256: None, ..*wanted }, above)?.sha256);
        }
        above.pop();
        Ok(contents)
    }
}

const CHECKPOINT: &str = "checkpoint folder";

/// A finished run stands for its last checkpoint, and not for an earlier one where that is gone.
fn check_last(run: &Path) -> Result<()> {
    let Ok(row) = read_run_status(&run.join("run.parquet")) else { return Ok(()) };
    match row.status == "finished" && !folder_at(&run.join("checkpoints"), row.sequences).exists() {
        true => Err(Error::input(run, format!("it was finished after {} sequences, and that checkpoint is gone", row.sequences))),
        false => Ok(()),
    }
}

/// What a run's row says of the parent that the experiment names in the same way.
fn recorded_parent(parent: &ParentSpec, asked: &Asked<Experiment>) -> Option<String> {
    asked.run.as_ref()?.input(PARENT_KEY, &parent.checkpoint)?.sha256.clone()
}

/// What was found, or that nothing was.
pub fn found<T>(found: Result<Result<Found<T>>>) -> Result<Found<T>> {
    found.and_then(|found| found)
}

/// Adds an input, and gives its path back.
fn keep(inputs: &mut Vec<Input>, key: String, path: PathBuf, sha256: String) -> PathBuf {
    inputs.push(Input { key, path: path.clone(), sha256: Some(sha256) });
    path
}

/// That what is given with `--data` are folders.
///
/// # Errors
/// One is none.
pub fn check_folders(data: &[PathBuf]) -> Result<()> {
    match data.iter().find(|folder| !folder.is_dir()) {
        Some(none) => Err(Error::Invalid(format!("--data {}: there is no such folder", none.display()))),
        None => Ok(()),
    }
}
