//! What a run costs the API server: TLS handshakes at the interfaces of the control plane, counted by who serves them.

use std::time::{Duration, Instant};

use reachproof_lab::world::World;
use reachproof_tests::harness::CaseResult;
use reachproof_tests::play::{Play, WAIT};

use crate::outage::open_wire;

/// Handshakes that one interface has in any second where the network does as predicted.
const PER_SECOND_MAX: usize = 2;

/// The same where predicted silence is answered: those are as many a second again, paced beside the others, since silence
/// costs the API server nothing and would otherwise keep every answer waiting.
const UNEXPECTED_PER_SECOND_MAX: usize = 4;

/// How much later than it was due a handshake may have ended, or the one before it: two that are a second apart in the plan.
const LATE: Duration = Duration::from_millis(200);

/// In the world `default`, where the model denies some agents the control plane and so does the wire.
pub(crate) fn as_predicted() -> CaseResult {
    at_most(PER_SECOND_MAX, &World::builtin("default")?)
}

/// The same where the wire lets everybody through: more answer than the model expects.
pub(crate) fn on_an_open_wire() -> CaseResult {
    at_most(UNEXPECTED_PER_SECOND_MAX, &open_wire()?)
}

#[expect(clippy::print_stdout, reason = "the figures are what it is about")]
fn at_most(per_second_max: usize, world: &World) -> CaseResult {
    let mut play = Play::open(world, WAIT)?;
    play.start_agents(&[])?;
    let ended = play.end()?;
    let handshakes = ended.stage.lab.handshakes();
    if handshakes.len() < 2 {
        return Err(format!("only {:?} were called", handshakes.keys()).into());
    }
    let mut most = 0;
    for (interface, times) in &handshakes {
        let (most_here, count) = (densest(times, Duration::from_secs(1) - LATE), times.len());
        let whole = densest(times, Duration::from_secs(1));
        let span = times.last().zip(times.first());
        let span = span.map_or(Duration::ZERO, |(last, first)| last.duration_since(*first));
        println!(
            "  {interface}: {count} handshakes in {:.1} s, at most {whole} in a second, {most_here} in {} ms",
            span.as_secs_f32(),
            (Duration::from_secs(1) - LATE).as_millis()
        );
        most = most.max(most_here);
    }
    if most > per_second_max {
        return Err(format!("{most} handshakes in a second").into());
    }
    Ok(())
}

/// Most of `times`, which are in order, within less than `window`.
fn densest(times: &[Instant], window: Duration) -> usize {
    let near = times.iter().enumerate().map(|(place, first)| {
        let rest = times.iter().skip(place);
        rest.take_while(|time| time.duration_since(*first) < window)
            .count()
    });
    near.max().unwrap_or_default()
}
