//! One command of a deploy: run without a shell, at low priority, its output heard live and kept, ended with all it has
//! started when nobody wants it any more.

use super::root::Root;
use crate::api::with_causes;
use crate::linux::exit::{Exit, wait_status};
use crate::linux::priority;
use crate::linux::proc::MARK;
use crate::linux::spawn::{Launch, LaunchError, launch};
use crate::linux::strays;
use jiff::Timestamp;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How often the audience is asked whether to go on.
const TICK: Duration = Duration::from_millis(50);
/// How long what a step has left behind may hold its output open.
const LAST_WORDS: u32 = 20;
/// How long a step may take to follow SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// A line without an end is shown in pieces, bytes.
const LONGEST_LINE: usize = 16 * 1024;

/// Stands for the release while its commit, and so its id, is not known yet.
pub const FETCH: &str = "fetch";

/// Who is told what goes on, and may say that it is enough.
pub trait Audience {
    fn now(&self) -> Timestamp;
    /// A line of output, without its end.
    ///
    /// # Errors
    /// Nobody hears it any more: then the step is over.
    fn line(&mut self, line: &str) -> io::Result<()>;
    /// Every so often while nothing is said.
    fn tick(&mut self) -> ControlFlow<()>;
}

/// Where the steps of one deploy are run.
pub struct Workshop<'a> {
    log: File,
    audience: &'a mut dyn Audience,
    /// The caller's own environment: git works with it.
    pub(super) own_env: Vec<(OsString, OsString)>,
    /// `INFISSI_RUN` of everything that is started begins with it.
    mark: String,
    count: u32,
}

pub struct Step<'s> {
    pub command: &'s [String],
    /// What it is called in the log, where the command itself may hold a secret.
    pub called: Option<String>,
    pub cwd: &'s Path,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// What it says is wanted as an answer, and shown to nobody.
    pub is_asked: bool,
}

/// Why a step is not done.
#[derive(Debug)]
pub enum StepError {
    /// It ended badly, or could not begin: goes on after its name.
    Failed(String),
    /// The audience has had enough.
    Interrupted,
    /// Nobody takes the output.
    Output(io::Error),
}

impl<'a> Workshop<'a> {
    /// For the release `id`; [`FETCH`] before there is one.
    pub fn new(
        (root, id): (&Root, &str),
        log: File,
        own_env: Vec<(OsString, OsString)>,
        audience: &'a mut dyn Audience,
    ) -> Workshop<'a> {
        Workshop { log, audience, own_env, mark: mark(root, id), count: 0 }
    }

    /// For whoever only looks, and has not locked the root: what they run is told from what a deploy runs meanwhile.
    pub fn without_lock(
        root: &Root,
        log: File,
        own_env: Vec<(OsString, OsString)>,
        audience: &'a mut dyn Audience,
    ) -> Workshop<'a> {
        Workshop::new((root, &format!("look-{}", std::process::id())), log, own_env, audience)
    }

    /// Runs it to its end; what it said, where it was asked.
    ///
    /// # Errors
    /// It failed, or was ended.
    pub fn run(&mut self, step: Step<'_>) -> Result<String, StepError> {
        let began = self.audience.now();
        if !step.is_asked {
            let called = step.called.clone().unwrap_or_else(|| spelled(step.command));
            self.note(&format!("== {} {called}", began.strftime("%FT%TZ")));
        }
        let is_asked = step.is_asked;
        let ran = self.carry_out(step);
        strays::end(&self.mark, None, GRACE);
        if !is_asked {
            let took = seconds(self.audience.now(), began);
            match &ran {
                Ok(_) => self.note(&format!("== done in {took:.1} s")),
                Err(StepError::Failed(why)) => self.note(&format!("== {why} after {took:.1} s")),
                Err(StepError::Interrupted | StepError::Output(_)) => self.note(&format!("== ended after {took:.1} s")),
            }
        }
        ran
    }

    /// Who is asked whether to go on with what no step does.
    pub(super) fn audience(&mut self) -> &mut dyn Audience {
        self.audience
    }

    /// A line of our own in the log, which is a courtesy.
    pub fn note(&mut self, line: &str) {
        let _unwritten = writeln!(self.log, "{line}");
    }

    /// Ends what the steps of a deploy that is over have left running.
    pub fn end_leftovers(root: &Root, id: &str) {
        strays::end(&mark(root, id), None, GRACE);
    }

    fn carry_out(&mut self, step: Step<'_>) -> Result<String, StepError> {
        let Step { command, cwd, env, is_asked, called: _ } = step;
        let (pidfd, output) = self.launch(command, cwd, env).map_err(|error| StepError::Failed(cause(&error)))?;
        let mut heard = Heard { pending: Vec::new(), answer: String::new(), is_asked };
        let (mut exit, mut silence) = (None, 0);
        loop {
            match output.recv_timeout(TICK) {
                Ok(piece) => {
                    let _full_disk = self.log.write_all(if is_asked { b"" } else { piece.as_slice() });
                    heard.hear(&piece, self.audience).map_err(StepError::Output)?;
                }
                Err(RecvTimeoutError::Timeout) => silence += u32::from(exit.is_some()),
                // Closed, which it may do before it ends.
                Err(RecvTimeoutError::Disconnected) if exit.is_some() => break,
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
            }
            if self.audience.tick().is_break() {
                return Err(StepError::Interrupted);
            }
            if exit.is_none() {
                exit = wait_status(pidfd.as_fd()).map_err(|error| StepError::Failed(error.to_string()))?;
            }
            if silence > LAST_WORDS {
                break;
            }
        }
        heard.end(self.audience).map_err(StepError::Output)?;
        match exit {
            Some(Exit { code: Some(0), signal: None, .. }) => Ok(heard.answer),
            Some(exit) => Err(StepError::Failed(ended(&exit))),
            None => Err(StepError::Failed("ended without a trace".to_owned())),
        }
    }

    fn launch(
        &mut self,
        command: &[String],
        cwd: &Path,
        mut env: Vec<(OsString, OsString)>,
    ) -> Result<(OwnedFd, Receiver<Vec<u8>>), LaunchError> {
        let no_pipe = |source| LaunchError::Step { operation: "make a pipe for its output".to_owned(), source };
        // A plain one: should we be killed, a step that goes on talking ends by itself.
        let (reader, writer) = io::pipe().map_err(no_pipe)?;
        let stderr = writer.try_clone().map_err(no_pipe)?;
        self.count += 1;
        env.retain(|(name, _)| name != MARK);
        env.push((OsString::from(MARK), OsString::from(format!("{}.{}", self.mark, self.count))));
        let what = Launch {
            command: command.iter().map(OsString::from).collect(),
            called: None,
            cwd: cwd.to_owned(),
            env,
            identity: None,
            stdin: None,
            stdout: writer.into(),
            stderr: stderr.into(),
            cgroup: None,
            nofile: None,
        };
        // What cannot be lowered runs all the same.
        let launched = launch(what, |launched| drop(priority::lower(launched.pid)))?;
        Ok((launched.pidfd, listen(reader)))
    }
}

/// What was said so far of the line that is being said.
struct Heard {
    pending: Vec<u8>,
    answer: String,
    is_asked: bool,
}

impl Heard {
    fn hear(&mut self, piece: &[u8], audience: &mut dyn Audience) -> io::Result<()> {
        if self.is_asked {
            self.answer.push_str(&String::from_utf8_lossy(piece));
            return Ok(());
        }
        self.pending.extend_from_slice(piece);
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            audience.line(&shown(&line))?;
        }
        if self.pending.len() > LONGEST_LINE {
            return self.end(audience);
        }
        Ok(())
    }

    fn end(&mut self, audience: &mut dyn Audience) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let rest = std::mem::take(&mut self.pending);
        audience.line(&shown(&rest))
    }
}

/// The command as somebody would type it.
pub fn spelled(command: &[String]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=./:@%+,".contains(&byte);
    let word = |word: &String| match !word.is_empty() && word.bytes().all(plain) {
        true => word.clone(),
        false => shell_words::quote(word).into_owned(),
    };
    command.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// What a carriage return has painted over is not shown.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']);
    text.rsplit('\r').next().unwrap_or_default().to_owned()
}

fn listen(mut reader: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            if sender.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Tells this root's deploys from those of any other, and from what a supervisor has started.
fn mark(root: &Root, id: &str) -> String {
    let (dev, ino) = std::fs::metadata(root.dir()).map_or((0, 0), |there| (there.dev(), there.ino()));
    format!("deploy-{dev:x}-{ino:x}-{id}")
}

fn ended(exit: &Exit) -> String {
    match exit.signal {
        Some(libc::SIGKILL) => "was killed by SIGKILL: was there too little memory?".to_owned(),
        Some(_) => format!("was ended by {exit}"),
        None => format!("failed with {exit}"),
    }
}

fn cause(error: &LaunchError) -> String {
    format!("could not be run: {}", with_causes(error))
}

pub(super) fn seconds(now: Timestamp, began: Timestamp) -> f64 {
    now.duration_since(began).as_secs_f64()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::path::PathBuf;

    /// Hears everything, and has enough after so many ticks.
    pub(in crate::deploy) struct Ear {
        lines: Vec<String>,
        ticks_left: u32,
    }

    impl Ear {
        pub(in crate::deploy) fn patient() -> Ear {
            Ear::until(u32::MAX)
        }

        pub(in crate::deploy) fn until(ticks_left: u32) -> Ear {
            Ear { lines: Vec::new(), ticks_left }
        }
    }

    impl Audience for Ear {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn line(&mut self, line: &str) -> io::Result<()> {
            self.lines.push(line.to_owned());
            Ok(())
        }

        fn tick(&mut self) -> ControlFlow<()> {
            self.ticks_left -= 1;
            if self.ticks_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }

    /// In a root of its own, until the step's end: what came of it, what was heard, what was logged.
    fn run(words: &[&str], mut ear: Ear) -> (Result<String, StepError>, Vec<String>, String) {
        let dir = tempfile::tempdir().unwrap();
        let log: PathBuf = dir.path().join("deploy.log");
        let root = Root::new(dir.path());
        let command: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let path = std::env::var_os("PATH").unwrap();
        let env = vec![(OsString::from("PATH"), path), (OsString::from("SAID"), OsString::from("hello"))];
        let file = File::create(&log).unwrap();
        let ran = Workshop::new((&root, "one"), file, Vec::new(), &mut ear).run(Step {
            command: &command,
            called: None,
            cwd: dir.path(),
            env,
            is_asked: false,
        });
        (ran, ear.lines, std::fs::read_to_string(log).unwrap())
    }

    #[test]
    fn what_a_step_says_is_heard_line_by_line_and_kept() {
        let (ran, heard, log) = run(&["sh", "-c", "echo $SAID; echo 1%\r2%\r100% >&2; printf end"], Ear::patient());
        ran.unwrap();
        assert_eq!(heard, ["hello", "100%", "end"]);
        assert!(log.starts_with("== 1970-01-01T00:00:00Z sh -c ") && log.contains("hello\n"), "{log}");
        assert!(log.ends_with("== done in 0.0 s\n"), "{log}");
    }

    #[test]
    fn a_step_that_fails_or_is_not_there_says_how() {
        let why = |words: &[&str]| match run(words, Ear::patient()).0 {
            Err(StepError::Failed(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(&["sh", "-c", "exit 3"]), "failed with exit code 3");
        assert!(why(&["sh", "-c", "kill -9 $$"]).contains("too little memory?"));
        assert!(why(&["no-such-program"]).starts_with("could not be run: "));
    }

    #[test]
    fn an_interrupted_step_ends_with_all_it_has_started() {
        let forever = ["sh", "-c", "setsid sleep 1000 & echo $!; exec sleep 1000"];
        let (ran, heard, _) = run(&forever, Ear::until(5));
        assert!(matches!(ran, Err(StepError::Interrupted)), "{ran:?}");
        let pid: i32 = heard[0].parse().unwrap();
        assert!(crate::linux::proc::stat(pid).is_none_or(|stat| !stat.is_alive()));
    }

    #[test]
    fn whoever_only_looks_ends_nothing_of_a_deploy() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let (mut deploying, mut looking) = (Ear::patient(), Ear::patient());
        let log = || File::create(dir.path().join("log")).unwrap();
        let mut deploy = Workshop::new((&root, FETCH), log(), Vec::new(), &mut deploying);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let fetch = deploy.launch(&words(&["/bin/sleep", "1000"]), dir.path(), Vec::new()).unwrap();
        Workshop::without_lock(&root, log(), Vec::new(), &mut looking)
            .run(Step {
                command: &words(&["/bin/true"]),
                called: None,
                cwd: dir.path(),
                env: Vec::new(),
                is_asked: true,
            })
            .unwrap();
        let there = wait_status(fetch.0.as_fd()).unwrap();
        Workshop::end_leftovers(&root, FETCH);
        assert!(there.is_none(), "{there:?}");
    }

    #[test]
    fn a_command_is_spelled_as_it_would_be_typed() {
        let spelled = |words: &[&str]| spelled(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(spelled(&["npm", "ci", "--include=dev"]), "npm ci --include=dev");
        assert_eq!(spelled(&["sh", "-c", "a && b", ""]), "sh -c 'a && b' ''");
    }

    #[test]
    fn a_step_yields_to_what_serves() {
        let (ran, heard, _) = run(&["sh", "-c", "cat /proc/self/oom_score_adj; nice"], Ear::patient());
        ran.unwrap();
        assert_eq!(heard, ["800", "10"]);
    }
}
