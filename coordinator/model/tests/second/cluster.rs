//! A large cluster: the world of the performance goals, from a seed.
//!
//! One VPC with a /16 for each subnet, a network ACL for each subnet, and nodes with two interfaces and delegated /28
//! prefixes, whose sets of security groups follow Zipf's law. Peers of rules are groups, the VPC, the Region and subnets.

use serde_json::{Map, Value, json};

use super::random::{ACCOUNT, Dice, ZONES};

/// How large a cluster is.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// EC2 instances, two interfaces each.
    pub nodes: usize,
    /// Sets of security groups that nodes carry.
    pub sets: usize,
    /// Subnets, at most 32.
    pub subnets: usize,
    /// Security groups.
    pub groups: usize,
    /// Delegated /28 prefixes of a node.
    pub prefixes: usize,
}

impl Shape {
    /// The world of the goals: 10,005 interfaces and 35,000 prefixes.
    pub const FULL: Self = Self {
        nodes: 5_000,
        sets: 60,
        subnets: 20,
        groups: 40,
        prefixes: 7,
    };
}

/// Ports that plans ask for: those that rules often mention.
pub const PROBED_PORTS: [u16; 6] = [443, 53, 10250, 8080, 9443, 7500];

/// Rules of a group in one direction.
const RULES: usize = 12;
/// Interfaces of the control plane.
const CONTROL_PLANE: usize = 5;

/// Builds the describe answers of a cluster.
pub fn cluster(seed: u64, shape: Shape) -> Map<String, Value> {
    let mut dice = Dice::new(seed);
    let mut files = Map::new();
    networks(&mut files, shape);
    groups(&mut files, &mut dice, shape);
    interfaces(&mut files, &mut dice, shape);
    acls(&mut files, &mut dice, shape);
    files.insert(
        "describe-cluster".to_owned(),
        json!({"cluster": {
            "name": "demo", "status": "ACTIVE",
            "resourcesVpcConfig": {
                "vpcId": "vpc-v", "clusterSecurityGroupId": "sg-000", "subnetIds": [],
                "securityGroupIds": [],
            },
            "kubernetesNetworkConfig": {"ipFamily": "ipv4"},
        }}),
    );
    files
}

/// Network of a subnet.
pub fn subnet_cidr(subnet: usize) -> String {
    format!("10.{subnet}.0.0/16")
}

/// Address of a subnet by its place, from 0.
fn address(subnet: usize, place: usize) -> String {
    let place = place + 4;
    format!("10.{subnet}.{}.{}", place / 256, place % 256)
}

fn networks(files: &mut Map<String, Value>, shape: Shape) {
    let cidrs: Vec<Value> = (0..shape.subnets)
        .map(|subnet| {
            json!({
                "CidrBlock": subnet_cidr(subnet), "CidrBlockState": {"State": "associated"},
            })
        })
        .collect();
    files.insert(
        "describe-vpcs".to_owned(),
        json!({"Vpcs": [{
            "VpcId": "vpc-v", "OwnerId": ACCOUNT, "CidrBlock": "10.0.0.0/16",
            "CidrBlockAssociationSet": cidrs,
        }]}),
    );
    let subnets: Vec<Value> = (0..shape.subnets)
        .map(|subnet| {
            json!({
                "SubnetId": format!("subnet-{subnet}"), "VpcId": "vpc-v",
                "CidrBlock": subnet_cidr(subnet), "AvailabilityZone": ZONES[subnet % ZONES.len()],
            })
        })
        .collect();
    files.insert("describe-subnets".to_owned(), json!({"Subnets": subnets}));
    let mut routes: Vec<Value> = cidrs
        .iter()
        .map(|cidr| json!({"DestinationCidrBlock": cidr["CidrBlock"], "GatewayId": "local"}))
        .collect();
    routes.push(json!({"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1"}));
    files.insert(
        "describe-route-tables".to_owned(),
        json!({"RouteTables": [{
            "RouteTableId": "rtb-v", "VpcId": "vpc-v", "Routes": routes,
            "Associations": [{"Main": true}],
        }]}),
    );
}

fn groups(files: &mut Map<String, Value>, dice: &mut Dice, shape: Shape) {
    let mut groups = Vec::new();
    let mut rows = Vec::new();
    for group in 0..shape.groups {
        let id = format!("sg-{group:03}");
        let mut permissions = [Vec::new(), Vec::new()];
        for (egress, permissions) in permissions.iter_mut().enumerate() {
            let mut drawn: Vec<Value> = Vec::new();
            while drawn.len() < RULES {
                let (permission, mut row) = rule(dice, shape);
                // Amazon holds no rule twice.
                if drawn.contains(&row) {
                    continue;
                }
                drawn.push(row.clone());
                row["SecurityGroupRuleId"] = json!(format!("sgr-{:016x}", dice.next()));
                row["GroupId"] = json!(id);
                row["IsEgress"] = json!(egress == 1);
                rows.push(row);
                permissions.push(permission);
            }
        }
        let [ingress, egress] = permissions;
        groups.push(json!({
            "GroupId": id, "GroupName": format!("group-{group}"), "OwnerId": ACCOUNT,
            "VpcId": "vpc-v", "IpPermissions": ingress, "IpPermissionsEgress": egress,
        }));
    }
    files.insert(
        "describe-security-groups".to_owned(),
        json!({"SecurityGroups": groups}),
    );
    files.insert(
        "describe-security-group-rules".to_owned(),
        json!({"SecurityGroupRules": rows}),
    );
    files.insert(
        "get-managed-prefix-list-entries.pl-a".to_owned(),
        json!({"Entries": [{"Cidr": subnet_cidr(1)}, {"Cidr": subnet_cidr(3)}]}),
    );
}

/// One rule as a permission, and as `describe-security-group-rules` shows it.
fn rule(dice: &mut Dice, shape: Shape) -> (Value, Value) {
    let protocol = *dice.pick(&["tcp", "tcp", "tcp", "tcp", "tcp", "tcp", "tcp", "udp", "-1"]);
    let mut permission = json!({"IpProtocol": protocol});
    let mut row = json!({"IpProtocol": protocol, "FromPort": -1, "ToPort": -1});
    if protocol != "-1" {
        let (from, to) = ports(dice);
        for object in [&mut permission, &mut row] {
            object["FromPort"] = json!(from);
            object["ToPort"] = json!(to);
        }
    }
    match dice.below(20) {
        0..10 => {
            let group = format!("sg-{:03}", dice.below(shape.groups));
            let pair = json!({"GroupId": group, "UserId": ACCOUNT});
            permission["UserIdGroupPairs"] = json!([pair]);
            row["ReferencedGroupInfo"] = pair;
        }
        10 => {
            // A list that nobody could read, now and then: the relation has three values.
            let list = if dice.chance(20) { "pl-x" } else { "pl-a" };
            permission["PrefixListIds"] = json!([{"PrefixListId": list}]);
            row["PrefixListId"] = json!(list);
        }
        place => {
            let cidr = match place {
                11..14 => "10.0.0.0/8".to_owned(),
                14..16 => "10.0.0.0/11".to_owned(),
                _ => subnet_cidr(dice.below(shape.subnets)),
            };
            permission["IpRanges"] = json!([{"CidrIp": cidr}]);
            row["CidrIpv4"] = json!(cidr);
        }
    }
    (permission, row)
}

/// Well-known ports, single ones of a pool, and ranges of a pool.
fn ports(dice: &mut Dice) -> (u16, u16) {
    let drawn = u16::try_from(dice.below(63)).unwrap();
    match dice.below(10) {
        0..4 => {
            let port = *dice.pick(&PROBED_PORTS);
            (port, port)
        }
        4..8 => (3000 + 37 * drawn, 3000 + 37 * drawn),
        _ => (20_000 + 100 * drawn, 20_000 + 100 * drawn + 49),
    }
}

fn interfaces(files: &mut Map<String, Value>, dice: &mut Dice, shape: Shape) {
    let sets: Vec<Vec<String>> = (0..shape.sets)
        .map(|set| {
            // The first group tells sets apart, others may repeat.
            let mut groups = vec![set % shape.groups];
            for _ in 0..=set / shape.groups {
                groups.push(dice.below(shape.groups));
            }
            groups.push((7 * set + 3) % shape.groups);
            groups.sort_unstable();
            groups.dedup();
            groups
                .iter()
                .map(|group| format!("sg-{group:03}"))
                .collect()
        })
        .collect();
    let mut next = vec![0; shape.subnets];
    let mut enis = Vec::new();
    let mut instances = Vec::new();
    let mut hosts = Vec::new();
    for node in 0..shape.nodes {
        hosts.push((node, dice.below(shape.subnets), zipf(dice, shape.sets)));
    }
    // Single addresses first, so that prefixes of 16 stay aligned behind them.
    for (node, subnet, set) in &hosts {
        for device in 0..2 {
            let place = next[*subnet];
            next[*subnet] += 1;
            let id = format!("eni-{node:05}-{device}");
            let mut eni = interface(&id, (*subnet, &address(*subnet, place)), &sets[*set]);
            eni["Attachment"] =
                json!({"InstanceId": format!("i-{node:05}"), "DeviceIndex": device});
            enis.push(eni);
        }
        instances.push(json!({
            "InstanceId": format!("i-{node:05}"), "State": {"Name": "running"},
            "PrivateIpAddress": enis[2 * node]["PrivateIpAddress"],
        }));
    }
    let mut prefix = vec![0; shape.subnets];
    for (node, subnet, _) in &hosts {
        for place in 0..shape.prefixes {
            // The first 4,096 addresses of a subnet are for interfaces.
            let first = address(*subnet, 4096 + 16 * prefix[*subnet] - 4);
            prefix[*subnet] += 1;
            // The secondary interface carries most pods.
            let eni = &mut enis[2 * node + usize::from(place > 1)];
            let list = json!({"Ipv4Prefix": format!("{first}/28")});
            match eni["Ipv4Prefixes"].as_array_mut() {
                Some(prefixes) => prefixes.push(list),
                None => eni["Ipv4Prefixes"] = json!([list]),
            }
        }
    }
    for number in 0..CONTROL_PLANE {
        let subnet = number % shape.subnets;
        let place = next[subnet];
        next[subnet] += 1;
        let groups = ["sg-000".to_owned(), "sg-001".to_owned()];
        let mut eni = interface(
            &format!("eni-x{number}"),
            (subnet, &address(subnet, place)),
            &groups,
        );
        eni["Description"] = json!("Amazon EKS demo");
        enis.push(eni);
    }
    files.insert(
        "describe-network-interfaces".to_owned(),
        json!({"NetworkInterfaces": enis}),
    );
    files.insert(
        "describe-instances".to_owned(),
        json!({"Reservations": [{"Instances": instances}]}),
    );
}

fn interface(id: &str, (subnet, address): (usize, &str), groups: &[String]) -> Value {
    let groups: Vec<Value> = groups.iter().map(|id| json!({"GroupId": id})).collect();
    json!({
        "NetworkInterfaceId": id, "VpcId": "vpc-v", "SubnetId": format!("subnet-{subnet}"),
        "OwnerId": ACCOUNT, "Status": "in-use", "InterfaceType": "interface",
        "SourceDestCheck": true, "Description": "", "PrivateIpAddress": address,
        "PrivateIpAddresses": [{"PrivateIpAddress": address, "Primary": true}], "Groups": groups,
    })
}

/// A number below `bound` by Zipf's law.
fn zipf(dice: &mut Dice, bound: usize) -> usize {
    let weight = |place: usize| 1_000_000 / (place + 2);
    let total: usize = (0..bound).map(weight).sum();
    let mut drawn = dice.below(total);
    for place in 0..bound {
        if drawn < weight(place) {
            return place;
        }
        drawn -= weight(place);
    }
    bound - 1
}

fn acls(files: &mut Map<String, Value>, dice: &mut Dice, shape: Shape) {
    let mut acls = Vec::new();
    for subnet in 0..shape.subnets {
        let mut entries = Vec::new();
        for egress in [false, true] {
            for number in 0..2 {
                let (from, to) = ports(dice);
                let far = dice.below(shape.subnets);
                entries.push(json!({
                    "RuleNumber": 90 + number, "Protocol": "6", "RuleAction": "deny",
                    "Egress": egress, "CidrBlock": subnet_cidr(far),
                    "PortRange": {"From": from, "To": to},
                }));
            }
            entries.push(json!({
                "RuleNumber": 100, "Protocol": "-1", "RuleAction": "allow", "Egress": egress,
                "CidrBlock": "0.0.0.0/0",
            }));
        }
        acls.push(json!({
            "NetworkAclId": format!("acl-{subnet}"), "VpcId": "vpc-v", "IsDefault": false,
            "Entries": entries,
            "Associations": [{"SubnetId": format!("subnet-{subnet}")}],
        }));
    }
    files.insert(
        "describe-network-acls".to_owned(),
        json!({"NetworkAcls": acls}),
    );
}

/// Random TCP flows between addresses of a cluster: of interfaces and of delegated prefixes, each half of the time.
pub fn flows(seed: u64, shape: Shape, count: usize) -> Vec<reachproof_model::flow::Flow> {
    let mut dice = Dice::new(seed);
    let each = shape.nodes / shape.subnets;
    let end = |dice: &mut Dice| {
        let subnet = dice.below(shape.subnets);
        let place = if dice.chance(50) {
            dice.below(2 * each * 9 / 10)
        } else {
            4096 - 4 + dice.below(16 * shape.prefixes * each * 9 / 10)
        };
        address(subnet, place).parse().unwrap()
    };
    (0..count)
        .map(|_| {
            let (source, destination) = (end(&mut dice), end(&mut dice));
            let (port, _) = ports(&mut dice);
            reachproof_model::flow::Flow::tcp(source, destination, port)
        })
        .collect()
}

/// An agent on the primary interface of every node of a cluster.
pub fn agents(files: &Map<String, Value>) -> reachproof_model::plan::Roster {
    let enis = files["describe-network-interfaces"]["NetworkInterfaces"]
        .as_array()
        .unwrap();
    let primaries = enis
        .iter()
        .filter(|eni| eni["Attachment"]["DeviceIndex"] == 0);
    reachproof_model::plan::Roster::new(primaries.map(|eni| {
        let name = eni["Attachment"]["InstanceId"].as_str().unwrap();
        reachproof_model::plan::RosterAgent {
            name: reachproof_model::observation::AgentName::try_from(name).unwrap(),
            node: None,
            kind: reachproof_model::plan::AgentKind::Node,
            addresses: vec![eni["PrivateIpAddress"].as_str().unwrap().parse().unwrap()],
            ephemeral_ports: reachproof_model::flow::EPHEMERAL_PORTS_DEFAULT,
            stream_address: None,
        }
    }))
}
