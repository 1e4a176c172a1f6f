//! Peers and hosts at their limits: each has a defined outcome, and none looks like a firewall.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use reachproof_agent::{
    engine::{Engine, EngineConfig, Evidence, Pacing},
    environment::SystemClock,
    listener::{ListenOrder, Listeners},
    outcome::Outcome,
    policy::Policy,
    probe::{Finished, Probe, RunName, Work},
};
use socket2::SockRef;

use crate::support::{
    Collect, PATIENCE, Silent, closed_port, engine_config, environment, loopback, patient, probe,
};

/// As many at once as the host's descriptors let be, without a pace.
fn burst(evidence: Evidence) -> EngineConfig {
    EngineConfig {
        in_flight_max: 1_000,
        pacing: Pacing::Unpaced,
        tracked_max: None,
        evidence,
        policy: Policy::unrestricted(),
    }
}

/// Makes all probes and returns what each ended with.
fn run(engine_config: EngineConfig, probes: Vec<Probe>) -> Vec<Finished> {
    let (sender, finished) = mpsc::channel();
    let (connected, _unused) = mpsc::channel();
    let sink = Collect {
        finished: sender,
        connected,
    };
    let (engine, _ended) =
        Engine::start(engine_config, environment(Arc::new(SystemClock)), sink).unwrap();
    let count = probes.len();
    engine.add(Work {
        run: RunName::new("run"),
        probes,
        expires_at: Instant::now() + PATIENCE,
    });
    (0..count)
        .map(|_| finished.recv_timeout(PATIENCE).unwrap())
        .collect()
}

/// Probes of one target, which leave the source port to the kernel.
fn many(target: SocketAddr, count: u32) -> Vec<Probe> {
    (0..count)
        .map(|id| Probe {
            source: None,
            ..probe(id, target)
        })
        .collect()
}

#[test]
fn a_peer_that_resets_at_once_is_open() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            // Closing is a reset then.
            SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
    });
    for evidence in [Evidence::Outcome, Evidence::Full] {
        for finished in run(burst(evidence), many(target, 1_000)) {
            let outcome = finished.outcome;
            assert!(matches!(outcome, Outcome::Connected { .. }), "{outcome:?}");
        }
    }
}

#[test]
fn without_evidence_the_outcomes_are_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for (target, word) in [
        (listener.local_addr().unwrap(), "open"),
        (closed_port(), "refused"),
    ] {
        for evidence in [Evidence::Outcome, Evidence::Full] {
            let [finished] = run(burst(evidence), many(target, 1)).try_into().unwrap();
            assert_eq!(finished.outcome.word(), word);
            assert_eq!(finished.local.is_some(), evidence == Evidence::Full);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_at_one_listener_is_never_called_silence() {
    let free = TcpListener::bind((loopback(), 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let (sender, accepted) = mpsc::channel();
    let sink = Arc::new(move |accepted| sender.send(accepted).unwrap());
    let mut listeners = Listeners::new(vec![loopback()], Arc::new(SystemClock), sink, 16);
    let order = ListenOrder { port, key: [1; 32] };
    let never = tokio::time::Instant::now() + Duration::from_secs(3600);
    let failures = listeners.open(&RunName::new("run"), &[order], never).await;
    assert_eq!(failures, []);
    let target = SocketAddr::new(loopback(), port);
    let probes = many(target, 2_000);
    let all = tokio::task::spawn_blocking(move || run(burst(Evidence::Full), probes));
    for finished in all.await.unwrap() {
        let outcome = finished.outcome;
        assert!(matches!(outcome, Outcome::Connected { .. }), "{outcome:?}");
    }
    let reported = (0..2_000).filter(|_| accepted.recv_timeout(PATIENCE).is_ok());
    assert_eq!(reported.count(), 2_000);
    listeners.close_all().await;
}

#[test]
fn a_full_accept_queue_is_silent_until_it_is_drained() {
    let silent = Silent::new();
    let (sender, finished) = mpsc::channel();
    let (connected, _unused) = mpsc::channel();
    let sink = Collect {
        finished: sender,
        connected,
    };
    let clock = Arc::new(SystemClock);
    let (engine, _ended) = Engine::start(burst(Evidence::Full), environment(clock), sink).unwrap();
    engine.add(Work {
        run: RunName::new("run"),
        probes: vec![patient(1, silent.address, 16, 500)],
        expires_at: Instant::now() + PATIENCE,
    });
    let first = finished.recv_timeout(PATIENCE).unwrap().outcome;
    assert!(matches!(first, Outcome::TimedOut { .. }), "{first:?}");
    silent.drain();
    let outcomes = finished.iter().map(|finished| finished.outcome);
    let answer = outcomes.take(15).find(|outcome| outcome.is_answer());
    assert!(
        matches!(answer, Some(Outcome::Connected { .. })),
        "{answer:?}"
    );
}

#[test]
fn a_budget_of_tracked_connections_holds_back_what_does_not_fit() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let engine_config = EngineConfig {
        tracked_max: Some(5),
        pacing: Pacing::Unpaced,
        ..engine_config(crate::support::GENEROUS)
    };
    let (sender, finished) = mpsc::channel();
    let (connected, _unused) = mpsc::channel();
    let sink = Collect {
        finished: sender,
        connected,
    };
    let (engine, _ended) =
        Engine::start(engine_config, environment(Arc::new(SystemClock)), sink).unwrap();
    engine.add(Work {
        run: RunName::new("run"),
        probes: many(target, 8),
        expires_at: Instant::now() + PATIENCE,
    });
    let at_once = (0..8).filter(|_| finished.recv_timeout(Duration::from_millis(500)).is_ok());
    assert_eq!(at_once.count(), 5);
    // An answered connection leaves its entry for ten seconds.
    assert!(finished.recv_timeout(PATIENCE).is_ok());
}
