//! One line's way: pipe → whole lines → an app's files (rotation) and its followers; and the way back.
//!
//! A thread of its own ([`Capture`]) reads every pipe, so that a chatty app slows neither the supervisor's decisions
//! nor its answers, and so that nothing but a slow disk keeps an app waiting for its own output. In reading order:
//! `capture` and `log_thread` (what the thread is told, and what it does), `framing` (bytes → whole lines), `render`
//! (lines → the bytes of a file), `journal` (what outlives a `kill -9`), `app` (an app's three files), `file` (one of them: rotation, full disks), `archive` and
//! `gzip` (rotated files), `tail`, `follow`, and `read` (files → lines again).

mod app;
mod archive;
mod capture;
mod file;
mod follow;
mod framing;
mod gzip;
mod journal;
mod log_thread;
pub mod read;
mod render;
mod settings;
mod stamp;
mod tail;

pub use crate::linux::fs_rights::FsOwner;
pub use app::AppStats;
pub use archive::{FileMark, Marks};
pub use capture::{AtRest, Capture, OpenPipe, SourceId};
pub use file::LogNotice;
pub use follow::{FollowItem, Follower, FollowerFilter};
pub use journal::Journal;
pub use settings::{LogFormat, LogSettings, Stream};
pub use tail::TailLine;
