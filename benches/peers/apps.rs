//! What a supervisor costs while its apps just run: memory with 2 and 100 of them, CPU time with 100.

use crate::figures::{Table, mb};
use crate::peer::{Fleet, Keeping, Running};
use crate::workshop::Workshop;
use std::path::Path;
use std::time::{Duration, Instant};

/// From when all run to the first figure.
const SETTLE: Duration = Duration::from_secs(12);
const IDLE: Duration = Duration::from_secs(40);

pub(crate) fn measure(workshop: &Workshop) -> Vec<Table> {
    let mut table = Table::new(
        "Idle: single-process apps with max_memory_restart and no probes; goals ≤ 6 MB, ≤ 12 MB, ≤ 0.3 %",
        &[
            "supervisor",
            "PSS, 2 apps, MB",
            "PSS, 100 apps, MB",
            "CPU, 100 apps, % of a core",
            "context switches a second",
        ],
    );
    let command = ["/bin/sleep", "100000"].map(str::to_owned);
    let fleet = |apps| Fleet { command: &command, apps, keeping: Keeping::Default };
    for peer in &workshop.supervisors {
        let peer = match peer {
            Ok(peer) => peer,
            Err(name) => {
                table.absent(name);
                continue;
            }
        };
        let with = |apps, room: &Path| {
            let running = peer.start(room, &fleet(apps));
            std::thread::sleep(SETTLE);
            running
        };
        // One after the other: two of a kind would share their program's pages.
        let room = workshop.room();
        let two = with(2, room.path()).daemon.pss();
        let room = workshop.room();
        let hundred = with(100, room.path());
        let (cpu, switches) = idle(&hundred);
        table.row([
            peer.name().to_owned(),
            format!("{:.1}", mb(two)),
            format!("{:.1}", mb(hundred.daemon.pss())),
            format!("{cpu:.2}"),
            format!("{switches:.1}"),
        ]);
    }
    vec![table]
}

/// CPU time in percent of a core, and how often a second it was woken.
fn idle(running: &Running) -> (f64, f64) {
    let daemon = running.daemon;
    let (since, cpu, switches) = (Instant::now(), daemon.cpu_time(), daemon.switches());
    std::thread::sleep(IDLE);
    let span = since.elapsed().as_secs_f64();
    let busy = daemon.cpu_time().saturating_sub(cpu).as_secs_f64();
    (100.0 * busy / span, daemon.switches().saturating_sub(switches) as f64 / span)
}
