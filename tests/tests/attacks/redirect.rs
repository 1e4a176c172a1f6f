//! A redirect in the host that calls, as the sidecar of a mesh makes one, while the wire drops everything.

use reachproof_lab::Authority;
use reachproof_lab::world::World;
use reachproof_tests::decoy::{DECOY_PORT, Decoy, Manner};
use reachproof_tests::harness::CaseResult;
use reachproof_tests::play::{Play, WAIT, firewall, wire};
use reachproof_tests::truth::{all_are, assert_no_lies};

/// Whose connections are redirected: the model allows those of the first two to the cluster, and denies the others.
const SOURCES: [&str; 4] = ["fargate-a", "node-1", "outsider-a", "outsider-b"];

/// What a port 443 may not be proven by.
const API_SERVER: Target = Target {
    port: 443,
    endpoints: &["x-eni-a", "x-eni-b"],
};

/// The resolver that every pod needs.
const RESOLVER: Target = Target {
    port: 53,
    endpoints: &["coredns"],
};

/// Who is called, and answered for.
struct Target {
    port: u16,
    endpoints: &'static [&'static str],
}

pub(crate) fn to_a_silent_listener() -> CaseResult {
    redirect(&API_SERVER, &Manner::Silent)
}

pub(crate) fn to_another_authority() -> CaseResult {
    redirect(&API_SERVER, &Manner::Tls(Authority::make()?))
}

pub(crate) fn of_the_resolver() -> CaseResult {
    redirect(&RESOLVER, &Manner::Silent)
}

fn redirect(target: &Target, manner: &Manner) -> CaseResult {
    let mut play = Play::open(&World::builtin("default")?, WAIT)?;
    let port = target.port;
    for endpoint in target.endpoints {
        let rules = format!(
            "add table inet gone
add chain inet gone forward {{ type filter hook forward priority -20; }}
add rule inet gone forward tcp dport {port} drop"
        );
        wire(&play.stage, endpoint, &rules)?;
    }
    let mut decoys = Vec::new();
    for source in SOURCES {
        decoys.push(Decoy::start(&play.stage, source, manner)?);
        let rules = format!(
            "add table inet mesh
add chain inet mesh output {{ type nat hook output priority -100; }}
add rule inet mesh output tcp dport {port} redirect to :{DECOY_PORT}"
        );
        firewall(&play.stage, source, &rules)?;
    }
    play.start_agents(&[])?;
    let ended = play.end()?;
    drop(decoys);
    // A flow that the planner did not take is no finding; where there is one, it may not say more.
    let findings = ended.between(&SOURCES, target.endpoints, &[port])?;
    all_are("redirected", &findings, target.endpoints.len(), |finding| {
        finding.is_inconclusive(&["unproven"])
    })?;
    if ended.exit == 0 {
        return Err("exit 0".into());
    }
    for source in SOURCES {
        firewall(&ended.stage, source, "delete table inet mesh")?;
    }
    assert_no_lies(&ended)
}
