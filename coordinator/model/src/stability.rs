//! Whether the world stood still while the probes ran (H.3).

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

use crate::describe::Described;
use crate::plan::{PlannedFlow, ProbePlan};
use crate::predict::{predict, translated_source};
use crate::prediction::Prediction;
use crate::snapshot::{EndpointListing, NetworkInterface, Owner, Pod, PodNetwork, Snapshot};

/// Life cycle word of a cluster that nothing is being done to.
const CLUSTER_ACTIVE: &str = "ACTIVE";

/// What an update of the cluster leaves behind in its description (D.7).
const CLUSTER_VERSIONS: [&str; 2] = ["/cluster/version", "/cluster/platformVersion"];

/// Answer whose absence leaves unsaid what drops the packets of pods (E.5).
const NETWORK_POLICIES: &str = "networkpolicies";

/// What happened between the two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StabilityState {
    /// Both readings say the same.
    Stable,
    /// They differ.
    Changed,
    /// The cluster was not `ACTIVE` at one of them: its interfaces may be replaced at any moment (D.1).
    ClusterNotActive,
    /// It was `ACTIVE` at both and has another version: its interfaces were replaced in between, or are about to be
    /// (D.1), and EKS may have written rules of the cluster security group anew (D.2).
    ClusterUpdated,
    /// The second reading failed, so nobody knows.
    NotReadAgain,
}

/// What changed between the two readings, and which flows that could touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stability {
    /// What happened.
    pub state: StabilityState,
    /// Files that differ, sorted.
    pub changed: BTreeSet<String>,
    /// Flows of the plan that a change could touch, by their place in it. JSON: how many.
    #[serde(rename = "flows_touched", serialize_with = "count")]
    pub touched: BTreeSet<usize>,
}

/// Writes how many there are.
fn count<S: serde::Serializer>(
    touched: &BTreeSet<usize>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    touched.len().serialize(serializer)
}

/// Compares two readings of one world.
///
/// A change touches a flow when the prediction over the second reading differs in anything: verdict, deciding rule, or
/// any gate on the way; when the address that its target sees differs; or when something else stands at one of its
/// ends, like an interface that moved to another instance, which no gate shows. Every flow is touched while the
/// cluster is not `ACTIVE`, when it was updated in between, when there is no second reading, and when only one of the
/// two has the NetworkPolicies.
///
/// What came and went between the two readings is not seen here.
#[must_use]
pub fn stability(
    before: Reading<'_>,
    after: Option<Reading<'_>>,
    plan: &ProbePlan,
    predictions: &[Prediction],
) -> Stability {
    let Some(after) = after else {
        return Stability {
            state: StabilityState::NotReadAgain,
            changed: BTreeSet::new(),
            touched: every(plan),
        };
    };
    let changed = changed_files(before.described, after.described);
    let state = state(before, after, &changed);
    let touched = match state {
        StabilityState::Stable => BTreeSet::new(),
        StabilityState::Changed if policies_lost(before, after) => every(plan),
        StabilityState::Changed => touched(before.snapshot, after.snapshot, plan, predictions),
        StabilityState::ClusterNotActive
        | StabilityState::ClusterUpdated
        | StabilityState::NotReadAgain => every(plan),
    };
    Stability {
        state,
        changed,
        touched,
    }
}

/// Every flow of a plan.
fn every(plan: &ProbePlan) -> BTreeSet<usize> {
    (0..plan.flows.len()).collect()
}

/// What two readings that differ in these files mean together.
fn state(before: Reading<'_>, after: Reading<'_>, changed: &BTreeSet<String>) -> StabilityState {
    if !(is_active(before.snapshot) && is_active(after.snapshot)) {
        StabilityState::ClusterNotActive
    } else if cluster_versions(before.described) != cluster_versions(after.described) {
        StabilityState::ClusterUpdated
    } else if changed.is_empty() {
        StabilityState::Stable
    } else {
        StabilityState::Changed
    }
}

/// Whether one reading has the NetworkPolicies and the other has not.
fn policies_lost(before: Reading<'_>, after: Reading<'_>) -> bool {
    let held = |reading: Reading<'_>| reading.described.get(NETWORK_POLICIES).is_some();
    held(before) != held(after)
}

/// The flows that fare otherwise in the second world, or have other ends there.
fn touched(
    before: &Snapshot,
    after: &Snapshot,
    plan: &ProbePlan,
    predictions: &[Prediction],
) -> BTreeSet<usize> {
    let listings = [before, after].map(listings);
    let is_touched = |planned: &PlannedFlow, prediction: &Prediction| {
        let flow = &planned.flow;
        predict(after, flow) != *prediction
            || translated_source(after, flow) != planned.translated
            || [flow.source, flow.destination].into_iter().any(|address| {
                let [one, other] = &listings;
                End::at(before, one, address) != End::at(after, other, address)
            })
    };
    plan.flows
        .iter()
        .zip(predictions)
        .enumerate()
        .filter(|(_, (planned, prediction))| is_touched(planned, prediction))
        .map(|(index, _)| index)
        .collect()
}

/// The control plane's addresses, with what the cluster's own list says about each.
type Listings = Vec<(IpAddr, EndpointListing)>;

/// Lists the control plane's addresses.
fn listings(snapshot: &Snapshot) -> Listings {
    let interfaces = snapshot.control_plane_interfaces().into_iter();
    interfaces
        .flat_map(|found| {
            let addresses = found.interface.addresses.iter();
            addresses.map(move |address| (*address, found.endpoint))
        })
        .collect()
}

/// What stands at an address, as far as it decides who answers there.
#[derive(PartialEq, Eq)]
struct End<'s> {
    interfaces: Vec<NetworkInterface>,
    /// Those with a network namespace of their own: others come and go without a change to the address.
    pods: Vec<&'s Pod>,
    listing: Option<EndpointListing>,
}

impl<'s> End<'s> {
    /// What stands at `address`.
    fn at(snapshot: &'s Snapshot, listings: &Listings, address: IpAddr) -> Self {
        let interfaces = match snapshot.owner(address) {
            Owner::Nobody => Vec::new(),
            Owner::One(interface) => vec![interface],
            Owner::Several(interfaces) => interfaces,
        };
        let listing = listings.iter().find(|(listed, _)| *listed == address);
        Self {
            interfaces: interfaces.into_iter().map(fixed).collect(),
            pods: snapshot
                .pods_at(address)
                .filter(|pod| pod.network == PodNetwork::Pod)
                .collect(),
            listing: listing.map(|(_, listing)| *listing),
        }
    }
}

/// An interface without what comes and goes while its traffic stays as it is: the addresses of pods that the CNI adds and
/// releases (E.2), and texts.
fn fixed(interface: &NetworkInterface) -> NetworkInterface {
    NetworkInterface {
        addresses: interface.primary_address().into_iter().collect(),
        prefixes: Vec::new(),
        description: String::new(),
        name: None,
        ..interface.clone()
    }
}

/// One reading of the world.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// The answers.
    pub described: &'a Described,
    /// What was decoded from them.
    pub snapshot: &'a Snapshot,
}

/// Whether nothing is being done to the cluster; without a cluster, or without its status, there is nothing to wait for.
fn is_active(snapshot: &Snapshot) -> bool {
    snapshot
        .cluster()
        .is_none_or(|cluster| cluster.status.is_empty() || cluster.status == CLUSTER_ACTIVE)
}

/// The versions of the cluster, as the answer spells them.
fn cluster_versions(described: &Described) -> [Option<&Value>; 2] {
    let cluster = described.get("describe-cluster");
    CLUSTER_VERSIONS.map(|pointer| cluster.and_then(|answer| answer.pointer(pointer)))
}

/// Stems of the answers that differ or are in one reading only.
fn changed_files(before: &Described, after: &Described) -> BTreeSet<String> {
    let stems = before.iter().chain(after.iter()).map(|(stem, _)| stem);
    stems
        .filter(|stem| before.get(stem) != after.get(stem))
        .map(str::to_owned)
        .collect()
}
