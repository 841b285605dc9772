//! Root's supervisor from boot to its end, and whatever happens to it in between.

use crate::booted::{Booted, Unit, is_empty};
use crate::machine::{accepts, eventually, get, is_alive, now, signal};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Of the ticker, when it is to be slow.
const LINGER: Duration = Duration::from_secs(5);
/// A supervisor that asks for no more time has three seconds.
const DROP_IN: &str = "TimeoutStopSec=3\nTimeoutAbortSec=3\n";
const RELOAD_IN_TIME: &str = "[Service]\nTimeoutStartSec=3\n";
const APPS: &str = r#"
[supervisor]
port_range = "{range}"
[defaults]
user = "ann"
cwd = "{dir}/demo"
logs = { timestamps = false }
[apps.web]
command = "node server.js"
port = {port}
health = { http = "/api/health" }
[apps.ticker]
command = "node {dir}/ticker.js"
env = { LINGER = "0" }
memory_max = "1G"
"#;
/// Of two apps: two outputs each, and a public address.
const KEPT: &str = "5";

/// Clients that are not to notice anything: what was not answered as it should be.
struct Clients {
    enough: Arc<AtomicBool>,
    asking: thread::JoinHandle<(u32, Vec<String>)>,
}

impl Clients {
    fn of(port: u16) -> Clients {
        let enough = Arc::new(AtomicBool::new(false));
        let is_enough = enough.clone();
        let asking = thread::spawn(move || {
            let (mut asked, mut failed) = (0, Vec::new());
            while !is_enough.load(Ordering::Relaxed) {
                asked += 1;
                match get(port, "/api/health") {
                    Some((200, _)) => {}
                    other => failed.push(format!("{asked}: {other:?}")),
                }
            }
            (asked, failed)
        });
        Clients { enough, asking }
    }

    #[track_caller]
    fn are_content(self) {
        self.enough.store(true, Ordering::Relaxed);
        let (asked, failed) = self.asking.join().unwrap();
        assert!(asked > 0 && failed.is_empty(), "{} of {asked} failed: {failed:#?}", failed.len());
    }
}

/// Every line that the ticker has written since its start, each once and in order; the number of the last one.
#[track_caller]
fn last_line(machine: &Booted) -> u64 {
    let text = fs::read_to_string(machine.path("/var/log/infissi/ticker-out.log")).unwrap();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut next = 0;
    for line in whole.lines() {
        assert_eq!(line, format!("line {next}"), "a line is missing, or not whole, or there twice");
        next += 1;
    }
    next
}

#[track_caller]
fn wait_for_lines(machine: &Booted, more: u64) {
    let from = last_line(machine);
    assert!(eventually(|| last_line(machine) > from + more), "the ticker's lines do not arrive");
}

#[track_caller]
fn wait_for_kept(unit: &Unit<'_>, count: &str) {
    let mut kept = String::new();
    let as_told = eventually(|| {
        kept = unit.property("NFileDescriptorStore");
        kept == count
    });
    assert!(as_told, "{kept} descriptors are kept, and not {count}:\n{}", unit.log());
}

#[test]
fn a_boot_some_deaths_a_reload_a_restart_and_a_stop() {
    let Some(machine) = Booted::with(APPS, "", DROP_IN) else { return };
    let unit = machine.roots();
    let (web, ticker) = (unit.wait_online("web"), unit.wait_online("ticker"));
    assert!(eventually(|| unit.property("StatusText") == "2 apps online"), "{}", unit.property("StatusText"));
    wait_for_kept(&unit, KEPT);
    for pid in [web, ticker, unit.worker()] {
        let environment = machine.environment(pid);
        let of_systemd = ["NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_", "INVOCATION_ID="];
        assert!(!of_systemd.iter().any(|name| environment.contains(name)), "{environment}");
    }
    let (is_capped, why_not) = (machine.cgroup_of(ticker).join("memory.max").exists(), unit.show("ticker"));
    assert_eq!(why_not["no_memory_max"].is_null(), is_capped, "{why_not:#}");
    let clients = Clients::of(machine.port);
    let deaths = if std::env::var_os("INFISSI_SOAK").is_some() { 10 } else { 3 };
    for _ in 0..deaths {
        let main = unit.main();
        unit.signal_main(Signal::SIGKILL);
        unit.wait_for_another(main);
        assert_eq!((unit.wait_online("web"), unit.wait_online("ticker")), (web, ticker), "{}", unit.log());
        wait_for_lines(&machine, 5);
    }
    assert_eq!(unit.property("NRestarts"), deaths.to_string());
    wait_for_kept(&unit, KEPT);
    upgrade(&unit);
    assert_eq!((unit.wait_online("web"), unit.wait_online("ticker")), (web, ticker), "{}", unit.log());
    wait_for_lines(&machine, 5);
    wait_for_kept(&unit, KEPT);
    reload(&unit);
    clients.are_content();
    refuses_to_shut_down(&unit, "`systemctl stop infissi-supervisor`");

    let before = [web, ticker, unit.main()].map(|pid| machine.outside(pid));
    unit.systemctl("restart").ok();
    assert!(!before.into_iter().any(is_alive), "a restart leaves some of before");
    unit.wait_online("web");
    wait_for_kept(&unit, KEPT);
    is_reloaded_and_stopped_however_long_it_takes(&unit);
}

/// Another build in the place of the one that runs: for systemd that is nothing.
fn upgrade(unit: &Unit<'_>) {
    let seen = || ["MainPID", "NRestarts", "SubState", "StatusText"].map(|property| unit.property(property));
    let (before, program) = (seen(), "/usr/local/bin/infissi-supervisord");
    let install = format!("cp {program} /run/new && mount --bind /run/new {program}");
    unit.machine.run(&["sh", "-c", &install]).ok();
    let upgraded = unit.ctl(&["upgrade"]).ok();
    assert!(upgraded.stdout.contains("2 apps were not touched"), "{upgraded:#?}\n{}", unit.log());
    assert!(eventually(|| seen() == before), "{:?} after {before:?}\n{}", seen(), unit.log());
}

/// Done when it is done, and harmless where it goes wrong.
fn reload(unit: &Unit<'_>) {
    let (main, before) = (unit.main(), unit.config());
    unit.configure(&format!("{before}[apps.added]\ncommand = \"node {{dir}}/ticker.js\"\n"));
    unit.systemctl("reload").ok();
    assert_eq!(unit.app("added")["status"], "online", "{}", unit.log());
    unit.configure(&format!("{before}[apps.added]\nnonsense = 1\n"));
    assert_ne!(unit.systemctl("reload").code, 0);
    assert_eq!(unit.app("added")["status"], "online", "nothing is changed");
    unit.configure(&before);
    // Without systemctl, which hears of it all the same.
    unit.signal_main(Signal::SIGHUP);
    assert!(eventually(|| unit.app("added").is_null() && unit.property("SubState") == "running"), "{}", unit.log());
    assert_eq!(unit.main(), main);
}

pub(crate) fn refuses_to_shut_down(unit: &Unit<'_>, instead: &str) {
    let refused = unit.ctl(&["shutdown"]);
    assert!(refused.code == 5 && refused.stderr.contains(instead), "{refused:#?}");
}

/// With an app that is slower than TimeoutStartSec, which is for a reload, too, and TimeoutStopSec: the supervisor asks for
/// more.
fn is_reloaded_and_stopped_however_long_it_takes(unit: &Unit<'_>) {
    unit.machine.write("units/infissi-supervisor.service.d/reload.conf", RELOAD_IN_TIME);
    unit.machine.systemctl(&["daemon-reload"]).ok();
    let config = unit.config();
    let lingering =
        |more: u128| config.replace("LINGER = \"0\"", &format!("LINGER = \"{}\"", LINGER.as_millis() + more));
    unit.configure(&lingering(0));
    unit.systemctl("reload").ok();
    unit.configure(&lingering(1));
    let since = now();
    unit.systemctl("reload").ok();
    assert!(since.elapsed() >= LINGER, "{:?}", since.elapsed());
    let (cgroup, since) = (unit.cgroup(), now());
    unit.systemctl("stop").ok();
    assert!(since.elapsed() >= LINGER, "{:?}", since.elapsed());
    assert_eq!((unit.property("Result").as_str(), unit.property("ActiveState").as_str()), ("success", "inactive"));
    assert!(is_empty(&cgroup) && !accepts(unit.machine.port));
}

#[test]
fn what_is_said_and_asked_while_there_is_no_supervisor_arrives_at_the_next_one() {
    let Some(machine) = Booted::with(APPS, "", DROP_IN) else { return };
    let unit = machine.roots();
    let ticker = unit.wait_online("ticker");
    unit.wait_online("web");
    wait_for_kept(&unit, KEPT);
    wait_for_lines(&machine, 5);
    let (main, worker) = (unit.main(), unit.worker());
    let ends = [main, worker, ticker].map(|pid| machine.outside(pid));
    // No new one comes meanwhile.
    signal(machine.init, Signal::SIGSTOP);
    for pid in &ends[..2] {
        signal(*pid, Signal::SIGKILL);
        assert!(eventually(|| !is_alive(*pid)));
    }
    signal(ends[2], Signal::SIGUSR2);
    assert!(eventually(|| !is_alive(ends[2])));
    let mut client = TcpStream::connect(("127.0.0.1", machine.port)).unwrap();
    client.write_all(b"GET /api/health HTTP/1.1\r\nHost: story\r\nConnection: close\r\n\r\n").unwrap();
    signal(machine.init, Signal::SIGCONT);
    let mut answer = String::new();
    let end = client.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{end:?} {answer:?}\n{}", unit.log());
    unit.wait_for_another(main);
    let said = || fs::read_to_string(machine.path("/var/log/infissi/ticker-error.log")).unwrap_or_default();
    assert!(eventually(|| said().ends_with(" lines\n")), "{:?}\n{}", said(), unit.log());
    let count: usize = said().trim_end_matches(" lines\n").parse().unwrap();
    let each_once = || {
        let text = fs::read_to_string(machine.path("/var/log/infissi/ticker-out.log")).unwrap();
        text.lines().take(count).eq((0..count).map(|number| format!("line {number}")))
    };
    assert!(eventually(each_once), "not each of {count} lines is there once:\n{}", unit.log());
    assert_ne!(unit.wait_online("ticker"), ticker);
    wait_for_kept(&unit, KEPT);
}

#[test]
fn one_that_hangs_has_a_successor_and_is_stopped_with_all_that_it_has_left() {
    let Some(machine) = Booted::with(APPS, "", DROP_IN) else { return };
    let unit = machine.roots();
    let web = unit.wait_online("web");
    machine.write("units/infissi-supervisor.service.d/watchdog.conf", "[Service]\nWatchdogSec=3\n");
    machine.systemctl(&["daemon-reload"]).ok();
    let main = unit.main();
    unit.signal_main(Signal::SIGKILL);
    let watched = unit.wait_for_another(main);
    let heard = unit.property("WatchdogTimestampMonotonic");
    assert!(eventually(|| unit.property("WatchdogTimestampMonotonic") != heard));
    assert_eq!(unit.main(), watched, "it says in time that it lives");
    unit.freeze_main();
    unit.wait_for_another(watched);
    assert_eq!(unit.wait_online("web"), web, "{}", unit.log());

    let cgroup = unit.cgroup();
    fs::remove_file(machine.shared("units/infissi-supervisor.service.d/watchdog.conf")).unwrap();
    machine.systemctl(&["daemon-reload"]).ok();
    unit.freeze_main();
    unit.systemctl("stop");
    assert_eq!(unit.property("Result"), "timeout");
    assert!(is_empty(&cgroup), "{}", unit.log());
    // As if nobody had come to remove it.
    fs::write(machine.path("/run/infissi/stopping"), "").unwrap();
    unit.systemctl("start").ok();
    let again = unit.wait_online("web");
    let main = unit.main();
    unit.signal_main(Signal::SIGKILL);
    unit.wait_for_another(main);
    assert_eq!(unit.wait_online("web"), again, "a stop of before ends nothing now");
}

#[test]
fn one_that_cannot_start_again_is_stopped_with_all_that_the_one_before_it_has_left() {
    let Some(machine) = Booted::with(APPS, "", DROP_IN) else { return };
    let unit = machine.roots();
    let (web, worker) = (unit.wait_online("web"), unit.worker());
    let left = [web, unit.wait_online("ticker"), worker].map(|pid| machine.outside(pid));
    let logs = machine.shared("logs");
    fs::create_dir(&logs).unwrap();
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o777)).unwrap();
    unit.configure(&unit.config().replace("[supervisor]", "[supervisor]\nlog_dir = \"{dir}/logs\""));
    let fails = || unit.log().matches("others may write to the directory").count();
    unit.signal_main(Signal::SIGKILL);
    assert!(eventually(|| fails() == 1), "{}", unit.log());
    assert!(left.into_iter().all(is_alive), "a start that fails ends nothing");
    // It has just failed once more, and there is a second until the next try.
    assert!(eventually(|| fails() == 2), "{}", unit.log());
    let cgroup = unit.cgroup();
    unit.systemctl("stop").ok();
    assert!(!left.into_iter().any(is_alive) && is_empty(&cgroup) && !accepts(machine.port), "{}", unit.log());
    assert_eq!(unit.property("ActiveState"), "inactive", "{}", unit.log());
}
