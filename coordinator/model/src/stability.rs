//! Whether the world stood still while the probes ran (H.3).

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::describe::{Described, lasting};
use crate::flow::Flow;
use crate::plan::{PlannedFlow, ProbePlan};
use crate::predict::{predict, translated_source};
use crate::prediction::Prediction;
use crate::snapshot::{EndpointListing, NetworkInterface, Owner, Pod, PodNetwork, Snapshot};

pub use passing::Passing;
use updating::Updating;

mod passing;
mod updating;

/// Life cycle word of a cluster that nothing is being done to.
const CLUSTER_ACTIVE: &str = "ACTIVE";

/// What an update of the cluster leaves behind in its description (D.7).
const CLUSTER_VERSIONS: [&str; 2] = ["/cluster/version", "/cluster/platformVersion"];

/// Answer whose absence leaves unsaid what drops the packets of pods (E.5).
const NETWORK_POLICIES: &str = "networkpolicies";

/// What happened between the readings. Of several, the last in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StabilityState {
    /// All readings say the same.
    Stable,
    /// They differ, or something came and went between them.
    Changed,
    /// The cluster was not `ACTIVE` at one of them: its interfaces may be replaced at any moment (D.1).
    ClusterNotActive,
    /// It was `ACTIVE` at both and has another version: its interfaces were replaced in between, or are about to be
    /// (D.1), and EKS may have written rules of the cluster security group anew (D.2).
    ClusterUpdated,
    /// The second reading failed, so nobody knows.
    NotReadAgain,
}

/// What changed between the readings, and which flows that could touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stability {
    /// What happened.
    pub state: StabilityState,
    /// Files that differ before and after the probes, sorted.
    pub changed: BTreeSet<String>,
    /// Files that changed within the settle time before the probes, or that tell of an update in progress in a node
    /// group; sorted.
    pub settling: BTreeSet<String>,
    /// Objects that were seen to come and go, as `pods default/web`; sorted.
    pub passed: BTreeSet<String>,
    /// Flows of the plan that a change could touch, by their place in it.
    pub touched: BTreeSet<usize>,
}

/// What was read of one world around the probes of a run.
#[derive(Debug, Clone, Copy)]
pub struct Readings<'a> {
    /// A reading that lies the settle time before `before`; absent where nobody waited for it.
    pub earlier: Option<Reading<'a>>,
    /// The reading that the predictions are made from.
    pub before: Reading<'a>,
    /// The reading after the last probe; absent when it failed.
    pub after: Option<Reading<'a>>,
    /// What somebody saw come and go in between.
    pub passed: &'a [Passing],
}

/// Compares the readings of one world.
///
/// A change touches a flow when the prediction over the other reading differs in anything: verdict, deciding rule, or
/// any gate on the way; when the address that its target sees differs; or when something else stands at one of its
/// ends, like an interface that moved to another instance, which no gate shows. Every flow is touched while the
/// cluster is not `ACTIVE`, when it was updated in between, when there is no second reading, and when only one of the
/// two has the NetworkPolicies. A change within the settle time counts as one while the probes ran: the network may
/// have come to enforce it only then (A.1, E.2). While a node group is updated, the flows of its instances are touched.
///
/// What came and went between two readings is seen only as far as [`Readings::passed`] tells it.
#[must_use]
pub fn stability(
    readings: &Readings<'_>,
    plan: &ProbePlan,
    predictions: &[Prediction],
) -> Stability {
    let against = |other: Option<Reading<'_>>| match other {
        Some(other) => difference(readings.before, other, plan, predictions),
        None => Difference {
            state: StabilityState::NotReadAgain,
            files: BTreeSet::new(),
            touched: every(plan),
        },
    };
    let probing = against(readings.after);
    let settling = against(Some(readings.earlier.unwrap_or(readings.before)));
    let passing = passing(readings, plan);
    let updating = updating(readings, plan);
    let all = [&probing, &settling, &passing, &updating];
    Stability {
        state: all
            .map(|one| one.state)
            .into_iter()
            .max()
            .unwrap_or(StabilityState::Stable),
        touched: all
            .into_iter()
            .flat_map(|one| one.touched.iter().copied())
            .collect(),
        changed: probing.files,
        settling: settling.files.union(&updating.files).cloned().collect(),
        passed: passing.files,
    }
}

/// What two readings, or what was seen between them, mean for the flows of a plan.
struct Difference {
    state: StabilityState,
    files: BTreeSet<String>,
    touched: BTreeSet<usize>,
}

/// Compares `other` with the reading that the predictions are made from.
fn difference(
    predicted: Reading<'_>,
    other: Reading<'_>,
    plan: &ProbePlan,
    predictions: &[Prediction],
) -> Difference {
    let files = changed_files(predicted.described, other.described);
    let state = state(predicted, other, &files);
    let touched = match state {
        StabilityState::Stable => BTreeSet::new(),
        StabilityState::Changed if policies_lost(predicted, other) => every(plan),
        StabilityState::Changed => touched(predicted.snapshot, other.snapshot, plan, predictions),
        StabilityState::ClusterNotActive
        | StabilityState::ClusterUpdated
        | StabilityState::NotReadAgain => every(plan),
    };
    Difference {
        state,
        files,
        touched,
    }
}

/// What came and went, and the flows that it could touch.
fn passing(readings: &Readings<'_>, plan: &ProbePlan) -> Difference {
    let passed = readings.passed.iter();
    let files =
        passed.map(|object| format!("{} {}/{}", object.file, object.namespace, object.name));
    seen(files.collect(), plan, |flow| {
        let mut passed = readings.passed.iter();
        passed.any(|object| object.could_touch(readings.before.snapshot, flow))
    })
}

/// The node groups that an update is in progress in at any reading, and the flows that it could touch.
fn updating(readings: &Readings<'_>, plan: &ProbePlan) -> Difference {
    let all = [readings.earlier, Some(readings.before), readings.after];
    let groups: Vec<Updating> = all.into_iter().flatten().flat_map(Updating::of).collect();
    let files = groups.iter().map(|group| group.file.clone());
    seen(files.collect(), plan, |flow| {
        let mut groups = groups.iter();
        groups.any(|group| group.could_touch(readings.before.snapshot, flow))
    })
}

/// What `files` tell beside the difference of two readings, and the flows for which `is_touched` holds.
fn seen(
    files: BTreeSet<String>,
    plan: &ProbePlan,
    is_touched: impl Fn(&Flow) -> bool,
) -> Difference {
    let flows = plan.flows.iter().enumerate();
    let touched = flows.filter(|(_, planned)| is_touched(&planned.flow));
    Difference {
        state: if files.is_empty() {
            StabilityState::Stable
        } else {
            StabilityState::Changed
        },
        touched: touched.map(|(index, _)| index).collect(),
        files,
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
        .filter(|stem| !is_same(stem, before.get(stem), after.get(stem)))
        .map(str::to_owned)
        .collect()
}

/// Whether two readings of one answer differ in nothing but what changes by itself; one that is missing is another.
fn is_same(stem: &str, before: Option<&Value>, after: Option<&Value>) -> bool {
    before.map(|answer| lasting(stem, answer)) == after.map(|answer| lasting(stem, answer))
}
