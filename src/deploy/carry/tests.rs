use super::*;
use jiff::Timestamp;
use std::ops::ControlFlow;
use tempfile::TempDir;

struct Patient;

impl Audience for Patient {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn line(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn tick(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// A checkout with uploads and a database, and where they go.
struct Story {
    dir: TempDir,
}

impl Story {
    fn new() -> Story {
        let story = Story { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(story.dir.path().join("shared")).unwrap();
        story.put("live/up/a.png", "a");
        story.put("live/dev.db", "one");
        story
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|error| error.kind().to_string())
    }

    fn carry(&self, left: &[PathBuf]) -> Result<Carry, Refusal> {
        let link = |path: &str| SharedLink {
            path: path.to_owned(),
            target: self.path("shared").join(path).display().to_string(),
        };
        Carry::new(&self.path("live"), &[link("up"), link("dev.db"), link("none")], left)
    }

    fn begin(&self) -> Carry {
        let mut carry = self.carry(&[]).unwrap();
        carry.begin(&Root::new(self.path("shared")), 0, &mut Patient).unwrap();
        carry
    }
}

#[test]
fn what_the_app_writes_meanwhile_comes_along_too() {
    let story = Story::new();
    let mut carry = story.begin();
    assert_eq!((story.text("shared/up/a.png").as_str(), story.text("shared/dev.db").as_str()), ("a", "one"));
    story.put("live/up/sub/b.png", "b");
    story.put("live/dev.db", "the second");
    carry.again().unwrap();
    assert_eq!((story.text("shared/up/sub/b.png").as_str(), story.text("shared/dev.db").as_str()), ("b", "the second"));
    assert_eq!(carry.notes(), Vec::<String>::new());
    // The release is live: its own writes are not undone, and what is late is told.
    story.put("shared/dev.db", "of the release");
    story.put("live/dev.db", "of the old one");
    story.put("live/up/late.png", "late");
    carry.end().unwrap();
    assert_eq!(
        (story.text("shared/dev.db").as_str(), story.text("shared/up/late.png").as_str()),
        ("of the release", "late")
    );
    let notes = carry.notes();
    assert!(notes.len() == 1 && notes[0].contains("live/dev.db") && !notes[0].contains("late.png"), "{notes:?}");
    assert_eq!(story.text("live/up/a.png"), "a", "nothing was moved");
}

#[test]
fn what_the_steps_and_the_app_have_written_is_refused_and_stays() {
    let story = Story::new();
    let mut carry = story.begin();
    story.put("shared/dev.db", "migrated");
    carry.again().unwrap();
    story.put("live/dev.db", "not migrated");
    story.put("live/up/b.png", "b");
    let refused = carry.again().unwrap_err();
    assert!(refused.message.contains("shared/dev.db was written to by the steps"), "{}", refused.message);
    assert!(refused.hint.unwrap().contains("live/dev.db"));
    assert_eq!(story.text("shared/dev.db"), "migrated");
}

#[test]
fn a_journal_of_the_app_does_not_get_beside_a_database_that_the_steps_have_written() {
    for (written, by_steps) in [("live/dev.db-wal", "shared/dev.db"), ("live/dev.db", "shared/dev.db-journal")] {
        let story = Story::new();
        let mut carry = story.begin();
        story.put(by_steps, "migrated");
        story.put(written, "of the app");
        let refused = carry.again().unwrap_err();
        assert!(refused.message.contains(by_steps) && refused.message.contains("live/dev.db by"), "{refused:?}");
        assert!(!story.path("shared/dev.db-wal").exists());
    }
}

#[test]
fn a_link_that_the_app_sets_anew_is_no_work_of_the_steps() {
    let story = Story::new();
    symlink("a.png", story.path("live/up/newest")).unwrap();
    let mut carry = story.begin();
    std::fs::remove_file(story.path("live/up/newest")).unwrap();
    symlink("later.png", story.path("live/up/newest")).unwrap();
    carry.again().unwrap();
    assert_eq!(std::fs::read_link(story.path("shared/up/newest")).unwrap(), Path::new("later.png"));
}

#[test]
fn a_journal_of_the_old_process_does_not_get_beside_the_database_of_the_release() {
    let story = Story::new();
    let mut carry = story.begin();
    carry.again().unwrap();
    let late = ["live/dev.db-wal", "live/dev.db-journal", "live/up/x.db-journal"];
    for path in late {
        story.put(path, "of the old one");
    }
    carry.end().unwrap();
    let notes = carry.notes();
    for path in late {
        assert!(!story.path(&path.replace("live", "shared")).exists(), "{path}");
        assert!(notes.iter().any(|note| note.contains(path)), "{path}: {notes:?}");
    }
}

#[test]
fn a_database_in_the_middle_of_a_transaction_is_told() {
    let story = Story::new();
    let mut carry = story.begin();
    assert_eq!(carry.notes(), Vec::<String>::new());
    story.put("live/dev.db-journal", "before it");
    story.put("live/dev.db-shm", "never copied");
    carry.again().unwrap();
    assert_eq!(story.text("shared/dev.db-journal"), "before it");
    assert!(!story.path("shared/dev.db-shm").exists());
    let notes = carry.notes();
    assert!(notes.len() == 1 && notes[0].contains("live/dev.db is a database in use"), "{notes:?}");
}

#[test]
fn a_journal_that_an_earlier_attempt_has_left_is_refused() {
    let story = Story::new();
    story.put("shared/dev.db-wal", "of an earlier attempt");
    let refused = story.carry(&[]).unwrap().plan().unwrap_err();
    assert!(refused.message.contains("shared/dev.db-wal is there already"), "{}", refused.message);
    assert!(refused.hint.unwrap().contains("rm "));
    // Whoever keeps the database there keeps its journal, and gets no other.
    story.put("live/dev.db-journal", "of the app");
    let mut carry = story.carry(&[PathBuf::from("dev.db")]).unwrap();
    carry.begin(&Root::new(story.path("shared")), 0, &mut Patient).unwrap();
    assert!(!story.path("shared/dev.db-journal").exists());
}

#[test]
fn a_journal_that_is_gone_from_beside_the_database_is_not_left_beside_its_copy() {
    let story = Story::new();
    story.put("live/dev.db-wal", "journal");
    let mut carry = story.begin();
    assert_eq!(story.text("shared/dev.db-wal"), "journal");
    let notes = carry.notes();
    assert!(notes.len() == 1 && notes[0].contains("dev.db is a database in use"), "{notes:?}");
    std::fs::remove_file(story.path("live/dev.db-wal")).unwrap();
    story.put("live/dev.db", "with the journal in it");
    carry.again().unwrap();
    assert!(!story.path("shared/dev.db-wal").exists());
    assert_eq!(story.text("shared/dev.db"), "with the journal in it");
}

#[test]
fn a_second_attempt_goes_on_where_the_first_ended_and_goes_over_nothing() {
    let story = Story::new();
    story.begin();
    story.put("live/up/b.png", "b");
    story.begin();
    assert_eq!(story.text("shared/up/b.png"), "b");
    story.put("shared/dev.db", "somebody's");
    let refused = story.carry(&[]).unwrap().plan().unwrap_err();
    assert!(refused.message.contains("shared/dev.db is there already"), "{}", refused.message);
    assert_eq!(story.text("shared/dev.db"), "somebody's");
    story.carry(&[PathBuf::from("dev.db")]).unwrap().plan().unwrap();
}

#[test]
fn what_is_shared_where_it_is_is_not_copied_and_a_link_elsewhere_is_refused() {
    let story = Story::new();
    let in_place = SharedLink { path: "up".to_owned(), target: story.path("live/up").display().to_string() };
    assert!(Carry::new(&story.path("live"), &[in_place], &[]).unwrap().plan().unwrap().0.is_empty());
    story.put("elsewhere/x", "x");
    symlink(story.path("elsewhere"), story.path("live/media")).unwrap();
    let link = SharedLink { path: "media".to_owned(), target: story.path("shared/media").display().to_string() };
    let refused = Carry::new(&story.path("live"), &[link], &[]).unwrap_err();
    assert!(refused.hint.unwrap().contains("target = "));
}

#[test]
fn a_relative_link_that_would_lead_elsewhere_is_refused_before_and_told_later() {
    let story = Story::new();
    story.put("live/public/x.png", "x");
    for (leads_to, link) in [("a.png", "same"), ("../dev.db", "shared"), ("../nothing", "nowhere"), ("/", "absolute")] {
        symlink(leads_to, story.path("live/up").join(link)).unwrap();
    }
    let mut carry = story.begin();
    symlink("../public/x.png", story.path("live/up/astray")).unwrap();
    carry.again().unwrap();
    let notes = carry.notes();
    assert!(notes.len() == 1 && notes[0].contains("up/astray is a link to "), "{notes:?}");
    let refused = story.carry(&[]).unwrap().plan().unwrap_err();
    assert!(refused.message.contains("up/astray is a link to "), "{}", refused.message);
    assert!(refused.message.contains("live/public/x.png") && !refused.message.contains("more"), "{}", refused.message);
    story.carry(&[PathBuf::from("up/astray")]).unwrap().plan().unwrap();
    // Where the copy finds the same, it is well.
    symlink(story.path("live/public"), story.path("shared/public")).unwrap();
    story.carry(&[]).unwrap().plan().unwrap();
}
