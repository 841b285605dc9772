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
fn what_the_steps_have_written_is_not_copied_over() {
    let story = Story::new();
    let mut carry = story.begin();
    story.put("shared/dev.db", "migrated");
    story.put("live/dev.db", "not migrated");
    carry.again().unwrap();
    assert_eq!(story.text("shared/dev.db"), "migrated");
    assert!(carry.notes()[0].contains("was written to by the steps"));
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
