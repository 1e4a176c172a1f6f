//! Days of the calendar.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;

/// A day of the Gregorian calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// Text that is no day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a day, write it like 2027-01-31")]
pub struct InvalidDate;

/// Seconds of a day.
const DAY: u64 = 86_400;

impl Date {
    /// The day of a time; the first one of 1970 for a clock before that.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut days = since.as_secs() / DAY;
        let mut date = Self {
            year: 1970,
            month: 1,
            day: 1,
        };
        while days >= date.year_length() && date.year < u16::MAX {
            days -= date.year_length();
            date.year += 1;
        }
        while days >= u64::from(date.month_length()) && date.month < 12 {
            days -= u64::from(date.month_length());
            date.month += 1;
        }
        let rest = u8::try_from(days).unwrap_or_default();
        date.day = date.day.saturating_add(rest);
        date
    }

    fn is_leap(self) -> bool {
        self.year.is_multiple_of(4)
            && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400))
    }

    fn year_length(self) -> u64 {
        if self.is_leap() { 366 } else { 365 }
    }

    fn month_length(self) -> u8 {
        match self.month {
            2 if self.is_leap() => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }
}

impl FromStr for Date {
    type Err = InvalidDate;

    fn from_str(text: &str) -> Result<Self, InvalidDate> {
        let mut parts = text.split('-');
        let mut next = |length| {
            let part = parts.next().ok_or(InvalidDate)?;
            let fits = part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
            fits.then_some(part).ok_or(InvalidDate)
        };
        let (year, month, day) = (next(4)?, next(2)?, next(2)?);
        let date = Self {
            year: year.parse().map_err(|_| InvalidDate)?,
            month: month.parse().map_err(|_| InvalidDate)?,
            day: day.parse().map_err(|_| InvalidDate)?,
        };
        let is_one =
            (1..=12).contains(&date.month) && (1..=date.month_length()).contains(&date.day);
        (is_one && parts.next().is_none() && date.year >= 1970)
            .then_some(date)
            .ok_or(InvalidDate)
    }
}

impl fmt::Display for Date {
    /// Writes `2027-01-31`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:04}-{:02}-{:02}",
            self.year, self.month, self.day
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_of_its_day() {
        // From `date -u -d @SECONDS +%F`.
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_798_761_599, "2026-12-31"),
            (1_798_761_600, "2027-01-01"),
        ] {
            let date = Date::of(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(date.to_string(), day);
            assert_eq!(day.parse(), Ok(date));
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for bad in [
            "",
            "2027",
            "2027-1-1",
            "2027-02-29",
            "2027-13-01",
            "2027-00-10",
            "2027-01-01-1",
            "+027-01-01",
        ] {
            assert_eq!(bad.parse::<Date>(), Err(InvalidDate), "{bad:?}");
        }
    }
}
