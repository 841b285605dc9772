//! What an app has written into its own release: it goes with the release, unless somebody is told.

use super::built::is_built;
use jiff::Timestamp;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Enough to know what it is about.
const ENOUGH: usize = 3;
/// A release has not so many files beside what was built.
const MOST: usize = 200_000;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    Nothing,
    /// The first few files, relative to the release.
    Files(Vec<PathBuf>),
    /// It cannot be told: a sentence's end.
    Unknown(String),
}

/// The files that were written into the release since it `went_live`, by the clock of the machine; but for what is built.
pub(super) fn written(release: &Path, went_live: Timestamp, now: Timestamp) -> Written {
    if went_live > now {
        return Written::Unknown("the clock was set back since it went live".to_owned());
    }
    let since = Span { went_live: nanoseconds(went_live), now: nanoseconds(now) };
    let (mut files, mut open, mut seen) = (Vec::new(), vec![PathBuf::new()], 0);
    while let Some(dir) = open.pop() {
        let at = release.join(&dir);
        let entries = match std::fs::read_dir(&at).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Written::Unknown(format!("{} cannot be read: {}", dir.display(), super::why(&error))),
        };
        for entry in entries {
            let path = dir.join(entry.file_name());
            let Ok(there) = entry.metadata() else { continue };
            seen += 1;
            if is_built(&path) {
                continue;
            }
            if there.is_dir() {
                open.extend(Some(path).filter(|path| !is_next_build(&release.join(path))));
            } else if there.is_file() && since.has_seen_a_write(&there) {
                files.push(path);
            }
        }
        if files.len() >= ENOUGH {
            break;
        }
        if seen > MOST {
            return Written::Unknown(format!("it has more than {MOST} files"));
        }
    }
    files.sort();
    files.truncate(ENOUGH);
    if files.is_empty() { Written::Nothing } else { Written::Files(files) }
}

/// What `next build` made elsewhere than in `.next`, by `distDir`: pages are rendered anew there.
fn is_next_build(dir: &Path) -> bool {
    dir.join("BUILD_ID").is_file() && dir.join("server").is_dir()
}

struct Span {
    went_live: i128,
    now: i128,
}

impl Span {
    /// The time of the last change, ctime, cannot be set by anybody: what it does not know of was not written, whatever
    /// the times say that came along in an archive or by `cp -p`. What it knows of may be a new owner or link, too: there
    /// the other times decide, as far as they are not of the future.
    fn has_seen_a_write(&self, there: &Metadata) -> bool {
        let is_within = |time: i128| time > self.went_live && time <= self.now;
        let time = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let changed = time(there.ctime(), there.ctime_nsec());
        let written = time(there.mtime(), there.mtime_nsec());
        // Not every file system knows it. What was moved or copied there has an older time of its last write.
        let made = there.created().ok().and_then(|at| Timestamp::try_from(at).ok()).map(nanoseconds);
        changed > self.went_live && (is_within(written) || made.is_some_and(is_within))
    }
}

fn nanoseconds(at: Timestamp) -> i128 {
    at.as_nanosecond()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, FileTimes};
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, SystemTime};

    fn set(path: &Path, at: SystemTime) {
        File::open(path).unwrap().set_times(FileTimes::new().set_modified(at)).unwrap();
    }

    /// By the clock of the file system.
    fn stamp(dir: &Path) -> Timestamp {
        let path = dir.join("clock");
        std::fs::write(&path, "x").unwrap();
        let at = path.metadata().unwrap().modified().unwrap();
        Timestamp::try_from(at).unwrap()
    }

    /// That clock goes in steps of some milliseconds.
    fn later(dir: &Path, than: Timestamp) -> Timestamp {
        loop {
            let now = stamp(dir);
            if now > than {
                return now;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn only_what_was_written_since_it_went_live_counts() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let release = dir.path();
        let put = |path: &str| {
            let path = release.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
            path
        };
        put("server.js");
        put("dist/BUILD_ID");
        let future = put("of-the-future.js");
        set(&future, future.metadata().unwrap().modified().unwrap() + Duration::from_secs(86_400));
        let live = later(clock.path(), stamp(clock.path()));
        later(clock.path(), live);
        for built in
            [".next/server/app/index.html", ".next/cache/images/a", "web/node_modules/.cache/x", "a.tsbuildinfo"]
        {
            put(built);
        }
        std::fs::set_permissions(release.join("server.js"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::set_permissions(&future, std::fs::Permissions::from_mode(0o600)).unwrap();
        let found = |now| written(release, live, now);
        assert_eq!(found(stamp(clock.path())), Written::Nothing);

        put("public/uploads/a.png");
        assert_eq!(found(stamp(clock.path())), Written::Files(vec![PathBuf::from("public/uploads/a.png")]));
        std::fs::remove_dir_all(release.join("public")).unwrap();

        // As `cp -p` leaves it.
        let copied = put("restored.db");
        set(&copied, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        assert_eq!(found(stamp(clock.path())), Written::Files(vec![PathBuf::from("restored.db")]));
        let before = live.checked_sub(jiff::SignedDuration::from_secs(60)).unwrap();
        assert!(matches!(found(before), Written::Unknown(_)), "who knows, with a clock like that");
    }
}
