//! `list --watch`: the table again every second, in place.

use super::clock;
use super::failure::Failure;
use super::list;
use super::session::Session;
use crate::api::{ErrorBody, Overview, routes};
use crate::linux::keys::Keys;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(1);
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";
const HOME: &str = "\u{1b}[H";
const END_OF_LINE: &str = "\u{1b}[K\n";
const BELOW: &str = "\u{1b}[K\u{1b}[J";
/// Without the cursor, and lines that are too long are cut rather than wrapped: a wrapped one would be two.
const TAKE_OVER: &str = "\u{1b}[?25l\u{1b}[?7l";
const GIVE_BACK: &str = "\u{1b}[?25h\u{1b}[?7h\n";
const ESCAPE: u8 = 0x1b;

pub(crate) fn watch(session: &mut Session) -> Result<u8, Failure> {
    if !session.look.terminal || session.json {
        return again_and_again(session);
    }
    // The first answer decides whether there is something to watch.
    let first = picture(session)?;
    session.out.write_all(TAKE_OVER.as_bytes())?;
    let watched = redraw(session, first);
    session.out.write_all(GIVE_BACK.as_bytes())?;
    watched.map(|()| 0)
}

fn redraw(session: &mut Session, mut picture: String) -> Result<(), Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let _hook = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupted));
    let keys = Keys::take().ok();
    let mut size = None;
    loop {
        let now = (session.look.width, session.look.height);
        let resized = size.replace(now) != Some(now);
        draw(session, &picture, resized)?;
        match &keys {
            Some(keys) if matches!(keys.next(EVERY), Some(b'q' | b'Q' | ESCAPE)) => return Ok(()),
            Some(_) => {}
            None => std::thread::sleep(EVERY),
        }
        if interrupted.load(Ordering::Relaxed) {
            return Ok(());
        }
        picture = match self::picture(session) {
            Ok(picture) => picture,
            // It may come back: watching goes on.
            Err(Failure::Answered(body)) => trouble(&body),
            Err(failure) => return Err(failure),
        };
    }
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
    let overview: Overview = session.client()?.get(routes::OVERVIEW)?;
    session.measure();
    Ok(list::text(&overview, clock::now(), &session.look))
}

fn trouble(body: &ErrorBody) -> String {
    format!("{}\n{}\n", body.error.message, body.error.hint.as_deref().unwrap_or_default())
}

fn draw(session: &mut Session, picture: &str, resized: bool) -> Result<(), Failure> {
    let room = session.look.height.map_or(usize::MAX, |height| height.saturating_sub(2));
    let mut text = String::from(if resized { CLEAR } else { HOME });
    for line in picture.lines().take(room) {
        text.push_str(line);
        text.push_str(END_OF_LINE);
    }
    text.push_str("q ends");
    text.push_str(BELOW);
    session.out.write_all(text.as_bytes())?;
    session.out.flush()?;
    Ok(())
}
