//! Every bound of `control.proto` on the agent's side, and the columns of a batch.

use std::time::{Duration, Instant, UNIX_EPOCH};

use reachproof_agent::{
    listener::{Accepted, ListenFailure},
    outcome::{Errno, IcmpError, Outcome},
    probe::{
        AfterAnswer, Attempts, Finished, Identification, ProbeKind, RunName, SourcePort,
        SourcePorts, Turn,
    },
    tls::TlsFailure,
    wire::{
        Assigned, Epoch, InvalidAssignment, InvalidProbe, accept_to_wire, batch_to_wire,
        listen_report,
    },
};
use reachproof_proto::{column::Entries, v1};

/// A probe with nothing wrong.
fn probe() -> v1::Probe {
    v1::Probe {
        id: 1,
        target: vec![10, 0, 2, 5],
        port: 443,
        source: vec![10, 0, 1, 10],
        kind: v1::ProbeKind::Peer.into(),
        attempts: 3,
        deadline_ms: 3_000,
        interval_ms: 5_100,
        nonce: vec![7; 16],
        ..v1::Probe::default()
    }
}

/// An assignment with this probe, and with one port.
fn assignment(probe: v1::Probe) -> v1::Assignment {
    v1::Assignment {
        run: "run".to_owned(),
        generation: 2,
        listen: vec![v1::Listen {
            port: 7_500,
            proof_key: vec![9; 32],
        }],
        probes: vec![probe],
        expires_after_ms: 60_000,
    }
}

/// Why a probe is refused.
fn refusal(change: impl FnOnce(&mut v1::Probe)) -> InvalidProbe {
    let mut probe = probe();
    change(&mut probe);
    let assigned = Assigned::try_from(assignment(probe)).unwrap();
    assert_eq!(assigned.probes, []);
    let [(1, refused)] = assigned.refused.as_slice() else {
        panic!("{assigned:?}")
    };
    refused.clone()
}

#[test]
fn an_assignment_survives_the_wire() {
    let assigned = Assigned::try_from(assignment(probe())).unwrap();
    assert_eq!((assigned.run.as_str(), assigned.generation), ("run", 2));
    assert_eq!(
        (assigned.listen[0].port, assigned.listen[0].key),
        (7_500, [9; 32])
    );
    assert_eq!(assigned.expires_after, Duration::from_secs(60));
    let [probe] = assigned.probes.as_slice() else {
        panic!("{assigned:?}")
    };
    assert_eq!(
        (probe.id, probe.target.to_string().as_str()),
        (1, "10.0.2.5:443")
    );
    assert_eq!(probe.source.unwrap().to_string(), "10.0.1.10");
    assert_eq!(probe.kind, ProbeKind::Peer { nonce: [7; 16] });
    assert_eq!(probe.attempts, Attempts::until_answered(3));
    assert_eq!(
        (probe.deadline, probe.interval),
        (Duration::from_secs(3), Duration::from_millis(5_100))
    );
}

#[test]
fn each_field_of_a_probe_that_is_absent_is_noticed() {
    assert!(matches!(
        refusal(|probe| probe.target.clear()),
        InvalidProbe::Target(_)
    ));
    assert!(matches!(
        refusal(|probe| probe.port = 0),
        InvalidProbe::Port(_)
    ));
    assert!(matches!(
        refusal(|probe| probe.source.clear()),
        InvalidProbe::Source(_)
    ));
    assert_eq!(refusal(|probe| probe.kind = 0), InvalidProbe::Kind(0));
    assert_eq!(
        refusal(|probe| probe.attempts = 0),
        InvalidProbe::Attempts(0)
    );
    assert_eq!(
        refusal(|probe| probe.deadline_ms = 0),
        InvalidProbe::Deadline(0)
    );
    assert_eq!(
        refusal(|probe| probe.interval_ms = 0),
        InvalidProbe::Interval(0)
    );
    assert!(matches!(
        refusal(|probe| probe.nonce.clear()),
        InvalidProbe::Nonce(_)
    ));
}

#[test]
fn each_field_of_a_probe_that_is_out_of_range_is_noticed() {
    assert!(matches!(
        refusal(|probe| probe.target.push(1)),
        InvalidProbe::Target(_)
    ));
    assert!(matches!(
        refusal(|probe| probe.port = 65_979),
        InvalidProbe::Port(_)
    ));
    assert_eq!(
        refusal(|probe| probe.source = vec![1; 16]),
        InvalidProbe::Family
    );
    assert_eq!(refusal(|probe| probe.kind = 99), InvalidProbe::Kind(99));
    assert_eq!(
        refusal(|probe| probe.attempts = 1_025),
        InvalidProbe::Attempts(1_025)
    );
    assert_eq!(
        refusal(|probe| probe.first_attempt = 4_097),
        InvalidProbe::FirstAttempt(4_097)
    );
    for (first, last) in [(1_023, 2_000), (2_000, 65_536), (2_001, 2_000), (0, 0)] {
        assert_eq!(
            refusal(|probe| probe.source_port_ranges = vec![range(first, last)]),
            InvalidProbe::SourcePortRange(first, last)
        );
    }
    assert_eq!(
        refusal(|probe| probe.source_port_ranges = vec![range(2_000, 2_001); 17]),
        InvalidProbe::SourcePorts(17)
    );
    assert_eq!(
        refusal(|probe| probe.deadline_ms = 60_001),
        InvalidProbe::Deadline(60_001)
    );
    assert_eq!(
        refusal(|probe| probe.interval_ms = 2_999),
        InvalidProbe::Interval(2_999)
    );
    assert_eq!(
        refusal(|probe| probe.interval_ms = 600_001),
        InvalidProbe::Interval(600_001)
    );
    assert_eq!(
        refusal(|probe| probe.source_ports = vec![2_000, 1_023]),
        InvalidProbe::SourcePort(1_023)
    );
    assert_eq!(
        refusal(|probe| probe.source_ports = vec![65_536]),
        InvalidProbe::SourcePort(65_536)
    );
    assert_eq!(
        refusal(|probe| probe.source_ports = vec![2_000; 17]),
        InvalidProbe::SourcePorts(17)
    );
}

#[test]
fn a_bad_probe_spoils_only_itself() {
    let mut wire = assignment(probe());
    wire.probes.push(v1::Probe {
        id: 2,
        ..v1::Probe::default()
    });
    let assigned = Assigned::try_from(wire).unwrap();
    assert_eq!((assigned.probes.len(), assigned.refused.len()), (1, 1));
}

#[test]
fn a_probe_without_a_byte_needs_no_nonce() {
    let mut probe = probe();
    probe.kind = v1::ProbeKind::TcpConnect.into();
    probe.nonce.clear();
    let assigned = Assigned::try_from(assignment(probe)).unwrap();
    assert_eq!(assigned.probes[0].kind, ProbeKind::TcpConnect);
}

#[test]
fn the_nonce_of_a_query_says_its_id() {
    for (kind, expected) in [
        (v1::ProbeKind::DnsUdp, ProbeKind::DnsUdp { id: 0x0a0b }),
        (v1::ProbeKind::DnsTcp, ProbeKind::DnsTcp { id: 0x0a0b }),
    ] {
        let mut query = probe();
        query.kind = kind.into();
        query.nonce = vec![0x0a, 0x0b, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];
        let assigned = Assigned::try_from(assignment(query)).unwrap();
        assert_eq!(assigned.probes[0].kind, expected);
        let short = refusal(|probe| {
            probe.kind = kind.into();
            probe.nonce.truncate(2);
        });
        assert!(matches!(short, InvalidProbe::Nonce(_)));
    }
    assert_eq!(ProbeKind::DnsUdp { id: u16::MAX }.query_id(1), Some(0));
    assert_eq!(ProbeKind::TcpConnect.query_id(0), None);
}

#[test]
fn planned_ports_decide_the_number_of_attempts() {
    let mut probe = probe();
    probe.attempts = 0;
    probe.source_ports = vec![1_024, 65_535];
    let assigned = Assigned::try_from(assignment(probe)).unwrap();
    assert_eq!(
        assigned.probes[0].attempts,
        Attempts::from_ports(vec![1_024, 65_535])
    );
    assert_eq!(assigned.probes[0].attempts.most, 2);
}

/// A range of ports.
fn range(first: u32, last: u32) -> v1::PortRange {
    v1::PortRange { first, last }
}

#[test]
fn ranges_of_source_ports_follow_each_other_and_begin_again() {
    let mut wire = probe();
    wire.attempts = 1_024;
    wire.first_attempt = 3;
    wire.every = true;
    wire.source_port_ranges = vec![range(1_024, 2_000), range(65_535, 65_535)];
    let assigned = Assigned::try_from(assignment(wire.clone())).unwrap();
    let probe = &assigned.probes[0];
    assert_eq!(
        probe.attempts,
        Attempts {
            first: 3,
            most: 1_024,
            after_answer: AfterAnswer::GoOn,
            turn: Turn::Paced,
            ports: SourcePorts::Within(vec![1_024..=2_000, 65_535..=65_535]),
        }
    );
    for (made, range) in [(0, 1_024..=2_000), (1, 65_535..=65_535), (2, 1_024..=2_000)] {
        assert_eq!(probe.source_port(made), SourcePort::Within(&range));
        assert_eq!(probe.number(made), made + 3);
    }
    let answered = Outcome::Connected {
        handshake: Duration::from_micros(250),
    };
    assert!(probe.goes_on_after(1_022, answered));
    assert!(!probe.goes_on_after(1_023, answered));
    wire.every = false;
    let assigned = Assigned::try_from(assignment(wire)).unwrap();
    assert!(!assigned.probes[0].goes_on_after(0, answered));
}

#[test]
fn a_probe_by_tls_needs_no_nonce() {
    let mut probe = probe();
    probe.kind = v1::ProbeKind::Tls.into();
    probe.nonce.clear();
    let assigned = Assigned::try_from(assignment(probe)).unwrap();
    assert_eq!(assigned.probes[0].kind, ProbeKind::Tls);
}

#[test]
fn an_assignment_that_means_nothing_is_refused() {
    let good = || assignment(probe());
    let nameless = v1::Assignment {
        run: String::new(),
        ..good()
    };
    assert_eq!(
        Assigned::try_from(nameless),
        Err(InvalidAssignment::Run { length: 0 })
    );
    let long = v1::Assignment {
        run: "x".repeat(65),
        ..good()
    };
    assert_eq!(
        Assigned::try_from(long),
        Err(InvalidAssignment::Run { length: 65 })
    );
    let many = v1::Assignment {
        probes: vec![probe(); 10_001],
        ..good()
    };
    assert_eq!(
        Assigned::try_from(many),
        Err(InvalidAssignment::Probes { count: 10_001 })
    );
    let ports = v1::Assignment {
        listen: vec![v1::Listen::default(); 257],
        ..good()
    };
    assert_eq!(
        Assigned::try_from(ports),
        Err(InvalidAssignment::Listen { count: 257 })
    );
}

#[test]
fn ports_that_cannot_be_opened_are_reported_with_their_number() {
    let mut wire = assignment(probe());
    wire.listen.push(v1::Listen {
        port: 443,
        proof_key: vec![9; 32],
    });
    wire.listen.push(v1::Listen {
        port: 65_979,
        proof_key: vec![9; 32],
    });
    wire.listen.push(v1::Listen {
        port: 7_501,
        proof_key: vec![9; 31],
    });
    let assigned = Assigned::try_from(wire).unwrap();
    assert_eq!(assigned.listen.len(), 1);
    let failed = [ListenFailure {
        port: 7_500,
        errno: Errno(libc::EADDRINUSE),
    }];
    let report = listen_report(&assigned, &failed);
    let failures: Vec<(u32, u32)> = report
        .failures
        .iter()
        .map(|failure| (failure.port, failure.errno))
        .collect();
    assert_eq!(
        failures,
        [(443, 22), (65_979, 22), (7_501, 22), (7_500, 98)]
    );
    assert_eq!((report.run.as_str(), report.generation), ("run", 2));
}

/// When the agent of these tests started: 1,000 s after 1970.
fn epoch() -> Epoch {
    Epoch {
        monotonic: Instant::now(),
        calendar: UNIX_EPOCH + Duration::from_secs(1_000),
    }
}

/// An attempt of probe `probe`, started `ms` after the agent.
fn finished(epoch: &Epoch, probe: u32, ms: u64, outcome: Outcome) -> Finished {
    Finished {
        run: RunName::new("run"),
        probe,
        attempt: 0,
        outcome,
        local: Some("10.0.1.10:40001".parse().unwrap()),
        started_at: epoch.monotonic + Duration::from_millis(ms),
        syn_retransmissions: 0,
        identification: None,
    }
}

/// The first three entries of a column.
fn entries(column: &Option<v1::Column>) -> [u32; 3] {
    let mut entries = Entries::new(column.as_ref()).unwrap();
    [(); 3].map(|()| entries.take_next())
}

#[test]
fn attempts_travel_as_columns() {
    let epoch = epoch();
    let errno = Errno(libc::EADDRNOTAVAIL);
    let after = Duration::from_secs(3);
    let answer = Identification::Answer {
        observed_address: vec![10, 0, 1, 10],
        observed_port: 40_001,
        proof: vec![1; 32],
    };
    let mut attempts = vec![
        finished(
            &epoch,
            5,
            2_000,
            Outcome::Connected {
                handshake: Duration::from_micros(250),
            },
        ),
        finished(&epoch, 3, 1_000, Outcome::TimedOut { after }),
        finished(&epoch, 3, 4_000, Outcome::LocalError { errno }),
    ];
    attempts[0].identification = Some(answer);
    attempts[1].syn_retransmissions = 2;
    attempts[1].local = Some("10.0.1.11:40002".parse().unwrap());
    attempts[2].attempt = 1;
    attempts[2].local = None;
    let batch = batch_to_wire(&epoch, 9, &attempts);
    assert_eq!((batch.run.as_str(), batch.sequence), ("run", 9));
    assert_eq!(
        (batch.first_start_us, batch.first_start_unix_us),
        (1_000_000, 1_001_000_000)
    );
    // In the order of starts: 3, 5, 3, of which the differences are 3, 2, -2.
    assert_eq!(entries(&batch.probe_id_step), [6, 4, 3]);
    assert_eq!(entries(&batch.attempt), [0, 0, 1]);
    assert_eq!(entries(&batch.outcome), [3, 1, 5]);
    assert_eq!(batch.local_ports, [0x9c, 0x42, 0x9c, 0x41, 0, 0]);
    assert_eq!(batch.start_pace_us, 2_000_000);
    assert_eq!(batch.start_step_us, [-1_000_000, 0]);
    assert_eq!(batch.elapsed_floor_us, 0);
    assert_eq!(batch.elapsed_us, [3_000_000, 250, 0]);
    assert_eq!(entries(&batch.errno), [0, 0, 99]);
    assert_eq!(entries(&batch.syn_retransmissions), [2, 0, 0]);
    assert_eq!(
        batch.local_addresses,
        [vec![10, 0, 1, 11], vec![10, 0, 1, 10]]
    );
    assert_eq!(entries(&batch.local_address), [0, 1, 0]);
    let [
        v1::Identification {
            index: 1,
            result: Some(v1::identification::Result::Answer(answer)),
        },
    ] = batch.identifications.as_slice()
    else {
        panic!("{:?}", batch.identifications)
    };
    assert_eq!((answer.observed_port, answer.proof.len()), (40_001, 32));
}

#[test]
fn an_icmp_error_travels_with_its_sender() {
    let epoch = epoch();
    let error = |from| Outcome::Unreachable {
        after: Duration::from_millis(2),
        errno: Errno(libc::ECONNREFUSED),
        icmp: Some(IcmpError {
            kind: 3,
            code: 13,
            from,
        }),
    };
    let silent = Outcome::TimedOut {
        after: Duration::from_secs(3),
    };
    let from = Some("10.0.2.1".parse().unwrap());
    let batch = batch_to_wire(
        &epoch,
        1,
        &[
            finished(&epoch, 1, 0, silent),
            finished(&epoch, 2, 1, error(from)),
            finished(&epoch, 3, 2, error(None)),
        ],
    );
    assert_eq!(entries(&batch.outcome), [3, 4, 4]);
    let wire = |index, from: &[u8]| v1::IcmpError {
        index,
        r#type: 3,
        code: 13,
        from: from.to_vec(),
    };
    assert_eq!(batch.icmp_errors, [wire(1, &[10, 0, 2, 1]), wire(2, &[])]);
}

#[test]
fn columns_without_news_are_left_out() {
    let epoch = epoch();
    let outcome = Outcome::Connected {
        handshake: Duration::from_micros(250),
    };
    let batch = batch_to_wire(
        &epoch,
        1,
        &[
            finished(&epoch, 1, 0, outcome),
            finished(&epoch, 2, 0, outcome),
        ],
    );
    for column in [
        &batch.attempt,
        &batch.errno,
        &batch.syn_retransmissions,
        &batch.local_address,
    ] {
        assert_eq!(*column, None);
    }
    assert_eq!(batch.identifications, []);
}

#[test]
fn a_failed_call_travels_as_its_code() {
    let epoch = epoch();
    let outcome = Outcome::Connected {
        handshake: Duration::from_micros(250),
    };
    let identification = Some(Identification::Failed { code: 4 });
    let batch = batch_to_wire(
        &epoch,
        1,
        &[Finished {
            identification,
            ..finished(&epoch, 1, 0, outcome)
        }],
    );
    assert_eq!(
        batch.identifications[0].result,
        Some(v1::identification::Result::FailedCode(4))
    );
}

#[test]
fn each_chain_of_certificates_travels_once() {
    let epoch = epoch();
    let shown = |probe: u32, identification| Finished {
        identification: Some(identification),
        ..finished(
            &epoch,
            probe,
            probe.into(),
            Outcome::Connected {
                handshake: Duration::from_micros(250),
            },
        )
    };
    let certified = |byte| Identification::Certified {
        chain: vec![vec![byte; 3], vec![9; 2]],
    };
    let failure = TlsFailure::Key;
    let batch = batch_to_wire(
        &epoch,
        1,
        &[
            shown(1, certified(1)),
            shown(2, certified(2)),
            shown(3, Identification::NoSession { failure }),
            shown(4, certified(1)),
        ],
    );
    let chains: Vec<_> = batch
        .chains
        .iter()
        .map(|chain| chain.certificates.clone())
        .collect();
    assert_eq!(chains, [[vec![1; 3], vec![9; 2]], [vec![2; 3], vec![9; 2]]]);
    let results: Vec<_> = batch
        .identifications
        .iter()
        .map(|identification| (identification.index, identification.result.clone().unwrap()))
        .collect();
    assert_eq!(
        results,
        [
            (0, v1::identification::Result::TlsChain(0)),
            (1, v1::identification::Result::TlsChain(1)),
            (
                2,
                v1::identification::Result::TlsFailure(v1::TlsFailure::Key.into())
            ),
            (3, v1::identification::Result::TlsChain(0)),
        ]
    );
}

#[test]
fn an_accepted_connection_travels_with_both_addresses() {
    let epoch = epoch();
    let accepted = Accepted {
        run: RunName::new("run"),
        local: "[2001:db8::1]:7500".parse().unwrap(),
        peer: "[2001:db8::2]:40000".parse().unwrap(),
        accepted_at: epoch.monotonic + Duration::from_millis(5),
    };
    let wire = accept_to_wire(&epoch, &accepted);
    assert_eq!(
        (wire.local_port, wire.peer_port, wire.at_unix_us),
        (7_500, 40_000, 1_000_005_000)
    );
    assert_eq!((wire.local_address.len(), wire.peer_address[15]), (16, 2));
}
