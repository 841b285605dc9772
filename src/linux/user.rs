//! Who runs this process: without the groups, whose look-up loads half of NSS and doubles a short command's time.

use nix::unistd::{Uid, User};
use std::path::PathBuf;

/// The effective user of this process.
pub fn own_uid() -> u32 {
    Uid::effective().as_raw()
}

/// A user's name and home by the user database (getpwuid(3)); none where it does not know the id.
pub fn name_and_home(uid: u32) -> Option<(String, PathBuf)> {
    let user = User::from_uid(Uid::from_raw(uid)).ok()??;
    Some((user.name, user.dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_by_the_database_or_not_at_all() {
        assert_eq!(name_and_home(0), Some(("root".to_owned(), PathBuf::from("/root"))));
        assert_eq!(name_and_home(3_999_999), None);
    }
}
