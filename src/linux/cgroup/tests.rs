use super::place::{find, is_subgroup, own_directory};
use super::*;
use std::fs;

fn recorded(files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let cgroup = Cgroup::open(directory.path().to_owned()).unwrap();
    (directory, cgroup)
}

/// A real base of this test's own, removed in the end; none where cgroups cannot be made.
struct Real(Cgroups);

impl Real {
    #[expect(clippy::print_stderr, reason = "says why the test shows nothing here")]
    fn new(test: &str) -> Option<Real> {
        match Cgroups::discover(&format!("test-{test}-{}", std::process::id())) {
            Ok(cgroups) => Some(Real(cgroups)),
            Err(reason) => {
                eprintln!("skipped: {reason}");
                None
            }
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        for left in self.0.leftovers().unwrap_or_default() {
            let _ = left.remove();
        }
        let _ = fs::remove_dir(self.0.base());
    }
}

#[test]
fn our_cgroup_is_found_wherever_it_is_mounted() {
    let unified =
        b"24 1 0:5 / /proc rw - proc proc rw\n30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
    let found = own_directory(unified, b"0::/system.slice/infissi.service/supervisor\n").unwrap();
    assert_eq!(found, Path::new("/sys/fs/cgroup/system.slice/infissi.service/supervisor"));

    let hybrid = b"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    let found = own_directory(hybrid, b"4:memory:/a\n1:cpu:/b\n0::/\n").unwrap();
    assert_eq!(found, Path::new("/sys/fs/cgroup/unified"));

    let container = b"30 23 0:26 /docker/7f /mnt/with\\040space rw master:9 - cgroup2 cgroup rw\n";
    let found = own_directory(container, b"0::/docker/7f/app\n").unwrap();
    assert_eq!(found, Path::new("/mnt/with space/app"));
}

#[test]
fn a_machine_without_usable_cgroups_says_why() {
    let none = own_directory(b"24 1 0:5 / /proc rw - proc proc rw\n", b"0::/\n").unwrap_err();
    assert_eq!(none.to_string(), "no cgroup2 file system is mounted");
    let old = own_directory(b"", b"4:memory:/a\n").unwrap_err();
    assert_eq!(old.to_string(), "the kernel has no cgroup version 2");
    let outside = b"30 23 0:26 /docker/7f /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
    let outside = own_directory(outside, b"0::/other\n").unwrap_err();
    assert!(outside.to_string().contains("/other is outside"), "{outside}");
}

#[test]
fn the_supervisors_subgroup_of_a_unit_is_recognised() {
    let unit = tempfile::tempdir().unwrap();
    let own = unit.path().join("supervisor");
    fs::create_dir(&own).unwrap();
    assert!(!is_subgroup(&own), "a root cgroup is no unit");
    fs::write(unit.path().join("cgroup.type"), "domain\n").unwrap();
    assert!(!is_subgroup(&own), "not ours to write");
    fs::write(unit.path().join("cgroup.procs"), "").unwrap();
    assert!(is_subgroup(&own));
    assert!(!is_subgroup(unit.path()));
}

#[test]
fn in_a_delegated_unit_the_instances_stand_beside_the_supervisor() {
    let Some(real) = Real::new("unit") else { return };
    let unit = real.0.create("service").unwrap();
    let own = unit.path().join("supervisor");
    fs::create_dir(&own).unwrap();
    let (base, _) = find(&own, "tag").unwrap();
    assert_eq!(base, unit.path().join("apps"));
    let (again, _) = find(&own, "tag").unwrap();
    assert_eq!(again, base);
    // Anywhere else, below our own: a unit with controllers could not be started again over living children.
    let other = unit.path().join("other");
    fs::create_dir(&other).unwrap();
    let (base, memory) = find(&other, "a/b").unwrap();
    assert_eq!(base, other.join("infissi-a_b"));
    assert!(memory.unwrap_err().to_string().contains("DelegateSubgroup=supervisor"));
}

#[test]
fn memory_is_anon_and_shmem_and_not_the_page_cache() {
    let (_directory, cgroup) = recorded(&[(
        "memory.stat",
        "anon 104857600\nfile 838860800\nkernel 4096\nshmem 2097152\nanon_thp 99\nshmem_thp 99\n",
    )]);
    assert_eq!(cgroup.memory(), Some(104_857_600 + 2_097_152));
}

#[test]
fn the_kernels_oom_kill_is_read() {
    let events = "low 0\nhigh 0\nmax 41\noom 2\noom_kill 3\noom_group_kill 1\n";
    let (_directory, cgroup) = recorded(&[("memory.events", events)]);
    assert_eq!(cgroup.oom_kills(), Some(3));
}

#[test]
fn a_cap_takes_the_whole_tree_along() {
    let (directory, cgroup) = recorded(&[("memory.max", ""), ("memory.oom.group", "")]);
    cgroup.set_memory_max(2 << 30).unwrap();
    assert_eq!(fs::read_to_string(directory.path().join("memory.max")).unwrap(), "2147483648");
    assert_eq!(fs::read_to_string(directory.path().join("memory.oom.group")).unwrap(), "1");
}

#[test]
fn without_the_controller_there_are_no_memory_figures() {
    let (_directory, cgroup) = recorded(&[("cgroup.procs", ""), ("cpu.stat", "usage_usec 1234\nuser_usec 1000\n")]);
    assert_eq!((cgroup.memory(), cgroup.oom_kills(), cgroup.cpu_usage_usec()), (None, None, Some(1234)));
    assert_eq!(cgroup.set_memory_max(1).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_pids_of_nested_cgroups_count() {
    let (directory, cgroup) = recorded(&[("cgroup.procs", "7\n0\n8\n")]);
    fs::create_dir_all(directory.path().join("a/b")).unwrap();
    fs::write(directory.path().join("a/cgroup.procs"), "9\n").unwrap();
    fs::write(directory.path().join("a/b/cgroup.procs"), "10\n").unwrap();
    assert_eq!(cgroup.pids().unwrap(), [7, 8, 9, 10]);
}

#[test]
fn a_long_list_of_pids_is_read_whole() {
    let all: Vec<i32> = (1..=5000).map(|number| number * 7).collect();
    let text: String = all.iter().map(|pid| format!("{pid}\n")).collect();
    let (_directory, cgroup) = recorded(&[("cgroup.procs", &text)]);
    assert_eq!(cgroup.pids().unwrap(), all);
}

#[test]
fn a_name_becomes_a_safe_and_unused_directory() {
    let root = tempfile::tempdir().unwrap();
    let cgroups = Cgroups::at(root.path().to_owned());
    let first = cgroups.create("../cgroup.procs/ü").unwrap();
    let second = cgroups.create("../cgroup.procs/ü").unwrap();
    assert_eq!(first.path(), root.path().join("___cgroup_procs__"));
    assert_eq!(second.path(), root.path().join("___cgroup_procs__-2"));
    assert!(cgroups.create("").unwrap().path() != root.path());
    assert_eq!(cgroups.leftovers().unwrap().len(), 3);
}

#[test]
fn removing_takes_what_the_app_made_along() {
    let Some(real) = Real::new("remove") else { return };
    let cgroup = real.0.create("web.blue").unwrap();
    fs::create_dir_all(cgroup.path().join("a/b")).unwrap();
    fs::create_dir(cgroup.path().join("c")).unwrap();
    assert!(!cgroup.populated().unwrap());
    cgroup.remove().unwrap();
    assert!(!cgroup.path().exists());
    assert_eq!(cgroup.pids().unwrap(), [0_i32; 0]);
    cgroup.remove().unwrap();
}
