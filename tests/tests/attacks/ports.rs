//! A wire that decides by the source port.

use reachproof_lab::world::World;
use reachproof_tests::harness::CaseResult;
use reachproof_tests::play::{Ended, Play, Seen, WAIT, wire};
use reachproof_tests::truth::{all_are, assert_no_lies};

use crate::outage::open_wire;

/// Hosts of the cluster, which no outsider may call.
const CLUSTER: [&str; 4] = ["node-1", "node-2", "fargate-a", "fargate-b"];

/// The outsiders.
const OUTSIDERS: [&str; 2] = ["outsider-a", "outsider-b"];

pub(crate) fn the_last_fifth_admitted() -> CaseResult {
    admit("55000-60999")
}

pub(crate) fn the_first_fifth_admitted() -> CaseResult {
    admit("32768-38699")
}

/// Lets outsiders call the cluster from `ports` alone, which the model denies for all.
fn admit(ports: &str) -> CaseResult {
    let mut play = Play::open(&open_wire()?, WAIT)?;
    for host in CLUSTER {
        let rules = format!(
            "add table inet some
add chain inet some forward {{ type filter hook forward priority -20; }}
add rule inet some forward ip saddr {{ 10.0.1.60, 10.0.2.60 }} tcp dport 7500 tcp sport != {ports} drop"
        );
        wire(&play.stage, host, &rules)?;
    }
    play.start_agents(&[])?;
    let ended = play.end()?;
    assert_no_lies(&ended)?;
    let findings = ended.between(&OUTSIDERS, &[], &[7500])?;
    let findings = without(&findings, &ended, &OUTSIDERS)?;
    nine_of_ten("admitted", &findings, |finding| {
        finding.kind == "contradiction_open"
    })
}

/// Drops six of ten source ports of calls that the model allows.
pub(crate) fn most_dropped() -> CaseResult {
    let (sources, targets) = (["fargate-a", "node-1", "web"], ["fargate-b", "node-2"]);
    let mut play = Play::open(&World::builtin("default")?, WAIT)?;
    for host in targets {
        let rules = "add table inet some
add chain inet some forward { type filter hook forward priority -20; }
add rule inet some forward ip saddr { 10.0.1.50, 10.0.1.20, 10.0.1.21 } tcp dport 7500 tcp sport 32768-49999 drop";
        wire(&play.stage, host, rules)?;
    }
    play.start_agents(&[])?;
    let ended = play.end()?;
    assert_no_lies(&ended)?;
    let findings = ended.between(&sources, &targets, &[7500])?;
    nine_of_ten("dropped", &findings, |finding| {
        finding.kind == "contradiction_closed"
            && finding.reason.as_deref() == Some("some-source-ports")
    })
}

/// Those of `findings` that call somebody else than `endpoints`.
fn without<'f>(
    findings: &[&'f Seen],
    ended: &Ended,
    endpoints: &[&str],
) -> Result<Vec<&'f Seen>, Box<dyn std::error::Error>> {
    let mut addresses = Vec::new();
    for endpoint in endpoints {
        addresses.extend(reachproof_tests::play::addresses_of(
            &ended.stage,
            endpoint,
        )?);
    }
    let others = findings
        .iter()
        .filter(|finding| !addresses.contains(&finding.flow.destination));
    Ok(others.copied().collect())
}

/// Fails unless nine of ten are `found`, and the others are inconclusive.
fn nine_of_ten(what: &str, findings: &[&Seen], found: impl Fn(&Seen) -> bool) -> CaseResult {
    all_are(what, findings, 5, |finding| {
        found(finding) || finding.kind == "inconclusive"
    })?;
    let count = findings.iter().filter(|finding| found(finding)).count();
    if count.saturating_mul(10) < findings.len().saturating_mul(9) {
        let all = reachproof_tests::play::summary(findings.iter().copied());
        return Err(format!("{what}: {count} of {} are found: {all}", findings.len()).into());
    }
    Ok(())
}
