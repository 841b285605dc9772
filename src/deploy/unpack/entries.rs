//! A stream → the entries of a tar archive, one after another: ustar, pax and GNU. In memory is one header, and a name.

use super::UnpackError;
use crate::deploy::backup::Figures;
use std::borrow::Cow;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};
use tar::{EntryType, Header};

const BLOCK: usize = 512;
const SPARSE: &str = "is packed as a sparse file: leave out tar's --sparse (-S), or give bsdtar --no-read-sparse";
const UNKNOWN: &str = "is of a kind that is not known here";
/// A longer name is nobody's, bytes.
const LONGEST_NAME: u64 = 64 << 10;
/// More to say about one file than this is nonsense, bytes.
const LARGEST_EXTENSION: u64 = 1 << 20;

pub(super) struct Entries<'s> {
    stream: Box<dyn Read + 's>,
    go_on: &'s mut dyn FnMut(Figures) -> ControlFlow<()>,
    /// Of the content of the present entry, and of what fills up its last block.
    left: u64,
    filling: u64,
    pub(super) figures: Figures,
}

pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) modified: SystemTime,
}

pub(super) enum Kind {
    File,
    Directory,
    /// Leads to.
    Link(Vec<u8>),
    /// Of a file that came before.
    OtherName(Vec<u8>),
    /// In words.
    Refused(&'static str),
}

/// What headers before that of an entry say about it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    leads_to: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<SystemTime>,
    is_sparse: bool,
}

impl<'s> Entries<'s> {
    pub(super) fn new(stream: Box<dyn Read + 's>, go_on: &'s mut dyn FnMut(Figures) -> ControlFlow<()>) -> Entries<'s> {
        Entries { stream, go_on, left: 0, filling: 0, figures: Figures::default() }
    }

    /// The next one; none where the archive says that it is at its end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        self.skip()?;
        let mut extension = Extension::default();
        loop {
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            if block.iter().all(|byte| *byte == 0) {
                self.drain()?;
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            check(header, self.figures.entries == 0)?;
            let size = header.entry_size().map_err(|error| UnpackError::Unsound(error.to_string()))?;
            let kind = header.entry_type();
            if kind.is_gnu_longname() {
                extension.path = Some(self.name(size)?);
            } else if kind.is_gnu_longlink() {
                extension.leads_to = Some(self.name(size)?);
            } else if kind.is_pax_local_extensions() {
                let text = self.text(size, LARGEST_EXTENSION)?;
                extension.read(&text)?;
            } else if kind.is_pax_global_extensions() {
                // What holds for all entries is nothing that we ask for: `git archive` puts the commit there.
                drop(self.text(size, LARGEST_EXTENSION)?);
            } else {
                return self.entry(header, kind, size, extension).map(Some);
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        kind: EntryType,
        size: u64,
        extension: Extension,
    ) -> Result<Entry, UnpackError> {
        let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let leads_to = extension.leads_to.or_else(|| header.link_name_bytes().map(Cow::into_owned)).unwrap_or_default();
        // A hard link has no content, whatever stands there: GNU tar says so, too.
        let size = if kind == EntryType::Link { 0 } else { extension.size.unwrap_or(size) };
        self.expect(size);
        self.figures.entries += 1;
        let kind = match kind {
            _ if extension.is_sparse => Kind::Refused(SPARSE),
            // Before 1988 that was how a directory was told.
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Link(leads_to),
            EntryType::Link => Kind::OtherName(leads_to),
            EntryType::Block | EntryType::Char => Kind::Refused("is a device"),
            EntryType::Fifo => Kind::Refused("is a pipe"),
            EntryType::GNUSparse => Kind::Refused(SPARSE),
            EntryType::GNULongName | EntryType::GNULongLink | EntryType::XGlobalHeader | EntryType::XHeader => {
                Kind::Refused(UNKNOWN)
            }
            _ => Kind::Refused(UNKNOWN),
        };
        let seconds = header.mtime().unwrap_or(0);
        let modified = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        Ok(Entry {
            path,
            kind,
            mode: header.mode().map_err(|error| UnpackError::Unsound(error.to_string()))?,
            modified: extension.modified.or(modified).unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }

    /// More of the content of the present entry; 0 at its end.
    pub(super) fn read(&mut self, block: &mut [u8]) -> Result<usize, UnpackError> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(block.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.some(&mut block[..wanted])?;
        if read == 0 {
            return Err(UnpackError::Truncated);
        }
        self.left -= read as u64;
        self.figures.bytes += read as u64;
        Ok(read)
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.filling = size.wrapping_neg() % BLOCK as u64;
    }

    /// Past what is left of the present entry.
    fn skip(&mut self) -> Result<(), UnpackError> {
        let mut block = [0; 8 << 10];
        while self.read(&mut block)? > 0 {}
        let filling = usize::try_from(self.filling).unwrap_or(0);
        self.filling = 0;
        self.fill(&mut block[..filling])
    }

    /// What stands behind the end: without the checksum there, nothing is whole.
    fn drain(&mut self) -> Result<(), UnpackError> {
        let mut block = [0; 8 << 10];
        while self.some(&mut block)? > 0 {}
        Ok(())
    }

    fn name(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        let mut name = self.text(size, LONGEST_NAME)?;
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        Ok(name)
    }

    fn text(&mut self, size: u64, most: u64) -> Result<Vec<u8>, UnpackError> {
        let length = usize::try_from(size).ok().filter(|_| size <= most);
        let length = length.ok_or_else(|| UnpackError::Unsound(format!("{size} bytes to describe one file")))?;
        let mut text = vec![0; length.next_multiple_of(BLOCK)];
        self.fill(&mut text)?;
        text.truncate(length);
        Ok(text)
    }

    fn fill(&mut self, mut block: &mut [u8]) -> Result<(), UnpackError> {
        while !block.is_empty() {
            match self.some(block)? {
                0 => return Err(UnpackError::Truncated),
                read => block = &mut block[read..],
            }
        }
        Ok(())
    }

    fn some(&mut self, block: &mut [u8]) -> Result<usize, UnpackError> {
        some(self.stream.as_mut(), block, &mut || (self.go_on)(self.figures))
    }
}

/// Reads what there is, asking whether to go on before each try: a stream that has nothing says `WouldBlock` now and
/// then.
pub(super) fn some(
    stream: &mut dyn Read,
    block: &mut [u8],
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<usize, UnpackError> {
    loop {
        if go_on().is_break() {
            return Err(UnpackError::Stopped);
        }
        match stream.read(block) {
            Ok(read) => return Ok(read),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(UnpackError::Truncated),
            // What the decompressor finds.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
                return Err(UnpackError::Unsound(error.to_string()));
            }
            Err(error) => return Err(UnpackError::Read(error)),
        }
    }
}

fn check(header: &Header, is_first: bool) -> Result<(), UnpackError> {
    let bytes = header.as_bytes();
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    // Counted with blanks in its own place.
    let own: u32 = bytes[148..156].iter().map(|byte| u32::from(*byte)).sum();
    if header.cksum().is_ok_and(|said| said == sum - own + 8 * u32::from(b' ')) {
        return Ok(());
    }
    Err(if is_first { UnpackError::NoArchive } else { UnpackError::Unsound("a header's checksum is wrong".to_owned()) })
}

impl Extension {
    /// `LENGTH KEY=VALUE\n`, any number of them: pax in POSIX.1-2001.
    fn read(&mut self, text: &[u8]) -> Result<(), UnpackError> {
        let mut rest = text;
        while !rest.is_empty() {
            let (record, after) =
                record(rest).ok_or_else(|| UnpackError::Unsound("a pax header is broken".to_owned()))?;
            self.take(record);
            rest = after;
        }
        Ok(())
    }

    fn take(&mut self, (key, value): Pair<'_>) {
        let number = || std::str::from_utf8(value).ok();
        match key {
            b"path" => self.path = Some(value.to_owned()),
            b"linkpath" => self.leads_to = Some(value.to_owned()),
            b"size" => self.size = number().and_then(|size| size.parse().ok()),
            b"mtime" => self.modified = number().and_then(modified),
            key if key.starts_with(b"GNU.sparse.") => self.is_sparse = true,
            _ => {}
        }
    }
}

/// A key and its value.
type Pair<'t> = (&'t [u8], &'t [u8]);

/// The first record, and what comes behind it.
fn record(text: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let blank = text.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&text[..blank]).ok()?.parse().ok()?;
    let record = text.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some(((&record[..equals], &record[equals + 1..]), &text[length..]))
}

/// Seconds since 1970, with a fraction. What was before has no time of its own here.
fn modified(text: &str) -> Option<SystemTime> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds.parse().ok()?, digits.parse().ok()?))
}
