//! What the terminal can show: its width, colours, and more than ASCII.

use anstyle::{AnsiColor, Style};
use std::io::IsTerminal;

/// How to print on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) terminal: bool,
    pub(crate) color: bool,
    pub(crate) unicode: bool,
    /// In columns; unlimited where it is not a terminal.
    pub(crate) width: Option<usize>,
    /// In lines.
    pub(crate) height: Option<usize>,
}

pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const BOLD: Style = Style::new().bold();

impl Look {
    pub(crate) fn of_stdout(no_color: bool) -> Look {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        let size = if terminal { terminal_size::terminal_size_of(&stdout) } else { None };
        Look {
            terminal,
            color: terminal && !no_color && colors_wanted(&environment),
            unicode: unicode_wanted(&environment),
            width: size.map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0),
            height: size.map(|(_, height)| usize::from(height.0)).filter(|height| *height > 0),
        }
    }

    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// `wide` where the locale can show it.
    pub(crate) fn sign(&self, wide: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { wide } else { ascii }
    }

    pub(crate) fn done(&self) -> String {
        self.paint(GREEN, self.sign("✓", "ok"))
    }

    pub(crate) fn warning(&self) -> String {
        self.paint(YELLOW, "!")
    }

    pub(crate) fn failed(&self) -> String {
        self.paint(RED, self.sign("✗", "x"))
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// <https://no-color.org>: set and not empty.
fn colors_wanted(environment: &dyn Fn(&str) -> Option<String>) -> bool {
    let no_color = environment("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = environment("TERM").is_some_and(|term| term == "dumb");
    !no_color && !dumb
}

/// The first of these that is set and not empty decides: locale(7).
fn unicode_wanted(environment: &dyn Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| environment(name).filter(|l| !l.is_empty()));
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        move |name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn colours_yield_to_no_color_and_to_a_dumb_terminal() {
        assert!(colors_wanted(&with(&[("TERM", "xterm")])));
        assert!(colors_wanted(&with(&[("NO_COLOR", "")])));
        assert!(!colors_wanted(&with(&[("NO_COLOR", "1")])));
        assert!(!colors_wanted(&with(&[("TERM", "dumb")])));
    }

    #[test]
    fn only_a_utf_8_locale_gets_more_than_ascii() {
        assert!(unicode_wanted(&with(&[("LANG", "uk_UA.UTF-8")])));
        assert!(unicode_wanted(&with(&[("LC_ALL", ""), ("LANG", "C.utf8")])));
        assert!(!unicode_wanted(&with(&[("LC_ALL", "C"), ("LANG", "uk_UA.UTF-8")])));
        assert!(!unicode_wanted(&with(&[])));
    }
}
