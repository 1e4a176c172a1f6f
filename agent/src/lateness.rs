//! How late the agent's loops ran while somebody depended on them.
//!
//! Silence while a loop was late proves nothing: a connection may have waited for the loop that accepts, an answer for the one that
//! makes attempts. A process that was stopped, or that got no processor, finds out when it goes on.
//!
//! **Invariant.** Nothing is measured, and nothing wakes up for it, while no port is open and no attempt is to be made.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{environment::Clock, limits::TICK};

/// Stands for a loop that has nothing to do until it is told.
const NOTHING_DUE: u64 = u64::MAX;

/// One loop, and what it has to be in time for.
#[derive(Debug)]
pub struct Watch {
    epoch: Instant,
    /// When the loop has to turn next, in microseconds since the epoch.
    due_us: AtomicU64,
    /// Longest that it was late since somebody asked, in microseconds.
    longest_us: AtomicU64,
}

impl Watch {
    /// A loop that has nothing to do; nothing is due before `epoch`.
    pub fn new(epoch: Instant) -> Watch {
        Watch {
            epoch,
            due_us: AtomicU64::new(NOTHING_DUE),
            longest_us: AtomicU64::new(0),
        }
    }

    /// The loop turns at `now` and has to turn again at `due`; none: when it is told.
    pub fn turn(&self, now: Instant, due: Option<Instant>) {
        let due_us = due.map_or(NOTHING_DUE, |due| self.us(due));
        let was_due_us = self.due_us.swap(due_us, Ordering::AcqRel);
        let late_us = self.us(now).saturating_sub(was_due_us);
        self.longest_us.fetch_max(late_us, Ordering::AcqRel);
    }

    /// Longest that the loop was late since the last call, including what it is late by at `now`.
    pub fn take(&self, now: Instant) -> Duration {
        let now_us = self.us(now);
        let due_us = self.due_us.load(Ordering::Acquire);
        let longest_us = self.longest_us.swap(0, Ordering::AcqRel);
        // What is counted here is not to be counted again when the loop turns. One that turns right now counts it twice.
        if due_us < now_us {
            let _ =
                self.due_us
                    .compare_exchange(due_us, now_us, Ordering::AcqRel, Ordering::Acquire);
        }
        Duration::from_micros(longest_us.max(now_us.saturating_sub(due_us)))
    }

    /// Microseconds since the epoch.
    fn us(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        u64::try_from(since.as_micros()).unwrap_or(NOTHING_DUE - 1)
    }
}

/// Longest that a loop was late in a time that ends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Late {
    /// Begin of that time.
    pub(crate) since: Instant,
    /// By how much.
    pub(crate) longest: Duration,
}

/// Measures both loops of the agent.
pub(crate) struct Lateness {
    clock: Arc<dyn Clock>,
    engine: Arc<Watch>,
    ticker: Arc<Ticker>,
}

/// A task that shows how late the runtime runs: what accepts connections waits as long as it does.
struct Ticker {
    watch: Watch,
    state: Mutex<State>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Begin of what was not reported yet; none: nothing was measured.
    since: Option<Instant>,
    is_running: bool,
}

impl Lateness {
    /// Measures nothing yet; the engine turns in front of `engine`.
    pub(crate) fn new(clock: Arc<dyn Clock>, engine: Arc<Watch>) -> Lateness {
        let ticker = Ticker {
            watch: Watch::new(clock.now()),
            state: Mutex::default(),
        };
        Lateness {
            clock,
            engine,
            ticker: Arc::new(ticker),
        }
    }

    /// Measures from now on, until nothing is on any more.
    pub(crate) fn measure(&self, is_on: impl Fn() -> bool + Send + 'static) {
        let mut state = self.ticker.lock();
        if state.is_running {
            return;
        }
        let now = self.clock.now();
        if state.since.is_none() {
            state.since = Some(now);
            // What was before does not count.
            self.engine.take(now);
            self.ticker.watch.take(now);
        }
        state.is_running = true;
        self.ticker.watch.turn(now, Some(now + TICK));
        let (ticker, clock) = (Arc::clone(&self.ticker), Arc::clone(&self.clock));
        tokio::spawn(async move { ticker.tick(clock.as_ref(), is_on).await });
    }

    /// How late the loops were since the last report; none where nothing was measured.
    pub(crate) fn report(&self, now: Instant) -> Option<Late> {
        let mut state = self.ticker.lock();
        let since = state.since?;
        state.since = state.is_running.then_some(now);
        let longest = self.engine.take(now).max(self.ticker.watch.take(now));
        Some(Late { since, longest })
    }
}

impl Ticker {
    /// EventLoop every [`TICK`] as long as something is on.
    async fn tick(&self, clock: &dyn Clock, is_on: impl Fn() -> bool) {
        loop {
            sleep(TICK).await;
            let now = clock.now();
            let mut state = self.lock();
            state.is_running = is_on();
            let due = state.is_running.then_some(now + TICK);
            self.watch.turn(now, due);
            if due.is_none() {
                return;
            }
        }
    }

    /// The state; each change of it is complete, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{sync::atomic::AtomicBool, time::SystemTime};

    use super::*;

    #[test]
    fn the_longest_since_the_last_look_counts_and_what_still_lasts() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        let watch = Watch::new(begin);
        assert_eq!(watch.take(at(1_000)), Duration::ZERO);
        watch.turn(at(1_000), Some(at(1_050)));
        watch.turn(at(1_080), Some(at(1_130)));
        watch.turn(at(1_130), Some(at(1_180)));
        assert_eq!(watch.take(at(1_150)), ms(30));
        assert_eq!(watch.take(at(1_160)), Duration::ZERO);
        // Stopped: whoever asks first hears of it, and nothing is counted twice.
        assert_eq!(watch.take(at(17_180)), ms(16_000));
        watch.turn(at(17_190), None);
        assert_eq!(watch.take(at(20_000)), ms(10));
        assert_eq!(watch.take(at(30_000)), Duration::ZERO);
    }

    /// The clock of a paused runtime.
    struct PausedClock;

    impl Clock for PausedClock {
        fn now(&self) -> Instant {
            tokio::time::Instant::now().into_std()
        }

        fn calendar(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lateness_is_measured_only_while_something_is_on() {
        let clock = Arc::new(PausedClock);
        let engine = Arc::new(Watch::new(clock.now()));
        let lateness = Lateness::new(clock.clone(), Arc::clone(&engine));
        assert_eq!(lateness.report(clock.now()), None);
        let on = Arc::new(AtomicBool::new(true));
        let is_on = Arc::clone(&on);
        let begin = clock.now();
        lateness.measure(move || is_on.load(Ordering::SeqCst));
        sleep(Duration::from_secs(1)).await;
        let engine_late = Duration::from_millis(300);
        engine.turn(clock.now() + engine_late, Some(clock.now()));
        engine.turn(clock.now() + engine_late, None);
        let now = clock.now();
        let late = lateness.report(now).unwrap();
        assert_eq!((late.since, late.longest), (begin, engine_late));
        on.store(false, Ordering::SeqCst);
        sleep(Duration::from_secs(1)).await;
        let last = lateness.report(clock.now()).unwrap();
        assert_eq!(last.since, now);
        assert!(last.longest < Duration::from_millis(10));
        assert_eq!(lateness.report(clock.now()), None);
    }

    #[tokio::test]
    async fn a_runtime_that_is_held_up_is_late() {
        let clock = Arc::new(crate::environment::SystemClock);
        let engine = Arc::new(Watch::new(clock.now()));
        let lateness = Lateness::new(clock.clone(), engine);
        lateness.measure(|| true);
        sleep(Duration::from_millis(120)).await;
        lateness.report(clock.now());
        std::thread::sleep(Duration::from_millis(400));
        // Before the ticker had its turn.
        let late = lateness.report(clock.now()).unwrap();
        assert!(late.longest >= Duration::from_millis(300), "{late:?}");
        sleep(Duration::from_millis(10)).await;
        let late = lateness.report(clock.now()).unwrap();
        assert!(late.longest < Duration::from_millis(200), "{late:?}");
    }
}
