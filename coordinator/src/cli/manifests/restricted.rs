//! What the Pod Security Standard *restricted* asks of a pod and of its container
//! (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>).

use serde_json::{Value, json};

/// The user of both images, who owns nothing anywhere.
const USER: u32 = 65532;

/// The security context of a pod.
pub(super) fn pod() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// The security context of its container, which writes nowhere besides.
pub(super) fn container() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}
