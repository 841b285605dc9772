use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// All of `base` goes to `dir`.
pub(in crate::deploy) fn plan(base: String, dir: String) -> BackupPlan {
    BackupPlan {
        app: "web".to_owned(),
        user: "ann".to_owned(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        base,
        root: None,
        outside: Vec::new(),
        dir,
        include: vec![".".to_owned()],
        exclude: Vec::new(),
        before: Vec::new(),
        keep: 3,
    }
}

/// A directory with files, and another for the backups.
struct Stage {
    temp: TempDir,
    plan: BackupPlan,
}

impl Stage {
    fn new(files: &[(&str, &str)]) -> Stage {
        let temp = tempfile::tempdir().unwrap();
        let text = |path: &str| temp.path().join(path).display().to_string();
        let plan = plan(text("site"), text("backups"));
        let stage = Stage { temp, plan };
        fs::create_dir(stage.path("site")).unwrap();
        for (path, content) in files {
            stage.write(path, content);
        }
        stage
    }

    fn path(&self, path: &str) -> PathBuf {
        self.temp.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path("site").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn choose(mut self, include: &[&str], exclude: &[&str]) -> Stage {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        (self.plan.include, self.plan.exclude) = (texts(include), texts(exclude));
        self
    }

    fn make_at(&self, now: &str, watch: &mut dyn Watch) -> Result<Made, BackupError> {
        make(&self.plan, None, &format!("{now}[UTC]").parse().unwrap(), watch)
    }

    #[track_caller]
    fn make(&self) -> Made {
        self.make_at("2026-11-26T18:00:00Z", &mut Patient).unwrap()
    }

    /// What is in the directory of the backups.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path("backups"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Each path in an archive with the content of its file.
fn content(path: &Path) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(path).unwrap()));
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let text = match entry.link_name().unwrap() {
            Some(target) => format!("-> {}", target.display()),
            None => std::io::read_to_string(&mut entry).unwrap(),
        };
        found.push((path, text));
    }
    found
}

fn paths(path: &Path) -> Vec<String> {
    content(path).into_iter().map(|(path, _)| path.trim_end_matches('/').to_owned()).collect()
}

struct Patient;

impl Watch for Patient {
    fn step(&mut self, _: Step<'_>) {}

    fn goes_on(&mut self, _: Figures) -> bool {
        true
    }
}

/// Does something once, in the middle of a file.
struct Meddler<'a>(Option<Box<dyn FnOnce() + 'a>>);

impl Watch for Meddler<'_> {
    fn step(&mut self, _: Step<'_>) {}

    fn goes_on(&mut self, figures: Figures) -> bool {
        if figures.bytes > 0
            && let Some(meddle) = self.0.take()
        {
            meddle();
        }
        true
    }
}

/// Ends it at that step, or in the middle of the archive.
struct Impatient {
    step: &'static str,
    now: bool,
}

impl Watch for Impatient {
    fn step(&mut self, step: Step<'_>) {
        self.now = format!("{step:?}").starts_with(self.step);
    }

    fn goes_on(&mut self, figures: Figures) -> bool {
        !self.now || figures.bytes == 0
    }
}

#[test]
fn what_is_included_is_there_and_what_is_excluded_is_not() {
    let files = [
        ("a/b/one.db", "1"),
        ("a/b/two.txt", "2"),
        ("a/node_modules/x/y", "3"),
        ("node_modules/z", "4"),
        ("shared/.env", "5"),
        ("shared/log/a.log", "6"),
        ("src/index.js", "7"),
    ];
    let chosen = |include: &[&str], exclude: &[&str]| paths(&Stage::new(&files).choose(include, exclude).make().path);
    assert_eq!(chosen(&["a/**/*.db"], &[]), ["a", "a/b", "a/b/one.db"]);
    assert_eq!(chosen(&["shared"], &["*.log"]), ["shared", "shared/.env", "shared/log"]);
    assert_eq!(chosen(&["shared"], &["shared/log"]), ["shared", "shared/.env"]);
    assert_eq!(
        chosen(&["a", "shared/.env"], &["node_modules"]),
        ["a", "a/b", "a/b/one.db", "a/b/two.txt", "shared", "shared/.env"]
    );
    assert_eq!(chosen(&["."], &["a", "s*"]), ["node_modules", "node_modules/z"]);
    assert_eq!(chosen(&["a/node_modules"], &[]).len(), 4);
}

#[test]
fn a_path_that_is_not_there_fails_and_a_glob_that_means_nothing_is_told() {
    let stage = Stage::new(&[("shared/x", "1")]).choose(&["shared", "upload"], &[]);
    let error = stage.make_at("2026-11-26T18:00:00Z", &mut Patient).unwrap_err().refusal();
    assert!(error.message.contains("\"upload\" of include in "), "{error:?}");
    let made = Stage::new(&[("shared/x", "1")]).choose(&["shared", "*.db"], &[]).make();
    assert_eq!(made.notes, ["nothing was there for include \"*.db\""]);
    let stage = Stage::new(&[("shared/x", "1")]).choose(&["*.db"], &[]);
    let error = stage.make_at("2026-11-26T18:00:00Z", &mut Patient).unwrap_err();
    assert!(matches!(error, BackupError::Empty { .. }), "{error}");
    assert!(stage.names().is_empty());
}

#[test]
fn links_are_kept_as_links_and_never_followed() {
    let stage = Stage::new(&[("shared/x", "1")]).choose(&["shared", "up"], &[]);
    fs::create_dir(stage.path("elsewhere")).unwrap();
    fs::write(stage.path("elsewhere/secret"), "2").unwrap();
    symlink("../../elsewhere", stage.path("site/shared/out")).unwrap();
    symlink("/nowhere", stage.path("site/up")).unwrap();
    let made = stage.make();
    let pairs = [("shared/", ""), ("shared/out", "-> ../../elsewhere"), ("shared/x", "1"), ("up", "-> /nowhere")];
    let found: Vec<(String, String)> = content(&made.path);
    assert_eq!(
        found.iter().map(|(path, text)| (path.trim_end_matches('/'), text.as_str())).collect::<Vec<_>>(),
        pairs.map(|(path, text)| (path.trim_end_matches('/'), text))
    );
    assert_eq!(made.notes, ["up is a link and kept as one, without what it leads to"]);
    let behind = stage.choose(&["shared/out/secret"], &[]);
    let error = behind.make_at("2026-11-26T18:00:00Z", &mut Patient).unwrap_err();
    assert!(matches!(error, BackupError::BehindLink { .. }), "{error}");
}

#[test]
fn the_backups_are_in_no_backup() {
    let mut stage = Stage::new(&[("x", "1"), ("kept/notes.txt", "2")]);
    stage.plan.dir = stage.path("site/kept").display().to_string();
    stage.make();
    let second = stage.make_at("2026-11-26T19:00:00Z", &mut Patient).unwrap();
    assert_eq!(paths(&second.path), ["kept", "kept/notes.txt", "x"]);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_told_and_breaks_nothing() {
    let long = "x".repeat(100_000);
    let shrunk = |meddle: &dyn Fn(&Path)| {
        let stage = Stage::new(&[("a", long.as_str()), ("b", "after")]);
        let path = stage.path("site/a");
        let made = stage.make_at("2026-11-26T18:00:00Z", &mut Meddler(Some(Box::new(|| meddle(&path))))).unwrap();
        let found = content(&made.path);
        assert_eq!((found[0].1.len(), found[1].1.as_str()), (100_000, "after"));
        made.notes
    };
    assert_eq!(shrunk(&|path| fs::write(path, "y").unwrap()), ["a changed while it was read"]);
    assert_eq!(shrunk(&|path| fs::write(path, "z".repeat(200_000)).unwrap()), ["a changed while it was read"]);
    assert_eq!(shrunk(&|path| fs::remove_file(path).unwrap()), [""; 0], "it was open, and is whole");
}

#[test]
fn what_goes_away_before_its_turn_is_told() {
    let stage = Stage::new(&[("a", "first"), ("b", "gone"), ("c/d", "gone, too")]);
    let (b, c) = (stage.path("site/b"), stage.path("site/c"));
    let meddle = move || {
        fs::remove_file(b).unwrap();
        fs::remove_dir_all(c).unwrap();
    };
    let made = stage.make_at("2026-11-26T18:00:00Z", &mut Meddler(Some(Box::new(meddle)))).unwrap();
    assert_eq!(made.notes, ["b went away meanwhile", "c went away meanwhile"]);
    assert_eq!(content(&made.path).len(), 1);
}

#[test]
fn one_that_is_stopped_leaves_nothing() {
    for step in ["Archive", "Verify"] {
        let stage = Stage::new(&[("a", "x".repeat(100_000).as_str())]);
        let stopped = stage.make_at("2026-11-26T18:00:00Z", &mut Impatient { step, now: false });
        assert!(matches!(stopped, Err(BackupError::Stopped)), "{step}: {stopped:?}");
        assert!(stage.names().is_empty(), "{step}: {:?}", stage.names());
    }
}

#[test]
fn an_archive_that_was_damaged_is_found_out() {
    let stage = Stage::new(&[("a", &(0..20_000).map(|n| n.to_string()).collect::<String>()), ("b", "end")]);
    let made = stage.make();
    let whole = fs::read(&made.path).unwrap();
    let sound = |bytes: &[u8]| {
        fs::write(stage.path("copy"), bytes).unwrap();
        verify::read_back(&stage.path("copy"), made.figures, &mut Patient)
    };
    assert_eq!(sound(&whole).unwrap(), made.size);
    for at in [100, whole.len() / 2, whole.len() - 5] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        assert!(matches!(sound(&flipped), Err(BackupError::Unsound { .. })), "a bit of byte {at}");
    }
    for length in [0, 30, whole.len() / 2, whole.len() - 1] {
        assert!(matches!(sound(&whole[..length]), Err(BackupError::Unsound { .. })), "cut to {length}");
    }
    let more = Figures { entries: made.figures.entries + 1, ..made.figures };
    assert!(matches!(verify::read_back(&made.path, more, &mut Patient), Err(BackupError::Unsound { .. })));
}

#[test]
fn the_newest_are_kept_and_the_one_just_made_whatever_the_clock_says() {
    let mut stage = Stage::new(&[("a", "1")]);
    stage.plan.keep = 2;
    let make = |now: &str| stage.make_at(now, &mut Patient).unwrap();
    for now in ["2026-11-26T18:00:00Z", "2026-11-26T18:00:00Z", "2026-11-26T18:00:05Z"] {
        make(now);
    }
    assert_eq!(stage.names(), ["backup-20261126-180001.tar.gz", "backup-20261126-180005.tar.gz"]);
    // In quick succession.
    let names: Vec<PathBuf> = (0..4).map(|_| make("2026-11-26T18:00:05Z").path).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(stage.names(), ["backup-20261126-180008.tar.gz", "backup-20261126-180009.tar.gz"]);
    // The clock was set back.
    let made = make("2026-10-01T00:00:00Z");
    assert_eq!(made.pruned, ["backup-20261126-180008.tar.gz"]);
    assert_eq!(stage.names(), ["backup-20261001-000000.tar.gz", "backup-20261126-180009.tar.gz"]);
}

#[test]
fn apps_that_share_a_directory_do_not_prune_one_another() {
    let mut stage = Stage::new(&[("a", "1")]);
    stage.plan.keep = 1;
    stage.make();
    stage.plan.app = "shop".to_owned();
    stage.make();
    let second = stage.make_at("2026-11-26T19:00:00Z", &mut Patient).unwrap();
    assert_eq!(second.pruned, ["backup-20261126-180001.tar.gz"]);
    fs::write(stage.path("backups/backup-20251021-010000.tar.gz"), "by hand").unwrap();
    fs::create_dir(stage.path("backups/backup-20251021-010001.tar.gz")).unwrap();
    symlink(&second.path, stage.path("backups/backup-20251021-010002.tar.gz")).unwrap();
    stage.make_at("2026-11-26T20:00:00Z", &mut Patient).unwrap();
    assert_eq!(
        stage.names(),
        [
            "backup-20251021-010000.tar.gz",
            "backup-20251021-010001.tar.gz",
            "backup-20251021-010002.tar.gz",
            "backup-20261126-180000.tar.gz",
            "backup-20261126-200000.tar.gz",
        ]
    );
    let of = |app: &str| -> Vec<(String, bool)> {
        let kept = list(&stage.path("backups"), app).unwrap();
        kept.into_iter().map(|kept| (kept.name[7..20].to_owned(), kept.is_own)).collect()
    };
    assert_eq!(of("web"), [("20261126-1800".to_owned(), true), ("20251021-0100".to_owned(), false)]);
    assert_eq!(list(&stage.path("none"), "web").unwrap(), []);
}

#[test]
fn only_names_of_exactly_that_form_are_backups() {
    let stage = Stage::new(&[("a", "1")]);
    let made = stage.make();
    for name in [
        "backup-20261126-180000.tar.gz.old",
        "backup-2026112-180000.tar.gz",
        "backup-20261301-000000.tar.gz",
        "backup-20261126-1800000.tar.gz",
        " backup-20261126-180000.tar.gz",
    ] {
        fs::copy(&made.path, stage.path("backups").join(name)).unwrap();
    }
    assert_eq!(list(&stage.path("backups"), "web").unwrap().len(), 1);
}

#[test]
fn a_second_one_is_told_who_makes_the_first() {
    let stage = Stage::new(&[("a", "1")]);
    let now: Zoned = "2026-11-26T18:00:00Z[UTC]".parse().unwrap();
    let first = Place::take(&stage.plan, &now).unwrap();
    let Err(BackupError::Busy { pid, .. }) = Place::take(&stage.plan, &now) else { panic!("it was free") };
    assert_eq!(pid, i32::try_from(std::process::id()).ok());
    let other = BackupPlan { app: "shop".to_owned(), ..stage.plan.clone() };
    drop(Place::take(&other, &now).unwrap());
    drop(first);
    assert!(stage.names().is_empty());
    stage.make();
}
