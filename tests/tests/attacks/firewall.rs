//! A firewall that rejects: in the host that calls, or on the way.

use reachproof_lab::world::World;
use reachproof_tests::harness::CaseResult;
use reachproof_tests::play::{Play, WAIT, firewall, wire};
use reachproof_tests::stage::Stage;
use reachproof_tests::truth::{all_are, assert_no_lies};

/// What iptables sends by default.
const PORT_UNREACHABLE: &str = "reject with icmpx type port-unreachable";

/// What closes a connection at once.
const RESET: &str = "reject with tcp reset";

/// What ends with one of these is no evidence.
const REASONS: [&str; 2] = ["unproven", "unreachable"];

/// Whose connections are rejected: the model allows those of the first to the cluster, and denies those of the second.
const SOURCES: [&str; 2] = ["fargate-a", "outsider-a"];

pub(crate) fn icmp_in_the_source() -> CaseResult {
    reject(|stage, source| in_the_source(stage, source, PORT_UNREACHABLE))
}

pub(crate) fn reset_in_the_source() -> CaseResult {
    reject(|stage, source| in_the_source(stage, source, RESET))
}

pub(crate) fn icmp_on_the_way() -> CaseResult {
    reject(|stage, source| on_the_way(stage, source, PORT_UNREACHABLE))
}

pub(crate) fn reset_on_the_way() -> CaseResult {
    reject(|stage, source| on_the_way(stage, source, RESET))
}

fn in_the_source(stage: &Stage, source: &str, how: &str) -> CaseResult {
    let rules = format!(
        "add table inet liar
add chain inet liar output {{ type filter hook output priority 0; }}
add rule inet liar output tcp dport {{ 443, 7500 }} {how}"
    );
    firewall(stage, source, &rules)
}

/// Rejects on the wire of the source, before any group of it is asked. A router there needs an address to complain from,
/// and the lab's leave to complain at all.
fn on_the_way(stage: &Stage, source: &str, how: &str) -> CaseResult {
    let rules = format!(
        "flush chain inet silence output
add table inet liar
add chain inet liar forward {{ type filter hook forward priority -20; }}
add rule inet liar forward iifname \"host\" tcp flags & (syn | ack) == syn tcp dport {{ 443, 7500 }} {how}"
    );
    wire(stage, source, &rules)?;
    let addresses = reachproof_tests::play::addresses_of(stage, source)?;
    let address = addresses.first().ok_or("an endpoint has no address")?;
    let given = stage.lab.within_wire(*address, || {
        std::process::Command::new("ip")
            .args(["address", "add", "192.0.2.1/32", "dev", "net"])
            .status()
    })??;
    if given.success() {
        Ok(())
    } else {
        Err("the router got no address".into())
    }
}

/// Plays `default` with the rejections of `set`.
fn reject(set: impl Fn(&Stage, &str) -> CaseResult) -> CaseResult {
    let mut play = Play::open(&World::builtin("default")?, WAIT)?;
    for source in SOURCES {
        set(&play.stage, source)?;
    }
    play.start_agents(&[])?;
    let ended = play.end()?;
    for source in SOURCES {
        for (port, least) in [(443, 2), (7500, 3)] {
            let findings = ended.between(&[source], &[], &[port])?;
            all_are(
                &format!("{source} to {port}"),
                &findings,
                least,
                |finding| finding.is_inconclusive(&REASONS),
            )?;
        }
    }
    if ended.exit == 0 {
        return Err("exit 0".into());
    }
    for source in SOURCES {
        // The wire alone is asked, whatever stood in the way of it.
        let _in_source = firewall(&ended.stage, source, "delete table inet liar");
        let _on_the_way = wire(&ended.stage, source, "delete table inet liar");
    }
    assert_no_lies(&ended)
}
