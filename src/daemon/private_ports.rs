//! Which private loopback port an instance behind the proxy gets: free, and nobody else's as long as it lives.

use super::state::fnv1a;
use crate::linux::ports;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those that are given away, and where the search goes on.
#[derive(Debug)]
pub(super) struct PrivatePorts(Mutex<Given>);

#[derive(Debug)]
struct Given {
    taken: HashSet<u16>,
    /// Grows by one with each look; its place in the range is where to look.
    cursor: u64,
}

/// A port that is an instance's until this is dropped.
#[derive(Debug)]
pub(super) struct PrivatePort {
    number: u16,
    from: Arc<PrivatePorts>,
}

impl PrivatePorts {
    /// `state_id` decides where the search begins, so that two supervisors of one machine seldom offer the same port to
    /// two apps that have not yet bound it.
    pub(super) fn new(state_id: &str) -> Arc<PrivatePorts> {
        let cursor = fnv1a(&[state_id.as_bytes()]) >> 32;
        Arc::new(PrivatePorts(Mutex::new(Given { taken: HashSet::new(), cursor })))
    }

    /// The next one of the range on which nobody listens. It goes round, so that a port rests before it is given again:
    /// connections to whoever had it before are gone by then.
    ///
    /// # Errors
    /// All are taken, as a sentence.
    pub(super) fn take(self: &Arc<Self>, range: &RangeInclusive<u16>) -> Result<PrivatePort, String> {
        self.take_if(range, ports::is_free)
    }

    /// The port of an instance that runs already; none when another one has it.
    pub(super) fn reserve(self: &Arc<Self>, number: u16) -> Option<PrivatePort> {
        self.given().taken.insert(number).then(|| PrivatePort { number, from: self.clone() })
    }

    fn take_if(
        self: &Arc<Self>,
        range: &RangeInclusive<u16>,
        is_free: impl Fn(u16) -> bool,
    ) -> Result<PrivatePort, String> {
        let (first, last) = (*range.start(), *range.end());
        let count = u64::from(last.saturating_sub(first)) + 1;
        for _ in 0..count {
            let mut given = self.given();
            let number = first + u16::try_from(given.cursor % count).unwrap_or_default();
            given.cursor = given.cursor.wrapping_add(1);
            if !given.taken.insert(number) {
                continue;
            }
            drop(given);
            // Given back when it is not: dropped.
            let port = PrivatePort { number, from: self.clone() };
            if is_free(number) {
                return Ok(port);
            }
        }
        Err(format!("every port of port_range ({first}-{last}) is taken; make it larger in [supervisor]"))
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PrivatePort {
    pub(super) fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for PrivatePort {
    fn drop(&mut self) {
        self.from.given().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_go_round_and_none_is_given_twice_at_one_time() {
        let ports = PrivatePorts::new("0a1b");
        let range = 21_000..=21_003;
        let mut held: Vec<PrivatePort> = (0..4).map(|_| ports.take_if(&range, |_| true).unwrap()).collect();
        let mut numbers: Vec<u16> = held.iter().map(PrivatePort::number).collect();
        let second = numbers[1];
        numbers.sort_unstable();
        assert_eq!(numbers, [21_000, 21_001, 21_002, 21_003]);
        let refusal = ports.take_if(&range, |_| true).unwrap_err();
        assert_eq!(refusal, "every port of port_range (21000-21003) is taken; make it larger in [supervisor]");
        drop(held.remove(1));
        assert_eq!(ports.take_if(&range, |_| true).unwrap().number(), second);
    }

    #[test]
    fn a_port_rests_before_it_is_given_again() {
        let ports = PrivatePorts::new("0a1b");
        let first = ports.take_if(&(21_000..=21_999), |_| true).unwrap().number();
        let second = ports.take_if(&(21_000..=21_999), |_| true).unwrap().number();
        assert_ne!(first, second);
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_passed_over() {
        let ports = PrivatePorts::new("0a1b");
        let range = 21_000..=21_003;
        let taken = ports.take_if(&range, |port| port == 21_002).unwrap();
        assert_eq!(taken.number(), 21_002);
        assert!(ports.take_if(&range, |port| port == 21_002).is_err());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let held = listener.local_addr().unwrap().port();
        assert!(ports.take(&(held..=held)).is_err());
    }
}
