//! The handle of the log thread: what it can be told from elsewhere.

use super::app::AppStats;
use super::file::LogNotice;
use super::follow::{Feed, Follower, FollowerFilter, channel};
use super::gzip::{Compressor, GzipDone};
use super::journal::Journal;
use super::log_thread::{Ground, LogThread};
use super::settings::{LogSettings, Stream};
use super::tail::TailLine;
use crate::linux::mapped::Bytes;
use crate::linux::readiness::{Readiness, Waker};
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel as commands};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One run of one instance; never used twice. Below 2^63.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u64);

pub(super) type Callback<T> = Box<dyn FnOnce(T) + Send>;

/// The handle of the log thread. Everything is asynchronous: nothing here waits for a disk. Callbacks are called on the
/// log thread and must be brief; where that thread has ended, they are called at once with an empty answer.
pub struct Capture {
    commands: Sender<Command>,
    waker: Waker,
    /// Closed when the thread has ended.
    thread: Mutex<Option<Receiver<()>>>,
    /// Apps that something is left of.
    owed: Vec<String>,
}

pub(super) enum Command {
    Open(LogSettings),
    Forget(Arc<str>),
    Attach { source: SourceId, app: Arc<str>, pipes: [OwnedFd; 2] },
    Settle,
    Finish { source: SourceId, done: Callback<Vec<TailLine>> },
    Tail { app: Arc<str>, but_of: Vec<SourceId>, done: Callback<Vec<TailLine>> },
    Flush { app: Arc<str>, done: Callback<io::Result<()>> },
    Stats { app: Arc<str>, done: Callback<Option<AppStats>> },
    Subscribe(Feed),
    Reopen,
    Compressed(GzipDone),
    Rest { at_rest: Sender<Vec<OpenPipe>>, until: Receiver<()> },
    Stop,
    Leave,
}

/// The log thread rests as long as this is there, and what apps write gathers in their pipes.
pub struct AtRest {
    pub pipes: Vec<OpenPipe>,
    _until: Sender<()>,
}

/// The reading end of a run's standard output or error, once more.
pub struct OpenPipe {
    pub source: SourceId,
    pub app: Arc<str>,
    pub stream: Stream,
    pub read: OwnedFd,
}

impl Capture {
    /// Starts the thread; `notice` is called on it. What it is in the middle of ends with the process.
    ///
    /// # Errors
    /// No thread, no memory or no descriptor left.
    pub fn start(notice: impl Fn(LogNotice) + Send + 'static) -> io::Result<Capture> {
        Capture::go_on(Journal::in_memory()?, notice)
    }

    /// The same, with a journal. What an earlier thread has left in it waits until the files of its app are
    /// [opened](Capture::open), or until [`settle`](Capture::settle): before, no pipe is read.
    ///
    /// # Errors
    /// No thread or no descriptor left.
    pub fn go_on(
        (journal, buffer): (Journal, Bytes),
        notice: impl Fn(LogNotice) + Send + 'static,
    ) -> io::Result<Capture> {
        let owed: BTreeSet<String> = journal.slots().map(|(_, owner)| owner.app).collect();
        let readiness = Readiness::new()?;
        let waker = readiness.waker();
        let (sender, receiver) = commands();
        let (compressed, wake) = (sender.clone(), waker.clone());
        let compressor = Compressor::new(move |done| {
            if compressed.send(Command::Compressed(done)).is_ok() {
                wake.wake();
            }
        });
        let ground = Ground { zone: TimeZone::system(), compressor, notice: Box::new(notice), journal };
        let log_thread = LogThread::new(readiness, receiver, ground, buffer);
        let (alive, ended) = commands();
        std::thread::Builder::new().name("logs".to_owned()).spawn(move || {
            let _alive = alive;
            log_thread.run();
        })?;
        Ok(Capture { commands: sender, waker, thread: Mutex::new(Some(ended)), owed: owed.into_iter().collect() })
    }

    /// Opens an app's files, or changes their settings in place. To be done before the app's first `attach`.
    pub fn open(&self, settings: LogSettings) {
        self.send(Command::Open(settings));
    }

    /// Closes an app's files once its last source has ended.
    pub fn forget(&self, app: Arc<str>) {
        self.send(Command::Forget(app));
    }

    /// Takes the read ends of a run's stdout and stderr.
    pub fn attach(&self, source: SourceId, app: Arc<str>, out: OwnedFd, err: OwnedFd) {
        self.send(Command::Attach { source, app, pipes: [out, err] });
    }

    /// The apps of which an earlier thread has left something: their files are to be open when all is settled.
    pub fn owed(&self) -> &[String] {
        &self.owed
    }

    /// Every pipe that an earlier thread read, and that is read on, is attached. What is left of others is written now.
    pub fn settle(&self) {
        self.send(Command::Settle);
    }

    /// The run's process tree is empty: reads what is left, closes the pipes, and answers with the run's last lines.
    /// By then they are in the files.
    pub fn finish(&self, source: SourceId, done: impl FnOnce(Vec<TailLine>) + Send + 'static) {
        self.send(Command::Finish { source, done: Box::new(done) });
    }

    /// The last lines of an app's runs but these, an unfinished line too; those of the run that ended last are among
    /// them unless another one is left to speak.
    pub fn tail(&self, app: Arc<str>, but_of: Vec<SourceId>, done: impl FnOnce(Vec<TailLine>) + Send + 'static) {
        self.send(Command::Tail { app, but_of, done: Box::new(done) });
    }

    /// Empties an app's live files and removes its rotated ones.
    pub fn flush(&self, app: Arc<str>, done: impl FnOnce(io::Result<()>) + Send + 'static) {
        self.send(Command::Flush { app, done: Box::new(done) });
    }

    /// `None` for an app that has no logs open.
    pub fn stats(&self, app: Arc<str>, done: impl FnOnce(Option<AppStats>) + Send + 'static) {
        self.send(Command::Stats { app, done: Box::new(done) });
    }

    /// Follows live lines; at most `capacity` bytes of them wait for the reader.
    pub fn subscribe(&self, filter: FollowerFilter, capacity: usize) -> Follower {
        let (feed, follower) = channel(filter, capacity);
        self.send(Command::Subscribe(feed));
        follower
    }

    /// Opens every file anew, as on SIGUSR1.
    pub fn reopen(&self) {
        self.send(Command::Reopen);
    }

    /// Lets the thread rest once everything that it has read is written. Blocks for `limit` at most; none: it is stuck on
    /// a disk, and goes on when that lets it.
    pub fn rest_within(&self, limit: Duration) -> Option<AtRest> {
        let (at_rest, rests) = commands();
        let (goes_on, until) = commands();
        self.send(Command::Rest { at_rest, until });
        let pipes = rests.recv_timeout(limit).ok()?;
        Some(AtRest { pipes, _until: goes_on })
    }

    /// Reads what is left in every pipe, writes it, removes the journal and ends the thread. Blocks until it has; the
    /// second time does nothing.
    pub fn stop(&self) {
        if let Some(ended) = self.ask_to_stop() {
            // Nothing is ever sent: this is the thread's end.
            let _ended = ended.recv();
        }
    }

    /// The same, but blocks for `limit` at most. False: the thread is stuck on a disk and left to itself.
    pub fn stop_within(&self, limit: Duration) -> bool {
        self.ask_to_stop().is_none_or(|ended| ended.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected))
    }

    /// Is there somebody to read the pipes? False where the thread has ended without being told to.
    pub fn is_alive(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_none_or(|ended| ended.try_recv() != Err(TryRecvError::Disconnected))
    }

    fn ask_to_stop(&self) -> Option<Receiver<()>> {
        self.ask_to_end(Command::Stop)
    }

    fn ask_to_end(&self, how: Command) -> Option<Receiver<()>> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.inspect(|_| self.send(how))
    }

    /// Ends the thread between two batches: what is in the pipes stays there, and a line that was begun in the journal,
    /// for whoever comes next. Blocks until it has.
    pub fn leave(&self) {
        if let Some(ended) = self.ask_to_end(Command::Leave) {
            // Nothing is ever sent: this is the thread's end.
            let _ended = ended.recv();
        }
    }

    fn send(&self, command: Command) {
        match self.commands.send(command) {
            Ok(()) => self.waker.wake(),
            Err(unsent) => unsent.0.abandon(),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Command {
    /// There is no log thread any more: whoever waits for an answer gets an empty one.
    fn abandon(self) {
        match self {
            Command::Finish { done, .. } | Command::Tail { done, .. } => done(Vec::new()),
            Command::Flush { done, .. } => done(Err(io::Error::other("the log thread has ended"))),
            Command::Stats { done, .. } => done(None),
            Command::Open(_)
            | Command::Forget(_)
            | Command::Attach { .. }
            | Command::Subscribe(_)
            | Command::Reopen
            | Command::Compressed(_)
            | Command::Rest { .. }
            | Command::Settle
            | Command::Stop
            | Command::Leave => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::LogFormat;
    use super::*;

    /// Whose directory is a file: that is told at once.
    fn impossible(dir: &std::path::Path) -> LogSettings {
        std::fs::write(dir.join("logs"), "").unwrap();
        LogSettings {
            app: Arc::from("shop"),
            dir: dir.join("logs"),
            name: "shop".to_owned(),
            timestamps: false,
            format: LogFormat::Text,
            max_size: 0,
            keep: 1,
            compress: false,
            max_total: 0,
            daily: false,
            owner: None,
            chown_to: None,
        }
    }

    #[test]
    fn a_log_thread_that_fails_is_known_to_be_gone_and_one_that_was_stopped_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        let capture = Capture::start(|notice| panic!("{notice}")).unwrap();
        assert!(capture.is_alive());
        capture.open(impossible(dir.path()));
        while capture.is_alive() {
            std::thread::yield_now();
        }
        let capture = Capture::start(|_| {}).unwrap();
        capture.stop();
        assert!(capture.is_alive());
    }

    #[test]
    fn a_log_thread_that_is_stuck_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let (stuck, is_stuck) = commands();
        let (release, released) = commands::<()>();
        let capture = Capture::start(move |_| {
            stuck.send(()).unwrap();
            let _released = released.recv();
        });
        let capture = capture.unwrap();
        // Whoever is told does not come back.
        capture.open(impossible(dir.path()));
        is_stuck.recv().unwrap();
        assert!(!capture.stop_within(Duration::from_millis(20)));
        drop(release);
        assert!(capture.stop_within(Duration::ZERO), "it was told already");
    }
}
