//! The mistakes and warnings of one parse, gathered until all are known.

use super::mistake::{Mistake, Mistakes};
use super::sources::Sources;
use super::table::Found;
use std::ops::Range;

/// As many are kept; a file of garbage has no end of them.
const MOST: usize = 100;

pub(super) struct Notes<'s> {
    sources: &'s Sources,
    mistakes: Vec<Note>,
    left_out: usize,
    warnings: Vec<Note>,
}

#[derive(PartialEq, Eq)]
struct Note {
    at: Place,
    key: String,
    what: String,
    expected: String,
}

/// Somewhere in the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The index in the sources.
    pub(super) file: usize,
    /// In bytes.
    pub(super) span: Range<usize>,
}

impl<'s> Notes<'s> {
    pub(super) fn new(sources: &'s Sources) -> Notes<'s> {
        Notes { sources, mistakes: Vec::new(), left_out: 0, warnings: Vec::new() }
    }

    pub(super) fn sources(&self) -> &'s Sources {
        self.sources
    }

    /// The value at `found` is wrong.
    pub(super) fn blame(&mut self, found: &Found<'_>, what: impl Into<String>, expected: impl Into<String>) {
        self.blame_at(found.place(), &found.key, what, expected);
    }

    pub(super) fn blame_at(&mut self, at: Place, key: &str, what: impl Into<String>, expected: impl Into<String>) {
        let note = Note { at, key: key.to_owned(), what: what.into(), expected: expected.into() };
        // What is wrong in [defaults] is met once for every app.
        if self.mistakes.contains(&note) {
            return;
        }
        if self.is_full() {
            self.left_out += 1;
            return;
        }
        self.mistakes.push(note);
    }

    pub(super) fn warn_at(&mut self, at: Place, key: &str, what: impl Into<String>, expected: impl Into<String>) {
        let note = Note { at, key: key.to_owned(), what: what.into(), expected: expected.into() };
        if self.warnings.len() < MOST && !self.warnings.contains(&note) {
            self.warnings.push(note);
        }
    }

    /// Will no further mistake be kept? Then its text need not be good.
    pub(super) fn is_full(&self) -> bool {
        self.mistakes.len() == MOST
    }

    /// Is there a mistake of syntax (the only ones without a key) in that file? Then what seems missing or misplaced
    /// may be what could not be read.
    pub(super) fn is_broken(&self, file: usize) -> bool {
        self.mistakes.iter().any(|note| note.key.is_empty() && note.at.file == file)
    }

    /// What a syntax mistake breaks on its line looks like further mistakes: those go.
    fn without_echoes(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
        let broken: Vec<(String, usize)> = mistakes
            .iter()
            .filter(|mistake| mistake.key.is_empty() && mistake.line > 0)
            .map(|mistake| (mistake.file.clone(), mistake.line))
            .collect();
        mistakes.retain(|mistake| {
            mistake.key.is_empty() || !broken.iter().any(|(file, line)| *file == mistake.file && *line == mistake.line)
        });
        mistakes
    }

    /// # Errors
    /// When there are mistakes. Else the warnings.
    pub(super) fn finish(mut self) -> Result<Vec<Mistake>, Mistakes> {
        let mut mistakes = self.sources.unread.clone();
        mistakes.extend(told(self.sources, &mut self.mistakes));
        if mistakes.is_empty() {
            return Ok(told(self.sources, &mut self.warnings));
        }
        Err(Mistakes { mistakes: Notes::without_echoes(mistakes), left_out: self.left_out })
    }
}

fn told(sources: &Sources, notes: &mut Vec<Note>) -> Vec<Mistake> {
    notes.sort_by_key(|note| (note.at.file, note.at.span.start));
    let tell = |note: Note| {
        let source = &sources.files[note.at.file];
        Mistake::at(source.shown.clone(), &source.text, note.at.span, note.key, note.what, note.expected)
    };
    notes.drain(..).map(tell).collect()
}
