//! The boxed table of apps, made to fit: less important columns go first, then names are cut.

use super::look::Look;
use super::units::{percent, size, truncated, uptime};
use crate::api::{AppStatus, Health, Status};
use comfy_table::{Cell, CellAlignment, Color, ContentLineStyle, LineStyle, Table, TableStyle};

/// The columns, as they stand from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    Status,
    Port,
    Slot,
    Pid,
    Uptime,
    Restarts,
    Cpu,
    Memory,
    Health,
    Release,
}

const ALL: [Column; 11] = [
    Column::Name,
    Column::Status,
    Column::Port,
    Column::Slot,
    Column::Pid,
    Column::Uptime,
    Column::Restarts,
    Column::Cpu,
    Column::Memory,
    Column::Health,
    Column::Release,
];

/// What goes first where the terminal is narrow. Name and status stay.
const LEAST_IMPORTANT_FIRST: [Column; 9] = [
    Column::Release,
    Column::Slot,
    Column::Cpu,
    Column::Port,
    Column::Pid,
    Column::Health,
    Column::Uptime,
    Column::Memory,
    Column::Restarts,
];

/// Columns are dropped only for the first so many characters of a name; a longer one is cut before that.
const NAME_WORTH_A_COLUMN: usize = 18;
/// A name is not cut below that, however narrow the terminal.
const SHORTEST_NAME: usize = 6;
/// The share of its limit from which on an app's memory is shown with the limit, in percent.
const NEAR_LIMIT: u64 = 80;

const BOX: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('┌', '─', '┬', '┐'))
    .header_lines(ContentLineStyle::new('│', '│', '│'))
    .header_separator(LineStyle::new('├', '─', '┼', '┤'))
    .content_lines(ContentLineStyle::new('│', '│', '│'))
    .bottom_border(LineStyle::new('└', '─', '┴', '┘'));
const ASCII_BOX: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('+', '-', '+', '+'))
    .header_lines(ContentLineStyle::new('|', '|', '|'))
    .header_separator(LineStyle::new('+', '-', '+', '+'))
    .content_lines(ContentLineStyle::new('|', '|', '|'))
    .bottom_border(LineStyle::new('+', '-', '+', '+'));

/// The table, lines with ends, no wider than the terminal.
pub(crate) fn table(apps: &[AppStatus], look: &Look) -> String {
    let mut columns: Vec<(Column, Vec<String>)> =
        ALL.iter().map(|column| (*column, apps.iter().map(|app| text(*column, app)).collect())).collect();
    if let Some(width) = look.width {
        fit(&mut columns, width, look);
    }
    let mut table = boxed(look);
    table.set_header(columns.iter().map(|(column, _)| heading(*column, look)));
    for (index, app) in apps.iter().enumerate() {
        table.add_row(columns.iter().map(|(column, texts)| cell(*column, &texts[index], app)));
    }
    format!("{table}\n")
}

/// An empty table in the look of all tables here.
pub(crate) fn boxed(look: &Look) -> Table {
    let mut table = Table::new();
    table.load_style(if look.unicode { BOX } else { ASCII_BOX });
    // Its own guess at terminal and colours would not know of --no-color.
    table.force_no_tty();
    if look.color {
        table.enforce_styling();
    }
    table
}

fn fit(columns: &mut Vec<(Column, Vec<String>)>, width: usize, look: &Look) {
    let longest_name = columns[0].1.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let name_wanted = longest_name.clamp(4, NAME_WORTH_A_COLUMN);
    for column in LEAST_IMPORTANT_FIRST {
        if beside_names(columns, look) + name_wanted <= width {
            break;
        }
        columns.retain(|(kept, _)| *kept != column);
    }
    let room = width.saturating_sub(beside_names(columns, look)).max(SHORTEST_NAME);
    for name in &mut columns[0].1 {
        *name = truncated(name, room, look.sign("…", ".."));
    }
}

/// What all but the names take: the other columns, and the borders and spaces of every column.
fn beside_names(columns: &[(Column, Vec<String>)], look: &Look) -> usize {
    let others = columns.iter().skip(1).map(|(column, texts)| {
        let longest = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
        longest.max(title(*column, look).chars().count())
    });
    others.sum::<usize>() + columns.len() * 3 + 1
}

fn title(column: Column, look: &Look) -> &'static str {
    match column {
        Column::Name => "name",
        Column::Status => "status",
        Column::Port => "port",
        Column::Slot => "slot",
        Column::Pid => "pid",
        Column::Uptime => "uptime",
        Column::Restarts => look.sign("↺", "rst"),
        Column::Cpu => "cpu",
        Column::Memory => "mem",
        Column::Health => "health",
        Column::Release => "release",
    }
}

fn text(column: Column, app: &AppStatus) -> String {
    let shown = match column {
        Column::Name => Some(app.name.clone()),
        Column::Status => Some(app.status.to_string()),
        Column::Port => app.port.map(|port| port.to_string()),
        Column::Slot => Some(app.slot.to_string()),
        Column::Pid => app.pid.map(|pid| pid.to_string()),
        Column::Uptime => app.uptime_ms.map(uptime),
        Column::Restarts => Some(app.restarts.to_string()),
        Column::Cpu => app.cpu_percent.map(percent),
        Column::Memory => app.memory_bytes.map(|bytes| memory(bytes, app.memory_limit_bytes)),
        Column::Health => Some(app.health.to_string()),
        Column::Release => app.release.clone(),
    };
    shown.unwrap_or_else(|| "-".to_owned())
}

/// `57.8M`, and `285M/300M` near the limit.
pub(crate) fn memory(bytes: u64, limit: Option<u64>) -> String {
    match limit {
        Some(limit) if is_near(bytes, limit) => format!("{}/{}", size(bytes), size(limit)),
        Some(_) | None => size(bytes),
    }
}

fn is_near(bytes: u64, limit: u64) -> bool {
    bytes >= limit / 100 * NEAR_LIMIT
}

fn heading(column: Column, look: &Look) -> Cell {
    Cell::new(title(column, look)).fg(Color::DarkCyan).set_alignment(alignment(column))
}

fn cell(column: Column, text: &str, app: &AppStatus) -> Cell {
    let cell = Cell::new(text).set_alignment(alignment(column));
    match color(column, app) {
        Some(color) => cell.fg(color),
        None => cell,
    }
}

fn alignment(column: Column) -> CellAlignment {
    match column {
        Column::Name | Column::Status | Column::Slot | Column::Health | Column::Release => CellAlignment::Left,
        Column::Port | Column::Pid | Column::Uptime | Column::Restarts | Column::Cpu | Column::Memory => {
            CellAlignment::Right
        }
    }
}

fn color(column: Column, app: &AppStatus) -> Option<Color> {
    match column {
        Column::Name => None,
        Column::Status => Some(status_color(app.status)),
        Column::Health => health_color(app.health),
        Column::Memory => {
            let near = app.memory_bytes.zip(app.memory_limit_bytes).is_some_and(|(now, limit)| is_near(now, limit));
            near.then_some(Color::DarkYellow)
        }
        Column::Slot
        | Column::Port
        | Column::Pid
        | Column::Uptime
        | Column::Restarts
        | Column::Cpu
        | Column::Release => None,
    }
}

pub(crate) fn status_color(status: Status) -> Color {
    match status {
        Status::Online => Color::DarkGreen,
        Status::Stopped | Status::Errored => Color::DarkRed,
        Status::Starting | Status::Stopping | Status::Backoff | Status::Waiting => Color::DarkYellow,
    }
}

pub(crate) fn health_color(health: Health) -> Option<Color> {
    match health {
        Health::Healthy => Some(Color::DarkGreen),
        Health::Unhealthy => Some(Color::DarkRed),
        Health::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::sample;

    fn look(width: Option<usize>) -> Look {
        Look { terminal: width.is_some(), color: false, unicode: true, width, height: None }
    }

    fn widest(text: &str) -> usize {
        text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
    }

    #[test]
    fn a_narrow_terminal_keeps_what_matters_most() {
        insta::assert_snapshot!("table at 60", table(&sample::apps(), &look(Some(60))));
        insta::assert_snapshot!("table at 80", table(&sample::apps(), &look(Some(80))));
    }

    #[test]
    fn a_wide_terminal_and_a_pipe_show_everything() {
        insta::assert_snapshot!("table at 120", table(&sample::apps(), &look(Some(120))));
        insta::assert_snapshot!("table at 200", table(&sample::apps(), &look(Some(200))));
        assert_eq!(table(&sample::apps(), &look(None)), table(&sample::apps(), &look(Some(200))));
    }

    #[test]
    fn it_never_is_wider_than_the_terminal() {
        let mut apps = sample::apps();
        apps[0].name = "a-name-that-somebody-thought-about-for-much-too-long-and-then-some".to_owned();
        for width in 32..250 {
            let shown = table(&apps, &look(Some(width)));
            assert!(widest(&shown) <= width, "{width} columns:\n{shown}");
            assert_eq!(shown.lines().count(), apps.len() + 4, "a wrapped line at {width}:\n{shown}");
        }
    }

    #[test]
    fn without_a_utf_8_locale_it_is_ascii() {
        let shown = table(&sample::apps(), &Look { unicode: false, ..look(Some(60)) });
        assert!(shown.is_ascii(), "{shown}");
        insta::assert_snapshot!("table in ASCII", shown);
    }

    #[test]
    fn colours_say_how_an_app_does() {
        let shown = table(&sample::apps(), &Look { color: true, ..look(Some(120)) });
        assert!(shown.contains("\u{1b}[38;5;2m online"), "{shown:?}");
        assert!(!table(&sample::apps(), &look(Some(120))).contains('\u{1b}'));
    }

    #[test]
    fn memory_is_shown_with_its_limit_when_it_comes_near() {
        assert_eq!(memory(100 << 20, Some(300 << 20)), "100M");
        assert_eq!(memory(285 << 20, Some(300 << 20)), "285M/300M");
        assert_eq!(memory(100 << 20, None), "100M");
    }
}
