//! The instances of an app, a row each, made to fit: what says least goes first.

use super::look::Look;
use super::show::several;
use super::table::{health_color, status_color};
use super::units::{percent, size, uptime};
use crate::api::{AppDetail, InstanceStatus};
use comfy_table::{Cell, CellAlignment, Table};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Slot,
    Index,
    Status,
    Health,
    Pid,
    Port,
    InFlight,
    Uptime,
    Cpu,
    Memory,
}

const ALL: [Column; 10] = [
    Column::Slot,
    Column::Index,
    Column::Status,
    Column::Health,
    Column::Pid,
    Column::Port,
    Column::InFlight,
    Column::Uptime,
    Column::Cpu,
    Column::Memory,
];

const LEAST_IMPORTANT_FIRST: [Column; 6] =
    [Column::Cpu, Column::Uptime, Column::Memory, Column::InFlight, Column::Index, Column::Pid];

/// None where it would say nothing that stands above already.
pub(super) fn table(app: &AppDetail, look: &Look) -> Option<Table> {
    // Behind the proxy even a single one has a port of its own.
    let proxied = !app.listen.is_empty();
    let instances = &app.status.instances;
    if instances.len() < if proxied { 1 } else { 2 } {
        return None;
    }
    let title = |column| title(column, proxied);
    let mut columns = ALL.to_vec();
    for column in LEAST_IMPORTANT_FIRST {
        if look.width.is_none_or(|room| width(&columns, instances, &title) <= room) {
            break;
        }
        columns.retain(|kept| *kept != column);
    }
    let titles: Vec<&str> = columns.iter().map(|column| title(*column)).collect();
    let mut table = several(look, &titles);
    for instance in instances {
        table.add_row(columns.iter().map(|column| cell(*column, instance)));
    }
    Some(table)
}

fn title(column: Column, proxied: bool) -> &'static str {
    match column {
        Column::Slot => "slot",
        Column::Index => "index",
        Column::Status => "status",
        Column::Health => "health",
        Column::Pid => "pid",
        Column::Port if proxied => "private port",
        Column::Port => "port",
        Column::InFlight => "in flight",
        Column::Uptime => "uptime",
        Column::Cpu => "cpu",
        Column::Memory => "mem",
    }
}

/// With borders and spaces.
fn width(columns: &[Column], instances: &[InstanceStatus], title: &impl Fn(Column) -> &'static str) -> usize {
    let widest = |column: &Column| {
        let texts = instances.iter().map(|instance| text(*column, instance).chars().count());
        texts.max().unwrap_or(0).max(title(*column).chars().count())
    };
    columns.iter().map(widest).sum::<usize>() + columns.len() * 3 + 1
}

fn text(column: Column, instance: &InstanceStatus) -> String {
    let shown = match column {
        Column::Slot => Some(instance.slot.to_string()),
        Column::Index => Some(instance.index.to_string()),
        Column::Status => Some(instance.status.to_string()),
        Column::Health => Some(instance.health.to_string()),
        Column::Pid => instance.pid.map(|pid| pid.to_string()),
        Column::Port => instance.port.map(|port| port.to_string()),
        Column::InFlight => instance.in_flight.map(|count| count.to_string()),
        Column::Uptime => instance.uptime_ms.map(uptime),
        Column::Cpu => instance.cpu_percent.map(percent),
        Column::Memory => instance.memory_bytes.map(size),
    };
    shown.unwrap_or_else(|| "-".to_owned())
}

fn cell(column: Column, instance: &InstanceStatus) -> Cell {
    let cell = Cell::new(text(column, instance));
    match column {
        Column::Slot => cell,
        Column::Status => cell.fg(status_color(instance.status)),
        Column::Health => health_color(instance.health).map_or(cell.clone(), |color| cell.fg(color)),
        Column::Index
        | Column::Pid
        | Column::Port
        | Column::InFlight
        | Column::Uptime
        | Column::Cpu
        | Column::Memory => cell.set_alignment(CellAlignment::Right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Health, Slot, Status};
    use crate::ctl::sample;

    const PLAIN: Look = Look { terminal: true, color: false, unicode: true, width: None, height: None };

    #[test]
    fn a_narrow_terminal_breaks_no_word() {
        let mut app = sample::detail();
        app.status.instances = vec![InstanceStatus {
            slot: Slot::Green,
            index: 0,
            pid: Some(4_194_303),
            port: Some(21_000),
            status: Status::Starting,
            health: Health::Unhealthy,
            memory_bytes: Some(300 << 20),
            cpu_percent: Some(101.0),
            uptime_ms: Some(59_000),
            in_flight: Some(1200),
        }];
        for width in [60, 70, 80, 100, 120] {
            let shown = table(&app, &Look { width: Some(width), ..PLAIN }).unwrap().to_string();
            assert_eq!(shown.lines().count(), 5, "{width}:\n{shown}");
            assert!(shown.lines().all(|line| line.chars().count() <= width), "{width}:\n{shown}");
            assert!(shown.contains("unhealthy") && shown.contains("21000"), "{width}:\n{shown}");
        }
        let all = table(&app, &PLAIN).unwrap().to_string();
        assert!(["index", "private port", "101%", "59s", "1200"].iter().all(|part| all.contains(part)), "{all}");
    }
}
