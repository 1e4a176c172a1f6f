//! What the spool keeps, sends again and loses.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant, SystemTime},
};

use prost::Message;
use reachproof_agent::{
    limits::{
        BATCHES_UNACKNOWLEDGED_MAX, CHAIN_BYTES_MAX, SPOOL_ACCEPTS_MAX, SPOOL_BYTES_MAX,
        SPOOL_RESULTS_MAX,
    },
    listener::Accepted,
    outcome::{Errno, IcmpError, Outcome},
    probe::{Finished, Identification, RunName},
    spool::Spool,
    wire::Epoch,
};
use reachproof_proto::column::zigzag;
use reachproof_proto::v1::{AcceptBatch, AgentMessage, ObservationBatch, agent_message::Body};

/// A spool whose times count from now.
fn spool() -> Spool {
    Spool::new(Epoch {
        monotonic: Instant::now(),
        calendar: SystemTime::now(),
    })
}

/// An attempt that was refused.
fn finished(run: &str, probe: u32) -> Finished {
    Finished {
        run: RunName::new(run),
        probe,
        attempt: 0,
        outcome: Outcome::Refused {
            after: Duration::from_micros(80),
        },
        local: Some("10.0.1.10:40000".parse().unwrap()),
        started_at: Instant::now(),
        syn_retransmissions: 0,
        identification: None,
    }
}

/// An accepted connection.
fn accepted(run: &str, peer_port: u16) -> Accepted {
    Accepted {
        run: RunName::new(run),
        local: "10.0.1.10:7500".parse().unwrap(),
        peer: SocketAddr::new("10.0.1.11".parse().unwrap(), peer_port),
        accepted_at: Instant::now(),
    }
}

/// A batch of attempts.
fn observations(message: Option<AgentMessage>) -> ObservationBatch {
    match message.and_then(|message| message.body) {
        Some(Body::Observations(batch)) => batch,
        other => panic!("no observations: {other:?}"),
    }
}

/// A batch of accepted connections.
fn accepts(message: Option<AgentMessage>) -> AcceptBatch {
    match message.and_then(|message| message.body) {
        Some(Body::Accepts(batch)) => batch,
        other => panic!("no accepts: {other:?}"),
    }
}

#[test]
fn batches_of_all_kinds_share_one_counter_without_gaps() {
    let spool = spool();
    spool.push(finished("a", 1));
    spool.push(finished("a", 2));
    spool.push(finished("b", 1));
    spool.push_accept(accepted("a", 40_000));
    let first = observations(spool.next_batch());
    assert_eq!(
        (
            first.sequence,
            first.run.as_str(),
            first.local_ports.len() / 2
        ),
        (1, "a", 2)
    );
    let second = observations(spool.next_batch());
    assert_eq!((second.sequence, second.run.as_str()), (2, "b"));
    let third = accepts(spool.next_batch());
    assert_eq!(
        (third.sequence, third.accepts.len(), third.accepts_dropped),
        (3, 1, 0)
    );
    assert_eq!(spool.next_batch(), None);
}

#[test]
fn what_is_not_acknowledged_is_said_again_word_for_word() {
    let spool = spool();
    spool.push(finished("a", 1));
    let first = spool.next_batch().unwrap();
    spool.push(finished("a", 2));
    let second = spool.next_batch().unwrap();
    assert_eq!(spool.unacknowledged(), [first, second.clone()]);
    spool.acknowledge(1);
    assert_eq!(spool.unacknowledged(), [second]);
    assert!(!spool.is_empty());
    spool.acknowledge(2);
    assert!(spool.is_empty());
}

#[test]
fn no_more_batches_than_allowed_wait_for_their_acknowledgement() {
    let spool = spool();
    for probe in 0..10 {
        spool.push(finished(&probe.to_string(), probe));
    }
    for _ in 0..BATCHES_UNACKNOWLEDGED_MAX {
        assert!(spool.next_batch().is_some());
    }
    assert_eq!(spool.next_batch(), None);
    assert!(spool.has_unsent());
    spool.acknowledge(1);
    assert_eq!(observations(spool.next_batch()).sequence, 5);
}

#[test]
fn the_oldest_unsent_results_are_lost_first_and_counted() {
    let spool = spool();
    spool.push(finished("a", 0));
    let sent = spool.next_batch();
    for probe in 1..=12_000 {
        spool.push(finished("a", probe));
    }
    assert_eq!(
        spool.results_lost(),
        12_001 - u64::try_from(SPOOL_RESULTS_MAX).unwrap()
    );
    assert_eq!(spool.unacknowledged(), [sent.unwrap()]);
    let next = observations(spool.next_batch());
    assert_eq!((next.sequence, next.local_ports.len() / 2), (2, 1_000));
    // 12,000 were pushed after the first, 9,999 of them fit.
    let ids = next.probe_id_step.unwrap();
    assert_eq!((ids.gap, ids.other), (vec![0], vec![zigzag(2_002)]));
}

#[test]
fn accepts_beyond_the_bound_are_counted() {
    let spool = spool();
    for _ in 0..SPOOL_ACCEPTS_MAX + 5 {
        spool.push_accept(accepted("a", 40_000));
    }
    let (mut listed, mut dropped, mut sequence) = (0, 0, 0);
    while let Some(message) = spool.next_batch() {
        let batch = accepts(Some(message));
        listed += batch.accepts.len();
        dropped += batch.accepts_dropped;
        sequence = batch.sequence;
        spool.acknowledge(sequence);
    }
    assert_eq!((listed, dropped, sequence), (SPOOL_ACCEPTS_MAX, 5, 10));
}

#[test]
fn a_cancelled_run_leaves_nothing_unsent_and_loses_nothing() {
    let spool = spool();
    spool.push(finished("a", 1));
    spool.push(finished("b", 1));
    spool.push_accept(accepted("a", 40_000));
    spool.discard(&RunName::new("a"));
    assert_eq!(observations(spool.next_batch()).run, "b");
    assert_eq!(spool.next_batch(), None);
    assert_eq!(spool.results_lost(), 0);
}

#[test]
fn the_largest_batch_stays_below_256_kib() {
    let spool = spool();
    for probe in 0..1_000_u32 {
        let address: IpAddr = format!("2001:db8::{probe:x}").parse().unwrap();
        spool.push(Finished {
            probe: if probe % 2 == 0 { 0 } else { u32::MAX / 2 },
            attempt: 15,
            outcome: Outcome::Unreachable {
                after: Duration::from_secs(60),
                errno: Errno(4_095),
                icmp: Some(IcmpError {
                    kind: 255,
                    code: 255,
                    from: Some(address),
                }),
            },
            local: Some(SocketAddr::new(address, 65_535)),
            syn_retransmissions: 127,
            identification: Some(Identification::Answer {
                observed_address: vec![255; 16],
                observed_port: 65_535,
                proof: vec![255; 32],
            }),
            ..finished(
                "a run with a name of the greatest length that the wire allows to be",
                probe,
            )
        });
    }
    let message = spool.next_batch().unwrap();
    assert!(
        message.encoded_len() < 256 * 1024,
        "{}",
        message.encoded_len()
    );
    assert_eq!(observations(Some(message)).local_ports.len(), 2_000);
}

/// An attempt whose peer showed a chain of so many bytes, all of them `byte`.
fn certified(run: &str, probe: u32, byte: u8, bytes: usize) -> Finished {
    Finished {
        identification: Some(Identification::Certified {
            chain: vec![vec![byte; bytes]],
        }),
        ..finished(run, probe)
    }
}

#[test]
fn a_batch_has_no_more_chains_than_the_wire_takes() {
    let spool = spool();
    for probe in 0..40 {
        spool.push(certified("a", probe, u8::try_from(probe / 2).unwrap(), 100));
    }
    let chains = |message| observations(message).chains.len();
    assert_eq!(chains(spool.next_batch()), 16);
    assert_eq!(chains(spool.next_batch()), 4);
    for probe in 0..16 {
        let byte = u8::try_from(probe).unwrap();
        spool.push(certified("a", probe, byte, CHAIN_BYTES_MAX));
    }
    let message = spool.next_batch().unwrap();
    assert!(message.encoded_len() < 128 * 1024);
    assert_eq!(chains(Some(message)), 6);
}

#[test]
fn chains_that_are_not_sent_do_not_fill_the_memory() {
    let spool = spool();
    let count = u32::try_from(2 * SPOOL_BYTES_MAX / CHAIN_BYTES_MAX).unwrap();
    for probe in 0..count {
        spool.push(certified("a", probe, 1, CHAIN_BYTES_MAX));
    }
    let lost = spool.results_lost();
    assert!(lost > u64::from(count / 2), "{lost} of {count} lost");
    assert!(lost < u64::from(count / 2 + 10), "{lost} of {count} lost");
    spool.discard(&RunName::new("a"));
    spool.push(certified("b", 1, 1, CHAIN_BYTES_MAX));
    assert_eq!(spool.results_lost(), lost);
    assert_eq!(observations(spool.next_batch()).run, "b");
}
