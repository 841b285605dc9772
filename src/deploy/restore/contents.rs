//! What is in an archive, found by reading all of it: nothing is written, and nothing that it says is believed further
//! than that.

use super::{Found, GoOn, Unrestored, unsound};
use crate::deploy::backup::{Figures, OUT};
use crate::deploy::unpack::look_through;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path};

/// So many names are remembered: an archive may have any number.
const MOST_NAMES: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    pub figures: Figures,
    /// The names at the top, without that of the dumps.
    pub tops: BTreeSet<OsString>,
    pub has_dumps: bool,
    releases: BTreeSet<String>,
    live: Option<String>,
}

/// The code in it that a release can be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    None,
    /// The archive is of a project, and not of the root of an app's releases.
    Project,
    Release(String),
    /// Several releases, and nothing says which of them was live.
    Unclear(BTreeSet<String>),
}

impl Contents {
    /// # Errors
    /// It is damaged, cut off, or holds what a backup does not.
    pub fn of(found: &Found, go_on: GoOn<'_>) -> Result<Contents, Unrestored> {
        let mut contents = Contents {
            figures: Figures::default(),
            tops: BTreeSet::new(),
            has_dumps: false,
            releases: BTreeSet::new(),
            live: None,
        };
        let stream = found.stream()?;
        let figures = look_through(stream, go_on, &mut |path, leads_to| contents.hear(path, leads_to));
        contents.figures = figures.map_err(|error| unsound(found, error))?;
        Ok(contents)
    }

    fn hear(&mut self, path: &[OsString], leads_to: Option<&OsStr>) {
        match path {
            [top, ..] if top == OUT => self.has_dumps = true,
            [top, name, _, ..] if top == "releases" => {
                let name = name.to_string_lossy();
                if self.releases.len() < MOST_NAMES && !self.releases.contains(&*name) {
                    self.releases.insert(name.into_owned());
                }
            }
            [top] if top == "live" => self.live = leads_to.and_then(release_of),
            _ => {}
        }
        if let Some(top) = path.first().filter(|top| *top != OUT)
            && self.tops.len() < MOST_NAMES
            && !self.tops.contains(top)
        {
            self.tops.insert(top.clone());
        }
    }

    pub fn code(&self) -> Code {
        let live = self.live.as_ref().filter(|live| self.releases.contains(*live));
        match (live, self.releases.len()) {
            (Some(live), _) => Code::Release(live.clone()),
            (None, 0) if self.tops.contains(OsStr::new("package.json")) => Code::Project,
            (None, 0) => Code::None,
            (None, 1) => Code::Release(self.releases.first().cloned().unwrap_or_default()),
            (None, _) => Code::Unclear(self.releases.clone()),
        }
    }
}

/// `releases/ID`, as the link `live` leads to it.
fn release_of(target: &OsStr) -> Option<String> {
    let mut components = Path::new(target).components().rev();
    let Some(Component::Normal(id)) = components.next() else { return None };
    let is_release = components.next() == Some(Component::Normal(OsStr::new("releases")));
    is_release.then(|| id.to_str().map(str::to_owned))?
}
