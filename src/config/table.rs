//! Reading a table of the file, with the tables that lie under it as defaults.

use super::keys::{self, Keys};
use super::notes::{Notes, Place};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// To list all mistakes of syntax in a larger file, bytes, could take hundreds of megabytes: there the first has to do.
const RECOVERABLE: usize = 64 << 10;

/// The table of a text as far as it can be read, and what is wrong with its syntax.
pub(super) fn read(text: &str) -> (Spanned<DeTable<'_>>, Vec<toml::de::Error>) {
    if text.len() <= RECOVERABLE {
        return DeTable::parse_recoverable(text);
    }
    match DeTable::parse(text) {
        Ok(table) => (table, Vec::new()),
        Err(error) => (Spanned::new(0..0, DeTable::new()), vec![error]),
    }
}

/// One table as it stands in one file.
#[derive(Clone)]
pub(super) struct Layer<'a> {
    pub(super) file: usize,
    /// `apps.current`, `defaults.health`.
    pub(super) path: String,
    pub(super) table: &'a DeTable<'a>,
    /// Is it the app's own, and no default?
    pub(super) own: bool,
}

/// A table and what it falls back to, key by key.
#[derive(Clone)]
pub(super) struct View<'a> {
    /// The nearest first.
    pub(super) layers: Vec<Layer<'a>>,
}

/// A value with where it stands.
#[derive(Clone)]
pub(super) struct Found<'a> {
    pub(super) file: usize,
    /// Its whole path: `apps.current.port`.
    pub(super) key: String,
    pub(super) value: &'a DeValue<'a>,
    pub(super) span: Range<usize>,
    /// Does it stand in the app's own table, and not in defaults?
    pub(super) own: bool,
}

/// What a key was found to be.
pub(super) enum Setting<'a, T> {
    Absent,
    /// It is there and wrong, and that was noted.
    Bad,
    Set(T, Found<'a>),
}

impl<'a> View<'a> {
    /// Without what comes from defaults.
    pub(super) fn own(&self) -> View<'a> {
        View { layers: self.layers.iter().filter(|layer| layer.own).cloned().collect() }
    }

    /// The nearest value of that key.
    pub(super) fn get(&self, key: &str) -> Option<Found<'a>> {
        self.layers.iter().find_map(|layer| layer.get(key))
    }

    pub(super) fn read<T>(
        &self,
        key: &str,
        notes: &mut Notes<'_>,
        parse: impl FnOnce(&Found<'a>, &mut Notes<'_>) -> Option<T>,
    ) -> Setting<'a, T> {
        let Some(found) = self.get(key) else {
            return Setting::Absent;
        };
        match parse(&found, notes) {
            Some(value) => Setting::Set(value, found),
            None => Setting::Bad,
        }
    }

    /// The table under that key, each layer's over the next one's. A value that is no table is noted.
    pub(super) fn sub(&self, key: &str, notes: &mut Notes<'_>) -> View<'a> {
        let mut layers = Vec::new();
        for found in self.layers.iter().filter_map(|layer| layer.get(key)) {
            layers.extend(found.table(notes));
        }
        View { layers }
    }

    /// Every key with its nearest value.
    pub(super) fn entries(&self) -> BTreeMap<String, Found<'a>> {
        let mut entries = BTreeMap::new();
        for layer in self.layers.iter().rev() {
            entries.extend(layer.table.iter().map(|(key, value)| (key.get_ref().to_string(), layer.found(key, value))));
        }
        entries
    }

    /// Notes every key that is not one of `known`.
    pub(super) fn refuse_unknown(&self, known: &Keys, notes: &mut Notes<'_>) {
        for layer in &self.layers {
            for key in layer.table.keys() {
                let name = key.get_ref().as_ref();
                if let Some((what, expected)) = known.refusal(name) {
                    let place = Place { file: layer.file, span: key.span() };
                    notes.blame_at(place, &keys::join(&layer.path, name), what, expected);
                }
            }
        }
    }
}

impl<'a> Layer<'a> {
    pub(super) fn get(&self, key: &str) -> Option<Found<'a>> {
        self.table.get_key_value(key).map(|(key, value)| self.found(key, value))
    }

    fn found(&self, key: &Spanned<std::borrow::Cow<'a, str>>, value: &'a Spanned<DeValue<'a>>) -> Found<'a> {
        Found {
            file: self.file,
            key: keys::join(&self.path, key.get_ref()),
            value: value.get_ref(),
            span: value.span(),
            own: self.own,
        }
    }
}

impl<'a> Found<'a> {
    pub(super) fn place(&self) -> Place {
        Place { file: self.file, span: self.span.clone() }
    }

    /// Its elements, where it is an array; else that is noted.
    pub(super) fn items(&self, notes: &mut Notes<'_>, expected: &str) -> Option<Vec<Found<'a>>> {
        let DeValue::Array(items) = self.value else {
            notes.blame(self, format!("{} is not a list", self.shown()), expected);
            return None;
        };
        let item = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| Found {
            file: self.file,
            key: format!("{}[{index}]", self.key),
            value: item.get_ref(),
            span: item.span(),
            own: self.own,
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// It as a layer, where it is a table; else that is noted.
    pub(super) fn table(&self, notes: &mut Notes<'_>) -> Option<Layer<'a>> {
        let DeValue::Table(table) = self.value else {
            notes.blame(
                self,
                format!("{} is not a table", self.shown()),
                format!("write [{}] and its keys below", self.key),
            );
            return None;
        };
        Some(Layer { file: self.file, path: self.key.clone(), table, own: self.own })
    }

    /// The value for a message: short, and harmless for a terminal.
    pub(super) fn shown(&self) -> String {
        match self.value {
            DeValue::String(text) => shown_text(text),
            DeValue::Integer(number) => shortened(&number.to_string()),
            DeValue::Float(number) => shortened(number.as_str()),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }
}

/// In quotes, cut after 60 characters, control characters escaped.
pub(super) fn shown_text(text: &str) -> String {
    format!("{:?}", shortened(text))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl<'a, T> Setting<'a, T> {
    pub(super) fn or(self, default: T) -> T {
        self.value().unwrap_or(default)
    }

    pub(super) fn value(self) -> Option<T> {
        match self {
            Setting::Set(value, _) => Some(value),
            Setting::Absent | Setting::Bad => None,
        }
    }

    /// Where it stands, when it is there and right.
    pub(super) fn found(&self) -> Option<&Found<'a>> {
        match self {
            Setting::Set(_, found) => Some(found),
            Setting::Absent | Setting::Bad => None,
        }
    }
}

impl<T> Setting<'_, T> {
    /// The value or its default; none when it is there and wrong, so that nothing is held against it twice.
    pub(super) fn settled(self, default: T) -> Option<T> {
        match self {
            Setting::Absent => Some(default),
            Setting::Bad => None,
            Setting::Set(value, _) => Some(value),
        }
    }
}
