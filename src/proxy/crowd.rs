//! All connections of one app's clients, so that one that idles can make room for one that comes.

use super::wire::Wire;
use std::cell::RefCell;
use std::rc::Rc;

#[derive(Debug, Default)]
pub(super) struct Crowd {
    present: RefCell<Vec<Rc<Wire>>>,
}

impl Crowd {
    /// Ends the connection that has been idle for longest. False when all are busy.
    pub(super) fn makes_room(&self) -> bool {
        let present = self.present.borrow();
        let idle = present.iter().filter_map(|wire| Some((wire.idle_since()?, wire)));
        let longest = idle.min_by_key(|(since, _)| *since);
        if let Some((_, wire)) = longest {
            wire.dismiss();
        }
        longest.is_some()
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
    use tokio::time::Instant;

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
}
