//! Other models that take part in a forward pass: loaded from checkpoints, not trained, with their own interventions.

use super::{Moments, Now, Plan};
use crate::checkpoint::Checkpoint;
use crate::experiment::{Experiment, parse};
use crate::transformer::{Architecture, Parameters, Transformer};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A model of a checkpoint.
pub struct Donor {
    /// Sequences that it had seen.
    pub sequences: u64,
    /// When its interventions crossed their thresholds.
    pub moments: Vec<Moments>,
    /// Its experiment.
    pub experiment: Experiment,
    /// What it is made of.
    pub architecture: Architecture,
    parameters: Vec<(String, Tensor)>,
}

/// The donors of an experiment and the donors of those, by the path of their checkpoint.
#[derive(Clone, Default)]
pub struct Donors(HashMap<PathBuf, Arc<Donor>>);

impl Donors {
    /// Loads all donors that an experiment names, and theirs.
    ///
    /// # Errors
    /// A checkpoint is not there, or damaged.
    pub fn load(experiment: &Experiment) -> Result<Self> {
        Self::load_from(experiment, &|path| Ok(path.to_owned()))
    }

    /// As [`load`](Self::load), each from where `find` finds it: a donor names its own donors as they were found when it was trained.
    ///
    /// # Errors
    /// As in [`load`](Self::load), or those of `find`.
    pub fn load_from(experiment: &Experiment, find: &dyn Fn(&Path) -> Result<PathBuf>) -> Result<Self> {
        let mut donors = Self::default();
        donors.add(experiment, find)?;
        Ok(donors)
    }

    fn add(&mut self, experiment: &Experiment, find: &dyn Fn(&Path) -> Result<PathBuf>) -> Result<()> {
        for path in experiment.passes.iter().filter_map(|pass| pass.donor.as_ref()) {
            if !self.0.contains_key(path) {
                let donor = Arc::new(Donor::read(&find(path)?)?);
                self.0.insert(path.clone(), donor.clone());
                self.add(&donor.experiment, find)?;
            }
        }
        Ok(())
    }

    /// Those of several experiments together.
    pub fn extend(&mut self, others: Donors) {
        self.0.extend(others.0);
    }

    /// The donor of a checkpoint.
    pub fn get(&self, path: &Path) -> Result<&Arc<Donor>> {
        self.0.get(path).ok_or_else(|| Error::Internal(format!("the donor {} was not loaded", path.display())))
    }
}

impl Donor {
    fn read(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Err(Error::Invalid(format!("pass.donor: there is no checkpoint folder {}", path.display())));
        }
        let checkpoint = Checkpoint::read(path)?;
        let experiment = parse(&checkpoint.experiment, &path.join("experiment.toml").display().to_string())?;
        let architecture = checkpoint.architecture(&experiment, path)?;
        let (sequences, moments) = (checkpoint.sequences, checkpoint.moments);
        Ok(Self { sequences, moments, experiment, architecture, parameters: checkpoint.parameters })
    }

    /// So many copies of it, stacked.
    pub(super) fn transformer(&self, copies: usize, device: &Device) -> Result<Transformer> {
        Transformer::new(self.architecture.clone(), Parameters::stack(&vec![self.parameters.clone(); copies], device)?)
    }
}

/// A donor ready to run beside a cohort.
pub(super) struct Running {
    pub(super) donor: Arc<Donor>,
    pub(super) transformer: Transformer,
    /// Its own interventions.
    pub(super) plan: Plan,
}

impl Running {
    /// The moment at which it was kept, which is that of its interventions from then on.
    pub(super) fn now(&self) -> Now {
        let copies = self.transformer.parameters().members();
        Now { sequences: self.donor.sequences, moments: vec![self.donor.moments.clone(); copies] }
    }
}
