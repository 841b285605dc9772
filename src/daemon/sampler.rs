//! A thread that measures memory: every tree with a limit once a second, so that a fast leak is acted on within two.

use super::clock;
use super::notice::Notice;
use super::room;
use super::runs::Run;
use super::shared::Shared;
use crate::linux::code;
use crate::linux::proc::ProcTable;
use crate::linux::tree::MemorySource;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(1);
/// Rounds after which the start is over.
const START_ROUNDS: u32 = 10;
/// CPU time is noted every so many rounds, of which `list` tells the share since then, and what the OOM killer took.
const NOTE_ROUNDS: u32 = 5;

/// Measures until the supervisor is gone.
///
/// # Errors
/// No thread can be had.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::downgrade(shared);
    std::thread::Builder::new().name("sampler".to_owned()).stack_size(256 * 1024).spawn(move || sample(&shared))?;
    Ok(())
}

fn sample(shared: &Weak<Shared>) {
    let mut table = ProcTable::new();
    let mut round = 0;
    loop {
        std::thread::sleep(EVERY);
        let Some(shared) = shared.upgrade() else { return };
        round += 1;
        if round == START_ROUNDS {
            // Where it cannot be, nothing but memory is lost.
            let _is_only_thrift = code::let_go();
        }
        let runs = shared.runs.all();
        table.refresh();
        let config = shared.config();
        let limits: HashMap<&str, u64> = config
            .apps
            .iter()
            .filter_map(|app| app.max_memory_restart.map(|limit| (app.name.as_str(), limit)))
            .collect();
        let counts_oom_kills = shared.launcher.no_memory_max().is_none();
        for run in &runs {
            if let Some(bytes) = limits.get(run.app.as_str()).and_then(|limit| over(run, *limit, &table)) {
                shared.notify(Notice::OverLimit { run: run.id, bytes, available: room::available(&shared) });
            }
            if round % NOTE_ROUNDS == 0 {
                run.note_cpu(clock::now().mono, &table);
                if counts_oom_kills {
                    run.note_oom_kills(clock::now().mono);
                }
            }
        }
    }
}

/// What the tree holds, where that is more than `limit`; a cheap figure is confirmed by an exact one first.
fn over(run: &Run, limit: u64, table: &ProcTable) -> Option<u64> {
    let reading = run.tree.memory(table);
    if reading.bytes <= limit {
        return None;
    }
    let exact = match reading.source {
        MemorySource::Controller | MemorySource::Shares => reading,
        MemorySource::Resident => run.tree.confirm_memory(),
    };
    (exact.bytes > limit).then_some(exact.bytes)
}
