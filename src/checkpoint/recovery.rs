//! Recovery points: the two latest moments from which a run can go on.

use super::{Checkpoint, folder_at, list};
use crate::run_folder::RunFolder;
use crate::{Error, Result, durable};
use std::fs;
use std::path::Path;

/// How many recovery points are kept.
const GENERATIONS: usize = 2;

/// Writes a recovery point into the folder for them, and lets those before the last two go.
pub fn keep_recovery_point(recovery: &Path, checkpoint: &Checkpoint) -> Result<()> {
    checkpoint.write(&folder_at(recovery, checkpoint.sequences))?;
    let all = list(recovery)?;
    for (_, old) in &all[..all.len().saturating_sub(GENERATIONS)] {
        fs::remove_dir_all(old).map_err(Error::file(old))?;
    }
    Ok(())
}

/// The latest checkpoint or recovery point that is whole. Damaged ones are set aside, and named in `warnings`.
pub fn latest_verified(folder: &RunFolder, warnings: &mut Vec<String>) -> Result<Option<Checkpoint>> {
    let mut all = list(&folder.checkpoints())?;
    all.extend(list(&folder.recovery())?);
    all.sort();
    for (_, path) in all.into_iter().rev() {
        match Checkpoint::read(&path) {
            Ok(checkpoint) => return Ok(Some(checkpoint)),
            Err(error) => warnings.push(durable::set_aside(&path, folder.path(), &error)?),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn two_generations_are_kept_and_the_latest_whole_one_is_found() {
        let out = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(out.path(), "a", false).unwrap();
        assert!(latest_verified(&folder, &mut Vec::new()).unwrap().is_none());
        example(32).write(&folder_at(&folder.checkpoints(), 32)).unwrap();
        for sequences in [64, 96, 128] {
            keep_recovery_point(&folder.recovery(), &example(sequences)).unwrap();
        }
        let kept: Vec<u64> = list(&folder.recovery()).unwrap().into_iter().map(|entry| entry.0).collect();
        assert_eq!(kept, [96, 128]);
        let mut warnings = Vec::new();
        for (sequences, next) in [(128, 96), (96, 32)] {
            assert_eq!(latest_verified(&folder, &mut warnings).unwrap().unwrap().sequences, sequences);
            fs::write(folder_at(&folder.recovery(), sequences).join("model.safetensors"), "short").unwrap();
            assert_eq!(latest_verified(&folder, &mut warnings).unwrap().unwrap().sequences, next);
        }
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("at-000000000128/model.safetensors: not the"), "{}", warnings[0]);
    }
}
