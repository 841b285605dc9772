mod cut_off;

use super::*;
use crate::api::BackupPlan;
use crate::deploy::backup::tests::plan;
use crate::deploy::backup::{self, Step, Watch};
use crate::deploy::root::Root;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use tar::EntryType;
use tempfile::TempDir;

/// Its kind, its name, and what it holds or leads to.
type Entry<'e> = (EntryType, &'e str, &'e str);

/// A root with files, and a directory for its backups.
struct Stage {
    temp: TempDir,
    plan: BackupPlan,
}

impl Stage {
    fn new(include: &[&str], exclude: &[&str], files: &[(&str, &str)]) -> Stage {
        let temp = tempfile::tempdir().unwrap();
        let text = |path: &str| temp.path().join(path).display().to_string();
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let plan = BackupPlan {
            root: Some(text("root")),
            include: texts(include),
            exclude: texts(exclude),
            keep: 10,
            ..plan(text("root"), text("backups"))
        };
        let stage = Stage { temp, plan };
        fs::create_dir_all(stage.path("backups")).unwrap();
        for (path, content) in files {
            stage.write(path, content);
        }
        stage
    }

    fn path(&self, path: &str) -> PathBuf {
        self.temp.path().join(path)
    }

    fn root(&self) -> Root {
        Root::new(self.path("root"))
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path("root").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[track_caller]
    fn back_up(&self, now: &str) -> PathBuf {
        let now = format!("{now}[UTC]").parse().unwrap();
        backup::make(&self.plan, None, &now, &mut Patient).unwrap().path
    }

    /// An archive of these entries in its own words, named as a backup.
    fn pack(&self, entries: &[Entry<'_>]) -> PathBuf {
        let path = self.path("backups/backup-20261126-000000.tar.gz");
        let mut gzip = flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), flate2::Compression::fast());
        for (kind, name, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            // Set directly: the library itself refuses such names.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            let is_file = *kind == EntryType::Regular;
            if !is_file {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            let size = if is_file { content.len() } else { 0 };
            header.set_size(size as u64);
            header.set_cksum();
            gzip.write_all(header.as_bytes()).unwrap();
            let mut block = content.as_bytes()[..size].to_vec();
            block.resize(size.next_multiple_of(512), 0);
            gzip.write_all(&block).unwrap();
        }
        gzip.write_all(&[0; 1024]).unwrap();
        gzip.finish().unwrap();
        path
    }

    /// Every path below the root with what it is, its time and its content, without what restores keep.
    fn tree(&self) -> Vec<String> {
        let (mut open, mut lines) = (vec![self.path("root")], Vec::new());
        while let Some(dir) = open.pop() {
            for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                let found = fs::symlink_metadata(&path).unwrap();
                let name = path.strip_prefix(self.path("root")).unwrap().to_owned();
                if name == Path::new("restores") {
                    continue;
                }
                let content = if found.is_symlink() {
                    format!("-> {}", fs::read_link(&path).unwrap().display())
                } else if found.is_dir() {
                    open.push(path);
                    String::new()
                } else {
                    format!("{} {}", found.mtime(), fs::read_to_string(&path).unwrap())
                };
                lines.push(format!("{} {:o} {content}", name.display(), found.mode()));
            }
        }
        lines.sort();
        lines
    }

    /// As far as a restore goes until it would take its place.
    fn unpack(&self, word: &str) -> Result<(Staging, Parts), Unrestored> {
        let found = find(&self.plan, word, false)?;
        Contents::of(&found, &mut |_| ControlFlow::Continue(()))?;
        let (staging, _) = Staging::begin(&self.root(), "now")?;
        staging.unpack(&found, &mut |_| ControlFlow::Continue(()))?;
        let parts = Parts::of(&self.plan, &self.path("root"), &staging.files())?;
        Ok((staging, parts))
    }

    #[track_caller]
    fn restore(&self, word: &str) -> Parts {
        let (mut staging, parts) = self.unpack(word).unwrap();
        staging.place(&parts).unwrap();
        staging.finish().unwrap();
        parts
    }

    #[track_caller]
    fn refused(&self, word: &str) -> String {
        match self.unpack(word) {
            Err(Unrestored::Refused(refusal)) => refusal.message,
            Err(Unrestored::Stopped) => panic!("stopped"),
            Ok((_, parts)) => panic!("{parts:?}"),
        }
    }
}

struct Patient;

impl Watch for Patient {
    fn step(&mut self, _: Step<'_>) {}

    fn goes_on(&mut self, _: Figures) -> bool {
        true
    }
}

const NOW: &str = "2026-11-26T18:00:00Z";

fn paths(parts: &Parts) -> Vec<&str> {
    parts.parts.iter().map(|part| part.path.to_str().unwrap()).collect()
}

#[test]
fn a_tree_that_was_changed_is_again_as_it_was_and_the_changed_one_is_kept() {
    let files = [("shared/a", "1"), ("shared/up/b", "2"), ("shared/up/c", "3"), ("releases/x/index.js", "code")];
    let stage = Stage::new(&["shared"], &[], &files);
    symlink("/etc/passwd", stage.path("root/shared/link")).unwrap();
    fs::set_permissions(stage.path("root/shared/up"), PermissionsExt::from_mode(0o750)).unwrap();
    let before = stage.tree();
    stage.back_up(NOW);
    stage.write("shared/a", "changed");
    fs::remove_dir_all(stage.path("root/shared/up")).unwrap();
    stage.write("shared/up", "a file now");
    stage.write("shared/new", "newer");
    let changed = stage.tree();
    let parts = stage.restore("latest");
    assert_eq!(stage.tree(), before);
    assert_eq!(
        (paths(&parts), parts.newer.first.as_slice()),
        (vec!["shared"], [PathBuf::from("shared/new")].as_slice())
    );
    let kept = |path: &str| fs::read_to_string(stage.path("root/restores/now/before/shared").join(path)).unwrap();
    assert_eq!((kept("a"), kept("up"), kept("new")), ("changed".into(), "a file now".into(), "newer".into()));
    assert_ne!(changed, before);
    assert_eq!(kept_names(&stage), ["now"]);
}

fn kept_names(stage: &Stage) -> Vec<String> {
    kept(&stage.root()).iter().map(|dir| dir.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn what_the_table_does_not_mean_stays_where_it_is() {
    let files = [("shared/.env", "1"), ("shared/up/a", "2"), ("shared/up/x.log", "3"), ("data/x.db", "4")];
    let stage = Stage::new(&["shared/up", "data/*.db"], &["*.log"], &files);
    stage.back_up(NOW);
    stage.write("shared/.env", "changed");
    stage.write("shared/up/a", "changed");
    stage.write("shared/up/x.log", "changed");
    stage.write("shared/up/new", "newer");
    stage.write("data/y.db", "newer");
    stage.write("data/x.db", "changed");
    let inode = |path: &str| fs::metadata(stage.path("root").join(path)).unwrap().ino();
    let log = inode("shared/up/x.log");
    let parts = stage.restore("latest");
    assert_eq!(paths(&parts), ["data/x.db", "shared/up/a", "shared/up/new"]);
    let is = |path: &str| fs::read_to_string(stage.path("root").join(path)).ok();
    for (path, content) in [
        ("shared/.env", Some("changed")),
        ("shared/up/a", Some("2")),
        ("shared/up/x.log", Some("changed")),
        ("shared/up/new", None),
        ("data/x.db", Some("4")),
        ("data/y.db", Some("newer")),
    ] {
        assert_eq!(is(path).as_deref(), content, "{path}");
    }
    assert_eq!(inode("shared/up/x.log"), log, "whoever has it open writes on");
    assert_eq!(parts.missing.first, [PathBuf::from("data/y.db")]);
}

#[test]
fn the_backups_themselves_stay_where_they_are() {
    let mut stage = Stage::new(&["."], &[], &[("kept/notes.txt", "1"), ("a", "2")]);
    stage.plan.dir = stage.path("root/kept").display().to_string();
    stage.back_up(NOW);
    stage.back_up(NOW);
    stage.write("kept/notes.txt", "changed");
    let parts = stage.restore("latest");
    assert_eq!(paths(&parts), ["a", "kept/notes.txt"]);
    let mut names: Vec<_> =
        fs::read_dir(stage.path("root/kept")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["backup-20261126-180000.tar.gz", "backup-20261126-180001.tar.gz", "notes.txt"]);
}

#[test]
fn what_the_archive_has_beyond_the_table_is_left_and_what_it_lacks_stays() {
    let mut stage = Stage::new(&["shared", "more"], &[], &[("shared/a", "1"), ("more/b", "2")]);
    stage.back_up(NOW);
    stage.plan.include = vec!["shared".to_owned(), "other".to_owned()];
    stage.write("other/c", "3");
    stage.write("more/b", "changed");
    let parts = stage.restore("latest");
    assert_eq!(paths(&parts), ["shared"]);
    assert_eq!((parts.left.first, parts.missing.first), (vec![PathBuf::from("more")], vec![PathBuf::from("other")]));
    assert_eq!(fs::read_to_string(stage.path("root/more/b")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(stage.path("root/restores/now/left/more/b")).unwrap(), "2");
    assert_eq!(fs::read_to_string(stage.path("root/other/c")).unwrap(), "3");
}

#[test]
fn a_restore_that_is_taken_back_or_fails_half_way_leaves_everything_as_it_was() {
    let files = [("a/x", "1"), ("b/x", "2"), ("gone/x", "3")];
    let stage = Stage::new(&["a", "b", "gone"], &["*.log"], &files);
    stage.back_up(NOW);
    fs::remove_dir_all(stage.path("root/gone")).unwrap();
    stage.write("a/x", "changed");
    stage.write("a/new", "newer");
    stage.write("a/x.log", "not meant");
    let changed = stage.tree();
    let (mut staging, parts) = stage.unpack("latest").unwrap();
    staging.place(&parts).unwrap();
    assert_ne!(stage.tree(), changed);
    assert!(stage.path("root/restores/now.placing").is_dir());
    staging.put_back().unwrap();
    assert_eq!(stage.tree(), changed);
    staging.finish().unwrap();
    fs::remove_dir_all(stage.path("root/restores/now")).unwrap();

    let (mut staging, parts) = stage.unpack("latest").unwrap();
    assert_eq!(paths(&parts), ["a/new", "a/x", "b", "gone"]);
    // In the way of the third.
    fs::create_dir(staging.before()).unwrap();
    fs::write(staging.before().join("b"), "").unwrap();
    let refusal = staging.place(&parts).unwrap_err();
    assert!(refusal.message.contains("cannot replace") && refusal.message.contains("root/b"), "{refusal:?}");
    assert_eq!(stage.tree(), changed);
    drop(staging);
    assert_eq!(kept_names(&stage), [""; 0]);
}

#[test]
fn a_damaged_archive_is_refused_and_nothing_is_left() {
    let long: String = (0..20_000).map(|n| n.to_string()).collect();
    let stage = Stage::new(&["shared"], &[], &[("shared/a", &long), ("shared/b", "end")]);
    let path = stage.back_up(NOW);
    stage.write("shared/a", "changed");
    let (whole, tree) = (fs::read(&path).unwrap(), stage.tree());
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let message = stage.refused(path.file_name().unwrap().to_str().unwrap());
        assert!(message.contains("nothing was touched"), "{what}: {message}");
        assert_eq!(stage.tree(), tree, "{what}");
        assert_eq!(kept_names(&stage), [""; 0], "{what}");
    };
    for part in 1..20 {
        let at = whole.len() * part / 20;
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        refused(&flipped, &format!("a bit of byte {at}"));
    }
    for end in [whole.len() - 8, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[end] ^= 1;
        refused(&flipped, "the checksum or the length");
    }
    for length in [0, 5, 30, whole.len() / 3, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        refused(&whole[..length], &format!("cut to {length}"));
    }
    refused(&[whole.as_slice(), b"more"].concat(), "something behind it");
    fs::write(&path, &whole).unwrap();
    stage.restore("latest");
    assert_eq!(fs::read_to_string(stage.path("root/shared/a")).unwrap(), long);
}

#[test]
fn an_archive_that_would_escape_is_refused_whatever_it_tries() {
    let stage = Stage::new(&["shared"], &[], &[("shared/a", "1"), ("outside", "precious")]);
    let outside = stage.path("root/outside").display().to_string();
    let (file, link, hard, dir) = (EntryType::Regular, EntryType::Symlink, EntryType::Link, EntryType::Directory);
    let tries: &[(&str, &[Entry<'_>])] = &[
        ("..", &[(file, "shared/../../outside", "x")]),
        ("absolute", &[(file, &outside, "x")]),
        ("through a link", &[(link, "shared", ".."), (file, "shared/outside", "x")]),
        ("through an absolute link", &[(dir, "shared", ""), (link, "shared/a", "/tmp"), (file, "shared/a/b", "x")]),
        ("a directory for a link", &[(link, "shared", "/tmp"), (dir, "shared", ""), (file, "shared/b", "x")]),
        ("a hard link out", &[(hard, "shared/a", "../../outside")]),
        ("an absolute hard link", &[(hard, "shared/a", &outside)]),
        ("a hard link through a link", &[(link, "up", ".."), (hard, "shared/a", "up/outside")]),
        ("a hard link to a link", &[(link, "up", &outside), (hard, "shared/a", "up")]),
        ("a device", &[(EntryType::Char, "shared/null", "")]),
        ("a disk", &[(EntryType::Block, "shared/sda", "")]),
        ("a pipe", &[(EntryType::Fifo, "shared/pipe", "")]),
    ];
    let tree = stage.tree();
    for (what, entries) in tries {
        let path = stage.pack(entries);
        let message = stage.refused(path.to_str().unwrap());
        assert!(message.contains("not to be trusted"), "{what}: {message}");
        assert_eq!(stage.tree(), tree, "{what}");
        assert_eq!(kept_names(&stage), [""; 0], "{what}");
    }
    let path = stage.pack(&[(file, "shared/a", "fine")]);
    stage.restore(path.to_str().unwrap());
    assert_eq!(fs::read_to_string(stage.path("root/shared/a")).unwrap(), "fine");
}

#[test]
fn a_backup_is_found_by_its_name_its_path_or_as_the_latest_and_anothers_only_if_it_is_meant() {
    let mut stage = Stage::new(&["shared"], &[], &[("shared/a", "1")]);
    let found = |plan: &BackupPlan, word: &str, force| find(plan, word, force).map(|found| (found.name(), found.whose));
    let no = |plan: &BackupPlan, word: &str| find(plan, word, false).unwrap_err();
    assert_eq!(no(&stage.plan, "latest").hint.as_deref(), Some("infissi-ctl backup web"));
    let (older, newer) = (stage.back_up(NOW), stage.back_up("2026-11-26T19:00:00Z"));
    let (older_name, newer_name) = ("backup-20261126-180000.tar.gz", "backup-20261126-190000.tar.gz");
    assert_eq!(found(&stage.plan, "latest", false).unwrap(), (newer_name.to_owned(), Whose::Own));
    for word in [older_name, "backup-20261126-180000", older.to_str().unwrap()] {
        assert_eq!(found(&stage.plan, word, false).unwrap(), (older_name.to_owned(), Whose::Own));
    }
    assert!(no(&stage.plan, "backup-1").hint.unwrap().contains("infissi-ctl backups web"));
    assert!(no(&stage.plan, stage.path("backups").to_str().unwrap()).message.ends_with("is no file"));
    let by_hand = stage.pack(&[(EntryType::Regular, "shared/a", "x")]);
    assert_eq!(found(&stage.plan, by_hand.to_str().unwrap(), false).unwrap().1, Whose::Unsaid);
    stage.plan.app = "shop".to_owned();
    let refusal = no(&stage.plan, newer_name);
    assert!(refusal.message.contains("is a backup of web, not of shop"), "{refusal:?}");
    assert!(refusal.hint.unwrap().contains("--force"));
    assert_eq!(found(&stage.plan, newer.to_str().unwrap(), true).unwrap().1, Whose::Anothers("web".to_owned()));
    assert!(no(&stage.plan, "latest").hint.unwrap().contains("name one of the others"));
}

#[test]
fn a_mount_is_in_the_way_only_of_what_would_replace_it() {
    let mut stage = Stage::new(&["no-such-thing"], &[], &[]);
    stage.plan.base = "/".to_owned();
    let parts = |plan: &BackupPlan| Parts::of(plan, Path::new("/"), &stage.path("backups"));
    assert_eq!(parts(&stage.plan).unwrap(), Parts::default());
    let plan = BackupPlan { include: vec!["proc".to_owned()], ..stage.plan.clone() };
    let refusal = parts(&plan).unwrap_err();
    assert!(refusal.message.contains("/proc is on a disk of its own"), "{refusal:?}");
}

#[test]
fn no_name_is_given_twice() {
    let stage = Stage::new(&["shared"], &[], &[("shared/a", "1")]);
    let id = || new_id(&stage.root(), "2026-11-26T18:00:00Z".parse().unwrap());
    assert_eq!(id(), "20261126-180000-restored");
    fs::create_dir_all(stage.path("root/restores/20261126-180000-restored")).unwrap();
    assert_eq!(id(), "20261126-180000-restored-2");
    fs::create_dir_all(stage.path("root/releases/20261126-180000-restored-2")).unwrap();
    assert_eq!(id(), "20261126-180000-restored-3");
}

#[test]
fn the_code_in_an_archive_is_the_release_that_was_live_or_the_project() {
    let code = |files: &[(&str, &str)], live: Option<&str>| {
        let stage = Stage::new(&["."], &[], files);
        if let Some(live) = live {
            symlink(live, stage.path("root/live")).unwrap();
        }
        stage.back_up(NOW);
        let found = find(&stage.plan, "latest", false).unwrap();
        Contents::of(&found, &mut |_| ControlFlow::Continue(())).unwrap().code()
    };
    let (one, two, shared) = (("releases/one/x", ""), ("releases/two/x", ""), ("shared/x", ""));
    assert_eq!(code(&[shared], None), Code::None);
    assert_eq!(code(&[one, shared], None), Code::Release("one".to_owned()));
    assert_eq!(code(&[one, two], Some("releases/two")), Code::Release("two".to_owned()));
    assert_eq!(code(&[one, two], Some("/srv/web/releases/one")), Code::Release("one".to_owned()));
    assert!(matches!(code(&[one, two], Some("releases/three")), Code::Unclear(ids) if ids.len() == 2));
    assert!(matches!(code(&[one, two], Some("../one")), Code::Unclear(_)));
    assert_eq!(code(&[("package.json", "{}"), shared], None), Code::Project);
}

#[test]
fn one_that_is_only_unpacked_touches_nothing_and_leaves_nothing_when_it_is_stopped() {
    let stage = Stage::new(&["shared"], &[], &[("shared/a", "1")]);
    stage.back_up(NOW);
    let (found, into) = (find(&stage.plan, "latest", false).unwrap(), stage.path("into"));
    let stopped = unpack_into(&found, &into, None, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(Unrestored::Stopped)) && !into.exists());
    unpack_into(&found, &into, None, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(fs::read_to_string(into.join("shared/a")).unwrap(), "1");
    let Err(Unrestored::Refused(refusal)) = unpack_into(&found, &into, None, &mut |_| ControlFlow::Continue(())) else {
        panic!("it was there")
    };
    assert!(refusal.message.contains("there is a "), "{refusal:?}");
    assert!(into.join("shared/a").exists());
    let all = Figures { entries: 1, bytes: u64::MAX };
    assert!(check_room(&into, all).unwrap_err().hint.unwrap().contains("--into"));
}
