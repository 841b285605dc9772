use super::super::settings::Stream;
use super::partials::Owner;
use super::*;

const WALL: Timestamp = Timestamp::UNIX_EPOCH;

fn owner(inode: u64, stream: Stream) -> Owner {
    Owner { inode, app: "shop".to_owned(), stream }
}

#[test]
fn a_read_that_was_killed_is_known_by_what_it_brought() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    for text in ["x", "\n", "text\n", "a longer text, longer than the mark\n"] {
        for came in [false, true] {
            let (journal, mut bytes) = Journal::open(&path, 7).unwrap();
            let slot = journal.claim(&owner(5, Stream::Err));
            let room = &mut bytes[MAX_LINE..MAX_LINE + text.len()];
            journal.reading(slot, room);
            if came {
                room.copy_from_slice(text.as_bytes());
            }
            drop((journal, bytes));
            let (journal, bytes) = Journal::open(&path, 7).unwrap();
            let batch = journal.in_flight();
            assert_eq!(batch.is_some(), came, "{text:?}");
            if let Some(batch) = batch {
                assert_eq!(batch, InFlight { slot: slot.unwrap(), read: Some(text.len()), wall: None, done: 0 });
                assert_eq!(&bytes[MAX_LINE..MAX_LINE + text.len()], text.as_bytes());
            }
            journal.idle();
        }
    }
}

#[test]
fn nothing_of_another_boot_and_nothing_damaged_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let begin = |era| {
        let (journal, _) = Journal::open(&path, era).unwrap();
        let slot = journal.claim(&owner(5, Stream::Out));
        journal.taken(3, WALL);
        journal.keep(slot, b"begun", 5);
        journal.taken(3, WALL);
        (journal, slot)
    };
    let left = |era| {
        let (journal, _) = Journal::open(&path, era).unwrap();
        (journal.in_flight().is_some(), journal.slots().count())
    };
    begin(7);
    assert_eq!((left(7), left(8), left(7)), ((true, 1), (false, 0), (false, 0)));
    for (at, value) in [
        (at::MAGIC, 1),
        (at::STATE, KEPT + 1),
        (at::COUNT, READ_SIZE as u64 + 1),
        (at::TOP, SLOTS as u64 + 1),
        (at::SLOT, 1),
        (at::PROGRESS, MARKS as u64 + 1),
        (at::SLOTS + 1, u64::MAX),
        (at::SLOTS + 2, 7),
    ] {
        let (journal, slot) = begin(7);
        journal.words.set(at::SLOT, slot.unwrap() as u64);
        journal.words.set(at, value);
        drop(journal);
        assert_eq!(left(7), (false, 0), "word {at} is {value}");
    }
    begin(7);
    File::options().write(true).open(&path).unwrap().set_len(16).unwrap();
    assert_eq!(left(7), (false, 0), "cut off");
}

#[test]
fn an_unfinished_line_is_whole_at_any_time_and_takes_little_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (journal, _) = Journal::open(&path, 7).unwrap();
    let slots = [Stream::Out, Stream::Err].map(|stream| journal.claim(&owner(5, stream)));
    assert_ne!(slots[0], slots[1]);
    let mut begun: Vec<u8> = Vec::new();
    for (round, length) in
        [1, 10, 4000, MAX_LINE, 3, MAX_LINE - 1, 0, 70_000, MAX_LINE, 60_000, 9].into_iter().enumerate()
    {
        for added in [length / 2, length - length / 2] {
            let before = begun.clone();
            let fresh = added == length / 2;
            if fresh {
                begun.clear();
            }
            begun.extend((0..added).map(|at| (at + round) as u8));
            journal.begin(slots[1], 0, None, TAKEN);
            journal.write_partial(slots[1].unwrap(), &begun, added);
            assert_eq!(journal.partial(slots[1]), before, "until the batch is done");
            journal.keep(slots[1], &begun, added);
            assert_eq!(Journal::open(&path, 7).unwrap().0.partial(slots[1]), begun);
        }
    }
    assert_eq!(journal.partial(slots[0]), b"");
    let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap());
    assert!(blocks * 512 < LENGTH as u64 + 32 * 1024, "{blocks}");
}

#[test]
fn streams_without_a_slot_of_their_own_go_without() {
    let (journal, _) = Journal::in_memory().unwrap();
    let slots: Vec<Slot> = (1..=SLOTS as u64 + 1).map(|inode| journal.claim(&owner(inode, Stream::Out))).collect();
    assert_eq!((slots[0], slots[SLOTS - 1], slots[SLOTS]), (Some(0), Some(SLOTS - 1), None));
    journal.free(slots[7]);
    assert_eq!(journal.claim(&owner(77_777, Stream::Err)), slots[7]);
    journal.begin(None, 3, None, TAKEN);
    assert_eq!(journal.in_flight(), None);
}
