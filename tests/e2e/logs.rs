//! `infissi-ctl logs`: what was said is found again, in its order, each line once.

use crate::machine::{Output, Program, free_port, get, is_root, signal};
use crate::server::{Server, Setup};
use flate2::read::GzDecoder;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::fs::{PermissionsExt, chown};
use std::thread::sleep;
use std::time::Duration;

/// Says what it is told through a FIFO: what begins with `err` on standard error, the rest on standard output.
const PARROT: &str = "exec 3<>$INFISSI_APP.fifo; while read -r line <&3; do \
                      case $line in err*) echo \"$line\" >&2;; *) echo \"$line\";; esac; done";

/// A supervisor of parrots.
struct Aviary {
    server: Server,
}

impl Aviary {
    fn of(names: &[&str], logs: &str) -> Aviary {
        let server = Setup::default().prepare("");
        let apps = names.iter().map(|name| format!("[apps.{name}]\ncommand = [\"sh\", \"-c\", '{PARROT}']\n"));
        server.configure(&format!("{}[defaults.logs]\n{logs}\n", apps.collect::<String>()));
        for name in names {
            mkfifo(&server.path(&format!("{name}.fifo")), Mode::S_IRWXU).unwrap();
        }
        let mut server = server;
        server.run();
        let aviary = Aviary { server };
        for name in names {
            aviary.server.wait_status(name, "online");
        }
        aviary
    }

    /// Tells a parrot a line; it is said some time later.
    fn tell(&self, name: &str, line: &str) {
        // Both ends at once: it does not wait for the parrot, and what is told outlives it.
        let mut fifo = File::options().read(true).write(true).open(self.server.path(&format!("{name}.fifo"))).unwrap();
        fifo.write_all(format!("{line}\n").as_bytes()).unwrap();
        // Until the parrot has it open, what is in the FIFO goes with its last end.
        self.server.wait_until("the line to be heard", || self.has(name, line));
    }

    fn has(&self, name: &str, line: &str) -> bool {
        // A rotated file may have taken it along.
        self.live(name).contains(line) || self.logs(&[name, "-n", "1000", "--raw"]).contains(&line.to_owned())
    }

    fn live(&self, name: &str) -> String {
        self.server.log(&format!("{name}-combined.log"))
    }

    /// Lines one after the other, each in a millisecond of its own.
    fn tell_in_order(&self, lines: &[(&str, &str)]) {
        for (name, line) in lines {
            self.tell(name, line);
            sleep(Duration::from_millis(2));
        }
    }

    /// The lines that `logs` prints.
    #[track_caller]
    fn logs(&self, words: &[&str]) -> Vec<String> {
        let words = [&["logs", "--no-follow"], words].concat();
        self.server.ctl(&words).ok().stdout.lines().map(str::to_owned).collect()
    }
}

/// What a follower has printed, without the line that is being printed.
fn lines(follower: &Program) -> Vec<String> {
    let said = follower.stdout();
    let whole = said.rfind('\n').map_or("", |end| &said[..end]);
    whole.lines().map(str::to_owned).collect()
}

fn numbered(name: &str, numbers: Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{name} {number}")).collect()
}

#[test]
fn the_last_lines_of_several_apps_come_merged_by_time() {
    let aviary = Aviary::of(&["one", "two", "other"], "");
    let told =
        [("one", "a"), ("two", "b"), ("two", "err c"), ("one", "d"), ("two", "e"), ("one", "err f"), ("other", "g")];
    aviary.tell_in_order(&told);
    assert_eq!(aviary.logs(&["one", "two", "--raw"]), ["a", "b", "err c", "d", "e", "err f"]);
    assert_eq!(aviary.logs(&["one", "two", "--raw", "-n", "3"]), ["d", "e", "err f"], "the last of both together");
    assert_eq!(aviary.logs(&["t*", "one", "--raw", "-n", "3"]), ["d", "e", "err f"]);
    assert_eq!(aviary.logs(&["--raw", "-n", "2"]), ["err f", "g"], "without a name all of them");
    assert_eq!(aviary.logs(&["-n", "0"]), [""; 0]);

    let shown = aviary.logs(&["one", "two", "-n", "3"]);
    let parts: Vec<(&str, &str)> = shown.iter().map(|line| line.split_at(20)).collect();
    assert_eq!(
        parts.iter().map(|(_, rest)| *rest).collect::<Vec<_>>(),
        ["one | d", "two | e", "one ! err f"],
        "{shown:?}"
    );
    assert!(parts.iter().all(|(time, _)| time.as_bytes()[4] == b'-' && time.as_bytes()[13] == b':'), "{shown:?}");

    let json = aviary.server.json(&["logs", "one", "two", "-n", "2", "--no-follow"]);
    let json: Vec<_> =
        json.as_array().unwrap().iter().map(|line| [&line["app"], &line["stream"], &line["line"]]).collect();
    assert_eq!(json, [["two", "out", "e"], ["one", "err", "err f"]]);
}

#[test]
fn lines_are_found_by_stream_by_words_and_by_time() {
    let aviary = Aviary::of(&["one"], "");
    let told: Vec<String> =
        (0..20).map(|number| format!("{} {number}", if number % 4 == 3 { "err" } else { "out" })).collect();
    aviary.tell_in_order(&told.iter().map(|line| ("one", line.as_str())).collect::<Vec<_>>());
    assert_eq!(aviary.logs(&["one", "--raw"]), told[5..], "15 unless told otherwise");
    assert_eq!(aviary.logs(&["one", "--raw", "--err"]), ["err 3", "err 7", "err 11", "err 15", "err 19"]);
    assert_eq!(aviary.logs(&["one", "--raw", "--out", "-n", "3"]), ["out 16", "out 17", "out 18"]);
    assert_eq!(aviary.logs(&["one", "--raw", "--grep", "^err 1[59]$"]), ["err 15", "err 19"]);
    assert_eq!(aviary.logs(&["one", "--raw", "--grep", "OUT 1"]), [""; 0]);
    assert_eq!(aviary.logs(&["one", "--raw", "--grep", "(?i)OUT 1", "-n", "1"]), ["out 18"]);

    let json = aviary.server.json(&["logs", "one", "-n", "20", "--no-follow"]);
    let at = |number: usize| json[number]["at"].as_str().unwrap().to_owned();
    let since = |words: &[&str]| aviary.logs(&[&["one", "--raw"], words].concat());
    assert_eq!(since(&["--since", &at(2)]), told[2..], "from that moment on, all of them");
    assert_eq!(since(&["--since", &at(2), "-n", "4"]), told[16..]);
    assert_eq!(since(&["--until", &at(2)]), told[..=2], "that moment included");
    assert_eq!(since(&["--since", &at(5), "--until", &at(9)]), told[5..=9]);
    assert_eq!(since(&["--since", &at(5), "--until", &at(9), "--err"]), ["err 7"]);
    assert_eq!(since(&["--since", "1h"]), told);
    assert_eq!(since(&["--since", "yesterday"]), told);
    assert_eq!(since(&["--until", "1h"]), [""; 0]);
    assert_eq!(since(&["--since", "2h", "--until", "1h"]), [""; 0]);
}

#[test]
fn what_cannot_be_shown_is_refused_with_the_right_code() {
    let aviary = Aviary::of(&["one"], "");
    let refused = |words: &[&str], code: i32, says: &str, next: &str| {
        let output = aviary.server.ctl(&[&["logs", "--no-follow"], words].concat());
        assert_eq!((output.code, output.stdout.as_str()), (code, ""), "{words:?}: {output:#?}");
        assert!(output.stderr.contains(says) && output.stderr.contains(next), "{words:?}: {output:#?}");
        let json = aviary.server.ctl(&[&["--json", "logs", "--no-follow"], words].concat());
        let error = &json.json()["error"];
        assert_eq!((json.code, json.stderr.as_str()), (code, ""), "{words:?}: {json:#?}");
        assert!(error["message"].as_str().unwrap().contains(says), "{words:?}: {error:#}");
    };
    refused(&["onee"], 4, "no app onee", "did you mean one?");
    refused(&["one", "zzz"], 4, "no app zzz", "one");
    refused(&["one", "--since", "soon"], 2, "\"soon\" is no time", "yesterday 02:00");
    refused(&["one", "--until", "25:00"], 2, "\"25:00\" is no time", "yesterday 02:00");
    refused(&["one", "--grep", "("], 2, "no regular expression", "regex");
    refused(&["one", "-n", "many"], 2, "many", "--help");
    refused(&["one", "--out", "--err"], 2, "--err", "--help");
}

#[test]
fn rotated_and_gzipped_files_are_read_with_the_live_one() {
    let aviary = Aviary::of(&["one"], "max_size = \"1K\"\nkeep = 1000");
    let server = &aviary.server;
    let told: Vec<String> = (0..120).map(|number| format!("line {number:03}")).collect();
    let mut fifo = File::options().read(true).write(true).open(server.path("one.fifo")).unwrap();
    for line in &told {
        writeln!(fifo, "{line}").unwrap();
    }
    server.wait_until("the last line", || aviary.live("one").contains("line 119"));
    let names = || -> Vec<String> {
        let entries = fs::read_dir(server.log_dir()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("one-out"))
            .collect()
    };
    server.wait_until("the rotated to be gzipped", || {
        let names = names();
        names.iter().filter(|name| name.ends_with(".gz")).count() >= 3
            && names.iter().all(|name| name == "one-out.log" || name.ends_with(".gz"))
    });
    assert_eq!(aviary.logs(&["one", "--raw", "-n", "1000"]), told);
    assert_eq!(aviary.logs(&["one", "--raw", "-n", "100"]), told[20..]);
    assert_eq!(aviary.logs(&["one", "--raw", "--grep", "00[0-3]", "-n", "3"]), told[1..=3]);
    let json = server.json(&["logs", "one", "-n", "1000", "--no-follow"]);
    let (tenth, hundredth) = (json[10]["at"].as_str().unwrap(), json[100]["at"].as_str().unwrap());
    let between = aviary.logs(&["one", "--raw", "--since", tenth, "--until", hundredth]);
    assert!(between.contains(&told[10]) && between.contains(&told[100]), "{between:?}");
    // What is told as one line is one in the file.
    let gzipped = names().into_iter().find(|name| name.ends_with(".gz")).unwrap();
    let mut text = String::new();
    GzDecoder::new(File::open(server.log_dir().join(gzipped)).unwrap()).read_to_string(&mut text).unwrap();
    assert!(text.len() <= 1024 && text.ends_with('\n') && text.contains(" line "), "{text}");
}

#[test]
fn following_survives_rotations_restarts_and_a_flush() {
    let aviary = Aviary::of(&["one", "two"], "max_size = \"1K\"\nkeep = 1000");
    let server = &aviary.server;
    aviary.tell("one", "one 0");
    let follower = server.follow(&["logs", "one", "-f", "--raw"]);
    let json = server.follow(&["--json", "logs", "-f", "-n", "0", "--out"]);
    server.wait_until("what was said before", || lines(&follower) == ["one 0"]);
    aviary.tell("two", "two is nobody's business");
    let say = |numbers: Range<usize>| {
        for line in numbered("one", numbers.clone()) {
            aviary.tell("one", &line);
        }
    };
    say(1..60);
    server.wait_until("the lines over some rotations", || lines(&follower) == numbered("one", 0..60));
    server.ctl(&["restart", "one"]).ok();
    server.wait_status("one", "online");
    say(60..70);
    server.wait_until("the lines of the next process", || lines(&follower) == numbered("one", 0..70));
    server.ctl(&["flush", "one"]).ok();
    assert_eq!(aviary.logs(&["one"]), [""; 0]);
    say(70..80);
    server.wait_until("the lines after the flush", || lines(&follower) == numbered("one", 0..80));
    assert_eq!(aviary.logs(&["one", "--raw"]), numbered("one", 70..80));

    let of_one = || -> Vec<Value> {
        let all = lines(&json).into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
        all.filter(|line| line["app"] == "one").collect()
    };
    server.wait_until("the JSON of the same lines", || of_one().last().is_some_and(|line| line["line"] == "one 79"));
    assert!(of_one().iter().all(|line| line["stream"] == "out" && line["at"].is_string()));
    assert!(lines(&json).iter().any(|line| line.contains("nobody's business")));
    server.ctl(&["shutdown"]).ok();
    let Output { code, stderr, .. } = follower.end();
    assert_eq!(code, 0);
    assert!(stderr.contains("ended the connection"), "{stderr}");
}

#[test]
fn nothing_is_lost_or_doubled_between_what_was_and_what_comes() {
    let server = Server::start(
        "[apps.web]\nlogs = { max_size = \"16K\", keep = 1000 }\ncommand = [\"node\", \"-e\", '''\n\
         let line = 0; setInterval(() => { for (let i = 0; i < 20; i++) console.log('line ' + line++) }, 4)''']",
    );
    server.wait_until("the first lines", || server.log("web-out.log").contains("line 100"));
    let followers: Vec<(&str, Program)> = ["0", "1", "50", "1000", "5000", "100000"]
        .into_iter()
        .map(|count| (count, server.follow(&["logs", "web", "-f", "--raw", "-n", count])))
        .collect();
    for (count, follower) in followers {
        server.wait_until("many lines", || lines(&follower).len() > 3000 + count.parse::<usize>().unwrap().min(3000));
        let said = lines(&follower);
        let numbers: Vec<usize> =
            said.iter().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
        let first = numbers[0];
        assert!(count != "100000" || first == 0, "all of them: {first}");
        let expected: Vec<usize> = (first..first + numbers.len()).collect();
        let gap = numbers.iter().zip(&expected).find(|(is, should)| is != should);
        assert!(gap.is_none(), "-n {count}: {gap:?} of {} lines", numbers.len());
    }
}

#[test]
fn flushing_empties_all_files_of_that_app_alone() {
    let aviary = Aviary::of(&["one", "two"], "max_size = \"1K\"\nkeep = 1000\ncompress = false");
    let server = &aviary.server;
    for number in 0..60 {
        aviary.tell("one", &format!("{} {number}", if number % 2 == 0 { "out" } else { "err" }));
    }
    aviary.tell("two", "two stays");
    let files = |name: &str| -> Vec<(String, u64)> {
        let entries = fs::read_dir(server.log_dir()).unwrap().map(Result::unwrap);
        let mut files: Vec<_> = entries
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
            .filter(|(file, _)| file.starts_with(&format!("{name}-")))
            .collect();
        files.sort();
        files
    };
    assert!(files("one").len() > 5);
    let untouched = files("two");
    let output = server.ctl(&["flush", "one"]).ok();
    assert!(output.stdout.contains("one: logs emptied"), "{output:#?}");
    let empty = ["one-combined.log", "one-error.log", "one-out.log"].map(|file| (file.to_owned(), 0));
    assert_eq!(files("one"), empty);
    assert_eq!(files("two"), untouched);
    assert_eq!(aviary.logs(&["--raw"]), ["two stays"]);

    let which = server.ctl(&["flush"]);
    assert_eq!(which.code, 2, "{which:#?}");
    assert!(which.stderr.contains("flush all"), "{which:#?}");
    server.ctl(&["flush", "all"]).ok();
    assert_eq!(aviary.logs(&[]), [""; 0]);
}

#[test]
fn logs_of_what_does_not_run_are_still_there() {
    let aviary = Aviary::of(&["one", "never"], "");
    let server = &aviary.server;
    aviary.tell("one", "said before the end");
    server.ctl(&["stop", "one", "never"]).ok();
    assert_eq!(aviary.logs(&["one", "--raw"]), ["said before the end"]);
    assert_eq!(aviary.logs(&["never"]), [""; 0], "it never said a word");
    let follower = server.follow(&["logs", "one", "-f", "--raw"]);
    server.wait_until("the history", || lines(&follower) == ["said before the end"]);
    server.ctl(&["start", "one"]).ok();
    aviary.tell("one", "said after it");
    server.wait_until("the line", || lines(&follower) == ["said before the end", "said after it"]);
}

#[test]
fn files_that_were_moved_away_are_made_again_on_sigusr1() {
    let aviary = Aviary::of(&["one", "two"], "");
    let server = &aviary.server;
    aviary.tell("one", "before");
    aviary.tell("two", "two");
    let kinds = ["one-combined.log", "one-out.log", "one-error.log"];
    let path = |file: &str| server.log_dir().join(file);
    for kind in kinds {
        fs::rename(path(kind), path(&format!("{kind}.moved"))).unwrap();
    }
    signal(server.supervisor_pid(), Signal::SIGUSR1);
    server.wait_until("the files, with nothing said yet", || kinds.iter().all(|kind| path(kind).exists()));
    aviary.tell("one", "after");
    aviary.tell("one", "err after");
    assert_eq!(aviary.logs(&["one", "--raw"]), ["after", "err after"]);
    let moved = server.log("one-out.log.moved");
    assert!(moved.contains("before") && !moved.contains("after"), "{moved}");
    assert_eq!(aviary.logs(&["two", "--raw"]), ["two"], "what was not moved goes on");
}

#[test]
fn files_that_were_deleted_or_moved_are_made_again_by_themselves() {
    let aviary = Aviary::of(&["one"], "");
    let server = &aviary.server;
    for (number, away) in [(0, "delete"), (1, "move"), (2, "delete")] {
        aviary.tell("one", &format!("before {number}"));
        server.wait_until("the line to be in the file", || {
            server.log("one-out.log").contains(&format!("before {number}"))
        });
        let path = server.log_dir().join("one-out.log");
        match away {
            "delete" => fs::remove_file(&path).unwrap(),
            _ => fs::rename(&path, server.log_dir().join("old")).unwrap(),
        }
        let mut told = 0;
        server.wait_until("the file to be there again", || {
            aviary.tell("one", &format!("after {number}.{told}"));
            told += 1;
            server.log("one-out.log").contains(&format!("after {number}."))
        });
        server.wait_until("what was written into a deleted file to be carried over", || {
            let both = server.log("one-out.log") + &server.log("old");
            (0..told).all(|line| both.contains(&format!("after {number}.{line}")))
        });
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_command_in_peace() {
    let port = free_port();
    let server = Server::start(&format!(
        "[apps.web]\ncommand = \"npm start\"\ncwd = \"demo\"\nport = {port}\nproxy = \"off\"\n"
    ));
    server.wait_status("web", "online");
    get(port, "/flood?lines=20000").unwrap();
    server.wait_until("the flood", || server.log("web-out.log").contains("flood 20000 "));
    let mut sh = crate::machine::command("bash");
    sh.args(["-c", "set -o pipefail; \"$@\" | head -n 2", "sh"]);
    let ctl = server.ctl_command(&["logs", "web", "--raw", "-n", "20000", "-f"]);
    sh.arg(ctl.get_program()).args(ctl.get_args());
    let output = Program::start(&mut sh).end().ok();
    assert_eq!(output.stdout.lines().count(), 2);
    assert_eq!(output.stderr, "");
}

#[test]
fn an_app_whose_user_is_not_to_be_found_for_a_while_has_its_logs_again_when_it_is() {
    if !is_root() {
        return;
    }
    let (nobody, nameless) = (Some(65_534), Some(1_234_567));
    let mut server = Setup::default().prepare("");
    let [place, logs] = ["place", "hers"].map(|dir| server.path(dir));
    fs::set_permissions(server.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    for dir in [&place, &logs] {
        fs::create_dir(dir).unwrap();
        chown(dir, nobody, nobody).unwrap();
    }
    let app = "[apps.web]\ncommand = [\"sh\", \"-c\", \"while :; do echo tick; sleep 0.05; done\"]\ncwd = \"place\"\n\
               kill_timeout = \"100ms\"\n";
    server.configure(&format!("{app}logs = {{ dir = \"{}\" }}", logs.display()));
    server.run();
    let length = || fs::metadata(logs.join("web-out.log")).map_or(0, |found| found.len());
    server.wait_until("the first lines", || length() > 0);
    let pid = server.pid("web");
    server.kill_supervisor();
    chown(&place, nameless, nameless).unwrap();
    let before = length();
    server.run();
    assert!(server.has_warned("the output of web is dropped until its user is known"), "{}", server.own_log());
    chown(&place, nobody, nobody).unwrap();
    server.wait_until("lines to come again", || length() > before);
    assert_eq!(server.pid("web"), pid);
}
