//! 500 MB of 120-byte lines from one app: how fast they are in the files, and what memory that takes.

use crate::bare::Bare;
use crate::figures::{Table, mb, median};
use crate::peer::{Fleet, Keeping, Peer};
use crate::process::wait_until;
use crate::producer::{BYTES, LAST, ROLE, Signs};
use crate::workshop::Workshop;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
const AT_MOST: Duration = Duration::from_secs(300);

/// One flood.
pub(crate) struct Flood {
    pub(crate) took: Duration,
    /// Of the supervisor, before it and the most during it, bytes.
    pub(crate) pss: Option<[u64; 2]>,
    pub(crate) cpu: Option<Duration>,
}

struct Contest<'w> {
    what: String,
    measure: Box<dyn Fn() -> Flood + 'w>,
}

pub(crate) fn measure(workshop: &Workshop) -> Vec<Table> {
    let mut table = Table::new(
        "500 MB of 120-byte lines from one app, medians of 3; goals: raw ≥ 0.7 of tee, timestamps ≥ 300 MB/s, memory flat",
        &["who, into what", "MB/s", "of tee", "PSS before, MB", "most PSS, MB", "its CPU, s"],
    );
    let (contests, absent) = contests(workshop);
    let mut floods: Vec<Vec<Flood>> = contests.iter().map(|_| Vec::new()).collect();
    // Round by round, so that a busy minute of the machine hits all alike.
    for round in 1..=ROUNDS {
        for (contest, floods) in contests.iter().zip(&mut floods) {
            floods.push((contest.measure)());
            let speed = floods.last().map_or(0.0, Flood::speed);
            eprintln!("  round {round}: {:<60} {speed:.0} MB/s", contest.what);
        }
    }
    let speeds: Vec<f64> = floods.iter().map(|floods| median(floods.iter().map(Flood::speed).collect())).collect();
    for ((contest, floods), speed) in contests.iter().zip(&floods).zip(&speeds) {
        table.row(row(&contest.what, *speed, speeds[0], floods));
    }
    absent.iter().for_each(|name| table.absent(name));
    vec![table]
}

fn row(what: &str, speed: f64, tee: f64, floods: &[Flood]) -> [String; 6] {
    let most = |which: usize| floods.iter().filter_map(|flood| flood.pss.map(|pss| pss[which])).max();
    let shown = |figure: Option<String>| figure.unwrap_or_default();
    let cpu: Vec<f64> = floods.iter().filter_map(|flood| Some(flood.cpu?.as_secs_f64())).collect();
    [
        what.to_owned(),
        format!("{speed:.0}"),
        format!("{:.2}", speed / tee),
        shown(most(0).map(|bytes| format!("{:.1}", mb(bytes)))),
        shown(most(1).map(|bytes| format!("{:.1}", mb(bytes)))),
        shown((!cpu.is_empty()).then(|| format!("{:.2}", median(cpu)))),
    ]
}

/// `tee` first: the others are compared with it.
fn contests(workshop: &Workshop) -> (Vec<Contest<'_>>, Vec<&'static str>) {
    let (mut contests, mut absent) = (Vec::new(), Vec::new());
    for bare in workshop.bare.iter().copied() {
        if bare.is_installed() {
            contests.push(contest_of_bare(workshop, bare));
        } else {
            absent.push(bare.what);
        }
    }
    for keeping in [Keeping::Raw, Keeping::Stamped, Keeping::Default] {
        for peer in workshop.supervisors.iter().flatten() {
            let files = peer.log_files(Path::new(""), keeping).map_or(0, |files| files.len());
            if files > 0 {
                contests.push(contest_of_peer(workshop, &**peer, keeping, files));
            }
        }
    }
    absent.extend(workshop.supervisors.iter().filter_map(|peer| peer.as_ref().err().copied()));
    (contests, absent)
}

fn contest_of_bare<'w>(workshop: &'w Workshop, bare: &'static Bare) -> Contest<'w> {
    let measure = move || {
        let room = workshop.room();
        bare.flood(room.path())
    };
    Contest { what: bare.what.to_owned(), measure: Box::new(measure) }
}

fn contest_of_peer<'w>(workshop: &'w Workshop, peer: &'w dyn Peer, keeping: Keeping, files: usize) -> Contest<'w> {
    let kept = match keeping {
        Keeping::Raw => "raw",
        Keeping::Stamped => "timestamps",
        Keeping::Default => "defaults",
    };
    let files = if files == 1 { "out" } else { "out + combined" };
    let measure = move || {
        let room = workshop.room();
        supervised(peer, room.path(), keeping)
    };
    Contest { what: format!("{}, {files}, {kept}", peer.name()), measure: Box::new(measure) }
}

fn supervised(peer: &dyn Peer, dir: &Path, keeping: Keeping) -> Flood {
    let own = std::env::current_exe().unwrap();
    let command = [own.to_str().unwrap().to_owned(), ROLE.to_owned(), dir.to_str().unwrap().to_owned()];
    let running = peer.start(dir, &Fleet { command: &command, apps: 1, keeping });
    // Whatever starting takes is not counted.
    std::thread::sleep(Duration::from_millis(1500));
    let (daemon, signs) = (running.daemon, Signs(dir));
    let files = peer.log_files(dir, keeping).unwrap_or_default();
    let (before, cpu_before, over) = (daemon.pss(), daemon.cpu_time(), AtomicBool::new(false));
    let (took, most) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = before;
            while !over.load(Ordering::Relaxed) {
                most = most.max(daemon.pss());
                std::thread::sleep(Duration::from_millis(100));
            }
            most
        });
        let began = Instant::now();
        fs::write(signs.go(), "").unwrap();
        wait_until("all lines are taken", AT_MOST, || signs.done().exists());
        wait_until("all lines are in the files", AT_MOST, || files.iter().all(|file| ends_with_the_last_line(file)));
        let took = began.elapsed();
        over.store(true, Ordering::Relaxed);
        (took, watcher.join().unwrap())
    });
    Flood { took, pss: Some([before, most]), cpu: Some(daemon.cpu_time().saturating_sub(cpu_before)) }
}

fn ends_with_the_last_line(path: &Path) -> bool {
    const END: u64 = 64;
    let Ok(file) = File::open(path) else { return false };
    let size = file.metadata().map_or(0, |meta| meta.len());
    let mut end = [0; END as usize];
    let read = file.read_at(&mut end, size.saturating_sub(END)).unwrap_or(0);
    memchr::memmem::find(&end[..read], LAST).is_some()
}

impl Flood {
    /// Megabytes of input a second.
    fn speed(&self) -> f64 {
        BYTES as f64 / 1e6 / self.took.as_secs_f64()
    }
}
