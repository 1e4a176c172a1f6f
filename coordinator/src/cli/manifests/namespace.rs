//! Where agents run, and what each such place has beside them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::labels::standard_labels;

/// Namespace of the agents on the pod network.
pub(super) const NAMESPACE: &str = "reachproof";

/// Namespace of the agents in the host network, which the Pod Security Standards do not let into a restricted one.
pub(super) const HOST_NAMESPACE: &str = "reachproof-host";

/// ServiceAccount, ConfigMap and Secret of the agents, in each of their namespaces.
pub(super) const NAME: &str = "reachproof-agent";

/// Role and binding of the coordinator in each namespace with agents.
const DIAL: &str = "reachproof-dial";

/// ServiceAccount of the coordinator, in [`NAMESPACE`].
pub(super) const COORDINATOR: &str = "reachproof-coordinator";

/// What the agents of a run need to know. Not to be shown in a log: it may have tokens.
pub(super) struct Contents {
    /// Certificate of the run's CA in PEM.
    pub(super) ca_certificate: String,
    /// Signed tokens by the names of their nodes; absent where an API server reviews those that it projects.
    pub(super) tokens: Option<BTreeMap<String, String>>,
    /// The agents' policy, as their file.
    pub(super) policy: String,
}

/// The objects that agents need in `namespace`, and the namespace itself if it is one of ours.
///
/// A namespace of somebody else is left as it is: neither its labels are changed, nor does it go with the agents.
pub(super) fn objects(namespace: &str, contents: &Contents) -> Vec<Value> {
    let level = match namespace {
        NAMESPACE => Some("restricted"),
        HOST_NAMESPACE => Some("privileged"),
        _ => None,
    };
    let own = level.map(|level| own(namespace, level));
    let tokens = contents.tokens.as_ref();
    // Without an API server that reviews tokens there is none that could be asked to connect.
    let dial = tokens.is_none().then(|| dial(namespace));
    own.into_iter()
        .chain([account(namespace)])
        .chain(tokens.map(|tokens| secret(namespace, tokens)))
        .chain([settings(namespace, contents)])
        .chain(dial.into_iter().flatten())
        .collect()
}

/// A namespace of ours, at a level of the Pod Security Standards.
pub(super) fn own(namespace: &str, level: &str) -> Value {
    let mut labels = standard_labels();
    labels.insert(
        "pod-security.kubernetes.io/enforce".to_owned(),
        level.to_owned(),
    );
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace, "labels": labels},
    })
}

/// An account without any right: nobody binds a role to it, and no token for the API server is mounted (security.md,
/// "The review of a token").
fn account(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(namespace),
        "automountServiceAccountToken": false,
    })
}

fn secret(namespace: &str, tokens: &BTreeMap<String, String>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(namespace),
        "type": "Opaque",
        "stringData": tokens,
    })
}

fn settings(namespace: &str, contents: &Contents) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(namespace),
        "data": {"ca.crt": contents.ca_certificate, "policy.yaml": contents.policy},
    })
}

/// What lets the coordinator ask API servers to connect to the agents of a namespace, and to nothing else (SEMANTICS G.3). The
/// account is that of `deploy/rbac-reader.yaml`.
fn dial(namespace: &str) -> [Value; 2] {
    let metadata = json!({"name": DIAL, "namespace": namespace, "labels": standard_labels()});
    // A log leads to the kubelet of a node without an agent in the host network; elsewhere the agent itself does.
    let resources: &[&str] = match namespace {
        NAMESPACE => &["pods/log", "pods/proxy"],
        _ => &["pods/proxy"],
    };
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata,
        "rules": [{"apiGroups": [""], "resources": resources, "verbs": ["get"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": DIAL},
        "subjects": [{"kind": "ServiceAccount", "name": COORDINATOR, "namespace": NAMESPACE}],
    });
    [role, binding]
}

fn metadata(namespace: &str) -> Value {
    json!({"name": NAME, "namespace": namespace, "labels": standard_labels()})
}
