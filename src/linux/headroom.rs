//! How much memory can still be had: of the machine, and of the cgroups that cap who is in them.

use super::proc::number;
use std::path::Path;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Bytes that can still be had below the cgroup `within` (version 2): MemAvailable of proc_meminfo(5), or what the
/// narrowest limit above leaves, without the page cache, which the kernel gives back. Where nothing is told, more than
/// enough.
pub fn headroom(within: Option<&Path>) -> u64 {
    let refresh = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let machine = System::new_with_specifics(refresh).map_or(u64::MAX, |host| host.available_memory());
    let above = within.into_iter().flat_map(Path::ancestors);
    above.filter_map(left_below).min().map_or(machine, |left| left.min(machine))
}

/// What the limits of one cgroup leave; none where it has none.
fn left_below(cgroup: &Path) -> Option<u64> {
    let figure = |file: &str| number::<u64>(std::fs::read(cgroup.join(file)).ok()?.trim_ascii());
    // Over `high` its processes are slowed down until they hardly run.
    let limit = [figure("memory.max"), figure("memory.high")].into_iter().flatten().min()?;
    let used = figure("memory.current")?.saturating_sub(reclaimable(cgroup));
    Some(limit.saturating_sub(used))
}

fn reclaimable(cgroup: &Path) -> u64 {
    let text = std::fs::read_to_string(cgroup.join("memory.stat")).unwrap_or_default();
    let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse::<u64>().ok());
    ["active_file", "inactive_file", "slab_reclaimable"].into_iter().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(dir: &Path, max: &str, current: &str) {
        std::fs::create_dir_all(dir).unwrap();
        for (file, text) in [("memory.max", max), ("memory.high", "max\n"), ("memory.current", current)] {
            std::fs::write(dir.join(file), text).unwrap();
        }
        std::fs::write(dir.join("memory.stat"), "anon 5\nactive_file 2000\ninactive_file 1000\n").unwrap();
    }

    #[test]
    fn the_narrowest_cgroup_above_counts_and_page_cache_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let unit = dir.path().join("unit");
        let apps = unit.join("apps");
        cgroup(&unit, "10000\n", "9000\n");
        cgroup(&apps, "max\n", "8000\n");
        assert_eq!(headroom(Some(&apps)), 4000);
        std::fs::write(unit.join("memory.high"), "7000\n").unwrap();
        assert_eq!(headroom(Some(&apps)), 1000);
        cgroup(&unit, "100\n", "9000\n");
        assert_eq!(headroom(Some(&apps)), 0);
    }

    #[test]
    fn without_a_limit_the_machine_counts() {
        let dir = tempfile::tempdir().unwrap();
        cgroup(dir.path(), "max\n", "9000\n");
        let machine = headroom(None);
        assert!(machine > 1 << 20 && headroom(Some(dir.path())) > 1 << 20, "{machine}");
    }
}
