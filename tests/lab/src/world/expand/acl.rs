//! Network ACLs.

use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::vpc::{set, subnets_with};
use super::{ACCOUNT, Expansion, dangling};
use crate::world::WorldError;
use crate::world::network::Acl;
use crate::world::notation::{AclAction, AclEntry, AclLine, Direction, IcmpRange, Traffic};

/// Whether a network ACL is the one that subnets get which name none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AclRole {
    Default,
    Named,
}

impl Expansion<'_> {
    /// The named lists, and a default one for each VPC, which allows everything (B.8).
    pub(super) fn acl_answers(self) -> Result<Vec<Value>, WorldError> {
        let open = Acl {
            ingress: vec![AclLine::Open],
            egress: vec![AclLine::Open],
        };
        let mut answers = Vec::new();
        for (vpc_name, vpc) in &self.world.vpcs {
            for (subnet_name, subnet) in &vpc.subnets {
                if let Some(acl) = &subnet.acl
                    && !self.world.acls.contains_key(acl)
                {
                    return Err(dangling(
                        &format!("subnet `{subnet_name}`"),
                        "network ACL",
                        acl,
                    ));
                }
            }
            let id = format!("acl-default-{vpc_name}");
            let unnamed = subnets_with(vpc, |subnet| subnet.acl.is_none());
            answers.push(acl_answer(
                (&id, AclRole::Default),
                vpc_name,
                &open,
                &unnamed,
            ));
            for (name, acl) in &self.world.acls {
                let named = subnets_with(vpc, |subnet| subnet.acl.as_ref() == Some(name));
                if !named.is_empty() {
                    answers.push(acl_answer(
                        (&format!("acl-{name}"), AclRole::Named),
                        vpc_name,
                        acl,
                        &named,
                    ));
                }
            }
        }
        Ok(answers)
    }
}

fn acl_answer((id, role): (&str, AclRole), vpc: &str, acl: &Acl, subnets: &[&String]) -> Value {
    let mut entries = acl_entries(&acl.ingress, Direction::Ingress);
    entries.extend(acl_entries(&acl.egress, Direction::Egress));
    let associations = subnets.iter().map(|subnet| {
        json!({
            "NetworkAclAssociationId": format!("aclassoc-{subnet}"),
            "NetworkAclId": id,
            "SubnetId": format!("subnet-{subnet}"),
        })
    });
    json!({
        "NetworkAclId": id,
        "VpcId": format!("vpc-{vpc}"),
        "OwnerId": ACCOUNT,
        "IsDefault": role == AclRole::Default,
        "Entries": entries,
        "Associations": associations.collect::<Value>(),
        "Tags": [],
    })
}

/// Entries of one direction, closed by the two deny entries that the API shows (B.2).
fn acl_entries(lines: &[AclLine], direction: Direction) -> Vec<Value> {
    let all = |number: u16, action: &str, key: &str, cidr: &str| {
        json!({
            "RuleNumber": number,
            "Protocol": "-1",
            "RuleAction": action,
            "Egress": direction == Direction::Egress,
            key: cidr,
        })
    };
    let mut entries = Vec::new();
    for line in lines {
        match line {
            AclLine::Open => {
                entries.push(all(100, "allow", "CidrBlock", "0.0.0.0/0"));
                entries.push(all(101, "allow", "Ipv6CidrBlock", "::/0"));
            }
            AclLine::Entry(entry) => entries.push(acl_entry(entry)),
        }
    }
    entries.push(all(32767, "deny", "CidrBlock", "0.0.0.0/0"));
    entries.push(all(32768, "deny", "Ipv6CidrBlock", "::/0"));
    entries
}

fn acl_entry(entry: &AclEntry) -> Value {
    let icmp = |range: &IcmpRange| json!({"Type": range.kind.map_or(-1, i16::from), "Code": range.code.map_or(-1, i16::from)});
    let range = |ports: &RangeInclusive<u16>| json!({"From": ports.start(), "To": ports.end()});
    let (protocol, detail) = match &entry.traffic {
        Traffic::All => ("-1".to_owned(), None),
        Traffic::Tcp(ports) => ("6".to_owned(), Some(("PortRange", range(ports)))),
        Traffic::Udp(ports) => ("17".to_owned(), Some(("PortRange", range(ports)))),
        Traffic::Icmp(kind) => ("1".to_owned(), Some(("IcmpTypeCode", icmp(kind)))),
        Traffic::IcmpV6(kind) => ("58".to_owned(), Some(("IcmpTypeCode", icmp(kind)))),
        Traffic::Protocol(number) => (number.to_string(), None),
    };
    let action = match entry.action {
        AclAction::Allow => "allow",
        AclAction::Deny => "deny",
    };
    let cidr_key = match entry.cidr {
        IpNet::V4(_) => "CidrBlock",
        IpNet::V6(_) => "Ipv6CidrBlock",
    };
    let mut answer = json!({
        "RuleNumber": entry.number,
        "Protocol": protocol,
        "RuleAction": action,
        "Egress": entry.direction == Direction::Egress,
        cidr_key: entry.cidr,
    });
    if let Some((key, value)) = detail {
        set(&mut answer, key, value);
    }
    answer
}
