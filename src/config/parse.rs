//! The whole of the sources → [`Config`], or every mistake at once.

use super::app_table::{AppTable, Draft};
use super::keys;
use super::mistake::{Mistake, Mistakes};
use super::notes::{Notes, Place};
use super::sources::Sources;
use super::table::{self, Found, Layer, View};
use super::{Config, SupervisorConfig, claims, dependencies, doubles, release_of, supervisor_table, values};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::DeTable;

const MOST_APPS: usize = 1000;

/// What of the machine decides how a file is read.
pub struct Facts<'f> {
    /// Is the reader root? Then a file that somebody else owns may only hold that one's apps.
    pub is_root: bool,
    /// The name of a uid.
    pub user_name: &'f dyn Fn(u32) -> Option<String>,
    /// Where the apps' logs are when the file names no directory for them: [`Caller::log_dir`](super::Caller::log_dir).
    pub log_dir: Option<PathBuf>,
}

/// A valid configuration and what is unwise in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    pub config: Config,
    pub warnings: Vec<Mistake>,
}

/// # Errors
/// Every mistake in the text, in the order of the files.
pub fn parse(sources: &Sources, facts: &Facts<'_>) -> Result<Parsed, Mistakes> {
    let mut notes = Notes::new(sources);
    let documents: Vec<Spanned<DeTable<'_>>> =
        (0..sources.files.len()).map(|file| document(file, sources, &mut notes)).collect();
    let roots: Vec<View<'_>> = documents.iter().enumerate().map(|(file, table)| root(file, table.get_ref())).collect();
    let base = sources.files[0].path.parent().unwrap_or(Path::new("/"));
    let own_table = roots[0].sub("supervisor", &mut notes);
    let supervisor = supervisor_table::supervisor(&own_table, base, &mut notes);
    let mut drafts = Vec::new();
    let main_defaults = roots[0].sub("defaults", &mut notes);
    for (file, root) in roots.iter().enumerate() {
        if !notes.is_broken(file) {
            root.refuse_unknown(&keys::ROOT, &mut notes);
        }
        if let Some(found) = root.get("supervisor").filter(|_| file > 0) {
            notes.blame(&found, "only the main file may have it", "move it there");
        }
        let mut defaults = root.sub("defaults", &mut notes);
        check_defaults(file, &defaults, facts, &mut notes);
        if file > 0 {
            defaults.layers.extend(main_defaults.layers.iter().cloned());
        }
        drafts.extend(apps(file, root, &defaults, facts, &mut notes));
        refuse_foreign(file, facts, &mut notes);
        warn_of_writers(file, facts, &mut notes);
    }
    doubles::refuse(&drafts, supervisor.log_dir.as_deref().or(facts.log_dir.as_deref()), &mut notes);
    claims::refuse_shared(&drafts, &mut notes);
    claims::refuse_metrics(supervisor.metrics, &own_table, &drafts, &mut notes);
    claims::check_range(&supervisor.port_range, own_table.get("port_range").as_ref(), &drafts, &mut notes);
    dependencies::resolve(&mut drafts, &mut notes);
    release_of::resolve(&mut drafts, &mut notes);
    let warnings = notes.finish()?;
    let apps = drafts.into_iter().map(|draft| Arc::new(draft.config)).collect();
    Ok(Parsed { config: Config { supervisor, apps }, warnings })
}

/// `[supervisor]` as far as it can be read, whatever else is wrong: where the last applied configuration lies, or the
/// socket, must be known even then.
pub fn supervisor_only(sources: &Sources) -> SupervisorConfig {
    let mut notes = Notes::new(sources);
    let main = document(0, sources, &mut notes);
    let base = sources.files[0].path.parent().unwrap_or(Path::new("/"));
    let table = root(0, main.get_ref()).sub("supervisor", &mut notes);
    supervisor_table::supervisor(&table, base, &mut notes)
}

/// The table of a file as far as it can be read, its mistakes of syntax noted.
fn document<'a>(file: usize, sources: &'a Sources, notes: &mut Notes<'_>) -> Spanned<DeTable<'a>> {
    let (table, errors) = table::read(&sources.files[file].text);
    for error in errors {
        let message = error.message();
        let (what, expected) = match message.split_once(", expected ") {
            Some((what, expected)) => (what, format!("expected {expected}")),
            None if message == "duplicate key" => (message, "write each key and table once".to_owned()),
            None => (message, String::new()),
        };
        notes.blame_at(Place { file, span: error.span().unwrap_or_default() }, "", what, expected);
    }
    table
}

fn root<'a>(file: usize, table: &'a DeTable<'a>) -> View<'a> {
    View { layers: vec![Layer { file, path: String::new(), table, own: true }] }
}

/// `[defaults]` is checked as if it were an app, so that a mistake in it is told even without any.
fn check_defaults(file: usize, defaults: &View<'_>, facts: &Facts<'_>, notes: &mut Notes<'_>) {
    for key in ["port", "aliases", "release_of"] {
        if let Some(found) = defaults.get(key) {
            notes.blame(&found, "apps cannot share it", "write it into each app's own table");
        }
    }
    if !defaults.layers.is_empty() {
        AppTable { name: "defaults", head: None, file, view: &inherited(defaults), facts }.draft(notes);
    }
}

/// The layers as an app's defaults.
fn inherited<'a>(defaults: &View<'a>) -> View<'a> {
    let layers = defaults.layers.iter().map(|layer| Layer { own: false, ..layer.clone() });
    View { layers: layers.collect() }
}

/// The apps of one file in the order in which they stand there.
fn apps<'a>(
    file: usize,
    root: &View<'a>,
    defaults: &View<'a>,
    facts: &Facts<'_>,
    notes: &mut Notes<'_>,
) -> Vec<Draft<'a>> {
    let table = root.sub("apps", notes);
    let Some(layer) = table.layers.first() else {
        return Vec::new();
    };
    let mut names: Vec<_> = layer.table.keys().collect();
    names.sort_by_key(|name| name.span().start);
    if let Some(name) = names.get(MOST_APPS) {
        let place = Place { file, span: name.span() };
        notes.blame_at(place, "apps", format!("a file may hold {MOST_APPS} apps"), "move the rest into included files");
        names.truncate(MOST_APPS);
    }
    let mut drafts = Vec::new();
    for name in names {
        let head = Place { file, span: name.span() };
        let name = name.get_ref().as_ref();
        if let Some(expected) = values::name_fault(name) {
            notes.blame_at(head.clone(), &keys::join("apps", name), "this is not a name for an app", expected);
        }
        let Some(own) = layer.get(name).and_then(|found: Found<'a>| found.table(notes)) else { continue };
        let mut view = View { layers: vec![own] };
        view.layers.extend(inherited(defaults).layers);
        drafts.push(AppTable { name, head: Some(head), file, view: &view, facts }.draft(notes));
    }
    drafts
}

/// A main file that root does not own gives its defaults to what it includes: not to other people's files.
fn refuse_foreign(file: usize, facts: &Facts<'_>, notes: &mut Notes<'_>) {
    let files = &notes.sources().files;
    if facts.is_root && files[0].owner != 0 && files[file].owner != files[0].owner {
        let what =
            format!("this file belongs to uid {} and {} to uid {}", files[file].owner, files[0].shown, files[0].owner);
        notes.blame_at(
            Place { file, span: 0..0 },
            "supervisor.include",
            what,
            "take it out of include, or chown the main file to root",
        );
    }
}

fn warn_of_writers(file: usize, facts: &Facts<'_>, notes: &mut Notes<'_>) {
    let source = &notes.sources().files[file];
    if facts.is_root && source.writable_by_others {
        let what = "others than its owner may write this file, and so start programs as any user";
        notes.warn_at(Place { file, span: 0..0 }, "", what, format!("chmod go-w {}", source.shown));
    }
}
