//! The book of a story's requests: one row each, none left out, and what became of it.

use crate::machine::now;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Failing rows that are shown.
const SHOWN: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The front page of an app that renders it.
    Page,
    /// On a connection of its own.
    Fresh,
    /// On a kept connection, without much time in between.
    Kept,
    /// On a kept connection, after a time to think.
    Thinking,
    /// A POST that is to be executed once.
    Post,
    /// An answer that takes its time.
    Slow,
    /// A body that takes its time.
    Upload,
    /// An answer in many pieces.
    Chunked,
    /// Server-sent events.
    Events,
    WebSocket,
}

/// What the client saw of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// Nobody listened.
    Refused,
    /// The connection was over before any of the request was written: nothing is lost but the connection.
    ResetBeforeSend,
    /// Reset after it was written, without any answer.
    ResetAfterSend,
    /// Closed after it was written, without any answer.
    EarlyEof,
    /// The answer broke off.
    Truncated,
    Timeout,
    /// An error page of the proxy's own.
    ByProxy(u16),
    /// An error that the app answered.
    ByApp(u16),
    /// Complete, from a release that does not serve at that time.
    WrongRelease,
    /// Complete and not what was asked for.
    Wrong(String),
    /// By more than one instance, or twice by one.
    ExecutedTwice,
    /// Answered as done, and nothing was done.
    NotExecuted,
}

/// Who answered: the app's own X-App header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Signature {
    pub(crate) slot: String,
    pub(crate) instance: String,
    pub(crate) release: String,
    pub(crate) pid: String,
}

impl Signature {
    pub(crate) fn parse(text: &str) -> Signature {
        let field = |name: &str| {
            let found = text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        Signature { slot: field("slot"), instance: field("instance"), release: field("release"), pid: field("pid") }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Since the load began.
    pub(crate) at: Duration,
    pub(crate) took: Duration,
    pub(crate) kind: Kind,
    /// The connection had carried a request before.
    pub(crate) kept: bool,
    pub(crate) path: String,
    pub(crate) nonce: Option<String>,
    pub(crate) by: Option<Signature>,
    pub(crate) outcome: Outcome,
}

/// What may answer at which time: a request that was under way at a change may get either.
pub(crate) struct Releases(Mutex<Vec<(Instant, Vec<String>)>>);

impl Default for Releases {
    fn default() -> Releases {
        Releases(Mutex::new(vec![(now(), Vec::new())]))
    }
}

impl Releases {
    /// From now on these may; none: any.
    pub(crate) fn expect(&self, releases: &[&str]) {
        self.0.lock().unwrap().push((now(), releases.iter().map(|&release| release.to_owned()).collect()));
    }

    pub(crate) fn may_answer(&self, release: &str, sent: Instant) -> bool {
        let times = self.0.lock().unwrap();
        let first = times.iter().rposition(|(since, _)| *since <= sent).unwrap_or(0);
        times[first..].iter().any(|(_, may)| may.is_empty() || may.iter().any(|one| one == release))
    }
}

/// The closed book.
pub(crate) struct Ledger {
    pub(crate) rows: Vec<Row>,
    /// Executions of requests that nobody here sent.
    strangers: Vec<String>,
}

impl Ledger {
    /// Adds up what the app says that it executed.
    pub(crate) fn close(mut rows: Vec<Row>, executed: &Path, mark: &str) -> Ledger {
        rows.sort_by_key(|row| row.at);
        let text = std::fs::read_to_string(executed).unwrap_or_default();
        let mut times: HashMap<&str, u32> = HashMap::new();
        for nonce in text.lines().filter_map(|line| line.split(' ').next()).filter(|nonce| nonce.starts_with(mark)) {
            *times.entry(nonce).or_default() += 1;
        }
        for row in &mut rows {
            let Some(nonce) = row.nonce.as_deref() else { continue };
            match times.remove(nonce).unwrap_or(0) {
                0 if row.outcome == Outcome::Ok => row.outcome = Outcome::NotExecuted,
                0 | 1 => {}
                2.. => row.outcome = Outcome::ExecutedTwice,
            }
        }
        Ledger { rows, strangers: times.into_keys().map(str::to_owned).collect() }
    }

    pub(crate) fn failed(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.outcome != Outcome::Ok)
    }

    pub(crate) fn count(&self, is: impl Fn(&Row) -> bool) -> usize {
        self.rows.iter().filter(|row| is(row)).count()
    }

    pub(crate) fn with(&self, outcome: &Outcome) -> usize {
        self.count(|row| row.outcome == *outcome)
    }

    /// Who has answered how much.
    pub(crate) fn answers(&self) -> BTreeMap<&Signature, usize> {
        let mut answers = BTreeMap::new();
        for by in self.rows.iter().filter_map(|row| row.by.as_ref()) {
            *answers.entry(by).or_default() += 1;
        }
        answers
    }

    /// Each request got its own whole answer once, from one that was to give it; and there were requests of all kinds.
    #[track_caller]
    pub(crate) fn assert_nothing_lost(&self, kinds: &[Kind]) {
        assert_eq!(self.failed().count(), 0, "{self}");
        self.assert_used(kinds);
    }

    /// The load was real: without this, a ledger that wrote nothing would be in order, too.
    #[track_caller]
    pub(crate) fn assert_used(&self, kinds: &[Kind]) {
        assert!(self.strangers.is_empty(), "executed without being sent: {:?}\n{self}", self.strangers);
        for kind in kinds {
            assert!(self.count(|row| row.kind == *kind && row.outcome == Outcome::Ok) >= 3, "few of {kind:?}\n{self}");
        }
    }

    /// Nothing failed in another way than these, whatever else is wrong.
    #[track_caller]
    pub(crate) fn assert_only(&self, may: impl Fn(&Row) -> bool) {
        let others: Vec<&Row> = self.failed().filter(|row| !may(row)).collect();
        assert!(others.is_empty(), "{} failed in a way that they may not: {:#?}\n{self}", others.len(), others.first());
        assert!(self.strangers.is_empty(), "executed without being sent: {:?}\n{self}", self.strangers);
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} requests, {} failed", self.rows.len(), self.failed().count())?;
        let mut kinds: BTreeMap<Kind, Vec<&Row>> = BTreeMap::new();
        for row in &self.rows {
            kinds.entry(row.kind).or_default().push(row);
        }
        for (kind, rows) in kinds {
            let mut took: Vec<u128> = rows.iter().map(|row| row.took.as_millis()).collect();
            took.sort_unstable();
            let at = |share: usize| took[(took.len() - 1) * share / 100];
            let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
            for row in &rows {
                *outcomes.entry(format!("{:?}", row.outcome)).or_default() += 1;
            }
            let (kind, kept) = (format!("{kind:?}"), rows.iter().filter(|row| row.kept).count());
            let [half, most, all] = [at(50), at(99), at(100)];
            writeln!(
                f,
                "  {kind:9} {:6} ({kept} kept), {half}/{most}/{all} ms at 50/99/100 %: {outcomes:?}",
                rows.len()
            )?;
        }
        for (by, answers) in self.answers() {
            writeln!(f, "  {answers:6} by {by:?}")?;
        }
        for row in self.failed().take(SHOWN) {
            writeln!(f, "  {row}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, took) = (self.at.as_secs_f64(), self.took.as_secs_f64());
        let connection = if self.kept { "kept" } else { "new" };
        let Row { kind, path, outcome, by, .. } = self;
        write!(f, "at {at:.3} s for {took:.3} s: {kind:?} {path} on a {connection} connection: {outcome:?}")?;
        match by {
            Some(by) => write!(f, " by {by:?}"),
            None => Ok(()),
        }
    }
}
