//! A restricted key: CI's ssh into a real sshd, whose line in authorized_keys leads to `infissi-ctl restricted`.

use crate::machine::{Output, Program, command, eventually, free_port, get, skip};
use crate::server::{Server, Setup};
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where distributions have it: it is started by its whole path, and not everybody's PATH has it.
const SSHD: &str = "/usr/sbin/sshd";

/// An sshd of the story's own: its keys, its port, in the foreground.
struct Sshd {
    dir: PathBuf,
    port: u16,
    child: Child,
}

impl Sshd {
    /// Lets one key in, with these options on its line. None where there is no sshd.
    fn start(dir: &Path, options: &str) -> Option<Sshd> {
        if !Path::new(SSHD).exists() {
            skip("there is no sshd: apt-get install openssh-server");
            return None;
        }
        for key in ["host", "ci"] {
            let mut keygen = command("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(key));
            assert!(keygen.stdin(Stdio::null()).status().unwrap().success());
        }
        let public = |key: &str| fs::read_to_string(dir.join(format!("{key}.pub"))).unwrap();
        fs::write(dir.join("authorized_keys"), format!("{options} {}", public("ci"))).unwrap();
        let port = free_port();
        fs::write(dir.join("known_hosts"), format!("[127.0.0.1]:{port} {}", public("host"))).unwrap();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\n\
             PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nAcceptEnv INFISSI_* GIT_*\n",
            dir.display()
        );
        fs::write(dir.join("sshd_config"), config).unwrap();
        if nix::unistd::geteuid().is_root() {
            // Its service makes it; without it root's sshd does not start.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let mut sshd = command(SSHD);
        sshd.args(["-D", "-e", "-f"]).arg(dir.join("sshd_config"));
        let log = fs::File::create(dir.join("sshd.log")).unwrap();
        let child = sshd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let sshd = Sshd { dir: dir.to_owned(), port, child };
        assert!(eventually(|| TcpStream::connect(("127.0.0.1", port)).is_ok()), "{}", sshd.log());
        Some(sshd)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("sshd.log")).unwrap_or_default()
    }

    /// `ssh HOST WORDS`, with what the client would like to have in its environment there.
    #[track_caller]
    fn ssh(&self, words: &[&str], env: &[(&str, &str)]) -> Output {
        let output = Program::start(&mut self.command(words, env)).end();
        assert_ne!(output.code, 255, "ssh itself failed: {output:#?}\n{}", self.log());
        output
    }

    /// The same, with a file for its standard input.
    fn send(&self, words: &[&str], file: &Path) -> Output {
        let sent = self.command(words, &[]).stdin(fs::File::open(file).unwrap()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Output { code: sent.status.code().unwrap_or(-1), stdout: text(sent.stdout), stderr: text(sent.stderr) }
    }

    fn command(&self, words: &[&str], env: &[(&str, &str)]) -> Command {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
        let mut ssh = command("ssh");
        ssh.args(["-F", "none", "-p", &self.port.to_string(), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]);
        for (option, file) in [("IdentityFile", "ci"), ("UserKnownHostsFile", "known_hosts")] {
            ssh.arg("-o").arg(format!("{option}={}", self.dir.join(file).display()));
        }
        ssh.args(["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"]);
        for (name, value) in env {
            ssh.args(["-o", &format!("SendEnv={name}")]).env(name, value);
        }
        ssh.arg(format!("{user}@127.0.0.1")).args(words);
        ssh
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // Over already: then there is nobody to kill.
        let _over = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The demo app in a repository of its own, and beside it an app that is none of CI's business.
fn server(port: u16) -> Server {
    let apps = format!(
        "[apps.web]\ncommand = \"node server.js\"\nport = {port}\naliases = [\"crm\"]\n\
         health = {{ http = \"/api/health\", interval = \"500ms\", healthy = 1 }}\n\
         deploy = {{ root = \"site\", repo = \"demo\", steps = [], warm = \"0s\", min_free = \"1M\" }}\n\
         [apps.other]\ncommand = \"sleep 600\"\n"
    );
    let mut server = Setup::default().prepare(&apps);
    fs::create_dir(server.path("site")).unwrap();
    for words in [
        &["init", "--quiet", "--initial-branch", "main"][..],
        &["add", "."],
        &["-c", "user.name=ann", "-c", "user.email=ann@example.com", "commit", "--quiet", "-m", "the demo"],
    ] {
        let mut git = command("git");
        git.args(words).current_dir(server.path("demo")).stdin(Stdio::null());
        assert!(git.status().unwrap().success(), "git {words:?}");
    }
    server.run();
    server
}

#[test]
fn a_restricted_key_deploys_its_app_and_does_nothing_else() {
    let port = free_port();
    let server = server(port);
    let ctl = shell_words::quote(env!("CARGO_BIN_EXE_infissi-ctl")).into_owned();
    let socket = server.socket().display().to_string();
    let key =
        format!("command=\"{ctl} --socket {socket} restricted --allow deploy,rollback,list,logs --app web\",restrict");
    let ssh = server.path("ssh");
    fs::create_dir(&ssh).unwrap();
    let Some(sshd) = Sshd::start(&ssh, &key) else { return };
    server.wait_status("other", "online");
    let other = server.pid("other");

    let deployed = sshd.ssh(&["infissi-ctl", "deploy", "web", "--id", "one"], &[]).ok();
    assert!(deployed.stdout.contains("web: release one is live"), "{deployed:#?}");
    assert!(get(port, "/").unwrap().1.contains("one"), "the release answers");
    let listed = sshd.ssh(&["list"], &[]).ok();
    assert!(listed.stdout.contains("web") && !listed.stdout.contains("other"), "{listed:#?}");
    let listed = sshd.ssh(&["infissi-ctl", "--json", "list"], &[]).ok().json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["release"]), (1, &"one".into()));
    assert!(sshd.ssh(&["logs", "web", "-n", "5", "--raw"], &[]).ok().stdout.contains("/api/health"));

    let touched = server.path("touched");
    let touch = format!("list; touch {0}; `touch {0}` $(touch {0}) > {0}", touched.display());
    for (asked, says) in [
        ("restart other; id", "`restart` is not allowed"),
        ("logs other", "`logs \"other\"` is not allowed"),
        ("deploy crm", "`deploy \"crm\"` is not allowed"),
        ("deploy web --from /etc", "may not deploy directories of this machine"),
        ("deploy web\nrestart other", "a line break"),
        (&touch, "is nothing that such a key can be allowed"),
    ] {
        let refused = sshd.ssh(&[asked], &[]);
        assert!([2, 5].contains(&refused.code) && refused.stdout.is_empty(), "{asked}: {refused:#?}");
        assert!(refused.stderr.contains(says), "{asked}: {refused:#?}");
    }
    assert!(!touched.exists(), "no shell has seen it");
    let empty = sshd.ssh(&[], &[]);
    assert_eq!(empty.code, 2, "a script that forgot its command does not succeed: {empty:#?}");
    assert!(empty.stderr.contains("next: allowed: infissi-ctl deploy|rollback|list|logs with web"), "{empty:#?}");

    // What sshd lets a client set leads neither to another supervisor nor to a command of git's.
    let proxy = format!("touch {}", touched.display());
    let env = [("INFISSI_SOCKET", "/nowhere"), ("GIT_SSH_COMMAND", &proxy), ("GIT_EXTERNAL_DIFF", &proxy)];
    sshd.ssh(&["deploy", "web", "--id", "two", "--ref", "main"], &env).ok();
    assert_eq!(server.app("web")["release"], "two");
    sshd.ssh(&["rollback", "web"], &[]).ok();
    assert_eq!((server.app("web")["release"].clone(), touched.exists()), ("one".into(), false));
    assert_eq!(server.pid("other"), other, "nobody has touched it");

    // As CI sends what it has built.
    let mut tar = command("tar");
    tar.args(["czf", "site.tar.gz", "--exclude=./.git", "-C", "demo", "."]).current_dir(server.path(""));
    assert!(tar.stdin(Stdio::null()).status().unwrap().success());
    let archive = server.path("site.tar.gz");
    let sent = sshd.send(&["infissi-ctl", "deploy", "web", "--id", "three", "--from", "-"], &archive).ok();
    assert!(sent.stdout.contains("web: release three is live"), "{sent:#?}");
    let broken = server.path("broken.tar.gz");
    fs::write(&broken, &fs::read(&archive).unwrap()[..600]).unwrap();
    let refused = sshd.send(&["deploy", "web", "--from", "-"], &broken);
    assert_eq!((refused.code, &server.app("web")["release"]), (1, &"three".into()), "{refused:#?}");
}
