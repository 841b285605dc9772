//! How long the table of two apps takes to be shown, beside an empty program.

use crate::figures::{Table, median, ms};
use crate::peer::{Fleet, Keeping};
use crate::workshop::Workshop;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A supervisor's table for programs that start quickly, and for those that do not.
const MANY: usize = 400;
const FEW: usize = 15;
const QUICK: Duration = Duration::from_millis(30);

pub(crate) fn measure(workshop: &Workshop) -> Vec<Table> {
    let mut table = Table::new(
        "`list` of 2 apps, wall time, medians; goal ≤ 2 × the empty program",
        &["program", "ms", "empty Rust program, ms", "ratio"],
    );
    for peer in &workshop.supervisors {
        let peer = match peer {
            Ok(peer) => peer,
            Err(name) => {
                table.absent(name);
                continue;
            }
        };
        let room = workshop.room();
        let command = ["/bin/sleep", "100000"].map(str::to_owned);
        let fleet = Fleet { command: &command, apps: 2, keeping: Keeping::Default };
        let _running = peer.start(room.path(), &fleet);
        let list = || wall(&mut peer.list(room.path()));
        let times = if list() < QUICK { MANY } else { FEW };
        let mut pairs: Vec<(Duration, Duration)> = Vec::new();
        for _ in 0..times {
            pairs.push((list(), wall(&mut Command::new(Path::new(&workshop.empty)))));
        }
        let list = median(pairs.iter().map(|pair| ms(pair.0)).collect());
        let empty = median(pairs.iter().map(|pair| ms(pair.1)).collect());
        table.row([
            peer.name().to_owned(),
            format!("{list:.2}"),
            format!("{empty:.2}"),
            format!("{:.2}", list / empty),
        ]);
    }
    vec![table]
}

fn wall(command: &mut Command) -> Duration {
    let began = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let took = began.elapsed();
    assert!(status.success(), "{command:?} succeeds");
    took
}
