//! Probes that wait for their next attempt.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{Ask, timed::Timed};
use crate::{
    limits::PROBES_WAITING_MAX,
    probe::{Probe, ProbeKind, RunName, Work},
};

/// A probe between the first and the last of its attempts.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) run: RunName,
    pub(super) probe: Probe,
    /// When nothing new is started any more.
    pub(super) expires_at: Instant,
    /// Attempts that were made before the next one, or before the one in flight.
    pub(super) made: u32,
    /// Source ports of the attempts before.
    pub(super) ports_used: Vec<u16>,
    /// How often the planned port of the next attempt was busy.
    pub(super) port_waits: u32,
}

impl Running {
    /// Remembers a source port for the attempts after this one, if there is one that could draw it again.
    pub(super) fn remember_port(&mut self, local: Option<SocketAddr>) {
        let again = self.made + 1 < self.probe.attempts.most;
        if again && self.probe.source.is_some() {
            self.ports_used.extend(local.map(|local| local.port()));
        }
    }

    /// What is asked once the attempt in flight is connected; none where the outcome is all.
    pub(super) fn ask(&self) -> Option<Ask> {
        let kind = self.probe.kind;
        match kind {
            ProbeKind::TcpConnect | ProbeKind::DnsUdp { .. } => None,
            ProbeKind::Peer { nonce } => Some(Ask::Identity { nonce }),
            ProbeKind::DnsTcp { .. } => kind.query_id(self.number()).map(|id| Ask::Query { id }),
            ProbeKind::Tls => Some(Ask::Session),
        }
    }

    /// The number of the next attempt, or of the one in flight.
    pub(super) fn number(&self) -> u32 {
        self.probe.number(self.made)
    }

    /// The next attempt, or the one in flight, and those that may follow it.
    pub(super) fn attempts_left(&self) -> usize {
        let left = self.probe.attempts.most.saturating_sub(self.made);
        usize::try_from(left).unwrap_or(usize::MAX)
    }
}

/// All probes that wait for their next attempt.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Timed<Box<Running>>,
    attempts: usize,
}

impl Queue {
    /// Adds probes; returns how many did not fit.
    pub(super) fn add(&mut self, work: Work, now: Instant) -> usize {
        let room = PROBES_WAITING_MAX.saturating_sub(self.waiting.len());
        let refused = work.probes.len().saturating_sub(room);
        for probe in work.probes.into_iter().take(room) {
            let running = Box::new(Running {
                run: work.run.clone(),
                probe,
                expires_at: work.expires_at,
                made: 0,
                ports_used: Vec::new(),
                port_waits: 0,
            });
            self.push(running, now);
        }
        refused
    }

    /// Lets a probe wait until `at`.
    pub(super) fn push(&mut self, running: Box<Running>, at: Instant) {
        self.attempts += running.attempts_left();
        self.waiting.add(at, running);
    }

    /// When the first attempt is due; none when no probe waits.
    pub(super) fn first(&mut self) -> Option<Instant> {
        self.waiting.first().map(|(at, _)| at)
    }

    /// Takes the first probe whose attempt is due and still allowed, and drops those that expired before.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Box<Running>> {
        loop {
            let (_, key) = self.waiting.first().filter(|(at, _)| *at <= now)?;
            let running = self.waiting.take(key)?;
            self.attempts = self.attempts.saturating_sub(running.attempts_left());
            if now < running.expires_at {
                return Some(running);
            }
        }
    }

    /// Drops the probes of a run.
    pub(super) fn cancel(&mut self, run: &RunName) {
        self.waiting.retain(|running| running.run != *run);
        self.attempts = self
            .waiting
            .iter()
            .map(|running| running.attempts_left())
            .sum();
    }

    /// Attempts that may still come.
    pub(super) fn attempts_left(&self) -> usize {
        self.attempts
    }
}

/// How long a planned port that is busy is waited for: another attempt of ours holds it no longer than its deadline.
pub(super) const PORT_WAIT: Duration = Duration::from_millis(100);

/// How often it is waited for it: for 10 s in all.
pub(super) const PORT_WAITS_MAX: u32 = 100;
