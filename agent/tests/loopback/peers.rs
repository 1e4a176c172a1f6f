//! Listeners, and what peers say to each other.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use reachproof_agent::{
    engine::{Engine, PeerConnection},
    environment::{Clock, SystemClock},
    listener::{Accepted, ListenOrder, Listeners},
    outcome::{Errno, Outcome},
    peer::ask,
    probe::{Attempts, Finished, Identification, Probe, ProbeKind, RunName, Work},
};
use reachproof_proto::net::{address_to_wire, verify_proof};
use tokio::time::Instant;

use crate::support::{
    Collect, GENEROUS, PATIENCE, engine_config, environment, loopback, patient, probe,
};

/// The key of the ports in these tests.
const KEY: [u8; 32] = [9; 32];

/// The nonce of the probes in these tests.
const NONCE: [u8; 16] = [3; 16];

/// Listeners on these addresses, and what they accept.
fn listeners(addresses: &[&str]) -> (Listeners, mpsc::Receiver<Accepted>) {
    few_listeners(addresses, 64)
}

/// Listeners on these addresses that serve few connections, and what they accept.
fn few_listeners(
    addresses: &[&str],
    connections_max: u32,
) -> (Listeners, mpsc::Receiver<Accepted>) {
    let (sender, receiver) = mpsc::channel();
    let addresses = addresses
        .iter()
        .map(|address| address.parse().unwrap())
        .collect();
    let sink = Arc::new(move |accepted| sender.send(accepted).unwrap_or_default());
    (
        Listeners::new(addresses, Arc::new(SystemClock), sink, connections_max),
        receiver,
    )
}

/// A port outside the ephemeral range that nobody uses; each caller gets its own by its number.
fn free_port(number: u16) -> u16 {
    let range = 12_000 + 100 * number..12_100 + 100 * number;
    range
        .into_iter()
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// An order to open a port.
fn order(port: u16) -> ListenOrder {
    ListenOrder { port, key: KEY }
}

/// A time that no test reaches.
fn never() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Connects with the engine and asks who is there.
async fn asked(probe: Probe) -> Finished {
    let (finished, _) = mpsc::channel();
    let (connected, connections) = mpsc::channel();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (engine, _ended) = Engine::start(
        engine_config(GENEROUS),
        environment(Arc::clone(&clock)),
        Collect {
            finished,
            connected,
        },
    )
    .unwrap();
    let expires_at = clock.now() + PATIENCE;
    engine.add(Work {
        run: RunName::new("run"),
        probes: vec![probe],
        expires_at,
    });
    let wait = move || connections.recv_timeout(PATIENCE).unwrap();
    let connection: PeerConnection = tokio::task::spawn_blocking(wait).await.unwrap();
    ask(connection).await
}

/// A peer probe of `target`.
fn peer_probe(target: SocketAddr) -> Probe {
    Probe {
        kind: ProbeKind::Peer { nonce: NONCE },
        ..probe(1, target)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_proves_who_it_is_and_what_it_saw() {
    let port = free_port(0);
    let (mut listeners, accepted) = listeners(&["127.0.0.1", "::1"]);
    let run = RunName::new("run");
    assert_eq!(listeners.open(&run, &[order(port)], never()).await, []);
    for address in ["127.0.0.1", "::1"] {
        let target = SocketAddr::new(address.parse().unwrap(), port);
        let finished = asked(peer_probe(target)).await;
        let local = finished.local.unwrap();
        let Some(Identification::Answer {
            observed_address,
            observed_port,
            proof,
        }) = finished.identification
        else {
            panic!("{finished:?}")
        };
        assert_eq!(observed_address, address_to_wire(local.ip()));
        assert_eq!(observed_port, u32::from(local.port()));
        assert!(verify_proof(
            &KEY,
            &NONCE,
            (local.ip(), local.port()),
            &proof
        ));
        assert!(!verify_proof(
            &[8; 32],
            &NONCE,
            (local.ip(), local.port()),
            &proof
        ));
        let accepted = accepted.recv_timeout(PATIENCE).unwrap();
        assert_eq!(
            (&accepted.run, accepted.local, accepted.peer),
            (&run, target, local)
        );
    }
    listeners.close_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_port_can_ask_the_same_peer_again_at_once() {
    let port = free_port(1);
    let source = free_port(2);
    let (mut listeners, _accepted) = listeners(&["127.0.0.1"]);
    listeners
        .open(&RunName::new("run"), &[order(port)], never())
        .await;
    let attempts = Attempts::from_ports(vec![source]);
    let probe = Probe {
        attempts,
        ..peer_probe(SocketAddr::new(loopback(), port))
    };
    for _ in 0..3 {
        let finished = asked(probe.clone()).await;
        assert_eq!(finished.local.unwrap().port(), source);
        assert!(
            matches!(finished.identification, Some(Identification::Answer { .. })),
            "{finished:?}"
        );
    }
    listeners.close_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_else_who_answers_is_a_failed_identification_of_a_connected_attempt() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = stranger.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = stranger.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        thread::sleep(PATIENCE);
    });
    let finished = asked(peer_probe(target)).await;
    assert!(
        matches!(finished.outcome, Outcome::Connected { .. }),
        "{finished:?}"
    );
    assert!(
        matches!(finished.identification, Some(Identification::Failed { .. })),
        "{finished:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_says_nothing_is_a_failed_identification_after_the_deadline() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let attempt = patient(1, mute.local_addr().unwrap(), 1, 200);
    let finished = asked(Probe {
        kind: ProbeKind::Peer { nonce: NONCE },
        ..attempt
    })
    .await;
    assert!(
        matches!(finished.outcome, Outcome::Connected { .. }),
        "{finished:?}"
    );
    // DEADLINE_EXCEEDED.
    assert_eq!(
        finished.identification,
        Some(Identification::Failed { code: 4 })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_reset_before_it_was_accepted_is_reported() {
    let port = free_port(3);
    let (mut listeners, accepted) = listeners(&["127.0.0.1"]);
    listeners
        .open(&RunName::new("run"), &[order(port)], never())
        .await;
    let (to_finished, finished) = mpsc::channel();
    let (connected, _) = mpsc::channel();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (engine, _ended) = Engine::start(
        engine_config(GENEROUS),
        environment(Arc::clone(&clock)),
        Collect {
            finished: to_finished,
            connected,
        },
    )
    .unwrap();
    let target = SocketAddr::new(loopback(), port);
    let probes = (0..40).map(|id| probe(id, target)).collect();
    engine.add(Work {
        run: RunName::new("run"),
        probes,
        expires_at: clock.now() + PATIENCE,
    });
    let mut sources: Vec<SocketAddr> = (0..40)
        .map(|_| finished.recv_timeout(PATIENCE).unwrap().local.unwrap())
        .collect();
    let mut peers: Vec<SocketAddr> = (0..40)
        .map(|_| accepted.recv_timeout(PATIENCE).unwrap().peer)
        .collect();
    sources.sort();
    peers.sort();
    assert_eq!(sources, peers);
    listeners.close_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_1_1_is_served_on_the_same_port() {
    let port = free_port(4);
    let (mut listeners, _accepted) = listeners(&["127.0.0.1"]);
    listeners
        .open(&RunName::new("run"), &[order(port)], never())
        .await;
    let (answer, local) = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let nonce = "03".repeat(16);
        write!(
            stream,
            "GET /v1/probe?nonce={nonce} HTTP/1.1\r\nhost: x\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer, stream.local_addr().unwrap())
    })
    .await
    .unwrap();
    let body: serde_json::Value =
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["observed_port"], local.port());
    let digits = body["proof"].as_str().unwrap();
    let proof: Vec<u8> = (0..32)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let observed: IpAddr = body["observed_address"].as_str().unwrap().parse().unwrap();
    assert!(verify_proof(&KEY, &NONCE, (observed, local.port()), &proof));
    listeners.close_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_too_many_is_reported_and_closed() {
    let (first, second) = (free_port(11), free_port(12));
    let (mut listeners, accepted) = few_listeners(&["127.0.0.1"], 1);
    listeners
        .open(
            &RunName::new("run"),
            &[order(first), order(second)],
            never(),
        )
        .await;
    let read = tokio::task::spawn_blocking(move || {
        let held = TcpStream::connect(("127.0.0.1", first)).unwrap();
        accepted.recv_timeout(PATIENCE).unwrap();
        // The only place is taken, by a connection to another port.
        let mut other = TcpStream::connect(("127.0.0.1", second)).unwrap();
        let source = other.local_addr().unwrap();
        assert_eq!(accepted.recv_timeout(PATIENCE).unwrap().peer, source);
        other
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let read = other.read(&mut [0; 1]).unwrap();
        drop(held);
        read
    });
    assert_eq!(read.await.unwrap(), 0);
    listeners.close_all().await;
}

/// Whether somebody listens on a port.
fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_somebody_else_holds_is_a_failure_and_the_others_open() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, free) = (held.local_addr().unwrap().port(), free_port(5));
    let (mut listeners, _accepted) = listeners(&["127.0.0.2", "127.0.0.1"]);
    let failures = listeners
        .open(&RunName::new("run"), &[order(taken), order(free)], never())
        .await;
    let failures: Vec<(u16, Errno)> = failures
        .iter()
        .map(|failure| (failure.port, failure.errno))
        .collect();
    assert_eq!(failures, [(taken, Errno(libc::EADDRINUSE))]);
    // All or none: the other address was closed again.
    assert!(TcpStream::connect(("127.0.0.2", taken)).is_err());
    assert!(is_open(free));
    listeners.close_all().await;
    assert!(!is_open(free));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_close_with_their_run_only() {
    let (first, second) = (free_port(6), free_port(7));
    let (mut listeners, _accepted) = listeners(&["127.0.0.1"]);
    listeners
        .open(&RunName::new("a"), &[order(first)], never())
        .await;
    listeners
        .open(&RunName::new("b"), &[order(second)], never())
        .await;
    listeners.close(&RunName::new("a")).await;
    assert!(!is_open(first));
    assert!(is_open(second));
    listeners.close_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_passes_to_a_newer_run_and_does_not_close_with_the_older() {
    let port = free_port(8);
    let (mut listeners, accepted) = listeners(&["127.0.0.1"]);
    listeners
        .open(&RunName::new("older"), &[order(port)], never())
        .await;
    assert_eq!(
        listeners
            .open(&RunName::new("newer"), &[order(port)], never())
            .await,
        []
    );
    listeners.close(&RunName::new("older")).await;
    assert!(is_open(port));
    assert_eq!(
        accepted.recv_timeout(PATIENCE).unwrap().run,
        RunName::new("newer")
    );
    listeners.close_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_close_by_themselves_when_their_time_is_over_and_not_before() {
    let (first, second) = (free_port(9), free_port(10));
    let (mut listeners, _accepted) = listeners(&["127.0.0.1"]);
    let run = RunName::new("run");
    let begin = Instant::now();
    let at = |ms| begin + Duration::from_millis(ms);
    listeners.open(&run, &[order(first)], at(200)).await;
    // A second assignment of the run keeps the first port open, too.
    listeners.open(&run, &[order(second)], at(700)).await;
    tokio::time::sleep_until(at(400)).await;
    assert!(is_open(first) && is_open(second));
    tokio::time::sleep_until(at(900)).await;
    assert!(!is_open(first) && !is_open(second));
    assert_eq!(
        listeners
            .open(&RunName::new("next"), &[order(first)], never())
            .await,
        []
    );
    listeners.close_all().await;
}
