//! When a run is due. Time and chance are passed in.

use std::time::Duration;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use reachproof_model::plan::Depth;

/// Something that asks for runs again and again.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// What it is called, in the page and in metrics: letters, digits and dashes.
    pub name: String,
    /// When it does.
    pub trigger: Trigger,
    /// How much is tried; absent: as much as fits the fleet.
    pub scope: Option<Depth>,
}

/// What makes a run due.
#[derive(Debug, Clone)]
pub enum Trigger {
    /// A cron pattern in a time zone. Each occurrence may be late by up to `jitter`, so that many clusters do not ask the
    /// AWS APIs at one instant.
    Clock {
        /// The pattern, of five or six fields.
        pattern: Box<Cron>,
        /// Where its hours are counted.
        zone: TimeZone,
        /// Most that an occurrence may be late.
        jitter: Duration,
    },
    /// The world is read so often, and a run is due when it is not as in the last one.
    SnapshotChanged {
        /// Time between two readings.
        every: Duration,
    },
}

/// An occurrence of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// When it happens.
    pub at: Timestamp,
    /// When it would without jitter.
    pub nominal: Timestamp,
}

impl Schedule {
    /// The first occurrence after `after`, late by `share` (0 to 1) of the jitter; absent where none comes.
    #[must_use]
    pub fn after(&self, after: Timestamp, share: f64) -> Option<Due> {
        let (nominal, late) = match &self.trigger {
            Trigger::Clock {
                pattern,
                zone,
                jitter,
            } => {
                let from = after.to_zoned(zone.clone());
                let next = pattern.find_next_occurrence(&from, false).ok()?;
                (next.timestamp(), jitter.mul_f64(share.clamp(0.0, 1.0)))
            }
            Trigger::SnapshotChanged { every } => (plus(after, *every)?, Duration::ZERO),
        };
        Some(Due {
            at: plus(nominal, late)?,
            nominal,
        })
    }
}

fn plus(time: Timestamp, duration: Duration) -> Option<Timestamp> {
    time.checked_add(SignedDuration::try_from(duration).ok()?)
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn clock(pattern: &str, zone: &str, jitter: Duration) -> Schedule {
        Schedule {
            name: "smoke".to_owned(),
            trigger: Trigger::Clock {
                pattern: Box::new(pattern.parse().unwrap()),
                zone: TimeZone::get(zone).unwrap(),
                jitter,
            },
            scope: None,
        }
    }

    fn times(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
        let mut after: Timestamp = from.parse().unwrap();
        let mut all = Vec::new();
        for _ in 0..count {
            let due = schedule.after(after, 0.5).unwrap();
            all.push(due.at.to_string());
            after = due.nominal;
        }
        all
    }

    #[test]
    fn a_pattern_is_of_its_time_zone_also_where_its_clock_is_set_back_and_forward() {
        let nightly = clock("30 2 * * *", "Europe/Berlin", Duration::ZERO);
        // On 28 March the clock goes from 02:00 to 03:00: that night has no 02:30.
        assert_eq!(
            times(&nightly, "2027-03-26T12:00:00Z", 3),
            [
                "2027-03-27T01:30:00Z",
                "2027-03-28T01:00:00Z",
                "2027-03-29T00:30:00Z"
            ]
        );
        // On 31 October 02:30 comes twice, and one run is enough.
        assert_eq!(
            times(&nightly, "2027-10-30T12:00:00Z", 2),
            ["2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z"]
        );
    }

    #[test]
    fn jitter_makes_an_occurrence_late_and_does_not_add_up() {
        let often = clock("*/10 * * * *", "UTC", Duration::from_secs(60));
        assert_eq!(
            times(&often, "2027-01-01T00:00:00Z", 3),
            [
                "2027-01-01T00:10:30Z",
                "2027-01-01T00:20:30Z",
                "2027-01-01T00:30:30Z"
            ]
        );
    }

    #[test]
    fn a_world_is_looked_at_so_often() {
        let changes = Schedule {
            name: "changes".to_owned(),
            trigger: Trigger::SnapshotChanged {
                every: Duration::from_secs(300),
            },
            scope: None,
        };
        assert_eq!(
            times(&changes, "2027-01-01T00:00:00Z", 2),
            ["2027-01-01T00:05:00Z", "2027-01-01T00:10:00Z"]
        );
    }
}
