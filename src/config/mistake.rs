//! What is wrong with a configuration: where, which key, what, and what would be right.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;

/// One thing that is wrong (or, as a warning, unwise) in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    /// The file as its path was given.
    pub file: String,
    /// From 1; 0 when it concerns the file as a whole.
    pub line: usize,
    /// From 1, in characters; 0 when it concerns the file as a whole.
    pub column: usize,
    /// `apps.current.max_memory_restart`; empty for a mistake of syntax.
    pub key: String,
    pub what: String,
    /// What would be right, as an instruction.
    pub expected: String,
    /// For people at a terminal only: a line may hold a secret, so it does not travel.
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    text: String,
    mark: Range<usize>,
}

/// Everything that is wrong, in the order of the files. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Mistakes {
    pub mistakes: Vec<Mistake>,
    /// How many more there were: only the first hundred are kept.
    pub left_out: usize,
}

/// A line longer than this is not shown: minified text helps nobody.
const LONGEST_EXCERPT: usize = 400;

impl Mistake {
    /// A mistake about the file as a whole.
    pub(super) fn of_file(file: String, what: String, expected: String) -> Mistake {
        Mistake { file, line: 0, column: 0, key: String::new(), what, expected, excerpt: None }
    }

    /// A mistake at a place of the file's text. A span that does not fit the text is moved to where it fits.
    pub(super) fn at(
        file: String,
        text: &str,
        span: Range<usize>,
        key: String,
        what: String,
        expected: String,
    ) -> Mistake {
        let start = text.floor_char_boundary(span.start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[line_start..].split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let mark = (start - line_start).min(line.len());
        let end = line.floor_char_boundary(span.end.saturating_sub(line_start)).max(mark);
        let excerpt = (line.len() <= LONGEST_EXCERPT).then(|| Excerpt { text: line.to_owned(), mark: mark..end });
        Mistake {
            file,
            line: before.matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            key,
            what,
            expected,
            excerpt,
        }
    }

    /// For a terminal: the source line with a caret below the place. `color` adds ANSI colours.
    pub fn render(&self, color: bool) -> String {
        self.render_as(Level::ERROR, color)
    }

    /// As [`Mistake::render`], for what is only a warning.
    pub fn render_warning(&self, color: bool) -> String {
        self.render_as(Level::WARNING, color)
    }

    fn render_as(&self, level: Level<'static>, color: bool) -> String {
        let Some(excerpt) = &self.excerpt else {
            return self.to_string();
        };
        let title = if self.key.is_empty() { self.what.clone() } else { format!("{}: {}", self.key, self.what) };
        let snippet = Snippet::source(&excerpt.text)
            .path(&self.file)
            .line_start(self.line)
            .annotation(AnnotationKind::Primary.span(excerpt.mark.clone()).label(&self.expected));
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[level.primary_title(title).element(snippet)])
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)?;
        if !self.expected.is_empty() {
            write!(f, ": {}", self.expected)?;
        }
        Ok(())
    }
}

impl Mistakes {
    /// For a terminal: every mistake with its source line. `color` adds ANSI colours.
    pub fn render(&self, color: bool) -> String {
        let mut shown: Vec<String> = self.mistakes.iter().map(|mistake| mistake.render(color)).collect();
        shown.extend(self.rest());
        shown.join("\n\n")
    }

    fn rest(&self) -> Option<String> {
        (self.left_out > 0).then(|| format!("and {} more", self.left_out))
    }
}

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Mistakes {
        Mistakes { mistakes: vec![mistake], left_out: 0 }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = self.mistakes.iter().map(Mistake::to_string).collect();
        lines.extend(self.rest());
        f.write_str(&lines.join("\n"))
    }
}
