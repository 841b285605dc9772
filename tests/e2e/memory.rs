//! Limits: what counts, what does not, and the kernel's own.

use crate::machine::{free_port, get, skip};
use crate::server::{Server, Setup, demo};
use std::fs;

#[test]
fn page_cache_is_no_reason_to_restart_an_app() {
    let script =
        "head -c 150000000 /dev/zero > big\nwhile :; do cat big > /dev/null; sleep 0.1; echo read >> reads; done\n";
    let server = Setup::default()
        .file("read.sh", script)
        .start("[apps.web]\ncommand = \"sh read.sh\"\nmax_memory_restart = \"30M\"");
    server.wait_until("it to have read for several rounds of looking", || {
        server.lines_of("reads") > 20 && server.app("web")["uptime_ms"].as_u64() > Some(3_000)
    });
    let app = server.app("web");
    assert_eq!((app["restarts"].as_u64(), app["status"].as_str()), (Some(0), Some("online")), "{app:#}");
    assert!(app["memory_bytes"].as_u64() < Some(30 << 20), "{app:#}");
}

#[test]
fn the_memory_of_all_processes_of_a_tree_counts_together() {
    let hold = "const kept = Buffer.alloc(25 << 20, 1); setInterval(() => kept[0]++, 1000); console.log('holds')";
    let server = Setup::default().file("hold.js", hold).start(
        "[apps.web]\ncommand = [\"sh\", \"-c\", \"node hold.js & node hold.js & node hold.js & wait\"]\nmax_memory_restart = \"60M\"\n\
         backoff = { initial = \"1h\", max = \"1h\" }\n[apps.alone]\ncommand = \"node hold.js\"\nmax_memory_restart = \"60M\"",
    );
    server.wait_status("web", "backoff");
    assert_eq!(server.app("web")["last_exit"]["reason"], "memory");
    assert_eq!(server.app("alone")["restarts"], 0, "25 MB of its own are within 60");
}

#[test]
fn a_limit_that_apply_lowers_is_acted_on_without_another_restart() {
    let port = free_port();
    let server = Server::start(&demo("web", port, "max_memory_restart = \"500M\""));
    server.wait_status("web", "online");
    let pid = server.pid("web");
    get(port, "/leak?mb=80&rate=800").unwrap();
    server.wait_until("it to be large", || server.app("web")["memory_bytes"].as_u64() > Some(80 << 20));
    server.configure(&demo("web", port, "max_memory_restart = \"60M\""));
    server.ctl(&["apply"]).ok();
    server.wait_for_another("web", pid);
    assert_eq!(server.app("web")["last_exit"]["reason"], "memory");
}

#[test]
fn the_kernels_own_kill_is_called_oom() {
    let controllers = ["/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/unified/cgroup.controllers"];
    if !controllers.iter().any(|file| fs::read_to_string(file).is_ok_and(|text| text.contains("memory"))) {
        return skip("the cgroup v2 memory controller is not here");
    }
    let server = Setup::default().start(
        "[apps.web]\ncommand = [\"node\", \"-e\", \"const kept = []; setInterval(() => kept.push(Buffer.alloc(10 << 20, 1)), 20)\"]\n\
         memory_max = \"100M\"\nbackoff = { initial = \"1h\", max = \"1h\" }",
    );
    if server.own_log().contains("memory_max is not in force") {
        return skip("the memory controller is not ours to use here");
    }
    server.wait_status("web", "backoff");
    assert_eq!(server.app("web")["last_exit"]["reason"], "oom");
}
