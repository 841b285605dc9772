//! The names of releases: when they were begun, and of which commit.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Digits of a commit that are enough to know it by.
const SHORT: usize = 7;
/// What the supervisor takes, bytes.
const LONGEST: usize = 128;

/// `20261126-172353-0a1b2c3`, in UTC, so that an hour that comes twice a year is no riddle; without a commit, the time
/// alone.
pub fn id(at: Timestamp, commit: Option<&str>) -> String {
    let time = at.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S").to_string();
    match commit {
        Some(commit) => format!("{time}-{}", commit.chars().take(SHORT).collect::<String>()),
        None => time,
    }
}

/// Can it be the name of a release? It stands in paths, environments and messages.
pub fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !id.is_empty() && id.len() <= LONGEST && !id.starts_with(['.', '-']) && id.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_and_what() {
        let at: Timestamp = "2026-11-26T17:23:53.9+02:00".parse().unwrap();
        assert_eq!(id(at, Some("0a1b2c3d4e5f")), "20261126-152353-0a1b2c3");
        assert_eq!(id(at, None), "20261126-152353");
        assert!(is_id(&id(at, Some("0a1b2c3d"))) && is_id("v1.2_rc-1"));
        for wrong in ["", "..", "-rf", "a/b", "a b", "ä", &"x".repeat(129)] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }
}
