//! Prediction and kernel agree in worlds that nobody thought of.

use std::error::Error;
use std::process::ExitCode;

use reachproof_lab::world::Drift;
use reachproof_lab::world::notation::Rule;
use reachproof_tests::agreement::{Tally, compare};
use reachproof_tests::harness::{Case, CaseResult, explain, run_cases};
use reachproof_tests::random::random_world;

/// Flows asked about in each world.
const FLOWS: usize = 20;

/// Worlds of the slice that runs every time.
const SLICE: std::ops::Range<u64> = 0..3;

/// Worlds of the long run.
const LONG: std::ops::Range<u64> = 1000..1030;

/// Partial verdicts of the long run, at least.
const PARTIAL_MIN: usize = 5;

fn main() -> ExitCode {
    run_cases(
        || Ok(()),
        &[
            Case {
                name: "prediction_and_kernel_agree_in_a_few_random_worlds",
                ignored: None,
                run: || agree(SLICE).map(|_| ()),
            },
            Case {
                name: "prediction_and_kernel_agree_in_thirty_random_worlds",
                ignored: Some("needs minutes"),
                run: || {
                    let all = agree(LONG)?;
                    // Source ports are judged one by one only where the lists let some through.
                    if all.partial < PARTIAL_MIN {
                        return Err(format!("too few are partial: {all}").into());
                    }
                    Ok(())
                },
            },
            Case {
                name: "a_wire_that_differs_from_the_snapshot_is_noticed",
                ignored: None,
                run: notice_drift,
            },
        ],
    )
}

/// Compares the worlds of `seeds`; prints each, so that a failure can be drawn again.
#[expect(clippy::print_stdout, reason = "figures are what this test is for")]
fn agree(seeds: std::ops::Range<u64>) -> Result<Tally, Box<dyn Error>> {
    let mut all = Tally::default();
    for seed in seeds {
        let random = random_world(seed, FLOWS)?;
        let tally =
            compare(&random).map_err(|error| format!("seed {seed}: {}", explain(&error)))?;
        println!("seed {seed}: {tally}");
        all.add(tally);
    }
    println!("in all: {all}");
    if !all.differences.is_empty() {
        return Err(all.differences.join("\n").into());
    }
    if all.unknown * 10 > all.flows() {
        return Err(format!("more than a tenth is unknown: {all}").into());
    }
    // A generator that makes everything open or everything closed would prove nothing.
    if all.open * 10 < all.flows() || all.closed * 10 < all.flows() {
        return Err(format!("too one-sided: {all}").into());
    }
    Ok(all)
}

/// Lets the wire admit all of IPv4 in a world whose snapshot does not: what a group alone closes must differ.
fn notice_drift() -> CaseResult {
    let mut random = random_world(0, FLOWS)?;
    let mut open = random.world.security_groups.clone();
    for group in open.values_mut() {
        group.ingress = vec![Rule::try_from("all from 0.0.0.0/0".to_owned())?];
        group.egress = vec![Rule::try_from("all to 0.0.0.0/0".to_owned())?];
    }
    random.world.drift = Some(Drift {
        security_groups: open,
        ..Drift::default()
    });
    let tally = compare(&random)?;
    if tally.differences.is_empty() {
        return Err(format!("nothing differs: {tally}").into());
    }
    Ok(())
}
