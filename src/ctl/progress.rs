//! One line on the terminal while work is waited for: what each app is doing. Ctrl-C ends the waiting.

use super::clock;
use super::look::Look;
use super::selector::means;
use super::slots;
use super::units::truncated;
use crate::api::{AppStatus, Client, routes};
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the line moves.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// How many ticks pass from one question to the next.
const TICKS_A_QUESTION: u32 = 2;
/// A supervisor that is busy with the work itself is not waited for long.
const QUESTION_TIMEOUT: Duration = Duration::from_millis(500);

const DOTS: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const STROKES: [&str; 4] = ["|", "/", "-", "\\"];

pub(crate) struct Progress {
    doing: String,
    /// The words with which the apps were named; empty for all.
    words: Vec<String>,
    /// Asks beside the connection on which the work is waited for.
    client: Option<Client>,
    line: Line,
    ticks: u32,
    shown: String,
    interrupted: Arc<AtomicBool>,
    hook: Option<signal_hook::SigId>,
}

/// A line that is drawn over itself, and gone when it is dropped.
pub(crate) struct Line {
    frames: &'static [&'static str],
    width: usize,
    since: Instant,
    drawn: usize,
}

impl Line {
    /// None where nobody would see it.
    pub(crate) fn on_stderr(look: &Look) -> Option<Line> {
        let stderr = std::io::stderr();
        if !stderr.is_terminal() {
            return None;
        }
        let width = terminal_size::terminal_size_of(&stderr).map_or(80, |(width, _)| usize::from(width.0));
        let frames: &[&str] = if look.unicode { &DOTS } else { &STROKES };
        Some(Line { frames, width, since: clock::monotonic(), drawn: 0 })
    }

    /// The next picture: it moves, and tells for how long.
    pub(crate) fn draw(&mut self, text: &str) {
        let frame = self.frames[self.drawn % self.frames.len()];
        self.drawn += 1;
        let line = format!("{frame} {text} ({} s)", self.since.elapsed().as_secs());
        let line = truncated(&line, self.width.saturating_sub(1), "..");
        // Without a terminal to draw on there is no progress to see.
        let _unseen = write!(std::io::stderr(), "\r{line}\u{1b}[K");
    }

    /// Leaves the place to something else.
    pub(crate) fn clear(&self) {
        let _unseen = write!(std::io::stderr(), "\r\u{1b}[K");
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Progress {
    /// A line for `doing` (`restarting`), or none where nobody would see it.
    pub(crate) fn start(doing: &str, words: &[String], socket: &Path, look: &Look) -> Option<Progress> {
        let line = Line::on_stderr(look)?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let hook = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupted)).ok();
        let mut client = Client::new(socket).ok();
        if let Some(client) = &mut client {
            client.set_answer_timeout(QUESTION_TIMEOUT);
        }
        Some(Progress {
            doing: doing.to_owned(),
            words: words.iter().flat_map(|word| routes::selector_words(word)).map(str::to_owned).collect(),
            client,
            line,
            ticks: 0,
            shown: String::new(),
            interrupted,
            hook,
        })
    }

    /// Draws the next picture; breaks when Ctrl-C was pressed.
    pub(crate) fn tick(&mut self) -> ControlFlow<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        if self.ticks.is_multiple_of(TICKS_A_QUESTION)
            && let Some(client) = &mut self.client
            && let Ok(apps) = client.get::<Vec<AppStatus>>(routes::APPS)
        {
            self.shown = states(&apps, &self.words);
        }
        self.ticks += 1;
        self.line.draw(&format!("{} {}", self.doing, self.shown));
        ControlFlow::Continue(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(hook) = self.hook {
            signal_hook::low_level::unregister(hook);
        }
    }
}

/// `staging: stopping, current: starting green`.
fn states(apps: &[AppStatus], words: &[String]) -> String {
    let concerned = apps.iter().filter(|app| words.is_empty() || words.iter().any(|word| means(word, app)));
    let state = |app: &AppStatus| slots::step(app).unwrap_or_else(|| app.status.to_string());
    let states: Vec<String> = concerned.map(|app| format!("{}: {}", app.name, state(app))).collect();
    states.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::sample;

    #[test]
    fn the_line_is_about_the_apps_that_were_named() {
        let apps = sample::apps();
        assert_eq!(
            states(&apps, &["crm-staging".to_owned(), "current".to_owned()]),
            "current: online, staging: waiting"
        );
        assert_eq!(states(&apps, &[]), states(&apps, &["all".to_owned()]));
    }
}
