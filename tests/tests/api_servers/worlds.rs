//! Worlds in which API servers find something, and every dial of every world against what the kernel counted.

use std::collections::BTreeSet;
use std::net::IpAddr;

use reachproof_lab::world::{BUILTIN, World};
use reachproof_tests::counters::{count, counted};
use reachproof_tests::dialling::{self, Dialled, Outcome, dialled, miscounted, verify};
use reachproof_tests::harness::CaseResult;
use reachproof_tests::judge::differences;
use reachproof_tests::play::firewall;
use reachproof_tests::stage::Stage;
use serde_json::Value;

use crate::{SAMPLE, address, borne_out, ensure, expectation};

/// A run that is over.
struct Ended {
    stage: Stage,
    exit: u8,
    report: Value,
    dials: Vec<Dialled>,
}

impl Ended {
    /// The API servers of the dials to `port` that `fits`.
    fn servers(&self, port: u16, fits: impl Fn(&&Dialled) -> bool) -> BTreeSet<IpAddr> {
        let at = self.dials.iter().filter(|dial| dial.port == port);
        at.filter(fits).map(|dial| dial.server).collect()
    }

    fn both(&self) -> Outcome<BTreeSet<IpAddr>> {
        let server = |name| address(&self.stage, name);
        Ok(BTreeSet::from([server("x-eni-a")?, server("x-eni-b")?]))
    }
}

/// Plays a world after `hand` had a hand in it, and holds every dial against what the kernel counted.
fn play(world: &World, hand: impl FnOnce(&Stage) -> CaseResult) -> Outcome<Ended> {
    let stage = dialling::stage(world)?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let mut kubelets = dialling::kubelets(&stage, plane)?;
    hand(&stage)?;
    count(&stage)?;
    let (exit, report) = verify(&stage, &mut kubelets, None, || Ok(()))?;
    drop(kubelets);
    let dials = dialled(&report)?;
    let wrong = miscounted(&dials, &counted(&stage)?);
    ensure(wrong.is_empty(), || wrong.join("\n"))?;
    Ok(Ended {
        stage,
        exit,
        report,
        dials,
    })
}

/// Fails unless a run ended as its world states.
fn as_stated(world: &World, ended: &Ended) -> CaseResult {
    let expect = world.expect_with_api_servers.as_ref();
    let expect = expect.unwrap_or(&world.expect);
    let endpoints = ended.stage.lab.endpoints();
    let found = differences(expect, &ended.report, ended.exit, endpoints)?;
    ensure(found.is_empty(), || {
        format!("{}:\n{}", world.about, found.join("\n"))
    })
}

/// Webhooks and aggregated APIs, and the firewall of a node that rejects what its groups let through.
pub(crate) fn webhooks() -> CaseResult {
    let world = World::builtin("webhooks")?;
    let ended = play(&world, |stage| {
        let first = address(stage, "x-eni-a")?;
        let reject = format!(
            "add table inet host\nadd chain inet host i {{ type filter hook input priority -20; }}\n\
             add rule inet host i ip saddr {first} tcp dport 10250 reject with tcp reset"
        );
        firewall(stage, "node-1", &reject)
    })?;
    let both = ended.both()?;
    for port in [8080, 10_260] {
        let closed = ended.servers(port, |dial| dial.kind == "confirmed_deny");
        ensure(closed == both, || format!("{port}: {closed:?}"))?;
    }
    for port in [9443, 8443, 4443] {
        let is_open = |dial: &&Dialled| dial.kind == "confirmed_allow" && dial.strength == "proven";
        let open = ended.servers(port, is_open);
        ensure(open == both, || format!("{port}: {open:?}"))?;
    }
    for (name, subject, wanted) in [
        ("control plane to webhook", "certificates", ("met", 2, 0)),
        (
            "control plane to webhook",
            "widgets.example.com",
            ("met", 2, 0),
        ),
        ("control plane to webhook", "policy", ("broken", 0, 2)),
        (
            "control plane to API service",
            "v1beta1.metrics",
            ("met", 2, 0),
        ),
        (
            "control plane to API service",
            "v1beta1.external",
            ("broken", 0, 2),
        ),
    ] {
        let (state, met, _, broken) = expectation(&ended.report, name, subject)?;
        ensure((state.as_str(), met, broken) == wanted, || {
            format!("{name} {subject}: {state}, {met} met, {broken} broken")
        })?;
    }
    let causes = ended.report.get("causes").map(Value::to_string);
    let causes = causes.unwrap_or_default();
    ensure(
        causes.contains("8080") && causes.contains("sg-node"),
        || format!("no repair for 8080: {causes}"),
    )?;
    let (first, node) = (
        address(&ended.stage, "x-eni-a")?,
        address(&ended.stage, "node-1")?,
    );
    let mut dials = ended.dials.iter();
    let rejected =
        dials.find(|dial| (dial.server, dial.target, dial.port) == (first, node, 10_250));
    ensure(
        rejected.is_some_and(|dial| dial.kind == "inconclusive" && dial.reason == "unproven"),
        || format!("rejected: {rejected:?}"),
    )?;
    ensure(!ended.dials.iter().any(Dialled::is_contradiction), || {
        format!("{:?}", ended.dials)
    })?;
    ensure(ended.exit == 1, || format!("exit {}", ended.exit))?;
    println!(
        "  8080 and 10260 confirmed_deny, 9443, 8443 and 4443 confirmed_allow from 2 of 2 X-ENIs; {} of {} dials as the kernel counted",
        ended.dials.len(),
        ended.dials.len()
    );
    Ok(())
}

/// One interface is closed towards nodes on the wire.
pub(crate) fn control_plane_drift() -> CaseResult {
    let world = World::builtin("control-plane-drift")?;
    let ended = play(&world, |_| Ok(()))?;
    as_stated(&world, &ended)?;
    let closed = ended.servers(10_250, |dial| dial.kind == "contradiction_closed");
    ensure(
        closed == BTreeSet::from([address(&ended.stage, "x-eni-b")?]),
        || format!("closed: {closed:?}"),
    )?;
    println!(
        "  contradiction_closed from 1 of 2 X-ENIs, exit {}; {} of {} dials as the kernel counted",
        ended.exit,
        ended.dials.len(),
        ended.dials.len()
    );
    Ok(())
}

/// The same drift where no agent stands beside a kubelet that an API server could be asked for: the logs of pods lead to them.
pub(crate) fn logs() -> CaseResult {
    let world = World::builtin("control-plane-drift")?;
    let stage = dialling::stage(&world)?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let mut kubelets = dialling::kubelets(&stage, plane)?;
    dialling::without_host_agents(plane, &mut kubelets)?;
    let reader = dialling::reader(plane)?;
    count(&stage)?;
    let (exit, report) = verify(&stage, &mut kubelets, Some(&reader), || Ok(()))?;
    let dials = dialled(&report)?;
    let wrong = miscounted(&dials, &counted(&stage)?);
    ensure(wrong.is_empty(), || wrong.join("\n"))?;
    let (open, closed) = (address(&stage, "x-eni-a")?, address(&stage, "x-eni-b")?);
    let is_log = |dial: &&Dialled| dial.port == 10_250;
    let logs: Vec<&Dialled> = dials.iter().filter(is_log).collect();
    for dial in &logs {
        let told: Vec<&str> = dial.attempts.iter().map(|it| it.outcome.as_str()).collect();
        let as_wanted = if dial.server == open {
            dial.kind == "confirmed_allow"
                && dial.strength == "proven"
                && told == ["not_dialled", "connected", "connected", "connected"]
        } else {
            dial.kind == "contradiction_closed" && told == ["timed_out"; 3]
        };
        ensure(as_wanted, || format!("{dial:?}"))?;
    }
    let of = |server| logs.iter().filter(|dial| dial.server == server).count();
    println!(
        "  by the logs of pods: {} kubelet open from one X-ENI, {} closed from the other, exit {exit}; {} dials as the kernel counted",
        of(open),
        of(closed),
        dials.len()
    );
    ensure((of(open), of(closed), exit) == (1, 1, 1), || {
        format!("exit {exit}: {dials:?}")
    })
}

/// Every world, or as many as the environment variable says.
pub(crate) fn every_world() -> CaseResult {
    let all = match std::env::var(SAMPLE) {
        Ok(text) => text.parse()?,
        Err(_) => BUILTIN.len(),
    };
    let mut dials = 0;
    for builtin in BUILTIN.iter().take(all) {
        let world = World::builtin(builtin.name)?;
        let ended =
            play(&world, |_| Ok(())).map_err(|error| format!("{}: {error}", builtin.name))?;
        // What a world states is about agents, unless it says otherwise; the wire speaks for every dial.
        borne_out(&ended.stage, &ended.report)
            .map_err(|error| format!("{}: {error}", builtin.name))?;
        println!("  {}: {} dials", builtin.name, ended.dials.len());
        dials += ended.dials.len();
    }
    println!("  {dials} of {dials} dials of {all} worlds as the kernel counted");
    Ok(())
}
