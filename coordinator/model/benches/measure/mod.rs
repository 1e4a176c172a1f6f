//! Processor time instead of the clock on the wall.

use std::fs;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};

/// Processor time of this process, so that a busy machine does not count; the bench has one thread that works.
pub(crate) struct ProcessorTime(pub(crate) WallTime);

impl Measurement for ProcessorTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        spent()
    }

    fn end(&self, started: Duration) -> Duration {
        spent().saturating_sub(started)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        self.0.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self.0.formatter()
    }
}

/// Time on a processor so far.
fn spent() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
