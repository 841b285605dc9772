//! A deploy on a machine that has no memory for a second slot: refused before anything is made, and again before the
//! release is started; stopping first is the way out.

use crate::machine::{command, free_port, is_root, skip};
use crate::server::{Server, Setup};
use std::fs;

/// What the machine can still give, as its supervisor reads it.
fn can_give(server: &Server, megabytes: u64) {
    let text = format!("MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable: {} kB\n", megabytes << 10);
    fs::write(server.path("meminfo"), text).unwrap();
}

#[test]
fn without_memory_for_a_second_slot_nothing_is_made_and_stopping_first_is_the_way_out() {
    let may_unshare = || command("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    if !is_root() || !may_unshare() {
        return skip("a /proc/meminfo of its own takes root");
    }
    let port = free_port();
    let apps = format!(
        "[apps.web]\ncommand = \"node server.js\"\nport = {port}\n\
         health = {{ http = \"/api/health\", interval = \"500ms\", healthy = 1 }}\n\
         deploy = {{ root = \"site\", min_free = \"1M\", warm = \"0s\", \
         steps = [\"sh -c 'touch ../../building; while test -e ../../wait; do sleep 0.02; done'\"] }}\n"
    );
    // A file of ours in the place of the machine's, for the supervisor and what it starts.
    let setup = Setup::default().shell(
        "if test -z \"$OWN_MEMINFO\"; then OWN_MEMINFO=1; export OWN_MEMINFO; \
         exec unshare --mount sh -c 'mount --bind meminfo /proc/meminfo && exec \"$0\" \"$@\"' \"$0\" \"$@\"; fi",
    );
    let mut server = setup.prepare(&apps);
    fs::create_dir(server.path("site")).unwrap();
    can_give(&server, 4000);
    server.run();
    let deploy = |id: &str, more: &[&str]| {
        let words = [&["deploy", "web", "--from", "demo", "--id", id], more].concat();
        server.ctl(&words)
    };
    can_give(&server, 1);
    let first = deploy("one", &["--dry-run"]).ok();
    assert!(!first.stdout.contains("memory"), "nothing runs that it would be beside: {first:#?}");
    deploy("one", &[]).ok();

    let dry = deploy("two", &["--dry-run"]).ok();
    for say in ["1.0M can be had, the active slot uses ", "too little for a second one", "--stop-first"] {
        assert!(dry.stdout.contains(say), "{say}: {dry:#?}");
    }
    let refused = deploy("two", &[]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    let says = ["web is not deployed: web needs ", "for a second slot beside the active one, and 1.0M can be had"];
    for say in says.iter().chain(&["release one serves on", "infissi-ctl deploy web --stop-first"]) {
        assert!(refused.stderr.contains(say), "{say}: {refused:#?}");
    }
    assert!(!server.path("site/releases/two").exists() && !server.path("site/deploys/two").exists());
    let pid = server.pid("web");

    // It runs short while the release is built.
    can_give(&server, 4000);
    server.write("site/wait", "");
    fs::remove_file(server.path("site/building")).unwrap();
    let building = server.follow(&["deploy", "web", "--from", "demo", "--id", "two"]);
    server.wait_until("the build", || server.path("site/building").exists());
    can_give(&server, 1);
    fs::remove_file(server.path("site/wait")).unwrap();
    let refused = building.end();
    assert_eq!(refused.code, 1, "{refused:#?}");
    let how = "infissi-ctl rollback web --to two --stop-first";
    assert!(refused.stderr.contains(how) && refused.stderr.contains("release one serves on"), "{refused:#?}");
    assert_eq!((server.pid("web"), server.app("web")["release"].as_str()), (pid, Some("one")), "nothing was touched");

    let words: Vec<&str> = how.split(' ').skip(1).collect();
    server.ctl(&words).ok();
    assert_eq!(server.app("web")["release"], "two");
    let dry = deploy("three", &["--stop-first", "--dry-run"]).ok();
    assert!(dry.stdout.contains("; it is stopped first"), "{dry:#?}");
    deploy("three", &["--stop-first"]).ok();
    assert_eq!(server.app("web")["release"], "three");
    can_give(&server, 4000);
    deploy("four", &[]).ok();
}
