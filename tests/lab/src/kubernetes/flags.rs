//! What each API server is told.

use std::ffi::OsString;
use std::path::Path;

use crate::kubernetes::{Front, Settings};

/// Flags of the API server at `front`, whose keys and sockets are in `folder`.
pub(super) fn of(folder: &Path, front: &Front, settings: &Settings) -> Vec<OsString> {
    let file = |name: &str| folder.join(name).into_os_string();
    let with = |flag: &str, value: OsString| {
        let mut argument = OsString::from(format!("--{flag}="));
        argument.push(value);
        argument
    };
    let mut socket = OsString::from("unix://");
    socket.push(file("client.sock"));
    let mut flags = vec![
        with("etcd-servers", socket),
        with("tls-cert-file", file("apiserver.crt")),
        with("tls-private-key-file", file("apiserver.key")),
        with("client-ca-file", file("ca.crt")),
        with("token-auth-file", file("tokens.csv")),
        with("service-account-key-file", file("service-account.pub")),
        with(
            "service-account-signing-key-file",
            file("service-account.key"),
        ),
        with("kubelet-client-certificate", file("kubelet-client.crt")),
        with("kubelet-client-key", file("kubelet-client.key")),
        with("kubelet-certificate-authority", file("ca.crt")),
    ];
    let plain = [
        ("bind-address", front.bind.to_string()),
        ("secure-port", front.port.to_string()),
        ("advertise-address", front.address.to_string()),
        (
            "service-cluster-ip-range",
            settings.service_range.to_string(),
        ),
        (
            "service-account-issuer",
            "https://kubernetes.default.svc".to_owned(),
        ),
        ("api-audiences", "https://kubernetes.default.svc".to_owned()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("profiling", "false".to_owned()),
    ];
    flags.extend(plain.map(|(flag, value)| with(flag, OsString::from(value))));
    flags.extend(settings.api_server_flags.iter().map(OsString::from));
    flags
}
