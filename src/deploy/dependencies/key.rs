//! Would an install make the same `node_modules`? What decides it, as a key; and the steps of which that is known.

use crate::deploy::Sourced;
use crate::deploy::step::{Step, StepError, Workshop};
use crate::linux::identity::{Identity, read_file_as};
use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What installs exactly what the lock file says, and flags that do not change where.
const INSTALLS: [(&[&str], &[&str]); 5] = [
    (&["npm", "ci"], &[]),
    (&["npm", "clean-install"], &[]),
    (&["pnpm", "install"], &["--frozen-lockfile"]),
    (&["yarn", "install"], &["--frozen-lockfile", "--immutable"]),
    (&["bun", "install"], &["--frozen-lockfile"]),
];
const FLAGS: [&str; 18] = [
    "--include=dev",
    "--omit=dev",
    "--omit=optional",
    "--production",
    "--production=false",
    "--prod",
    "--prod=false",
    "--no-audit",
    "--no-fund",
    "--audit=false",
    "--fund=false",
    "--prefer-offline",
    "--offline",
    "--silent",
    "--ignore-scripts",
    "--legacy-peer-deps",
    "--no-progress",
    "--non-interactive",
];
/// Files of the release by which a package manager goes.
const FILES: [&str; 18] = [
    "package.json",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    ".pnpmfile.cjs",
    "yarn.lock",
    "bun.lock",
    "bun.lockb",
    "bunfig.toml",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".nvmrc",
    ".node-version",
    ".tool-versions",
    "mise.toml",
    "patches",
];
/// And of the user's home.
const FILES_AT_HOME: [&str; 5] = [".npmrc", ".yarnrc", ".yarnrc.yml", ".bunfig.toml", ".config/pnpm/rc"];
/// Differs from release to release, and no install goes by it.
const PASSING: [&str; 6] = ["NEXT_DEPLOYMENT_ID", "SSH_AUTH_SOCK", "PORT", "HOST", "HOSTNAME", "PWD"];
/// A larger file is none of these, bytes.
const LARGEST: u64 = 64 << 20;
/// As the layout of what is kept.
const VERSION: &str = "1";

/// Is it a step that installs what the lock file says, in the release's own directory?
pub(super) fn installs(command: &[String]) -> bool {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    INSTALLS.iter().any(|(name, frozen)| {
        let Some(flags) = words.strip_prefix(*name) else { return false };
        let is_frozen = frozen.is_empty() || flags.iter().any(|flag| frozen.contains(flag));
        is_frozen && flags.iter().all(|flag| frozen.contains(flag) || FLAGS.contains(flag))
    })
}

/// The key of what this step would install in the release now.
///
/// # Errors
/// The audience has had enough.
pub(super) fn key(
    command: &[String],
    release: &Path,
    env: &[(OsString, OsString)],
    workshop: &mut Workshop<'_>,
) -> Result<String, Sourced> {
    let mut parts = Parts::default();
    parts.add(VERSION);
    parts.add(command);
    let mut sorted: Vec<&(OsString, OsString)> = env.iter().filter(|(name, _)| decides(name)).collect();
    sorted.sort();
    for (name, value) in sorted {
        // A path into the release is another one each time.
        parts.add((name, value.to_string_lossy().replace(&*release.to_string_lossy(), "")));
    }
    for file in FILES {
        parts.add_file(&release.join(file));
    }
    add_schemas(&mut parts, release);
    let variable = |wanted: &str| env.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_os_str());
    if let Some(home) = variable("HOME") {
        for file in FILES_AT_HOME {
            parts.add_file(&Path::new(home).join(file));
        }
    }
    let path = variable("PATH").unwrap_or_default();
    for program in ["node", &command[0]] {
        let found = find(program, path);
        if let Some(prefix) = found.as_ref().and_then(|found| found.parent()?.parent()) {
            parts.add_file(&prefix.join("etc/npmrc"));
        }
        parts.add(found.and_then(|found| {
            let there = found.metadata().ok()?;
            Some((found, there.len(), there.mtime(), there.mtime_nsec()))
        }));
    }
    // What a program of that name turns out to be may be up to files of the release (nvm, volta, asdf).
    let ask = ["node", "-p", "[process.version, process.arch, process.versions.modules].join()"];
    let ask: Vec<String> = ask.map(str::to_owned).into();
    match workshop.run(Step { command: &ask, called: None, cwd: release, env: env.to_vec(), is_asked: true }) {
        Ok(version) => parts.add(version),
        Err(StepError::Failed(_)) => parts.add("no node"),
        Err(StepError::Interrupted) => return Err(Sourced::Interrupted),
        Err(StepError::Output(error)) => return Err(Sourced::Output(error)),
    }
    // Native modules are made for the libraries of the system.
    parts.add_file(Path::new("/etc/os-release"));
    Ok(parts.key())
}

fn decides(name: &OsStr) -> bool {
    !name.to_str().is_some_and(|name| PASSING.contains(&name) || name.starts_with("INFISSI_"))
}

/// The packages of Prisma look for these when they are installed, wherever they are.
fn add_schemas(parts: &mut Parts, release: &Path) {
    let mut open = vec![release.to_owned()];
    let mut found: Vec<PathBuf> = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "prisma")
                || name.to_string_lossy().starts_with("prisma.config.")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    for path in found {
        parts.add(path.strip_prefix(release).ok());
        parts.add_file(&path);
    }
}

fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|dir| dir.join(program)).find_map(|path| path.canonicalize().ok())
}

/// Two numbers of 64 bits: nobody meets another's by chance, and who could by art may write into the release anyway.
struct Parts([DefaultHasher; 2]);

impl Default for Parts {
    fn default() -> Parts {
        let mut parts = Parts([DefaultHasher::new(), DefaultHasher::new()]);
        parts.0[1].write_u8(1);
        parts
    }
}

impl Parts {
    fn add(&mut self, part: impl Hash) {
        for hasher in &mut self.0 {
            part.hash(hasher);
        }
    }

    /// Of a directory all that is in it.
    fn add_file(&mut self, path: &Path) {
        if path.symlink_metadata().is_ok_and(|there| there.is_dir()) {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                self.add(path.file_name());
                self.add_file(&path);
            }
            return;
        }
        // A pipe there is nothing to wait for.
        self.add(read_file_as(&Identity::own(), path, LARGEST).ok());
    }

    fn key(&self) -> String {
        let [one, two] = &self.0;
        format!("{:016x}{:016x}", one.finish(), two.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_install_of_just_the_lock_file_in_the_release_is_known() {
        let known = |text: &str| installs(&shell_words::split(text).unwrap());
        for usual in [
            "npm ci",
            "npm ci --include=dev --no-audit",
            "pnpm install --frozen-lockfile --prod=false",
            "yarn install --immutable",
            "bun install --frozen-lockfile",
        ] {
            assert!(known(usual), "{usual}");
        }
        for other in [
            "npm install",
            "npm ci --prefix client",
            "npm ci --prefix=client",
            "npm ci -w api",
            "npm run build",
            "yarn install",
            "sh -c 'npm ci'",
            "/usr/bin/npm ci",
        ] {
            assert!(!known(other), "{other}");
        }
    }
}
