//! What PM2 got wrong about logs, row by row of the field notes, and what happens here instead.

use crate::machine::{PATIENCE, SmallDisk, free_port, get, is_root, private_memory};
use crate::server::{Server, Setup, demo};
use flate2::read::GzDecoder;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

#[test]
fn row_07_rotation_loses_no_line_of_a_flood_and_touches_no_other_apps_files() {
    let apps = |keep: u32| {
        format!(
            "[defaults]\nautorestart = \"on-failure\"\n[apps.a]\nlogs = {{ max_size = \"128K\", keep = {keep} }}\n\
             command = [\"node\", \"-e\", \"for (let i = 0; i < 40000; i++) console.log('line ' + i + ' '.padEnd(90, '.'))\"]\n\
             [apps.a-b]\nlogs = {{ max_size = \"1K\", keep = 1000 }}\n\
             command = [\"node\", \"-e\", \"for (let i = 0; i < 400; i++) console.log('other ' + i)\"]"
        )
    };
    let server = Server::start(&apps(1000));
    server.wait_until("both to be done", || server.status("a") == "stopped" && server.status("a-b") == "stopped");
    server.wait_until("all to be compressed", || {
        let files = server.log_files("");
        files.iter().all(|file| is_live(file) || file.extension().is_some_and(|extension| extension == "gz"))
    });
    for kind in ["out", "combined"] {
        let files = server.log_files(&format!("a-{kind}"));
        assert!(files.len() > 20, "{files:?}");
        let lines: Vec<String> = files.iter().flat_map(unpacked).collect();
        let numbers: Vec<usize> = lines.iter().map(|line| line.split(' ').nth(2).unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (0..40_000).collect::<Vec<_>>(), "{kind}: every line once and in order");
    }
    let shown = server.ctl(&["logs", "a", "--raw", "-n", "40000", "--no-follow"]).ok().stdout;
    assert_eq!(shown.lines().count(), 40_000);
    assert!(shown.starts_with("line 0 ") && shown.trim_end().lines().last().unwrap().starts_with("line 39999 "));

    let others = server.log_files("a-b-");
    assert!(others.len() > 20, "{others:?}");
    server.configure(&apps(1));
    server.ctl(&["apply"]).ok();
    server.wait_until("only one rotated file of each kind", || server.log_files("a-out").len() == 2);
    server.ctl(&["flush", "a"]).ok();
    assert_eq!(server.log_files("a-out").len(), 1);
    assert_eq!(server.log_files("a-b-"), others, "what app a does is no business of a-b");
}

fn is_live(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    ["-out.log", "-error.log", "-combined.log"].iter().any(|end| name.ends_with(end))
}

fn unpacked(file: impl AsRef<Path>) -> Vec<String> {
    let file = file.as_ref();
    let opened = fs::File::open(file).unwrap();
    let mut text = String::new();
    match file.extension().is_some_and(|extension| extension == "gz") {
        true => GzDecoder::new(opened).read_to_string(&mut text),
        false => BufReader::new(opened).read_to_string(&mut text),
    }
    .unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn row_08_on_a_full_disk_the_app_goes_on_lines_are_counted_and_it_recovers_and_says_so() {
    let Some(disk) = is_root().then(|| SmallDisk::mount(512 * 1024)).flatten() else { return };
    let server = Setup::default().keys(&format!("log_dir = \"{}\"", disk.path().display())).start(
        "[apps.web]\ncommand = [\"node\", \"-e\", \"let i = 0; setInterval(() => console.log('line ' + i++ + ' '.padEnd(400, '.')), 10)\"]\n\
         logs = { max_size = \"64K\", keep = 2, compress = false }",
    );
    server.wait_status("web", "online");
    let pid = server.pid("web");
    disk.fill();
    server.wait_until("dropped lines", || server.show("web")["log_lines_dropped"].as_u64() > Some(50));
    let told = server.events_of("web", "logs");
    assert!(told.iter().any(|event| event["message"].as_str().unwrap().contains("No space left")), "{told:#?}");
    assert_eq!((server.status("web").as_str(), server.pid("web")), ("online", pid));
    server.ctl(&["ping"]).ok();

    let before = told.len();
    disk.make_room();
    server.wait_until("the recovery to be told", || server.events_of("web", "logs").len() > before);
    let tells =
        |kind: &str| server.log_files(kind).iter().flat_map(unpacked).any(|line| line.contains("lines were dropped"));
    server.wait_until("both files to tell the gap", || tells("web-combined") && tells("web-out"));
    let dropped = server.show("web")["log_lines_dropped"].as_u64();
    let last = || server.log("web-combined.log").lines().last().map(str::to_owned);
    let then = last();
    server.wait_until("new lines", || last() != then);
    assert_eq!(server.show("web")["log_lines_dropped"].as_u64(), dropped, "none is dropped any more");
    assert_eq!((server.status("web").as_str(), server.pid("web")), ("online", pid));
}

#[test]
fn row_09_the_last_lines_before_an_exit_or_a_crash_are_in_the_file_whole_and_stamped_once() {
    let script = "process.stdout.write('first half, '); process.stdout.write('second half\\n');\
                  process.stdout.write(Buffer.from([0xff, 0xfe, 0x80, 0x0a]));\
                  for (let i = 0; i < 3000; i++) console.log('line ' + i + ' '.padEnd(80, '.'));\
                  console.error('the very last words'); process.exit(9)";
    let server = Setup::default().prepare("");
    server.write("app.js", script);
    server.configure("[apps.web]\ncommand = \"node app.js\"\nautorestart = false");
    let mut server = server;
    server.run();
    server.wait_status("web", "errored");
    // The files are not waited for by the state: they follow it at once.
    server.wait_until("all lines", || server.log("web-combined.log").lines().count() >= 3003);
    let bytes = fs::read(server.path("logs/web-combined.log")).unwrap();
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), 3000 + 3 + 1, "each line once, and a newline at the end");
    for line in &lines[..lines.len() - 1] {
        assert_eq!((line[4], line[10], line[29]), (b'-', b'T', b' '), "{:?}", String::from_utf8_lossy(line));
    }
    let text: Vec<&[u8]> = lines[..lines.len() - 1].iter().map(|line| &line[30..]).collect();
    assert!(text.contains(&b"first half, second half".as_slice()));
    assert!(text.contains(&[0xff, 0xfe, 0x80].as_slice()), "bytes that are no UTF-8 are kept as they are");
    assert!(text.iter().any(|line| line.starts_with(b"line 2999 ")), "process.exit lost nothing");
    assert!(server.log("web-error.log").ends_with(" the very last words\n"));
    let shown = server.ctl(&["logs", "web", "--raw", "-n", "5000", "--no-follow"]).ok().stdout;
    assert_eq!(shown.lines().count(), 3003);
    assert!(server.show("web")["last_lines"].to_string().contains("the very last words"));
}

#[test]
fn row_09_a_line_without_an_end_and_an_uncaught_exception_are_kept_too() {
    let port = free_port();
    let server = Server::start(&format!(
        "{}[apps.half]\ncommand = [\"sh\", \"-c\", \"printf 'no newline'; kill -9 $$\"]\nautorestart = false",
        demo("web", port, "backoff = { initial = \"1h\", max = \"1h\" }\nmin_uptime = \"1h\"")
    ));
    server.wait_status("half", "errored");
    server.wait_until("the half line", || server.log("half-out.log").ends_with(" no newline\n"));
    server.wait_status("web", "online");
    get(port, "/crash");
    server.wait_status("web", "backoff");
    server.wait_until("both words", || {
        let errors = server.log("web-error.log");
        errors.contains("last words before the crash") && errors.contains("Error: crashed on request")
    });
}

#[test]
fn row_10_a_follower_that_never_reads_costs_bounded_memory_and_is_told_what_it_missed() {
    let port = free_port();
    // No http probe: its lines would hide that some of the flood are missing from the account.
    let server = Server::start(&format!(
        "[apps.web]\ncommand = \"npm start\"\ncwd = \"demo\"\nport = {port}\nproxy = \"off\"\n\
         logs = {{ timestamps = false, max_total = \"60M\", compress = false }}"
    ));
    server.wait_status("web", "online");
    let mut follower = UnixStream::connect(server.socket()).unwrap();
    follower.write_all(b"GET /v1/apps/web/logs?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    follower.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut follower = BufReader::new(follower);
    let mut line = String::new();
    follower.read_line(&mut line).unwrap();
    assert!(line.contains("200"), "{line}");

    let supervisor = server.supervisor_pid();
    get(port, "/flood?lines=100000&bytes=200").unwrap();
    server.wait_until("the first 20 MB", || server.flooded(100_000));
    let before = private_memory(supervisor);
    let mut most = before;
    get(port, "/flood?lines=900000&bytes=200").unwrap();
    server.wait_until("180 MB more", || {
        most = most.max(private_memory(supervisor));
        server.flooded(900_000)
    });
    assert!(most < before + (6 << 20), "from {before} to {most}");
    server.ctl(&["list"]).ok();

    let (mut lines, mut dropped) = (0, 0);
    while lines + dropped < 1_000_000 {
        line.clear();
        assert_ne!(follower.read_line(&mut line).unwrap(), 0, "the follower is not cut off");
        match line.split("\"dropped\":").nth(1) {
            Some(count) => dropped += count.trim_matches(['}', '\n', '\r']).parse::<u64>().unwrap(),
            None => lines += u64::from(line.contains("\"line\":")),
        }
    }
    assert!(dropped > 500_000, "{dropped}");
    assert!(lines + dropped < 1_000_100, "{lines} lines and {dropped} left out: more than there were");
    get(port, "/?again").unwrap();
    while !line.contains("GET /?again") {
        line.clear();
        assert_ne!(follower.read_line(&mut line).unwrap(), 0, "live lines come again");
    }
}

impl Server {
    /// The files of one app, the oldest first and the live one last.
    fn log_files(&self, begin: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.log_dir()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(begin)).collect();
        files.sort_by_key(|path| (is_live(path), path.clone()));
        files
    }

    /// Has the last line of a flood come through?
    fn flooded(&self, lines: usize) -> bool {
        let last = format!("flood {lines} ");
        let file = self.log_dir().join("web-out.log");
        let Ok(mut file) = fs::File::open(file) else { return false };
        // The end alone: reading it all would take longer than the flood.
        let _from_the_start = std::io::Seek::seek(&mut file, std::io::SeekFrom::End(-4096));
        let mut end = Vec::new();
        file.read_to_end(&mut end).unwrap();
        String::from_utf8_lossy(&end).contains(&last)
    }
}
