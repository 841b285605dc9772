//! What a deploy shows while it goes on: lines as they come, and on a terminal what is done now and since when. Ctrl-C,
//! SIGTERM and a lost session ask it to end.

use crate::ctl::clock;
use crate::ctl::failure::Failure;
use crate::ctl::look::{BOLD, DIM, Look};
use crate::ctl::session::Session;
use crate::ctl::units::{printable, truncated};
use crate::deploy::Audience;
use jiff::{SignedDuration, Timestamp};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const DOTS: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// How often at most the line moves.
const REDRAW: SignedDuration = SignedDuration::from_millis(45);
const STROKES: [&str; 4] = ["|", "/", "-", "\\"];

/// Whether somebody wants it to end.
pub(crate) struct Interrupts {
    asked: Arc<AtomicBool>,
    hooks: Vec<SigId>,
}

impl Interrupts {
    pub(crate) fn take() -> Interrupts {
        let asked = Arc::new(AtomicBool::new(false));
        let hook = |signal| signal_hook::flag::register(signal, Arc::clone(&asked)).ok();
        Interrupts { hooks: [SIGINT, SIGTERM, SIGHUP].into_iter().filter_map(hook).collect(), asked }
    }

    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        for hook in self.hooks.drain(..) {
            signal_hook::low_level::unregister(hook);
        }
    }
}

/// Tells it on the session's output.
pub(crate) struct Teller<'s> {
    session: &'s mut Session,
    interrupts: &'s Interrupts,
    doing: String,
    since: Timestamp,
    ticks: usize,
    /// Ticks may come by the thousand.
    drawn: Timestamp,
    /// On a terminal: its columns.
    width: Option<usize>,
}

impl<'s> Teller<'s> {
    pub(crate) fn new(session: &'s mut Session, interrupts: &'s Interrupts) -> Teller<'s> {
        let stderr = io::stderr();
        let shows = session.look.terminal && !session.json && stderr.is_terminal();
        let width =
            shows.then(|| terminal_size::terminal_size_of(&stderr).map_or(80, |(width, _)| usize::from(width.0)));
        Teller {
            session,
            interrupts,
            doing: String::new(),
            since: clock::now(),
            ticks: 0,
            drawn: Timestamp::UNIX_EPOCH,
            width,
        }
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        self.clear();
        self.session
    }

    /// Somebody wants it to end.
    pub(crate) fn is_enough(&self) -> bool {
        self.interrupts.asked()
    }

    /// From now on this is what is done.
    pub(crate) fn begin(&mut self, doing: &str, announce: bool) -> Result<(), Failure> {
        (self.since, self.doing) = (clock::now(), doing.to_owned());
        if announce {
            let look = self.session.look;
            let line = format!("{} {}", look.sign("→", ">"), look.paint(BOLD, &printable(doing)));
            self.say(&line)?;
        }
        Ok(())
    }

    /// It is done.
    pub(crate) fn end(&mut self, done: &str) -> Result<u64, Failure> {
        let took = clock::now().duration_since(self.since);
        self.doing.clear();
        let line = format!("{} {} in {}", self.session.look.done(), printable(done), span(took.as_secs_f64()));
        self.say(&line)?;
        Ok(u64::try_from(took.as_millis()).unwrap_or(0))
    }

    /// A line for people.
    pub(crate) fn say(&mut self, line: &str) -> Result<(), Failure> {
        if self.session.json {
            return Ok(());
        }
        self.clear();
        writeln!(self.session.out, "{line}")?;
        // Whoever follows in CI sees it when it happens.
        self.session.out.flush()?;
        Ok(())
    }

    fn clear(&self) {
        if self.width.is_some() {
            // Without a terminal to draw on there is nothing to clear.
            let _unseen = write!(io::stderr(), "\r\u{1b}[K");
        }
    }

    fn draw(&mut self) {
        let Some(width) = self.width.filter(|_| !self.doing.is_empty()) else { return };
        let now = clock::now();
        if now.duration_since(self.drawn).abs() < REDRAW {
            return;
        }
        self.drawn = now;
        let frames: &[&str] = if self.session.look.unicode { &DOTS } else { &STROKES };
        let frame = frames[self.ticks % frames.len()];
        self.ticks += 1;
        let seconds = now.duration_since(self.since).as_secs();
        let line = format!("{frame} {} ({seconds} s)", printable(&self.doing));
        let line = truncated(&line, width.saturating_sub(1), "..");
        let _unseen = write!(io::stderr(), "\r{line}\u{1b}[K");
    }
}

impl Audience for Teller<'_> {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        let look: Look = self.session.look;
        let line = format!("  {} {}", look.paint(DIM, "|"), printable(line));
        match self.say(line.trim_end()) {
            Ok(()) => Ok(()),
            Err(Failure::Output(error)) => Err(error),
            Err(Failure::Answered(body)) => Err(io::Error::other(body.error.message)),
        }
    }

    fn tick(&mut self) -> ControlFlow<()> {
        if self.interrupts.asked() {
            return ControlFlow::Break(());
        }
        self.draw();
        ControlFlow::Continue(())
    }
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `0.4 s`, `12 s`, `3 min 5 s`.
pub(crate) fn span(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a span of a deploy")]
    let whole = seconds.round().max(0.0) as u64;
    if whole < 60 { format!("{whole} s") } else { format!("{} min {} s", whole / 60, whole % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_as_people_would() {
        let shown: Vec<String> = [0.0, 0.44, 9.96, 59.4, 61.0, 185.0].map(span).into();
        assert_eq!(shown, ["0.0 s", "0.4 s", "10 s", "59 s", "1 min 1 s", "3 min 5 s"]);
    }
}
