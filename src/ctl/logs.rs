//! `logs`: the last lines of one or more apps in the order of time, then live.

use super::arguments::LogsOptions;
use super::clock;
use super::failure::Failure;
use super::look::{DIM, Look, RED, YELLOW};
use super::session::Session;
use super::since::parse_since;
use super::stream::Records;
use crate::api::{LogRecord, LogsQuery, Stream, routes};
use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use std::io::{self, Write};

pub(crate) fn logs(session: &mut Session, options: &LogsOptions) -> Result<u8, Failure> {
    let asked = query(options, &session.look, &clock::here_and_now())?;
    let selector = (!options.apps.is_empty()).then(|| options.apps.join(","));
    let path = routes::logs(selector.as_deref(), &asked);
    let mut printer = Printer::new(session.look, options.raw);
    session.client()?;
    let json = session.json;
    let mut records = Records::new(json, asked.follow);
    records.copy(session, &path, &mut |line, out| match serde_json::from_slice::<LogRecord>(line) {
        Ok(record) => printer.print(&record, out),
        // A record of a newer supervisor: better than nothing.
        Err(_) => out.write_all(line).and_then(|()| out.write_all(b"\n")),
    })?;
    Ok(0)
}

fn query(options: &LogsOptions, look: &Look, now: &Zoned) -> Result<LogsQuery, Failure> {
    let time = |text: &Option<String>, option: &str| -> Result<Option<Timestamp>, Failure> {
        let Some(text) = text else { return Ok(None) };
        let at = parse_since(text, now).map_err(|why| {
            Failure::usage(
                format!("{option} {text}: {why}"),
                "such as 10m, \"yesterday 02:00\" or 2026-01-31T02:00:00Z",
            )
        })?;
        Ok(Some(at))
    };
    let stream = match (options.out, options.err) {
        (true, _) => Some(Stream::Out),
        (_, true) => Some(Stream::Err),
        (false, false) => None,
    };
    let follows_by_itself = look.terminal && options.until.is_none() && !options.no_follow;
    Ok(LogsQuery {
        lines: options.lines,
        follow: options.follow || follows_by_itself,
        stream,
        since: time(&options.since, "--since")?,
        until: time(&options.until, "--until")?,
        grep: options.grep.clone(),
    })
}

const NAME_COLORS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightYellow,
    AnsiColor::BrightCyan,
];

struct Printer {
    look: Look,
    raw: bool,
    zone: TimeZone,
    /// In the order in which they were first heard: it gives each its colour.
    names: Vec<String>,
    width: usize,
}

impl Printer {
    fn new(look: Look, raw: bool) -> Printer {
        Printer { look, raw, zone: TimeZone::system(), names: Vec::new(), width: 0 }
    }

    fn print(&mut self, record: &LogRecord, out: &mut dyn Write) -> io::Result<()> {
        match record {
            LogRecord::Line { line, .. } if self.raw => writeln!(out, "{line}"),
            LogRecord::Line { app, stream, at, line } => {
                let time = at.map(|at| self.time(at)).unwrap_or_default();
                let name = self.name(app);
                let mark = match stream {
                    Stream::Out => self.look.paint(DIM, "|"),
                    Stream::Err => self.look.paint(RED, "!"),
                };
                // An app's own colours end with its line.
                let reset = if self.look.color && line.contains('\u{1b}') { "\u{1b}[0m" } else { "" };
                writeln!(out, "{time}{name} {mark} {line}{reset}")
            }
            LogRecord::Dropped { app, dropped } => {
                let name = self.name(app);
                let notice = format!("{dropped} lines left out: they came faster than they were read");
                writeln!(io::stderr(), "{name} {}", self.look.paint(YELLOW, &notice))
            }
        }
    }

    fn time(&self, at: Timestamp) -> String {
        let text = at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S ").to_string();
        self.look.paint(DIM, &text)
    }

    fn name(&mut self, app: &str) -> String {
        let index = self.names.iter().position(|name| name == app).unwrap_or_else(|| {
            self.names.push(app.to_owned());
            self.width = self.width.max(app.chars().count());
            self.names.len() - 1
        });
        let style: Style = NAME_COLORS[index % NAME_COLORS.len()].on_default();
        self.look.paint(style, &format!("{app:<width$}", width = self.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::arguments::{Arguments, Command};
    use clap::Parser;

    const PIPE: Look = Look { terminal: false, color: false, unicode: true, width: None, height: None };
    const TERMINAL: Look = Look { terminal: true, color: true, unicode: true, width: Some(80), height: Some(24) };

    fn asked(line: &str, look: &Look) -> LogsQuery {
        let words = std::iter::once("infissi-ctl").chain(line.split(' '));
        match Arguments::try_parse_from(words).unwrap().command {
            Some(Command::Logs(options)) => query(&options, look, &clock::here_and_now()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn printed(look: Look, raw: bool, records: &[LogRecord]) -> String {
        let mut printer = Printer { zone: TimeZone::UTC, ..Printer::new(look, raw) };
        let mut out = Vec::new();
        for record in records {
            printer.print(record, &mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn line(app: &str, stream: Stream, line: &str) -> LogRecord {
        let at = Some("2026-01-02T03:04:05.678Z".parse().unwrap());
        LogRecord::Line { app: app.to_owned(), stream, at, line: line.to_owned() }
    }

    #[test]
    fn a_terminal_follows_and_a_pipe_does_not() {
        assert!(asked("logs", &TERMINAL).follow);
        assert!(!asked("logs", &PIPE).follow);
        assert!(asked("logs -f", &PIPE).follow);
        assert!(!asked("logs --nostream --lines 50", &TERMINAL).follow);
        assert_eq!(asked("logs --nostream --lines 50", &TERMINAL).lines, Some(50));
        assert!(!asked("logs --until 2026-01-02T03:04:05Z", &TERMINAL).follow);
        assert_eq!(asked("logs web --err", &PIPE).stream, Some(Stream::Err));
    }

    #[test]
    fn lines_carry_time_name_and_stream() {
        let records =
            [line("web", Stream::Out, "hello"), line("staging", Stream::Err, "oh"), line("web", Stream::Out, "again")];
        assert_eq!(
            printed(PIPE, false, &records),
            "2026-01-02 03:04:05 web | hello\n2026-01-02 03:04:05 staging ! oh\n2026-01-02 03:04:05 web     | again\n"
        );
        assert_eq!(printed(PIPE, true, &records), "hello\noh\nagain\n");
    }

    #[test]
    fn each_app_has_its_colour_on_a_terminal() {
        let shown = printed(TERMINAL, false, &[line("a", Stream::Out, "x"), line("b", Stream::Out, "\u{1b}[31mred")]);
        assert!(shown.contains("\u{1b}[36ma") && shown.contains("\u{1b}[32mb"), "{shown:?}");
        assert!(shown.ends_with("red\u{1b}[0m\n"), "{shown:?}");
    }
}
