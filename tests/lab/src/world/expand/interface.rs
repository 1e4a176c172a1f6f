//! Network interfaces and instances.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::vpc::set;
use super::{ACCOUNT, CONTROL_PLANE_ACCOUNT, Expansion, REGION, dangling, primary_address, tags};
use crate::world::WorldError;
use crate::world::host::{Host, HostRole, Interface, InterfaceKind, Pod};

/// A network interface on its way to an answer.
pub(in crate::world) struct Eni<'w> {
    /// Its id.
    pub(in crate::world) id: String,
    /// What messages call it.
    pub(in crate::world) place: String,
    /// Name of its subnet.
    pub(in crate::world) subnet: &'w str,
    /// Addresses, in the order of the file.
    pub(in crate::world) addresses: &'w [IpAddr],
    /// Delegated prefixes.
    pub(in crate::world) prefixes: &'w [IpNet],
    groups: Vec<&'w String>,
    interface_type: &'static str,
    description: String,
    tags: Value,
    attachment: Option<Value>,
}

impl<'w> Expansion<'w> {
    pub(super) fn add_interfaces(self, answers: &mut Map<String, Value>) -> Result<(), WorldError> {
        let enis = self.enis()?;
        let interfaces: Result<Vec<Value>, WorldError> =
            enis.iter().map(|eni| self.interface_answer(eni)).collect();
        answers.insert(
            "describe-network-interfaces".to_owned(),
            json!({"NetworkInterfaces": interfaces?}),
        );
        let reservations: Value = self
            .world
            .hosts
            .iter()
            .map(|(name, host)| {
                json!({
                    "ReservationId": format!("r-{name}"),
                    "OwnerId": ACCOUNT,
                    "Instances": [self.instance_answer(name, host)],
                })
            })
            .collect();
        answers.insert(
            "describe-instances".to_owned(),
            json!({"Reservations": reservations}),
        );
        Ok(())
    }

    /// Every interface of the world, in the order of the file's parts.
    pub(in crate::world) fn enis(self) -> Result<Vec<Eni<'w>>, WorldError> {
        let mut enis = self.control_plane_enis();
        for (name, host) in &self.world.hosts {
            for (index, interface) in host.interfaces.iter().enumerate() {
                enis.push(self.host_eni(name, host, index, interface)?);
            }
            for (pod_name, pod) in &host.pods {
                enis.extend(branch_eni(name, host, pod_name, pod)?);
            }
        }
        for (name, pod) in &self.world.fargate {
            let groups = match &pod.groups {
                Some(groups) => groups.iter().collect(),
                None => vec![&self.world.cluster.security_group],
            };
            enis.push(Eni {
                id: format!("eni-{name}"),
                place: format!("Fargate pod `{name}`"),
                subnet: &pod.subnet,
                addresses: &pod.addresses,
                prefixes: &[],
                groups,
                interface_type: "interface",
                description: String::new(),
                tags: json!([]),
                attachment: Some(foreign_attachment(name)),
            });
        }
        Ok(enis)
    }

    /// They carry the cluster group and every additional one, no tag, and an attachment of another account [D.1].
    fn control_plane_enis(self) -> Vec<Eni<'w>> {
        let cluster = &self.world.cluster;
        let groups: Vec<&String> = std::iter::once(&cluster.security_group)
            .chain(&cluster.additional_groups)
            .collect();
        let enis = cluster.control_plane.iter().map(|(name, interface)| Eni {
            id: format!("eni-{name}"),
            place: format!("control-plane interface `{name}`"),
            subnet: &interface.subnet,
            addresses: &interface.addresses,
            prefixes: &[],
            groups: groups.clone(),
            interface_type: "interface",
            description: format!("Amazon EKS {}", cluster.name),
            tags: json!([]),
            attachment: Some(foreign_attachment(name)),
        });
        enis.collect()
    }

    fn host_eni(
        self,
        name: &'w str,
        host: &'w Host,
        index: usize,
        interface: &'w Interface,
    ) -> Result<Eni<'w>, WorldError> {
        let place = format!("interface {index} of host `{name}`");
        let id = if index == 0 {
            format!("eni-{name}")
        } else {
            format!("eni-{name}-eth{index}")
        };
        let instance = format!("i-{name}");
        let (interface_type, description) = match (interface.kind, index, host.role) {
            (InterfaceKind::Trunk, _, _) => ("trunk", "aws-k8s-trunk-eni".to_owned()),
            (InterfaceKind::Interface, 0, _)
            | (InterfaceKind::Interface, _, HostRole::Instance) => ("interface", String::new()),
            (InterfaceKind::Interface, _, HostRole::Node) => {
                ("interface", format!("aws-K8S-{instance}"))
            }
        };
        let tags = match (index, host.role) {
            (0, _) | (_, HostRole::Instance) => json!([]),
            (_, HostRole::Node) => tags(&[
                ("node.k8s.amazonaws.com/instance_id", &instance),
                ("cluster.k8s.amazonaws.com/name", &self.world.cluster.name),
            ]),
        };
        Ok(Eni {
            groups: self.interface_groups(&place, host, interface)?,
            place,
            subnet: &interface.subnet,
            addresses: &interface.addresses,
            prefixes: &interface.prefixes,
            interface_type,
            description,
            tags,
            attachment: Some(json!({
                "AttachmentId": format!("eni-attach-{name}-{index}"),
                "InstanceId": instance,
                "InstanceOwnerId": ACCOUNT,
                "DeviceIndex": index,
                "NetworkCardIndex": 0,
                "Status": "attached",
            })),
            id,
        })
    }

    /// The groups that the file names, else for a node those of its launch template, else the cluster group [D.3].
    fn interface_groups(
        self,
        place: &str,
        host: &'w Host,
        interface: &'w Interface,
    ) -> Result<Vec<&'w String>, WorldError> {
        if let Some(groups) = &interface.groups {
            return Ok(groups.iter().collect());
        }
        match host.role {
            HostRole::Instance => Err(WorldError::Empty {
                place: place.to_owned(),
                what: "security group",
            }),
            HostRole::Node => {
                let (_, group) = self.node_group(place, host)?;
                Ok(match &group.launch_template_groups {
                    Some(groups) => groups.iter().collect(),
                    None => vec![&self.world.cluster.security_group],
                })
            }
        }
    }

    fn interface_answer(self, eni: &Eni<'_>) -> Result<Value, WorldError> {
        let (vpc, subnet) = self.subnet(&eni.place, eni.subnet)?;
        let mut groups = Vec::new();
        for name in &eni.groups {
            if !self.world.security_groups.contains_key(*name) {
                return Err(dangling(&eni.place, "security group", name));
            }
            groups.push(json!({"GroupId": format!("sg-{name}"), "GroupName": name}));
        }
        let primary = primary_address(eni.addresses);
        let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) =
            eni.addresses.iter().partition(|address| address.is_ipv4());
        let v4 = v4.iter().map(
            |address| json!({"PrivateIpAddress": address, "Primary": Some(**address) == primary}),
        );
        let prefixes = |key: &str, wanted: fn(&IpNet) -> bool| -> Value {
            eni.prefixes
                .iter()
                .filter(|prefix| wanted(prefix))
                .map(|prefix| json!({key: prefix}))
                .collect()
        };
        let mut answer = json!({
            "NetworkInterfaceId": eni.id,
            "VpcId": format!("vpc-{vpc}"),
            "SubnetId": format!("subnet-{}", eni.subnet),
            "OwnerId": ACCOUNT,
            "AvailabilityZone": format!("{REGION}{}", subnet.zone),
            "Status": "in-use",
            "InterfaceType": eni.interface_type,
            "SourceDestCheck": true,
            "Description": eni.description,
            "RequesterManaged": false,
            "PrivateIpAddress": primary,
            "PrivateIpAddresses": v4.collect::<Value>(),
            "Ipv6Addresses": v6.iter().map(|address| json!({"Ipv6Address": address})).collect::<Value>(),
            "Ipv4Prefixes": prefixes("Ipv4Prefix", |prefix| matches!(prefix, IpNet::V4(_))),
            "Ipv6Prefixes": prefixes("Ipv6Prefix", |prefix| matches!(prefix, IpNet::V6(_))),
            "Groups": groups,
            "TagSet": eni.tags,
        });
        if let Some(attachment) = &eni.attachment {
            set(&mut answer, "Attachment", attachment.clone());
        }
        Ok(answer)
    }

    /// Nodes carry the tags of their cluster and node group; other instances do not.
    fn instance_answer(self, name: &str, host: &Host) -> Value {
        let interfaces = (0..host.interfaces.len()).map(|index| {
            let id = if index == 0 {
                format!("eni-{name}")
            } else {
                format!("eni-{name}-eth{index}")
            };
            json!({"NetworkInterfaceId": id})
        });
        let cluster = &self.world.cluster.name;
        let owned = format!("kubernetes.io/cluster/{cluster}");
        let tags = match (host.role, self.node_group("", host)) {
            (HostRole::Node, Ok((group, _))) => tags(&[
                ("Name", name),
                (&owned, "owned"),
                ("eks:cluster-name", cluster),
                ("eks:nodegroup-name", group),
            ]),
            (HostRole::Node, Err(_)) | (HostRole::Instance, _) => tags(&[("Name", name)]),
        };
        let primary = host.interfaces.first();
        json!({
            "InstanceId": format!("i-{name}"),
            "State": {"Code": 16, "Name": "running"},
            "InstanceType": "m6i.large",
            "PrivateIpAddress": primary.and_then(|interface| primary_address(&interface.addresses)),
            "NetworkInterfaces": interfaces.collect::<Value>(),
            "Tags": tags,
        })
    }
}

/// A branch interface has no attachment: tags lead to its trunk [E.1].
fn branch_eni<'w>(
    host_name: &str,
    host: &Host,
    name: &'w str,
    pod: &'w Pod,
) -> Result<Option<Eni<'w>>, WorldError> {
    let Some(branch) = &pod.branch else {
        return Ok(None);
    };
    let trunk = host
        .interfaces
        .iter()
        .position(|interface| interface.kind == InterfaceKind::Trunk);
    let trunk = trunk.ok_or_else(|| WorldError::NoTrunk {
        pod: name.to_owned(),
        host: host_name.to_owned(),
    })?;
    let trunk_id = if trunk == 0 {
        format!("eni-{host_name}")
    } else {
        format!("eni-{host_name}-eth{trunk}")
    };
    let vlan = host
        .pods
        .keys()
        .position(|pod| pod == name)
        .unwrap_or_default()
        + 1;
    Ok(Some(Eni {
        id: format!("eni-{name}"),
        place: format!("branch of pod `{name}`"),
        subnet: &branch.subnet,
        addresses: &pod.addresses,
        prefixes: &[],
        groups: branch.groups.iter().collect(),
        interface_type: "branch",
        description: "aws-k8s-branch-eni".to_owned(),
        tags: tags(&[
            ("vpcresources.k8s.aws/vlan-id", &vlan.to_string()),
            ("vpcresources.k8s.aws/trunk-eni-id", &trunk_id),
            ("eks:eni:owner", "eks-vpc-resource-controller"),
        ]),
        attachment: None,
    }))
}

/// The attachment of an interface whose instance belongs to AWS.
fn foreign_attachment(name: &str) -> Value {
    json!({
        "AttachmentId": format!("eni-attach-{name}"),
        "InstanceOwnerId": CONTROL_PLANE_ACCOUNT,
        "Status": "attached",
        "DeviceIndex": 1,
    })
}
