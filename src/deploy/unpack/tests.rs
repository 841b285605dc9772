use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use tar::{Builder, EntryType, Header};

/// An archive in the making.
struct Pack(Builder<Vec<u8>>);

impl Pack {
    fn new() -> Pack {
        Pack(Builder::new(Vec::new()))
    }

    /// An entry with a path as it stands, however wrong.
    fn with(mut self, kind: EntryType, path: &str, text: &str) -> Pack {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        let is_content = kind == EntryType::Regular;
        header.set_size(if is_content { text.len() as u64 } else { 0 });
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        if !is_content {
            header.set_link_name_literal(text).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, if is_content { text.as_bytes() } else { b"" }).unwrap();
        self
    }

    fn file(self, path: &str, text: &str) -> Pack {
        self.with(EntryType::Regular, path, text)
    }

    fn mode(mut self, path: &str, mode: u32) -> Pack {
        let mut header = Header::new_gnu();
        header.set_entry_type(if path.ends_with('/') { EntryType::Directory } else { EntryType::Regular });
        header.set_mode(mode);
        header.set_size(0);
        self.0.append_data(&mut header, path, io::empty()).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Into `into/` of a directory that goes with the value.
fn unpacked(stream: impl Read) -> (tempfile::TempDir, Result<Figures, UnpackError>) {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("into")).unwrap();
    let done = unpack(stream, &temp.path().join("into"), &mut |_| ControlFlow::Continue(()));
    (temp, done)
}

fn text(temp: &tempfile::TempDir, path: &str) -> String {
    fs::read_to_string(temp.path().join("into").join(path)).unwrap()
}

fn why(pack: Pack) -> String {
    let (temp, done) = unpacked(pack.bytes().as_slice());
    let names: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["into"], "something came out");
    done.unwrap_err().to_string()
}

/// Gives a few bytes at a time, and nothing in between.
struct Dribble<'b> {
    bytes: &'b [u8],
    is_dry: bool,
}

impl Read for Dribble<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        self.is_dry = !self.is_dry;
        if self.is_dry {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = block.len().min(self.bytes.len()).min(7);
        self.bytes.read(&mut block[..length])
    }
}

#[test]
fn a_tree_comes_out_as_it_was_packed() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path();
    fs::create_dir_all(tree.join("bin/empty")).unwrap();
    fs::create_dir(tree.join("a".repeat(150))).unwrap();
    let long = format!("{0}/{0}/{0}", "a".repeat(150)).replacen('/', "", 2);
    let long = format!("{}/{}", &long[..150], "b".repeat(200));
    fs::write(tree.join(&long), "far away").unwrap();
    fs::write(tree.join("bin/run"), "#!/bin/sh\n".repeat(20_000)).unwrap();
    fs::set_permissions(tree.join("bin/run"), Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(tree.join("bin/run"), tree.join("bin/run-too")).unwrap();
    symlink("bin/run", tree.join("run")).unwrap();
    fs::write(tree.join("ä\n \"x"), "odd").unwrap();
    for format in ["gnu", "posix", "ustar"] {
        if format == "ustar" {
            fs::remove_dir_all(tree.join("a".repeat(150))).unwrap();
        }
        #[expect(clippy::disallowed_methods, reason = "the real tar is what people pack with")]
        let packed = std::process::Command::new("tar")
            .args(["-c", "--format", format, "-f", "-", "-C"])
            .arg(tree)
            .arg(".")
            .output()
            .unwrap();
        assert!(packed.status.success(), "{packed:?}");
        let plain = unpacked(packed.stdout.as_slice());
        let dribbled = unpacked(Dribble { bytes: &gzip(&packed.stdout), is_dry: false });
        for (out, done) in [plain, dribbled] {
            let done = done.unwrap();
            assert_eq!(done.bytes, 200_003 + if format == "ustar" { 0 } else { 8 }, "{format}");
            assert_eq!(text(&out, "ä\n \"x"), "odd");
            assert!(format == "ustar" || text(&out, &long) == "far away");
            assert_eq!(fs::read_link(out.path().join("into/run")).unwrap(), Path::new("bin/run"));
            assert!(out.path().join("into/bin/empty").is_dir());
            let found = fs::metadata(out.path().join("into/bin/run")).unwrap();
            let was = fs::metadata(tree.join("bin/run")).unwrap();
            assert_eq!((found.mode() & 0o7777, found.nlink(), found.mtime()), (0o755, 2, was.mtime()));
        }
    }
}

#[test]
fn what_would_come_out_elsewhere_is_refused() {
    let pack = Pack::new;
    assert_eq!(why(pack().file("/etc/x", "")), "/etc/x in the archive is an absolute path");
    assert_eq!(why(pack().file("a/../../x", "")), "a/../../x in the archive leads out with ..");
    let linked = || pack().with(EntryType::Symlink, "up", "..");
    assert_eq!(why(linked().file("up/x", "")), "up/x in the archive leads through a link or a file");
    assert_eq!(why(linked().mode("up/", 0o755)), "up in the archive leads through a link or a file");
    assert_eq!(why(linked().mode("up/x/", 0o755)), "up/x in the archive leads through a link or a file");
    let another = |of: &str| linked().with(EntryType::Link, "y", of);
    assert_eq!(why(another("../x")), "../x in the archive leads out with ..");
    assert_eq!(why(another("up/into/x")), "y in the archive is a hard link to what was not in the archive before it");
    assert_eq!(why(another("up")), "y in the archive is a hard link to what is no file");
    for (kind, what) in [(EntryType::Fifo, "a pipe"), (EntryType::Char, "a device"), (EntryType::Block, "a device")] {
        assert_eq!(why(pack().with(kind, "x", "")), format!("x in the archive is {what}"));
    }
    assert!(why(pack().file(&"a/".repeat(49), "").file("x", "").mode(&"d/".repeat(300), 0o755)).contains("deeper"));
}

#[test]
fn a_link_is_replaced_and_not_written_through() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let pack = Pack::new().with(EntryType::Symlink, "x", victim.to_str().unwrap()).file("x", "new");
    let (out, done) = unpacked(pack.bytes().as_slice());
    assert_eq!(done.unwrap().entries, 2);
    assert_eq!((text(&out, "x").as_str(), fs::read_to_string(&victim).unwrap().as_str()), ("new", "untouched"));
    // And neither is a file with two names: the other one keeps what it had.
    let pack = Pack::new().file("a", "old").with(EntryType::Link, "b", "a").file("b", "new");
    let (out, done) = unpacked(pack.bytes().as_slice());
    done.unwrap();
    assert_eq!((text(&out, "a"), text(&out, "b")), ("old".to_owned(), "new".to_owned()));
}

#[test]
fn nothing_runs_as_somebody_and_every_directory_can_be_removed() {
    let pack = Pack::new().mode("run", 0o6755).mode("shut/", 0o5055).file("shut/x", "").mode("sub/late", 0o600);
    let (out, done) = unpacked(pack.mode("sub/", 0o2770).bytes().as_slice());
    done.unwrap();
    let mode = |path: &str| fs::metadata(out.path().join("into").join(path)).unwrap().mode() & 0o7777;
    assert_eq!([mode("run"), mode("shut"), mode("sub"), mode("sub/late")], [0o755, 0o1755, 0o2770, 0o600]);
}

#[test]
fn an_archive_that_is_not_whole_is_found_out() {
    let plain = Pack::new().file("a", &"x".repeat(1000)).file("b", "y").bytes();
    let packed = gzip(&plain);
    for length in [3, 511, 512, 700, 1536, 2048, 2560] {
        let done = unpacked(&plain[..length]).1;
        assert!(matches!(done, Err(UnpackError::Truncated)), "{length} of {}: {done:?}", plain.len());
    }
    for length in [3, 20, packed.len() - 9, packed.len() - 1] {
        let done = unpacked(&packed[..length]).1;
        assert!(matches!(done, Err(UnpackError::Truncated)), "{length} of {}: {done:?}", packed.len());
    }
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_owned();
        bytes[at] ^= 1;
        unpacked(bytes.as_slice()).1.unwrap_err()
    };
    assert!(matches!(flipped(&packed, packed.len() - 6), UnpackError::Unsound(_)), "its checksum");
    assert!(matches!(flipped(&plain, 1536), UnpackError::Unsound(_)), "the second header");
    assert!(matches!(flipped(&plain, 0), UnpackError::NoArchive));
    assert!(matches!(unpacked(io::empty()).1, Err(UnpackError::Nothing)));
    assert!(matches!(unpacked([0; 1024].as_slice()).1, Err(UnpackError::Empty)));
    for (magic, packing) in PACKINGS {
        assert!(matches!(unpacked(magic).1, Err(UnpackError::Packing(name)) if name == packing));
    }
    assert!(matches!(unpacked(b"<html>".repeat(500).as_slice()).1, Err(UnpackError::NoArchive)));
}

#[test]
fn what_describes_a_file_is_bounded() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let endless = Cursor::new(header.as_bytes().to_vec()).chain(io::repeat(b'x'));
    let (_, done) = unpacked(endless);
    assert_eq!(done.unwrap_err().to_string(), "the archive is damaged: 1099511627776 bytes to describe one file");
}

#[test]
fn it_ends_when_nobody_wants_more_of_it() {
    struct Silent;
    impl Read for Silent {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let (mut asked, first) = (0, Pack::new().file("a", "x").bytes());
    let done = unpack(first[..600].chain(Silent), temp.path(), &mut |_| {
        asked += 1;
        if asked > 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(done, Err(UnpackError::Stopped)), "{done:?}");
}
