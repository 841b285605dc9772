//! The same with a real Next.js app: `.ci/run` installs and builds it in tests/fixtures/next.

use crate::ledger::Kind;
use crate::load::Load;
use crate::machine::{exchange, get, skip};
use crate::story::{LONG_DRAIN, Story, after_some, is_soak, tell};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub(crate) const APP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/next");
/// Next itself has no WebSockets.
pub(crate) const KINDS: &[Kind] = &[
    Kind::Page,
    Kind::Fresh,
    Kind::Kept,
    Kind::Thinking,
    Kind::Post,
    Kind::Slow,
    Kind::Upload,
    Kind::Chunked,
    Kind::Events,
];

/// None where it is not: there is no registry to have it from, then.
pub(crate) fn is_installed() -> Option<()> {
    if !Path::new(APP).join(".next/BUILD_ID").exists() {
        skip("the Next.js app is not built: npm ci && npm run build in tests/fixtures/next");
        return None;
    }
    Some(())
}

fn next() -> Option<Story> {
    is_installed()?;
    let command = "npm start -- --port {port} --hostname {host}";
    Some(Story::start(&format!("command = \"{command}\"\ncwd = \"{APP}\"\n{LONG_DRAIN}")))
}

#[test]
fn restarts_of_a_next_app_lose_no_request_and_do_none_twice() {
    let Some(story) = next() else { return };
    let restarts = if is_soak() { 20 } else { 2 };
    let load = Load::start(story.plan().kinds(KINDS).span(Duration::from_millis(500)).weight(1));
    after_some(&load, 100);
    for _ in 0..restarts {
        story.server.ctl(&["restart", "web"]).ok();
        after_some(&load, 20);
    }
    load.wait_for_each(3);
    let ledger = load.end();
    tell(&format!("{restarts} restarts of a Next.js app"), &ledger);
    ledger.assert_nothing_lost(KINDS);
    let pids: BTreeSet<&str> = ledger.answers().keys().map(|by| by.pid.as_str()).collect();
    assert_eq!(pids.len(), restarts + 1, "{ledger}");
    assert_eq!(story.app()["restarts"], 0);
}

#[test]
fn a_server_action_is_accepted_from_the_public_address_and_done_once() {
    let Some(story) = next() else { return };
    let (_, page) = get(story.port, "/").unwrap();
    let action = page.split("name=\"").find(|part| part.starts_with("$ACTION_ID_")).expect("a form with an action");
    let action = action.split('"').next().unwrap();
    let field = |name: &str, value: &str| {
        format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let form = format!("{}{}--edge--\r\n", field(action, ""), field("nonce", "action-1"));
    let submit = |origin: &str| {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost:{}\r\nOrigin: http://{origin}\r\nConnection: close\r\n\
             Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: {}\r\n\r\n{form}",
            story.port,
            form.len()
        );
        exchange(story.port, &request).unwrap().0
    };
    // Next compares the origin with the host that the proxy tells it of.
    let elsewhere = submit("elsewhere.example");
    assert_eq!(fs::read_to_string(story.nonces()).unwrap_or_default(), "", "{elsewhere} to another site's form");
    assert!([200, 303].contains(&submit(&format!("localhost:{}", story.port))));
    let done = fs::read_to_string(story.nonces()).unwrap();
    assert_eq!(done.lines().map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>(), ["action-1"]);
}
