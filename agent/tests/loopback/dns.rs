//! Queries over UDP and TCP, and what counts as their answer.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use reachproof_agent::{
    dns::QueryFailure,
    engine::Engine,
    environment::{Clock, SystemClock},
    outcome::Outcome,
    peer::ask,
    probe::{Attempts, Finished, Identification, Probe, ProbeKind, RunName, Work},
};

use crate::support::{Collect, GENEROUS, PATIENCE, engine_config, environment, loopback, patient};

/// Id of the first query of these tests.
const ID: u16 = 0x0102;

/// What a resolver makes of a query.
type Answer = fn(Vec<u8>) -> Vec<u8>;

/// The answer of a resolver that does not know the name.
fn unknown_name(mut query: Vec<u8>) -> Vec<u8> {
    query[2] |= 0x80;
    query[3] |= 3;
    query
}

/// An answer to another query.
fn wrong_id(query: Vec<u8>) -> Vec<u8> {
    let mut answer = unknown_name(query);
    answer[1] ^= 1;
    answer
}

/// Something else.
fn junk(_: Vec<u8>) -> Vec<u8> {
    b"HTTP/1.1 400 Bad Request\r\n".to_vec()
}

/// A resolver over UDP that answers each query with these, in this order; it ends with the test.
fn udp_resolver(answers: Vec<Answer>) -> SocketAddr {
    let socket = UdpSocket::bind((loopback(), 0)).unwrap();
    let address = socket.local_addr().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            for answer in &answers {
                socket
                    .send_to(&answer(query[..length].to_vec()), from)
                    .unwrap();
            }
        }
    });
    address
}

/// A resolver over TCP that answers one query with this, or closes when it has no answer.
fn tcp_resolver(answer: Option<Answer>) -> SocketAddr {
    let listener = TcpListener::bind((loopback(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut query = vec![0; 512];
        let length = stream.read(&mut query).unwrap();
        if let Some(answer) = answer {
            let message = answer(query[2..length].to_vec());
            let prefix = u16::try_from(message.len()).unwrap().to_be_bytes();
            stream.write_all(&[&prefix[..], &message].concat()).unwrap();
        }
    });
    address
}

/// Makes one probe and returns its attempts, completed.
async fn attempts(probe: Probe, count: usize) -> Vec<Finished> {
    let (finished, over) = mpsc::channel();
    let (connected, connections) = mpsc::channel();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let expires_at = clock.now() + PATIENCE;
    let sink = Collect {
        finished,
        connected,
    };
    let (engine, _ended) =
        Engine::start(engine_config(GENEROUS), environment(clock), sink).unwrap();
    let asks = matches!(probe.kind, ProbeKind::DnsTcp { .. });
    engine.add(Work {
        run: RunName::new("run"),
        probes: vec![probe],
        expires_at,
    });
    if asks {
        let wait = move || connections.recv_timeout(PATIENCE).unwrap();
        return vec![ask(tokio::task::spawn_blocking(wait).await.unwrap()).await];
    }
    let wait = move || {
        (0..count)
            .map(|_| over.recv_timeout(PATIENCE).unwrap())
            .collect()
    };
    tokio::task::spawn_blocking(wait).await.unwrap()
}

/// A query over UDP: twice at most, 300 ms each.
fn udp(target: SocketAddr) -> Probe {
    Probe {
        kind: ProbeKind::DnsUdp { id: ID },
        ..patient(1, target, 2, 300)
    }
}

/// A query over TCP.
fn tcp(target: SocketAddr, deadline_ms: u64) -> Probe {
    Probe {
        kind: ProbeKind::DnsTcp { id: ID },
        ..patient(1, target, 1, deadline_ms)
    }
}

#[tokio::test]
async fn an_answer_over_udp_ends_the_attempts_whatever_it_says() {
    let resolver = udp_resolver(vec![unknown_name]);
    let [answered] = &attempts(udp(resolver), 1).await[..] else {
        panic!()
    };
    assert!(matches!(answered.outcome, Outcome::Connected { .. }));
    assert_eq!(
        answered.identification,
        Some(Identification::Resolver { code: 3 })
    );
    assert_eq!(answered.local.unwrap().ip(), loopback());
}

#[tokio::test]
async fn an_icmp_port_unreachable_is_no_answer() {
    let closed = UdpSocket::bind((loopback(), 0))
        .unwrap()
        .local_addr()
        .unwrap();
    for attempt in attempts(udp(closed), 2).await {
        let Outcome::Unreachable {
            icmp: Some(icmp), ..
        } = attempt.outcome
        else {
            panic!("{attempt:?}")
        };
        assert_eq!((icmp.kind, icmp.code, icmp.from), (3, 3, Some(loopback())));
        assert_eq!(attempt.identification, None);
    }
}

#[tokio::test]
async fn silence_over_udp_uses_all_attempts_each_with_a_port_and_an_id_of_its_own() {
    let socket = UdpSocket::bind((loopback(), 0)).unwrap();
    let silent = attempts(udp(socket.local_addr().unwrap()), 2).await;
    for attempt in &silent {
        assert!(matches!(attempt.outcome, Outcome::TimedOut { .. }));
    }
    assert_ne!(silent[0].local, silent[1].local);
    let mut query = [0; 512];
    for id in [ID, ID + 1] {
        let (_, from) = socket.recv_from(&mut query).unwrap();
        assert_eq!(query[..2], id.to_be_bytes());
        assert!(silent.iter().any(|attempt| attempt.local == Some(from)));
    }
}

#[tokio::test]
async fn datagrams_that_answer_nothing_count_for_nothing() {
    for answer in [junk, wrong_id] {
        let resolver = udp_resolver(vec![answer]);
        let silent = attempts(udp(resolver), 2).await;
        for attempt in silent {
            assert!(matches!(attempt.outcome, Outcome::TimedOut { .. }));
            assert_eq!(attempt.identification, None);
        }
    }
}

#[tokio::test]
async fn an_answer_after_such_datagrams_counts() {
    let resolver = udp_resolver(vec![junk, wrong_id, unknown_name]);
    let answered = attempts(udp(resolver), 1).await;
    assert!(matches!(answered[0].outcome, Outcome::Connected { .. }));
}

#[tokio::test]
async fn a_flood_of_such_datagrams_is_silence_in_the_end() {
    let resolver = udp_resolver(vec![junk; 100]);
    let silent = attempts(udp(resolver), 2).await;
    for attempt in silent {
        assert!(matches!(attempt.outcome, Outcome::TimedOut { .. }));
    }
}

#[tokio::test]
async fn over_tcp_the_handshake_is_the_evidence_and_the_answer_is_told() {
    let failed = |failure| Identification::NoResolver { failure };
    let table: [(Option<Answer>, Identification); 4] = [
        (Some(unknown_name), Identification::Resolver { code: 3 }),
        (Some(junk), failed(QueryFailure::Malformed)),
        (Some(wrong_id), failed(QueryFailure::Malformed)),
        (None, failed(QueryFailure::Closed)),
    ];
    for (answer, expected) in table {
        let resolver = tcp_resolver(answer);
        let asked = attempts(tcp(resolver, 5_000), 1).await;
        assert!(matches!(asked[0].outcome, Outcome::Connected { .. }));
        assert_eq!(asked[0].identification, Some(expected));
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_is_connected_without_an_answer() {
    let listener = TcpListener::bind((loopback(), 0)).unwrap();
    let asked = attempts(tcp(listener.local_addr().unwrap(), 200), 1).await;
    assert!(matches!(asked[0].outcome, Outcome::Connected { .. }));
    let failure = QueryFailure::Silent;
    assert_eq!(
        asked[0].identification,
        Some(Identification::NoResolver { failure })
    );
}

#[tokio::test]
async fn planned_source_ports_are_used_over_udp() {
    let resolver = udp_resolver(vec![unknown_name]);
    let port = UdpSocket::bind((loopback(), 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let probe = Probe {
        attempts: Attempts::from_ports(vec![port, port]),
        interval: Duration::from_millis(300),
        ..udp(resolver)
    };
    for attempt in attempts(probe, 2).await {
        assert!(matches!(attempt.outcome, Outcome::Connected { .. }));
        assert_eq!(attempt.local.unwrap().port(), port);
    }
}
