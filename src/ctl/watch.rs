//! `list --watch`: the table again every second, in place.

use super::clock;
use super::failure::Failure;
use super::list;
use super::session::Session;
use super::units::truncated;
use crate::api::{AppStatus, ErrorBody, SupervisorStatus, routes};
use crate::linux::keys::Keys;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(1);
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";
const HOME: &str = "\u{1b}[H";
const END_OF_LINE: &str = "\u{1b}[K\n";
const BELOW: &str = "\u{1b}[J";
const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";

pub(crate) fn watch(session: &mut Session) -> Result<u8, Failure> {
    if !session.look.terminal || session.json {
        return again_and_again(session);
    }
    // The first answer decides whether there is something to watch.
    let mut picture = picture(session)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let _hook = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupted));
    let keys = Keys::take().ok();
    session.out.write_all(format!("{HIDE_CURSOR}{CLEAR}").as_bytes())?;
    loop {
        draw(session, &picture)?;
        match &keys {
            Some(keys) if matches!(keys.next(EVERY), Some(b'q' | b'Q' | 0x1b)) => break,
            Some(_) => {}
            None => std::thread::sleep(EVERY),
        }
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        picture = match self::picture(session) {
            Ok(picture) => picture,
            // It may come back: watching goes on.
            Err(Failure::Answered(body)) => trouble(&body),
            Err(failure) => return Err(failure),
        };
    }
    session.out.write_all(SHOW_CURSOR.as_bytes())?;
    Ok(0)
}

/// Into a pipe: one table, or one JSON value, after the other.
fn again_and_again(session: &mut Session) -> Result<u8, Failure> {
    loop {
        list::list(session)?;
        session.out.flush()?;
        std::thread::sleep(EVERY);
    }
}

fn picture(session: &mut Session) -> Result<String, Failure> {
    let client = session.client()?;
    let apps: Vec<AppStatus> = client.get(routes::APPS)?;
    let supervisor: SupervisorStatus = client.get(routes::SUPERVISOR)?;
    session.measure();
    Ok(list::text(&apps, &supervisor, clock::now(), &session.look))
}

fn trouble(body: &ErrorBody) -> String {
    format!("{}\n{}\n", body.error.message, body.error.hint.as_deref().unwrap_or_default())
}

fn draw(session: &mut Session, picture: &str) -> Result<(), Failure> {
    let room = session.look.height.map_or(usize::MAX, |height| height.saturating_sub(2));
    let mut text = String::from(HOME);
    for line in picture.lines().take(room) {
        text.push_str(line);
        text.push_str(END_OF_LINE);
    }
    let help = truncated("q ends", session.look.width.unwrap_or(80), "");
    text.push_str(&format!("{help}\u{1b}[K{BELOW}"));
    session.out.write_all(text.as_bytes())?;
    session.out.flush()?;
    Ok(())
}
