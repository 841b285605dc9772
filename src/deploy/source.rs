//! Where a release comes from: a ref of a repository, by a mirror that is kept, a directory, or what is packed elsewhere
//! and sent to us.

use super::copy::copy_tree;
use super::git::{environment, git, is_commit, set};
use super::restore::needed;
use super::root::Root;
use super::step::{Step, StepError, Workshop, spelled};
use super::unpack::{UnpackError, unpack};
use crate::api::Refusal;
use crate::linux::stdin::Patient;
use std::ffi::OsString;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// So much may come before it is looked at again how much room is left, bytes.
const STRIDE: u64 = 8 << 20;

/// What is to be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// None: what the repository's HEAD is on.
    Ref {
        repo: String,
        name: Option<String>,
    },
    Directory(PathBuf),
    /// A tar archive on standard input.
    Stream,
}

/// Why there is no source.
#[derive(Debug)]
pub enum Sourced {
    Failed(Refusal),
    Interrupted,
    Output(std::io::Error),
}

impl From<Refusal> for Sourced {
    fn from(refusal: Refusal) -> Sourced {
        Sourced::Failed(refusal)
    }
}

/// One git command failed, after all it had to say was shown.
pub(super) fn git_failed(what: &str, error: StepError) -> Sourced {
    match error {
        StepError::Interrupted => Sourced::Interrupted,
        StepError::Output(error) => Sourced::Output(error),
        StepError::Failed(why) => Sourced::Failed(super::failed(format!("{what}: git {why}"))),
    }
}

impl Source {
    pub fn in_words(&self) -> String {
        match self {
            Source::Ref { repo, name: Some(name) } => format!("{name} of {}", without_password(repo)),
            Source::Ref { repo, name: None } => format!("the HEAD of {}", without_password(repo)),
            Source::Directory(dir) => format!("the directory {}", dir.display()),
            Source::Stream => "the archive on standard input".to_owned(),
        }
    }
}

/// Brings the mirror up to date; the commit that is meant. Of files without a history it is what the caller's
/// `INFISSI_COMMIT` says, if anything.
///
/// # Errors
/// Git says no, there is no such ref, or the directory cannot be a source.
pub fn fetch(source: &Source, root: &Root, workshop: &mut Workshop<'_>) -> Result<Option<String>, Sourced> {
    match source {
        Source::Directory(dir) => {
            check_directory(dir, root)?;
            Ok(said(workshop))
        }
        Source::Stream => Ok(said(workshop)),
        Source::Ref { repo, name } => Mirror::open(root, repo, workshop)?.fetch(name.as_deref(), workshop).map(Some),
    }
}

impl Source {
    /// Puts the files into the release's directory, which is not there yet. What is sent is nobody's to know the size of:
    /// it may go on only while `is_room`, which is asked every few MB.
    ///
    /// # Errors
    /// The disk is against it, or git.
    pub fn export(
        &self,
        commit: Option<&str>,
        (root, id): (&Root, &str),
        is_room: &dyn Fn() -> Result<(), Refusal>,
        workshop: &mut Workshop<'_>,
    ) -> Result<(), Sourced> {
        let release = root.release(id);
        match (self, commit) {
            (Source::Directory(dir), _) => drop(copy_tree(dir, &release, &[".git"], workshop.audience())?),
            (Source::Stream, _) => {
                let stdin = Patient::stdin().map_err(super::cannot("read", Path::new("/dev/stdin")))?;
                let audience = workshop.audience();
                receive(stdin, &release, is_room, &mut || audience.tick())?;
            }
            (Source::Ref { repo, .. }, commit) => {
                std::fs::create_dir(&release).map_err(super::cannot("make", &release))?;
                let mirror = Mirror::open(root, repo, workshop)?;
                mirror.export(commit.unwrap_or_default(), &release, &root.deploy(id).join("index"), workshop)?;
            }
        }
        // A directory has them in it.
        if matches!(self, Source::Ref { .. }) && release.join(".gitmodules").exists() {
            return Err(has_submodules().into());
        }
        Ok(())
    }
}

/// The commit that the caller says the files are of.
fn said(workshop: &Workshop<'_>) -> Option<String> {
    let (_, commit) = workshop.own_env.iter().find(|(name, _)| name == "INFISSI_COMMIT")?;
    commit.to_str().filter(|commit| is_commit(commit)).map(str::to_owned)
}

fn receive(
    stream: impl Read,
    release: &Path,
    is_room: &dyn Fn() -> Result<(), Refusal>,
    tick: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<(), Sourced> {
    std::fs::create_dir(release).map_err(super::cannot("make", release))?;
    let (mut short, mut looked_at) = (None, 0);
    let unpacked = unpack(stream, release, &mut |figures| {
        let taken = needed(figures);
        if taken >= looked_at + STRIDE {
            looked_at = taken;
            short = is_room().err();
        }
        if short.is_some() { ControlFlow::Break(()) } else { tick() }
    });
    match (unpacked, short) {
        (Ok(_), _) => Ok(()),
        (Err(_), Some(refusal)) => Err(refusal.into()),
        (Err(UnpackError::Stopped), None) => Err(Sourced::Interrupted),
        (Err(error), None) => Err(error.refusal().into()),
    }
}

pub(super) fn has_submodules() -> Refusal {
    let refusal = super::failed("the source has submodules, and a deploy does not fetch them");
    refusal.hint("check it out with them, and deploy --from that directory")
}

fn check_directory(dir: &Path, root: &Root) -> Result<(), Refusal> {
    let real = dir.canonicalize().map_err(super::cannot("read", dir))?;
    if !real.is_dir() {
        return Err(super::failed(format!("{} is no directory", dir.display())));
    }
    let inside = root.dir().canonicalize().is_ok_and(|root| root.starts_with(&real));
    if inside {
        let message = format!("{} holds the releases themselves, and would be copied into itself", dir.display());
        return Err(super::failed(message).hint("set root to a directory outside of it"));
    }
    Ok(())
}

struct Mirror<'m> {
    dir: PathBuf,
    repo: &'m str,
    env: Vec<(OsString, OsString)>,
}

impl<'m> Mirror<'m> {
    fn open(root: &Root, repo: &'m str, workshop: &mut Workshop<'_>) -> Result<Mirror<'m>, Sourced> {
        let dir = root.mirror();
        let asking = environment(workshop.own_env.iter().cloned(), None);
        let mut mirror = Mirror { dir, repo, env: asking };
        if !mirror.dir.join("HEAD").exists() {
            let words = ["init", "--quiet", "--bare", "--template="];
            let mut command = vec!["git".to_owned()];
            command.extend(words.map(str::to_owned));
            command.push(mirror.dir.display().to_string());
            mirror.run(command, root.dir(), workshop).map_err(|error| git_failed("cannot make a mirror", error))?;
        }
        let asked = mirror.ask(&["config", "--get", "core.sshCommand"], workshop)?;
        mirror.env = environment(workshop.own_env.iter().cloned(), asked);
        Ok(mirror)
    }

    fn fetch(&self, name: Option<&str>, workshop: &mut Workshop<'_>) -> Result<String, Sourced> {
        let mut words =
            vec!["fetch", "--force", "--prune", "--no-auto-gc", "--", self.repo, "+refs/heads/*:refs/heads/*"];
        words.push("+refs/tags/*:refs/tags/*");
        if name.is_none() {
            words.push("+HEAD:refs/infissi/HEAD");
        }
        let failed = |error| git_failed(&format!("cannot fetch {}", without_password(self.repo)), error);
        self.run(git(&self.dir, &words), &self.dir, workshop).map_err(failed)?;
        let Some(name) = name else {
            return self.resolve("refs/infissi/HEAD", workshop)?.ok_or_else(|| self.no_such("HEAD"));
        };
        for place in ["refs/heads/", "refs/tags/", ""] {
            if let Some(commit) = self.resolve(&format!("{place}{name}"), workshop)? {
                return Ok(commit);
            }
        }
        // A commit that no branch has: some servers give it by its whole name.
        if is_commit(name) {
            let words = ["fetch", "--no-auto-gc", "--", self.repo, name];
            self.run(git(&self.dir, &words), &self.dir, workshop).map_err(failed)?;
        }
        self.resolve(name, workshop)?.ok_or_else(|| self.no_such(name))
    }

    fn no_such(&self, name: &str) -> Sourced {
        let repo = without_password(self.repo);
        let refusal = super::failed(format!("{repo} has no branch, tag or commit {name}"));
        refusal.hint(format!("git ls-remote {} shows what it has", shell_words::quote(&repo))).into()
    }

    fn resolve(&self, name: &str, workshop: &mut Workshop<'_>) -> Result<Option<String>, Sourced> {
        let commit = format!("{name}^{{commit}}");
        let answer = self.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit], workshop)?;
        Ok(answer.filter(|answer| is_commit(answer)))
    }

    fn export(&self, commit: &str, release: &Path, index: &Path, workshop: &mut Workshop<'_>) -> Result<(), Sourced> {
        let mut command = git(&self.dir, &[]);
        command.push(format!("--work-tree={}", release.display()));
        command.extend(["checkout", "--quiet", "--force", commit, "--", "."].map(str::to_owned));
        let mut env = self.env.clone();
        set(&mut env, "GIT_INDEX_FILE", index);
        let step = Step { command: &command, called: None, cwd: release, env, is_asked: false };
        let exported = workshop.run(step).map_err(|error| git_failed("cannot export the source", error));
        let _was_needed_once = std::fs::remove_file(index);
        exported.map(drop)
    }

    fn run(&self, command: Vec<String>, cwd: &Path, workshop: &mut Workshop<'_>) -> Result<(), StepError> {
        let called = Some(without_password(&spelled(&command)));
        workshop.run(Step { command: &command, called, cwd, env: self.env.clone(), is_asked: false }).map(drop)
    }

    /// The answer of a git that may have none.
    fn ask(&self, words: &[&str], workshop: &mut Workshop<'_>) -> Result<Option<String>, Sourced> {
        let command = git(&self.dir, words);
        let (cwd, env) = (&self.dir, self.env.clone());
        match workshop.run(Step { command: &command, called: None, cwd, env, is_asked: true }) {
            Ok(answer) => Ok(Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty())),
            Err(StepError::Failed(_)) => Ok(None),
            Err(error @ (StepError::Interrupted | StepError::Output(_))) => Err(git_failed("cannot ask", error)),
        }
    }
}

/// `https://ann:secret@host/…` is told as `https://…@host/…`: what is told is kept, and shown to whoever may look.
fn without_password(text: &str) -> String {
    let mut told = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        told.push_str(before);
        told.push_str("://");
        let authority = after.split(['/', ' ']).next().unwrap_or_default();
        rest = match authority.rsplit_once('@') {
            // A token may stand where a name does; over ssh only a name can.
            Some((login, _)) if login.contains(':') || before.ends_with("http") || before.ends_with("https") => {
                told.push('…');
                &after[login.len()..]
            }
            Some(_) | None => after,
        };
    }
    told + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_stops_when_the_room_goes_and_not_before() {
        let temp = tempfile::tempdir().unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        for name in ["a", "b", "c"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(STRIDE);
            header.set_mode(0o644);
            header.set_mtime(0);
            archive.append_data(&mut header, name, std::io::repeat(b'x').take(STRIDE)).unwrap();
        }
        let archive = archive.into_inner().unwrap();
        let to = |dir: &str, is_room: &dyn Fn() -> Result<(), Refusal>| {
            let dir = temp.path().join(dir);
            let received = receive(archive.as_slice(), &dir, is_room, &mut || ControlFlow::Continue(()));
            (received, std::fs::read_dir(dir).unwrap().count())
        };
        let (received, count) = to("all", &|| Ok(()));
        assert!(received.is_ok() && count == 3, "{received:?}, {count}");
        let (received, count) = to("half", &|| Err(super::super::failed("no room")));
        assert!(matches!(received, Err(Sourced::Failed(refusal)) if refusal.message == "no room"));
        assert!(count < 3);
    }

    #[test]
    fn a_password_in_an_address_is_told_to_nobody() {
        for (text, told) in [
            ("https://ann:secret@example.org/crm.git", "https://…@example.org/crm.git"),
            ("git fetch -- https://x:p@h/a +refs", "git fetch -- https://…@h/a +refs"),
            ("https://ghp_token@example.org/crm.git", "https://…@example.org/crm.git"),
            ("ssh://git@example.org/crm.git", "ssh://git@example.org/crm.git"),
            ("git@example.org:crm.git", "git@example.org:crm.git"),
            ("/srv/crm", "/srv/crm"),
        ] {
            assert_eq!(without_password(text), told);
        }
        let source = Source::Ref { repo: "https://a:b@h/c".to_owned(), name: Some("main".to_owned()) };
        assert_eq!(source.in_words(), "main of https://…@h/c");
    }
}
