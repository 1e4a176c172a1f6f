//! What a result costs on the wire, and on its way through decoding, validation and comparison.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant, SystemTime},
};

use prost::Message as _;
use reachproof_agent::{
    outcome::Outcome,
    probe::{Finished, RunName},
    wire::{Epoch, batch_to_wire},
};
use reachproof_proto::v1;
use reachproof_verify::wire::observations::attempts;

use super::{Goals, Measured, hold, print};

/// Results in a batch.
const BATCH: u32 = 1_000;

/// Batches that are decoded.
const BATCHES: u32 = 3_000;

/// A batch as a busy agent sends it: open and refused targets, some silent, with full evidence of each.
fn results(begin: Instant) -> Vec<Finished> {
    (0..BATCH)
        .map(|number| {
            let jitter = u64::from(number * 7919 % 997);
            let handshake = Duration::from_micros(300 + jitter);
            let outcome = match number % 20 {
                0 => Outcome::Refused { after: handshake },
                10 => Outcome::TimedOut {
                    after: Duration::from_secs(3) + Duration::from_micros(jitter),
                },
                _ => Outcome::Connected { handshake },
            };
            // Ports as the kernel draws them: anywhere in its range.
            let port = 32_768 + u16::try_from(u64::from(number) * 48_271 % 28_232).unwrap_or(0);
            Finished {
                run: RunName::new("run-0123456789"),
                probe: number,
                attempt: 0,
                outcome,
                local: Some(SocketAddr::from((Ipv4Addr::new(10, 0, 1, 10), port))),
                started_at: begin + Duration::from_micros(10_000 * u64::from(number) + jitter),
                syn_retransmissions: u32::from(number % 20 == 10) * 2,
                identification: None,
            }
        })
        .collect()
}

/// Encodes one batch, and decodes and validates it many times, on one thread.
///
/// # Errors
/// When what was encoded is not read again.
pub fn wire() -> Measured<Goals> {
    let begin = Instant::now();
    let epoch = Epoch {
        monotonic: begin,
        calendar: SystemTime::now(),
    };
    let bytes = batch_to_wire(&epoch, 1, &results(begin)).encode_to_vec();
    let size = f64::from(u32::try_from(bytes.len())?) / f64::from(BATCH);
    let start = Instant::now();
    let mut read = 0_usize;
    for _ in 0..BATCHES {
        let batch = v1::ObservationBatch::decode(bytes.as_slice())?;
        read += std::hint::black_box(attempts(&batch)?).len();
    }
    let rate = f64::from(u32::try_from(read)?) / start.elapsed().as_secs_f64();
    print(&format!(
        "batch of {BATCH} with full evidence: {} bytes; {rate:.0} results/s through decoding and validation, one core",
        bytes.len()
    ));
    let goals = hold("bytes a result", size, 8.0);
    Ok(goals.and(hold(
        "microseconds a result, decoded and validated",
        1e6 / rate,
        1.0,
    )))
}
