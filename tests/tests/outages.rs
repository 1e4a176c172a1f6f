//! Links that fail at random in slow runs: whatever a report is sure of must be so.
//!
//! Each run is a process of its own with its own lab, so that several wait side by side. Variables of the environment:
//! `REACHPROOF_OUTAGES` (how many runs, 20 by default), `REACHPROOF_OUTAGES_SEED` (the first seed, 1 by default) and
//! `REACHPROOF_OUTAGES_TOGETHER` (how many at a time, 4 by default).

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::error::Error;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reachproof_lab::world::notation::Rule;
use reachproof_lab::world::{Drift, World};
use reachproof_lab::{Isolation, isolate};
use reachproof_tests::binaries::build;
use reachproof_tests::harness::{Case, CaseResult, explain, run_cases};
use reachproof_tests::play::{LINK_DOWN, LINK_UP, Play, wire};
use reachproof_tests::truth::lies;

/// Says to a process that it is one run, with this seed.
const ONE: &str = "REACHPROOF_OUTAGES_ONE";

/// Says which process of the lab's isolation this is; a run of its own begins anew.
const STAGE: &str = "REACHPROOF_LAB_STAGE";

/// Hosts with a link of their own, in the world `default`.
const HOSTS: [&str; 6] = [
    "node-1",
    "node-2",
    "outsider-a",
    "outsider-b",
    "fargate-a",
    "fargate-b",
];

/// Longest wait for agents: several runs share the machine.
const WAIT: Duration = Duration::from_secs(90);

/// Longest time from the first probe in which links fail.
const PLAY_MAX: Duration = Duration::from_secs(110);

/// Time between two looks.
const STEP: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    if let Ok(seed) = env::var(ONE) {
        return one(&seed);
    }
    run_cases(
        || Ok(build()?),
        &[Case {
            name: "random_outages_make_no_report_lie",
            ignored: Some("needs ten minutes"),
            run: all,
        }],
    )
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    let text = env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Plays every seed, several side by side.
#[expect(clippy::print_stdout, reason = "the figures are what is asked for")]
fn all() -> CaseResult {
    let (count, first) = (
        number("REACHPROOF_OUTAGES", 20),
        number("REACHPROOF_OUTAGES_SEED", 1),
    );
    let together = usize::try_from(number("REACHPROOF_OUTAGES_TOGETHER", 4))?;
    let mut running: VecDeque<(u64, Child)> = VecDeque::new();
    let (mut bad, mut sure, mut all) = (Vec::new(), 0_usize, 0_usize);
    let mut finish = |(seed, child): (u64, Child)| -> CaseResult {
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{}", said.trim_end());
        let counts = said.lines().find_map(|line| line.strip_prefix("sure "));
        match counts.and_then(|counts| counts.split_once(" of ")) {
            Some((some, whole)) if output.status.success() => {
                sure += some.parse::<usize>()?;
                all += whole.parse::<usize>()?;
            }
            Some(_) | None => bad.push(seed),
        }
        Ok(())
    };
    for seed in first..first.saturating_add(count) {
        if running.len() >= together.max(1)
            && let Some(oldest) = running.pop_front()
        {
            finish(oldest)?;
        }
        let child = Command::new(env::current_exe()?)
            .env(ONE, seed.to_string())
            .env_remove(STAGE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        running.push_back((seed, child));
    }
    for last in running {
        finish(last)?;
    }
    println!("{count} runs: {sure} of {all} findings stayed conclusive");
    if bad.is_empty() {
        return Ok(());
    }
    Err(format!("these seeds failed: {bad:?}").into())
}

/// One run in namespaces of its own.
#[expect(clippy::print_stdout, reason = "what it prints is read by the parent")]
fn one(seed: &str) -> ExitCode {
    match isolate() {
        Ok(Isolation::Inside) => {}
        Ok(Isolation::Finished(code)) => return code,
        Err(error) => {
            println!("seed {seed}: {}", explain(&error));
            return ExitCode::FAILURE;
        }
    }
    let played = seed.parse().map_err(Box::<dyn Error>::from).and_then(play);
    match played {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::FAILURE,
        Err(error) => {
            println!("seed {seed}: {}", explain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// A link that fails: whose, when, and for how long.
#[derive(Debug, Clone, Copy)]
struct Outage {
    host: &'static str,
    from: Duration,
    length: Duration,
}

/// Plays one run; returns whether its report lies.
#[expect(clippy::print_stdout, reason = "what it prints is read by the parent")]
fn play(seed: u64) -> Result<bool, Box<dyn Error>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::builtin("default")?;
    world.drift = drift(&world, &mut rng)?;
    let outages = outages(&mut rng);
    let mut play = Play::open(&world, WAIT)?;
    play.start_agents(&["--starts-per-second-max", "1"])?;
    play.stage.await_listeners()?;
    fail(&mut play, &outages)?;
    let ended = play.end()?;
    let lies = lies(&ended.stage, &ended.findings)?;
    let tried = |kind: &str| !["bypass", "not_observed"].contains(&kind);
    let all = ended.findings.iter().filter(|one| tried(&one.kind)).count();
    let sure = ended
        .findings
        .iter()
        .filter(|one| one.is_confirmed() || one.is_contradiction());
    println!("seed {seed}: {outages:?}: {}", ended.summary());
    println!("sure {} of {all}", sure.count());
    lies.iter().for_each(|lie| println!("FALSE: {lie}"));
    Ok(!lies.is_empty())
}

/// What the wire enforces instead: in each direction, for each group, by chance.
fn drift(world: &World, rng: &mut StdRng) -> Result<Option<Drift>, Box<dyn Error>> {
    let mut security_groups = BTreeMap::new();
    for (name, group) in &world.security_groups {
        let rules: Vec<&str> = match rng.random_range(0..4) {
            0 => continue,
            1 => vec!["all from 10.0.0.0/16"],
            2 => vec!["tcp 443 from 10.0.0.0/16"],
            _ => vec!["tcp 7500 from 10.0.1.0/24", "tcp 443 from 10.0.0.0/16"],
        };
        let mut drifted = group.clone();
        let rules = rules
            .into_iter()
            .map(|rule| Rule::try_from(rule.to_owned()));
        drifted.ingress = rules.collect::<Result<_, _>>()?;
        security_groups.insert(name.clone(), drifted);
    }
    Ok((!security_groups.is_empty()).then(|| Drift {
        security_groups,
        acls: BTreeMap::new(),
    }))
}

/// One to three outages; no two of one host overlap, as there is one for each host.
fn outages(rng: &mut StdRng) -> Vec<Outage> {
    let mut hosts = HOSTS.to_vec();
    let count = rng.random_range(1..=3);
    let mut outages = Vec::new();
    for _ in 0..count {
        let host = hosts.swap_remove(rng.random_range(0..hosts.len()));
        outages.push(Outage {
            host,
            from: Duration::from_millis(rng.random_range(0..50_000)),
            length: Duration::from_millis(rng.random_range(1_000..=40_000)),
        });
    }
    outages
}

/// Takes links away and gives them back, until all are there again or the run is over.
fn fail(play: &mut Play, outages: &[Outage]) -> CaseResult {
    let mut events: Vec<(Duration, &str, &str)> = outages
        .iter()
        .flat_map(|outage| {
            [
                (outage.from, outage.host, LINK_DOWN),
                (outage.from + outage.length, outage.host, LINK_UP),
            ]
        })
        .collect();
    events.sort();
    let start = Instant::now();
    let mut down = Vec::new();
    for (at, host, rules) in events {
        while start.elapsed() < at.min(PLAY_MAX) && !play.coordinator.has_ended()? {
            std::thread::sleep(STEP);
        }
        match rules {
            // A link that would fail after the end does not.
            LINK_DOWN if play.coordinator.has_ended()? => continue,
            LINK_DOWN => down.push(host),
            _ if !down.contains(&host) => continue,
            _ => down.retain(|other| *other != host),
        }
        wire(&play.stage, host, rules)?;
    }
    Ok(())
}
