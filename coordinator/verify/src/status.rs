//! One line on standard error that says how far a run is: the phase, what is done of all, the time left.
//!
//! On a terminal the line is drawn again where it stands. Elsewhere nothing is redrawn: the line is written every
//! [`LINE_EVERY`]. Whatever else goes to standard error while it stands goes through [`StatusLine::say`] or
//! [`StatusLine::writer`], which take the line away first.

mod phase;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::progress::Progress;
use phase::Phase;

/// How often a line is written where it cannot be redrawn.
pub const LINE_EVERY: Duration = Duration::from_secs(10);

/// How often the line is looked at: seconds are shown, which should not jump.
const TICK: Duration = Duration::from_millis(250);

/// Columns of a terminal that does not say how many it has.
const WIDTH_DEFAULT: u16 = 80;

/// Goes to the start of the line and empties it.
const CLEAR: &str = "\r\u{1b}[2K";

/// How much somebody wants to know beside the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Amount {
    /// Errors and gaps alone.
    Quiet,
    /// How far it is.
    #[default]
    Normal,
    /// Each thing that happens, and more of the log.
    Verbose,
}

impl Amount {
    /// The amount that the flags `--quiet` and `--verbose` ask for, of which one is set at most.
    #[must_use]
    pub fn asked(quiet: bool, verbose: bool) -> Self {
        match (quiet, verbose) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Verbose,
            (false, false) => Self::Normal,
        }
    }
}

/// How the line is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Silent,
    Redrawn,
    Lines,
}

/// The line. Clones stand for the same line.
#[derive(Clone)]
pub struct StatusLine {
    state: Arc<Mutex<State>>,
    amount: Amount,
}

impl std::fmt::Debug for StatusLine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("StatusLine")
            .field("amount", &self.amount)
            .finish_non_exhaustive()
    }
}

/// What stands there, and what it is about.
struct State {
    out: Box<dyn Write + Send>,
    manner: Manner,
    phase: Option<Phase>,
    /// What stands on the terminal now.
    drawn: Option<String>,
    /// When a line was last written, or the phases began.
    written: Instant,
}

impl StatusLine {
    /// The line of this process's standard error.
    #[must_use]
    pub fn on_stderr(amount: Amount) -> Self {
        let manner = match amount {
            Amount::Quiet => Manner::Silent,
            Amount::Normal | Amount::Verbose if io::stderr().is_terminal() => Manner::Redrawn,
            Amount::Normal | Amount::Verbose => Manner::Lines,
        };
        let state = State::new(Box::new(io::stderr()), manner, Instant::now());
        let line = Self {
            state: Arc::new(Mutex::new(state)),
            amount,
        };
        if manner != Manner::Silent {
            tick(Arc::downgrade(&line.state));
        }
        line
    }

    /// Takes in what happened.
    pub fn note(&self, progress: &Progress) {
        let mut state = self.lock();
        if self.amount == Amount::Verbose {
            state.write(&format!("{progress}\n"));
        }
        state.note(progress, Instant::now());
    }

    /// Writes a line beside it, whatever the amount.
    pub fn say(&self, text: &str) {
        self.lock().write(&format!("{text}\n"));
    }

    /// The same, for what is of use only to somebody who watches: nothing with `--quiet`.
    pub fn remark(&self, text: &str) {
        if self.amount != Amount::Quiet {
            self.say(text);
        }
    }

    /// The same, for each small thing: with `--verbose` alone.
    pub fn detail(&self, text: &str) {
        if self.amount == Amount::Verbose {
            self.say(text);
        }
    }

    /// Takes the line away, until something is noted again.
    pub fn end(&self) {
        let mut state = self.lock();
        state.phase = None;
        state.clear();
    }

    /// Writes beside the line; for a log.
    #[must_use]
    pub fn writer(&self) -> impl Write + use<> {
        Beside(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the line until nobody has it any more.
fn tick(state: Weak<Mutex<State>>) {
    let looks = move || {
        while let Some(state) = state.upgrade() {
            let mut held = state.lock().unwrap_or_else(PoisonError::into_inner);
            held.tick(Instant::now());
            drop(held);
            drop(state);
            thread::sleep(TICK);
        }
    };
    // Without a thread the line is drawn when something happens.
    let _spawned = thread::Builder::new()
        .name("status".to_owned())
        .spawn(looks);
}

/// What is written beside the line.
struct Beside(StatusLine);

impl Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        state.clear();
        state.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().out.flush()
    }
}

impl State {
    fn new(out: Box<dyn Write + Send>, manner: Manner, now: Instant) -> Self {
        Self {
            out,
            manner,
            phase: None,
            drawn: None,
            written: now,
        }
    }

    fn note(&mut self, progress: &Progress, now: Instant) {
        if self.phase.is_none() {
            self.written = now;
        }
        self.phase = Phase::after(self.phase.take(), progress, now);
        if self.manner == Manner::Redrawn {
            self.draw(now);
        }
    }

    fn tick(&mut self, now: Instant) {
        match self.manner {
            Manner::Silent => {}
            Manner::Redrawn => self.draw(now),
            Manner::Lines => self.write_at_times(now),
        }
    }

    fn draw(&mut self, now: Instant) {
        let width = terminal_size::terminal_size_of(io::stderr());
        let width = width.map_or(WIDTH_DEFAULT, |(width, _)| width.0);
        // The last column stays free: some terminals go to the next line when it is filled.
        let room = usize::from(width).saturating_sub(1);
        let text = self.phase.as_ref().map(|phase| phase.line(now));
        let text: Option<String> = text.map(|text| text.chars().take(room).collect());
        if text == self.drawn {
            return;
        }
        self.clear();
        if let Some(text) = text {
            self.put(&text);
            self.drawn = Some(text);
        }
    }

    fn write_at_times(&mut self, now: Instant) {
        let Some(phase) = &self.phase else { return };
        if now.saturating_duration_since(self.written) >= LINE_EVERY {
            let line = phase.line(now);
            self.write(&format!("{line}\n"));
            self.written = now;
        }
    }

    fn write(&mut self, text: &str) {
        self.clear();
        self.put(text);
    }

    fn clear(&mut self) {
        if self.drawn.take().is_some() {
            self.put(CLEAR);
        }
    }

    /// Who closed standard error does not want to know.
    fn put(&mut self, text: &str) {
        let _closed = self
            .out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn state(manner: Manner) -> (Paper, State, Instant) {
        let (paper, now) = (Paper::default(), Instant::now());
        let state = State::new(Box::new(paper.clone()), manner, now);
        (paper, state, now)
    }

    fn probing(finished: usize) -> Progress {
        Progress::Probing {
            finished,
            total: 100,
        }
    }

    #[test]
    fn elsewhere_than_on_a_terminal_there_is_a_line_every_ten_seconds_and_nothing_is_redrawn() {
        let (paper, mut state, now) = state(Manner::Lines);
        let planned = Progress::Planned {
            flows: 20,
            probes: 100,
            agents: 4,
            silence: Duration::from_secs(60),
        };
        state.note(&planned, now);
        for second in 1..=25_u32 {
            let then = now + Duration::from_secs(1) * second;
            state.note(&probing(usize::try_from(second).unwrap()), then);
            state.tick(then);
        }
        assert_eq!(
            paper.text(),
            "probing: 10 of 100 probes, about 50 s left\nprobing: 20 of 100 probes, about 40 s left\n"
        );
    }

    #[test]
    fn on_a_terminal_one_line_is_drawn_again_and_gone_at_the_end() {
        let (paper, mut state, now) = state(Manner::Redrawn);
        state.note(&probing(0), now);
        state.tick(now);
        state.note(&probing(50), now + Duration::from_secs(5));
        state.write("gap: one\n");
        state.tick(now + Duration::from_secs(5));
        state.phase = None;
        state.clear();
        let drawn = [
            "probing: 0 of 100 probes",
            CLEAR,
            "probing: 50 of 100 probes, about 5 s left",
            CLEAR,
            "gap: one\n",
            "probing: 50 of 100 probes, about 5 s left",
            CLEAR,
        ];
        assert_eq!(paper.text(), drawn.concat());
    }

    #[test]
    fn nothing_is_said_quietly() {
        let (paper, mut state, now) = state(Manner::Silent);
        state.note(&probing(1), now);
        state.tick(now + Duration::from_secs(60));
        assert_eq!(paper.text(), "");
    }
}
