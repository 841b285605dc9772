//! Where our own cgroup is, and below which cgroup those of the instances can be made.

use super::{is_root, sanitised};
use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, faccessat};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Why instances run without cgroups here: a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoCgroups(String);

/// The unit's subgroup that `DelegateSubgroup=` puts us in (systemd 254).
const OWN_SUBGROUP: &str = "supervisor";

/// Why memory is neither counted nor capped per instance here: a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoMemory(String);

/// Makes and tries out the base for one whose own cgroup is `own`; whether the memory controller counts below it.
pub(super) fn find(own: &Path, tag: &str) -> Result<(PathBuf, Result<(), NoMemory>), NoCgroups> {
    if is_subgroup(own)
        && let Some(unit) = own.parent()
        && let Ok(base) = make_base(unit, "apps")
    {
        // The unit's own processes are all in the subgroup, so it may hand controllers down.
        let memory = enable_memory(unit).and_then(|()| enable_memory(&base));
        return Ok((base, memory));
    }
    let base = make_base(own, &format!("infissi-{}", sanitised(tag)))?;
    let memory = match is_root(own) {
        true => enable_memory(own).and_then(|()| enable_memory(&base)),
        false => Err(NoMemory(format!(
            "the supervisor has no cgroup {OWN_SUBGROUP} of its own below {} (systemd 254 makes one for \
             DelegateSubgroup={OWN_SUBGROUP}), and one with processes in it hands no controller on",
            own.display()
        ))),
    };
    Ok((base, memory))
}

/// The directory of our own cgroup.
pub(super) fn own() -> Result<PathBuf, NoCgroups> {
    own_directory(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
}

/// The directory of our own cgroup, from /proc/self/mountinfo and /proc/self/cgroup.
pub(super) fn own_directory(mounts: &[u8], cgroups: &[u8]) -> Result<PathBuf, NoCgroups> {
    let own = cgroups
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"0::"))
        .ok_or_else(|| NoCgroups("the kernel has no cgroup version 2".to_owned()))?;
    let own = PathBuf::from(OsString::from_vec(own.to_vec()));
    let mut mounted = false;
    for (root, point) in mounts.split(|byte| *byte == b'\n').filter_map(cgroup2_mount) {
        mounted = true;
        // A bind mount, or a container without its own cgroup namespace, shows only what is below its root.
        if let Ok(below) = own.strip_prefix(&root)
            && !below.starts_with("..")
        {
            return Ok(point.components().chain(below.components()).collect());
        }
    }
    Err(NoCgroups(match mounted {
        true => format!("our own cgroup {} is outside of what is mounted of the cgroup2 file system", own.display()),
        false => "no cgroup2 file system is mounted".to_owned(),
    }))
}

/// Root and mount point of a line of mountinfo (proc_pid_mountinfo(5)) when it is a cgroup2 mount.
fn cgroup2_mount(line: &[u8]) -> Option<(PathBuf, PathBuf)> {
    let separator = memchr::memmem::find(line, b" - ")?;
    let (mount, kind) = line.split_at(separator);
    kind.strip_prefix(b" - cgroup2 ")?;
    let mut fields = mount.split(|byte| *byte == b' ').skip(3);
    Some((unescaped(fields.next()?), unescaped(fields.next()?)))
}

/// Spaces, tabs, newlines and backslashes are octal in mountinfo: `\040`.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &after[3..];
            }
            None => {
                path.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(path).into()
}

/// In a unit's delegated subgroup the siblings are ours to make.
pub(super) fn is_subgroup(own: &Path) -> bool {
    own.file_name().is_some_and(|name| name == OWN_SUBGROUP)
        && own.parent().is_some_and(|unit| !is_root(unit) && may_write(&unit.join("cgroup.procs")))
}

/// Makes `name` below `parent` and tries what an instance will need there.
fn make_base(parent: &Path, name: &str) -> Result<PathBuf, NoCgroups> {
    let base = parent.join(name);
    let refuse = |does: &str, path: &Path, error: io::Error| {
        NoCgroups(format!("cannot {does} the cgroup {}: {error}", path.display()))
    };
    // Starting a child in another cgroup needs the right to write the nearest one above both (cgroup-v2.rst,
    // "Delegation Containment").
    if !may_write(&parent.join("cgroup.procs")) {
        return Err(refuse("move processes within", parent, ErrorKind::PermissionDenied.into()));
    }
    made(&base).map_err(|error| refuse("make", &base, error))?;
    let probe = base.join(format!("probe-{}", std::process::id()));
    made(&probe).map_err(|error| refuse("make", &probe, error))?;
    let usable = may_write(&probe.join("cgroup.procs")) && probe.join("cgroup.events").exists();
    std::fs::remove_dir(&probe).map_err(|error| refuse("remove", &probe, error))?;
    match usable {
        true => Ok(base),
        false => Err(NoCgroups(format!("the cgroup {} takes no processes of ours", base.display()))),
    }
}

fn made(directory: &Path) -> io::Result<()> {
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

/// From here on children of `parent` have the memory controller. A refusal leaves them without: nothing depends on it.
fn enable_memory(parent: &Path) -> Result<(), NoMemory> {
    let switched = std::fs::write(parent.join("cgroup.subtree_control"), "+memory");
    hands_memory_on(parent).map_err(|why| {
        let shown = parent.display();
        match switched {
            _ if !names_memory(&parent.join("cgroup.controllers")) => NoMemory(format!(
                "{shown} does not have the memory controller: it is in cgroup version 1, or not handed on from above"
            )),
            Err(error) => NoMemory(format!("the memory controller cannot be handed on in {shown}: {error}")),
            Ok(()) => why,
        }
    })
}

/// Whether children of `parent` have the memory controller now.
pub(super) fn hands_memory_on(parent: &Path) -> Result<(), NoMemory> {
    let why = || NoMemory(format!("the memory controller is not handed on in {}", parent.display()));
    names_memory(&parent.join("cgroup.subtree_control")).then_some(()).ok_or_else(why)
}

fn names_memory(file: &Path) -> bool {
    controllers(file).iter().any(|name| name == "memory")
}

fn controllers(file: &Path) -> Vec<String> {
    let names = std::fs::read_to_string(file).unwrap_or_default();
    names.split_whitespace().map(str::to_owned).collect()
}

fn may_write(path: &Path) -> bool {
    faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok()
}

fn read(path: &str) -> Result<Vec<u8>, NoCgroups> {
    std::fs::read(path).map_err(|error| NoCgroups(format!("cannot read {path}: {error}")))
}
