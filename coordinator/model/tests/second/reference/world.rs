//! The describe answers as plain structs, nothing interpreted that section K does not interpret.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::net::Net;
use super::policy::{Pod, Policy, pods, policies};

pub struct Vpc {
    pub id: String,
    pub primary: Option<Net>,
    pub cidrs: Vec<Net>,
}

pub struct Subnet {
    pub id: String,
    pub vpc: String,
    pub cidrs: Vec<Net>,
    pub zone: Option<String>,
    pub zone_id: Option<String>,
}

pub struct Eni {
    pub id: String,
    pub vpc: String,
    pub subnet: String,
    pub primary: Option<IpAddr>,
    /// Listed IPv6 addresses, the first one first.
    pub v6: Vec<IpAddr>,
    /// Delegated prefixes.
    pub prefixes: Vec<Net>,
    pub owned: Vec<Net>,
    pub groups: Vec<String>,
    pub branch: bool,
    pub trunk: Option<String>,
    pub attached: Option<String>,
    pub device: Option<u64>,
    pub card: u64,
    pub source_dest_check: bool,
}

impl Eni {
    pub fn owns(&self, address: IpAddr) -> bool {
        self.owned.iter().any(|net| net.contains(address))
    }
}

pub struct Instance {
    pub id: String,
    pub address: Option<IpAddr>,
    pub enis: Vec<String>,
}

pub struct World {
    pub json: Map<String, Value>,
    pub vpcs: Vec<Vpc>,
    pub subnets: Vec<Subnet>,
    pub enis: Vec<Eni>,
    pub instances: Vec<Instance>,
    pub cluster_vpc: Option<String>,
    /// Ranges of service addresses.
    pub services: Vec<Net>,
    /// Pods have IPv6 addresses.
    pub ipv6_cluster: bool,
    pub cni: BTreeMap<String, String>,
    pub pods: Vec<Pod>,
    pub policies: Vec<Policy>,
    /// Addresses of each readable prefix list.
    pub lists: BTreeMap<String, Vec<Net>>,
    pub groups: BTreeMap<String, super::rule::Group>,
    /// Accounts that own the described groups.
    pub accounts: Vec<String>,
    pub acls: Vec<super::rule::Acl>,
    /// Places in `enis` by owned network, so that a large world need not be searched for every address.
    by_net: HashMap<Net, Vec<usize>>,
    lengths: BTreeSet<u32>,
    /// Groups that somebody carries.
    pub carried: BTreeSet<String>,
}

pub fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The texts in field `field` of every item of list `key`.
pub fn texts(value: &Value, key: &str, field: &str) -> Vec<String> {
    list(value, key)
        .iter()
        .filter_map(|item| text(item, field))
        .collect()
}

/// The rows of a file, or none without the file.
pub fn rows<'a>(json: &'a Map<String, Value>, stem: &str, key: &str) -> &'a [Value] {
    json.get(stem).map_or(&[], |file| list(file, key))
}

/// CIDRs of an association set whose state is `associated`, or that have none.
fn associated(value: &Value, set: &str, cidr: &str, state: &str) -> Vec<Net> {
    list(value, set)
        .iter()
        .filter(|item| {
            item.get(state)
                .and_then(|state| state.get("State"))
                .is_none_or(|word| word == "associated")
        })
        .filter_map(|item| text(item, cidr))
        .map(|cidr| Net::read(&cidr))
        .collect()
}

impl World {
    pub fn read(json: &Map<String, Value>) -> Self {
        let json = &with_peerings_of_all_accounts(json);
        let mut world = Self {
            json: json.clone(),
            vpcs: each(json, "describe-vpcs", "Vpcs", vpc),
            subnets: each(json, "describe-subnets", "Subnets", subnet),
            enis: each(
                json,
                "describe-network-interfaces",
                "NetworkInterfaces",
                eni,
            ),
            instances: rows(json, "describe-instances", "Reservations")
                .iter()
                .flat_map(|reservation| list(reservation, "Instances"))
                .map(instance)
                .collect(),
            cluster_vpc: json
                .get("describe-cluster")
                .and_then(|file| file.pointer("/cluster/resourcesVpcConfig/vpcId"))
                .and_then(Value::as_str)
                .map(str::to_owned),
            services: ["serviceIpv4Cidr", "serviceIpv6Cidr"]
                .iter()
                .filter_map(|key| text(network_config(json)?, key))
                .map(|cidr| Net::read(&cidr))
                .collect(),
            ipv6_cluster: network_config(json).is_some_and(|it| it["ipFamily"] == "ipv6"),
            cni: cni(json),
            pods: pods(json),
            policies: policies(json),
            lists: prefix_lists(json),
            groups: BTreeMap::new(),
            by_net: HashMap::new(),
            lengths: BTreeSet::new(),
            carried: BTreeSet::new(),
            acls: each(
                json,
                "describe-network-acls",
                "NetworkAcls",
                super::rule::Acl::read,
            ),
            accounts: each(
                json,
                "describe-security-groups",
                "SecurityGroups",
                |group| text(group, "OwnerId").unwrap_or_default(),
            ),
        };
        for (place, eni) in world.enis.iter().enumerate() {
            world.carried.extend(eni.groups.iter().cloned());
            for net in &eni.owned {
                world.by_net.entry(*net).or_default().push(place);
                world.lengths.insert(net.len);
            }
        }
        world.groups = super::rule::groups(&world);
        world
    }

    pub fn vpc(&self, id: &str) -> Option<&Vpc> {
        self.vpcs.iter().find(|vpc| vpc.id == id)
    }

    pub fn subnet(&self, id: &str) -> &Subnet {
        self.subnets.iter().find(|subnet| subnet.id == id).unwrap()
    }

    pub fn eni(&self, id: &str) -> Option<&Eni> {
        self.enis.iter().find(|eni| eni.id == id)
    }

    /// Everybody who owns an address.
    pub fn owners(&self, address: IpAddr) -> Vec<&Eni> {
        let places: BTreeSet<usize> = self
            .lengths
            .iter()
            .filter_map(|len| self.by_net.get(&Net::around(address, *len)))
            .flatten()
            .copied()
            .collect();
        places.into_iter().map(|place| &self.enis[place]).collect()
    }

    /// The instance of an interface: its attachment's, else the one that lists it; of a branch its trunk's.
    pub fn instance_of(&self, eni: &Eni) -> Option<String> {
        if eni.branch {
            let trunk = self.eni(eni.trunk.as_ref()?)?;
            return self.instance_of(trunk);
        }
        eni.attached.clone().or_else(|| {
            let lister = self.instances.iter().find(|it| it.enis.contains(&eni.id));
            lister.map(|it| it.id.clone())
        })
    }

    /// The instance, or the interface itself.
    pub fn host_of(&self, eni: &Eni) -> String {
        self.instance_of(eni).unwrap_or_else(|| eni.id.clone())
    }

    /// Device index 0 on network card 0, else the one with the instance's `PrivateIpAddress`.
    pub fn primary_of(&self, instance: &str) -> Option<&Eni> {
        let own: Vec<&Eni> = self
            .enis
            .iter()
            .filter(|eni| !eni.branch && self.instance_of(eni).as_deref() == Some(instance))
            .collect();
        let first = own
            .iter()
            .find(|eni| eni.device == Some(0) && eni.card == 0);
        let by_address = || {
            let record = self.instances.iter().find(|it| it.id == instance)?;
            let address = record.address?;
            own.iter()
                .find(|eni| eni.owned.contains(&Net::host(address)))
        };
        first.or_else(by_address).copied()
    }

    /// Strict unless the CNI says standard.
    pub fn strict(&self) -> bool {
        self.cni
            .get("POD_SECURITY_GROUP_ENFORCING_MODE")
            .is_none_or(|mode| mode != "standard")
    }
}

/// Peerings as several accounts see them: one list, in which each has what any of its views says.
fn with_peerings_of_all_accounts(json: &Map<String, Value>) -> Map<String, Value> {
    const STEM: &str = "describe-vpc-peering-connections";
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    for (stem, file) in json {
        if stem == STEM || stem.starts_with(&format!("{STEM}.")) {
            for row in list(file, "VpcPeeringConnections") {
                let id = text(row, "VpcPeeringConnectionId").unwrap();
                let known = found.entry(id).or_insert(Value::Null);
                *known = both(known, row);
            }
        }
    }
    let mut json = json.clone();
    if !found.is_empty() {
        let rows: Vec<Value> = found.into_values().collect();
        let file = serde_json::json!({"VpcPeeringConnections": rows});
        json.insert(STEM.to_owned(), file);
    }
    json
}

/// Two views as one: what the first lacks the second has.
fn both(one: &Value, other: &Value) -> Value {
    match (one, other) {
        (Value::Null, other) => other.clone(),
        (Value::Object(one), Value::Object(other)) => {
            let mut union = other.clone();
            for (key, value) in one {
                let theirs = other.get(key).unwrap_or(&Value::Null);
                union.insert(key.clone(), both(value, theirs));
            }
            Value::Object(union)
        }
        (one, _) => one.clone(),
    }
}

fn network_config(json: &Map<String, Value>) -> Option<&Value> {
    json.get("describe-cluster")?
        .pointer("/cluster/kubernetesNetworkConfig")
}

fn each<T>(json: &Map<String, Value>, stem: &str, key: &str, read: impl Fn(&Value) -> T) -> Vec<T> {
    rows(json, stem, key).iter().map(read).collect()
}

fn vpc(value: &Value) -> Vpc {
    let primary = text(value, "CidrBlock").map(|cidr| Net::read(&cidr));
    let mut cidrs = associated(
        value,
        "CidrBlockAssociationSet",
        "CidrBlock",
        "CidrBlockState",
    );
    cidrs.extend(primary);
    cidrs.extend(associated(
        value,
        "Ipv6CidrBlockAssociationSet",
        "Ipv6CidrBlock",
        "Ipv6CidrBlockState",
    ));
    Vpc {
        id: text(value, "VpcId").unwrap(),
        primary,
        cidrs,
    }
}

fn subnet(value: &Value) -> Subnet {
    let mut cidrs = associated(
        value,
        "Ipv6CidrBlockAssociationSet",
        "Ipv6CidrBlock",
        "Ipv6CidrBlockState",
    );
    cidrs.extend(text(value, "CidrBlock").map(|cidr| Net::read(&cidr)));
    Subnet {
        id: text(value, "SubnetId").unwrap(),
        vpc: text(value, "VpcId").unwrap(),
        cidrs,
        zone: text(value, "AvailabilityZone"),
        zone_id: text(value, "AvailabilityZoneId"),
    }
}

fn eni(value: &Value) -> Eni {
    let primary: Option<IpAddr> = text(value, "PrivateIpAddress").map(|it| it.parse().unwrap());
    let mut owned: Vec<Net> = primary.into_iter().map(Net::host).collect();
    for (key, field) in [
        ("PrivateIpAddresses", "PrivateIpAddress"),
        ("Ipv6Addresses", "Ipv6Address"),
    ] {
        let addresses = texts(value, key, field);
        owned.extend(addresses.iter().map(|it| Net::host(it.parse().unwrap())));
    }
    let mut prefixes: Vec<Net> = Vec::new();
    for (key, field) in [
        ("Ipv4Prefixes", "Ipv4Prefix"),
        ("Ipv6Prefixes", "Ipv6Prefix"),
    ] {
        prefixes.extend(texts(value, key, field).iter().map(|it| Net::read(it)));
    }
    owned.extend(prefixes.iter().copied());
    let attachment = value.get("Attachment").cloned().unwrap_or_default();
    let trunk = list(value, "TagSet")
        .iter()
        .find(|tag| tag["Key"] == "vpcresources.k8s.aws/trunk-eni-id");
    Eni {
        id: text(value, "NetworkInterfaceId").unwrap(),
        vpc: text(value, "VpcId").unwrap(),
        subnet: text(value, "SubnetId").unwrap(),
        primary,
        v6: texts(value, "Ipv6Addresses", "Ipv6Address")
            .iter()
            .map(|it| it.parse().unwrap())
            .collect(),
        prefixes,
        owned,
        groups: texts(value, "Groups", "GroupId"),
        branch: value.get("InterfaceType").is_some_and(|it| it == "branch"),
        trunk: trunk.and_then(|tag| text(tag, "Value")),
        attached: text(&attachment, "InstanceId"),
        device: attachment.get("DeviceIndex").and_then(Value::as_u64),
        card: attachment
            .get("NetworkCardIndex")
            .and_then(Value::as_u64)
            .unwrap_or(0),
        source_dest_check: value.get("SourceDestCheck") != Some(&Value::Bool(false)),
    }
}

fn instance(value: &Value) -> Instance {
    Instance {
        id: text(value, "InstanceId").unwrap(),
        address: text(value, "PrivateIpAddress").map(|it| it.parse().unwrap()),
        enis: texts(value, "NetworkInterfaces", "NetworkInterfaceId"),
    }
}

fn cni(json: &Map<String, Value>) -> BTreeMap<String, String> {
    let containers = json
        .get("aws-node")
        .and_then(|file| file.pointer("/spec/template/spec"))
        .map_or(&[][..], |spec| list(spec, "containers"));
    containers
        .iter()
        .filter(|container| container["name"] == "aws-node")
        .flat_map(|container| list(container, "env"))
        .filter_map(|entry| Some((text(entry, "name")?, text(entry, "value")?)))
        .collect()
}

fn prefix_lists(json: &Map<String, Value>) -> BTreeMap<String, Vec<Net>> {
    json.iter()
        .filter_map(|(stem, file)| {
            let id = stem.strip_prefix("get-managed-prefix-list-entries.")?;
            let entries = texts(file, "Entries", "Cidr");
            Some((
                id.to_owned(),
                entries.iter().map(|cidr| Net::read(cidr)).collect(),
            ))
        })
        .collect()
}
