//! Attempts that wait for an answer.

use std::{io, net::SocketAddr, os::fd::AsRawFd, time::Instant};

use mio::{Interest, Registry, Token, unix::SourceFd};
use socket2::Socket;

use super::{
    Evidence,
    queue::Running,
    socket::{Judged, News, judge, judge_query},
    timed::Timed,
};
use crate::probe::{ProbeKind, RunName};

/// An attempt whose SYN was sent.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) running: Box<Running>,
    pub(super) socket: Socket,
    /// None where it is not recorded.
    pub(super) local: Option<SocketAddr>,
    pub(super) started_at: Instant,
}

impl Attempt {
    /// Asks the kernel how far it is.
    pub(super) fn judge(&self, news: News, now: Instant, evidence: Evidence) -> Judged {
        let after = now.saturating_duration_since(self.started_at);
        let kind = self.running.probe.kind;
        match (kind, kind.query_id(self.running.number())) {
            (ProbeKind::DnsUdp { .. }, Some(id)) => judge_query(&self.socket, id, after),
            (_, _) => judge(&self.socket, news, after, evidence),
        }
    }
}

/// All attempts that wait for an answer.
#[derive(Debug)]
pub(super) struct Flight {
    registry: Registry,
    /// Each is due when its deadline ends.
    attempts: Timed<Attempt>,
    attempts_left: usize,
}

impl Flight {
    /// No attempts; sockets are watched through `registry`.
    pub(super) fn new(registry: Registry) -> Flight {
        Flight {
            registry,
            attempts: Timed::default(),
            attempts_left: 0,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.attempts.len()
    }

    /// Watches the socket of the attempt that is added next, for what ends an attempt of this kind.
    ///
    /// # Errors
    /// What epoll says.
    pub(super) fn watch(&self, socket: &Socket, kind: ProbeKind) -> io::Result<()> {
        let token = Token(self.attempts.next_key());
        let interest = match kind {
            ProbeKind::TcpConnect
            | ProbeKind::Peer { .. }
            | ProbeKind::DnsTcp { .. }
            | ProbeKind::Tls => Interest::WRITABLE,
            ProbeKind::DnsUdp { .. } => Interest::READABLE,
        };
        self.registry
            .register(&mut SourceFd(&socket.as_raw_fd()), token, interest)
    }

    /// Adds an attempt whose socket is the last that was watched.
    pub(super) fn add(&mut self, attempt: Attempt) {
        self.attempts_left += attempt.running.attempts_left();
        let deadline = attempt.started_at + attempt.running.probe.deadline;
        self.attempts.add(deadline, attempt);
    }

    /// The attempt that an event is about; none when it is over, although its socket may be open still.
    pub(super) fn find(&self, key: usize) -> Option<&Attempt> {
        self.attempts.find(key)
    }

    /// Takes an attempt out, so that its socket can close or go elsewhere.
    pub(super) fn take(&mut self, key: usize) -> Option<Attempt> {
        let attempt = self.attempts.take(key)?;
        self.attempts_left = self
            .attempts_left
            .saturating_sub(attempt.running.attempts_left());
        Some(attempt)
    }

    /// Watches a socket no longer that goes elsewhere; one that closes needs no such call.
    pub(super) fn unwatch(&self, socket: &Socket) -> io::Result<()> {
        self.registry.deregister(&mut SourceFd(&socket.as_raw_fd()))
    }

    /// When the first deadline ends, and whose it is; none when nothing is in flight.
    pub(super) fn first_deadline(&mut self) -> Option<(Instant, usize)> {
        self.attempts.first()
    }

    /// These attempts, and those that may follow them.
    pub(super) fn attempts_left(&self) -> usize {
        self.attempts_left
    }

    /// Closes the attempts of a run.
    pub(super) fn cancel(&mut self, run: &RunName) {
        self.attempts.retain(|attempt| attempt.running.run != *run);
        self.attempts_left = self
            .attempts
            .iter()
            .map(|attempt| attempt.running.attempts_left())
            .sum();
    }
}
