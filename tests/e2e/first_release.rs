//! The first release of an app that runs in a plain checkout: whatever the app has written there comes along, or is
//! left behind on purpose, and the checkout stays as it is.

use crate::machine::{Output, Program, command, free_port, get, signal};
use crate::server::{Server, Setup};
use nix::sys::signal::Signal;
use std::fs;
use std::path::Path;

/// The demo app in `live`, as it was checked out and has run for a while.
struct Checkout {
    server: Server,
    port: u16,
}

impl Checkout {
    fn running() -> Checkout {
        let port = free_port();
        let server = Setup::default().prepare("");
        for dir in ["live", "site"] {
            fs::create_dir(server.path(dir)).unwrap();
        }
        for file in ["server.js", "websocket.js"] {
            fs::copy(server.path("demo").join(file), server.path("live").join(file)).unwrap();
        }
        server.write("live/package.json", r#"{ "name": "site", "scripts": { "start": "node server.js" } }"#);
        server.write("live/.gitignore", ".env\n*.db\nnode_modules\nuploads\n");
        let checkout = Checkout { server, port };
        for words in
            [&["init", "--quiet", "--initial-branch=main"][..], &["add", "--all"], &["commit", "--quiet", "-m", "1"]]
        {
            checkout.git(words).ok();
        }
        for (path, text) in [
            (".env", "A=1\n"),
            ("data/site.db", "rows"),
            ("node_modules/left-pad/index.js", ""),
            ("notes.txt", "of an admin"),
            ("uploads/a.png", "picture"),
        ] {
            fs::create_dir_all(checkout.path("live").join(path).parent().unwrap()).unwrap();
            checkout.server.write(&format!("live/{path}"), text);
        }
        checkout.server.configure(&checkout.app(""));
        let Checkout { mut server, port } = checkout;
        server.run();
        server.wait_status("web", "online");
        Checkout { server, port }
    }

    fn app(&self, more: &str) -> String {
        let cwd = self.path("live");
        format!(
            "[apps.web]\ncommand = \"node server.js\"\ncwd = {cwd:?}\nport = {}\nenv_file = \".env\"\n\
             health = {{ http = \"/api/health\", interval = \"500ms\", healthy = 1 }}\n{more}\n",
            self.port
        )
    }

    fn apply(&self, deploy: &str) {
        let deploy = format!("deploy = {{ root = \"site\", min_free = \"1M\", steps = [], {deploy} }}");
        self.server.configure(&self.app(&deploy));
        self.server.ctl(&["apply"]).ok();
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.server.path(path)
    }

    fn git(&self, words: &[&str]) -> Output {
        let mut git = command("git");
        git.args(["-c", "user.name=ann", "-c", "user.email=ann@example.org"])
            .args(words)
            .current_dir(self.path("live"));
        Program::start(&mut git).end()
    }
}

#[test]
fn a_plain_checkout_becomes_the_first_release_and_nothing_is_forgotten() {
    let checkout = Checkout::running();
    let server = &checkout.server;
    let pid = server.pid("web");
    checkout.apply("shared = [\".env\"], warm = \"60s\"");
    assert_eq!(server.pid("web"), pid, "until there is a release it runs where it did");
    let plain = server.ctl(&["deploy", "web", "--from", "live"]);
    assert!(plain.code == 1 && plain.stderr.contains("infissi-ctl deploy web --init"), "{plain:#?}");

    let open = server.ctl(&["deploy", "web", "--init"]);
    assert_eq!(open.code, 1, "{open:#?}");
    for say in [
        "3 things are in",
        "data/ ",
        "uploads/ ",
        "7B in 1 file, written ",
        "shared = [\".env\", \"data\", \"notes.txt\", \"uploads\"]",
        "infissi-ctl deploy web --init --leave data --leave notes.txt --leave uploads",
        "the steps make it anew: node_modules",
    ] {
        assert!(open.stderr.contains(say), "{say}: {open:#?}");
    }
    let begun = || fs::read_dir(checkout.path("site")).unwrap().count();
    assert_eq!(begun(), 0, "nothing is begun");
    let json = server.ctl(&["--json", "deploy", "web", "--init", "--leave", "notes.txt"]);
    assert_eq!((json.code, json.json()["shared"].as_str()), (1, Some("shared = [\".env\", \"data\", \"uploads\"]")));
    server.write("live/server.js", &(fs::read_to_string(checkout.path("live/server.js")).unwrap() + "\n"));
    let changed = server.ctl(&["deploy", "web", "--init"]);
    assert!(
        changed.stderr.contains("server.js ") && changed.stderr.contains("changed since the commit"),
        "{changed:#?}"
    );
    checkout.git(&["checkout", "--quiet", "server.js"]).ok();

    checkout.apply("shared = [\".env\", \"data\", \"uploads\"], warm = \"60s\"");
    let words = ["deploy", "web", "--init", "--leave", "./notes.txt", "--id", "one"];
    let dry = server.ctl(&[&words[..], &["--dry-run"]].concat()).ok();
    assert!(dry.stdout.contains("To be copied, ") && dry.stdout.contains("Nothing was done"), "{dry:#?}");
    assert_eq!(begun(), 0);
    let before = checkout.git(&["status", "--porcelain", "--ignored"]).ok().stdout;
    let said = server.ctl(&[&words[..], &["--no-wait"]].concat()).ok();
    assert!(said.stdout.contains("release one has the traffic"), "{said:#?}");
    let app = server.app("web");
    assert_eq!((app["release"].as_str(), app["other"]["phase"].as_str()), (Some("one"), Some("warm")));
    assert_eq!(get(checkout.port, "/").map(|(status, _)| status), Some(200));
    for (path, text) in [(".env", "A=1\n"), ("data/site.db", "rows"), ("uploads/a.png", "picture")] {
        assert_eq!(fs::read_to_string(checkout.path("site/releases/one").join(path)).unwrap(), text);
        assert_eq!(fs::read_to_string(checkout.path("live").join(path)).unwrap(), text);
    }
    assert!(fs::symlink_metadata(checkout.path("site/releases/one/uploads")).unwrap().is_symlink());
    assert!(!checkout.path("site/releases/one/notes.txt").exists());
    assert_eq!(checkout.git(&["status", "--porcelain", "--ignored"]).ok().stdout, before, "it stays as it is");
    let cwd = server.ctl(&["exec", "web", "--", "pwd", "-P"]).ok();
    assert_eq!(Path::new(cwd.stdout.trim()).file_name().unwrap(), "one", "{cwd:#?}");
    let again = server.ctl(&["deploy", "web", "--init"]);
    assert!(again.code == 2 && again.stderr.contains("runs in release one"), "{again:#?}");
    // While it is warm, one goes back to where it ran before.
    server.ctl(&["swap", "web"]).ok();
    assert!(server.app("web")["release"].is_null());
}

#[test]
fn what_stands_at_the_target_already_is_not_gone_over() {
    let checkout = Checkout::running();
    let server = &checkout.server;
    checkout.apply("shared = [\".env\", \"data\", \"uploads\"], warm = \"60s\"");
    fs::create_dir_all(checkout.path("site/shared/data")).unwrap();
    server.write("site/shared/data/site.db", "other rows");
    let words = ["deploy", "web", "--init", "--leave", "notes.txt", "--id", "one"];
    let refused = server.ctl(&words);
    assert!(refused.code == 1 && refused.stderr.contains("shared/data/site.db is there already"), "{refused:#?}");
    assert_eq!(fs::read_to_string(checkout.path("site/shared/data/site.db")).unwrap(), "other rows");
    fs::remove_file(checkout.path("site/shared/data/site.db")).unwrap();
    server.write("live/data/site.db-wal", "of a transaction");
    let deploy = server.follow(&words);
    server.wait_until("the swap", || server.app("web")["release"] == "one");
    signal(deploy.pid(), Signal::SIGINT);
    let ended = deploy.end();
    assert_eq!(ended.code, 130, "{ended:#?}");
    for say in ["site.db is a database in use", "what the old slot still writes where it runs does not come along"] {
        assert!(ended.stderr.contains(say), "what it would have said in the end: {say}: {ended:#?}");
    }
    assert_eq!(fs::read_to_string(checkout.path("site/shared/data/site.db")).unwrap(), "rows");
}
