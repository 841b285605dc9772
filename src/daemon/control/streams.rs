//! Answers that go on: log lines and happenings, one JSON value a line.

use super::actions::admit;
use super::admission::{Caller, Need};
use super::answer::{Answer, Gone, Lines, line, lines};
use super::asking::{Selector, query};
use super::selector::select;
use crate::api::{EventRecord, EventsQuery, LogRecord, LogsQuery, Refusal, RefusalCode};
use crate::config::AppConfig;
use crate::daemon::outputs::stream;
use crate::daemon::shared::Shared;
use crate::logs::read::{AppLogs, ReadLine, ReadQuery, Reading};
use crate::logs::{FollowItem, Follower, FollowerFilter, Stream};
use axum::extract::{Extension, RawQuery, State};
use regex::bytes::{Regex, RegexBuilder};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;

/// Without `lines` and `since`.
const DEFAULT_LINES: usize = 15;
const MOST_LINES: usize = 100_000;
/// What waits for a follower that does not read, bytes.
const FOLLOWER_CAPACITY: usize = 256 * 1024;
/// A compiled expression larger than this is refused, bytes.
const LARGEST_REGEX: usize = 1 << 20;
/// Searches through files at one moment; each has a thread. Others wait for their turn, which comes with each piece: a
/// reader that waits for its client holds up nobody.
const MOST_THREADS: usize = 4;
/// Lines are sent in pieces of about so many bytes.
const PIECE: usize = 32 * 1024;

static THREADS: Semaphore = Semaphore::const_new(MOST_THREADS);

pub(super) async fn app_logs(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Selector(selector): Selector,
    RawQuery(asked): RawQuery,
) -> Answer {
    logs(shared, caller, &selector, asked.as_deref())
}

pub(super) async fn all_logs(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    RawQuery(asked): RawQuery,
) -> Answer {
    logs(shared, caller, "all", asked.as_deref())
}

fn logs(shared: Arc<Shared>, caller: Caller, selector: &str, asked: Option<&str>) -> Answer {
    let asked: LogsQuery = query(asked)?;
    let apps = select(&shared, &caller, Need::Look, selector)?;
    let wanted = Wanted::new(&asked, &apps, &shared)?;
    let (sender, response) = lines();
    tokio::spawn(async move {
        // The client being gone is how most followers end.
        let _gone = send_logs(wanted, &sender).await;
    });
    Ok(response)
}

struct Wanted {
    read: ReadQuery,
    follower: Option<Follower>,
    grep: Option<Regex>,
}

impl Wanted {
    fn new(asked: &LogsQuery, apps: &[Arc<AppConfig>], shared: &Shared) -> Result<Wanted, Refusal> {
        let grep = asked.grep.as_deref().map(expression).transpose()?;
        let only = asked.stream.map(|stream| match stream {
            crate::api::Stream::Out => Stream::Out,
            crate::api::Stream::Err => Stream::Err,
        });
        let default = asked.since.is_none().then_some(DEFAULT_LINES);
        let names = apps.iter().map(|app| Arc::from(app.name.as_str())).collect();
        let filter = FollowerFilter { apps: Some(names), stream: only };
        let settings = apps.iter().filter_map(|app| shared.outputs.settings(&app.name));
        Ok(Wanted {
            read: ReadQuery {
                sources: settings.map(|settings| AppLogs::of(&settings)).collect(),
                lines: asked.lines.or(default).map(|lines| lines.min(MOST_LINES)),
                stream: only,
                since: asked.since,
                until: asked.until,
                grep: grep.clone(),
                cancelled: Arc::new(AtomicBool::new(false)),
            },
            follower: asked.follow.then(|| shared.logs.subscribe(filter, FOLLOWER_CAPACITY)),
            grep,
        })
    }
}

fn expression(text: &str) -> Result<Regex, Refusal> {
    RegexBuilder::new(text).size_limit(LARGEST_REGEX).build().map_err(|error| {
        Refusal::new(RefusalCode::Usage, format!("{text:?} is no regular expression: {error}"))
            .hint("the syntax is that of the Rust regex crate; (?i) ignores case")
    })
}

/// What the files hold, then what follows, without a gap or a line twice between.
async fn send_logs(wanted: Wanted, sender: &Lines) -> Result<(), Gone> {
    let Wanted { mut read, mut follower, grep } = wanted;
    if let Some(follower) = &mut follower
        && let Some(FollowItem::Start { marks }) = follower.next().await
    {
        for source in &mut read.sources {
            source.upto = marks.get(&source.app).cloned();
        }
    }
    send_past(read, sender).await?;
    let Some(mut follower) = follower else { return Ok(()) };
    loop {
        let item = tokio::select! {
            item = follower.next() => item,
            () = sender.gone() => return Err(Gone),
        };
        let Some(item) = item else { return Ok(()) };
        let mut text = Vec::new();
        push_item(item, grep.as_ref(), &mut text);
        while text.len() < PIECE
            && let Some(item) = follower.try_next()
        {
            push_item(item, grep.as_ref(), &mut text);
        }
        if !text.is_empty() {
            sender.send_text(text).await?;
        }
    }
}

async fn send_past(query: ReadQuery, sender: &Lines) -> Result<(), Gone> {
    let cancelled = query.cancelled.clone();
    tokio::select! {
        end = send_pieces(query, sender) => end,
        () = sender.gone() => {
            cancelled.store(true, Ordering::Relaxed);
            Err(Gone)
        }
    }
}

async fn send_pieces(query: ReadQuery, sender: &Lines) -> Result<(), Gone> {
    let mut reading = on_thread(move || Reading::begin(query)).await?;
    loop {
        let text;
        (reading, text) = on_thread(move || {
            let text = piece(&mut reading);
            (reading, text)
        })
        .await?;
        if text.is_empty() {
            break;
        }
        sender.send_text(text).await?;
    }
    for (path, error) in reading.unreadable() {
        tracing::warn!("cannot read log file {}: {error}", path.display());
    }
    Ok(())
}

/// Blocks a thread, when one is free.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Gone> {
    let _turn = THREADS.acquire().await.map_err(|_| Gone)?;
    tokio::task::spawn_blocking(work).await.map_err(|_| Gone)
}

/// The next lines; empty at the end.
fn piece(reading: &mut Reading) -> Vec<u8> {
    let mut text = Vec::with_capacity(PIECE + PIECE / 8);
    while text.len() < PIECE
        && let Some(line) = reading.next()
    {
        push_line(line, &mut text);
    }
    text
}

fn push_line(read: ReadLine, text: &mut Vec<u8>) {
    let ReadLine { app, stream: of, at, line: bytes } = read;
    let bytes = String::from_utf8_lossy(&bytes).into_owned();
    text.extend(line(&LogRecord::Line { app: app.to_string(), stream: stream(of), at, line: bytes }));
}

fn push_item(item: FollowItem, grep: Option<&Regex>, text: &mut Vec<u8>) {
    match item {
        FollowItem::Start { .. } => {}
        FollowItem::Line { app, stream, at, line } => {
            if grep.is_none_or(|grep| grep.is_match(&line)) {
                push_line(ReadLine { app, stream, at: Some(at), line }, text);
            }
        }
        FollowItem::Dropped { app, count } => {
            text.extend(line(&LogRecord::Dropped { app: app.to_string(), dropped: count }));
        }
    }
}

pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    RawQuery(asked): RawQuery,
) -> Answer {
    let EventsQuery { follow, after } = query(asked.as_deref())?;
    if !caller.may_look_at_something(&shared.config(), &shared.launcher.users) {
        admit(&shared, &caller, Need::Look, "the events")?;
    }
    let (past, mut news) = shared.events.since(after.unwrap_or(0));
    let past: Vec<EventRecord> = past.into_iter().filter(|record| sees(&caller, record, &shared)).collect();
    let (sender, response) = lines();
    tokio::spawn(async move {
        for record in past {
            sender.send(&record).await?;
        }
        if !follow {
            return Ok(());
        }
        loop {
            let record = tokio::select! {
                record = news.recv() => record,
                () = sender.gone() => return Err(Gone),
            };
            match record {
                Ok(record) if sees(&caller, &record, &shared) => sender.send(&record).await?,
                Ok(_) => {}
                // Its numbers tell the reader that some are missing.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    });
    Ok(response)
}

/// May they see what happens to this app, or to the supervisor? An app that is no more is nobody's.
fn sees(caller: &Caller, record: &EventRecord, shared: &Shared) -> bool {
    let config = shared.config();
    let app = record.app.as_ref().and_then(|name| config.apps.iter().find(|app| app.name == *name));
    caller.may_everywhere(Need::Look) || app.is_some_and(|app| caller.may(Need::Look, app, &shared.launcher.users))
}
