//! `[supervisor]` → [`SupervisorConfig`].

use super::app_table::{SHORTEST, wait};
use super::keys;
use super::notes::Notes;
use super::table::{Found, Setting, View};
use super::values;
use super::{ControlConfig, LogFormat, OwnLogConfig, SupervisorConfig};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Below it only root may bind (ip(7), ip_unprivileged_port_start), and apps are not root.
const LEAST_PORT: u16 = 1024;
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// `base`: the directory of the main file.
pub(super) fn supervisor(view: &View<'_>, base: &Path, notes: &mut Notes<'_>) -> SupervisorConfig {
    view.refuse_unknown(&keys::SUPERVISOR, notes);
    let directory = |key: &str, notes: &mut Notes<'_>| -> Option<PathBuf> {
        view.read(key, notes, values::path).value().map(|path| values::resolve(base, &path))
    };
    let patterns = "write a list of patterns, such as [\"apps.d/*.toml\"]";
    // Read already, by Sources; here only its type is looked at.
    let _: Setting<'_, Vec<String>> =
        view.read("include", notes, |found, notes| values::list(found, notes, patterns, values::text));
    SupervisorConfig {
        runtime_dir: directory("runtime_dir", notes),
        state_dir: directory("state_dir", notes),
        log_dir: directory("log_dir", notes),
        port_range: view.read("port_range", notes, port_range).or(super::PORT_RANGE),
        control: control(&view.sub("control", notes), notes),
        metrics: view.read("metrics", notes, address).value(),
        shutdown_timeout: wait(view, "shutdown_timeout", SHORTEST, notes).or(Duration::from_secs(60)),
        log: own_log(&view.sub("log", notes), notes),
    }
}

fn control(table: &View<'_>, notes: &mut Notes<'_>) -> ControlConfig {
    table.refuse_unknown(&keys::CONTROL, notes);
    let admin = |found: &Found<'_>, notes: &mut Notes<'_>| {
        let name = values::word(found, notes)?;
        if name == "@" {
            notes.blame(found, "it names no group", "write \"@NAME\"");
            return None;
        }
        Some(name)
    };
    let expected = "write a list of users and @groups, such as [\"fastuser\", \"@ops\"]";
    ControlConfig {
        group: table.read("group", notes, values::word).value(),
        admins: table.read("admins", notes, |found, notes| values::list(found, notes, expected, admin)).or(Vec::new()),
    }
}

fn own_log(table: &View<'_>, notes: &mut Notes<'_>) -> OwnLogConfig {
    table.refuse_unknown(&keys::OWN_LOG, notes);
    let level = |found: &Found<'_>, notes: &mut Notes<'_>| {
        let level = found.value.as_str().filter(|level| LEVELS.contains(level));
        if level.is_none() {
            let what = format!("{} is not a level", found.shown());
            notes.blame(found, what, format!("write one of {}", LEVELS.join(", ")));
        }
        level.map(str::to_owned)
    };
    OwnLogConfig {
        level: table.read("level", notes, level).or("info".to_owned()),
        format: table.read("format", notes, values::log_format).or(LogFormat::Text),
    }
}

fn port_range(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port >= LEAST_PORT);
    let ends = found.value.as_str().and_then(|text| text.split_once('-'));
    let range = ends.and_then(|(first, last)| Some(port(first)?..=port(last)?)).filter(|range| !range.is_empty());
    if range.is_none() {
        let expected = format!("write the first and the last, such as \"21000-21999\", from {LEAST_PORT} to 65535");
        notes.blame(found, format!("{} is not a range of ports", found.shown()), expected);
    }
    range
}

fn address(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<SocketAddr> {
    let address = found.value.as_str().and_then(|text| text.parse::<SocketAddr>().ok());
    let address = address.filter(|address| address.port() != 0);
    if address.is_none() {
        let expected = "write one like \"127.0.0.1:9615\" or \"[::1]:9615\"";
        notes.blame(found, format!("{} is not an address with a port", found.shown()), expected);
    }
    address
}
