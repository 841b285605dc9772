//! A finished archive is read back from the disk: every entry to its end, and the checksum over all.

use super::error::BackupError;
use super::{Figures, Watch};
use crate::linux::disk::forget_cached;
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads the archive at `path` and compares it with what was put into it; its size.
pub(super) fn read_back(path: &Path, put: Figures, watch: &mut dyn Watch) -> Result<u64, BackupError> {
    let dir = || path.parent().unwrap_or(path).to_owned();
    let unsound = |error: io::Error| BackupError::Unsound { dir: dir(), why: error.to_string() };
    let file = File::open(path).map_err(unsound)?;
    let size = file.metadata().map_err(unsound)?.len();
    forget_cached(&file);
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let mut found = Figures::default();
    let mut block = vec![0; 64 << 10];
    for entry in archive.entries().map_err(unsound)? {
        let mut entry = entry.map_err(unsound)?;
        found.entries += 1;
        loop {
            match entry.read(&mut block).map_err(unsound)? {
                0 => break,
                read => found.bytes += read as u64,
            }
            if !watch.goes_on(found) {
                return Err(BackupError::Stopped);
            }
        }
    }
    // The checksum stands at the very end, behind the last entry.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(unsound)?;
    if found != put {
        let why = format!(
            "{} entries of {} bytes were put in, {} of {} bytes came out",
            put.entries, put.bytes, found.entries, found.bytes
        );
        return Err(BackupError::Unsound { dir: dir(), why });
    }
    Ok(size)
}
