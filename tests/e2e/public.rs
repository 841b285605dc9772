//! The public side of an app: changed without its process, taken over and given back, seen in `list` and `show`.

use crate::machine::{accepts, free_port, get};
use crate::server::{Server, Setup};

/// The demo behind the proxy.
fn proxied(port: u16, more: &str) -> String {
    format!(
        "[apps.web]\ncommand = \"node server.js\"\ncwd = \"demo\"\nport = {port}\n\
         health = {{ http = \"/api/health\", interval = \"1s\" }}\n{more}\n"
    )
}

#[test]
fn ports_addresses_and_limits_are_changed_without_a_new_process() {
    let (first, second, third) = (free_port(), free_port(), free_port());
    let server = Server::start(&proxied(first, ""));
    server.wait_status("web", "online");
    let pid = server.pid("web");
    assert_eq!(get(first, "/api/health").unwrap().0, 200);
    server.configure(&proxied(
        second,
        &format!("listen = [\"127.0.0.1\", \"127.0.0.1:{third}\"]\nhold = \"1s\"\nlimits = {{ head = \"8K\" }}"),
    ));
    let plan = server.ctl(&["apply", "--dry-run"]).ok().stdout;
    assert!(plan.contains("change in place") && plan.contains("hold, limits.head, listen, port"), "{plan}");
    server.ctl(&["apply"]).ok();
    for port in [second, third] {
        server.wait_until("the new addresses", || get(port, "/api/health").is_some_and(|(status, _)| status == 200));
    }
    server.wait_until("the old one to be closed", || !accepts(first));
    let large = format!("/?{}", "x".repeat(9000));
    assert_eq!(get(second, &large).unwrap().0 / 100, 4, "the new limit holds");
    assert_eq!(server.pid("web"), pid);
    assert_eq!(
        server.show("web")["listen"],
        serde_json::json!([format!("127.0.0.1:{second}"), format!("127.0.0.1:{third}")])
    );
}

#[test]
fn an_app_goes_behind_the_proxy_and_out_of_it_on_the_same_port() {
    let port = free_port();
    let server = Server::start(&proxied(port, "proxy = \"off\""));
    server.wait_status("web", "online");
    let mut pid = server.pid("web");
    for (more, listen) in [("", 1), ("proxy = \"off\"", 0)] {
        server.configure(&proxied(port, more));
        server.ctl(&["apply"]).ok();
        server.wait_until("it to answer", || get(port, "/api/health").is_some_and(|(status, _)| status == 200));
        let now = server.pid("web");
        assert_ne!(now, pid, "what a process was told to bind cannot change");
        pid = now;
        assert_eq!(server.show("web")["listen"].as_array().unwrap().len(), listen);
    }
}

/// Answers with its slot; `/begin` only when there is a file `go` beside it.
const PATIENT: &str = "\
const answer = r => r.end(process.env.INFISSI_SLOT);
const wait = r => require('fs').existsSync('go') ? answer(r) : setTimeout(wait, 20, r);
require('http').createServer((q, r) => {
  if (q.url !== '/begin') return answer(r);
  console.log('begun');
  wait(r);
}).listen(process.env.PORT, process.env.HOST);
";

#[test]
fn list_says_how_far_a_rollover_is_and_what_drains() {
    let port = free_port();
    let app = format!("[apps.web]\ncommand = \"node patient.js\"\nport = {port}\n");
    let server = Setup::default().file("patient.js", PATIENT).start(&app);
    server.wait_status("web", "online");
    assert_eq!(server.app("web")["slot"], "blue");
    let list = || server.ctl(&["list"]).ok().said();
    std::thread::scope(|scope| {
        let begun = scope.spawn(|| get(port, "/begin").unwrap());
        server.wait_until("the request to be there", || server.log("web-out.log").contains("begun"));
        server.ctl(&["restart", "web", "--no-wait"]).ok();
        server.wait_until("blue to drain", || list().contains("web: blue is draining ("));
        // The worker hears of it in a moment.
        server.wait_until("green to answer", || get(port, "/").unwrap().1 == "green");
        server.write("go", "");
        assert_eq!(begun.join().unwrap(), (200, "blue".to_owned()), "what blue had begun it finished");
    });
    server.wait_until("blue to be gone", || server.app("web")["other"].is_null());
    assert!(list().contains("│ green │") && !list().contains("draining"), "{}", list());
    let shown = server.ctl(&["show", "web"]).ok().said();
    assert!(shown.contains(&format!("[::]:{port}")) && shown.contains("private port"), "{shown}");
}
