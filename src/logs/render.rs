//! Whole lines → the bytes that go into the files.

use super::settings::{LogFormat, LogSettings, Stream};
use super::stamp::LINE_STAMP;
use memchr::memchr_iter;

/// About how much is rendered before it is written. In bytes; keeps the scratch buffer small whatever the lines are.
const SLICE: usize = 256 * 1024;
/// Beyond this the scratch buffer is given back after use.
const SCRATCH_KEPT: usize = 1024 * 1024;

/// How the lines of one app are written.
pub(super) enum Renderer {
    Raw,
    Stamped,
    /// Holds the app's name as a JSON string.
    Json(String),
}

impl Renderer {
    pub(super) fn of(settings: &LogSettings) -> Renderer {
        match (settings.format, settings.timestamps) {
            (LogFormat::Text, false) => Renderer::Raw,
            (LogFormat::Text, true) => Renderer::Stamped,
            (LogFormat::Json, _) => Renderer::Json(json_string(&settings.app)),
        }
    }

    /// Renders a part of `block`, whole lines, up to the first that brings it to `limit` bytes; returns the bytes to write
    /// and the lines still to be rendered. Lines that are written as they are come back whole, whatever the limit.
    pub(super) fn render<'a, 'b: 'a>(
        &self,
        stream: Stream,
        stamp: &[u8; LINE_STAMP],
        (block, limit): (&'b [u8], u64),
        scratch: &'a mut Vec<u8>,
    ) -> (&'a [u8], &'b [u8]) {
        scratch.clear();
        scratch.shrink_to(SCRATCH_KEPT);
        let limit = usize::try_from(limit).unwrap_or(SLICE).min(SLICE);
        let rest = match self {
            Renderer::Raw => return (block, &[]),
            Renderer::Stamped => {
                let mut prefix = [b' '; LINE_STAMP + 1];
                prefix[..LINE_STAMP].copy_from_slice(stamp);
                slice((block, limit), scratch, |line, out| {
                    out.extend_from_slice(&prefix);
                    out.extend_from_slice(line);
                })
            }
            Renderer::Json(app) => {
                let stamp = std::str::from_utf8(stamp).unwrap_or_default();
                let head = format!(r#"{{"time":"{stamp}","app":{app},"stream":"{}","line":"#, stream.word());
                slice((block, limit), scratch, |line, out| {
                    out.extend_from_slice(head.as_bytes());
                    let line = line.strip_suffix(b"\n").unwrap_or(line);
                    out.extend_from_slice(json_string(&String::from_utf8_lossy(line)).as_bytes());
                    out.extend_from_slice(b"}\n");
                })
            }
        };
        (scratch, rest)
    }
}

/// Gives the lines of `block`, newline included, to `put` until there are `limit` bytes; returns the rest.
fn slice<'a>((block, limit): (&'a [u8], usize), out: &mut Vec<u8>, put: impl Fn(&[u8], &mut Vec<u8>)) -> &'a [u8] {
    let mut start = 0;
    for newline in memchr_iter(b'\n', block) {
        put(&block[start..=newline], out);
        start = newline + 1;
        if out.len() >= limit {
            break;
        }
    }
    &block[start..]
}

fn json_string(text: &str) -> String {
    // Writing a string into memory cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: &[u8; LINE_STAMP] = b"2026-11-22T20:01:02.123+02:00";

    fn render(renderer: &Renderer, block: &[u8]) -> Vec<u8> {
        render_to(renderer, block, u64::MAX)
    }

    fn render_to(renderer: &Renderer, block: &[u8], limit: u64) -> Vec<u8> {
        let (mut rest, mut scratch, mut all) = (block, Vec::new(), Vec::new());
        while !rest.is_empty() {
            let (bytes, more) = renderer.render(Stream::Err, STAMP, (rest, limit), &mut scratch);
            assert!(bytes.len() < SLICE.min(usize::try_from(limit).unwrap()) + 2 * 1024, "a slice stays small");
            all.extend_from_slice(bytes);
            rest = more;
        }
        all
    }

    #[test]
    fn each_line_gets_its_time() {
        let got = render(&Renderer::Stamped, b"one\n\n\xff\0\n");
        assert_eq!(got, b"2026-11-22T20:01:02.123+02:00 one\n2026-11-22T20:01:02.123+02:00 \n2026-11-22T20:01:02.123+02:00 \xff\0\n");
    }

    #[test]
    fn any_bytes_make_valid_json() {
        let bytes: Vec<u8> = (0..=255).filter(|&byte| byte != b'\n').chain([b'\n']).collect();
        let got = render(&Renderer::Json(r#""a\"b""#.to_owned()), &bytes);
        let line: serde_json::Value = serde_json::from_slice(&got).unwrap();
        assert_eq!((&line["app"], &line["stream"]), (&"a\"b".into(), &"err".into()));
        assert_eq!(line["time"], "2026-11-22T20:01:02.123+02:00");
        assert!(line["line"].as_str().unwrap().starts_with('\0'));
        assert_eq!(got.iter().filter(|&&byte| byte == b'\n').count(), 1);
    }

    #[test]
    fn a_block_of_empty_lines_grows_thirtyfold_and_yet_takes_little_memory() {
        let got = render(&Renderer::Stamped, &vec![b'\n'; 256 * 1024]);
        assert_eq!(got.len(), 256 * 1024 * (LINE_STAMP + 2));
        assert_eq!(render_to(&Renderer::Stamped, &vec![b'\n'; 64 * 1024], 1024).len(), 64 * 1024 * (LINE_STAMP + 2));
    }
}
