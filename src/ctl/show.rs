//! `show`: everything about an app, in boxes.

use super::clock;
use super::course;
use super::exits;
use super::failure::Failure;
use super::instances;
use super::look::{BOLD, Look};
use super::selector::{is_several, means};
use super::session::Session;
use super::slots;
use super::table::{boxed, health_color, status_color};
use super::traffic;
use super::units::{distance, local_time, percent, printable, size, uptime, wrapped};
use crate::api::{AppDetail, AppStatus, OutputLine, ProcessRow, RefusalCode, Stream, routes};
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table};
use jiff::Timestamp;
use std::collections::HashSet;
use std::io::Write;

pub(crate) fn show(session: &mut Session, apps: &[String]) -> Result<u8, Failure> {
    let mut details: Vec<AppDetail> = Vec::new();
    for app in &names(session, apps)? {
        details.push(session.client()?.get(&routes::app(app))?);
    }
    if session.json {
        match details.as_slice() {
            [one] => session.print_json(one)?,
            several => session.print_json(&several)?,
        }
        return Ok(0);
    }
    for detail in &details {
        let text = text(detail, clock::now(), &session.look);
        session.out.write_all(text.as_bytes())?;
    }
    Ok(0)
}

/// Each word as the apps that it means. A single name is left to the supervisor, which knows the nearest one.
pub(crate) fn names(session: &mut Session, words: &[String]) -> Result<Vec<String>, Failure> {
    let words: Vec<&str> = words.iter().flat_map(|word| routes::selector_words(word)).collect();
    if !words.iter().any(|word| is_several(word)) {
        return Ok(words.into_iter().map(str::to_owned).collect());
    }
    let apps: Vec<AppStatus> = session.client()?.get(routes::APPS)?;
    let mut names: Vec<String> = Vec::new();
    for word in words {
        let meant: Vec<String> = apps.iter().filter(|app| means(word, app)).map(|app| app.name.clone()).collect();
        if meant.is_empty() {
            let what = format!("no app is meant by `{word}`");
            return Err(Failure::new(RefusalCode::NoSuchApp, what, "infissi-ctl list shows all apps"));
        }
        names.extend(meant);
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

fn text(app: &AppDetail, now: Timestamp, look: &Look) -> String {
    let mut text = String::new();
    let mut section = |title: &str, table: Option<Table>| {
        if let Some(table) = table {
            text.push_str(&format!("{}\n{table}\n", look.paint(BOLD, title)));
        }
    };
    section(&app.status.name, Some(state(app, now, look)));
    section("traffic", app.status.traffic.as_ref().map(|traffic| traffic::rows(pairs(look), traffic, &app.status)));
    section("processes", processes(&app.processes, look));
    section("instances", instances::table(app, look));
    section("runs", Some(runs(app, look)));
    section("last exits", last_exits(app, now, look));
    if !app.last_lines.is_empty() {
        text.push_str(&format!("{}\n", look.paint(BOLD, "last lines of the run that ended last")));
        text.extend(app.last_lines.iter().map(output_line));
    }
    if !app.next_steps.is_empty() {
        text.push_str(&format!("{}\n", look.paint(BOLD, "next steps")));
        let arrow = look.sign("→", "->");
        text.extend(app.next_steps.iter().map(|step| wrapped(&format!("  {arrow} {step}"), look.width) + "\n"));
    }
    text
}

fn state(app: &AppDetail, now: Timestamp, look: &Look) -> Table {
    let status = &app.status;
    let mut rows = pairs(look);
    rows.add_row([key("status"), Cell::new(status.status).fg(status_color(status.status))]);
    if let Some(reason) = &status.reason {
        add(&mut rows, "reason", &printable(reason));
    }
    if let Some(next) = status.next_at {
        add(&mut rows, "next", &format!("{} ({})", distance(next, now), local_time(next)));
    }
    let health = Cell::new(format!("{} ({})", status.health, app.probe));
    rows.add_row([key("health"), health_color(status.health).map_or(health.clone(), |color| health.fg(color))]);
    if let Some(failure) = &app.probe_failure {
        add(&mut rows, "last probe failure", &printable(failure));
    }
    if !status.aliases.is_empty() {
        add(&mut rows, "aliases", &status.aliases.join(", "));
    }
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    add(&mut rows, "port", &status.port.map_or_else(|| "none: a worker".to_owned(), |port| port.to_string()));
    if !app.listen.is_empty() {
        add(&mut rows, "public addresses", &app.listen.join(", "));
    }
    add(&mut rows, "slot", &status.slot.to_string());
    if let Some(other) = &status.other {
        add(&mut rows, "other slot", &printable(&slots::sentence(&status.name, other, now)));
    }
    add(&mut rows, "pid", &or_none(status.pid.map(|pid| pid.to_string())));
    add(&mut rows, "uptime", &or_none(status.uptime_ms.map(uptime)));
    add(&mut rows, "unplanned restarts", &status.restarts.to_string());
    add(&mut rows, "memory", &memory(status.memory_bytes, status.memory_limit_bytes));
    if let Some(max) = app.memory_max_bytes {
        let shown = match &app.no_memory_max {
            None => size(max),
            Some(why) => format!("{} is not in force: {}", size(max), printable(why)),
        };
        add(&mut rows, "memory_max", &shown);
    }
    add(&mut rows, "cpu", &or_none(status.cpu_percent.map(percent)));
    if let Some(release) = &status.release {
        add(&mut rows, "release", release);
    }
    if let Some(leader) = &app.release_of {
        add(&mut rows, "release of", leader);
    }
    if let Some(deploying) = &status.deploying {
        add(&mut rows, "is deployed by", &printable(&course::goes_on(deploying, now)));
    }
    if let Some(last) = &app.last_deploy {
        add(&mut rows, "last deploy", &printable(&course::ended(last, now)));
    }
    if let Some(schedule) = &app.schedule {
        add(&mut rows, "schedule", schedule);
    }
    if !app.depends_on.is_empty() {
        add(&mut rows, "depends on", &app.depends_on.join(", "));
    }
    rows
}

fn memory(bytes: Option<u64>, limit: Option<u64>) -> String {
    let now = bytes.map_or_else(|| "-".to_owned(), size);
    match limit {
        Some(limit) => format!("{now} of {} (max_memory_restart)", size(limit)),
        None => format!("{now}, no limit"),
    }
}

fn runs(app: &AppDetail, look: &Look) -> Table {
    let mut rows = pairs(look);
    add(&mut rows, "command", &shell_words::join(&app.command));
    add(&mut rows, "cwd", &app.cwd);
    if let Some(user) = &app.user {
        add(&mut rows, "user", user);
    }
    add(&mut rows, "environment", &app.env_names.join(" "));
    add(&mut rows, "combined log", &app.log_files.combined);
    add(&mut rows, "out log", &app.log_files.out);
    add(&mut rows, "error log", &app.log_files.error);
    if app.log_lines_dropped > 0 {
        add(&mut rows, "log lines dropped", &format!("{}: the disk did not take them", app.log_lines_dropped));
    }
    rows
}

fn processes(processes: &[ProcessRow], look: &Look) -> Option<Table> {
    if processes.is_empty() {
        return None;
    }
    let mut table = several(look, &["pid", "mem", "command"]);
    for (depth, process) in tree(processes) {
        let command = format!("{}{}", "  ".repeat(depth), printable(&process.command));
        table.add_row([right(process.pid), right(size(process.memory_bytes)), Cell::new(command)]);
    }
    Some(table)
}

/// Each process below its parent, with its depth. One whose parent is not among them is a root.
fn tree(processes: &[ProcessRow]) -> Vec<(usize, &ProcessRow)> {
    let known = |pid: i32| processes.iter().any(|process| process.pid == pid);
    let is_root = |process: &&ProcessRow| process.parent == process.pid || !known(process.parent);
    let mut waiting: Vec<(usize, &ProcessRow)> =
        processes.iter().filter(is_root).map(|process| (0, process)).rev().collect();
    let mut ordered = Vec::new();
    while let Some((depth, process)) = waiting.pop() {
        ordered.push((depth, process));
        let children = processes.iter().filter(|child| child.parent == process.pid && child.pid != process.pid);
        waiting.extend(children.map(|child| (depth + 1, child)).rev());
        if ordered.len() == processes.len() {
            break;
        }
    }
    ordered
}

fn last_exits(app: &AppDetail, now: Timestamp, look: &Look) -> Option<Table> {
    if app.exits.is_empty() {
        return None;
    }
    let mut table = several(look, &["when", "", "reason", "how"]);
    for exit in &app.exits {
        table.add_row([
            Cell::new(local_time(exit.at)),
            right(distance(exit.at, now)),
            Cell::new(exit.reason),
            Cell::new(printable(&exits::sentence(exit))),
        ]);
    }
    Some(table)
}

fn output_line(line: &OutputLine) -> String {
    let mark = match line.stream {
        Stream::Out => '|',
        Stream::Err => '!',
    };
    format!("  {mark} {}\n", printable(&line.line))
}

/// A table without a header: keys and values, wrapped to the terminal.
fn pairs(look: &Look) -> Table {
    let mut table = boxed(look);
    if let Some(width) = look.width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
    table
}

pub(crate) fn several(look: &Look, titles: &[&str]) -> Table {
    let mut table = pairs(look);
    table.set_header(titles.iter().map(|title| Cell::new(title).fg(Color::DarkCyan)));
    table
}

pub(crate) fn add(table: &mut Table, name: &str, value: &str) {
    table.add_row([key(name), Cell::new(value)]);
}

fn key(name: &str) -> Cell {
    Cell::new(name).fg(Color::DarkCyan)
}

fn right(value: impl ToString) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::sample;

    const PLAIN: Look = Look { terminal: false, color: false, unicode: true, width: None, height: None };

    #[test]
    fn an_app_in_trouble_is_shown_with_all_that_explains_it() {
        let text = text(&sample::detail(), sample::at("2026-01-02T03:04:05Z"), &PLAIN);
        for expected in
            ["backoff", "port 3002 is already in use", "exited with code 1", "in 12s", "NODE_ENV PORT", "→ infissi-ctl"]
        {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
    }

    #[test]
    fn it_is_wrapped_to_the_terminal() {
        for width in [40, 60, 80, 120] {
            let look = Look { terminal: true, width: Some(width), ..PLAIN };
            let mut detail = sample::detail();
            detail.last_lines.clear();
            detail.next_steps.clear();
            let text = text(&detail, sample::at("2026-01-02T03:04:05Z"), &look);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{widest} > {width}\n{text}");
        }
    }

    #[test]
    fn a_process_stands_below_its_parent() {
        let row = |pid, parent| ProcessRow { pid, parent, command: String::new(), memory_bytes: 0 };
        let rows = [row(12, 11), row(10, 1), row(20, 1), row(11, 10), row(13, 10)];
        let order: Vec<(usize, i32)> = tree(&rows).into_iter().map(|(depth, row)| (depth, row.pid)).collect();
        assert_eq!(order, [(0, 10), (1, 11), (2, 12), (1, 13), (0, 20)]);
    }
}
