//! How long an app is gone after a kill -9: until there is a new process, and until that runs the app's program.

use crate::figures::{Table, median, ms};
use crate::peer::{Fleet, Keeping};
use crate::process::Process;
use crate::workshop::Workshop;
use std::path::Path;
use std::time::{Duration, Instant};

const APPS: usize = 21;
/// Everybody takes an app that has run for so long for a healthy one, and restarts it without delay.
const HEALTHY: Duration = Duration::from_secs(11);
const GIVE_UP: Duration = Duration::from_secs(10);

pub(crate) fn measure(workshop: &Workshop) -> Vec<Table> {
    let mut table = Table::new(
        "kill -9 of a plain child, medians of 21; goal ≤ 3 ms to the new pid",
        &["supervisor", "new pid, ms", "its program runs, ms", "slowest new pid, ms"],
    );
    let program = Path::new("/bin/sleep").canonicalize().unwrap();
    let command = [program.to_str().unwrap().to_owned(), "100000".to_owned()];
    for peer in &workshop.supervisors {
        let peer = match peer {
            Ok(peer) => peer,
            Err(name) => {
                table.absent(name);
                continue;
            }
        };
        let room = workshop.room();
        let running = peer.start(room.path(), &Fleet { command: &command, apps: APPS, keeping: Keeping::Default });
        std::thread::sleep(HEALTHY);
        let apps = running.daemon.children();
        let times: Vec<[f64; 2]> = apps.iter().map(|app| kill(*app, running.daemon, &program)).collect();
        let of = |which: usize| times.iter().map(|time| time[which]).collect::<Vec<f64>>();
        table.row([
            peer.name().to_owned(),
            format!("{:.2}", median(of(0))),
            format!("{:.2}", median(of(1))),
            format!("{:.2}", of(0).into_iter().fold(0.0, f64::max)),
        ]);
    }
    vec![table]
}

/// Milliseconds until there is another child, and until it has called exec.
fn kill(app: Process, daemon: Process, program: &Path) -> [f64; 2] {
    let before = daemon.child_pids();
    let began = Instant::now();
    app.kill();
    let successor = loop {
        let fresh = daemon.child_pids().into_iter().find(|child| !before.contains(child));
        if let Some(fresh) = fresh {
            break fresh;
        }
        look_again_soon(began);
    };
    let new_pid = began.elapsed();
    while Process::program(successor).as_deref() != Some(program) {
        look_again_soon(began);
    }
    let runs = began.elapsed();
    // The next one is killed when this one's start is over.
    std::thread::sleep(Duration::from_millis(200));
    [ms(new_pid), ms(runs)]
}

/// A little later, about 70 µs on Linux: looking without a pause would take a core from those who are measured.
fn look_again_soon(began: Instant) {
    assert!(began.elapsed() < GIVE_UP, "a killed app is started again");
    std::thread::sleep(Duration::from_micros(10));
}
