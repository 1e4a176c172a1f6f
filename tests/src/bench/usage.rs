//! What a process cost.

use std::time::{Duration, Instant};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};
use serde::{Deserialize, Serialize};

use super::Measured;

/// Cost of one piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// User and system time, in microseconds.
    pub cpu_us: u64,
    /// Time from beginning to end, in microseconds.
    pub wall_us: u64,
    /// Peak of the resident memory (`VmHWM`), in KiB; 0 where it is not known.
    pub peak_kib: u64,
}

/// A clock that runs since the work began.
#[derive(Debug)]
pub struct Stopwatch {
    who: UsageWho,
    cpu: Duration,
    begin: Instant,
}

impl Stopwatch {
    /// Starts for this process or for its finished children.
    ///
    /// # Errors
    /// What getrusage says.
    pub fn start(who: UsageWho) -> Measured<Stopwatch> {
        Ok(Stopwatch {
            who,
            cpu: cpu(who)?,
            begin: Instant::now(),
        })
    }

    /// Time since it started.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// What it cost until now.
    ///
    /// # Errors
    /// What getrusage says.
    pub fn stop(&self) -> Measured<Usage> {
        let wall = self.begin.elapsed();
        let cpu = cpu(self.who)?.saturating_sub(self.cpu);
        Ok(Usage {
            cpu_us: u64::try_from(cpu.as_micros())?,
            wall_us: u64::try_from(wall.as_micros())?,
            peak_kib: peak_kib("self").unwrap_or_default(),
        })
    }
}

/// User and system time.
fn cpu(who: UsageWho) -> Measured<Duration> {
    let usage = getrusage(who)?;
    let duration = |time: TimeVal| -> Measured<Duration> {
        let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
        Ok(Duration::from_micros(u64::try_from(micros)?))
    };
    Ok(duration(usage.user_time())? + duration(usage.system_time())?)
}

/// `VmHWM` of a process, by its number or `self`: `ru_maxrss` counts the launcher's image, too.
#[must_use]
pub fn peak_kib(process: &str) -> Option<u64> {
    memory_kib(process, "VmHWM:")
}

/// A line of a process's `status` that is in KiB.
#[must_use]
pub fn memory_kib(process: &str, line: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = status.lines().find_map(|text| text.strip_prefix(line))?;
    value.trim().trim_end_matches(" kB").parse().ok()
}
