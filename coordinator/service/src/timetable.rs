//! When each schedule asks next.

use jiff::Timestamp;
use reachproof_verify::Random;
use reachproof_verify::random::{RandomError, drawn};

use crate::schedule::{Due, Schedule};
use crate::status::NextRun;

/// The next occurrence of each schedule.
pub(crate) struct Timetable<'c> {
    lines: Vec<(&'c Schedule, Option<Due>)>,
}

impl<'c> Timetable<'c> {
    pub(crate) fn new(schedules: &'c [Schedule]) -> Self {
        Self {
            lines: schedules.iter().map(|schedule| (schedule, None)).collect(),
        }
    }

    /// Sets what is not set: nothing that was missed is done later.
    pub(crate) fn set(&mut self, now: Timestamp, random: &dyn Random) -> Result<(), RandomError> {
        for (schedule, due) in &mut self.lines {
            if due.is_none() {
                *due = schedule.after(now, share(random)?);
            }
        }
        Ok(())
    }

    /// All that is set, the first one first.
    pub(crate) fn next(&self) -> Vec<NextRun> {
        let mut all: Vec<NextRun> = self
            .lines
            .iter()
            .filter_map(|(schedule, due)| {
                Some(NextRun {
                    at: due.as_ref()?.at,
                    schedule: schedule.name.clone(),
                })
            })
            .collect();
        all.sort();
        all
    }

    /// Takes the schedules that are due.
    pub(crate) fn take(&mut self, now: Timestamp) -> Vec<&'c Schedule> {
        let due = self
            .lines
            .iter_mut()
            .filter(|(_, due)| due.is_some_and(|due| due.at <= now));
        due.map(|(schedule, due)| {
            *due = None;
            *schedule
        })
        .collect()
    }
}

/// Draws a share from 0 to 1.
fn share(random: &dyn Random) -> Result<f64, RandomError> {
    let number = u32::from_be_bytes(drawn(random)?);
    Ok(f64::from(number) / f64::from(u32::MAX))
}
