//! Outcomes, attempts and limits of the probe engine.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read},
    net::{SocketAddr, TcpListener},
    ops::RangeInclusive,
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use reachproof_agent::{
    engine::{Engine, EngineConfig, Evidence, PeerConnection, Sink},
    environment::{Clock, SystemClock},
    limits::Limits,
    outcome::{Errno, Outcome},
    probe::{AfterAnswer, Attempts, Finished, Probe, ProbeKind, RunName, SourcePorts, Turn, Work},
};
use socket2::SockRef;

use crate::support::{
    Collect, GENEROUS, JumpingClock, PATIENCE, Silent, closed_port, engine_config, environment,
    loopback, patient, probe,
};

/// An engine and what comes out of it.
struct Bench {
    engine: Engine,
    finished: mpsc::Receiver<Finished>,
    connected: mpsc::Receiver<PeerConnection>,
}

impl Bench {
    /// An engine with generous limits and the clock of this machine.
    fn new() -> Bench {
        Bench::with(GENEROUS, Arc::new(SystemClock))
    }

    /// An engine.
    fn with(limits: Limits, clock: Arc<dyn Clock>) -> Bench {
        let (to_finished, finished) = mpsc::channel();
        let (to_connected, connected) = mpsc::channel();
        let sink = Collect {
            finished: to_finished,
            connected: to_connected,
        };
        let (engine, _ended) =
            Engine::start(engine_config(limits), environment(clock), sink).unwrap();
        Bench {
            engine,
            finished,
            connected,
        }
    }

    /// Adds probes that never expire.
    fn add(&self, probes: Vec<Probe>) {
        self.add_until(probes, Duration::from_secs(3600));
    }

    /// Adds probes.
    fn add_until(&self, probes: Vec<Probe>, expires_after: Duration) {
        let expires_at = Instant::now() + expires_after;
        self.engine.add(Work {
            run: RunName::new("run"),
            probes,
            expires_at,
        });
    }

    /// The next `count` attempts, in the order in which they finished.
    fn take(&self, count: usize) -> Vec<Finished> {
        (0..count)
            .map(|_| self.finished.recv_timeout(PATIENCE).unwrap())
            .collect()
    }

    /// Runs one probe to its end.
    fn all(&self, probe: Probe, count: usize) -> Vec<Finished> {
        self.add(vec![probe]);
        let attempts = self.take(count);
        self.expect_silence();
        attempts
    }

    /// Nothing more comes.
    fn expect_silence(&self) {
        let more = self.finished.recv_timeout(Duration::from_millis(200));
        assert_eq!(more, Err(mpsc::RecvTimeoutError::Timeout));
        assert_eq!(self.engine.attempts_pending(), 0);
    }
}

/// Source ports of attempts.
fn ports(attempts: &[Finished]) -> Vec<u16> {
    attempts
        .iter()
        .map(|attempt| attempt.local.unwrap().port())
        .collect()
}

/// Two ports outside the ephemeral range that nobody uses; each caller gets its own by its number.
fn free_ports(number: u16) -> Vec<u16> {
    let range = 20_000 + 100 * number..20_100 + 100 * number;
    range
        .filter(|port| TcpListener::bind((loopback(), *port)).is_ok())
        .take(2)
        .collect()
}

#[test]
fn an_open_port_is_connected_and_ends_the_attempts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let attempts = Bench::new().all(patient(7, listener.local_addr().unwrap(), 3, 5_000), 1);
    let [attempt] = attempts.as_slice() else {
        panic!("{attempts:?}")
    };
    let Outcome::Connected { handshake } = attempt.outcome else {
        panic!("{attempt:?}")
    };
    assert!(
        Duration::ZERO < handshake && handshake < Duration::from_secs(1),
        "{handshake:?}"
    );
    let peer = listener.accept().unwrap().1;
    assert_eq!(
        (attempt.probe, attempt.attempt, attempt.local),
        (7, 0, Some(peer))
    );
}

/// Keeps connections that are over, as one does that closes them later.
struct Keep {
    finished: mpsc::Sender<Finished>,
    over: mpsc::Sender<OwnedFd>,
}

impl Sink for Keep {
    fn finished(&self, attempt: Finished) {
        let _ = self.finished.send(attempt);
    }

    fn connected(&self, connection: PeerConnection) {
        self.finished(connection.attempt);
    }

    fn over(&self, connection: OwnedFd) {
        let _ = self.over.send(connection);
    }
}

#[test]
fn news_of_a_socket_that_is_over_says_nothing_about_the_next_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = Silent::new();
    let one_at_a_time = EngineConfig {
        in_flight_max: 1,
        evidence: Evidence::Outcome,
        ..engine_config(GENEROUS)
    };
    let (to_finished, finished) = mpsc::channel();
    let (to_over, over) = mpsc::channel();
    let keep = Keep {
        finished: to_finished,
        over: to_over,
    };
    let (engine, _ended) =
        Engine::start(one_at_a_time, environment(Arc::new(SystemClock)), keep).unwrap();
    engine.add(Work {
        run: RunName::new("run"),
        probes: vec![
            probe(0, listener.local_addr().unwrap()),
            patient(1, silent.address, 1, 1_000),
        ],
        expires_at: Instant::now() + PATIENCE,
    });
    let first = finished.recv_timeout(PATIENCE).unwrap();
    assert!(first.outcome.is_answer(), "{first:?}");
    let kept = over.recv_timeout(PATIENCE).unwrap();
    thread::sleep(Duration::from_millis(300));
    // Its end is news of the first socket, while the second attempt waits in its place.
    drop(listener.accept().unwrap());
    let second = finished.recv_timeout(PATIENCE).unwrap();
    assert!(
        matches!(second.outcome, Outcome::TimedOut { .. }),
        "{second:?}"
    );
    drop(kept);
}

#[test]
fn ipv6_is_probed_like_ipv4() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let attempts = Bench::new().all(probe(1, listener.local_addr().unwrap()), 1);
    assert!(
        matches!(attempts[0].outcome, Outcome::Connected { .. }),
        "{attempts:?}"
    );
    assert!(attempts[0].local.unwrap().is_ipv6());
}

#[test]
fn a_closed_port_is_refused_and_ends_the_attempts() {
    let attempts = Bench::new().all(patient(1, closed_port(), 3, 5_000), 1);
    assert!(
        matches!(attempts[0].outcome, Outcome::Refused { .. }),
        "{attempts:?}"
    );
}

#[test]
fn silence_uses_all_attempts_each_from_a_new_port() {
    let silent = Silent::new();
    let attempts = Bench::new().all(patient(1, silent.address, 6, 400), 6);
    for (number, attempt) in attempts.iter().enumerate() {
        let Outcome::TimedOut { after } = attempt.outcome else {
            panic!("{attempt:?}")
        };
        assert!(after >= Duration::from_millis(400), "{after:?}");
        assert_eq!(usize::try_from(attempt.attempt).unwrap(), number);
    }
    let different: BTreeSet<u16> = ports(&attempts).into_iter().collect();
    assert_eq!(different.len(), 6);
}

#[test]
fn attempts_start_an_interval_apart() {
    let silent = Silent::new();
    let interval = Duration::from_millis(150);
    let attempts = Bench::new().all(
        Probe {
            interval,
            ..patient(1, silent.address, 3, 30)
        },
        3,
    );
    for pair in attempts.windows(2) {
        assert!(pair[1].started_at - pair[0].started_at >= interval);
    }
}

#[test]
fn calls_start_when_they_are_due_whatever_the_pace_of_the_others() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let slow = Limits {
        starts_per_second_max: 1,
        ..GENEROUS
    };
    let bench = Bench::with(slow, Arc::new(SystemClock));
    let call = Probe {
        interval: Duration::from_millis(50),
        attempts: Attempts {
            after_answer: AfterAnswer::GoOn,
            turn: Turn::Beside,
            ..Attempts::until_answered(4)
        },
        ..patient(1, target, 1, 20)
    };
    // Fifty start at once; the rest comes one a second, long after the calls.
    let paced = (2..62).map(|id| patient(id, target, 1, 20));
    bench.add(paced.chain([call]).collect());
    let finished = bench.take(54);
    let calls = finished.iter().filter(|attempt| attempt.probe == 1);
    assert_eq!(calls.count(), 4, "{finished:?}");
}

#[test]
fn the_kernel_counts_syn_retransmissions() {
    let silent = Silent::new();
    // The first retransmission comes after a second.
    let attempts = Bench::new().all(patient(1, silent.address, 1, 1_400), 1);
    assert_eq!(attempts[0].syn_retransmissions, 1, "{attempts:?}");
}

#[test]
fn a_peer_that_resets_at_once_is_connected() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            SockRef::from(&stream.unwrap())
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
    });
    let bench = Bench::new();
    bench.add((0..100).map(|id| probe(id, target)).collect());
    for attempt in bench.take(100) {
        assert!(
            matches!(attempt.outcome, Outcome::Connected { .. }),
            "{attempt:?}"
        );
    }
}

#[test]
fn an_address_that_is_not_ours_is_a_local_error() {
    let foreign = Probe {
        source: Some("192.0.2.1".parse().unwrap()),
        ..patient(1, closed_port(), 2, 20)
    };
    let attempts = Bench::new().all(foreign, 2);
    for attempt in &attempts {
        assert_eq!(
            attempt.outcome,
            Outcome::LocalError {
                errno: Errno(libc::EADDRNOTAVAIL)
            }
        );
        assert_eq!(attempt.local, None);
    }
}

#[test]
fn planned_source_ports_are_all_tried_also_after_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let planned = free_ports(0);
    let attempts = Attempts::from_ports(planned.clone());
    let target = listener.local_addr().unwrap();
    let bench = Bench::new();
    let attempts = bench.all(
        Probe {
            attempts,
            ..patient(1, target, 1, 20)
        },
        2,
    );
    assert_eq!(ports(&attempts), planned);
    assert!(
        attempts
            .iter()
            .all(|attempt| matches!(attempt.outcome, Outcome::Connected { .. }))
    );
    // The same ports work again at once: nothing is left in TIME_WAIT.
    let attempts = Attempts::from_ports(planned.clone());
    assert_eq!(
        ports(&bench.all(
            Probe {
                attempts,
                ..patient(2, target, 1, 20)
            },
            2
        )),
        planned
    );
}

/// Attempts that draw their ports out of these ranges.
fn within(most: u32, after_answer: AfterAnswer, ranges: Vec<RangeInclusive<u16>>) -> Attempts {
    Attempts {
        after_answer,
        turn: Turn::Paced,
        ports: SourcePorts::Within(ranges),
        ..Attempts::until_answered(most)
    }
}

#[test]
fn source_ports_are_drawn_out_of_their_ranges_in_turn_and_none_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ranges = vec![14_000..=14_003, 14_100..=14_103, 14_200..=14_203];
    let probe = Probe {
        attempts: Attempts {
            first: 3,
            ..within(12, AfterAnswer::GoOn, ranges.clone())
        },
        ..patient(1, listener.local_addr().unwrap(), 1, 20)
    };
    let attempts = Bench::new().all(probe, 12);
    let mut used = ports(&attempts);
    for (at, attempt) in attempts.iter().enumerate() {
        assert_eq!(attempt.attempt, u32::try_from(at).unwrap() + 3);
        assert!(ranges[at % 3].contains(&used[at]), "{attempt:?}");
    }
    used.sort_unstable();
    assert_eq!(used, ranges.into_iter().flatten().collect::<Vec<u16>>());
}

#[test]
fn an_answer_ends_the_attempts_within_ranges_unless_all_are_wanted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    for (after_answer, count) in [(AfterAnswer::End, 1), (AfterAnswer::GoOn, 3)] {
        let probe = Probe {
            attempts: within(3, after_answer, vec![14_300..=14_399]),
            ..patient(1, target, 1, 20)
        };
        let bench = Bench::new();
        assert_eq!(bench.all(probe, count).len(), count);
    }
}

#[test]
fn a_port_of_a_range_that_somebody_holds_is_passed_over() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let held: Vec<TcpListener> = [14_400, 14_402, 14_403]
        .map(|port| TcpListener::bind((loopback(), port)).unwrap())
        .into();
    let bench = Bench::new();
    bench.add(vec![Probe {
        attempts: within(2, AfterAnswer::GoOn, vec![14_400..=14_403]),
        ..patient(1, listener.local_addr().unwrap(), 1, 20)
    }]);
    assert_eq!(ports(&bench.take(1)), [14_401]);
    // The second waits for a port that the probe did not have yet.
    thread::sleep(Duration::from_millis(300));
    assert_eq!(bench.finished.try_recv(), Err(mpsc::TryRecvError::Empty));
    drop(held);
    assert_ne!(ports(&bench.take(1)), [14_401]);
}

#[test]
fn a_planned_port_that_is_busy_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let planned = free_ports(1);
    let holder = TcpListener::bind((loopback(), planned[0])).unwrap();
    let bench = Bench::new();
    let attempts = Attempts::from_ports(vec![planned[0]]);
    bench.add(vec![Probe {
        attempts,
        ..probe(1, listener.local_addr().unwrap())
    }]);
    thread::sleep(Duration::from_millis(350));
    assert_eq!(bench.finished.try_recv(), Err(mpsc::TryRecvError::Empty));
    drop(holder);
    let attempts = bench.take(1);
    assert_eq!(ports(&attempts), [planned[0]]);
    assert!(
        matches!(attempts[0].outcome, Outcome::Connected { .. }),
        "{attempts:?}"
    );
}

#[test]
fn one_planned_port_reaches_several_targets_at_once() {
    let silent = Silent::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let planned = free_ports(2)[0];
    let bench = Bench::new();
    let attempts = Attempts::from_ports(vec![planned; 3]);
    let probes = [
        silent.address,
        listener.local_addr().unwrap(),
        closed_port(),
    ]
    .into_iter()
    .zip(1..);
    bench.add(
        probes
            .map(|(target, id)| Probe {
                attempts: attempts.clone(),
                ..patient(id, target, 1, 400)
            })
            .collect(),
    );
    let attempts = bench.take(9);
    let firsts = attempts.iter().filter(|attempt| attempt.attempt == 0);
    let starts: Vec<Instant> = firsts.map(|attempt| attempt.started_at).collect();
    let spread = *starts.iter().max().unwrap() - *starts.iter().min().unwrap();
    assert!(spread < Duration::from_millis(300), "{spread:?}");
    for attempt in attempts {
        let outcome = attempt.outcome;
        match attempt.probe {
            1 => assert!(matches!(outcome, Outcome::TimedOut { .. }), "{attempt:?}"),
            2 => assert!(matches!(outcome, Outcome::Connected { .. }), "{attempt:?}"),
            _ => assert!(matches!(outcome, Outcome::Refused { .. }), "{attempt:?}"),
        }
        assert_eq!(attempt.local.unwrap().port(), planned);
        assert!(attempt.outcome.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn a_connection_without_a_byte_is_reset_so_that_no_port_is_left_in_time_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Bench::new().all(probe(1, listener.local_addr().unwrap()), 1);
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_loop_that_ran_late_is_starved_and_not_timed_out() {
    let silent = Silent::new();
    let clock = Arc::new(JumpingClock::default());
    let bench = Bench::with(GENEROUS, clock.clone());
    bench.add(vec![patient(1, silent.address, 1, 400)]);
    thread::sleep(Duration::from_millis(100));
    clock.jump(450);
    let attempts = bench.take(1);
    assert!(
        matches!(attempts[0].outcome, Outcome::Starved { .. }),
        "{attempts:?}"
    );
}

#[test]
fn a_late_loop_still_sees_an_answer_that_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let clock = Arc::new(JumpingClock::default());
    let bench = Bench::with(GENEROUS, clock.clone());
    let probes = (0..50)
        .map(|id| patient(id, listener.local_addr().unwrap(), 1, 1))
        .collect();
    bench.add(probes);
    clock.jump(1_000);
    for attempt in bench.take(50) {
        assert!(
            matches!(attempt.outcome, Outcome::Connected { .. }),
            "{attempt:?}"
        );
    }
}

#[test]
fn no_more_than_the_limit_is_in_flight() {
    let silent = Silent::new();
    let limits = Limits {
        in_flight_max: 4,
        ..GENEROUS
    };
    let bench = Bench::with(limits, Arc::new(SystemClock));
    bench.add(
        (0..12)
            .map(|id| patient(id, silent.address, 1, 100))
            .collect(),
    );
    let attempts = bench.take(12);
    for attempt in &attempts {
        let end = attempt.started_at + attempt.outcome.elapsed();
        let others = attempts
            .iter()
            .filter(|other| attempt.started_at < other.started_at && other.started_at < end);
        assert!(others.count() < 4);
    }
}

#[test]
fn starts_are_paced_after_the_burst() {
    let target = closed_port();
    let bench = Bench::new();
    bench.add((0..100).map(|id| probe(id, target)).collect());
    let attempts = bench.take(100);
    let first = attempts
        .iter()
        .map(|attempt| attempt.started_at)
        .min()
        .unwrap();
    let last = attempts
        .iter()
        .map(|attempt| attempt.started_at)
        .max()
        .unwrap();
    // 50 at once, 50 more at 100 a second.
    assert!(
        last - first >= Duration::from_millis(490),
        "{:?}",
        last - first
    );
}

#[test]
fn a_cancelled_run_gives_no_more_results() {
    let silent = Silent::new();
    let bench = Bench::new();
    bench.add(
        (0..8)
            .map(|id| patient(id, silent.address, 16, 100))
            .collect(),
    );
    bench.take(1);
    bench.engine.cancel(RunName::new("another"));
    bench.take(8);
    bench.engine.cancel(RunName::new("run"));
    thread::sleep(Duration::from_millis(50));
    while bench.finished.try_recv().is_ok() {}
    bench.expect_silence();
}

#[test]
fn nothing_new_starts_after_the_expiry() {
    let silent = Silent::new();
    let bench = Bench::new();
    bench.add_until(
        vec![patient(1, silent.address, 16, 100)],
        Duration::from_millis(250),
    );
    bench.take(3);
    bench.expect_silence();
}

#[test]
fn a_peer_probe_is_handed_over_and_holds_its_place() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target: SocketAddr = listener.local_addr().unwrap();
    let bench = Bench::with(
        Limits {
            in_flight_max: 1,
            ..GENEROUS
        },
        Arc::new(SystemClock),
    );
    let kind = ProbeKind::Peer { nonce: [1; 16] };
    bench.add(vec![
        Probe {
            kind,
            ..probe(1, target)
        },
        probe(2, target),
    ]);
    let connection = bench.connected.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        connection.stream.local_addr().ok(),
        connection.attempt.local
    );
    assert!(
        bench
            .finished
            .recv_timeout(Duration::from_millis(200))
            .is_err()
    );
    drop(connection);
    assert_eq!(bench.take(1)[0].probe, 2);
}
