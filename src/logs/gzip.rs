//! Compresses rotated files, one after the other, on a thread that gives way to everything else and ends when idle.

use super::archive::{Form, Kind, rotated_path};
use super::settings::LogSettings;
use super::stamp::FileStamp;
use crate::linux::logfile::{as_owner, give_way, make, open_to_read};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A rotated file to be compressed.
pub(super) struct GzipJob {
    pub(super) settings: LogSettings,
    pub(super) kind: Kind,
    pub(super) stamp: FileStamp,
}

/// What came of it.
pub(super) struct GzipDone {
    pub(super) job: GzipJob,
    /// Bytes of the gzip; no file any more is no error.
    pub(super) result: io::Result<u64>,
}

/// Dropping it ends the work at the next block; what is left stays plain and is taken up by the next supervisor.
pub(super) struct Compressor {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    done: Box<dyn Fn(GzipDone) + Send + Sync>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<GzipJob>,
    running: bool,
    stopping: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Compressor {
    /// `done` is called on the compressing thread.
    pub(super) fn new(done: impl Fn(GzipDone) + Send + Sync + 'static) -> Compressor {
        Compressor { shared: Arc::new(Shared { state: Mutex::default(), done: Box::new(done) }) }
    }

    pub(super) fn submit(&self, job: GzipJob) {
        let mut state = self.shared.state();
        state.queue.push_back(job);
        if state.running {
            return;
        }
        let shared = Arc::clone(&self.shared);
        // Without a thread the files stay plain, and the next rotation tries again.
        state.running = thread::Builder::new().name("logs-gzip".to_owned()).spawn(move || work(&shared)).is_ok();
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        self.shared.state().stopping = true;
    }
}

fn work(shared: &Shared) {
    give_way();
    loop {
        let mut state = shared.state();
        let job = if state.stopping { None } else { state.queue.pop_front() };
        let Some(job) = job else {
            state.running = false;
            return;
        };
        drop(state);
        let result = compress(&job, || shared.state().stopping);
        (shared.done)(GzipDone { job, result });
    }
}

fn compress(job: &GzipJob, stopping: impl Fn() -> bool) -> io::Result<u64> {
    let settings = &job.settings;
    let path = |form| rotated_path(&settings.dir, &settings.name, job.kind, job.stamp, form);
    let (plain, half, gzip) = (path(Form::Plain), path(Form::HalfGzip), path(Form::Gzip));
    as_owner(settings.owner.as_ref(), || {
        let mut source = open_to_read(&plain)?;
        let target = match make(&half, settings.chown_to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&half)?;
                make(&half, settings.chown_to)?
            }
            target => target?,
        };
        let size = match pack(&mut source, target, stopping).and_then(|size| fs::rename(&half, &gzip).map(|()| size)) {
            Ok(size) => size,
            Err(error) => {
                let _ = fs::remove_file(&half);
                return Err(error);
            }
        };
        // The writer removes the plain name first: where it is gone, the gzip was unwanted before it was there.
        if let Err(error) = fs::remove_file(&plain) {
            let _ = fs::remove_file(&gzip);
            return Err(error);
        }
        Ok(size)
    })
}

/// Synced before it takes the plain file's place: after a power cut one of the two must be whole.
fn pack(source: &mut File, target: File, stopping: impl Fn() -> bool) -> io::Result<u64> {
    let modified = source.metadata()?.modified()?;
    let mut encoder = GzEncoder::new(target, Compression::default());
    let mut block = vec![0; 64 * 1024];
    loop {
        if stopping() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the supervisor is stopping"));
        }
        match source.read(&mut block)? {
            0 => break,
            read => encoder.write_all(&block[..read])?,
        }
    }
    let target = encoder.finish()?;
    target.set_modified(modified)?;
    target.sync_data()?;
    Ok(target.metadata()?.len())
}
