//! All connections of one app's clients, so that one that idles can make room for one that comes.

use super::wire::Wire;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::time::Instant;

/// So many of the idle ones make room at a time, one of each: looking at all of them costs as much as serving many.
const SHARE: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Crowd {
    present: RefCell<Vec<Rc<Wire>>>,
    /// Places that were made and not taken yet.
    room: Cell<usize>,
}

impl Crowd {
    /// Ends the connections that have been idle for longest. False when all are busy.
    pub(super) fn makes_room(&self) -> bool {
        if self.room.get() == 0 {
            self.dismiss_some();
        }
        let room = self.room.get();
        self.room.set(room.saturating_sub(1));
        room > 0
    }

    fn dismiss_some(&self) {
        let present = self.present.borrow();
        let mut idle: Vec<(Instant, &Rc<Wire>)> =
            present.iter().filter_map(|wire| Some((wire.idle_since()?, wire))).collect();
        let most = idle.len().div_ceil(SHARE);
        if most > 0 {
            idle.select_nth_unstable_by_key(most - 1, |(since, _)| *since);
        }
        idle[..most].iter().for_each(|(_, wire)| wire.dismiss());
        self.room.set(most);
    }

    pub(super) fn size(&self) -> usize {
        self.present.borrow().len()
    }

    /// Has every connection look at what has become of its instance.
    pub(super) fn wake(&self) {
        self.present.borrow().iter().for_each(|wire| wire.wake());
    }

    /// Ends the connections that are idle: there is nobody left to answer here.
    pub(super) fn dismiss(&self) {
        self.present.borrow().iter().for_each(|wire| wire.dismiss());
    }

    pub(super) fn enter(&self, wire: &Rc<Wire>) {
        let mut present = self.present.borrow_mut();
        wire.place.set(present.len());
        present.push(wire.clone());
    }

    pub(super) fn leave(&self, wire: &Wire) {
        if wire.is_unwanted() {
            // Its place is counted with the others from now on.
            self.room.set(self.room.get().saturating_sub(1));
        }
        let mut present = self.present.borrow_mut();
        let place = wire.place.get();
        present.swap_remove(place);
        if let Some(moved) = present.get(place) {
            moved.place.set(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn whoever_leaves_takes_nobody_else_along() {
        let crowd = Crowd::default();
        let wires: Vec<Rc<Wire>> = (0..5).map(|_| Rc::new(Wire::new(Instant::now()))).collect();
        wires.iter().for_each(|wire| crowd.enter(wire));
        for gone in [0, 4, 2, 1] {
            crowd.leave(&wires[gone]);
            assert!(crowd.present.borrow().iter().all(|wire| !Rc::ptr_eq(wire, &wires[gone])));
        }
        assert_eq!(crowd.present.borrow().len(), 1);
        crowd.leave(&wires[3]);
        assert!(!crowd.makes_room());
    }

    #[test]
    fn those_that_have_idled_for_longest_make_room() {
        let crowd = Crowd::default();
        let now = Instant::now();
        let wires: Vec<Rc<Wire>> =
            (0..64).map(|age| Rc::new(Wire::new(now + Duration::from_secs(age * 7 % 64)))).collect();
        wires.iter().for_each(|wire| crowd.enter(wire));
        assert!(crowd.makes_room() && crowd.makes_room());
        let dismissed = |wire: &&Rc<Wire>| wire.is_dismissed();
        let ages = |wires: &[Rc<Wire>]| -> Vec<u64> {
            wires
                .iter()
                .enumerate()
                .filter(|(_, wire)| dismissed(wire))
                .map(|(place, _)| place as u64 * 7 % 64)
                .collect()
        };
        assert_eq!(ages(&wires).iter().copied().max(), Some(1), "two places were made by the two oldest");
        assert!(crowd.makes_room());
        assert_eq!(ages(&wires).len(), 4);
    }
}
