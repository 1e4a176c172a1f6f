//! What the right to ask for connections changes, and what it does not.

use std::collections::BTreeSet;

use reachproof_lab::kubernetes::ControlPlane;
use reachproof_lab::world::{BUILTIN, World};
use reachproof_model::claim::ClaimVerdict;
use reachproof_tests::counters::{count, counted};
use reachproof_tests::dialling::{self, Dialled, Outcome, dialled, miscounted, verify};
use reachproof_tests::harness::CaseResult;
use reachproof_tests::stage::Stage;
use serde_json::Value;

use crate::{ensure, expectation, sends_from_the_interface};

pub(crate) fn rights() -> CaseResult {
    without_the_right(&with_the_right()?)
}

/// Returns what agents find where API servers are asked, too.
fn with_the_right() -> Outcome<BTreeSet<String>> {
    let stage = dialling::stage(&World::builtin("default")?)?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let mut kubelets = dialling::kubelets(&stage, plane)?;
    let reader = dialling::reader(plane)?;
    count(&stage)?;
    let (exit, report) = verify(&stage, &mut kubelets, Some(&reader), || Ok(()))?;
    let dials = dialled(&report)?;
    let (state, met, predicted, _) = expectation(&report, "control plane to kubelet 10250", "")?;
    ensure(
        (exit, state.as_str(), met, predicted) == (0, "met", 8, 0),
        || format!("exit {exit}: kubelets {state}, {met} met, {predicted} predicted: {dials:?}"),
    )?;
    let proven = dials
        .iter()
        .filter(|dial| dial.strength == "proven")
        .count();
    ensure(proven == dials.len(), || {
        format!("not all proven: {dials:?}")
    })?;
    let wrong = miscounted(&dials, &counted(&stage)?);
    ensure(wrong.is_empty(), || wrong.join("\n"))?;
    println!(
        "  kubelet 10250 met for {met} of {met} flows from 2 X-ENIs, {predicted} predicted; {} of {} dials as the kernel counted",
        dials.len(),
        dials.len()
    );

    sends_from_the_interface(&report, ClaimVerdict::Holds)?;
    kubelets_serve_logs(&stage, plane, &dials)?;
    Ok(of_agents(&report))
}

/// Every kubelet gives an API server the log of an agent that it runs, over TLS, and nothing to whoever shows no certificate.
fn kubelets_serve_logs(stage: &Stage, plane: &ControlPlane, dials: &[Dialled]) -> CaseResult {
    let pods = plane.run_kubectl(["get", "pods", "--all-namespaces", "--output", "json"])?;
    let pods: Value = serde_json::from_str(&pods)?;
    let text = |pod: &Value, pointer: &str| {
        let text = pod.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let mut served = 0;
    let kubelets: BTreeSet<String> = dials
        .iter()
        .filter(|dial| dial.port == 10_250)
        .map(|dial| dial.target.to_string())
        .collect();
    let pods = pods.get("items").and_then(Value::as_array);
    for pod in pods.into_iter().flatten() {
        let (namespace, name) = (
            text(pod, "/metadata/namespace"),
            text(pod, "/metadata/name"),
        );
        if !name.starts_with("reachproof-agent") || text(pod, "/status/podIP").is_empty() {
            continue;
        }
        let log = plane.run_kubectl(["--namespace", &namespace, "logs", &name])?;
        let own = std::fs::read_to_string(stage.log(&name))?;
        ensure(log == own && !own.is_empty(), || {
            format!("{name}: {log:?}, not {own:?}")
        })?;
        served += 1;
        if kubelets.contains(&text(pod, "/status/podIP")) {
            let port = format!("/api/v1/namespaces/{namespace}/pods/https:{name}:10250/proxy/pods");
            let refused = plane.run_kubectl(["get", "--raw", &port]);
            let said = refused
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            ensure(
                said.contains("asked for the client to provide credentials"),
                || format!("without a certificate: {said}"),
            )?;
        }
    }
    println!(
        "  {served} logs of agents through kubelets of {} nodes",
        kubelets.len()
    );
    ensure(served == 5, || format!("{served} logs"))
}

/// Every world twice, with the right and without: agents find the same.
pub(crate) fn every_world() -> CaseResult {
    let mut all = 0;
    for builtin in BUILTIN {
        let world = World::builtin(builtin.name)?;
        let found = |right| agents_find(&world, right);
        let (with, without) = (found(Right::Held)?, found(Right::Taken)?);
        let changed: Vec<_> = with.symmetric_difference(&without).collect();
        ensure(changed.is_empty(), || {
            format!("{}: agents find otherwise: {changed:#?}", builtin.name)
        })?;
        println!(
            "  {}: {} findings of agents as before",
            builtin.name,
            with.len()
        );
        all += with.len();
    }
    println!(
        "  without the right {all} of {all} findings of agents in {} worlds as before",
        BUILTIN.len()
    );
    ensure(all > 0, || "agents found nothing".to_owned())
}

/// Whether the account of a run may ask API servers to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    Held,
    Taken,
}

/// What agents find in a world.
fn agents_find(world: &World, right: Right) -> Outcome<BTreeSet<String>> {
    let stage = dialling::stage(world)?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let mut kubelets = dialling::kubelets(&stage, plane)?;
    let reader = dialling::reader(plane)?;
    if right == Right::Taken {
        take_the_right(plane)?;
    }
    let (_, report) = verify(&stage, &mut kubelets, Some(&reader), || Ok(()))?;
    let dials = dialled(&report)?.len();
    ensure((right == Right::Held) == (dials > 0), || {
        format!("{}: {right:?}, and {dials} dials", world.about)
    })?;
    Ok(of_agents(&report))
}

/// Deletes the roles that let the account ask; a world without Fargate has none there.
fn take_the_right(plane: &ControlPlane) -> CaseResult {
    for namespace in ["reachproof", "reachproof-host", "fargate"] {
        let role = ["delete", "role", "reachproof-dial", "--ignore-not-found"];
        plane.run_kubectl(["--namespace", namespace].iter().chain(&role))?;
    }
    Ok(())
}

/// The same world without the right: agents find what they found.
fn without_the_right(with: &BTreeSet<String>) -> CaseResult {
    let stage = dialling::stage(&World::builtin("default")?)?;
    let plane = stage.kubernetes().ok_or("the stage has no control plane")?;
    let mut kubelets = dialling::kubelets(&stage, plane)?;
    let reader = dialling::reader(plane)?;
    take_the_right(plane)?;
    let (exit, report) = verify(&stage, &mut kubelets, Some(&reader), || Ok(()))?;
    let (state, met, predicted, _) = expectation(&report, "control plane to kubelet 10250", "")?;
    ensure(
        (exit, state.as_str(), met, predicted) == (0, "predicted", 0, 8),
        || {
            format!(
                "exit {exit} without rights: kubelets {state}, {met} met, {predicted} predicted"
            )
        },
    )?;
    let notes = report.pointer("/control_plane/notes");
    let notes = notes.map(Value::to_string).unwrap_or_default();
    ensure(
        notes.contains("pods/proxy") && dialled(&report)?.is_empty(),
        || format!("without rights: {notes}"),
    )?;
    let without = of_agents(&report);
    let same = with.intersection(&without).count();
    ensure(same == with.len() && same == without.len(), || {
        let changed: Vec<_> = with.symmetric_difference(&without).collect();
        format!(
            "{same} of {} findings of agents are the same: {changed:#?}",
            with.len()
        )
    })?;
    println!(
        "  without the right: predicted, {same} of {} findings of agents as before",
        with.len()
    );
    Ok(())
}

/// Finding kinds of agents, which nothing that concerns API servers may change.
fn of_agents(report: &Value) -> BTreeSet<String> {
    let all = report["findings"].as_array().into_iter().flatten();
    let own = all.filter(|finding| finding.get("source_control_plane").is_none());
    let tried = own.filter(|finding| finding["kind"] != "not_observed");
    tried
        .map(|finding| {
            let flow = &finding["flow"];
            format!(
                "{} -> {} {} {} {} {}",
                flow["source"],
                flow["destination"],
                flow["protocol"],
                flow["port"],
                finding["kind"],
                finding["reason"]
            )
        })
        .collect()
}
