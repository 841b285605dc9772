//! Durations, sizes and shares as a table shows them: short.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `12s`, `5m`, `3h`, `2D`, from milliseconds.
pub(crate) fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    if seconds < 60 {
        format!("{seconds}s")
    } else if seconds < 60 * 60 {
        format!("{}m", seconds / 60)
    } else if seconds < 24 * 60 * 60 {
        format!("{}h", seconds / (60 * 60))
    } else {
        format!("{}D", seconds / (24 * 60 * 60))
    }
}

/// `812B`, `57.8M`, `236M`, `1.2G`, in powers of 1024.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    let units = ["K", "M", "G", "T", "P", "E"];
    // 999.95 would be shown as 1000.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value < 99.95);
    format!("{value:.digits$}{}", units[unit])
}

/// `0%`, `0.3%`, `12%`.
pub(crate) fn percent(value: f64) -> String {
    if value < 0.05 {
        return "0%".to_owned();
    }
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$}%")
}

/// `2026-11-22 19:52:10` of the machine's time zone.
pub(crate) fn local_time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `5m ago`; `in 12s` for what is to come.
pub(crate) fn distance(at: Timestamp, now: Timestamp) -> String {
    let ms = now.as_millisecond() - at.as_millisecond();
    if ms >= 0 {
        format!("{} ago", uptime(ms.unsigned_abs()))
    } else {
        // Rounded up: a try that comes in 0.4 s does not come in 0.
        format!("in {}", uptime(ms.unsigned_abs() + 999))
    }
}

/// The first `width` characters, the last of them `mark` where something was cut off.
pub(crate) fn truncated(text: &str, width: usize, mark: &str) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(mark.chars().count());
    text.chars().take(kept).chain(mark.chars()).take(width).collect()
}

/// Broken at spaces so that no line is wider than the terminal; what goes on is set in. A word that is longer than a
/// line stays whole: it can be a path that somebody copies.
pub(crate) fn wrapped(line: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return line.to_owned() };
    let begin = line.len() - line.trim_start_matches(' ').len();
    let further = format!("\n{}", " ".repeat(begin + 2));
    let mut text = line[..begin].to_owned();
    let (mut column, mut is_first) = (begin, true);
    for word in line[begin..].split(' ') {
        let wide = visible(word);
        if is_first {
            column += wide;
        } else if column + 1 + wide <= width {
            text.push(' ');
            column += 1 + wide;
        } else {
            text.push_str(&further);
            column = begin + 2 + wide;
        }
        text.push_str(word);
        is_first = false;
    }
    text
}

/// How many columns it takes: colours, `ESC [ … m`, take none.
fn visible(word: &str) -> usize {
    let mut parts = word.split('\u{1b}');
    let plain = parts.next().unwrap_or_default().chars().count();
    parts.fold(plain, |sum, part| sum + part.split_once('m').map_or(0, |(_, rest)| rest.chars().count()))
}

/// Without control characters, so that what an app wrote cannot move the cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() && character != '\t' { '\u{fffd}' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes_are_shown_in_their_largest_unit() {
        let shown: Vec<String> =
            [0, 999, 12_000, 59_999, 60_000, 3_599_000, 3_600_000, 86_399_000, 172_800_000].map(uptime).into();
        assert_eq!(shown, ["0s", "0s", "12s", "59s", "1m", "59m", "1h", "23h", "2D"]);
    }

    #[test]
    fn sizes_keep_three_digits_at_most() {
        let shown: Vec<String> =
            [0, 1023, 1024, 60_607_692, 247_463_936, 999 << 20, 1_048_576_000, 1_288_490_188, u64::MAX]
                .map(size)
                .into();
        assert_eq!(shown, ["0B", "1023B", "1.0K", "57.8M", "236M", "999M", "1.0G", "1.2G", "16.0E"]);
    }

    #[test]
    fn shares_of_a_core_are_rounded_to_what_matters() {
        let shown: Vec<String> = [0.0, 0.04, 0.26, 9.94, 9.96, 99.6, 187.2].map(percent).into();
        assert_eq!(shown, ["0%", "0%", "0.3%", "9.9%", "10%", "100%", "187%"]);
    }

    #[test]
    fn times_are_told_from_now() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(distance("2026-01-02T02:59:05Z".parse().unwrap(), now), "5m ago");
        assert_eq!(distance("2026-01-02T03:04:05.4Z".parse().unwrap(), now), "in 1s");
    }

    #[test]
    fn a_cut_text_says_so_and_keeps_its_width() {
        assert_eq!(truncated("staging", 7, "…"), "staging");
        assert_eq!(truncated("staging", 5, "…"), "stag…");
        assert_eq!(truncated("staging", 5, ".."), "sta..");
        assert_eq!(truncated("staging", 1, ".."), ".");
        assert_eq!(truncated("їжачок", 4, "…"), "їжа…");
    }

    #[test]
    fn a_line_is_broken_at_spaces_and_goes_on_set_in() {
        assert_eq!(wrapped("! web waits: port 3000 is held", None), "! web waits: port 3000 is held");
        assert_eq!(wrapped("! web waits: port 3000 is held", Some(30)), "! web waits: port 3000 is held");
        assert_eq!(wrapped("! web waits: port 3000 is held", Some(29)), "! web waits: port 3000 is\n  held");
        assert_eq!(wrapped("  next: infissi-ctl apply", Some(14)), "  next:\n    infissi-ctl\n    apply");
        assert_eq!(wrapped("see /a/very/long/path now", Some(10)), "see\n  /a/very/long/path\n  now");
        assert_eq!(wrapped("run \u{1b}[1mapply\u{1b}[0m now", Some(13)), "run \u{1b}[1mapply\u{1b}[0m now");
    }

    #[test]
    fn what_an_app_wrote_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\tc\r"), "a\u{fffd}[2Jb\tc\u{fffd}");
    }
}
