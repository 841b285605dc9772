//! The machine that the stories play on: time, ports, processes, HTTP, files, small disks.

use infissi::linux::{proc, strays};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take: machines are slow, and a story that works does not wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
pub(crate) const POLL: Duration = Duration::from_millis(15);

#[expect(clippy::disallowed_methods, reason = "the stories' one clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "what the stories start, they start from outside, as a shell does")]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// Says on the test's output why a story is not told here. Where INFISSI_TELL_ALL is set, each is to be told.
#[track_caller]
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("INFISSI_TELL_ALL").is_none(), "skipped: {why}");
    print(&format!("skipped: {why}"));
}

/// Says something on the test's output.
#[expect(clippy::print_stderr, reason = "what a story tells is to be seen")]
pub(crate) fn print(what: &str) {
    eprintln!("{what}");
}

/// Stories about users, mounts and cgroups are root's.
pub(crate) fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        skip("only root can tell this story");
    }
    root
}

/// Waits for a condition; false when it does not come.
pub(crate) fn eventually(condition: impl FnMut() -> bool) -> bool {
    within(PATIENCE, condition)
}

fn within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let until = now() + patience;
    while !condition() {
        if now() > until {
            return false;
        }
        sleep(POLL);
    }
    true
}

/// A port that nobody holds and no other story is given. Below the range from which the kernel takes the ports of
/// outgoing connections, so that none of them takes it away.
pub(crate) fn free_port() -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let mut given = GIVEN.lock().unwrap();
    let start = std::process::id().wrapping_mul(193) % 16_000;
    (0..16_000)
        .map(|step| 12_000 + u16::try_from((start + step) % 16_000).unwrap())
        .find(|port| !given.contains(port) && is_free(*port) && given.insert(*port))
        .unwrap()
}

/// A `port_range` that no other story uses, of whichever test program: each holds the port before its range.
pub(crate) struct PrivatePorts {
    before: TcpListener,
}

impl PrivatePorts {
    const EACH: u16 = 24;

    pub(crate) fn take() -> PrivatePorts {
        let start = std::process::id().wrapping_mul(31) % 160;
        (0..160)
            .map(|step| 28_000 + u16::try_from((start + step) % 160).unwrap() * (PrivatePorts::EACH + 1))
            .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
            .map(|before| PrivatePorts { before })
            .unwrap()
    }

    /// As `port_range` has it.
    pub(crate) fn range(&self) -> String {
        let before = self.before.local_addr().unwrap().port();
        format!("{}-{}", before + 1, before + PrivatePorts::EACH)
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() && {
        let six = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port));
        six.is_ok() || six.is_err_and(|error| error.kind() != std::io::ErrorKind::AddrInUse)
    }
}

pub(crate) fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(2)).is_ok()
}

/// Status and body of a GET; none when nobody answers in time.
pub(crate) fn get(port: u16, path: &str) -> Option<(u16, String)> {
    get_with(port, path, "")
}

/// The same, with more lines in its head.
pub(crate) fn get_with(port: u16, path: &str, headers: &str) -> Option<(u16, String)> {
    exchange(port, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"))
}

/// Status and body of the answer to this request, which asks for the connection to be closed.
pub(crate) fn exchange(port: u16, request: &str) -> Option<(u16, String)> {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    // An app that crashes while it answers resets the connection: what came before that counts.
    let _end = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

pub(crate) fn is_alive(pid: i32) -> bool {
    proc::stat(pid).is_some_and(|stat| stat.is_alive())
}

/// What it alone has in memory, bytes.
pub(crate) fn private_memory(pid: i32) -> u64 {
    proc::statm(pid).unwrap().private()
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// The processes that carry the mark of a state directory: pid and command.
pub(crate) fn marked(state_id: &str) -> Vec<(i32, String)> {
    let strays = strays::find_marked(state_id).into_iter();
    strays.map(|stray| (stray.process.id.pid, proc::command(stray.process.id.pid, 200))).collect()
}

/// The cgroups that a supervisor made for its apps, wherever the hierarchy is mounted.
pub(crate) fn cgroups_of(state_id: &str) -> Vec<PathBuf> {
    let named = format!("infissi-{state_id}");
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = open.pop() {
        // A directory that another story removed meanwhile has nothing for us.
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_name() == *named {
                found.push(entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && !entry.file_name().as_encoded_bytes().starts_with(b"infissi-")
            {
                open.push(entry.path());
            }
        }
    }
    found
}

/// What a program that ended said.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The same, if it ended well.
    #[track_caller]
    pub(crate) fn ok(self) -> Output {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Both streams, for stories that do not mind which it was.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A program of the story's own, whose output is heard; ended with the story.
pub(crate) struct Program {
    child: Child,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Program {
        Program::fed(command, Stdio::null())
    }

    /// One that reads this.
    pub(crate) fn fed(command: &mut Command, stdin: impl Into<Stdio>) -> Program {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let readers = vec![
            listen(child.stdout.take().unwrap(), Arc::clone(&stdout)),
            listen(child.stderr.take().unwrap(), Arc::clone(&stderr)),
        ];
        Program { child, stdout, stderr, readers }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.lock().unwrap()).into_owned()
    }

    /// The exit code (128 and the signal's number when one ended it) and all it said.
    #[track_caller]
    pub(crate) fn end(self) -> Output {
        self.end_within(PATIENCE)
    }

    /// The same, of what takes long.
    #[track_caller]
    pub(crate) fn end_within(mut self, patience: Duration) -> Output {
        let mut status = None;
        let ended = within(patience, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "it does not end: {} {}", self.stdout(), String::from_utf8_lossy(&self.stderr.lock().unwrap()));
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let status = status.unwrap();
        let by_signal = std::os::unix::process::ExitStatusExt::signal(&status).map_or(-1, |signal| 128 + signal);
        let text = |bytes: &Mutex<Vec<u8>>| String::from_utf8_lossy(&bytes.lock().unwrap()).into_owned();
        let code = status.code().unwrap_or(by_signal);
        Output { code, stdout: text(&self.stdout), stderr: text(&self.stderr) }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Over already: then there is nobody to kill.
        let _over = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn listen(mut from: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            into.lock().unwrap().extend_from_slice(&buffer[..read]);
        }
    })
}

/// Copies a program by another process: a descriptor of ours that is open for writing could be inherited by what another
/// story starts at that moment, and the copy could not be run (ETXTBSY).
pub(crate) fn copy_program(from: &str, to: &Path) {
    assert!(command("cp").arg(from).arg(to).status().unwrap().success());
}

/// Every path below with its kind, rights, owner, time and content.
pub(crate) fn tree(root: &Path) -> Vec<String> {
    let (mut open, mut lines) = (vec![root.to_owned()], Vec::new());
    while let Some(path) = open.pop() {
        let found = std::fs::symlink_metadata(&path).unwrap();
        let content = if found.is_symlink() {
            std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if found.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else {
            std::fs::read(&path).unwrap()
        };
        // Unpacking makes a link anew: its time is its own.
        let time = if found.is_symlink() { 0 } else { found.mtime() };
        let name = path.strip_prefix(root).unwrap().display();
        lines.push(format!("{name:?} {:o} {}:{} {time} {content:?}", found.mode(), found.uid(), found.gid()));
    }
    lines.sort();
    lines
}

/// A small disk that can really be full. To be made before the server whose files it holds, so that it goes after it.
pub(crate) struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// None where this machine does not let us mount.
    pub(crate) fn mount(bytes: u64) -> Option<SmallDisk> {
        let dir = tempfile::Builder::new().prefix("infissi-disk-").tempdir().unwrap();
        let size = format!("size={bytes},mode=755");
        match mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str())) {
            Ok(()) => Some(SmallDisk { dir }),
            Err(error) => {
                skip(&format!("no small disk can be mounted here: {error}"));
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Takes all that is left.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.path().join("ballast")).unwrap();
        for size in [64 * 1024, 4096, 512, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = umount2(self.dir.path(), MntFlags::MNT_DETACH) {
            skip(&format!("{} is still mounted: {error}", self.dir.path().display()));
        }
    }
}
