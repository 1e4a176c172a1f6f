//! Who may do what in the cluster, and who is told.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use reachproof_kube::access::{Account, Right, Scope};
use reachproof_tests::harness::CaseResult;
use serde_json::Value;

use super::{nothing, objects, of_kind};

/// Values with agents in three namespaces.
const VALUES: &str = "agent: {hostNetwork: {enabled: true}, fargate: [{name: a, namespace: fargate, labels: {subnet: a}}]}\n";

/// Rights beside those of a coordinator anywhere: where, object and verbs.
const OWN: [(&str, &str); 9] = [
    ("fargate", "configmaps reachproof-ca: get, update"),
    ("fargate", "pods/proxy: get"),
    ("reachproof", "configmaps reachproof-ca: get, update"),
    ("reachproof", "configmaps reachproof-report: get, update"),
    ("reachproof", "pods/log: get"),
    ("reachproof", "pods/proxy: get"),
    ("reachproof", "secrets reachproof-credentials: get, update"),
    ("reachproof-host", "configmaps reachproof-ca: get, update"),
    ("reachproof-host", "pods/proxy: get"),
];

pub(crate) fn are_these() -> CaseResult {
    let objects = objects(VALUES)?;
    let mut granted = BTreeSet::new();
    for kind in ["ClusterRole", "Role"] {
        for role in of_kind(&objects, kind) {
            let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default();
            for rule in role["rules"].as_array().into_iter().flatten() {
                granted.extend(lines(rule).map(|line| (namespace.to_owned(), line)));
            }
        }
    }
    let own = OWN.map(|(namespace, line)| (namespace.to_owned(), line.to_owned()));
    let needed: BTreeSet<_> = Account::Coordinator
        .rights()
        .iter()
        .map(needed)
        .chain(own)
        .collect();
    let mut found: Vec<String> = Vec::new();
    let extra = granted.difference(&needed);
    found.extend(extra.map(|right| format!("granted and not needed: {right:?}")));
    let missing = needed.difference(&granted);
    found.extend(missing.map(|right| format!("needed and not granted: {right:?}")));
    // Every binding is of the coordinator's account alone, and no agent has a role.
    for kind in ["ClusterRoleBinding", "RoleBinding"] {
        for binding in of_kind(&objects, kind) {
            let subject = &binding["subjects"][0]["name"];
            if subject != "reachproof-coordinator" || binding["subjects"][1] != Value::Null {
                found.push(format!("a binding of somebody else: {binding}"));
            }
        }
    }
    let off = super::objects("rbac: {create: false}\n")?;
    if of_kind(&off, "Role")
        .chain(of_kind(&off, "ClusterRole"))
        .next()
        .is_some()
    {
        found.push("roles without rbac.create".to_owned());
    }
    nothing(&found)?;
    println!("  {} rights, each of them needed", granted.len());
    Ok(())
}

/// The rights of a rule, a line for each resource and object.
fn lines(rule: &Value) -> impl Iterator<Item = String> {
    let list = |name: &str| -> Vec<String> {
        let items = rule[name].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (resources, names) = (list("resources"), list("resourceNames"));
    let verbs = list("verbs").join(", ");
    let names = if names.is_empty() {
        String::new()
    } else {
        format!(" {}", names.join(" "))
    };
    resources
        .into_iter()
        .map(move |resource| format!("{resource}{names}: {verbs}"))
}

fn needed(right: &Right) -> (String, String) {
    let verbs = right.verbs.join(", ");
    match &right.scope {
        Scope::Cluster => (String::new(), format!("{}: {verbs}", right.resource)),
        Scope::Namespace(namespace) => (namespace.clone(), format!("{}: {verbs}", right.resource)),
        Scope::Object { namespace, name } => (
            (*namespace).to_owned(),
            format!("{} {name}: {verbs}", right.resource),
        ),
    }
}

pub(crate) fn alerts_are_those_of_the_repository() -> CaseResult {
    let objects = objects("metrics: {prometheusRule: {enabled: true}}\n")?;
    let rules = of_kind(&objects, "PrometheusRule").next();
    let rules = rules.ok_or("no PrometheusRule")?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/alerts/rules.yaml");
    let wanted: Value = yaml_serde::from_str(&fs::read_to_string(file)?)?;
    if rules["spec"] != wanted {
        return Err(format!("{}\n{wanted}", rules["spec"]).into());
    }
    Ok(())
}
