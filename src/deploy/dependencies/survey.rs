//! May what an install has made serve another release? Only what stands in `node_modules` alone, leads nowhere else,
//! does not know where it is, and came from nothing but what the key is made of.

use crate::deploy::backup::Figures;
use crate::deploy::step::Audience;
use crate::deploy::{Sourced, cannot};
use memchr::memmem::Finder;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// A larger one is no package.json, bytes.
const LARGEST_PACKAGE: u64 = 4 << 20;
/// npm runs these of a package that is installed.
const SCRIPTS: [&str; 3] = ["preinstall", "install", "postinstall"];
/// And these, too, of the package that it installs for.
const OWN_SCRIPTS: [&str; 7] =
    ["preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare"];
/// Their scripts look at nothing but themselves: they fetch, compile or check a program of their own, or say something.
/// Those of Prisma read its schemas, which are in the key.
const HARMLESS: [&str; 26] = [
    "@nestjs/core",
    "@parcel/watcher",
    "@prisma/client",
    "@prisma/engines",
    "@scarf/scarf",
    "@sentry/cli",
    "@swc/core",
    "argon2",
    "bcrypt",
    "better-sqlite3",
    "bufferutil",
    "canvas",
    "core-js",
    "core-js-pure",
    "cpu-features",
    "es5-ext",
    "esbuild",
    "fsevents",
    "msgpackr-extract",
    "prisma",
    "protobufjs",
    "sharp",
    "sqlite3",
    "ssh2",
    "unrs-resolver",
    "utf-8-validate",
];
/// Where Prisma notes where it was. It looks beside itself first.
const PRISMA: &str = ".prisma";

/// Of everything in the release but `node_modules`: names, sizes, times.
pub(super) fn outside(release: &Path) -> u64 {
    let mut found: Vec<(PathBuf, u64, i64, i64)> = Vec::new();
    let mut open = vec![release.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(there) = path.symlink_metadata() else { continue };
            if path.parent() == Some(release) && entry.file_name() == super::MODULES {
                continue;
            }
            let time = (there.mtime(), there.mtime_nsec());
            if there.is_dir() {
                open.push(path);
            } else {
                found.push((path, there.len(), time.0, time.1));
            }
        }
    }
    found.sort();
    let mut hasher = DefaultHasher::new();
    found.hash(&mut hasher);
    hasher.finish()
}

/// How much it is. The inner error says why it cannot serve another release.
///
/// # Errors
/// Something cannot be read; the audience has had enough.
pub(super) fn look(
    modules: &Path,
    release: &Path,
    audience: &mut dyn Audience,
) -> Result<Result<Figures, String>, Sourced> {
    if let Err(why) = own_package(&release.join("package.json")) {
        return Ok(Err(why));
    }
    if !modules.symlink_metadata().is_ok_and(|there| there.is_dir()) {
        return Ok(Err("it is no directory".to_owned()));
    }
    let place = Finder::new(release.as_os_str().as_bytes());
    let (mut figures, mut open) = (Figures::default(), vec![modules.to_owned()]);
    let mut block = vec![0; 256 << 10];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).map_err(cannot("read", &dir))? {
            let path = entry.map_err(cannot("read", &dir))?.path();
            let there = path.symlink_metadata().map_err(cannot("look at", &path))?;
            if audience.tick().is_break() {
                return Err(Sourced::Interrupted);
            }
            figures.entries += 1;
            let shown = || path.strip_prefix(release).unwrap_or(&path).display();
            if there.is_dir() {
                open.push(path);
            } else if there.is_symlink() {
                let target = std::fs::read_link(&path).map_err(cannot("read", &path))?;
                if !stays_within(modules, &path, &target) {
                    return Ok(Err(format!("{} leads out of it, to {}", shown(), target.display())));
                }
            } else if there.is_file() {
                figures.bytes += there.len();
                if is_of_a_package(&path)
                    && let Some(why) = script(&path)
                {
                    return Ok(Err(why));
                }
                let is_of_prisma = path.strip_prefix(modules).is_ok_and(|path| path.starts_with(PRISMA));
                let names = names(&path, &place, &mut block).map_err(cannot("read", &path))?;
                if names && !is_of_prisma {
                    return Ok(Err(format!("{} says where the release is", shown())));
                }
            } else {
                return Ok(Err(format!("{} is no file, directory or link", shown())));
            }
        }
    }
    Ok(Ok(figures))
}

/// The project's own scripts may do anything, and what is not packed may change without the lock file.
fn own_package(path: &Path) -> Result<(), String> {
    let package = package(path).ok_or("package.json cannot be read")?;
    if let Some(script) = OWN_SCRIPTS.iter().find(|script| package["scripts"][**script].is_string()) {
        return Err(format!("package.json has a script {script}"));
    }
    if !package["workspaces"].is_null() {
        return Err("package.json has workspaces".to_owned());
    }
    for table in ["dependencies", "devDependencies", "optionalDependencies"] {
        for (name, from) in package[table].as_object().into_iter().flatten() {
            let from = from.as_str().unwrap_or_default();
            let local = ["file:", "link:", "portal:", "workspace:", "exec:", ".", "/", "~"];
            if local.iter().any(|start| from.starts_with(start)) && !is_range(from) {
                return Err(format!("{name} comes from {from}, not from a registry"));
            }
        }
    }
    Ok(())
}

/// `~1.2` is no path.
fn is_range(from: &str) -> bool {
    from.strip_prefix('~').is_some_and(|rest| !rest.starts_with('/'))
}

fn package(path: &Path) -> Option<Value> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(LARGEST_PACKAGE).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// `…/node_modules/NAME/package.json`, or `…/node_modules/@SCOPE/NAME/package.json`.
fn is_of_a_package(path: &Path) -> bool {
    if path.file_name() != Some(OsStr::new("package.json")) {
        return false;
    }
    let above = |levels: usize| path.ancestors().nth(levels).and_then(Path::file_name);
    let is_modules = |name: Option<&OsStr>| name == Some(OsStr::new(super::MODULES));
    let is_scope = above(2).is_some_and(|name| name.as_bytes().starts_with(b"@"));
    is_modules(above(2)) || (is_scope && is_modules(above(3)))
}

/// That the package runs something when it is installed, which nobody knows what it goes by.
fn script(path: &Path) -> Option<String> {
    let package = package(path)?;
    let name = package["name"].as_str().unwrap_or_default();
    let is_run = SCRIPTS.iter().any(|script| package["scripts"][*script].is_string());
    let compiles = path.with_file_name("binding.gyp").exists();
    if !(is_run || compiles) || HARMLESS.contains(&name) {
        return None;
    }
    Some(format!("{name} runs a script when it is installed, which may go by anything"))
}

fn stays_within(modules: &Path, link: &Path, target: &Path) -> bool {
    let Some(mut at) = link.parent().map(Path::to_owned) else { return false };
    for part in target.components() {
        match part {
            Component::Normal(name) => at.push(name),
            Component::ParentDir => drop(at.pop()),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return false,
        }
        if !at.starts_with(modules) {
            return false;
        }
    }
    true
}

/// Does the path of the release stand in it?
fn names(path: &Path, place: &Finder<'_>, block: &mut [u8]) -> io::Result<bool> {
    let (mut file, mut kept) = (File::open(path)?, 0);
    let overlap = place.needle().len().saturating_sub(1);
    loop {
        let read = match file.read(&mut block[kept..]) {
            Ok(0) => return Ok(false),
            Ok(read) => kept + read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if place.find(&block[..read]).is_some() {
            return Ok(true);
        }
        kept = overlap.min(read);
        block.copy_within(read - kept..read, 0);
    }
}
