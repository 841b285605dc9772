//! Everything the child will need, made before it exists: it may not allocate. And afterwards, what its failure means.

use super::child::{Report, Stage};
use super::{Launch, LaunchError};
use crate::linux::identity::{Identity, with_fs_identity};
use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where a program is looked up when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The child's half of a launch, in the kernel's types.
pub(super) struct Plan {
    /// The programs to try, in this order; at least one.
    pub(super) candidates: Vec<CString>,
    /// Into `arguments`, a null pointer at the end.
    pub(super) argv: Vec<*const c_char>,
    /// Into `environment`, a null pointer at the end.
    pub(super) envp: Vec<*const c_char>,
    pub(super) cwd: CString,
    pub(super) credentials: Option<Credentials>,
    pub(super) nofile: Option<libc::rlimit>,
    _arguments: Vec<CString>,
    _environment: Vec<CString>,
    for_words: ForWords,
}

pub(super) struct Credentials {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
}

/// What the child does not need but an error does.
struct ForWords {
    program: OsString,
    path: OsString,
    cwd: PathBuf,
    identity: Option<Identity>,
}

impl Plan {
    pub(super) fn new(launch: &Launch<'_>) -> Result<Plan, LaunchError> {
        let program = launch.command.first().filter(|program| !program.is_empty()).ok_or(LaunchError::NoCommand)?;
        let path = launch.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        let path = path.unwrap_or_else(|| DEFAULT_PATH.into());
        let candidates =
            candidates(program, &path).into_iter().map(|candidate| c_string(candidate.into_os_string(), "the command"));
        let called = launch.called.as_ref().unwrap_or(program);
        let arguments: Vec<CString> = std::iter::once(called)
            .chain(&launch.command[1..])
            .map(|argument| c_string(argument.clone(), "the command"))
            .collect::<Result<_, _>>()?;
        let environment: Vec<CString> =
            launch.env.iter().map(|(name, value)| variable(name, value)).collect::<Result<_, _>>()?;
        Ok(Plan {
            candidates: candidates.collect::<Result<_, _>>()?,
            argv: null_terminated(&arguments),
            envp: null_terminated(&environment),
            cwd: c_string(launch.cwd.clone().into_os_string(), "the directory")?,
            credentials: launch.identity.as_ref().map(|identity| Credentials {
                uid: identity.uid,
                gid: identity.gid,
                groups: identity.groups.clone(),
            }),
            nofile: launch.nofile.map(|nofile| libc::rlimit { rlim_cur: nofile.soft, rlim_max: nofile.hard }),
            _arguments: arguments,
            _environment: environment,
            for_words: ForWords {
                program: program.clone(),
                path,
                cwd: launch.cwd.clone(),
                identity: launch.identity.clone(),
            },
        })
    }

    /// Why no process was made.
    pub(super) fn explain_clone(&self, source: io::Error) -> LaunchError {
        match source.raw_os_error() {
            Some(libc::EAGAIN) => LaunchError::TooManyProcesses { user: self.user() },
            Some(libc::ENOMEM) => LaunchError::OutOfMemory,
            Some(_) | None => LaunchError::step("make a process", source),
        }
    }

    /// What the child's last words mean.
    pub(super) fn explain(&self, report: &Report) -> LaunchError {
        let source = io::Error::from_raw_os_error(report.errno);
        match report.stage {
            Stage::SESSION => LaunchError::step("give the process a session of its own", source),
            Stage::CGROUP => LaunchError::step("put the process into its cgroup", source),
            Stage::DESCRIPTORS => LaunchError::step("give the process its output", source),
            Stage::NOFILE => LaunchError::step("limit the open files of the process", source),
            Stage::USER => LaunchError::User { user: self.user(), source },
            Stage::DIRECTORY => self.explain_directory(source),
            Stage::NOT_FOUND => self.explain_absence(None),
            Stage::HIDDEN => self.explain_absence(Some(self.program_at(report.candidate))),
            Stage::NO_INTERPRETER => self.explain_interpreter(self.program_at(report.candidate)),
            _ => self.explain_exec(self.program_at(report.candidate), source),
        }
    }

    fn explain_directory(&self, source: io::Error) -> LaunchError {
        let dir = self.for_words.cwd.clone();
        match source.raw_os_error() {
            Some(libc::ENOENT) => LaunchError::NoDirectory { dir },
            Some(libc::ENOTDIR) => LaunchError::NotADirectory { dir },
            Some(libc::EACCES) => LaunchError::ClosedDirectory { dir, user: self.user() },
            Some(_) | None => LaunchError::step(&format!("enter the directory {}", dir.display()), source),
        }
    }

    fn explain_absence(&self, hidden: Option<PathBuf>) -> LaunchError {
        let ForWords { program, path, .. } = &self.for_words;
        let is_looked_up = !program.as_bytes().contains(&b'/');
        match (is_looked_up, hidden) {
            (true, hidden) => LaunchError::NotInPath {
                program: program.to_string_lossy().into_owned(),
                path: path.to_string_lossy().into_owned(),
                closed: hidden.and_then(|program| Some((program.parent()?.to_owned(), self.user()))),
            },
            (false, Some(program)) => LaunchError::NotExecutable { program, user: self.user() },
            (false, None) => LaunchError::NoProgram { program: self.program_at(0) },
        }
    }

    fn explain_interpreter(&self, program: PathBuf) -> LaunchError {
        let interpreter = match &self.for_words.identity {
            Some(identity) => with_fs_identity(identity, || interpreter(&program)).ok().flatten(),
            None => interpreter(&program),
        };
        LaunchError::NoInterpreter { program, interpreter }
    }

    fn explain_exec(&self, program: PathBuf, source: io::Error) -> LaunchError {
        match source.raw_os_error() {
            Some(libc::EACCES) if program.is_dir() => LaunchError::IsDirectory { program },
            Some(libc::EACCES) => LaunchError::NotExecutable { program, user: self.user() },
            Some(libc::ENOEXEC) => LaunchError::NoFormat { program },
            Some(libc::ETXTBSY) => LaunchError::Busy { program },
            Some(libc::E2BIG) => LaunchError::TooLong,
            Some(libc::EAGAIN) => LaunchError::TooManyProcesses { user: self.user() },
            Some(libc::ENOMEM) => LaunchError::OutOfMemory,
            Some(_) | None => LaunchError::step(&format!("execute {}", program.display()), source),
        }
    }

    /// As the child saw it: relative to its directory.
    fn program_at(&self, candidate: i32) -> PathBuf {
        let candidate = usize::try_from(candidate).ok().and_then(|index| self.candidates.get(index));
        let program = candidate.map_or(self.for_words.program.as_os_str(), |path| OsStr::from_bytes(path.to_bytes()));
        let relative = program.as_bytes().strip_prefix(b"./").unwrap_or(program.as_bytes());
        self.for_words.cwd.join(OsStr::from_bytes(relative))
    }

    fn user(&self) -> String {
        self.for_words.identity.as_ref().map_or_else(|| Identity::own().name, |identity| identity.name.clone())
    }
}

fn candidates(program: &OsStr, path: &OsStr) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return vec![program.into()];
    }
    // An empty entry is the current directory, environ(7); the dot keeps exec from taking it for something else.
    let entries = path.as_bytes().split(|byte| *byte == b':');
    entries
        .map(|dir| if dir.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(dir)) }.join(program))
        .collect()
}

fn variable(name: &OsStr, value: &OsStr) -> Result<CString, LaunchError> {
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        return Err(LaunchError::BadVariable { name: name.to_string_lossy().into_owned() });
    }
    let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
    c_string(OsString::from_vec(pair), "the environment")
}

fn c_string(text: OsString, place: &'static str) -> Result<CString, LaunchError> {
    CString::new(text.into_vec()).map_err(|_nul| LaunchError::NulByte { place })
}

fn null_terminated(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| CStr::as_ptr(string)).chain([std::ptr::null()]).collect()
}

/// What the `#!` line of a script asks for; none for a program, which asks for a loader.
fn interpreter(script: &Path) -> Option<String> {
    let mut start = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(script).ok()?;
    file.take(256).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    // Blank or tab end it for the kernel; a carriage return does not, and is then what is wrong.
    let interpreter = line.trim_start_matches([' ', '\t']).split([' ', '\t']).next()?;
    Some(interpreter.to_owned())
}
