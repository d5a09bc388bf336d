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

/// Lets those go that come after so many sequences: a run that goes on from earlier makes them anew, and the last two are those that it makes.
pub fn forget_recovery_points_after(recovery: &Path, sequences: u64) -> Result<()> {
    for (_, later) in list(recovery)?.into_iter().filter(|(at, _)| *at > sequences) {
        fs::remove_dir_all(&later).map_err(Error::file(&later))?;
    }
    Ok(())
}

/// The latest checkpoint or recovery point of a run that is whole, and at which nothing is missing, as `missing` says. Damaged ones are set aside, and
/// named in `warnings`; so is what is missing.
pub fn latest_verified(
    folder: &RunFolder,
    missing: impl Fn(&Checkpoint) -> Result<Option<String>>,
    warnings: &mut Vec<String>,
) -> Result<Option<Checkpoint>> {
    let mut all = list(&folder.checkpoints())?;
    all.extend(list(&folder.recovery())?);
    all.sort();
    let mut passed_over = None;
    let mut latest = None;
    for (at, path) in all.into_iter().rev() {
        match Checkpoint::read_of(folder.run_id(), &path) {
            Ok(checkpoint) => match missing(&checkpoint)? {
                None => {
                    latest = Some(checkpoint);
                    break;
                }
                Some(what) => _ = passed_over.get_or_insert((at, what)),
            },
            Err(error @ Error::Input { .. }) => return Err(error),
            Err(error) => warnings.push(durable::set_aside(&path, folder.path(), &error)?),
        }
    }
    if let Some((at, what)) = passed_over {
        let from = latest.as_ref().map_or("the first step".into(), |checkpoint: &Checkpoint| format!("{} sequences", checkpoint.sequences));
        let path = folder.path().display();
        warnings.push(format!("{path}: at the checkpoint after {at} sequences, {what}; going on from {from}, which makes them again"));
    }
    Ok(latest)
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn two_generations_are_kept_and_the_latest_whole_one_is_found() {
        let out = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(out.path(), "a", false).unwrap();
        assert!(latest_verified(&folder, |_| Ok(None), &mut Vec::new()).unwrap().is_none());
        example(32).write(&folder_at(&folder.checkpoints(), 32)).unwrap();
        for sequences in [64, 96, 128] {
            keep_recovery_point(&folder.recovery(), &example(sequences)).unwrap();
        }
        let kept: Vec<u64> = list(&folder.recovery()).unwrap().into_iter().map(|entry| entry.0).collect();
        assert_eq!(kept, [96, 128]);
        let mut warnings = Vec::new();
        for (sequences, next) in [(128, 96), (96, 32)] {
            assert_eq!(latest_verified(&folder, |_| Ok(None), &mut warnings).unwrap().unwrap().sequences, sequences);
            fs::write(folder_at(&folder.recovery(), sequences).join("model.safetensors"), "short").unwrap();
            assert_eq!(latest_verified(&folder, |_| Ok(None), &mut warnings).unwrap().unwrap().sequences, next);
        }
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("at-000000000128/model.safetensors: not the"), "{}", warnings[0]);
    }

    #[test]
    fn a_run_goes_on_where_nothing_is_missing() {
        let out = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(out.path(), "a", false).unwrap();
        for sequences in [32, 64, 96] {
            example(sequences).write(&folder_at(&folder.checkpoints(), sequences)).unwrap();
            keep_recovery_point(&folder.recovery(), &example(sequences + 16)).unwrap();
        }
        let mut warnings = Vec::new();
        let missing =
            |limit: u64| move |own: &Checkpoint| Ok((own.sequences > limit).then(|| format!("train has 2 of {} rows", own.steps)));
        assert_eq!(latest_verified(&folder, missing(90), &mut warnings).unwrap().unwrap().sequences, 80);
        let words =
            "run=a: at the checkpoint after 112 sequences, train has 2 of 3 rows; going on from 80 sequences, which makes them again";
        assert!(warnings.pop().unwrap().ends_with(words));
        assert!(latest_verified(&folder, missing(0), &mut warnings).unwrap().is_none());
        assert!(warnings.pop().unwrap().ends_with("; going on from the first step, which makes them again"));
        forget_recovery_points_after(&folder.recovery(), 80).unwrap();
        assert_eq!(list(&folder.recovery()).unwrap().into_iter().map(|entry| entry.0).collect::<Vec<_>>(), [80]);
    }
}
