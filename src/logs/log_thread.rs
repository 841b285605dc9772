//! The log thread: reads the pipes of every run, a piece of each in turn, and does what it is told in between.

mod source;
mod takeover;

use self::source::{Finish, Pipe, STREAMS, Source, Way, of_token, pass_on, token};
use super::app::{AppLog, Env, Now};
use super::capture::{Callback, Command, OpenPipe, SourceId};
use super::file::LogNotice;
use super::follow::Feed;
use super::framing::{Framing, READ_SIZE, ReadBuffer};
use super::gzip::Compressor;
use super::journal::{Journal, Owner};
use super::settings::{LogSettings, Stream};
use super::tail::{Tail, TailLine};
use crate::linux::failpoint;
use crate::linux::mapped::Bytes;
use crate::linux::pipe;
use crate::linux::readiness::Readiness;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// What a finished run may still have in its pipes is read for so long and so far: someone else may hold them and write.
const FINISH_TIME: Duration = Duration::from_secs(2);
const FINISH_BYTES: u64 = 64 * 1024 * 1024;
/// Reads of one finishing pipe before the others have their turn.
const FINISH_READS: u32 = 16;
/// How long small pieces of output are let gather, and up to what they are small. In bytes; less than the smallest pipe
/// (8 KiB), so that no app waits for it.
const GATHER_TIME: Duration = Duration::from_millis(1);
const GATHER_BYTES: u64 = 4 * 1024;
/// The wall clock may be set while we sleep until midnight.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);

/// What all apps stand on.
pub(super) struct Ground {
    pub(super) zone: TimeZone,
    pub(super) compressor: Compressor,
    pub(super) notice: Box<dyn Fn(LogNotice) + Send>,
    pub(super) journal: Journal,
}

impl Ground {
    fn env(&self) -> Env<'_> {
        let Ground { zone, compressor, notice, journal } = self;
        Env { now: read_clocks(), zone, compressor, notice: &**notice, journal }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the log thread stamps lines itself: this is its one reading of the clocks"
)]
pub(super) fn read_clocks() -> Now {
    let wall = Timestamp::now();
    let wall = Timestamp::from_millisecond(wall.as_millisecond()).unwrap_or(wall);
    Now { mono: Instant::now(), wall }
}

pub(super) struct LogThread {
    readiness: Readiness,
    commands: Receiver<Command>,
    ground: Ground,
    apps: HashMap<Arc<str>, AppLog>,
    sources: HashMap<SourceId, Source>,
    finishing: Vec<SourceId>,
    feeds: Vec<Feed>,
    buffer: ReadBuffer,
    scratch: Vec<u8>,
    /// When a little was read last.
    last_read_at: Option<Instant>,
    /// When the first file is to be tried again.
    retry_at: Option<Instant>,
    /// When the first app has its midnight.
    midnight: Option<Timestamp>,
}

/// What one read of a pipe brought.
#[derive(PartialEq, Eq)]
enum Got {
    Bytes(u64),
    /// There is nothing now.
    Nothing,
    /// There will be nothing more.
    End,
}

/// How the thread ends.
pub(super) enum Leaving {
    /// Everything that is in the pipes goes to the files first.
    Done,
    /// Whoever comes next goes on with it.
    AsItIs,
}

impl LogThread {
    /// `buffer` is the journal's.
    pub(super) fn new(readiness: Readiness, commands: Receiver<Command>, ground: Ground, buffer: Bytes) -> LogThread {
        LogThread {
            readiness,
            commands,
            ground,
            apps: HashMap::new(),
            sources: HashMap::new(),
            finishing: Vec::new(),
            feeds: Vec::new(),
            buffer: ReadBuffer::new(buffer),
            scratch: Vec::new(),
            last_read_at: None,
            retry_at: None,
            midnight: None,
        }
    }

    pub(super) fn run(mut self) {
        let mut ready = Vec::new();
        let mut next = self.take_over();
        while next.is_continue() {
            next = self.turn(&mut ready);
        }
        match next {
            ControlFlow::Break(Leaving::Done) => self.stop(),
            ControlFlow::Break(Leaving::AsItIs) | ControlFlow::Continue(()) => {}
        }
    }

    fn turn(&mut self, ready: &mut Vec<u64>) -> ControlFlow<Leaving> {
        let timeout = self.timeout();
        if self.readiness.wait(timeout, ready).is_err() {
            return ControlFlow::Break(Leaving::AsItIs);
        }
        self.obey()?;
        let mut bytes = 0;
        for &token in &*ready {
            let (source, stream) = of_token(token);
            if let Got::Bytes(read) = self.read(source, stream) {
                bytes += read;
            }
        }
        self.drain_finishing();
        self.tick();
        self.gather(bytes);
        ControlFlow::Continue(())
    }

    /// Lets lines that come one by one, in quick succession, come together: each reading costs the same however many.
    fn gather(&mut self, bytes: u64) {
        if bytes == 0 || bytes >= GATHER_BYTES || !self.finishing.is_empty() {
            return;
        }
        let quick = self.last_read_at.is_some_and(|last| read_clocks().mono.duration_since(last) < GATHER_TIME);
        if quick {
            std::thread::sleep(GATHER_TIME);
        }
        self.last_read_at = Some(read_clocks().mono);
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.finishing.is_empty() {
            return Some(Duration::ZERO);
        }
        if self.retry_at.is_none() && self.midnight.is_none() {
            return None;
        }
        let now = read_clocks();
        let retry = self.retry_at.map(|at| at.saturating_duration_since(now.mono));
        let midnight = self.midnight.map(|at| {
            let left = Duration::try_from(at.duration_since(now.wall)).unwrap_or(Duration::ZERO);
            left.min(LONGEST_SLEEP)
        });
        retry.into_iter().chain(midnight).min()
    }

    /// Does what was asked for.
    fn obey(&mut self) -> ControlFlow<Leaving> {
        let mut any = false;
        while let Ok(command) = self.commands.try_recv() {
            any = true;
            self.follow(command)?;
        }
        if any {
            self.plan();
        }
        ControlFlow::Continue(())
    }

    fn follow(&mut self, command: Command) -> ControlFlow<Leaving> {
        match command {
            Command::Open(settings) => self.open(settings),
            Command::Forget(app) => self.forget(&app),
            Command::Attach { source, app, pipes } => self.attach(source, app, pipes),
            Command::Settle => self.settle(),
            Command::Finish { source, done } => {
                self.finish(source, done);
                // Whoever asks next sees what the run said last.
                self.drain_finishing();
            }
            Command::Tail { app, but_of, done } => {
                self.catch_up(&app);
                done(self.tail(&app, &but_of));
            }
            Command::Flush { app, done } => done(self.flush(&app)),
            Command::Stats { app, done } => done(self.apps.get(&app).map(AppLog::stats)),
            Command::Subscribe(feed) => self.subscribe(feed),
            Command::Reopen => self.reopen(),
            Command::Compressed(done) => {
                if let Some(app) = self.apps.get_mut(&done.job.settings.app) {
                    app.compressed(&done);
                }
            }
            // A batch of before is not to be read over.
            Command::Rest { at_rest, until } => {
                if at_rest.send(self.pipes()).is_ok() {
                    // Nothing is ever sent: this is the end of the rest.
                    let _over = until.recv();
                }
            }
            Command::Stop if self.ground.journal.in_flight().is_none() => return ControlFlow::Break(Leaving::Done),
            Command::Stop | Command::Leave => return ControlFlow::Break(Leaving::AsItIs),
        }
        ControlFlow::Continue(())
    }

    /// One that cannot be had is opened anew by whoever needs it.
    fn pipes(&self) -> Vec<OpenPipe> {
        let of_source = |(id, source): (&SourceId, &Source)| {
            let of_stream = |(stream, pipe): (Stream, &Option<Pipe>)| {
                let read = pipe.as_ref()?.file.try_clone().ok()?.into();
                Some(OpenPipe { source: *id, app: source.app.clone(), stream, read })
            };
            STREAMS.into_iter().zip(&source.pipes).filter_map(of_stream).collect::<Vec<_>>()
        };
        self.sources.iter().flat_map(of_source).collect()
    }

    /// Notes what the thread must wake up for.
    fn plan(&mut self) {
        self.retry_at = self.apps.values().filter_map(|app| app.due().0).min();
        self.midnight = self.apps.values().filter_map(|app| app.due().1).min();
    }

    fn open(&mut self, settings: LogSettings) {
        let owed = self.owed(&settings);
        let env = self.ground.env();
        match self.apps.get_mut(&settings.app) {
            Some(app) => app.configure(settings, &env),
            None => {
                self.apps.insert(Arc::clone(&settings.app), AppLog::open(settings, &env));
            }
        }
        if let Some((batch, owner)) = owed {
            self.redo(batch, &owner);
        }
    }

    fn forget(&mut self, app: &Arc<str>) {
        if let Some(log) = self.apps.get_mut(app) {
            log.forgotten = true;
        }
        self.close_if_forgotten(app);
    }

    fn close_if_forgotten(&mut self, app: &Arc<str>) {
        let forgotten = self.apps.get(app).is_some_and(|log| log.forgotten);
        if forgotten && !self.sources.values().any(|source| source.app == *app) {
            self.apps.remove(app);
        }
    }

    fn attach(&mut self, source: SourceId, app: Arc<str>, pipes: [OwnedFd; 2]) {
        let mut taken = STREAMS.into_iter().zip(pipes).map(|(stream, fd)| {
            let file = File::from(fd);
            // Only a lack of kernel memory can refuse it; the run is then as one without output.
            self.readiness.add(&file, token(source, stream)).ok()?;
            let inode = file.metadata().map_or(0, |found| found.ino());
            let journal = &self.ground.journal;
            let slot = journal.claim(&Owner { inode, app: app.to_string(), stream });
            Some(Pipe { file, framing: Framing::after(journal.partial(slot)), slot })
        });
        let pipes = [taken.next().flatten(), taken.next().flatten()];
        self.sources.insert(source, Source { app, pipes, tail: Tail::default(), finish: None });
    }

    fn finish(&mut self, id: SourceId, done: Callback<Vec<TailLine>>) {
        let Some(source) = self.sources.get_mut(&id) else { return done(Vec::new()) };
        if source.finish.is_none() {
            self.finishing.push(id);
        }
        let deadline = read_clocks().mono + FINISH_TIME;
        source.finish = Some(Finish { deadline, bytes_left: FINISH_BYTES, done });
    }

    /// An app that has just failed said why a moment ago: it may still lie in its pipes.
    fn catch_up(&mut self, app: &str) {
        let of_app = self.sources.iter().filter(|(_, source)| &*source.app == app);
        let ids: Vec<SourceId> = of_app.map(|(id, _)| *id).collect();
        for id in ids {
            for stream in STREAMS {
                self.drain(id, stream);
            }
        }
    }

    fn tail(&self, app: &str, but_of: &[SourceId]) -> Vec<TailLine> {
        let now = read_clocks().wall;
        let of_app = self.sources.iter().filter(|(id, source)| &*source.app == app && !but_of.contains(id));
        let running = of_app.map(|(_, source)| {
            let mut tail = source.tail.clone();
            for (stream, pipe) in STREAMS.into_iter().zip(&source.pipes) {
                if let Some(pipe) = pipe {
                    tail.push_unfinished(now, stream, pipe.framing.unfinished());
                }
            }
            tail
        });
        let mut tails: Vec<Tail> = running.collect();
        if but_of.is_empty() || tails.is_empty() {
            tails.extend(self.apps.get(app).map(|log| log.last_run.clone()));
        }
        Tail::merged(tails.into_iter()).into_lines()
    }

    fn flush(&mut self, app: &str) -> io::Result<()> {
        match self.apps.get_mut(app) {
            Some(log) => log.flush(&self.ground.env()),
            None => Ok(()),
        }
    }

    fn subscribe(&mut self, feed: Feed) {
        self.feeds.retain(|feed| !feed.is_gone());
        let wanted = self.apps.iter().filter(|(app, _)| feed.wants_app(app));
        feed.start(wanted.map(|(app, log)| (Arc::clone(app), log.marks())).collect());
        self.feeds.push(feed);
    }

    fn reopen(&mut self) {
        self.ground.zone = TimeZone::system();
        let env = self.ground.env();
        for log in self.apps.values_mut() {
            log.reopen(&env);
        }
    }

    /// Reads a pipe once.
    fn read(&mut self, id: SourceId, stream: Stream) -> Got {
        let pipe = self.sources.get_mut(&id).and_then(|source| source.pipes[stream as usize].as_mut());
        let Some(pipe) = pipe else { return Got::End };
        // No more than is there now: a read of that is done as a whole, or not at all.
        let room = self.buffer.room(pipe::waiting(&pipe.file).clamp(1, READ_SIZE));
        self.ground.journal.reading(pipe.slot, room);
        failpoint::here("logs.reading");
        let got = pipe.file.read(room);
        failpoint::here("logs.read");
        match got {
            Ok(read) if read > 0 => {
                self.take(id, stream, read);
                Got::Bytes(read as u64)
            }
            // A read that does not wait is not interrupted (signal(7)).
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.ground.journal.idle();
                Got::Nothing
            }
            Ok(_) | Err(_) => {
                self.ground.journal.idle();
                self.end_pipe(id, stream);
                Got::End
            }
        }
    }

    fn end_pipe(&mut self, id: SourceId, stream: Stream) {
        self.take(id, stream, 0);
        let pipe = self.sources.get_mut(&id).and_then(|source| source.pipes[stream as usize].take());
        if let Some(pipe) = pipe {
            self.readiness.remove(&pipe.file);
            self.ground.journal.free(pipe.slot);
        }
    }

    /// Passes on what was read into the buffer; nothing read means that the stream has ended.
    fn take(&mut self, id: SourceId, stream: Stream, read: usize) {
        let Some(Source { app, pipes, tail, .. }) = self.sources.get_mut(&id) else { return };
        let Some(Pipe { framing, slot, .. }) = &mut pipes[stream as usize] else { return };
        if read == 0 && framing.unfinished().is_empty() {
            return;
        }
        let env = self.ground.env();
        match read {
            0 => env.journal.ending(*slot, env.now.wall),
            read => env.journal.taken(read, env.now.wall),
        }
        let log = self.apps.get_mut(app);
        let (feeds, scratch) = (&mut self.feeds, &mut self.scratch);
        let mut way = Way { app, stream, log, feeds, scratch, tail, env: &env, skip: 0 };
        pass_on(framing, &mut self.buffer, read, *slot, &mut way);
        if let Some(at) = way.log.and_then(|log| log.due().0) {
            self.retry_at = Some(self.retry_at.map_or(at, |other| other.min(at)));
        }
    }

    fn drain_finishing(&mut self) {
        for id in std::mem::take(&mut self.finishing) {
            let drained = STREAMS.map(|stream| self.drain(id, stream));
            let now = read_clocks().mono;
            let over = self
                .sources
                .get(&id)
                .and_then(|source| source.finish.as_ref())
                .is_none_or(|finish| finish.bytes_left == 0 || now >= finish.deadline);
            if drained == [true; 2] || over {
                self.close(id);
            } else {
                self.finishing.push(id);
            }
        }
    }

    /// Reads a few times. True: there is nothing more.
    fn drain(&mut self, id: SourceId, stream: Stream) -> bool {
        for _ in 0..FINISH_READS {
            let Got::Bytes(read) = self.read(id, stream) else { return true };
            if let Some(finish) = self.sources.get_mut(&id).and_then(|source| source.finish.as_mut()) {
                finish.bytes_left = finish.bytes_left.saturating_sub(read);
            }
        }
        false
    }

    /// Ends a source: its unfinished lines are written, its last lines handed over.
    fn close(&mut self, id: SourceId) {
        for stream in STREAMS {
            self.end_pipe(id, stream);
        }
        let Some(source) = self.sources.remove(&id) else { return };
        if let Some(log) = self.apps.get_mut(&source.app) {
            log.last_run = source.tail.clone();
        }
        if let Some(finish) = source.finish {
            (finish.done)(source.tail.into_lines());
        }
        self.close_if_forgotten(&source.app);
    }

    /// Tries again what failed, and turns the day.
    fn tick(&mut self) {
        if self.retry_at.is_none() && self.midnight.is_none() {
            return;
        }
        let now = read_clocks();
        if self.retry_at.is_none_or(|at| now.mono < at) && self.midnight.is_none_or(|at| now.wall < at) {
            return;
        }
        let env = self.ground.env();
        for log in self.apps.values_mut() {
            log.tick(&env);
        }
        self.plan();
    }

    fn stop(mut self) {
        let ids: Vec<SourceId> = self.sources.keys().copied().collect();
        for id in ids {
            for stream in STREAMS {
                self.drain(id, stream);
            }
            self.close(id);
        }
        self.ground.journal.remove();
    }
}

#[cfg(test)]
mod tests;
