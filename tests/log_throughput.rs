//! How fast a flood of 120-byte lines becomes out and combined files, beside `tee` to two files.
//!
//! `cargo test --release --test log_throughput -- --ignored --nocapture`

#![expect(clippy::disallowed_methods, reason = "it measures real time, and runs tee")]
#![expect(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![expect(clippy::print_stdout, reason = "its result is what it prints")]

use infissi::logs::{Capture, LogFormat, LogSettings, SourceId};
use std::fs::File;
use std::io::{self, PipeWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

const BYTES: usize = 500 * 1000 * 1000;

fn megabytes_a_second(start: Instant) -> f64 {
    BYTES as f64 / 1e6 / start.elapsed().as_secs_f64()
}

fn large_pipe() -> (io::PipeReader, PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1024 * 1024)).unwrap();
    (reader, writer)
}

fn flood(mut pipe: PipeWriter) {
    let line = [vec![b'x'; 119], vec![b'\n']].concat();
    let block = line.repeat(64 * 1024 / line.len());
    for _ in 0..BYTES / block.len() {
        pipe.write_all(&block).unwrap();
    }
}

fn captured(dir: &Path, timestamps: bool, format: LogFormat, max_size: u64) -> f64 {
    let capture = Capture::start(|notice| println!("{notice}")).unwrap();
    let app: Arc<str> = Arc::from("flood");
    capture.open(LogSettings {
        app: Arc::clone(&app),
        dir: dir.to_owned(),
        name: "flood".to_owned(),
        timestamps,
        format,
        max_size,
        keep: 30,
        compress: max_size > 0,
        max_total: if max_size > 0 { 1024 * 1024 * 1024 } else { 0 },
        daily: false,
        owner: None,
        chown_to: None,
    });
    let ((out, writer), (err, _)) = (large_pipe(), large_pipe());
    capture.attach(SourceId(1), app, out.into(), err.into());
    let start = Instant::now();
    flood(writer);
    let (done, finished) = channel();
    capture.finish(SourceId(1), move |_| done.send(()).unwrap());
    finished.recv().unwrap();
    megabytes_a_second(start)
}

fn tee(dir: &Path) -> f64 {
    let (reader, writer) = large_pipe();
    let mut tee = Command::new("tee")
        .arg(dir.join("one"))
        .stdin(Stdio::from(reader))
        .stdout(File::create(dir.join("two")).unwrap())
        .spawn()
        .unwrap();
    let start = Instant::now();
    flood(writer);
    tee.wait().unwrap();
    megabytes_a_second(start)
}

#[test]
#[ignore = "a measurement"]
fn throughput() {
    for round in 1..=3 {
        let in_a_directory = |measure: &dyn Fn(&Path) -> f64| {
            let dir = tempfile::tempdir().unwrap();
            measure(dir.path())
        };
        let text = LogFormat::Text;
        println!("round {round}, MB/s of input:");
        println!("  tee to two files        {:.0}", in_a_directory(&tee));
        println!("  raw                     {:.0}", in_a_directory(&|dir| captured(dir, false, text, 0)));
        println!("  timestamps              {:.0}", in_a_directory(&|dir| captured(dir, true, text, 0)));
        println!("  timestamps, 10M, gzip   {:.0}", in_a_directory(&|dir| captured(dir, true, text, 10 * 1024 * 1024)));
        println!("  JSON                    {:.0}", in_a_directory(&|dir| captured(dir, true, LogFormat::Json, 0)));
    }
}
