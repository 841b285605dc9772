//! The app of the flood: writes lines as fast as they are taken. This program itself, in another role.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The word that puts the program into this role; a directory follows.
pub(crate) const ROLE: &str = "produce";
pub(crate) const BYTES: usize = 500 * 1000 * 1000;
const LINE: usize = 120;
/// The word by which the last line is known.
pub(crate) const LAST: &[u8] = b"the-last-line";

/// The directory through which a flood is begun and its end told.
pub(crate) struct Signs<'d>(pub(crate) &'d Path);

impl Signs<'_> {
    /// Exists from when it is to begin.
    pub(crate) fn go(&self) -> PathBuf {
        self.0.join("go")
    }

    /// Exists from when everything was written.
    pub(crate) fn done(&self) -> PathBuf {
        self.0.join("done")
    }
}

/// Waits for the sign, writes, and stays until it is ended.
pub(crate) fn run(dir: &Path) {
    let signs = Signs(dir);
    while !signs.go().exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Not std's own, which looks for newlines: the producer is to be no bottleneck.
    let mut out = fs::File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    write(&mut out);
    fs::write(signs.done(), "").unwrap();
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// All lines, as one big write after the other.
pub(crate) fn write(out: &mut impl Write) {
    let line = [vec![b'x'; LINE - 1], vec![b'\n']].concat();
    let block = line.repeat(64 * 1024 / LINE);
    let mut left = BYTES;
    while left > block.len() {
        out.write_all(&block).unwrap();
        left -= block.len();
    }
    out.write_all(&line.repeat(left / LINE)).unwrap();
    out.write_all(&[LAST, b"\n"].concat()).unwrap();
}
