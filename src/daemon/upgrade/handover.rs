//! What a program tells the one that takes its place: a file without a name, passed on open. Its first line is the
//! handover; a program that gives up again adds why.

use crate::api::EventRecord;
use crate::linux::exec::nameless_file;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::daemon) struct Handover {
    /// Names the upgrade.
    pub(in crate::daemon) id: u64,
    /// Versions.
    pub(in crate::daemon) from: String,
    pub(in crate::daemon) to: String,
    pub(in crate::daemon) by: String,
    pub(in crate::daemon) at: Timestamp,
    /// Since when nobody decides; since the machine booted.
    pub(in crate::daemon) left: Duration,
    /// Since when there is a supervisor in this process.
    pub(in crate::daemon) began: Duration,
    pub(in crate::daemon) program: PathBuf,
    /// The limits of descriptors that apps get, the soft and the hard one: ours is another one.
    pub(in crate::daemon) nofile: Option<(u64, u64)>,
    /// Another version may know happenings that we do not.
    pub(super) events: Vec<Value>,
}

impl Handover {
    pub(super) fn with_events(self, events: &[EventRecord]) -> Handover {
        let events = events.iter().filter_map(|event| serde_json::to_value(event).ok()).collect();
        Handover { events, ..self }
    }

    /// What happened before, as far as it is understood.
    pub(in crate::daemon) fn events(&self) -> Vec<EventRecord> {
        self.events.iter().filter_map(|event| serde_json::from_value(event.clone()).ok()).collect()
    }

    /// # Errors
    /// No descriptor or no memory left.
    pub(super) fn write(&self) -> io::Result<File> {
        let mut note = nameless_file(super::NOTE)?;
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        note.write_all(&text)?;
        Ok(note)
    }

    /// And why the program after that gave up, if it did. The place of the next reason is not moved.
    ///
    /// # Errors
    /// It makes no sense.
    pub(super) fn read(note: &File) -> io::Result<(Handover, Option<String>)> {
        let mut text = vec![0; usize::try_from(note.metadata()?.len()).map_err(io::Error::other)?];
        note.read_exact_at(&mut text, 0)?;
        let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
        let handover = serde_json::from_slice(&text[..end])?;
        let why = String::from_utf8_lossy(text.get(end + 1..).unwrap_or_default()).trim().to_owned();
        Ok((handover, Some(why).filter(|why| !why.is_empty())))
    }
}

#[cfg(test)]
impl Handover {
    pub(super) fn sample() -> Handover {
        Handover {
            id: 7,
            from: "0.1.0".to_owned(),
            to: "0.2.0".to_owned(),
            by: "root".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            left: Duration::from_millis(1500),
            began: Duration::from_millis(500),
            program: PathBuf::from("/usr/bin/infissi-supervisord"),
            nofile: Some((1024, 4096)),
            events: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_program_that_gave_up_stands_behind_what_it_was_told() {
        let note = Handover::sample().write().unwrap();
        assert_eq!(Handover::read(&note).unwrap(), (Handover::sample(), None));
        (&note).write_all(b"it crashed (SIGSEGV)").unwrap();
        assert_eq!(Handover::read(&note).unwrap().1.unwrap(), "it crashed (SIGSEGV)");
        let nonsense = nameless_file("x").unwrap();
        assert!(Handover::read(&nonsense).is_err());
    }

    #[test]
    fn a_happening_that_is_not_understood_is_left_out() {
        let event = serde_json::json!({
            "seq": 3, "at": "2026-01-02T03:04:05Z", "app": "web", "kind": "online", "by": "root", "slot": null,
            "pid": 7, "message": "ready",
        });
        let mut of_later = event.clone();
        of_later["kind"] = "enlightened".into();
        let handover = Handover { events: vec![event, of_later], ..Handover::sample() };
        assert_eq!(handover.events().iter().map(|event| event.seq).collect::<Vec<_>>(), [3]);
    }
}
