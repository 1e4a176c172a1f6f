//! What can go wrong while a lab is built or used.

use std::net::IpAddr;

use nix::errno::Errno;

use crate::authority::AuthorityError;

/// Why a lab could not be built or used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A required answer is absent.
    #[error("the snapshot has no `{stem}`; a lab cannot be built without it")]
    MissingAnswer {
        /// Its stem.
        stem: String,
    },
    /// An answer has another shape than the AWS CLI or `kubectl` gives it.
    #[error("cannot read `{stem}` of the snapshot")]
    Decode {
        /// Its stem.
        stem: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// An id or name cannot name a network namespace.
    #[error(
        "`{name}` cannot name a network namespace; use letters, digits, `-`, `_` and `.`, starting with a letter or \
         digit, at most 63 characters"
    )]
    InvalidName {
        /// The name as given.
        name: String,
    },
    /// Two namespaces would have the same name.
    #[error("the name `{name}` is used twice in one lab; give each endpoint a name of its own")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Two endpoints claim one host, or two pods one address.
    #[error(
        "endpoint `{name}` claims what endpoint `{other}` has already; name each host and pod once"
    )]
    ClaimedTwice {
        /// The later endpoint.
        name: String,
        /// The earlier endpoint.
        other: String,
    },
    /// No network interface owns an endpoint's address.
    #[error("no network interface of the snapshot owns `{address}` of endpoint `{endpoint}`")]
    UnownedAddress {
        /// The endpoint.
        endpoint: String,
        /// Its address.
        address: IpAddr,
    },
    /// An endpoint has no address.
    #[error("endpoint `{endpoint}` has no address; give at least one")]
    NoAddress {
        /// The endpoint.
        endpoint: String,
    },
    /// An object names another that the snapshot does not describe.
    #[error("`{holder}` names `{id}`, which the snapshot does not describe")]
    Dangling {
        /// The object.
        holder: String,
        /// The id that leads nowhere.
        id: String,
    },
    /// A lab that is up cannot be given what it was not built for.
    #[error("`{name}` was built without the cables that it would need now")]
    Cables {
        /// The subnet or wire.
        name: String,
    },
    /// A field of a rule cannot be turned into a filter.
    #[error(
        "`{holder}` has a rule with protocol `{protocol}`, which is neither a known word nor a number to 255"
    )]
    InvalidProtocol {
        /// The group or ACL.
        holder: String,
        /// The field.
        protocol: String,
    },
    /// The lab has no such endpoint.
    #[error("the lab has no endpoint `{name}`")]
    UnknownEndpoint {
        /// The name asked for.
        name: String,
    },
    /// The program did not isolate itself first.
    #[error(
        "a lab is only built inside namespaces of its own; call `isolate` first thing in `main`"
    )]
    NotIsolated,
    /// The plan has more endpoints than the management network has addresses.
    #[error("a lab has at most {max} endpoints with a management link")]
    TooManyEndpoints {
        /// The bound.
        max: u32,
    },
    /// A network namespace could not be made or entered.
    #[error("cannot {operation} the network namespace `{name}`")]
    Namespace {
        /// What was tried.
        operation: &'static str,
        /// The namespace.
        name: String,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// A kernel setting could not be written.
    #[error("cannot write the kernel setting `{path}` in the network namespace `{name}`")]
    Setting {
        /// Below `/proc/sys/net`.
        path: &'static str,
        /// The namespace.
        name: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// `ip` or `nft` could not be started.
    #[error("cannot run `{tool}` in the network namespace `{name}`")]
    ToolNotRun {
        /// The program.
        tool: &'static str,
        /// The namespace.
        name: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// `ip` or `nft` refused its input.
    #[error("`{tool}` refused its input in the network namespace `{name}`: {message}")]
    ToolRefused {
        /// The program.
        tool: &'static str,
        /// The namespace.
        name: String,
        /// Its first line on standard error.
        message: String,
    },
    /// A thread in a namespace could not be started or ended with a panic.
    #[error("a thread in the network namespace `{name}` failed")]
    Thread {
        /// The namespace.
        name: String,
    },
    /// The control plane's interfaces have nothing to show.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A listener of the control plane could not be opened.
    #[error("cannot listen on `{address}` port {port} of endpoint `{endpoint}`")]
    Listen {
        /// The endpoint.
        endpoint: String,
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The addresses of one endpoint belong to several hosts.
    #[error(
        "the addresses of endpoint `{endpoint}` are owned by interfaces of several hosts; make one endpoint of each"
    )]
    SplitEndpoint {
        /// The endpoint.
        endpoint: String,
    },
    /// A probe could not be sent.
    #[error("cannot probe from endpoint `{endpoint}`")]
    Probe {
        /// The endpoint.
        endpoint: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}
