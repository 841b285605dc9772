//! Times as they stand before a line and in the name of a rotated file.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// The bytes of `2026-11-22T20:01:02.123+02:00`.
pub(super) const LINE_STAMP: usize = 29;
/// The bytes of `20261122-200102.123`.
const FILE_STAMP: usize = 19;

/// The time of a line: RFC 3339 with milliseconds and the local offset.
pub(super) fn line_stamp(at: Timestamp, zone: &TimeZone) -> [u8; LINE_STAMP] {
    let offset = zone.to_offset(at);
    let local = offset.to_datetime(at);
    let minutes = offset.seconds() / 60;
    let mut text = *b"0000-00-00T00:00:00.000+00:00";
    put_date(&mut text, local, [0, 5, 8]);
    put_time(&mut text, local, [11, 14, 17, 20]);
    if minutes < 0 {
        text[23] = b'-';
    }
    put(&mut text[24..26], minutes.unsigned_abs() / 60);
    put(&mut text[27..29], minutes.unsigned_abs() % 60);
    text
}

/// Reads what [`line_stamp`] writes, at the very start of `line`.
pub(super) fn parse_line_stamp(line: &[u8]) -> Option<Timestamp> {
    let text = line.get(..LINE_STAMP)?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b':')];
    if marks.iter().any(|&(at, mark)| text[at] != mark) {
        return None;
    }
    let sign = match text[23] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let local = date_time([&text[0..4], &text[5..7], &text[8..10]], [&text[11..13], &text[14..16], &text[17..19]])?
        .with()
        .millisecond(small(&text[20..23])?)
        .build()
        .ok()?;
    let offset = Offset::from_seconds(sign * (digits(&text[24..26])? * 3600 + digits(&text[27..29])? * 60)).ok()?;
    offset.to_timestamp(local).ok()
}

/// When a file was rotated, as its name says: UTC, so that names sort by time across a change of clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileStamp {
    /// Milliseconds since 1970.
    ms: i64,
}

impl FileStamp {
    pub(super) fn of(at: Timestamp) -> FileStamp {
        FileStamp { ms: at.as_millisecond() }
    }

    pub(super) fn next(self) -> FileStamp {
        FileStamp { ms: self.ms.saturating_add(1) }
    }

    pub(super) fn at(self) -> Timestamp {
        Timestamp::from_millisecond(self.ms).unwrap_or(Timestamp::MAX)
    }

    /// `20261122-200102.123`, and nothing else.
    pub(super) fn parse(text: &str) -> Option<FileStamp> {
        let text = text.as_bytes();
        if text.len() != FILE_STAMP || text[8] != b'-' || text[15] != b'.' {
            return None;
        }
        let at = date_time([&text[0..4], &text[4..6], &text[6..8]], [&text[9..11], &text[11..13], &text[13..15]])?;
        let at = at.with().millisecond(small(&text[16..19])?).build().ok()?;
        Some(FileStamp::of(Offset::UTC.to_timestamp(at).ok()?))
    }
}

impl std::fmt::Display for FileStamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let utc = Offset::UTC.to_datetime(self.at());
        let mut text = *b"00000000-000000.000";
        put_date(&mut text, utc, [0, 4, 6]);
        put_time(&mut text, utc, [9, 11, 13, 16]);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

fn put_date(text: &mut [u8], at: DateTime, [year, month, day]: [usize; 3]) {
    put(&mut text[year..year + 4], u32::from(at.year().unsigned_abs()));
    put(&mut text[month..month + 2], u32::from(at.month().unsigned_abs()));
    put(&mut text[day..day + 2], u32::from(at.day().unsigned_abs()));
}

fn put_time(text: &mut [u8], at: DateTime, [hour, minute, second, millisecond]: [usize; 4]) {
    put(&mut text[hour..hour + 2], u32::from(at.hour().unsigned_abs()));
    put(&mut text[minute..minute + 2], u32::from(at.minute().unsigned_abs()));
    put(&mut text[second..second + 2], u32::from(at.second().unsigned_abs()));
    put(&mut text[millisecond..millisecond + 3], u32::from(at.millisecond().unsigned_abs()));
}

fn put(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn date_time([year, month, day]: [&[u8]; 3], [hour, minute, second]: [&[u8]; 3]) -> Option<DateTime> {
    let (year, time) = (small(year)?, [small8(hour)?, small8(minute)?, small8(second)?]);
    DateTime::new(year, small8(month)?, small8(day)?, time[0], time[1], time[2], 0).ok()
}

fn digits(text: &[u8]) -> Option<i32> {
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i32::from(byte - b'0')))
}

fn small(text: &[u8]) -> Option<i16> {
    digits(text).and_then(|number| i16::try_from(number).ok())
}

fn small8(text: &[u8]) -> Option<i8> {
    digits(text).and_then(|number| i8::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_line_bears_its_local_time_and_comes_back_with_it() {
        for (moment, zone, text) in [
            ("2026-11-22T18:01:02.123Z", "Europe/Kyiv", "2026-11-22T20:01:02.123+02:00"),
            ("2026-07-01T00:00:00Z", "America/St_Johns", "2026-06-30T21:30:00.000-02:30"),
            ("2026-01-01T00:00:00.009Z", "UTC", "2026-01-01T00:00:00.009+00:00"),
        ] {
            let zone = TimeZone::get(zone).unwrap();
            let stamp = line_stamp(at(moment), &zone);
            assert_eq!(std::str::from_utf8(&stamp).unwrap(), text);
            assert_eq!(text.parse::<Timestamp>().unwrap(), at(moment));
            assert_eq!(parse_line_stamp(&stamp), Some(at(moment)));
        }
    }

    #[test]
    fn what_only_looks_like_a_time_is_none() {
        for text in ["", "2026-11-22T20:01:02.123", "2026-13-22T20:01:02.123+02:00", "2026-11-22 20:01:02.123+02:00"] {
            assert_eq!(parse_line_stamp(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_name_of_a_rotated_file_says_when_in_utc() {
        let stamp = FileStamp::of(at("2026-11-22T20:01:02.123+02:00"));
        assert_eq!(stamp.to_string(), "20261122-180102.123");
        assert_eq!(FileStamp::parse("20261122-180102.123"), Some(stamp));
        for wrong in ["20261122-180102.12", "20261122-180102.1234", "20261322-180102.123", "2026112a-180102.123", ""] {
            assert_eq!(FileStamp::parse(wrong), None, "{wrong}");
        }
    }
}
