//! The loop: wait, take events, end what is overdue, start what is due.

mod ending;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token, Waker};
use tracing::warn;

use super::{
    Command, EngineConfig, Evidence, Load, Next, Pacing, Sink,
    drops::Drops,
    flight::{Attempt, Flight},
    lag::Lag,
    pace::Pace,
    queue::{PORT_WAIT, PORT_WAITS_MAX, Queue, Running},
    report::{finished, refused},
    socket::{News, StartFailure, Started, at_once, start},
    tracked::Tracked,
};
use crate::{
    environment::{Clock, Rng},
    lateness::Watch,
    limits::{CALLS_PER_SECOND_MAX, DEADLINE_MAX, TICK},
    outcome::{Errno, Outcome},
    policy::Policy,
    probe::{Probe, Turn, Work},
};

/// The waker's events; attempts have small numbers.
const WAKE: Token = Token(usize::MAX);

/// Events taken at once; more come with the next turn.
const EVENTS_MAX: usize = 256;

/// Attempts started before the loop looks at answers again: a long burst would make it late.
const STARTS_PER_TURN: usize = 64;

/// An attempt that waited more than this part of its deadline for us, and not for the network, is *starved*.
const STARVED_PART: u32 = 4;

/// The pace of attempts that are made beside that of the others.
const CALLS: Pacing = Pacing::Even {
    per_second: CALLS_PER_SECOND_MAX,
    burst: CALLS_PER_SECOND_MAX,
};

/// Everything that the loop's thread holds.
pub(super) struct EventLoop {
    poll: Poll,
    waker: Arc<Waker>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    sink: Box<dyn Sink>,
    in_flight_max: usize,
    evidence: Evidence,
    policy: Policy,
    pace: Pace,
    /// Pace of what is made beside that.
    calls_pace: Pace,
    tracked: Tracked,
    queue: Queue,
    /// Probes that are made beside the pace of the others.
    calls: Queue,
    flight: Flight,
    lag: Lag,
    drops: Drops,
    /// Connections to peers that others complete.
    handed_over: Arc<AtomicUsize>,
    load: Load,
    /// Commands that were carried out in this turn.
    obeyed: usize,
    watch: Arc<Watch>,
    /// When the last waiting began: all news of before was taken when it ended.
    asked_at: Instant,
    /// When the last waiting ended.
    woken_at: Instant,
}

impl EventLoop {
    /// Makes the event queue.
    pub(super) fn new(
        engine_config: EngineConfig,
        (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>),
        sink: Box<dyn Sink>,
        (load, watch): (Load, Arc<Watch>),
    ) -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let flight = Flight::new(poll.registry().try_clone()?);
        let now = clock.now();
        Ok(EventLoop {
            poll,
            waker,
            clock,
            rng,
            sink,
            in_flight_max: engine_config.in_flight_max.max(1),
            evidence: engine_config.evidence,
            policy: engine_config.policy,
            pace: Pace::new(engine_config.pacing, now),
            calls_pace: Pace::new(CALLS, now),
            tracked: Tracked::new(engine_config.tracked_max),
            queue: Queue::default(),
            calls: Queue::default(),
            flight,
            lag: Lag::default(),
            drops: Drops::new(now),
            handed_over: Arc::new(AtomicUsize::new(0)),
            load,
            obeyed: 0,
            watch,
            asked_at: now,
            woken_at: now,
        })
    }

    /// What wakes the loop.
    pub(super) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// EventLoop until it is told to stop or epoll fails.
    pub(super) fn run(&mut self, commands: &mpsc::Receiver<Command>) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while self.turn(&mut events, commands)? == Next::Turn {}
        Ok(())
    }

    /// Waits for an event, a command or a timer, and does what is due.
    fn turn(
        &mut self,
        events: &mut Events,
        commands: &mpsc::Receiver<Command>,
    ) -> io::Result<Next> {
        self.wait(events)?;
        for event in events.iter() {
            if event.token() != WAKE {
                let news = if event.is_error() || event.is_write_closed() {
                    News::Failed
                } else {
                    News::Writable
                };
                self.answered(event.token().0, news);
            }
        }
        if self.run_commands(commands) == Next::Stop {
            return Ok(Next::Stop);
        }
        // With as many events as are taken at once there may be more, also of what seems overdue.
        if events.iter().count() < EVENTS_MAX {
            self.end_overdue();
        }
        self.start_due();
        self.publish();
        Ok(Next::Turn)
    }

    /// Waits, and notes how late the loop was: by its timer, or because the turn before took so long.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let before = self.clock.now();
        let alarm = self.alarm(before);
        self.watch.turn(before, alarm);
        let timeout = alarm.map(|at| at.saturating_duration_since(before));
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        let now = self.clock.now();
        self.watch.turn(now, Some(now));
        // What was due before the wait began is what the turn before is to blame for.
        let late = alarm.map_or(Duration::ZERO, |at| {
            now.saturating_duration_since(at.max(before))
        });
        let busy = before.saturating_duration_since(self.woken_at);
        self.lag.note(now, late.max(busy), DEADLINE_MAX * 2);
        (self.asked_at, self.woken_at) = (before, now);
        Ok(())
    }

    /// When the loop has to look next, whatever the network does; none when only a command can bring work.
    ///
    /// While something is in flight it looks often: otherwise a loop that gets no processor would not know that it was late.
    fn alarm(&mut self, now: Instant) -> Option<Instant> {
        let deadline = self
            .flight
            .first_deadline()
            .map(|(at, _)| at.min(now + TICK));
        if self.is_full() {
            return deadline;
        }
        let start = self.next_start();
        match (deadline, start) {
            (Some(deadline), Some(start)) => Some(deadline.min(start)),
            (deadline, start) => deadline.or(start),
        }
    }

    /// When the next attempt starts; none when none waits.
    fn next_start(&mut self) -> Option<Instant> {
        let room_at = self.room_at();
        let paced = self.queue.first().map(|due| due.max(self.pace.earliest()));
        let beside = self.calls.first();
        let beside = beside.map(|due| due.max(self.calls_pace.earliest()));
        let first = match (paced, beside) {
            (Some(paced), Some(beside)) => Some(paced.min(beside)),
            (paced, beside) => paced.or(beside),
        };
        first.map(|due| due.max(room_at))
    }

    /// Attempts in flight, those included that others complete.
    fn in_flight(&self) -> usize {
        self.flight.len() + self.handed_over.load(Ordering::Acquire)
    }

    /// Whether no further attempt may start.
    fn is_full(&self) -> bool {
        self.in_flight() >= self.in_flight_max
    }

    /// When connection tracking has room for a further attempt; the past when it has now.
    fn room_at(&mut self) -> Instant {
        let in_flight = self.in_flight();
        self.tracked
            .full_until(self.woken_at, in_flight)
            .unwrap_or(self.woken_at)
    }

    /// Takes all commands that wait. A sender that is gone without a word means the same as a stop.
    fn run_commands(&mut self, commands: &mpsc::Receiver<Command>) -> Next {
        loop {
            match commands.try_recv() {
                Ok(Command::Add(work)) => {
                    self.obeyed += 1;
                    self.add(work);
                }
                Ok(Command::Cancel(run)) => {
                    self.obeyed += 1;
                    self.queue.cancel(&run);
                    self.calls.cancel(&run);
                    self.flight.cancel(&run);
                }
                Err(mpsc::TryRecvError::Empty) => return Next::Turn,
                Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return Next::Stop,
            }
        }
    }

    /// Queues probes, but for those that the policy refuses: these are finished at once.
    fn add(&mut self, mut work: Work) {
        let run = work.run.clone();
        let now = self.clock.now();
        let (policy, sink) = (&self.policy, &self.sink);
        let mut by_policy = 0_usize;
        work.probes.retain(|probe| match policy.check(probe.target) {
            Ok(()) => true,
            Err(refusal) => {
                if by_policy == 0 {
                    warn!(%run, probe = probe.id, target = %probe.target, %refusal, "refused by the agent's policy");
                }
                by_policy += 1;
                sink.finished(refused(&run, probe, now));
                false
            }
        });
        if by_policy > 1 {
            warn!(%run, refused = by_policy, "probes refused by the agent's policy");
        }
        let too_many = self.enqueue(work, now);
        if too_many > 0 {
            warn!(%run, refused = too_many, "more probes than may wait; the rest is not made");
        }
    }

    /// Lets probes wait for their first attempt; returns how many did not fit.
    fn enqueue(&mut self, mut work: Work, now: Instant) -> usize {
        let is_beside = |probe: &Probe| probe.attempts.turn == Turn::Beside;
        let (beside, paced) = work.probes.into_iter().partition(is_beside);
        work.probes = paced;
        let calls = Work {
            run: work.run.clone(),
            probes: beside,
            expires_at: work.expires_at,
        };
        self.queue.add(work, now) + self.calls.add(calls, now)
    }

    /// Starts what is due, as far as limits and pace allow.
    fn start_due(&mut self) {
        let mut left = STARTS_PER_TURN;
        while !self.is_full() && left > 0 {
            left -= 1;
            let now = self.clock.now();
            let Some(running) = self.take_due(now) else {
                return;
            };
            self.start(running, now);
        }
    }

    /// Takes the next probe whose attempt is due, one that is made beside the pace of the others first.
    fn take_due(&mut self, now: Instant) -> Option<Box<Running>> {
        if self.room_at() > now {
            return None;
        }
        if self.calls_pace.earliest() <= now
            && let Some(running) = self.calls.pop(now)
        {
            self.calls_pace.count(now);
            return Some(running);
        }
        if self.pace.earliest() > now {
            return None;
        }
        let running = self.queue.pop(now)?;
        self.pace.count(now);
        Some(running)
    }

    /// Lets a probe wait until `at`.
    pub(super) fn wait_until(&mut self, running: Box<Running>, at: Instant) {
        match running.probe.attempts.turn {
            Turn::Paced => self.queue.push(running, at),
            Turn::Beside => self.calls.push(running, at),
        }
    }

    /// Starts the next attempt of a probe.
    fn start(&mut self, mut running: Box<Running>, now: Instant) {
        match start(&running, self.evidence, self.rng.as_ref()) {
            Ok(Started { socket, local }) => {
                running.remember_port(local);
                match self.flight.watch(&socket, running.probe.kind) {
                    Ok(()) => self.flight.add(Attempt {
                        running,
                        socket,
                        local,
                        started_at: now,
                    }),
                    Err(error) => self.failed(running, at_once(Errno::of(&error)), local, now),
                }
            }
            Err(StartFailure::PortBusy(_)) if running.port_waits < PORT_WAITS_MAX => {
                running.port_waits += 1;
                self.wait_until(running, now + PORT_WAIT);
            }
            Err(StartFailure::PortBusy(errno)) => {
                self.failed(running, at_once(errno), None, now);
            }
            Err(StartFailure::Other { outcome, local }) => {
                self.failed(running, outcome, local, now);
            }
        }
    }

    /// Reports an attempt that a system call ended.
    fn failed(
        &mut self,
        running: Box<Running>,
        outcome: Outcome,
        local: Option<SocketAddr>,
        now: Instant,
    ) {
        self.sink.finished(finished(&running, outcome, local, now));
        self.go_on(running, outcome, now, now);
    }

    /// Tells the others how much is left.
    fn publish(&mut self) {
        let handed_over = self.handed_over.load(Ordering::Acquire);
        let waiting = self.queue.attempts_left() + self.calls.attempts_left();
        let pending = waiting + self.flight.attempts_left() + handed_over;
        self.load.pending.store(pending, Ordering::Release);
        let obeyed = std::mem::take(&mut self.obeyed);
        if obeyed > 0 {
            self.load.told.fetch_sub(obeyed, Ordering::AcqRel);
        }
    }
}
