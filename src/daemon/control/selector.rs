//! Which apps a request is about: names, aliases and globs with commas between, or `all`.

use super::admission::{Caller, Need};
use crate::api::routes::selector_words;
use crate::api::{Refusal, RefusalCode};
use crate::config::AppConfig;
use crate::daemon::shared::Shared;
use globset::Glob;
use std::sync::Arc;

/// A name further off than this is no slip of the finger.
const NEAR: f64 = 0.7;

/// The apps meant, each once, in the order of the configuration. What is named must exist and be allowed; a pattern
/// means those among its apps that the caller may reach.
///
/// # Errors
/// No such app, or not this caller's.
pub(super) fn select(
    shared: &Shared,
    caller: &Caller,
    need: Need,
    selector: &str,
) -> Result<Vec<Arc<AppConfig>>, Refusal> {
    let config = shared.config();
    let users = &shared.launcher.users;
    if !config.apps.is_empty() && !caller.may_look_at_something(&config, users) {
        // Also when there is no such app: who may see none learns no names.
        return Err(caller.refusal(need, selector, &config.supervisor.control));
    }
    let mut chosen: Vec<Arc<AppConfig>> = Vec::new();
    for word in selector_words(selector) {
        let named = config.app(word);
        let found: Vec<&Arc<AppConfig>> = match named {
            Some(app) => vec![app],
            None if word == "all" => config.apps.iter().collect(),
            None => matching(word, &config.apps),
        };
        if found.is_empty() {
            let seen: Vec<_> = config.apps.iter().filter(|app| caller.may(Need::Look, app, users)).cloned().collect();
            return Err(unknown(word, &seen));
        }
        let allowed: Vec<_> = found.into_iter().filter(|app| caller.may(need, app, users)).cloned().collect();
        if allowed.is_empty() {
            return Err(caller.refusal(need, word, &config.supervisor.control));
        }
        chosen.extend(allowed);
    }
    if chosen.is_empty() {
        return Err(Refusal::new(RefusalCode::Usage, "no app is named").hint("name one, or all"));
    }
    let mut apps: Vec<Arc<AppConfig>> = config.apps.clone();
    apps.retain(|app| chosen.iter().any(|other| other.name == app.name));
    Ok(apps)
}

fn matching<'a>(pattern: &str, apps: &'a [Arc<AppConfig>]) -> Vec<&'a Arc<AppConfig>> {
    if !pattern.contains(['*', '?', '[', '{']) {
        return Vec::new();
    }
    let Ok(glob) = Glob::new(pattern) else { return Vec::new() };
    let glob = glob.compile_matcher();
    apps.iter().filter(|app| glob.is_match(&app.name) || app.aliases.iter().any(|alias| glob.is_match(alias))).collect()
}

fn unknown(word: &str, apps: &[Arc<AppConfig>]) -> Refusal {
    let refusal = |message: String| Refusal::new(RefusalCode::NoSuchApp, message);
    if apps.is_empty() {
        return refusal(format!("there is no app {word}: none is configured"))
            .hint("infissi-ctl init DIR prints a stanza for supervisor.toml; infissi-ctl apply takes it up");
    }
    let names = apps.iter().flat_map(|app| std::iter::once(&app.name).chain(&app.aliases));
    let near = names
        .map(|name| (strsim::jaro_winkler(&name.to_lowercase(), &word.to_lowercase()), name))
        .filter(|(near, _)| *near >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, name)) => refusal(format!("there is no app {word}")).hint(format!("did you mean {name}?")),
        None => {
            let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
            let are = if names.len() == 1 { "is only" } else { "are" };
            refusal(format!("there is no app {word}")).hint(format!("there {are} {}", names.join(", ")))
        }
    }
}
