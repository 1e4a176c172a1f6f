//! Security groups, their rules and prefix lists.

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::vpc::set;
use super::{ACCOUNT, Expansion, dangling, tags};
use crate::world::WorldError;
use crate::world::notation::{Direction, IcmpRange, Peer, Rule, Traffic};

impl<'w> Expansion<'w> {
    pub(super) fn add_groups(self, answers: &mut Map<String, Value>) -> Result<(), WorldError> {
        let mut groups = Vec::new();
        let mut rules = Vec::new();
        for (name, group) in &self.world.security_groups {
            let (vpc, _) = self.vpc_of(&format!("security group `{name}`"), group.vpc.as_ref())?;
            let mut permissions = [Vec::new(), Vec::new()];
            for ((list, word), out) in [(&group.ingress, "in"), (&group.egress, "out")]
                .into_iter()
                .zip(&mut permissions)
            {
                for (index, rule) in list.iter().enumerate() {
                    let place = format!("rule {} `{word}` of security group `{name}`", index + 1);
                    out.push(self.permission(&place, vpc, rule)?);
                    let id = format!("sgr-{name}-{word}-{:02}", index + 1);
                    rules.push(self.rule(&id, name, rule));
                }
            }
            let [ingress, egress] = permissions;
            groups.push(self.group(name, vpc, ingress, egress));
        }
        answers.insert(
            "describe-security-groups".to_owned(),
            json!({"SecurityGroups": groups}),
        );
        answers.insert(
            "describe-security-group-rules".to_owned(),
            json!({"SecurityGroupRules": rules}),
        );
        answers.insert(
            "describe-stale-security-groups".to_owned(),
            json!({"StaleSecurityGroupSet": []}),
        );
        answers.insert(
            "describe-security-group-vpc-associations".to_owned(),
            json!({"SecurityGroupVpcAssociations": []}),
        );
        self.add_prefix_lists(answers);
        Ok(())
    }

    /// The cluster group carries the name and the tags that EKS gives it [D.2].
    fn group(self, name: &str, vpc: &str, ingress: Vec<Value>, egress: Vec<Value>) -> Value {
        let cluster = &self.world.cluster;
        let (group_name, tags) = if *name == cluster.security_group {
            let group_name = format!("eks-cluster-sg-{}-1234567890", cluster.name);
            let owned = format!("kubernetes.io/cluster/{}", cluster.name);
            let tags = tags(&[
                (&owned, "owned"),
                ("aws:eks:cluster-name", &cluster.name),
                ("Name", &group_name),
            ]);
            (group_name, tags)
        } else {
            (name.to_owned(), tags(&[("Name", name)]))
        };
        json!({
            "GroupId": format!("sg-{name}"),
            "GroupName": group_name,
            "Description": name,
            "OwnerId": ACCOUNT,
            "VpcId": format!("vpc-{vpc}"),
            "IpPermissions": ingress,
            "IpPermissionsEgress": egress,
            "Tags": tags,
        })
    }

    fn permission(self, place: &str, vpc: &str, rule: &Rule) -> Result<Value, WorldError> {
        let mut permission = json!({
            "IpProtocol": protocol(&rule.traffic),
            "IpRanges": [],
            "Ipv6Ranges": [],
            "PrefixListIds": [],
            "UserIdGroupPairs": [],
        });
        let (key, value) = match &rule.peer {
            Peer::Cidr(cidr @ IpNet::V4(_)) => ("IpRanges", json!({"CidrIp": cidr})),
            Peer::Cidr(cidr @ IpNet::V6(_)) => ("Ipv6Ranges", json!({"CidrIpv6": cidr})),
            Peer::PrefixList(name) if self.world.prefix_lists.contains_key(name) => (
                "PrefixListIds",
                json!({"PrefixListId": format!("pl-{name}")}),
            ),
            Peer::PrefixList(name) => return Err(dangling(place, "prefix list", name)),
            Peer::Group(name) => ("UserIdGroupPairs", self.pair(place, vpc, name)?),
        };
        set(&mut permission, key, json!([value]));
        // The API omits both ports for -1 and for protocols without ports [A.2].
        if let Some((first, last)) = ports(&rule.traffic) {
            set(&mut permission, "FromPort", json!(first));
            set(&mut permission, "ToPort", json!(last));
        }
        Ok(permission)
    }

    /// A reference; into a peered VPC it says so (A.3).
    fn pair(self, place: &str, vpc: &str, name: &str) -> Result<Value, WorldError> {
        let group = self.world.security_groups.get(name);
        let group = group.ok_or_else(|| dangling(place, "security group", name))?;
        let (other, _) = self.vpc_of(&format!("security group `{name}`"), group.vpc.as_ref())?;
        let mut pair = json!({"GroupId": format!("sg-{name}"), "UserId": ACCOUNT});
        if other != vpc {
            set(&mut pair, "VpcId", json!(format!("vpc-{other}")));
            if let Some(peering) = self.peering_between(vpc, other) {
                set(
                    &mut pair,
                    "VpcPeeringConnectionId",
                    json!(format!("pcx-{peering}")),
                );
                set(&mut pair, "PeeringStatus", json!("active"));
            }
        }
        Ok(pair)
    }

    fn peering_between(self, one: &str, other: &str) -> Option<&'w String> {
        let joins = |requester: &str, accepter: &str| {
            (requester == one && accepter == other) || (requester == other && accepter == one)
        };
        let mut peerings = self.world.peerings.iter();
        peerings
            .find(|(_, peering)| joins(&peering.requester, &peering.accepter))
            .map(|(name, _)| name)
    }

    fn rule(self, id: &str, group: &str, rule: &Rule) -> Value {
        let (first, last) = ports(&rule.traffic).unwrap_or((-1, -1));
        let mut answer = json!({
            "SecurityGroupRuleId": id,
            "GroupId": format!("sg-{group}"),
            "GroupOwnerId": ACCOUNT,
            "IsEgress": rule.direction == Direction::Egress,
            "IpProtocol": protocol(&rule.traffic),
            "FromPort": first,
            "ToPort": last,
            "Tags": [],
        });
        let (key, value) = match &rule.peer {
            Peer::Cidr(cidr @ IpNet::V4(_)) => ("CidrIpv4", json!(cidr)),
            Peer::Cidr(cidr @ IpNet::V6(_)) => ("CidrIpv6", json!(cidr)),
            Peer::PrefixList(name) => ("PrefixListId", json!(format!("pl-{name}"))),
            Peer::Group(name) => (
                "ReferencedGroupInfo",
                json!({"GroupId": format!("sg-{name}"), "UserId": ACCOUNT}),
            ),
        };
        set(&mut answer, key, value);
        answer
    }

    fn add_prefix_lists(self, answers: &mut Map<String, Value>) {
        let lists = self.world.prefix_lists.iter().map(|(name, cidrs)| {
            let family = match cidrs.first() {
                Some(IpNet::V6(_)) => "IPv6",
                Some(IpNet::V4(_)) | None => "IPv4",
            };
            json!({
                "PrefixListId": format!("pl-{name}"),
                "PrefixListName": name,
                "AddressFamily": family,
                "State": "create-complete",
                "MaxEntries": cidrs.len(),
                "Version": 1,
                "OwnerId": ACCOUNT,
            })
        });
        answers.insert(
            "describe-managed-prefix-lists".to_owned(),
            json!({"PrefixLists": lists.collect::<Value>()}),
        );
        for (name, cidrs) in &self.world.prefix_lists {
            let entries: Value = cidrs.iter().map(|cidr| json!({"Cidr": cidr})).collect();
            answers.insert(
                format!("get-managed-prefix-list-entries.pl-{name}"),
                json!({"Entries": entries}),
            );
        }
    }
}

fn protocol(traffic: &Traffic) -> String {
    match traffic {
        Traffic::All => "-1".to_owned(),
        Traffic::Tcp(_) => "tcp".to_owned(),
        Traffic::Udp(_) => "udp".to_owned(),
        Traffic::Icmp(_) => "icmp".to_owned(),
        Traffic::IcmpV6(_) => "icmpv6".to_owned(),
        Traffic::Protocol(number) => number.to_string(),
    }
}

/// `FromPort` and `ToPort`: ports, or ICMP type and code with -1 for all (A.2).
fn ports(traffic: &Traffic) -> Option<(i32, i32)> {
    let icmp = |range: &IcmpRange| {
        (
            range.kind.map_or(-1, i32::from),
            range.code.map_or(-1, i32::from),
        )
    };
    match traffic {
        Traffic::All | Traffic::Protocol(_) => None,
        Traffic::Tcp(ports) | Traffic::Udp(ports) => {
            Some((i32::from(*ports.start()), i32::from(*ports.end())))
        }
        Traffic::Icmp(range) | Traffic::IcmpV6(range) => Some(icmp(range)),
    }
}
