//! Network ACLs and prefix lists.

use serde_json::{Value, json};

use super::Draft;

/// Ports of reply entries: around the ephemeral ranges.
const REPLIES: [(u16, u16); 6] = [
    (32768, 61000),
    (1024, 65535),
    (32768, 50000),
    (46001, 60999),
    (40000, 40000),
    (0, 65535),
];

impl Draft {
    /// An ACL for each VPC by default, and some for single subnets.
    pub fn acls(&mut self) {
        let mut acls = Vec::new();
        for place in 0..self.vpcs.len() {
            let vpc = self.vpcs[place].id;
            if self.dice.chance(98) {
                acls.push(self.acl(&format!("acl-{}", &vpc[4..]), vpc, &[], true));
            }
        }
        for place in 0..self.subnets.len() {
            if self.dice.chance(40) {
                let (id, vpc) = (self.subnets[place].id.clone(), self.subnets[place].vpc);
                acls.push(self.acl(&format!("acl-{}", &id[7..]), vpc, &[id], false));
            }
        }
        self.file("describe-network-acls", json!({"NetworkAcls": acls}));
    }

    fn acl(&mut self, id: &str, vpc: &str, subnets: &[String], default: bool) -> Value {
        let mut entries = Vec::new();
        for egress in [false, true] {
            entries.extend(self.entries(egress, default));
        }
        let associations: Vec<Value> = subnets
            .iter()
            .map(|subnet| json!({"SubnetId": subnet, "NetworkAclId": id}))
            .collect();
        json!({
            "NetworkAclId": id, "VpcId": vpc, "IsDefault": default, "Entries": entries,
            "Associations": associations,
        })
    }

    fn entries(&mut self, egress: bool, default: bool) -> Vec<Value> {
        let mut entries = Vec::new();
        if !default || self.dice.chance(10) {
            for number in 0..self.dice.below(4) {
                let mut entry = self.entry(90 + 2 * number);
                entry["Egress"] = json!(egress);
                entries.push(entry);
            }
        }
        if default || self.dice.chance(65) {
            for (number, key, cidr) in [
                (100, "CidrBlock", "0.0.0.0/0"),
                (101, "Ipv6CidrBlock", "::/0"),
            ] {
                entries.push(json!({
                    "RuleNumber": number, "Protocol": "-1", "RuleAction": "allow",
                    "Egress": egress, key: cidr,
                }));
            }
        }
        if self.dice.chance(80) {
            for (number, key, cidr) in [
                (32767, "CidrBlock", "0.0.0.0/0"),
                (32768, "Ipv6CidrBlock", "::/0"),
            ] {
                entries.push(json!({
                    "RuleNumber": number, "Protocol": "-1", "RuleAction": "deny",
                    "Egress": egress, key: cidr,
                }));
            }
        }
        if !entries.is_empty() {
            let turn = self.dice.below(entries.len());
            entries.rotate_left(turn);
        }
        entries
    }

    fn entry(&mut self, number: usize) -> Value {
        let protocol = *self
            .dice
            .pick(&["6", "6", "6", "17", "1", "58", "50", "-1"]);
        let mut entry = json!({
            "RuleNumber": number, "Protocol": protocol,
            "RuleAction": if self.dice.chance(60) { "allow" } else { "deny" },
        });
        let cidr = *self.dice.pick(&[
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.0.1.0/24",
            "10.0.2.0/24",
            "10.1.0.0/16",
            "2600:1f14:abc::/56",
            "::/0",
        ]);
        entry[if cidr.contains(':') {
            "Ipv6CidrBlock"
        } else {
            "CidrBlock"
        }] = json!(cidr);
        match protocol {
            "6" | "17" => {
                let (from, to) = if self.dice.chance(60) {
                    *self.dice.pick(&REPLIES)
                } else {
                    *self.dice.pick(&super::groups::RANGES)
                };
                entry["PortRange"] = json!({"From": from, "To": to});
            }
            "1" | "58" => {
                let (kind, code) = *self
                    .dice
                    .pick(&[(-1, -1), (8, -1), (8, 0), (128, -1), (3, 4)]);
                entry["IcmpTypeCode"] = json!({"Type": kind, "Code": code});
            }
            _ => {}
        }
        entry
    }

    /// Lists that can be read (`pl-a`, `pl-b`, `pl-6`, at times `pl-s3`) and `pl-x`, which cannot.
    pub fn prefix_lists(&mut self) {
        let all = [
            ("pl-a", vec!["10.0.1.0/24", "192.0.2.0/24"]),
            (
                "pl-b",
                vec![
                    "10.1.0.0/16",
                    "10.0.2.16/28",
                    "10.2.1.10/32",
                    "2600:1f14:abc:1::/64",
                ],
            ),
            (
                "pl-6",
                vec!["2600:1f14:abd::/56", "2600:1f14:abc:2::/80", "::/1"],
            ),
            ("pl-s3", vec!["52.216.0.0/15", "3.5.0.0/19"]),
        ];
        for (id, cidrs) in all {
            if id == "pl-s3" && self.dice.chance(50) {
                continue;
            }
            let entries: Vec<Value> = cidrs.iter().map(|cidr| json!({"Cidr": cidr})).collect();
            self.file(
                &format!("get-managed-prefix-list-entries.{id}"),
                json!({"Entries": entries}),
            );
        }
    }
}
