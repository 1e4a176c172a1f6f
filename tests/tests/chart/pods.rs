//! What is in the templates of pods.

use std::path::Path;
use std::process::Command;

use reachproof_agent::policy::Policy;
use reachproof_tests::binaries::binary;
use reachproof_tests::dialling::Outcome;
use reachproof_tests::harness::{CaseResult, explain};
use serde_json::{Map, Value, json};

use super::values::{GOOD, rendered};
use super::{nothing, objects, of_kind};

/// What a run by hand is told, and the chart likewise.
const VALUES: &str = "agent: {hostNetwork: {enabled: true}, fargate: [{name: '1', namespace: fargate, labels: {subnet: a}}]}\n";

/// Volumes that the Pod Security Standard *restricted* lets in.
const VOLUMES: [&str; 6] = [
    "configMap",
    "downwardAPI",
    "emptyDir",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(crate) fn are_those_of_manifests() -> CaseResult {
    let of_chart = workloads(&objects(VALUES)?);
    let of_manifests = workloads(&manifests()?);
    let mut found = Vec::new();
    for (name, template) in &of_manifests {
        match of_chart.get(name) {
            None => found.push(format!("the chart has no {name}")),
            Some(other) => differences(name, template, other, &mut found),
        }
    }
    nothing(&found)?;
    println!(
        "  {} templates of pods, the same in both",
        of_manifests.len()
    );
    Ok(())
}

/// What `reachproof manifests` prints for the Service of the chart.
fn manifests() -> Outcome<Vec<Value>> {
    let home = tempfile::tempdir()?;
    let world = home.path().join("world.json");
    let vpcs = json!({"Vpcs": [{"VpcId": "vpc-1", "CidrBlockAssociationSet": [
        {"CidrBlock": "10.0.0.0/16", "CidrBlockState": {"State": "associated"}}]}]});
    let snapshot = json!({
        "describe-cluster": {"cluster": {"name": "demo"}},
        "describe-vpcs": vpcs,
        "describe-subnets": {"Subnets": []},
        "describe-network-interfaces": {"NetworkInterfaces": []},
        "describe-security-groups": {"SecurityGroups": []},
        "describe-route-tables": {"RouteTables": []},
        "describe-network-acls": {"NetworkAcls": []},
    });
    std::fs::write(&world, snapshot.to_string())?;
    let output = Command::new(binary("reachproof")?)
        .arg("manifests")
        .arg("--snapshot")
        .arg(&world)
        .args(["--image", "ghcr.io/reachproof/reachproof-agent:0.1.0"])
        .args([
            "--coordinator",
            "reachproof-coordinator.reachproof.svc:7443",
        ])
        .args(["--host-network", "--fargate", "fargate/subnet=a"])
        .args(["--tokens", "reviewed", "--credentials"])
        .arg(home.path().join("credentials"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let text = String::from_utf8(output.stdout)?;
    text.split("\n---\n")
        .map(|document| Ok(yaml_serde::from_str(document)?))
        .collect()
}

/// Templates of pods by kind, namespace and name of who makes them.
fn workloads(objects: &[Value]) -> Map<String, Value> {
    let kinds = ["DaemonSet", "Deployment", "CronJob"];
    let kinds = kinds.iter().flat_map(|kind| of_kind(objects, kind));
    let named = kinds.map(|object| {
        let text = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let name = format!(
            "{} {}/{}",
            text("/kind"),
            text("/metadata/namespace"),
            text("/metadata/name")
        );
        let template = object.pointer("/spec/template");
        let template = template.or_else(|| object.pointer("/spec/jobTemplate/spec/template"));
        (name, template.cloned().unwrap_or_default())
    });
    named.collect()
}

/// Fields that differ, but for what the chart has in two objects and manifests in one: the ConfigMap with CA and policy.
fn differences(name: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    let plain = |template: &Value| {
        let mut template = template.clone();
        if let Some(container) = template.pointer_mut("/spec/containers/0")
            && let Some(fields) = container.as_object_mut()
        {
            // The default where an image has a tag.
            fields.remove("imagePullPolicy");
        }
        if let Some(settings) = template.pointer_mut("/spec/volumes/0") {
            *settings = json!({"name": settings["name"]});
        }
        template
    };
    walk(name, &plain(one), &plain(other), found);
}

fn walk(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one
                .keys()
                .chain(other.keys().filter(|key| !one.contains_key(*key)))
            {
                let of = |fields: &Map<String, Value>| fields.get(key).cloned().unwrap_or_default();
                walk(&format!("{path}/{key}"), &of(one), &of(other), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (place, (one, other)) in one.iter().zip(other).enumerate() {
                walk(&format!("{path}/{place}"), one, other, found);
            }
        }
        (one, other) if one == other => {}
        (one, other) => found.push(format!("{path}: manifests {one}, chart {other}")),
    }
}

/// The agent's own reader takes every policy, and what is denied in it is.
pub(crate) fn understand_their_policy() -> CaseResult {
    let mut count = 0;
    for (name, values) in GOOD {
        let objects = rendered(values)?;
        let texts = of_kind(&objects, "ConfigMap")
            .filter_map(|object| object.pointer("/data/policy.yaml").and_then(Value::as_str));
        for text in texts {
            let policy = Policy::parse(Path::new("policy.yaml"), text);
            let policy = policy.map_err(|error| format!("{name}: {}", explain(&error)))?;
            policy.check("10.0.1.1:443".parse()?)?;
            if policy.check("192.0.2.1:443".parse()?).is_ok() {
                return Err(format!("{name}: an address outside the VPC is allowed").into());
            }
            count += 1;
        }
    }
    println!("  {count} policies");
    Ok(())
}

pub(crate) fn are_restricted() -> CaseResult {
    let (mut found, mut count) = (Vec::new(), 0);
    for (name, values) in GOOD {
        let objects = rendered(values)?;
        let mut pods = workloads(&objects);
        for pod in of_kind(&objects, "Pod") {
            pods.insert("Pod".to_owned(), pod.clone());
        }
        for (workload, template) in &pods {
            let spec = &template["spec"];
            let mut broken = violations(spec);
            if spec["hostNetwork"] == true {
                // That and nothing else, in a namespace of its own.
                broken.retain(|what| what != "hostNetwork");
                if !workload.contains(" reachproof-host/") {
                    broken.push("the host network in a namespace of others".to_owned());
                }
            }
            found.extend(
                broken
                    .into_iter()
                    .map(|what| format!("{name}: {workload}: {what}")),
            );
            count += 1;
        }
    }
    nothing(&found)?;
    println!("  {count} templates of pods, 0 violations");
    Ok(())
}

/// What breaks the standard *restricted*, and the rules of this project beside it.
fn violations(spec: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    let mut demand = |is_so: bool, what: &str| {
        if !is_so {
            broken.push(what.to_owned());
        }
    };
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        demand(spec.get(field).is_none(), field);
    }
    let pod = &spec["securityContext"];
    demand(pod["runAsNonRoot"] == true, "runAsNonRoot");
    demand(
        pod["runAsUser"].as_u64().is_some_and(|user| user > 0),
        "runAsUser",
    );
    demand(
        pod["seccompProfile"]["type"] == "RuntimeDefault",
        "seccompProfile",
    );
    let list = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let containers = [list(&spec["initContainers"]), list(&spec["containers"])].concat();
    demand(!containers.is_empty(), "containers");
    for container in &containers {
        let context = &container["securityContext"];
        demand(
            context["allowPrivilegeEscalation"] == false,
            "allowPrivilegeEscalation",
        );
        demand(
            context["readOnlyRootFilesystem"] == true,
            "readOnlyRootFilesystem",
        );
        demand(
            context["capabilities"] == json!({"drop": ["ALL"]}),
            "capabilities",
        );
        demand(context.get("privileged").is_none(), "privileged");
        demand(
            container["resources"]["limits"]["memory"].is_string(),
            "a limit of memory",
        );
        let is_agent = container["name"] == "agent";
        demand(
            !is_agent || container["resources"]["limits"].get("cpu").is_none(),
            "no limit of cpu",
        );
        let ports = list(&container["ports"]);
        demand(
            ports.iter().all(|port| port.get("hostPort").is_none()),
            "hostPort",
        );
    }
    for volume in list(&spec["volumes"]) {
        let kinds = volume
            .as_object()
            .into_iter()
            .flat_map(|fields| fields.keys());
        let mut kinds = kinds.filter(|kind| *kind != "name");
        demand(
            kinds.all(|kind| VOLUMES.contains(&kind.as_str())),
            "volumes",
        );
    }
    broken
}
