//! Every message: there and back, and each field missing, out of range and unknown.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;
use reachproof_model::flow::{Flow, FlowProtocol};
use reachproof_model::observation::{
    Attempt, CertificateFault, IcmpError, Identification, Lateness, Outcome, ProbeId, QueryFailure,
};
use reachproof_model::plan::{
    AgentKind, PlannedFlow, PlannedProbe, PlannedPulse, PolicyFact, ProbeKind, SourcePorts, Spread,
    Stage, Target, Until,
};
use reachproof_proto::column::{column_to_wire, zigzag};
use reachproof_proto::net::{NONCE_LENGTH, PROOF_KEY_LENGTH, PROOF_LENGTH, address_to_wire};
use reachproof_proto::v1;

use super::assignment::{listens, probe, pulse};
use super::observations::{
    ATTEMPTS_PER_BATCH_MAX, CERTIFICATES_PER_CHAIN_MAX, CHAIN_BYTES_MAX, CHAINS_PER_BATCH_MAX,
    ReportedAttempt, ReportedIdentity, attempts,
};
use super::signs::{LISTEN_DROPS_MAX, beat, drops};
use super::*;

/// A greeting that is right.
fn hello() -> v1::Hello {
    v1::Hello {
        agent: "node-a".to_owned(),
        node: "ip-10-0-1-20".to_owned(),
        kind: v1::AgentKind::Node.into(),
        addresses: vec![vec![10, 0, 1, 20], vec![10, 0, 1, 20], vec![0xfd; 16]],
        ephemeral_port_first: 32_768,
        ephemeral_port_last: 60_999,
        version: "0.1.0".to_owned(),
        boot: 7,
        limits: Some(v1::AgentLimits {
            attempts_in_flight_max: 64,
            attempts_per_second_max: 20,
        }),
        wire_version: 1,
    }
}

#[test]
fn a_greeting_is_taken_and_a_repeated_address_counts_once() {
    let greeting = Greeting::try_from(hello()).unwrap();
    assert_eq!(greeting.agent.name.as_str(), "node-a");
    assert_eq!(greeting.agent.kind, AgentKind::Node);
    assert_eq!(greeting.agent.addresses.len(), 2);
    assert_eq!(
        greeting.agent.ephemeral_ports,
        PortRange::between(32_768, 60_999)
    );
    assert_eq!((greeting.boot, greeting.attempts_per_second_max), (7, 20));
    let outside = v1::Hello {
        node: String::new(),
        ..hello()
    };
    assert_eq!(Greeting::try_from(outside).unwrap().agent.node, None);
}

#[test]
fn each_bad_field_of_a_greeting_is_named() {
    type Spoil = fn(&mut v1::Hello);
    let limits = |flight, second| {
        Some(v1::AgentLimits {
            attempts_in_flight_max: flight,
            attempts_per_second_max: second,
        })
    };
    let table: Vec<(&str, Spoil)> = vec![
        ("wire version 0", |hello| hello.wire_version = 0),
        ("wire version 2", |hello| hello.wire_version = 2),
        ("`agent`", |hello| hello.agent.clear()),
        ("`agent`", |hello| hello.agent = "a".repeat(254)),
        ("`agent`", |hello| hello.agent = "a\u{1b}[2J".to_owned()),
        ("`node`", |hello| hello.node = "n\n".to_owned()),
        ("`kind`", |hello| hello.kind = 0),
        ("`kind`", |hello| hello.kind = 4),
        ("`addresses`", |hello| hello.addresses.clear()),
        ("`addresses`", |hello| {
            hello.addresses = vec![vec![10, 0, 0, 1]; 751]
        }),
        ("`addresses`", |hello| {
            hello.addresses = vec![vec![10, 0, 0]]
        }),
        ("`ephemeral_port_first`", |hello| {
            hello.ephemeral_port_first = 0
        }),
        ("`ephemeral_port_last`", |hello| {
            hello.ephemeral_port_last = 65_979
        }),
        ("upside down", |hello| hello.ephemeral_port_first = 61_000),
        ("`version`", |hello| hello.version = "v".repeat(129)),
        ("`limits`", |hello| hello.limits = None),
    ];
    for (expected, spoil) in table {
        let mut bad = hello();
        spoil(&mut bad);
        let error = Greeting::try_from(bad).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for (flight, second) in [(0, 20), (64, 0)] {
        let bad = v1::Hello {
            limits: limits(flight, second),
            ..hello()
        };
        assert!(Greeting::try_from(bad).is_err());
    }
}

/// A column.
fn column(entries: &[u32]) -> Option<v1::Column> {
    Some(column_to_wire(entries.iter().copied()))
}

/// A column that says three entries one by one.
fn three_others() -> Option<v1::Column> {
    Some(v1::Column {
        usual: 0,
        gap: vec![0; 3],
        other: vec![1; 3],
    })
}

/// Two attempts: one silent, one connected with an answer.
fn batch() -> v1::ObservationBatch {
    v1::ObservationBatch {
        run: "run-1".to_owned(),
        sequence: 1,
        first_start_unix_us: 0,
        first_start_us: 1_000_000,
        local_addresses: vec![vec![10, 0, 1, 20]],
        // 5, then 2 less.
        probe_id_step: column(&[10, 3]),
        attempt: column(&[1, 0]),
        // Timed out, connected.
        outcome: column(&[3, 1]),
        local_ports: vec![0x9c, 0x40, 0x9c, 0x41],
        start_pace_us: 600_000,
        start_step_us: vec![-100_000],
        elapsed_floor_us: 50,
        elapsed_us: vec![2_999_950, 200],
        errno: None,
        syn_retransmissions: column(&[2, 0]),
        local_address: None,
        identifications: vec![v1::Identification {
            index: 1,
            result: Some(v1::identification::Result::Answer(
                v1::IdentificationAnswer {
                    observed_address: vec![10, 0, 1, 20],
                    observed_port: 40_001,
                    proof: vec![9; PROOF_LENGTH],
                },
            )),
        }],
        icmp_errors: Vec::new(),
        chains: Vec::new(),
    }
}

#[test]
fn columns_become_attempts() {
    let rows = attempts(&batch()).unwrap();
    let [silent, connected] = rows.as_slice() else {
        panic!("{rows:?}");
    };
    assert_eq!(silent.probe, ProbeId(5));
    assert_eq!(silent.attempt.number, 1);
    assert_eq!(
        silent.attempt.local,
        Some("10.0.1.20:40000".parse().unwrap())
    );
    assert_eq!(silent.attempt.started, Duration::from_secs(1));
    assert_eq!(silent.attempt.syn_retransmissions, 2);
    let after = Duration::from_secs(3);
    assert_eq!(silent.attempt.outcome, Outcome::TimedOut { after });
    assert_eq!(silent.identity, ReportedIdentity::NotAsked);

    assert_eq!(connected.probe, ProbeId(3));
    assert_eq!(connected.attempt.started, Duration::from_millis(1_500));
    let handshake = Duration::from_micros(250);
    assert_eq!(connected.attempt.outcome, Outcome::Connected { handshake });
    let observed: SocketAddr = "10.0.1.20:40001".parse().unwrap();
    let proof = [9; PROOF_LENGTH];
    assert_eq!(
        connected.identity,
        ReportedIdentity::Answered { observed, proof }
    );
}

#[test]
fn each_bad_column_of_a_batch_is_named() {
    type Spoil = fn(&mut v1::ObservationBatch);
    let table: Vec<(&str, Spoil)> = vec![
        ("`outcome`", |batch| batch.outcome = None),
        ("`outcome`", |batch| batch.outcome = column(&[3, 0])),
        ("`outcome`", |batch| batch.outcome = column(&[8, 1])),
        ("`outcome`", |batch| batch.outcome = column(&[u32::MAX, 1])),
        ("`outcome`", |batch| batch.outcome = column(&[3, 3, 1])),
        ("`local_ports`", |batch| {
            batch.local_ports = vec![1; 2 * ATTEMPTS_PER_BATCH_MAX + 2]
        }),
        ("`local_ports`", |batch| batch.local_ports.truncate(3)),
        ("`start_step_us`", |batch| batch.local_ports.truncate(2)),
        ("`probe_id_step`", |batch| {
            batch.probe_id_step = three_others()
        }),
        ("`probe_id_step`", |batch| {
            batch.probe_id_step = Some(v1::Column {
                gap: vec![0],
                ..v1::Column::default()
            })
        }),
        ("`start_step_us`", |batch| batch.start_step_us.push(0)),
        ("`start_step_us`", |batch| {
            batch.start_step_us = vec![-600_001]
        }),
        ("`start_step_us`", |batch| batch.start_pace_us = u64::MAX),
        ("`start_step_us`", |batch| batch.first_start_us = u64::MAX),
        ("`elapsed_us`", |batch| batch.elapsed_us.clear()),
        ("`elapsed_us`", |batch| batch.elapsed_floor_us = u32::MAX),
        ("`local_addresses`", |batch| {
            batch.local_addresses[0] = vec![1; 5]
        }),
        ("`local_addresses`", |batch| {
            batch.local_addresses = vec![vec![1; 4]; ADDRESSES_MAX + 1]
        }),
        ("`local_address`", |batch| {
            batch.local_address = column(&[0, 1])
        }),
        ("`attempt`", |batch| batch.attempt = column(&[0, 0, 1])),
        ("`errno`", |batch| batch.errno = three_others()),
        ("`syn_retransmissions`", |batch| {
            batch.syn_retransmissions = Some(v1::Column {
                other: vec![1],
                ..v1::Column::default()
            })
        }),
        ("`identifications.index`", |batch| {
            batch.identifications[0].index = 2
        }),
        ("`identifications.result`", |batch| {
            batch.identifications[0].result = None
        }),
    ];
    for (expected, spoil) in table {
        let mut bad = batch();
        spoil(&mut bad);
        let error = attempts(&bad).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} does not name {expected}");
    }
}

#[test]
fn an_answer_of_a_stranger_spoils_its_own_attempt_only() {
    type Spoil = fn(&mut v1::IdentificationAnswer);
    let table: [Spoil; 4] = [
        |answer| answer.observed_address = vec![1],
        |answer| answer.observed_port = 0,
        |answer| answer.observed_port = 65_979,
        |answer| answer.proof = vec![9; PROOF_LENGTH - 1],
    ];
    for spoil in table {
        let mut batch = batch();
        if let Some(v1::identification::Result::Answer(answer)) =
            &mut batch.identifications[0].result
        {
            spoil(answer);
        }
        let rows = attempts(&batch).unwrap();
        assert_eq!(rows[1].identity, ReportedIdentity::Unreadable);
        assert_eq!(rows[0].identity, ReportedIdentity::NotAsked);
    }
}

#[test]
fn a_failed_identification_keeps_its_code() {
    let mut batch = batch();
    batch.identifications[0].result = Some(v1::identification::Result::FailedCode(14));
    assert_eq!(
        attempts(&batch).unwrap()[1].identity,
        ReportedIdentity::Failed(14)
    );
}

#[test]
fn what_a_resolver_said_is_read_and_each_bad_field_is_named() {
    use v1::identification::Result::{DnsCode, DnsFailure};
    let read = |result| {
        let mut batch = batch();
        batch.identifications[0].result = Some(result);
        attempts(&batch).map(|rows| rows[1].identity.clone())
    };
    assert_eq!(read(DnsCode(3)), Ok(ReportedIdentity::Resolver(3)));
    for (failure, expected) in [
        (v1::DnsFailure::Silent, QueryFailure::Silent),
        (v1::DnsFailure::Closed, QueryFailure::Closed),
        (v1::DnsFailure::Malformed, QueryFailure::Malformed),
    ] {
        let read = read(DnsFailure(failure.into()));
        assert_eq!(read, Ok(ReportedIdentity::NoResolver(expected)));
    }
    for bad in [DnsCode(16), DnsCode(300), DnsFailure(0), DnsFailure(9)] {
        let error = read(bad).unwrap_err().to_string();
        assert!(error.contains("identifications.dns_"), "{error}");
    }
}

#[test]
fn an_endpoint_is_read_and_each_bad_field_is_named() {
    let good = v1::EndpointReport {
        run: "run-1".to_owned(),
        name: "abc.eks.amazonaws.com".to_owned(),
        addresses: vec![vec![10, 0, 2, 10], vec![10, 0, 1, 10], vec![10, 0, 1, 10]],
        failure: String::new(),
    };
    let read = endpoint(&good).unwrap();
    let addresses: Vec<String> = read.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.1.10", "10.0.2.10"]);

    type Spoil = fn(&mut v1::EndpointReport);
    let table: [(&str, Spoil); 6] = [
        ("`endpoint.name`", |report| report.name.clear()),
        ("`endpoint.name`", |report| report.name = "a".repeat(254)),
        ("`endpoint.name`", |report| {
            report.name = "a\u{1b}[2J".to_owned()
        }),
        ("`endpoint.addresses`", |report| {
            report.addresses[0] = vec![1; 5]
        }),
        ("`endpoint.addresses`", |report| {
            report.addresses = vec![vec![1; 4]; ENDPOINT_ADDRESSES_MAX + 1]
        }),
        ("`endpoint.failure`", |report| {
            report.failure = "f".repeat(129)
        }),
    ];
    for (expected, spoil) in table {
        let mut bad = good.clone();
        spoil(&mut bad);
        let error = endpoint(&bad).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn accepts_are_read_and_each_bad_field_is_named() {
    let good = v1::AcceptBatch {
        run: "run-1".to_owned(),
        sequence: 1,
        accepts: vec![v1::Accept {
            local_port: 7_500,
            local_address: vec![10, 0, 2, 20],
            peer_address: vec![10, 0, 1, 20],
            peer_port: 40_000,
            at_unix_us: 0,
        }],
        accepts_dropped: 0,
    };
    let read = accepts(&good).unwrap();
    assert_eq!(read[0].local, "10.0.2.20:7500".parse().unwrap());
    assert_eq!(read[0].peer, "10.0.1.20:40000".parse().unwrap());

    type Spoil = fn(&mut v1::AcceptBatch);
    let table: [(&str, Spoil); 5] = [
        ("`accepts.local_port`", |batch| {
            batch.accepts[0].local_port = 0
        }),
        ("`accepts.peer_port`", |batch| {
            batch.accepts[0].peer_port = 65_536
        }),
        ("`accepts.local_address`", |batch| {
            batch.accepts[0].local_address.clear()
        }),
        ("`accepts.peer_address`", |batch| {
            batch.accepts[0].peer_address = vec![0; 8]
        }),
        ("`accepts`", |batch| {
            batch.accepts = vec![batch.accepts[0].clone(); ACCEPTS_MAX + 1];
        }),
    ];
    for (expected, spoil) in table {
        let mut bad = good.clone();
        spoil(&mut bad);
        let error = accepts(&bad).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_port_that_could_not_be_opened_is_a_port() {
    let report = |port| v1::ListenReport {
        run: "run-1".to_owned(),
        generation: 1,
        failures: vec![v1::ListenFailure { port, errno: 98 }],
    };
    assert_eq!(listen_failures(&report(7_500)), Ok(vec![(7_500, 98)]));
    assert!(listen_failures(&report(65_979)).is_err());
}

#[test]
fn a_planned_probe_goes_out_as_it_is() {
    let flow = PlannedFlow {
        flow: Flow::tcp(
            "10.0.1.20".parse().unwrap(),
            "10.0.2.20".parse().unwrap(),
            7_500,
        ),
        source: AgentName::try_from("a").unwrap().into(),
        target: Target::Pod,
        purposes: BTreeSet::new(),
        policy: PolicyFact::NoneSelects,
        translated: None,
        relay: None,
        probes: Vec::new(),
    };
    let planned = |kind, source_ports| PlannedProbe {
        id: ProbeId(3),
        kind,
        source_ports,
        until: Until::Answered,
    };
    let nonce = [1; NONCE_LENGTH];
    let first = Stage::First;
    let identify = planned(ProbeKind::Identify, SourcePorts::Spread);
    let asked = probe(&flow, &identify, first, &nonce).unwrap();
    assert_eq!((asked.id, asked.port, asked.attempts), (3, 7_500, 3));
    assert_eq!((asked.deadline_ms, asked.interval_ms), (3_000, 5_100));
    assert_eq!(asked.target, address_to_wire(flow.flow.destination));
    assert_eq!(asked.kind, i32::from(v1::ProbeKind::Peer));
    assert_eq!((asked.nonce, asked.source_ports), (nonce.to_vec(), vec![]));

    let fixed = planned(ProbeKind::Connect, SourcePorts::Fixed(40_000));
    let silent = probe(&flow, &fixed, first, &nonce).unwrap();
    assert_eq!(silent.source_ports, [40_000; 3]);
    assert!(silent.every, "a port that was answered is tried again");
    assert!(
        silent.nonce.is_empty(),
        "a probe that asks nobody carries no nonce"
    );

    let query = planned(ProbeKind::Resolve, SourcePorts::Spread);
    let over = |protocol| PlannedFlow {
        flow: Flow {
            protocol,
            ..flow.flow.clone()
        },
        ..flow.clone()
    };
    for (protocol, kind) in [
        (FlowProtocol::Tcp { port: 53 }, v1::ProbeKind::DnsTcp),
        (FlowProtocol::Udp { port: 53 }, v1::ProbeKind::DnsUdp),
    ] {
        let asked = probe(&over(protocol), &query, first, &nonce).unwrap();
        assert_eq!((asked.kind, asked.port), (kind.into(), 53));
        assert_eq!(asked.nonce, nonce.to_vec());
    }
    let udp = over(FlowProtocol::Udp { port: 53 });
    assert_eq!(
        probe(&udp, &fixed, first, &nonce),
        None,
        "nothing is sent over UDP but queries"
    );

    let keys = [(7_500, [2; PROOF_KEY_LENGTH])].into();
    assert_eq!(listens(&keys)[0].port, 7_500);
}

#[test]
fn each_stage_has_its_own_attempts_interval_and_source_ports() {
    let flow = PlannedFlow {
        flow: Flow::tcp(
            "10.0.1.20".parse().unwrap(),
            "10.0.1.10".parse().unwrap(),
            443,
        ),
        source: AgentName::try_from("a").unwrap().into(),
        target: Target::Pod,
        purposes: BTreeSet::new(),
        policy: PolicyFact::NoneSelects,
        translated: None,
        relay: None,
        probes: Vec::new(),
    };
    let planned = |until| PlannedProbe {
        id: ProbeId(3),
        kind: ProbeKind::Certify,
        source_ports: SourcePorts::Spread,
        until,
    };
    let whole = flow.flow.ephemeral_ports;
    let table = [
        (Stage::First, Until::Answered, 0, 5_100, false),
        (Stage::First, Until::Last, 0, 5_100, true),
        (Stage::Second, Until::Last, 3, 3_100, false),
        (
            Stage::Replacement(Spread::Third(1)),
            Until::Answered,
            6,
            5_100,
            true,
        ),
    ];
    for (stage, until, first_attempt, interval_ms, every) in table {
        let asked = probe(&flow, &planned(until), stage, &[1; NONCE_LENGTH]).unwrap();
        assert_eq!((asked.first_attempt, asked.attempts), (first_attempt, 3));
        assert_eq!((asked.interval_ms, asked.every), (interval_ms, every));
        assert_eq!(asked.kind, i32::from(v1::ProbeKind::Tls));
        assert!(asked.nonce.is_empty() && asked.source_ports.is_empty());
        let ranges = asked.source_port_ranges.iter();
        let ranges: Vec<_> = ranges.map(|range| (range.first, range.last)).collect();
        let wanted = stage.spread().ranges(whole).into_iter();
        let wanted: Vec<_> = wanted
            .map(|range| (u32::from(range.first()), u32::from(range.last())))
            .collect();
        assert_eq!(ranges, wanted);
    }
}

#[test]
fn a_pulse_goes_on_whatever_is_answered() {
    let planned = PlannedPulse {
        id: ProbeId(9),
        agent: AgentName::try_from("a").unwrap(),
        source: "10.0.1.20".parse().unwrap(),
        target: "10.0.2.20:7500".parse().unwrap(),
        kind: ProbeKind::Identify,
        source_ports: None,
        interval: Duration::from_secs(2),
    };
    let asked = pulse(&planned, 2_048, 7, &[1; NONCE_LENGTH]);
    assert_eq!((asked.id, asked.port, asked.every), (9, 7_500, true));
    assert_eq!((asked.first_attempt, asked.attempts), (2_048, 7));
    assert_eq!((asked.deadline_ms, asked.interval_ms), (1_500, 2_000));
    assert_eq!(asked.kind, i32::from(v1::ProbeKind::Peer));
    assert!(asked.source_port_ranges.is_empty(), "the ephemeral range");
}

#[test]
fn a_heartbeat_is_read_and_a_time_that_ends_before_it_began_is_refused() {
    let good = v1::Heartbeat {
        ping: 4,
        sent_us: 5_000_000,
        late_since_us: 3_000_000,
        late_max_us: Some(250_000),
        ..v1::Heartbeat::default()
    };
    let read = beat(&good).unwrap();
    assert_eq!((read.ping, read.sent), (Some(4), Duration::from_secs(5)));
    let lateness = Lateness {
        from: Duration::from_secs(3),
        to: Duration::from_secs(5),
        late_max: Duration::from_millis(250),
    };
    assert_eq!(read.lateness, Some(lateness));
    let idle = beat(&v1::Heartbeat::default()).unwrap();
    assert_eq!((idle.ping, idle.lateness), (None, None));
    let unmeasured = v1::Heartbeat {
        late_since_us: 5_000_001,
        late_max_us: None,
        ..good
    };
    assert_eq!(beat(&unmeasured).unwrap().lateness, None);
    let bad = v1::Heartbeat {
        late_since_us: 5_000_001,
        ..good
    };
    let error = beat(&bad).unwrap_err().to_string();
    assert!(error.contains("`late_since_us`"), "{error}");
}

#[test]
fn what_the_kernel_dropped_is_read_and_each_bad_field_is_named() {
    let socket = |drops| v1::ListenDrops {
        address: vec![10, 0, 2, 20],
        port: 7_500,
        drops,
    };
    let good = v1::FenceReport {
        accept_queue_drops: Some(7),
        listen_drops: vec![socket(3), socket(2)],
        ..v1::FenceReport::default()
    };
    let read = drops(&good).unwrap();
    assert_eq!(read.accept_queues, Some(7));
    let at: SocketAddr = "10.0.2.20:7500".parse().unwrap();
    assert_eq!(read.sockets, [(at, 3)].into());
    let nothing = drops(&v1::FenceReport::default()).unwrap();
    assert_eq!(nothing.accept_queues, None, "unknown is not zero");

    type Spoil = fn(&mut v1::FenceReport);
    let table: [(&str, Spoil); 4] = [
        ("`listen_drops.address`", |report| {
            report.listen_drops[0].address.clear()
        }),
        ("`listen_drops.port`", |report| {
            report.listen_drops[0].port = 0
        }),
        ("`listen_drops.port`", |report| {
            report.listen_drops[1].port = 65_979
        }),
        ("`listen_drops`", |report| {
            report.listen_drops = vec![report.listen_drops[0].clone(); LISTEN_DROPS_MAX + 1]
        }),
    ];
    for (expected, spoil) in table {
        let mut bad = good.clone();
        spoil(&mut bad);
        let error = drops(&bad).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// The two attempts: one ended by an ICMP error, one with a TLS session.
fn proofs() -> v1::ObservationBatch {
    v1::ObservationBatch {
        outcome: column(&[4, 1]),
        errno: column(&[111, 0]),
        icmp_errors: vec![v1::IcmpError {
            index: 0,
            r#type: 3,
            code: 3,
            from: vec![10, 0, 1, 1],
        }],
        chains: vec![v1::CertificateChain {
            certificates: vec![vec![0x30, 1], vec![0x30, 2]],
        }],
        identifications: vec![v1::Identification {
            index: 1,
            result: Some(v1::identification::Result::TlsChain(0)),
        }],
        ..batch()
    }
}

#[test]
fn icmp_errors_and_chains_belong_to_their_attempts() {
    let rows = attempts(&proofs()).unwrap();
    let icmp = IcmpError {
        icmp_type: 3,
        code: 3,
        from: Some("10.0.1.1".parse().unwrap()),
    };
    let unreachable = Outcome::Unreachable {
        errno: 111,
        icmp: Some(icmp),
    };
    assert_eq!(rows[0].attempt.outcome, unreachable);
    let ReportedIdentity::Session(chain) = &rows[1].identity else {
        panic!("{rows:?}");
    };
    assert_eq!(chain.len(), 2);

    let mut nameless = proofs();
    nameless.icmp_errors[0].from.clear();
    let rows = attempts(&nameless).unwrap();
    let from_nobody = IcmpError { from: None, ..icmp };
    assert_eq!(
        rows[0].attempt.outcome,
        Outcome::Unreachable {
            errno: 111,
            icmp: Some(from_nobody)
        }
    );
}

#[test]
fn why_there_is_no_session_is_read() {
    for (failure, fault) in [
        (v1::TlsFailure::Silent, CertificateFault::Silent),
        (v1::TlsFailure::Closed, CertificateFault::Closed),
        (v1::TlsFailure::Malformed, CertificateFault::Malformed),
        (v1::TlsFailure::Key, CertificateFault::Key),
        (v1::TlsFailure::Chain, CertificateFault::Chain),
    ] {
        let mut batch = proofs();
        let result = v1::identification::Result::TlsFailure(failure.into());
        batch.identifications[0].result = Some(result);
        let rows = attempts(&batch).unwrap();
        assert_eq!(rows[1].identity, ReportedIdentity::NoSession(fault));
    }
}

#[test]
fn each_bad_field_of_a_proof_is_named() {
    use v1::identification::Result::{TlsChain, TlsFailure};
    type Spoil = fn(&mut v1::ObservationBatch);
    let table: Vec<(&str, Spoil)> = vec![
        ("`icmp_errors.index`", |batch| {
            batch.icmp_errors[0].index = 2
        }),
        ("`icmp_errors.index`", |batch| {
            batch.icmp_errors[0].index = 1
        }),
        ("`icmp_errors.type`", |batch| {
            batch.icmp_errors[0].r#type = 256
        }),
        ("`icmp_errors.code`", |batch| {
            batch.icmp_errors[0].code = 256
        }),
        ("`icmp_errors.from`", |batch| {
            batch.icmp_errors[0].from = vec![1; 5]
        }),
        ("`chains`", |batch| {
            batch.chains = vec![batch.chains[0].clone(); CHAINS_PER_BATCH_MAX + 1]
        }),
        ("`chains.certificates`", |batch| {
            batch.chains[0].certificates.clear()
        }),
        ("`chains.certificates`", |batch| {
            batch.chains[0].certificates = vec![vec![0; 9]; CERTIFICATES_PER_CHAIN_MAX + 1]
        }),
        ("`chains.certificates`", |batch| {
            batch.chains[0].certificates = vec![vec![0; CHAIN_BYTES_MAX + 1]]
        }),
        ("`identifications.tls_chain`", |batch| {
            batch.identifications[0].result = Some(TlsChain(1))
        }),
        ("`identifications.tls_failure`", |batch| {
            batch.identifications[0].result = Some(TlsFailure(0))
        }),
        ("`identifications.tls_failure`", |batch| {
            batch.identifications[0].result = Some(TlsFailure(6))
        }),
    ];
    for (expected, spoil) in table {
        let mut bad = proofs();
        spoil(&mut bad);
        let error = attempts(&bad).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} does not name {expected}");
    }
}

/// Writes attempts, sorted by their starts, as an agent does.
fn columns(rows: &[ReportedAttempt]) -> v1::ObservationBatch {
    let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap();
    let mut batch = v1::ObservationBatch {
        first_start_us: rows
            .first()
            .map_or(0, |row| u64::try_from(us(row.attempt.started)).unwrap()),
        start_pace_us: 1_000,
        ..v1::ObservationBatch::default()
    };
    let (mut steps, mut outcomes, mut errnos, mut places) = (vec![], vec![], vec![], vec![]);
    let mut before = 0;
    for row in rows {
        let ProbeId(id) = row.probe;
        steps.push(zigzag(id.wrapping_sub(before).cast_signed()));
        before = id;
        let (outcome, elapsed, errno) = match row.attempt.outcome {
            Outcome::Connected { handshake } => (v1::Outcome::Connected, handshake, 0),
            Outcome::Refused { after } => (v1::Outcome::Refused, after, 0),
            Outcome::TimedOut { after } => (v1::Outcome::TimedOut, after, 0),
            Outcome::Unreachable { errno, .. } => (v1::Outcome::Unreachable, Duration::ZERO, errno),
            Outcome::LocalError { errno } => (v1::Outcome::LocalError, Duration::ZERO, errno),
            Outcome::Starved => (v1::Outcome::Starved, Duration::ZERO, 0),
            Outcome::RefusedByPolicy => (v1::Outcome::RefusedByPolicy, Duration::ZERO, 0),
            Outcome::NotDialled { .. } => panic!("agents make their attempts themselves"),
        };
        outcomes.push(u32::try_from(i32::from(outcome)).unwrap());
        errnos.push(errno);
        batch
            .elapsed_us
            .push(u32::try_from(elapsed.as_micros()).unwrap());
        let port = row.attempt.local.map_or(0, |local| local.port());
        batch.local_ports.extend(port.to_be_bytes());
        let index = row.attempt.local.map_or(0, |local| {
            let bytes = address_to_wire(local.ip());
            let found = batch
                .local_addresses
                .iter()
                .position(|known| *known == bytes);
            found.unwrap_or_else(|| {
                batch.local_addresses.push(bytes);
                batch.local_addresses.len() - 1
            })
        });
        places.push(u32::try_from(index).unwrap());
    }
    let steps_us = rows.windows(2);
    batch.start_step_us = steps_us
        .map(|pair| us(pair[1].attempt.started) - us(pair[0].attempt.started) - 1_000)
        .collect();
    batch.probe_id_step = column(&steps);
    batch.attempt = column(
        &rows
            .iter()
            .map(|row| row.attempt.number)
            .collect::<Vec<_>>(),
    );
    batch.outcome = column(&outcomes);
    batch.errno = column(&errnos);
    batch.local_address = column(&places);
    let syns = rows.iter().map(|row| row.attempt.syn_retransmissions);
    batch.syn_retransmissions = column(&syns.collect::<Vec<_>>());
    batch
}

/// Any attempt.
fn row() -> impl Strategy<Value = ReportedAttempt> {
    let micros = (0..4_000_000_u64).prop_map(Duration::from_micros);
    let outcome = prop_oneof![
        micros
            .clone()
            .prop_map(|handshake| Outcome::Connected { handshake }),
        micros.clone().prop_map(|after| Outcome::Refused { after }),
        micros.clone().prop_map(|after| Outcome::TimedOut { after }),
        (0..200_u32).prop_map(|errno| Outcome::Unreachable { errno, icmp: None }),
        (0..200_u32).prop_map(|errno| Outcome::LocalError { errno }),
        Just(Outcome::Starved),
        Just(Outcome::RefusedByPolicy),
    ];
    let local =
        prop::option::of((any::<std::net::Ipv4Addr>(), 1..=u16::MAX).prop_map(SocketAddr::from));
    (any::<u32>(), 0..3_u32, micros, outcome, local, 0..5_u32).prop_map(
        |(id, number, started, outcome, local, syn_retransmissions)| ReportedAttempt {
            probe: ProbeId(id),
            attempt: Attempt {
                number,
                local,
                started,
                received: Duration::ZERO,
                outcome,
                syn_retransmissions,
                identification: Identification::NotAsked,
            },
            identity: ReportedIdentity::NotAsked,
        },
    )
}

proptest! {
    #[test]
    fn any_batch_comes_back_as_it_was_sent(mut rows in vec(row(), 0..40)) {
        rows.sort_by_key(|row| row.attempt.started);
        let batch = columns(&rows);
        prop_assert_eq!(attempts(&batch).unwrap(), rows);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(batch) = v1::ObservationBatch::decode(bytes.as_slice()) {
            let rows = attempts(&batch).unwrap_or_default();
            prop_assert!(rows.len() <= ATTEMPTS_PER_BATCH_MAX);
        }
    }

    #[test]
    fn a_batch_with_some_bytes_changed_is_read_or_refused(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = batch().encode_to_vec();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(batch) = v1::ObservationBatch::decode(bytes.as_slice())
            && let Ok(rows) = attempts(&batch)
        {
            prop_assert_eq!(rows.len(), batch.local_ports.len() / 2);
        }
    }
}
