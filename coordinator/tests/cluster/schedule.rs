//! `reachproof manifests --schedule` on a cluster: the CronJob's own command in a pod of its Job, with the token of its account,
//! before a rule is revoked, while it is, and after.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

use reachproof_lab::kubernetes::ControlPlane;
use reachproof_lab::world::{AgentPlace, World as LabWorld};
use reachproof_tests::binaries::binary;
use reachproof_tests::deployment;
use reachproof_tests::harness::CaseResult;
use reachproof_tests::job::{Ended, JobNode};
use reachproof_tests::kubelet::{Kubelets, make_room};
use reachproof_tests::stage::{Pods, Stage};
use serde_json::Value;

use super::{HOST, Live, Outcome, reachproof};
use crate::world::World;

/// What the cluster needs, rule by rule, so that one can be revoked.
pub const RULES: [&str; 6] = [
    "tcp 443 from cluster",
    "tcp 10250 from cluster",
    "tcp 53 from cluster",
    "udp 53 from cluster",
    "tcp 7500-7509 from cluster",
    "tcp 7443 from 10.0.0.0/16",
];

/// That which is revoked.
const REVOKED: &str = "tcp 53 from cluster";

/// Namespace and name of the CronJob.
const SCHEDULE: (&str, &str) = ("reachproof", "reachproof-verify");

/// How many reports are kept: one fewer than there are runs.
const KEPT: &str = "2";

/// The default world with `rules` for the cluster group.
pub fn lab_world(rules: &[&str]) -> Outcome<LabWorld> {
    let mut world = LabWorld::builtin("default")?;
    world.coordinator = Some(HOST.to_owned());
    let cluster = world.security_groups.get_mut("cluster");
    let rules = rules.iter().map(|rule| (*rule).to_owned().try_into());
    cluster.ok_or("the world has no cluster group")?.ingress = rules.collect::<Result<_, _>>()?;
    make_room(&mut world);
    Ok(world)
}

pub fn a_schedule_tells_of_a_revoked_rule_by_history_event_and_job() -> CaseResult {
    let live = Live::of(lab_world(&RULES)?, Pods::WithoutAgents)?;
    let plane = live.stage.kubernetes().ok_or("no control plane")?;
    deployment::mark_fargate_pods(&live.stage, plane)?;
    let manifests = manifests(&live)?;
    let mut kubelets = Kubelets::new(&live.stage, plane, binary("reachproof-agent")?);
    let address = live.stage.control_address()?.ip();
    kubelets.resolve("reachproof-coordinator.reachproof.svc", address);
    let files = ["ca.crt", "ca.key", "token.key"];
    let files = files.map(|file| {
        format!(
            "--from-file={}",
            live.stage.credentials().join(file).display()
        )
    });
    deployment::apply(&live.stage, plane, &manifests, &mut kubelets)?;
    let secret = [
        "--namespace",
        "reachproof",
        "create",
        "secret",
        "generic",
        "reachproof-coordinator",
    ];
    plane.run_kubectl(secret.into_iter().chain(files.iter().map(String::as_str)))?;
    rights_are_narrow(plane)?;
    take_new_nodes(plane)?;

    let node = JobNode {
        stage: &live.stage,
        plane,
        place: (HOST, address),
        program: reachproof().to_owned(),
        environment: aws(&live),
        hosts: String::new(),
    };
    let mut run = |name: &str| node.run((SCHEDULE.0, SCHEDULE.1, name), &mut kubelets);
    let first = run("first")?;
    ended(&first, 0, ("Complete", ""))?;
    let without: Vec<&str> = RULES.into_iter().filter(|rule| *rule != REVOKED).collect();
    change(&live, &without)?;
    let second = run("second")?;
    ended(&second, 1, ("Failed", "exit code 1"))?;
    change(&live, &RULES)?;
    let third = run("third")?;
    ended(&third, 0, ("Complete", ""))?;
    drop(kubelets);

    let kept = history(&live, &["-o", "json"])?;
    let kept: Vec<Value> = String::from_utf8(kept.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let verdicts: Vec<_> = kept
        .iter()
        .map(|one| (&one["verdict"], &one["exit"]))
        .collect();
    assert_eq!(
        verdicts,
        [(&"PASS".into(), &0.into()), (&"FAIL".into(), &1.into())],
        "{kept:?}"
    );
    let failed = kept[1]["run"].as_str().ok_or("no name")?;
    let report = history(&live, &[failed, "-o", "json"])?;
    assert_eq!(report.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&report.stdout)?;
    assert_eq!(report["run"]["id"], failed);
    assert!(
        report["snapshot"]["content"].is_object(),
        "nothing was left out"
    );
    assert!(
        report["causes"].to_string().contains("53"),
        "{}",
        report["causes"]
    );
    events(plane, failed)?;
    println!(
        "  3 Jobs, exit codes 0, 1, 0; 2 reports kept, 2 Events: {}",
        kept[1]["why"]
    );
    Ok(())
}

/// Admission marks a new node as not ready; the controller that takes this back needs kubelets that report.
pub fn take_new_nodes(plane: &ControlPlane) -> CaseResult {
    let ready = [
        "taint",
        "nodes",
        "--selector=eks.amazonaws.com/compute-type=ec2",
        "node.kubernetes.io/not-ready:NoSchedule-",
    ];
    plane.run_kubectl(ready)?;
    Ok(())
}

/// Writes what the command prints for the cluster to a file.
fn manifests(live: &Live) -> Outcome<PathBuf> {
    let mut command = live.command("manifests")?;
    command
        .args(["--image", "registry.example/reachproof-agent:1"])
        .args(["--coordinator-image", "registry.example/reachproof:1"])
        .args(["--schedule", "0 0 1 1 *", "--keep", KEPT])
        .arg("--credentials")
        .arg(live.stage.credentials());
    let places = live.stage.expanded.agents.iter();
    for place in places.filter(|place| is_fargate(place)) {
        command.args(["--fargate", &format!("fargate/place={}", place.endpoint)]);
    }
    command.args([
        "--",
        "--region",
        "us-east-1",
        "--settle",
        "1s",
        "--color",
        "never",
    ]);
    let output = command.output()?;
    assert!(output.status.success(), "{}", said(&output));
    let path = live.stage.log("manifests");
    fs::write(&path, output.stdout)?;
    Ok(path)
}

pub fn is_fargate(place: &AgentPlace) -> bool {
    place.kind == reachproof_lab::EndpointKind::Fargate
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What EKS Pod Identity gives to a pod, as far as the SDK needs it to reach the replay server.
pub fn aws(live: &Live) -> Vec<(String, String)> {
    let url = format!("http://{}", live.replay.address());
    [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// Changes what the wire does and what AWS answers.
pub fn change(live: &Live, rules: &[&str]) -> CaseResult {
    let stage: &Stage = &live.stage;
    stage.change(&lab_world(rules)?.expand()?)?;
    let snapshot: Value = serde_json::from_str(&fs::read_to_string(stage.snapshot())?)?;
    let snapshot = snapshot.as_object().ok_or("no snapshot")?.clone();
    live.replay.replace(World(snapshot));
    Ok(())
}

pub fn ended(ended: &Ended, exit: i32, (kind, message): (&str, &str)) -> CaseResult {
    let job = &ended.condition;
    if ended.exit == Some(exit) && job.0 == kind && job.1.contains(message) {
        return Ok(());
    }
    Err(format!(
        "wanted {exit}, {kind}, `{message}`: {job:?}, exit {:?}\n{}\n{}",
        ended.exit, ended.said, ended.printed
    )
    .into())
}

/// Runs `reachproof history` as an administrator.
fn history(live: &Live, arguments: &[&str]) -> Outcome<Output> {
    let plane = live.stage.kubernetes().ok_or("no control plane")?;
    let front = plane.fronts().first().ok_or("no API server")?;
    let kubeconfig = plane.admin_kubeconfig(&front.name).ok_or("no kubeconfig")?;
    let mut command = live.stage.coordinator_command(reachproof())?;
    command.arg("history").args(arguments).env_clear();
    let output = command.arg("--kubeconfig").arg(kubeconfig).output()?;
    assert!(!output.stdout.is_empty(), "{}", said(&output));
    Ok(output)
}

/// The account of the CronJob may not touch what agents are told, nor read its own keys.
fn rights_are_narrow(plane: &ControlPlane) -> CaseResult {
    let account = "--as=system:serviceaccount:reachproof:reachproof-coordinator";
    for (verb, what, namespace, may) in [
        ("create", "configmaps", "reachproof-history", "yes"),
        ("create", "configmaps", "reachproof", "no"),
        ("delete", "configmaps", "reachproof", "no"),
        ("get", "secrets", "reachproof", "no"),
        ("update", "cronjobs", "reachproof", "no"),
    ] {
        let words = [
            "auth",
            "can-i",
            verb,
            what,
            "--namespace",
            namespace,
            account,
        ];
        let mut command = plane.kubectl()?;
        let output = command.args(words.map(OsStr::new)).output()?;
        let answer = String::from_utf8_lossy(&output.stdout);
        assert_eq!(answer.trim(), may, "{words:?}: {}", said(&output));
    }
    Ok(())
}

/// An Event for each change of the verdict, about the CronJob that is there.
fn events(plane: &ControlPlane, failed: &str) -> CaseResult {
    let of = ["--namespace", SCHEDULE.0, "get"];
    let uid = plane.run_kubectl(of.into_iter().chain([
        "cronjob",
        SCHEDULE.1,
        "--output=jsonpath={.metadata.uid}",
    ]))?;
    let words = [
        "events",
        "--field-selector=reason=VerdictChanged",
        "--output=json",
    ];
    let listed: Value = serde_json::from_str(&plane.run_kubectl(of.into_iter().chain(words))?)?;
    let mut found: Vec<(String, String)> = Vec::new();
    for event in listed["items"].as_array().into_iter().flatten() {
        assert_eq!(event["involvedObject"]["uid"], uid.trim(), "{event}");
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        found.push((text("type"), text("message")));
    }
    found.sort();
    let begins = ["PASS after FAIL in ", "FAIL after PASS in "];
    assert_eq!(found.len(), 2, "{found:?}");
    for ((kind, message), (wanted, begin)) in found
        .iter()
        .zip(["Normal", "Warning"].into_iter().zip(begins))
    {
        assert_eq!(kind, wanted);
        assert!(
            message.starts_with(begin) && message.contains(failed),
            "{message}"
        );
    }
    Ok(())
}
