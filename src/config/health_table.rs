//! `[apps.NAME.health]`: the probe and its times.

use super::app::{HealthConfig, ProbeKind, StatusRange};
use super::app_table::{SHORTEST, wait};
use super::command;
use super::keys;
use super::notes::Notes;
use super::table::{Found, Layer, View};
use super::values;
use std::collections::BTreeMap;
use std::time::Duration;

const ONLY_FOR_HTTP: [&str; 3] = ["expect_status", "expect_body", "headers"];

pub(super) fn health(view: &View<'_>, port: Option<u16>, job: bool, notes: &mut Notes<'_>) -> HealthConfig {
    let table = view.sub("health", notes);
    table.refuse_unknown(&keys::HEALTH, notes);
    let count = |found: &Found<'_>, notes: &mut Notes<'_>| values::number(found, notes, "a count of probes", 1..=1000);
    HealthConfig {
        probe: probe(&table, port, view.own().get("port").is_some(), job, notes),
        interval: wait(&table, "interval", Duration::from_millis(100), notes).or(Duration::from_secs(5)),
        timeout: wait(&table, "timeout", SHORTEST, notes).or(Duration::from_secs(3)),
        start_timeout: wait(&table, "start_timeout", SHORTEST, notes).or(Duration::from_secs(60)),
        healthy: table.read("healthy", notes, count).or(2),
        unhealthy: table.read("unhealthy", notes, count).or(3),
    }
}

/// The probe of the nearest layer that names one. One that comes from defaults and does not suit the app is left out.
fn probe(
    table: &View<'_>,
    port: Option<u16>,
    port_written: bool,
    job: bool,
    notes: &mut Notes<'_>,
) -> Option<ProbeKind> {
    let details = http_details(table, notes);
    let written = written(table);
    if !written.iter().any(|(kind, _)| *kind == Kind::Http) {
        for stray in ONLY_FOR_HTTP.iter().filter_map(|key| table.get(key)).filter(|found| found.own) {
            notes.blame(&stray, "only an http probe looks at it", "add http = \"/path\" or leave it out");
        }
    }
    let (kind, found) = written.first()?;
    if let Some((_, second)) = written.get(1) {
        notes.blame(second, "this is a second probe", "choose one of http, tcp and command");
    }
    let probe = match kind {
        Kind::Http => http_path(found, notes).map(|path| details.probe(path)),
        Kind::Tcp => values::flag(found, notes).map(|_| ProbeKind::Tcp),
        Kind::Command => command::command(found, notes).map(ProbeKind::Command),
    };
    if job && found.own {
        notes.blame(found, "a job is not probed", "leave it out, a job is done when it exits with 0");
    }
    let portless = port.is_none() && probe.as_ref().is_some_and(needs_port);
    if portless && found.own && !port_written && !job {
        notes.blame(found, "the app has no port to probe", "add port = NUMBER or use command = \"…\"");
    }
    probe.filter(|_| !portless && !job)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Tcp,
    Command,
}

/// The probes that the nearest layer with any names; `tcp = false` names none.
fn written<'a>(table: &View<'a>) -> Vec<(Kind, Found<'a>)> {
    let kinds = [("http", Kind::Http), ("tcp", Kind::Tcp), ("command", Kind::Command)];
    let named = |kind: Kind, found: &Found<'_>| kind != Kind::Tcp || found.value.as_bool() != Some(false);
    let probes = |layer: &Layer<'a>| -> Vec<(Kind, Found<'a>)> {
        let found = kinds.iter().filter_map(|(key, kind)| Some((*kind, layer.get(key)?)));
        found.filter(|(kind, found)| named(*kind, found)).collect()
    };
    table.layers.iter().map(probes).find(|probes| !probes.is_empty()).unwrap_or_default()
}

fn needs_port(probe: &ProbeKind) -> bool {
    match probe {
        ProbeKind::Command(words) => command::names_port(words),
        ProbeKind::Http { .. } | ProbeKind::Tcp => true,
    }
}

struct HttpDetails {
    expect_status: StatusRange,
    expect_body: Option<String>,
    headers: BTreeMap<String, String>,
}

impl HttpDetails {
    fn probe(self, path: String) -> ProbeKind {
        ProbeKind::Http {
            path,
            expect_status: self.expect_status,
            expect_body: self.expect_body,
            headers: self.headers,
        }
    }
}

fn http_details(table: &View<'_>, notes: &mut Notes<'_>) -> HttpDetails {
    let any_success = StatusRange { first: 200, last: 299 };
    let expect_status = table.read("expect_status", notes, values::statuses).or(any_success);
    let expect_body = table.read("expect_body", notes, values::word).value();
    let mut headers = BTreeMap::new();
    for (name, found) in table.sub("headers", notes).entries() {
        if let Some(value) = header(&name, &found, notes) {
            headers.insert(name, value);
        }
    }
    HttpDetails { expect_status, expect_body, headers }
}

fn http_path(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<String> {
    let path = values::text(found, notes)?;
    if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
        let expected = "write one like \"/api/health\"; host and port are the app's own";
        notes.blame(found, format!("{} is not a path to ask for", found.shown()), expected);
        return None;
    }
    Some(path)
}

/// RFC 9110 section 5.1 and 5.5: a token, and a value in one line.
fn header(name: &str, found: &Found<'_>, notes: &mut Notes<'_>) -> Option<String> {
    let value = values::text(found, notes)?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) || value.contains(|c: char| c.is_control() && c != '\t') {
        notes.blame(found, "this is not an HTTP header", "write a name and a value in one line");
        return None;
    }
    Some(value)
}
