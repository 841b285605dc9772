//! Durations and sizes as they are written: `"1h30m"`, `"300M"`.

use std::time::Duration;

/// What any duration may be at most: ten years, so that adding one to a clock never overflows.
pub const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Whole numbers with `ms`, `s`, `m`, `h` or `d`, one after the other: `"1500ms"`, `"10s"`, `"1h30m"`.
/// `None` for anything else, a number without its unit included.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 3600 * 1000,
            "d" => 24 * 3600 * 1000,
            _ => return None,
        };
        total = number.parse::<u64>().ok()?.checked_mul(millis)?.checked_add(total)?;
        rest = after.trim_start();
    }
    Some(Duration::from_millis(total))
}

/// Bytes: a whole number with `K`, `M`, `G` or `T` in powers of 1024 (`B` or `iB` behind it changes nothing), or
/// none of them. `None` for anything else.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The duration as it would be written in the file: `1h30m`, `1500ms`.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if !millis.is_multiple_of(1000) || millis == 0 {
        return if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") };
    }
    let mut seconds = duration.as_secs();
    let mut shown = String::new();
    for (unit, length) in [("d", 24 * 3600), ("h", 3600), ("m", 60), ("s", 1)] {
        if seconds >= length {
            shown.push_str(&format!("{}{unit}", seconds / length));
            seconds %= length;
        }
    }
    shown
}

/// The size as it would be written in the file, in the largest unit that divides it: `300M`, `1025`.
pub fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("T", 40), ("G", 30), ("M", 20), ("K", 10)] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [
            ("1500ms", 1500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("2d", 172_800_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", " ", "10", "s", "-1s", "1.5s", "10 seconds", "1e3s", "99999999999999999999s", "10M", "١s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_in_powers_of_1024() {
        for (text, bytes) in [
            ("300M", 300 << 20),
            ("300MB", 300 << 20),
            ("300MiB", 300 << 20),
            ("512k", 512 << 10),
            ("1 G", 1 << 30),
            ("1T", 1 << 40),
            ("10485760", 10_485_760),
            ("7B", 7),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "M", "1.5G", "-1M", "1P", "300 MO", "99999999999T"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in ["1500ms", "10s", "1h30m", "1d1h1m1s", "0s"] {
            assert_eq!(duration(text).map(show_duration).as_deref(), Some(text));
        }
        for text in ["300M", "1G", "1025", "3T", "0"] {
            assert_eq!(size(text).map(show_size).as_deref(), Some(text));
        }
    }
}
