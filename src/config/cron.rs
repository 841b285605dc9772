//! A cron pattern with its time zone: the next time after a given one.

use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A five-field cron pattern in a time zone. A local time that does not exist on a day (the clock jumps over
/// it) fires right after the jump; one that exists twice fires once.
#[derive(Debug, Clone)]
pub struct Cron {
    text: String,
    pattern: croner::Cron,
    zone: TimeZone,
}

impl Cron {
    /// # Errors
    /// What is wrong with the pattern, as a sentence.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Cron, String> {
        let fields = text.split_whitespace().count();
        if fields != 5 && !text.trim_start().starts_with('@') {
            return Err(format!("it has {fields} fields"));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let pattern = parser.parse(text).map_err(|error| reason(&error))?;
        let cron = Cron { text: text.to_owned(), pattern, zone };
        // Any start will do: the calendar repeats long before croner gives up.
        cron.next_after(Timestamp::UNIX_EPOCH).ok_or("that day never comes")?;
        Ok(cron)
    }

    /// The pattern as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first time strictly after `now`; none when the pattern never comes again.
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let now = now.to_zoned(self.zone.clone());
        self.pattern.find_next_occurrence(&now, false).ok().map(|next| next.timestamp())
    }
}

/// croner says "Component error: Number out of bounds."; the kind helps nobody.
fn reason(error: &croner::errors::CronError) -> String {
    let said = error.to_string();
    let said = said.split_once(": ").map_or(said.as_str(), |(_, reason)| reason).trim_end_matches('.');
    let mut letters = said.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

impl PartialEq for Cron {
    fn eq(&self, other: &Cron) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}
