//! A configuration in a line, and what is said of it.

use infissi::config::{AppConfig, Config, Facts, Parsed, Sources, parse};
use std::path::Path;
use std::sync::Arc;

pub(crate) fn sources(text: &str) -> Sources {
    Sources::from_text(Path::new("/srv/supervisor.toml"), text, 1000)
}

pub(crate) fn facts() -> Facts<'static> {
    Facts { is_root: false, user_name: &|_| None, log_dir: None }
}

pub(crate) fn config(text: &str) -> Config {
    match parse(&sources(text), &facts()) {
        Ok(Parsed { config, .. }) => config,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

pub(crate) fn app(text: &str) -> Arc<AppConfig> {
    Arc::clone(&config(text).apps[0])
}

/// What is said of `text`, one line a mistake, the file without its directory.
pub(crate) fn told(text: &str) -> String {
    match parse(&sources(text), &facts()) {
        Ok(_) => "nothing".to_owned(),
        Err(mistakes) => mistakes.to_string().replace("/srv/", ""),
    }
}

/// Each text with what is told of it, a line each.
pub(crate) fn expect(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(told(text), expected.join("\n"), "of\n{text}");
    }
}
