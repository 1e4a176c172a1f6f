//! What an interface is, whatever its id: those that replace each other have it in common.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::class::{HostRole, NODE_GROUP};
use crate::flow::SourceKind;
use crate::id::{SubnetId, VpcId};
use crate::snapshot::{Host, Pod, Snapshot};

/// Tag of an instance with the name of its Karpenter node pool (D.3).
const NODE_POOL: &str = "karpenter.sh/nodepool";
/// Labels by which workloads are known, the first that a pod has.
const WORKLOAD: [&str; 4] = [
    "app.kubernetes.io/name",
    "k8s-app",
    "app",
    "eks.amazonaws.com/fargate-profile",
];

/// What an address is: replaced interfaces have addresses of one kin (control plane, node group, Fargate profile, workload;
/// subnet, or where none of the same subnet is left, VPC).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kin {
    vpc: VpcId,
    /// Absent: any of the VPC.
    subnet: Option<SubnetId>,
    role: HostRole,
    /// Node group, workload or description.
    what: String,
    is_primary: bool,
    is_v4: bool,
    kind: SourceKind,
}

impl Kin {
    /// The same in any subnet of the VPC.
    pub(super) fn anywhere(self) -> Self {
        Self {
            subnet: None,
            ..self
        }
    }
}

/// The kin of an address that one interface owns; absent of every other one.
pub(super) fn kin(snapshot: &Snapshot, address: IpAddr) -> Option<Kin> {
    let owners = snapshot.addresses.owners(address);
    let [key] = owners.as_slice() else {
        return None;
    };
    let entry = snapshot.interfaces.at(*key);
    let interface = &entry.interface;
    let controls = snapshot
        .cluster()
        .is_some_and(|cluster| interface.description == format!("Amazon EKS {}", cluster.name));
    let pod = snapshot.pods_at(address).next();
    let (role, what) = match snapshot.hosts.at(entry.host) {
        Host::Instance(_) | Host::Interface(_) if controls => {
            (HostRole::ControlPlane, String::new())
        }
        Host::Instance(_) | Host::Interface(_) if interface.is_branch() => {
            (HostRole::Branch, pod.map(workload).unwrap_or_default())
        }
        Host::Instance(id) => {
            let instance = snapshot.instance(id);
            let tags = || instance.into_iter().flat_map(|instance| &instance.tags);
            let group = [NODE_GROUP, NODE_POOL]
                .into_iter()
                .find_map(|wanted| tags().find(|(key, _)| key == wanted));
            let nodes = snapshot.node_hosts.as_ref();
            let plain = match nodes.is_some_and(|nodes| nodes.contains(&entry.host)) {
                true => "node",
                false => "",
            };
            let group = group.map_or(plain, |(_, value)| value).to_owned();
            (HostRole::Node, group)
        }
        Host::Interface(_) => {
            let described = || format!("{} {}", interface.interface_type, interface.description);
            (HostRole::Alone, pod.map_or_else(described, workload))
        }
    };
    Some(Kin {
        vpc: interface.vpc.clone(),
        subnet: Some(interface.subnet.clone()),
        role,
        what,
        is_primary: interface.primary_address() == Some(address),
        is_v4: address.is_ipv4(),
        kind: snapshot.source_kind(address),
    })
}

/// What people call the pods of one workload.
fn workload(pod: &Pod) -> String {
    let label = WORKLOAD.into_iter().find_map(|label| pod.labels.get(label));
    let name = label.unwrap_or(&pod.name);
    format!("{}/{name}", pod.namespace)
}

/// Addresses by what they are, as widely as is asked.
pub(super) fn by_kin(
    snapshot: &Snapshot,
    addresses: &[IpAddr],
    widened: fn(Kin) -> Kin,
) -> BTreeMap<Kin, Vec<IpAddr>> {
    let mut found: BTreeMap<Kin, Vec<IpAddr>> = BTreeMap::new();
    for address in addresses {
        if let Some(kin) = kin(snapshot, *address) {
            found.entry(widened(kin)).or_default().push(*address);
        }
    }
    found
}
