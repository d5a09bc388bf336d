//! How much memory this process may still take: what every count that sizes an allocation is held against before anything is allocated.
//!
//! Only what surely cannot fit is refused: wanted is what is needed at the very least, and free is all that could be had, swap and the file cache of a
//! control group included.

use std::fs::read_to_string;
use std::path::Path;

/// What this process may still take, and what sets the limit; where nothing is known, everything fits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget(Option<(u64, Limit)>);

/// What sets the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Limit {
    /// The machine's memory.
    Machine,
    /// That of the control group, as schedulers and containers have them.
    ControlGroup,
    /// `ulimit -v`.
    AddressSpace,
    /// `ulimit -d`.
    Data,
}

impl Budget {
    /// What this process may take now.
    pub fn here() -> Self {
        Self::below(Path::new("/"))
    }

    /// What the files in `proc` and `sys` below a folder say.
    fn below(root: &Path) -> Self {
        let read = |path: &str| read_to_string(root.join(path)).unwrap_or_default();
        let [machine, status, limits] = ["meminfo", "self/status", "self/limits"].map(|file| read(&format!("proc/{file}")));
        let kilobytes = |text: &str, name: &str| Some(1024 * number_behind(text, name)?);
        let swap = kilobytes(&machine, "SwapFree:").unwrap_or(0);
        let of_machine = kilobytes(&machine, "MemAvailable:").map(|free| free + swap);
        let of_groups = groups(root, &read("proc/self/cgroup")).map(|free| free.saturating_add(swap));
        // Of what is mapped for data, the part that was not touched yet is the allocator's to give.
        let held = |name: &str| kilobytes(&status, name).unwrap_or(0);
        let touched = held("RssAnon:");
        let mapped = held("VmSize:").saturating_sub(held("VmData:").saturating_sub(touched));
        let of_address_space = number_behind(&limits, "Max address space").map(|limit| limit.saturating_sub(mapped));
        let of_data = number_behind(&limits, "Max data size").map(|limit| limit.saturating_sub(touched));
        let all = [
            (of_machine, Limit::Machine),
            (of_groups, Limit::ControlGroup),
            (of_address_space, Limit::AddressSpace),
            (of_data, Limit::Data),
        ];
        Self(all.into_iter().filter_map(|(free, limit)| Some((free?, limit))).min())
    }

    /// Whether so many bytes can be had.
    ///
    /// # Errors
    /// A message that begins with `what`, in the plural ("1000 sequences"), and says how much they take and how much there is.
    pub fn fits(&self, bytes: u128, what: impl FnOnce() -> String) -> Result<(), String> {
        match self.0 {
            Some((free, limit)) if bytes > free.into() => {
                let (what, wanted, free) = (what(), size(bytes), size(free.into()));
                Err(match limit {
                    Limit::Machine => format!("{what} take {wanted}, and {free} of this machine's memory are free"),
                    Limit::ControlGroup => {
                        format!("{what} take {wanted}, and {free} are left of the memory of this process's control group")
                    }
                    Limit::AddressSpace => format!("{what} take {wanted}, and {free} are left of what ulimit -v allows"),
                    Limit::Data => format!("{what} take {wanted}, and {free} are left of what ulimit -d allows"),
                })
            }
            _ => Ok(()),
        }
    }
}

/// The number behind a name, at the beginning of a line.
fn number_behind(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// What the control groups of a process leave it: the least of its own and those above. `own` is its `/proc/self/cgroup`.
fn groups(root: &Path, own: &str) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        // The second version of control groups has one tree for all, the first one for each controller.
        let (tree, limit, used, cached) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max", "memory.current", ["active_file", "inactive_file"]),
            "memory" => {
                let cached = ["total_active_file", "total_inactive_file"];
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", cached)
            }
            _ => continue,
        };
        let tree = root.join(tree);
        let mut folder = tree.join(path.trim_start_matches('/'));
        while folder.starts_with(&tree) {
            let read = |file: &str| read_to_string(folder.join(file)).unwrap_or_default();
            // Without a limit it says "max".
            if let (Ok(limit), Ok(used)) = (read(limit).trim().parse::<u64>(), read(used).trim().parse::<u64>()) {
                let statistics = read("memory.stat");
                // The kernel gives up cached files before it lets anybody go without.
                let cached: u64 = cached.iter().filter_map(|name| number_behind(&statistics, &format!("{name} "))).sum();
                let free = limit.saturating_sub(used.saturating_sub(cached));
                least = Some(least.map_or(free, |least| least.min(free)));
            }
            if !folder.pop() {
                break;
            }
        }
    }
    least
}

/// A size in words: "512 B", "21.3 GB".
pub fn size(bytes: u128) -> String {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 999.95 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1000.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{number:.1} {}", UNITS[unit]) }
}

/// A product that is not too large for its type, or the largest number of it: too much either way.
pub fn product(factors: &[usize]) -> u128 {
    factors.iter().fold(1, |product: u128, &factor| product.saturating_mul(factor as u128))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A folder with these files in it.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn budget(files: &[(&str, &str)]) -> Option<(u64, Limit)> {
        Budget::below(machine(files).path()).0
    }

    const MEMORY: (&str, &str) =
        ("proc/meminfo", "MemTotal:       24683656 kB\nMemAvailable:   2000 kB\nSwapTotal: 9 kB\nSwapFree:       500 kB\n");

    #[test]
    fn the_least_of_all_limits_counts() {
        assert_eq!(budget(&[]), None);
        assert_eq!(budget(&[MEMORY]), Some((2500 * 1024, Limit::Machine)));
        let status = ("proc/self/status", "VmSize:\t    300 kB\nRssAnon:\t    50 kB\nVmData:\t    250 kB\n");
        let limits = |address_space: &str, data: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max data size             {data}            unlimited            bytes     \n\
                 Max address space         {address_space}            unlimited            bytes     \n"
            )
        };
        let limited = |address_space: &str, data: &str| budget(&[MEMORY, status, ("proc/self/limits", &limits(address_space, data))]);
        assert_eq!(limited("unlimited", "unlimited"), Some((2500 * 1024, Limit::Machine)));
        assert_eq!(limited("1000000", "unlimited"), Some((1_000_000 - 102_400, Limit::AddressSpace)));
        assert_eq!(limited("1000000", "900000"), Some((900_000 - 51_200, Limit::Data)));
        assert_eq!(limited("1000", "unlimited"), Some((0, Limit::AddressSpace)));
    }

    #[test]
    fn a_control_group_and_those_above_it_count() {
        let second = |own: &str, above: &str| {
            budget(&[
                ("proc/meminfo", "MemAvailable: 2000 kB\n"),
                ("proc/self/cgroup", "0::/job/step\n"),
                ("sys/fs/cgroup/job/step/memory.max", own),
                ("sys/fs/cgroup/job/step/memory.current", "700000\n"),
                ("sys/fs/cgroup/job/step/memory.stat", "anon 5\nactive_file 1000\ninactive_file 9000\n"),
                ("sys/fs/cgroup/job/memory.max", above),
                ("sys/fs/cgroup/job/memory.current", "800000\n"),
            ])
        };
        assert_eq!(second("max\n", "max\n"), Some((2000 * 1024, Limit::Machine)));
        assert_eq!(second("1000000\n", "max\n"), Some((310_000, Limit::ControlGroup)), "cached files can be had");
        assert_eq!(second("1000000\n", "1000000\n"), Some((200_000, Limit::ControlGroup)));
        // The first version, in a container that sees its own group as the root of the tree.
        let first = budget(&[
            MEMORY,
            ("proc/self/cgroup", "5:devices:/x\n4:memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "active_file 7\ntotal_active_file 300\ntotal_inactive_file 40\n"),
        ]);
        assert_eq!(first, Some((4_340 + 500 * 1024, Limit::ControlGroup)));
    }

    #[test]
    fn what_does_not_fit_is_said_with_its_size() {
        let files = [("proc/meminfo", "MemAvailable: 2000000 kB\n")];
        let budget = Budget::below(machine(&files).path());
        assert_eq!(budget.fits(2_048_000_000, || unreachable!()), Ok(()));
        let message = budget.fits(16_384_000_000_000, || "64000000000 hidden units".into()).unwrap_err();
        assert_eq!(message, "64000000000 hidden units take 16.4 TB, and 2.0 GB of this machine's memory are free");
        assert_eq!(Budget::default().fits(u128::MAX, || unreachable!()), Ok(()));
        assert!(Budget::here().fits(1 << 80, || "all".into()).is_err() || !cfg!(target_os = "linux"));
    }

    #[test]
    fn sizes_are_in_words() {
        let sizes = [999, 1000, 999_949, 999_950, 21_300_000_000, 1 << 100];
        assert_eq!(sizes.map(size), ["999 B", "1.0 kB", "999.9 kB", "1.0 MB", "21.3 GB", "1267650.6 YB"]);
        assert_eq!((product(&[3, 4]), product(&[]), product(&[usize::MAX; 3])), (12, 1, u128::MAX));
    }
}
