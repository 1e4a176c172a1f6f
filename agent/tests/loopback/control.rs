//! The control stream: who gets one, what is said on it, and what outlives it.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, TcpListener, TcpStream},
    time::Duration,
};

use reachproof_proto::{
    column::{Entries, zigzag_from_wire},
    net::{address_from_wire, verify_proof},
    v1::{
        Assignment, Column, Listen, ObservationBatch, Outcome, Probe, ProbeKind,
        agent_message::Body, identification::Result,
    },
};
use tonic::Status;

use crate::{
    coordinator::{Coordinator, RunningAgent, certificates},
    support::{Silent, closed_port},
};

/// A probe of `target` from 127.0.0.1 that closes without a byte.
fn probe(id: u32, target: std::net::SocketAddr, attempts: u32, deadline_ms: u32) -> Probe {
    let IpAddr::V4(address) = target.ip() else {
        panic!("{target}")
    };
    Probe {
        id,
        target: address.octets().to_vec(),
        port: target.port().into(),
        source: vec![127, 0, 0, 1],
        kind: ProbeKind::TcpConnect.into(),
        attempts,
        deadline_ms,
        interval_ms: deadline_ms,
        ..Probe::default()
    }
}

/// The first assignment of a run.
fn assignment(probes: Vec<Probe>) -> Assignment {
    Assignment {
        run: "run".to_owned(),
        generation: 1,
        listen: Vec::new(),
        probes,
        expires_after_ms: 60_000,
    }
}

/// Which attempts a batch holds: probe and number of the attempt.
fn attempts(batch: &ObservationBatch) -> Vec<(u32, u32)> {
    let mut id = 0_u32;
    let steps = entries(batch, batch.probe_id_step.as_ref());
    let ids = steps.into_iter().map(|step| {
        id = id.wrapping_add_signed(zigzag_from_wire(step));
        id
    });
    ids.zip(entries(batch, batch.attempt.as_ref())).collect()
}

/// One column of a batch.
fn entries(batch: &ObservationBatch, column: Option<&Column>) -> Vec<u32> {
    let mut entries = Entries::new(column).unwrap();
    batch
        .local_ports
        .chunks(2)
        .map(|_| entries.take_next())
        .collect()
}

/// The number of an outcome on the wire.
fn number(outcome: Outcome) -> u32 {
    u32::try_from(i32::from(outcome)).unwrap()
}

/// A port outside the ephemeral range that nobody uses; each caller gets its own by its number.
fn free_port(number: u16) -> u16 {
    let range = 16_000 + 100 * number..16_100 + 100 * number;
    range
        .into_iter()
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

#[tokio::test]
async fn an_agent_says_who_it_is() {
    let mut coordinator = Coordinator::start().await;
    let agent = RunningAgent::start(coordinator.config("127.0.0.1"));
    let stream = coordinator.welcomed().await;
    let hello = &stream.hello;
    assert_eq!(
        (
            hello.agent.as_str(),
            hello.node.as_str(),
            hello.wire_version
        ),
        ("agent-127.0.0.1", "", 1)
    );
    assert_eq!(hello.addresses, [vec![127, 0, 0, 1]]);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let range: Vec<u32> = range
        .split_whitespace()
        .map(|port| port.parse().unwrap())
        .collect();
    assert_eq!(
        [hello.ephemeral_port_first, hello.ephemeral_port_last],
        *range
    );
    let limits = hello.limits.unwrap();
    assert!((1..=256).contains(&limits.attempts_in_flight_max));
    assert_eq!(limits.attempts_per_second_max, 100);
    agent.stop().await;
}

#[tokio::test]
async fn a_silent_agent_sends_heartbeats() {
    let mut coordinator = Coordinator::start().await;
    let agent = RunningAgent::start(coordinator.config("127.0.0.1"));
    let mut stream = coordinator.welcomed().await;
    for _ in 0..2 {
        let Body::Heartbeat(heartbeat) = stream.hear().await else {
            panic!()
        };
        assert_eq!((heartbeat.attempts_pending, heartbeat.results_lost), (0, 0));
    }
    let silent = Silent::new();
    stream
        .assign(assignment(vec![probe(1, silent.address, 3, 5_000)]))
        .await;
    let Body::Heartbeat(heartbeat) = stream.hear().await else {
        panic!()
    };
    assert_eq!(heartbeat.attempts_pending, 3);
    agent.stop().await;
}

#[tokio::test]
async fn results_come_in_batches_and_once() {
    let mut coordinator = Coordinator::start().await;
    let agent = RunningAgent::start(coordinator.config("127.0.0.1"));
    let mut stream = coordinator.welcomed().await;
    let target = closed_port();
    stream
        .assign(assignment(
            (0..40).map(|id| probe(id, target, 3, 5_000)).collect(),
        ))
        .await;
    stream
        .assign(assignment(vec![probe(99, target, 1, 5_000)]))
        .await;
    let mut seen = Vec::new();
    let mut sequence = 0;
    while seen.len() < 40 {
        let batch = stream.observations().await;
        assert_eq!((batch.sequence, batch.run.as_str()), (sequence + 1, "run"));
        sequence = batch.sequence;
        assert!(
            entries(&batch, batch.outcome.as_ref())
                .iter()
                .all(|outcome| *outcome == number(Outcome::Refused))
        );
        seen.extend(attempts(&batch));
        stream.acknowledge(sequence).await;
    }
    // The same generation again is known; a higher one adds.
    stream
        .assign(Assignment {
            generation: 2,
            ..assignment(vec![probe(40, target, 1, 5_000)])
        })
        .await;
    seen.extend(attempts(&stream.observations().await));
    assert_eq!(
        seen.into_iter().collect::<BTreeSet<_>>(),
        (0..=40).map(|id| (id, 0)).collect()
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_stream_cut_in_the_middle_loses_and_doubles_nothing() {
    let mut coordinator = Coordinator::start().await;
    let agent = RunningAgent::start(coordinator.config("127.0.0.1"));
    let mut stream = coordinator.welcomed().await;
    let boot = stream.hello.boot;
    let silent = Silent::new();
    let mut probes: Vec<Probe> = (0..5)
        .map(|id| probe(id, closed_port(), 1, 5_000))
        .collect();
    probes.push(probe(5, silent.address, 3, 700));
    stream.assign(assignment(probes)).await;
    let first = stream.observations().await;
    assert_eq!(first.sequence, 1);
    // Not acknowledged, and cut while probe 5 is under way.
    agent.net.cut();
    let mut stream = coordinator.welcomed().await;
    assert_eq!(stream.hello.boot, boot);
    assert_eq!(stream.observations().await, first);
    stream.acknowledge(1).await;
    let mut seen = attempts(&first);
    let mut sequence = 1;
    while seen.len() < 8 {
        let batch = stream.observations().await;
        assert_eq!(batch.sequence, sequence + 1);
        sequence = batch.sequence;
        seen.extend(attempts(&batch));
    }
    // Counted, but the acknowledgement is lost: the welcome says so, and nothing is said again.
    agent.net.cut();
    let mut stream = coordinator.stream().await;
    stream.welcome(sequence).await;
    assert!(matches!(stream.hear().await, Body::Heartbeat(_)));
    let expected: BTreeSet<(u32, u32)> = (0..5)
        .map(|id| (id, 0))
        .chain((0..3).map(|number| (5, number)))
        .collect();
    assert_eq!(seen.len(), expected.len());
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
    agent.stop().await;
}

#[tokio::test]
async fn a_probe_out_of_bounds_is_reported_and_not_made() {
    let mut coordinator = Coordinator::start().await;
    let agent = RunningAgent::start(coordinator.config("127.0.0.1"));
    let mut stream = coordinator.welcomed().await;
    stream
        .assign(assignment(vec![Probe {
            port: 65_979,
            ..probe(3, closed_port(), 3, 100)
        }]))
        .await;
    let batch = stream.observations().await;
    assert_eq!(attempts(&batch), [(3, 0)]);
    assert_eq!(
        (
            entries(&batch, batch.outcome.as_ref()),
            entries(&batch, batch.errno.as_ref())
        ),
        (vec![number(Outcome::LocalError)], vec![22])
    );
    agent.stop().await;
}

#[tokio::test]
async fn two_agents_prove_their_connection_from_both_sides() {
    let mut coordinator = Coordinator::start().await;
    let asking = RunningAgent::start(coordinator.config("127.0.0.1"));
    let mut asks = coordinator.welcomed().await;
    let answering = RunningAgent::start(coordinator.config("127.0.0.2"));
    let mut answers = coordinator.welcomed().await;
    let port = free_port(0);
    let listen = vec![Listen {
        port: port.into(),
        proof_key: vec![5; 32],
    }];
    answers
        .assign(Assignment {
            listen,
            ..assignment(Vec::new())
        })
        .await;
    let report = answers.listening().await;
    assert_eq!(
        (
            report.run.as_str(),
            report.generation,
            report.failures.len()
        ),
        ("run", 1, 0)
    );
    let target = format!("127.0.0.2:{port}").parse().unwrap();
    let kind = ProbeKind::Peer.into();
    asks.assign(assignment(vec![Probe {
        kind,
        nonce: vec![6; 16],
        ..probe(1, target, 3, 5_000)
    }]))
    .await;

    let batch = asks.observations().await;
    assert_eq!(
        entries(&batch, batch.outcome.as_ref()),
        [number(Outcome::Connected)]
    );
    let source = address_from_wire(&batch.local_addresses[0]).unwrap();
    let source_port = u16::from_be_bytes(batch.local_ports.clone().try_into().unwrap());
    let Some(Result::Answer(answer)) = &batch.identifications[0].result else {
        panic!("{batch:?}")
    };
    assert!(verify_proof(
        &[5; 32],
        &[6; 16],
        (source, source_port),
        &answer.proof
    ));
    let Body::Accepts(accepted) = answers.hear_news().await else {
        panic!()
    };
    let [accept] = accepted.accepts.as_slice() else {
        panic!("{accepted:?}")
    };
    assert_eq!(
        (accept.peer_port, accept.local_port),
        (source_port.into(), port.into())
    );
    assert_eq!(
        (
            accept.peer_address.as_slice(),
            accept.local_address.as_slice()
        ),
        (&[127, 0, 0, 1][..], &[127, 0, 0, 2][..])
    );

    answers.cancel("run").await;
    // The report of the next assignment comes after the ports of the run before are closed.
    let listen = vec![Listen {
        port: 80,
        proof_key: vec![5; 32],
    }];
    answers
        .assign(Assignment {
            run: "next".to_owned(),
            listen,
            ..assignment(Vec::new())
        })
        .await;
    assert_eq!(answers.listening().await.failures.len(), 1);
    assert!(TcpStream::connect(("127.0.0.2", port)).is_err());
    asking.stop().await;
    answering.stop().await;
}

#[tokio::test]
async fn a_report_of_ports_is_said_again_on_the_next_stream() {
    let mut coordinator = Coordinator::start().await;
    let agent = RunningAgent::start(coordinator.config("127.0.0.1"));
    let mut stream = coordinator.welcomed().await;
    let port = free_port(1);
    let listen = vec![Listen {
        port: port.into(),
        proof_key: vec![5; 32],
    }];
    let assignment = Assignment {
        listen,
        ..assignment(Vec::new())
    };
    stream.assign(assignment.clone()).await;
    let report = stream.listening().await;
    stream.assign(assignment).await;
    assert_eq!(stream.listening().await, report);
    agent.net.cut();
    let mut stream = coordinator.welcomed().await;
    assert_eq!(stream.listening().await, report);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    agent.stop().await;
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test]
async fn results_that_are_finished_are_sent_and_acknowledged_before_the_end() {
    let mut coordinator = Coordinator::start().await;
    let agent = RunningAgent::start(coordinator.config("127.0.0.1"));
    let mut stream = coordinator.welcomed().await;
    let target = closed_port();
    for generation in 1..=4 {
        let probes = vec![probe(generation, target, 1, 5_000)];
        stream
            .assign(Assignment {
                generation,
                ..assignment(probes)
            })
            .await;
        assert_eq!(attempts(&stream.observations().await), [(generation, 0)]);
    }
    // As many batches as allowed wait for their acknowledgement: the fifth result is finished but not sent.
    let probes = vec![probe(5, target, 1, 5_000)];
    stream
        .assign(Assignment {
            generation: 5,
            ..assignment(probes)
        })
        .await;
    for _ in 0..2 {
        assert!(matches!(stream.hear().await, Body::Heartbeat(_)));
    }
    let stopping = tokio::spawn(agent.stop());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!stopping.is_finished());
    stream.acknowledge(4).await;
    assert_eq!(attempts(&stream.observations().await), [(5, 0)]);
    stream.acknowledge(5).await;
    stream.hear_end().await;
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_not_tried_again_soon() {
    let mut coordinator = Coordinator::start().await;
    let mut config = coordinator.config("127.0.0.1");
    config.token_file = coordinator.file("wrong");
    fs::write(&config.token_file, "some-other-token").unwrap();
    let agent = RunningAgent::start(config);
    coordinator.expect_nobody(Duration::from_secs(2)).await;
    assert_eq!((coordinator.refused(), agent.net.dials()), (1, 1));
    agent.stop().await;
}

#[tokio::test]
async fn a_coordinator_of_another_ca_is_refused_and_not_tried_again_soon() {
    let mut coordinator = Coordinator::start().await;
    let mut config = coordinator.config("127.0.0.1");
    config.ca = coordinator.file("wrong");
    fs::write(&config.ca, certificates().0).unwrap();
    let agent = RunningAgent::start(config);
    coordinator.expect_nobody(Duration::from_secs(2)).await;
    // The agent left before it showed its token.
    assert_eq!((coordinator.refused(), agent.net.dials()), (0, 1));
    agent.stop().await;
}

#[tokio::test]
async fn a_coordinator_of_another_name_is_refused() {
    let mut coordinator = Coordinator::start().await;
    let mut config = coordinator.config("127.0.0.1");
    config.server_name = "somebody-else".to_owned();
    let agent = RunningAgent::start(config);
    coordinator.expect_nobody(Duration::from_secs(2)).await;
    assert_eq!((coordinator.refused(), agent.net.dials()), (0, 1));
    agent.stop().await;
}

#[tokio::test]
async fn files_that_come_late_are_read_at_the_next_dial() {
    let mut coordinator = Coordinator::start().await;
    let mut config = coordinator.config("127.0.0.1");
    config.token_file = coordinator.file("late-token");
    config.ca = coordinator.file("late-ca");
    fs::write(&config.ca, "no certificate yet").unwrap();
    let agent = RunningAgent::start(config.clone());
    coordinator.expect_nobody(Duration::from_secs(1)).await;
    assert_eq!(agent.net.dials(), 0);
    fs::copy(coordinator.file("token"), &config.token_file).unwrap();
    fs::copy(coordinator.file("ca.crt"), &config.ca).unwrap();
    coordinator.welcomed().await;
    agent.stop().await;
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_a_stream_is_not_tried_again_soon() {
    let mut coordinator = Coordinator::start().await;
    let agent = RunningAgent::start(coordinator.config("127.0.0.1"));
    let stream = coordinator.welcomed().await;
    stream
        .end(Status::failed_precondition(
            "wire version 1 is not spoken here",
        ))
        .await;
    coordinator.expect_nobody(Duration::from_secs(2)).await;
    assert_eq!(agent.net.dials(), 1);
    agent.stop().await;
}
