//! Whether as many files may be open at a time as a command needs.

use optogen::{Error, Result};
use rlimit::Resource;
use std::fs;
use std::path::Path;

/// The most that are allowed.
const MOST: u64 = 1 << 20;

/// Files that a thread has open for a moment: one that is read, one that is written, and their folder.
const OF_A_THREAD: usize = 4;

/// Has so many runs below `out` keep so many files open, beside those that are open now, where that is allowed.
///
/// # Errors
/// It is not: the message says how many are needed, and how to get them.
pub fn allow(out: &Path, runs: usize, kept: usize, threads: usize) -> Result<()> {
    let open = fs::read_dir("/dev/fd").map_or(0, Iterator::count);
    let needed = (open + kept + OF_A_THREAD * (threads + 1)) as u64;
    let limit = rlimit::increase_nofile_limit(MOST).or_else(|_| Resource::NOFILE.get_soft()).unwrap_or(MOST);
    if needed <= limit {
        return Ok(());
    }
    let (noun, keep) = if runs == 1 { ("run", "keeps") } else { ("runs", "keep") };
    let message = format!(
        "{runs} {noun} {keep} {kept} files open, which with others makes {needed}, and {limit} may be open at a time: raise that with \
         `ulimit -n {needed}` (`ulimit -Hn` says how far), or do a part of the --grid at a time"
    );
    Err(Error::File { path: out.to_owned(), source: std::io::Error::other(message) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use optogen::Cause;

    #[test]
    fn too_many_are_refused_with_how_many_are_needed() {
        allow(Path::new("runs"), 2, 12, 1).unwrap();
        let error = allow(Path::new("runs"), 200_000, 1_200_000, 1).unwrap_err();
        let message = error.to_string();
        assert_eq!(error.cause(), Cause::Disk);
        assert!(message.starts_with("runs: 200000 runs keep 1200000 files open, which with others makes 1200"), "{message}");
        assert!(message.contains("may be open at a time: raise that with `ulimit -n 1200"), "{message}");
    }
}
