//! `--since` and `--until`: what a person types for a moment → the moment.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Timestamp, ToSpan, Zoned};

/// Understands `10m`, `2h`, `1h 30m` (so long ago), `now`, `today`, `yesterday`, `02:00` (the last time the clock
/// showed it), `today 14:00`, `yesterday 02:00`, `2026-11-22`, `2026-11-22 20:00`, and RFC 3339. Where no offset is
/// given it is local time, that of `now`.
///
/// # Errors
/// A sentence that quotes the text and says what would be right.
pub fn parse_since(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let wanted = text.trim();
    moment(wanted, now).ok_or_else(|| {
        format!(
            "\"{wanted}\" is no time: write 10m, 2h, 02:00, \"yesterday 02:00\", 2026-11-22, \"2026-11-22 20:00\" or RFC 3339"
        )
    })
}

fn moment(text: &str, now: &Zoned) -> Option<Timestamp> {
    if let Ok(exact) = text.parse::<Timestamp>() {
        return Some(exact);
    }
    if let Ok(ago) = humantime::parse_duration(text.strip_suffix(" ago").unwrap_or(text)) {
        return now.timestamp().checked_sub(ago).ok();
    }
    if text == "now" {
        return Some(now.timestamp());
    }
    if let Some(time) = clock_time(text) {
        return last_time(time, now);
    }
    let (day, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00"));
    at(date(day, now)?.to_datetime(clock_time(time.trim())?), now)
}

fn date(text: &str, now: &Zoned) -> Option<Date> {
    match text {
        "today" => Some(now.date()),
        "yesterday" => now.date().yesterday().ok(),
        _ => text.parse().ok(),
    }
}

/// `2:00`, `02:00` or `02:00:30`.
fn clock_time(text: &str) -> Option<Time> {
    let numbers: Vec<i8> = text.split(':').map(small_number).collect::<Option<_>>()?;
    match numbers[..] {
        [hour, minute] => Time::new(hour, minute, 0, 0).ok(),
        [hour, minute, second] => Time::new(hour, minute, second, 0).ok(),
        _ => None,
    }
}

fn small_number(text: &str) -> Option<i8> {
    let plain = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn last_time(time: Time, now: &Zoned) -> Option<Timestamp> {
    let today = at(now.date().to_datetime(time), now)?;
    if today <= now.timestamp() {
        return Some(today);
    }
    at(now.date().checked_sub(1.day()).ok()?.to_datetime(time), now)
}

fn at(local: DateTime, now: &Zoned) -> Option<Timestamp> {
    Some(local.to_zoned(now.time_zone().clone()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-11-22T20:01:02+02:00[Europe/Kyiv]".parse().unwrap()
    }

    #[test]
    fn what_people_type_is_understood() {
        for (text, expected) in [
            ("10m", "2026-11-22T19:51:02+02:00"),
            ("2h", "2026-11-22T18:01:02+02:00"),
            ("1h 30m", "2026-11-22T18:31:02+02:00"),
            ("1h30m ago", "2026-11-22T18:31:02+02:00"),
            ("3 days", "2026-11-19T20:01:02+02:00"),
            ("now", "2026-11-22T20:01:02+02:00"),
            ("today", "2026-11-22T00:00:00+02:00"),
            ("today 14:00", "2026-11-22T14:00:00+02:00"),
            ("yesterday", "2026-11-21T00:00:00+02:00"),
            (" yesterday 02:00 ", "2026-11-21T02:00:00+02:00"),
            ("2:00", "2026-11-22T02:00:00+02:00"),
            ("02:00:30", "2026-11-22T02:00:30+02:00"),
            ("2026-11-22", "2026-11-22T00:00:00+02:00"),
            ("2026-11-22 20:00", "2026-11-22T20:00:00+02:00"),
            ("2026-11-22T20:00:01", "2026-11-22T20:00:01+02:00"),
            ("2026-11-22T20:00:01.5Z", "2026-11-22T20:00:01.5Z"),
            ("2026-11-22T20:00:01-05:00", "2026-11-22T20:00:01-05:00"),
        ] {
            assert_eq!(parse_since(text, &now()), Ok(expected.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_that_has_not_come_yet_was_yesterday() {
        assert_eq!(parse_since("23:00", &now()), Ok("2026-11-21T23:00:00+02:00".parse().unwrap()));
    }

    #[test]
    fn days_have_the_hours_their_zone_gives_them() {
        let after_the_change: Zoned = "2026-10-25T12:00:00+02:00[Europe/Kyiv]".parse().unwrap();
        assert_eq!(parse_since("today", &after_the_change), Ok("2026-10-25T00:00:00+03:00".parse().unwrap()));
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        for text in
            ["", "soon", "25:00", "2026-13-01", "yesterday noon", "12", "1:2:3:4", "tomorrow", "2026-11-22 25:00"]
        {
            let error = parse_since(text, &now()).unwrap_err();
            assert!(error.contains(&format!("\"{text}\"")) && error.contains("yesterday 02:00"), "{text}: {error}");
        }
    }
}
