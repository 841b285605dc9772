//! What a second copy of something that runs needs of the machine: for a breach and for a deploy.

/// Bytes that a fresh copy is reckoned to need beside one that uses `used`: as much, but where there is a limit no more
/// than half of that, for what comes near its limit has grown, and a fresh copy is seldom smaller than half of it.
pub fn second_copy(used: u64, limit: Option<u64>) -> u64 {
    limit.map_or(used, |limit| used.min(limit / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_grown_up_to_its_limit_is_followed_by_something_smaller() {
        assert_eq!(second_copy(300, None), 300);
        assert_eq!(second_copy(300, Some(1000)), 300);
        assert_eq!(second_copy(900, Some(1000)), 500);
        assert_eq!(second_copy(1200, Some(1000)), 500, "as with a breach");
    }
}
