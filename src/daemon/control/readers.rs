//! How many searches through log files a user may have under way: each takes memory for the last lines, and as long as
//! its client does not read.

use crate::api::{Refusal, RefusalCode};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

const PER_USER: usize = 8;
const IN_ALL: usize = 32;

/// Searches under way, by user.
pub(super) struct Readers(Mutex<BTreeMap<u32, usize>>);

/// A right to search, held until the search is over.
pub(super) struct Reader {
    readers: &'static Readers,
    uid: u32,
}

impl Readers {
    pub(super) const fn new() -> Readers {
        Readers(Mutex::new(BTreeMap::new()))
    }

    /// # Errors
    /// This user, or all together, have as many as there may be.
    pub(super) fn take(&'static self, uid: u32) -> Result<Reader, Refusal> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_all: usize = users.values().sum();
        let of_user = users.get(&uid).copied().unwrap_or_default();
        if of_user >= PER_USER {
            let message = format!("{PER_USER} of your requests are reading logs now");
            return Err(
                Refusal::new(RefusalCode::Overloaded, message).hint("end one of them, or try again in a minute")
            );
        }
        if of_all >= IN_ALL {
            let message = format!("{IN_ALL} requests are reading logs now");
            return Err(Refusal::new(RefusalCode::Overloaded, message).hint("try again in a minute"));
        }
        users.insert(uid, of_user + 1);
        Ok(Reader { readers: self, uid })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut users = self.readers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(readers: &'static Readers, uid: u32, count: usize) -> Vec<Reader> {
        (0..count).map(|_| readers.take(uid).unwrap()).collect()
    }

    #[test]
    fn a_user_with_too_many_readers_keeps_only_themselves_out() {
        static READERS: Readers = Readers::new();
        let greedy = take(&READERS, 1000, PER_USER);
        let refusal = READERS.take(1000).err().unwrap();
        assert_eq!(refusal.code, RefusalCode::Overloaded);
        assert!(refusal.message.contains("your"), "{refusal}");
        drop(READERS.take(1001).unwrap());
        drop(greedy);
        drop(READERS.take(1000).unwrap());
        assert!(READERS.0.lock().unwrap().is_empty());
    }

    #[test]
    fn all_users_together_have_a_limit_too() {
        static READERS: Readers = Readers::new();
        let _all: Vec<Vec<Reader>> =
            (0..IN_ALL / PER_USER).map(|uid| take(&READERS, u32::try_from(uid).unwrap(), PER_USER)).collect();
        assert_eq!(READERS.take(1000).err().unwrap().code, RefusalCode::Overloaded);
    }
}
