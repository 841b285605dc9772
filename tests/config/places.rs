//! Which configuration file is taken, where the supervisor's things are, and where infissi-ctl looks for it.

use infissi::config::{Caller, Places, Sources, find, sockets, supervisor_only};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A home with an empty working directory in it, and who looks from there.
struct Story {
    dir: TempDir,
    env: HashMap<&'static str, String>,
    /// By default whoever runs the test is taken for a plain user, who owns what the test writes.
    uid: u32,
}

impl Story {
    fn new() -> Story {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("here")).unwrap();
        // Not root even when root runs the test: the system's own files are none of a test's.
        let owner = dir.path().metadata().unwrap().uid();
        let uid = if owner == 0 { 1000 } else { owner };
        let story = Story { dir, env: HashMap::new(), uid };
        story.own("here");
        story
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn own(&self, name: &str) {
        if self.dir.path().metadata().unwrap().uid() != self.uid {
            std::os::unix::fs::chown(self.path(name), Some(self.uid), Some(self.uid)).unwrap();
        }
    }

    fn file(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self.own(name);
    }

    fn with<T>(&self, look: impl FnOnce(&Caller<'_>) -> T) -> T {
        let env = |name: &str| self.env.get(name).map(OsString::from);
        look(&Caller {
            uid: self.uid,
            user: Some("me".to_owned()),
            home: (self.uid != 0).then(|| self.dir.path().to_owned()),
            cwd: self.path("here"),
            env: &env,
        })
    }

    fn found(&self) -> Result<PathBuf, String> {
        self.with(|caller| find(None, caller).map(|located| located.path).map_err(|none| none.to_string()))
    }

    fn places(&self, text: &str) -> Result<Places, String> {
        let config = supervisor_only(&Sources::from_text(&self.path("supervisor.toml"), text, 0));
        self.with(|caller| Places::resolve(&config, caller).map_err(|error| error.to_string()))
    }

    fn candidates(&self, socket: Option<&str>, config: Option<&str>) -> Vec<(String, String)> {
        let found = self.with(|caller| sockets(socket.map(Path::new), config.map(Path::new), caller).unwrap());
        let home = format!("{}/", self.dir.path().display());
        let short = |path: &Path| path.display().to_string().replace(&home, "~/");
        found.iter().map(|candidate| (short(&candidate.socket), candidate.from.replace(&home, "~/"))).collect()
    }
}

#[test]
fn what_is_named_is_taken_unseen() {
    let mut story = Story::new();
    story.env.insert("INFISSI_CONFIG", "/named/by/env".to_owned());
    assert_eq!(story.found().unwrap(), Path::new("/named/by/env"));
    let option = story.with(|caller| find(Some(Path::new("x.toml")), caller).unwrap());
    assert_eq!(option.path, Path::new("x.toml"));
    story.env.insert("INFISSI_CONFIG", String::new());
    assert!(story.found().is_err());
}

#[test]
fn the_file_in_the_working_directory_goes_before_the_users() {
    let story = Story::new();
    story.file(".config/infissi/supervisor.toml", "", 0o644);
    assert_eq!(story.found().unwrap(), story.path(".config/infissi/supervisor.toml"));
    story.file("here/supervisor.toml", "", 0o644);
    assert_eq!(story.found().unwrap(), story.path("here/supervisor.toml"));
}

#[test]
fn a_file_in_the_working_directory_that_others_may_write_is_passed_over() {
    let story = Story::new();
    story.file("here/supervisor.toml", "", 0o666);
    let told = story.found().unwrap_err();
    assert!(told.contains("here/supervisor.toml: passed over, others may write it (chmod go-w)"), "{told}");
    story.file(".config/infissi/supervisor.toml", "", 0o644);
    let located = story.with(|caller| find(None, caller).unwrap());
    assert_eq!(located.path, story.path(".config/infissi/supervisor.toml"));
    assert_eq!(located.passed_over.len(), 1);
}

#[test]
fn a_file_in_the_working_directory_that_is_somebody_elses_is_passed_over() {
    let mut story = Story::new();
    story.file("here/supervisor.toml", "", 0o644);
    story.uid += 1;
    let told = story.found().unwrap_err();
    assert!(told.contains("and not to you"), "{told}");
    assert!(told.ends_with("write one (infissi-ctl init DIR prints a start) or name one with --config"), "{told}");
}

#[test]
fn systemds_directory_goes_before_the_users() {
    let mut story = Story::new();
    story.file(".config/infissi/supervisor.toml", "", 0o644);
    story.file("etc/supervisor.toml", "", 0o644);
    story.env.insert("CONFIGURATION_DIRECTORY", format!("{}:/other", story.path("etc").display()));
    assert_eq!(story.found().unwrap(), story.path("etc/supervisor.toml"));
}

#[test]
fn places_come_from_the_configuration_then_systemd_then_the_table() {
    let mut story = Story::new();
    let table = story.places("").unwrap();
    assert_eq!(table.socket, story.path(".local/state/infissi/run/supervisor.sock"));
    assert_eq!(table.state_dir, story.path(".local/state/infissi"));
    assert_eq!(table.log_dir, story.path(".local/state/infissi/logs"));
    story.env.insert("RUNTIME_DIRECTORY", "/run/infissi-me".to_owned());
    story.env.insert("STATE_DIRECTORY", "/state:/second".to_owned());
    story.env.insert("LOGS_DIRECTORY", "/logs".to_owned());
    let systemd = story.places("supervisor.state_dir = \".infissi/state\"").unwrap();
    assert_eq!(systemd.runtime_dir, Path::new("/run/infissi-me"));
    assert_eq!(systemd.state_dir, story.path(".infissi/state"));
    assert_eq!(systemd.log_dir, Path::new("/logs"));
}

#[test]
fn root_has_the_systems_places() {
    let mut story = Story::new();
    story.uid = 0;
    let places = story.places("").unwrap();
    assert_eq!(places.socket, Path::new("/run/infissi/supervisor.sock"));
    assert_eq!((places.state_dir, places.log_dir), ("/var/lib/infissi".into(), "/var/log/infissi".into()));
}

#[test]
fn places_are_known_even_when_the_rest_of_the_file_is_faulty() {
    let story = Story::new();
    let places = story.places("[supervisor]\nstate_dir = \"/state\"\nxx = 1\n[apps.a]\nport = \n[apps.b").unwrap();
    assert_eq!(places.state_dir, Path::new("/state"));
}

#[test]
fn a_runtime_directory_too_long_for_a_socket_is_refused() {
    let story = Story::new();
    let told = |length: usize| story.places(&format!("supervisor.runtime_dir = \"/{}\"", "x".repeat(length - 1)));
    assert_eq!(told(91).unwrap().socket.as_os_str().len(), 107);
    assert!(told(92).unwrap_err().contains("is 108 bytes long, and a socket's may be at most 107"));
}

#[test]
fn a_user_without_a_home_is_told_what_to_name() {
    let story = Story::new();
    let config = supervisor_only(&Sources::from_text(Path::new("/x"), "", 0));
    let caller = Caller { uid: 1000, user: None, home: None, cwd: story.path("here"), env: &|_| None };
    let told = Places::resolve(&config, &caller).unwrap_err().to_string();
    assert_eq!(told, "this user has no home directory: name runtime_dir in [supervisor]");
}

#[test]
fn ctl_tries_the_named_socket_alone() {
    let mut story = Story::new();
    story.env.insert("INFISSI_SOCKET", "/env.sock".to_owned());
    assert_eq!(story.candidates(None, None), [("/env.sock".to_owned(), "INFISSI_SOCKET".to_owned())]);
    assert_eq!(story.candidates(Some("/a.sock"), None), [("/a.sock".to_owned(), "--socket".to_owned())]);
    story.file("here/x.toml", "supervisor.runtime_dir = \"run\"", 0o644);
    let named = ("~/here/run/supervisor.sock".to_owned(), "--config x.toml".to_owned());
    assert_eq!(story.candidates(None, Some("x.toml")), [named]);
    assert!(story.with(|caller| sockets(None, Some(Path::new("gone.toml")), caller)).is_err());
}

#[test]
fn ctl_tries_every_row_of_the_table_and_the_working_directory_last() {
    let story = Story::new();
    story.file("here/supervisor.toml", "supervisor.runtime_dir = \".infissi/run\"", 0o644);
    let tried = story.candidates(None, None);
    let sockets: Vec<&str> = tried[1..].iter().map(|(socket, _)| socket.as_str()).collect();
    assert_eq!(
        sockets,
        [
            "/run/infissi-me/supervisor.sock",
            "~/.local/state/infissi/run/supervisor.sock",
            "~/here/.infissi/run/supervisor.sock"
        ]
    );
    assert_eq!(tried[0].1, "the system's supervisor");
    story.file(".config/infissi/supervisor.toml", "supervisor.runtime_dir = \"/own\"", 0o644);
    assert_eq!(story.candidates(None, None)[2].0, "/own/supervisor.sock");
}
