//! A cron pattern with its time zone: the next time after a given one.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::str::FromStr;

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
        let pattern = croner::Cron::from_str(text).map_err(|error| error.to_string())?;
        Ok(Cron { text: text.to_owned(), pattern, zone })
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

impl PartialEq for Cron {
    fn eq(&self, other: &Cron) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}
