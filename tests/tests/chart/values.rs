//! Values: which are taken, and how each is told.

use std::collections::BTreeSet;
use std::fs;

use reachproof_tests::dialling::Outcome;
use reachproof_tests::harness::CaseResult;
use reachproof_tests::helm::Helm;
use serde_json::Value;

use super::{LEAST, RELEASE, helm, nothing, objects};

/// Sets of values that make a chart of each kind: name, and what stands beside what must be given.
pub(crate) const GOOD: [(&str, &str); 13] = [
    ("the least", ""),
    (
        "agents in the host network",
        "agent: {hostNetwork: {enabled: true}}\ncluster: {name: demo, region: eu-central-1}\n",
    ),
    (
        "Fargate profiles",
        "agent: {fargate: [{name: a, namespace: fargate, labels: {subnet: a}}, {name: b, namespace: fargate, labels: {subnet: b}}]}\n",
    ),
    (
        "Fargate alone",
        "cluster: {name: demo, fargateOnly: true}\ncoordinator: {persistence: {enabled: false}}\nagent: {fargate: [{name: a, namespace: fargate, labels: {subnet: a}}]}\n",
    ),
    (
        "security groups of pods",
        "agent: {securityGroups: [{name: db, groupIds: [sg-0123456789abcdef0]}]}\n",
    ),
    (
        "IPv6",
        "cluster: {name: demo, ipFamily: ipv6}\nvpcCidrs: [10.0.0.0/16, '2600:1f14::/56']\nserviceCidrs: ['fd00:ec2:0:0::/108']\n",
    ),
    (
        "an emptyDir and no schedule",
        "coordinator: {persistence: {enabled: false, size: 500Mi}}\nschedules: []\n",
    ),
    (
        "a claim and a Secret that are there",
        "coordinator: {existingSecret: mine, persistence: {existingClaim: mine, storageClass: gp3}}\n",
    ),
    (
        "a database, on Fargate alone",
        "cluster: {name: demo, fargateOnly: true}\ncoordinator: {database: {existingSecret: runs}}\nagent: {fargate: [{name: a, namespace: fargate, labels: {subnet: a}}]}\n",
    ),
    (
        "what watches it",
        "metrics: {dashboard: {enabled: true}, serviceMonitor: {enabled: true, labels: {release: prometheus}}, prometheusRule: {enabled: true}}\nalert: {url: 'https://hooks.example.com/x', form: slack}\n",
    ),
    (
        "a policy and a budget",
        "networkPolicy: {enabled: true, webFrom: [{namespaceSelector: {matchLabels: {team: network}}}]}\npodDisruptionBudget: {enabled: true}\n",
    ),
    (
        "images by digest, and IRSA",
        "image: {registry: registry.example/team, coordinatorDigest: 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef', pullSecrets: [pull], tag: '2'}\nserviceAccount: {annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::111122223333:role/reachproof'}}\n",
    ),
    (
        "whatever else",
        "fullnameOverride: probes\nserviceCidrs: [172.20.0.0/16]\nexpectations: |\n  apiVersion: reachproof/v1\n  kind: Expectations\n  expectations: []\nagent: {policy: {deny: [10.0.9.0/24], denyPorts: ['25']}, priorityClassName: system-node-critical, podAnnotations: {a: b}}\ncoordinator: {expect: 3, claims: false, webNames: [reachproof.example.com], extraEnv: [{name: A, value: b}], extraArgs: [--lab], nodeSelector: {a: b}, tolerations: [{operator: Exists}]}\n",
    ),
];

/// Values that are refused, each whole, and a word of what is said.
const WRONG: [(&str, &str); 23] = [
    ("{}", "cluster.name and vpcCidrs are required"),
    (
        "cluster: {name: demo}",
        "cluster.name and vpcCidrs are required",
    ),
    (
        "vpcCidrs: [10.0.0.0/16]",
        "cluster.name and vpcCidrs are required",
    ),
    ("clutser: {name: demo}", "clutser"),
    ("cluster: {nam: demo}", "nam"),
    ("cluster: {name: 7}", "cluster/name"),
    ("vpcCidrs: 10.0.0.0/16", "vpcCidrs"),
    ("vpcCidrs: [10.0.0.0]", "vpcCidrs/0"),
    ("vpcCidrs: [10.0.0.0/33]", "vpcCidrs/0"),
    ("cluster: {name: demo, ipFamily: dual}", "cluster/ipFamily"),
    ("image: {pullPolicy: Sometimes}", "image/pullPolicy"),
    ("image: {agentDigest: 'sha256:12'}", "image/agentDigest"),
    ("coordinator: {keepRuns: 0}", "coordinator/keepRuns"),
    ("coordinator: {wait: soon}", "coordinator/wait"),
    ("coordinator: {replicas: 2}", "replicas"),
    (
        "coordinator: {database: {url: 'postgres://db/runs'}}",
        "url",
    ),
    ("agent: {resources: {limits: {cpu: 1}}}", "cpu"),
    ("agent: {fargate: [{name: a, namespace: b}]}", "labels"),
    (
        "agent: {securityGroups: [{name: a, groupIds: []}]}",
        "groupIds",
    ),
    (
        "schedules: [{name: a, cron: '* * * * *', every: 5m}]",
        "schedules/0",
    ),
    (
        "cluster: {name: demo}\nvpcCidrs: [10.0.0.0/16]\ncoordinator: {persistence: {storageClass: efs-sc}}",
        "coordinator.persistence.storageClass: `efs-sc` is EFS",
    ),
    (
        "cluster: {name: demo, fargateOnly: true}\nvpcCidrs: [10.0.0.0/16]",
        "coordinator.persistence.enabled=false",
    ),
    (
        "cluster: {name: demo, fargateOnly: true}\nvpcCidrs: [10.0.0.0/16]\ncoordinator: {persistence: {enabled: false}}",
        "list a pod for each profile and subnet in agent.fargate",
    ),
];

/// Functions of templates that give something else each time, or ask a cluster.
const DRAWING: [&str; 8] = [
    "genCA",
    "genSelf",
    "genSigned",
    "genPrivateKey",
    "lookup ",
    "rand",
    "uuidv4",
    "now ",
];

pub(crate) fn are_rendered_alike() -> CaseResult {
    let helm = helm()?;
    for (name, values) in GOOD {
        let values = whole(values);
        let render = || helm.render(RELEASE, &values, &["--include-crds"]);
        let (first, second) = (render()?, render()?);
        if !first.is_done || first.text != second.text {
            return Err(format!("{name}: {}", first.said).into());
        }
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(Helm::chart().join("templates"))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let drawn = DRAWING.iter().filter(|word| text.contains(**word));
        found.extend(drawn.map(|word| format!("{}: {word}", path.display())));
    }
    nothing(&found)?;
    println!("  {} sets of values, twice each", GOOD.len());
    Ok(())
}

/// Values with what must be given, where they do not say it themselves.
pub(crate) fn whole(values: &str) -> String {
    let mut text = String::new();
    for line in LEAST.lines() {
        let key = line.split(':').next().unwrap_or_default();
        if !values
            .lines()
            .any(|line| line.starts_with(&format!("{key}:")))
        {
            text.push_str(line);
            text.push('\n');
        }
    }
    text + values
}

pub(crate) fn wrong_ones_are_refused() -> CaseResult {
    let helm = helm()?;
    let mut found = Vec::new();
    for (values, told) in WRONG {
        let rendered = helm.render(RELEASE, values, &[])?;
        if rendered.is_done || !rendered.said.contains(told) {
            found.push(format!(
                "`{values}` is not refused with `{told}`: {}",
                rendered.said
            ));
        }
    }
    nothing(&found)?;
    println!("  {} files refused", WRONG.len());
    Ok(())
}

pub(crate) fn versions_are_taken() -> CaseResult {
    let helm = helm()?;
    for minor in 30..=36 {
        let version = format!("1.{minor}.0");
        let rendered = helm.render(RELEASE, LEAST, &["--kube-version", &version])?;
        if !rendered.is_done {
            return Err(rendered.said.into());
        }
    }
    let old = helm.render(RELEASE, LEAST, &["--kube-version", "1.29.0"])?;
    if old.is_done {
        return Err("1.29 is taken".into());
    }
    Ok(())
}

/// The paths of all values, of which the schema, the comments and the defaults must each have all.
pub(crate) fn every_one_is_explained() -> CaseResult {
    let chart = Helm::chart();
    let text = fs::read_to_string(chart.join("values.yaml"))?;
    let values: Value = yaml_serde::from_str(&text)?;
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(chart.join("values.schema.json"))?)?;
    let mut found = Vec::new();
    open(&schema, "", &mut found);
    let (mut defaults, mut known) = (BTreeSet::new(), BTreeSet::new());
    leaves(&values, &schema, "", &mut defaults);
    properties(&schema, "", &mut known);
    known.remove("global");
    let explained = text.lines().filter_map(|line| {
        let (path, _) = line.trim().strip_prefix("# ")?.split_once(" -- ")?;
        Some(path.to_owned())
    });
    let explained: BTreeSet<String> = explained.collect();
    for (one, other, what) in [
        (&defaults, &explained, "is not explained"),
        (&explained, &defaults, "is explained and no value"),
        (&defaults, &known, "is not in the schema"),
        (&known, &defaults, "is in the schema and no value"),
    ] {
        found.extend(one.difference(other).map(|path| format!("`{path}` {what}")));
    }
    nothing(&found)?;
    objects("")?;
    println!(
        "  {} values, each explained and in the schema",
        defaults.len()
    );
    Ok(())
}

/// Values that are not maps with known keys, by their paths.
fn leaves(value: &Value, schema: &Value, path: &str, all: &mut BTreeSet<String>) {
    match (value, schema.get("properties")) {
        (Value::Object(fields), Some(known)) if path.is_empty() || !is_leaf(path) => {
            for (name, value) in fields {
                let schema = known.get(name).unwrap_or(&Value::Null);
                leaves(value, schema, &joined(path, name), all);
            }
        }
        _ => {
            all.insert(path.to_owned());
        }
    }
}

/// The same of the schema.
fn properties(schema: &Value, path: &str, all: &mut BTreeSet<String>) {
    match schema.get("properties").and_then(Value::as_object) {
        Some(known) if !is_leaf(path) => {
            for (name, schema) in known {
                properties(schema, &joined(path, name), all);
            }
        }
        Some(_) | None => {
            all.insert(path.to_owned());
        }
    }
}

/// What is explained as a whole though it has keys of its own.
fn is_leaf(path: &str) -> bool {
    path.ends_with(".resources")
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Objects of the schema that take keys that they do not know.
fn open(schema: &Value, path: &str, found: &mut Vec<String>) {
    let fields = match schema {
        Value::Array(items) => {
            return items.iter().for_each(|item| open(item, path, found));
        }
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
    };
    if fields.contains_key("properties")
        && fields.contains_key("type")
        && fields.get("additionalProperties") != Some(&Value::Bool(false))
    {
        found.push(format!("`{path}` takes unknown keys"));
    }
    for (name, value) in fields {
        open(value, &format!("{path}/{name}"), found);
    }
}

/// The objects of a set of values.
pub(crate) fn rendered(values: &str) -> Outcome<Vec<Value>> {
    let rendered = helm()?.render(RELEASE, &whole(values), &[])?;
    rendered.objects(|text| Ok(yaml_serde::from_str(text)?))
}
