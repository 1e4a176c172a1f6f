//! Where the name of the cluster's API server leads, by what agents say that it resolves to (D.5).
//!
//! Nothing is confirmed by it: it says which interfaces, and so which security groups, the clients of a host would meet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::net::is_public;
use crate::snapshot::Snapshot;

/// What an agent's host says about the name of the cluster endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointResolution {
    /// The name, from the agent's own configuration; raw text.
    pub name: String,
    /// What it resolves to; empty where it could not be resolved.
    pub addresses: BTreeSet<IpAddr>,
    /// What the resolver said when it gave no address; raw text, empty otherwise.
    pub failure: String,
}

/// Where an endpoint leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointPath {
    /// To control-plane interfaces alone: their ingress rules decide.
    ControlPlane,
    /// To public addresses alone: out of the VPC, so that only the rules of the source decide.
    Public,
    /// To some of each.
    Mixed,
    /// To an address inside the VPC, or a private one, that is none of a control-plane interface, as one of an interface that
    /// was replaced.
    Elsewhere,
    /// Nowhere: the name did not resolve.
    Nowhere,
    /// The name is not that of the cluster in the snapshot, so its addresses say nothing about it.
    OtherName,
}

impl EndpointPath {
    /// Says it in words, for people.
    #[must_use]
    pub fn as_words(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane interfaces",
            Self::Public => "public addresses, outside the VPC",
            Self::Mixed => "control-plane interfaces and other addresses",
            Self::Elsewhere => "addresses that no control-plane interface has",
            Self::Nowhere => "nothing: the name does not resolve",
            Self::OtherName => "an endpoint that is not this cluster's",
        }
    }
}

/// Tells where `resolution` leads in the cluster of `snapshot`.
///
/// A snapshot that does not say the cluster's endpoint cannot tell a foreign name.
///
/// Source: EKS-EP (D.5).
#[must_use]
pub fn endpoint_path(snapshot: &Snapshot, resolution: &EndpointResolution) -> EndpointPath {
    let endpoint = snapshot.cluster().and_then(|cluster| cluster.endpoint());
    if endpoint.is_some_and(|endpoint| !endpoint.eq_ignore_ascii_case(&resolution.name)) {
        return EndpointPath::OtherName;
    }
    if resolution.addresses.is_empty() {
        return EndpointPath::Nowhere;
    }
    let interfaces = snapshot.control_plane_interfaces();
    let is_control_plane = |address: &&IpAddr| {
        interfaces
            .iter()
            .any(|found| found.interface.owns(**address))
    };
    let vpc = snapshot.cluster().and_then(|cluster| cluster.vpc.as_ref());
    let vpc = vpc.and_then(|id| snapshot.vpc(id));
    let is_outside =
        |address: &IpAddr| is_public(*address) && vpc.is_none_or(|vpc| !vpc.contains(*address));
    let total = resolution.addresses.len();
    match resolution.addresses.iter().filter(is_control_plane).count() {
        0 if resolution.addresses.iter().all(is_outside) => EndpointPath::Public,
        0 => EndpointPath::Elsewhere,
        own if own == total => EndpointPath::ControlPlane,
        _ => EndpointPath::Mixed,
    }
}
