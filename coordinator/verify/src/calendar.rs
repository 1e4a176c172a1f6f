//! Times as people and other programs read them.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// A time in milliseconds since 1970 as RFC 3339 writes it, in UTC and whole seconds; the beginning of 1970 for one beyond the
/// calendar.
#[must_use]
pub fn utc(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or_default();
    Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_string()
}

/// A time in milliseconds since 1970; 0 for a clock before that.
#[must_use]
pub fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    whole_ms(since.unwrap_or_default())
}

/// A duration in milliseconds, as many as fit.
#[must_use]
pub fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc_and_seconds() {
        assert_eq!(utc(1_796_027_564_999), "2026-11-30T08:32:44Z");
        assert_eq!(utc(u64::MAX), "1970-01-01T00:00:00Z");
    }
}
