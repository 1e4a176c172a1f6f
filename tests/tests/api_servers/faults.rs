//! What goes wrong while API servers are asked: nothing is confirmed that is not so, and nothing contradicted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reachproof_lab::kubernetes::ControlPlane;
use reachproof_lab::world::{AgentPresence, World};
use reachproof_model::claim::ClaimVerdict;
use reachproof_tests::counters::{count, counted};
use reachproof_tests::decoy::{DECOY_PORT, Decoy, Manner};
use reachproof_tests::dialling::{self, Dialled, Outcome, dialled, verify};
use reachproof_tests::harness::CaseResult;
use reachproof_tests::play::firewall;
use reachproof_tests::stage::Stage;
use serde_json::{Value, json};

use crate::{address, borne_out, ensure, expectation, sends_from_the_interface, signs};

/// Where the fault is.
const SERVER: &str = "x-eni-b";

/// What a fault needs to be done and undone.
struct Fault<'f> {
    /// The world.
    world: &'f World,
    /// Further flags of every API server.
    flags: &'f [&'f str],
    /// A port, and how many connections to it an API server has begun when it is the middle.
    begun: (u16, usize),
    /// Before the run.
    before: &'f dyn Fn(&Stage) -> CaseResult,
    /// Once API servers connect.
    middle: &'f dyn Fn(&Stage, &ControlPlane) -> CaseResult,
    /// After the run, so that the wire can be asked.
    after: &'f dyn Fn(&Stage) -> CaseResult,
    /// Reasons of findings, of which at least one must be there.
    reasons: &'f [&'f str],
}

/// Plays a world with a fault. The wire is as the model says all the while, so that no contradiction is true; what is
/// confirmed is asked of the wire afterwards.
fn play(fault: &Fault<'_>) -> CaseResult {
    play_and_judge(fault, |_, _| Ok(()))
}

/// The same, with more that must hold of the report.
fn play_and_judge(
    fault: &Fault<'_>,
    more: impl FnOnce(&Stage, &Value) -> CaseResult,
) -> CaseResult {
    let stage = dialling::stage_with(fault.world, fault.flags)?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let mut kubelets = dialling::kubelets(&stage, plane)?;
    let reader = dialling::reader(plane)?;
    (fault.before)(&stage)?;
    count(&stage)?;
    let mut is_done = false;
    let (_, report) = verify(&stage, &mut kubelets, Some(&reader), || {
        if !is_done && has_begun(&stage, fault.begun)? {
            is_done = true;
            (fault.middle)(&stage, plane)?;
        }
        Ok(())
    })?;
    ensure(is_done, || "no API server connected".to_owned())?;
    drop(kubelets);
    (fault.after)(&stage)?;
    judge(&stage, &report, fault.reasons)?;
    more(&stage, &report)
}

/// Whether an API server has begun so many connections to a port of somebody.
fn has_begun(stage: &Stage, (port, least): (u16, usize)) -> Outcome<bool> {
    let begun = counted(stage)?.begun;
    let mut to_port = begun.iter().filter(|((_, _, to), _)| *to == port);
    Ok(to_port.any(|(_, count)| *count >= least))
}

/// Fails with a contradiction, with what the wire does not bear out, and where nothing noticed the fault.
fn judge(stage: &Stage, report: &Value, reasons: &[&str]) -> CaseResult {
    let dials = dialled(report)?;
    let contradicted: Vec<&Dialled> = dials
        .iter()
        .filter(|dial| dial.is_contradiction())
        .collect();
    ensure(contradicted.is_empty(), || {
        format!("contradictions: {contradicted:?}")
    })?;
    borne_out(stage, report)?;
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for dial in &dials {
        *counts.entry((&dial.kind, &dial.reason)).or_default() += 1;
    }
    println!("  {counts:?}: 0 false confirmed, 0 false contradictions");
    let noticed = dials
        .iter()
        .any(|dial| reasons.contains(&dial.reason.as_str()));
    ensure(noticed, || format!("nobody noticed: {counts:?}"))
}

fn nothing(_: &Stage) -> CaseResult {
    Ok(())
}

/// A world in which some dials stay silent, and the second attempt of one of them.
const SILENT: (&str, (u16, usize)) = ("webhooks", (8080, 2));

/// A world in which all are answered, and the first of them.
const ANSWERED: (&str, (u16, usize)) = ("default", (10_250, 1));

/// An API server is killed.
pub(crate) fn stopped() -> CaseResult {
    play(&Fault {
        world: &World::builtin(SILENT.0)?,
        flags: &[],
        begun: SILENT.1,
        before: &nothing,
        middle: &|_, plane| {
            let id = plane.process_id(SERVER).ok_or("no API server")?;
            Ok(kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGKILL)?)
        },
        after: &nothing,
        reasons: &["api-unreachable"],
    })
}

/// The right to ask is taken away.
pub(crate) fn forbidden() -> CaseResult {
    play(&Fault {
        world: &World::builtin(SILENT.0)?,
        flags: &[],
        begun: SILENT.1,
        before: &nothing,
        middle: &|_, plane| {
            for namespace in ["reachproof", "reachproof-host"] {
                let role = [
                    "--namespace",
                    namespace,
                    "delete",
                    "role",
                    "reachproof-dial",
                ];
                plane.run_kubectl(role)?;
            }
            Ok(())
        },
        after: &nothing,
        reasons: &["api-forbidden", "source-unheard"],
    })
}

/// Another API server of the cluster answers at an interface.
pub(crate) fn another() -> CaseResult {
    let fault = Fault {
        world: &World::builtin(ANSWERED.0)?,
        flags: &[],
        begun: ANSWERED.1,
        before: &|stage| {
            let (own, other) = (address(stage, SERVER)?, address(stage, "x-eni-a")?);
            // Where the coordinator is: whoever else calls the interface is led as ever.
            let lead = format!(
                "add table ip led\nadd chain ip led o {{ type nat hook output priority -100; }}\n\
                 add rule ip led o ip daddr {own} tcp dport 443 dnat to {other}"
            );
            Ok(reachproof_tests::play::nft(&lead)?)
        },
        middle: &|_, _| Ok(()),
        after: &|_| Ok(reachproof_tests::play::nft("delete table ip led")?),
        reasons: &["source-translated"],
    };
    play_and_judge(&fault, |_, report| {
        sends_from_the_interface(report, ClaimVerdict::Fails)
    })
}

/// A host takes an API server for another address.
pub(crate) fn translated() -> CaseResult {
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 2, 99));
    let hosts = ["node-1", "node-2", "web", "fargate-a", "fargate-b"];
    let fault = Fault {
        world: &World::builtin(ANSWERED.0)?,
        flags: &[],
        begun: ANSWERED.1,
        before: &|stage| {
            let own = address(stage, SERVER)?;
            let rules = format!(
                "add table ip taken\nadd chain ip taken i {{ type nat hook input priority 100; }}\n\
                 add rule ip taken i ip saddr {own} snat to {ELSEWHERE}"
            );
            hosts
                .iter()
                .try_for_each(|host| firewall(stage, host, &rules))
        },
        middle: &|_, _| Ok(()),
        after: &|stage| {
            let undo = "delete table ip taken";
            hosts
                .iter()
                .try_for_each(|host| firewall(stage, host, undo))
        },
        reasons: &["source-translated"],
    };
    play_and_judge(&fault, |_, report| {
        sends_from_the_interface(report, ClaimVerdict::Fails)
    })
}

/// The pod of an agent is deleted; its DaemonSet brings another.
pub(crate) fn deleted() -> CaseResult {
    play(&Fault {
        world: &World::builtin(SILENT.0)?,
        flags: &[],
        begun: SILENT.1,
        before: &nothing,
        middle: &|_, plane| {
            let host = [
                "--namespace",
                "reachproof-host",
                "delete",
                "pods",
                "--all",
                "--wait=false",
            ];
            plane.run_kubectl(host)?;
            Ok(())
        },
        after: &nothing,
        reasons: &["api-not-found", "target-unheard"],
    })
}

/// A proxy beside an API server answers in the place of whomever it is to reach, and no agent is of the class of a backend.
pub(crate) fn proxied() -> CaseResult {
    let mut world = World::builtin(SILENT.0)?;
    // The metrics API's own pod, and CoreDNS has none either.
    let host = world.hosts.get_mut("node-2").ok_or("no node-2")?;
    let pod = host.pods.get_mut("web-2").ok_or("no web-2")?;
    pod.agent = AgentPresence::None;
    let proxy = RefCell::new(None);
    let fault = Fault {
        world: &world,
        // Aggregated APIs are called at their endpoints, as nothing translates the addresses of services here.
        flags: &["--enable-aggregator-routing=true"],
        begun: (10_250, 1),
        before: &|stage| {
            let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
            signs::let_the_cluster_speak(stage, plane)?;
            let manner = Manner::Http;
            proxy.replace(Some(Decoy::start(stage, SERVER, &manner)?));
            let rules = format!(
                "add table inet proxy\nadd chain inet proxy o {{ type nat hook output priority -100; }}\n\
                 add rule inet proxy o ip daddr 10.0.0.0/16 tcp dport 1024-65535 redirect to :{DECOY_PORT}"
            );
            firewall(stage, SERVER, &rules)
        },
        middle: &|_, _| Ok(()),
        after: &|stage| firewall(stage, SERVER, "delete table inet proxy"),
        reasons: &["unproven", "api-throttled"],
    };
    play_and_judge(&fault, |stage, report| {
        let server = address(stage, SERVER)?;
        let dials = dialled(report)?;
        let own: Vec<&Dialled> = dials.iter().filter(|dial| dial.server == server).collect();
        let sure: Vec<&&Dialled> = own
            .iter()
            .filter(|dial| dial.kind != "inconclusive")
            .collect();
        ensure(sure.is_empty() && own.len() > 10, || {
            format!("behind the proxy: {sure:?} of {}", own.len())
        })?;
        println!(
            "  {} of {} dials behind the proxy inconclusive",
            own.len(),
            own.len()
        );
        untried(report)?;
        signs::are_named_and_decide_nothing(report)
    })
}

/// The aggregated API of whose class there is no agent is predicted from both interfaces, and its findings say why.
fn untried(report: &Value) -> CaseResult {
    let (name, subject) = ("control plane to API service", "v1beta1.metrics");
    let (state, met, predicted, broken) = expectation(report, name, subject)?;
    ensure(
        (state.as_str(), met, predicted, broken) == ("predicted", 0, 2, 0),
        || format!("{subject}: {state}, {met} met, {predicted} predicted, {broken} broken"),
    )?;
    let findings = report["findings"].as_array().into_iter().flatten();
    let reasons: Vec<&Value> = findings
        .filter(|finding| finding.pointer("/flow/port") == Some(&json!(4443)))
        .filter(|finding| finding["kind"] == "not_observed")
        .map(|finding| &finding["reason"])
        .collect();
    ensure(reasons == ["no-vantage-point", "no-vantage-point"], || {
        format!("why nobody tried {subject}: {reasons:?}")
    })?;
    println!("  {subject} predicted from 2 of 2 X-ENIs: no-vantage-point");
    Ok(())
}
