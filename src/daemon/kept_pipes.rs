//! The reading ends of an app's output that the service manager keeps, by name: `out-7-web` and `err-7-web` of run 7.

use super::service_manager::ServiceManager;
use crate::linux::inherited::Inherited;
use crate::logs::Stream;
use crate::supervisor::RunId;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

const STREAMS: [Stream; 2] = [Stream::Out, Stream::Err];

/// What an app wrote last, and nobody has read: its run is over.
pub(super) struct LastWords {
    pub run: RunId,
    pub app: String,
    /// Standard output and error; none of which nothing was kept.
    pub output: [Option<OwnedFd>; 2],
}

pub(super) fn keep(manager: &ServiceManager, run: RunId, app: &str, output: [impl AsFd; 2]) {
    for (stream, pipe) in STREAMS.into_iter().zip(output) {
        manager.keep(&name(stream, run, app), pipe.as_fd());
    }
}

pub(super) fn let_go(manager: &ServiceManager, run: RunId, app: &str) {
    names(run, app).iter().for_each(|name| manager.let_go(name));
}

pub(super) fn names(run: RunId, app: &str) -> [String; 2] {
    STREAMS.map(|stream| name(stream, run, app))
}

/// Standard output and error, where both can be had; one without the other is kept for the run's last words.
pub(super) fn both(
    inherited: &mut Inherited,
    (run, app): (RunId, &str),
    output: [Option<OwnedFd>; 2],
) -> Option<[OwnedFd; 2]> {
    match output {
        [Some(out), Some(err)] => Some([out, err]),
        one => {
            let had = names(run, app).into_iter().zip(one).filter_map(|(name, pipe)| Some((name, pipe?)));
            had.for_each(|(name, pipe)| inherited.put_back(name, pipe));
            None
        }
    }
}

/// Those that were kept of runs that nobody goes on with.
pub(super) fn last_words(inherited: &mut Inherited) -> Vec<LastWords> {
    let names: Vec<String> = inherited.names().map(str::to_owned).collect();
    let mut found: BTreeMap<(u64, &str), [Option<OwnedFd>; 2]> = BTreeMap::new();
    for kept in &names {
        if let Some((stream, run, app)) = parsed(kept)
            && let Some(pipe) = inherited.named(kept)
        {
            found.entry((run.0, app)).or_default()[stream as usize] = Some(pipe);
        }
    }
    let last_words =
        |((run, app), output): ((u64, &str), _)| LastWords { run: RunId(run), app: app.to_owned(), output };
    found.into_iter().map(last_words).collect()
}

fn name(stream: Stream, run: RunId, app: &str) -> String {
    let stream = match stream {
        Stream::Out => "out",
        Stream::Err => "err",
    };
    format!("{stream}-{}-{app}", run.0)
}

fn parsed(name: &str) -> Option<(Stream, RunId, &str)> {
    let mut parts = name.splitn(3, '-');
    let stream = match parts.next()? {
        "out" => Stream::Out,
        "err" => Stream::Err,
        _ => return None,
    };
    let run = parts.next()?.parse().ok().filter(|run| *run < u64::MAX / 4)?;
    Some((stream, RunId(run), parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::pipe::OutputPipe;

    #[test]
    fn one_stream_without_the_other_is_read_as_last_words() {
        let mut inherited = Inherited::default();
        let pipe = || OutputPipe::new(None).unwrap();
        let (run, kept) = ((RunId(7), "web"), pipe());
        assert!(both(&mut inherited, run, [Some(pipe().read), Some(pipe().read)]).is_some());
        assert!(last_words(&mut inherited).is_empty());
        assert!(both(&mut inherited, run, [Some(kept.read), None]).is_none());
        let last = last_words(&mut inherited);
        let [LastWords { run: RunId(7), app, output: [Some(out), None] }] = &last[..] else { panic!("{}", last.len()) };
        let found = std::fs::File::from(out.try_clone().unwrap()).metadata().unwrap();
        assert_eq!((app.as_str(), std::os::unix::fs::MetadataExt::ino(&found)), ("web", kept.inode));
    }

    #[test]
    fn a_name_tells_the_run_the_app_and_the_stream() {
        let kept = name(Stream::Err, RunId(7), "web-2.shop");
        assert_eq!(kept, "err-7-web-2.shop");
        assert_eq!(parsed(&kept), Some((Stream::Err, RunId(7), "web-2.shop")));
        let greatest = format!("out-{}-web", u64::MAX);
        for strange in ["lock", "out-web", "out-7", "port-3000-4711", "outer-7-web", &greatest] {
            assert_eq!(parsed(strange), None, "{strange}");
        }
    }
}
