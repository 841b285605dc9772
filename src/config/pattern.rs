//! Which paths below a directory are meant: `shared`, `uploads/*.db`, `**/cache`.

use globset::{GlobBuilder, GlobMatcher};
use std::ffi::OsStr;
use std::fmt;
use std::path::{Component, Path};

/// A path or glob below some directory; what it matches is meant with everything in it. `*` stays within one level,
/// `**` stands for any number of them.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

/// One level of it.
#[derive(Clone)]
enum Part {
    Name(String),
    Glob(GlobMatcher),
    /// `**`
    Levels,
}

/// Why a text is none.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    #[error("it leads out of the directory")]
    LeadsOut,
    #[error("{0}")]
    Glob(globset::ErrorKind),
}

/// How far a path has come through a pattern: the parts that its next name may match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached(Vec<usize>);

impl Pattern {
    /// # Errors
    /// It is absolute or has `..` in it, or a level of it is no glob.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        let mut parts = Vec::new();
        let mut names = Vec::new();
        for component in Path::new(text).components() {
            let name = match component {
                Component::Normal(name) => name.to_str().unwrap_or_default(),
                Component::CurDir => continue,
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(PatternError::LeadsOut),
            };
            parts.push(Part::parse(name)?);
            names.push(name);
        }
        let text = if names.is_empty() { ".".to_owned() } else { names.join("/") };
        Ok(Pattern { text, parts })
    }

    /// Without its `.` parts and slashes at the end; `.` where nothing is left, which means the whole directory.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Does it name one path, which should be there?
    pub fn is_plain(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Name(_)))
    }

    /// A name without a slash means every level, as in a .gitignore.
    #[must_use]
    pub fn at_any_level(mut self) -> Pattern {
        if self.parts.len() == 1 {
            self.parts.insert(0, Part::Levels);
        }
        self
    }

    /// At the directory itself.
    pub fn start(&self) -> Reached {
        self.reached(vec![0])
    }

    /// After one more name.
    pub fn step(&self, from: &Reached, name: &OsStr) -> Reached {
        let mut at = Vec::new();
        for position in &from.0 {
            match self.parts.get(*position) {
                Some(Part::Name(wanted)) if name == wanted.as_str() => at.push(position + 1),
                Some(Part::Glob(glob)) if glob.is_match(name) => at.push(position + 1),
                Some(Part::Levels) => {
                    at.push(*position);
                    // `uploads/**` means what is in it, and not `uploads` itself.
                    if position + 1 == self.parts.len() {
                        at.push(position + 1);
                    }
                }
                Some(Part::Name(_) | Part::Glob(_)) | None => {}
            }
        }
        self.reached(at)
    }

    /// Is the path one that it means?
    pub fn is_whole(&self, at: &Reached) -> bool {
        at.0.contains(&self.parts.len())
    }

    /// `**` may stand for no level at all, but for at least one where it is the last.
    fn reached(&self, mut at: Vec<usize>) -> Reached {
        let mut next = 0;
        while let Some(position) = at.get(next).copied() {
            if matches!(self.parts.get(position), Some(Part::Levels)) && position + 1 < self.parts.len() {
                at.push(position + 1);
            }
            next += 1;
        }
        at.sort_unstable();
        at.dedup();
        Reached(at)
    }
}

impl Reached {
    /// Can nothing below match any more?
    pub fn is_nowhere(&self) -> bool {
        self.0.is_empty()
    }
}

impl Part {
    fn parse(name: &str) -> Result<Part, PatternError> {
        if name == "**" {
            return Ok(Part::Levels);
        }
        if !name.contains(['*', '?', '[', '{', '\\']) {
            return Ok(Part::Name(name.to_owned()));
        }
        let glob = GlobBuilder::new(name).literal_separator(true).build();
        glob.map(|glob| Part::Glob(glob.compile_matcher())).map_err(|error| PatternError::Glob(error.kind().clone()))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `whole`, `on the way` or `no`.
    fn meets(pattern: &Pattern, path: &str) -> &'static str {
        let names = path.split('/').filter(|name| !name.is_empty());
        let at = names.fold(pattern.start(), |at, name| pattern.step(&at, OsStr::new(name)));
        match (pattern.is_whole(&at), at.is_nowhere()) {
            (true, _) => "whole",
            (false, false) => "on the way",
            (false, true) => "no",
        }
    }

    #[test]
    fn a_path_is_meant_led_to_or_neither() {
        for (pattern, path, expected) in [
            (".", "", "whole"),
            ("shared", "", "on the way"),
            ("shared", "shared", "whole"),
            ("shared/", "shared", "whole"),
            ("./shared/./up", "shared/up", "whole"),
            ("shared", "share", "no"),
            ("shared/up", "shared", "on the way"),
            ("shared/up", "shared/down", "no"),
            ("up/*.db", "up/a.db", "whole"),
            ("up/*.db", "up/x/a.db", "no"),
            ("*.{db,sqlite}", "a.sqlite", "whole"),
            ("**/*.db", "a.db", "whole"),
            ("**/*.db", "x/y/a.db", "whole"),
            ("**/*.db", "x/y", "on the way"),
            ("a/**/b", "a/b", "whole"),
            ("a/**/b", "a/x/y/b", "whole"),
            ("a/**", "a", "on the way"),
            ("a/**", "a/x", "whole"),
            ("a\\*", "a*", "whole"),
            ("a\\*", "ab", "no"),
        ] {
            assert_eq!(meets(&Pattern::parse(pattern).unwrap(), path), expected, "{pattern} and {path}");
        }
    }

    #[test]
    fn a_name_alone_can_mean_every_level() {
        let anywhere = |text: &str| Pattern::parse(text).unwrap().at_any_level();
        assert_eq!(meets(&anywhere("node_modules"), "a/b/node_modules"), "whole");
        assert_eq!(meets(&anywhere("node_modules"), "node_modules"), "whole");
        assert_eq!(meets(&anywhere("a/cache"), "b/a/cache"), "no");
    }

    #[test]
    fn what_leads_out_or_is_no_glob_is_refused() {
        for text in ["/etc", "..", "a/../../b"] {
            assert!(matches!(Pattern::parse(text), Err(PatternError::LeadsOut)), "{text}");
        }
        for text in ["[a", "{a/b,c}", "a/{b"] {
            assert!(matches!(Pattern::parse(text), Err(PatternError::Glob(_))), "{text}");
        }
    }
}
