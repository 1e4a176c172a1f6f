//! Security groups, their rules, rule ids and stale references.

use serde_json::{Value, json};

use super::{ACCOUNT, Draft};

/// Port ranges that rules and flows share, so that they meet.
pub const RANGES: [(u16, u16); 9] = [
    (443, 443),
    (53, 53),
    (8080, 8080),
    (10250, 10250),
    (7500, 7509),
    (1025, 65535),
    (0, 65535),
    (8000, 9000),
    (443, 445),
];

const CIDRS: [&str; 14] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.1.0.0/16",
    "10.2.0.0/16",
    "10.0.1.0/24",
    "10.0.2.0/24",
    "10.0.1.64/27",
    "10.0.1.10/32",
    "10.0.2.0/25",
    "10.0.1.12/30",
    "10.1.1.0/28",
    "192.0.2.0/24",
    "10.0.1.11/31",
];

const CIDRS_V6: [&str; 5] = [
    "::/0",
    "2600:1f14:abc::/56",
    "2600:1f14:abc:1::/64",
    "2600:1f14:abd::/56",
    "2600:1f14:abc:1::a/128",
];

/// One rule with all that names it.
struct Drawn {
    protocol: String,
    ports: Option<(i64, i64)>,
    set: &'static str,
    peer: Value,
    /// The peer as `describe-security-group-rules` writes it.
    row: Value,
    stale: bool,
}

impl Draft {
    /// Groups of every VPC.
    pub fn groups(&mut self) {
        for place in 0..self.vpcs.len() {
            let count = if place == 0 { self.size.groups } else { 2 };
            let vpc = self.vpcs[place].id;
            for number in 0..count {
                self.groups
                    .push((vpc.to_owned(), format!("sg-{}{number}", &vpc[4..])));
            }
        }
        let (mut described, mut rows, mut stale) = (Vec::new(), Vec::new(), Vec::new());
        for (vpc, id) in self.groups.clone() {
            let ingress = self.rules(&vpc, false);
            let egress = self.rules(&vpc, true);
            rows.extend(self.rows(&id, false, &ingress));
            rows.extend(self.rows(&id, true, &egress));
            stale.extend(stale_set(&id, &ingress, &egress));
            described.push(json!({
                "GroupId": id, "GroupName": id, "OwnerId": ACCOUNT, "VpcId": vpc,
                "IpPermissions": permissions(&ingress), "IpPermissionsEgress": permissions(&egress),
            }));
        }
        self.file(
            "describe-security-groups",
            json!({"SecurityGroups": described}),
        );
        if self.dice.chance(85) {
            self.file(
                "describe-security-group-rules",
                json!({"SecurityGroupRules": rows}),
            );
        }
        self.file(
            "describe-stale-security-groups",
            json!({"StaleSecurityGroupSet": stale}),
        );
    }

    fn rules(&mut self, vpc: &str, egress: bool) -> Vec<Drawn> {
        let mut drawn = Vec::new();
        if self.dice.chance(if egress { 65 } else { 35 }) {
            drawn.push(cidr_rule("-1", None, "0.0.0.0/0"));
            if self.dice.chance(70) {
                drawn.push(cidr_rule("-1", None, "::/0"));
            }
        }
        for _ in 0..self.dice.below(if egress { 3 } else { 6 }) {
            let rule = self.rule(vpc);
            drawn.push(rule);
        }
        drawn
    }

    fn rule(&mut self, vpc: &str) -> Drawn {
        let protocol = *self.dice.pick(&[
            "tcp", "tcp", "tcp", "6", "udp", "icmp", "icmpv6", "50", "-1", "-1",
        ]);
        let ports = self.ports(protocol);
        match self.dice.below(10) {
            0..4 => {
                let cidr = *self.dice.pick(&CIDRS);
                cidr_rule(protocol, ports, cidr)
            }
            4 => {
                let cidr = *self.dice.pick(&CIDRS_V6);
                cidr_rule(protocol, ports, cidr)
            }
            5 => {
                let list = *self.dice.pick(&["pl-a", "pl-b", "pl-6", "pl-x"]);
                Drawn {
                    protocol: protocol.to_owned(),
                    ports,
                    set: "PrefixListIds",
                    peer: json!({"PrefixListId": list}),
                    row: json!({"PrefixListId": list}),
                    stale: false,
                }
            }
            _ => self.reference(vpc, protocol, ports),
        }
    }

    fn ports(&mut self, protocol: &str) -> Option<(i64, i64)> {
        match protocol {
            "tcp" | "6" | "udp" => {
                let (from, to) = *self.dice.pick(&RANGES);
                Some((i64::from(from), i64::from(to)))
            }
            "icmp" | "icmpv6" if self.dice.chance(80) => {
                Some(
                    *self
                        .dice
                        .pick(&[(-1, -1), (8, -1), (8, 0), (3, 4), (128, -1), (128, 0)]),
                )
            }
            // Ports that mean nothing.
            _ if self.dice.chance(20) => Some((80, 80)),
            _ => None,
        }
    }

    fn reference(&mut self, vpc: &str, protocol: &str, ports: Option<(i64, i64)>) -> Drawn {
        let same: Vec<_> = self
            .groups
            .iter()
            .filter(|it| it.0 == vpc)
            .cloned()
            .collect();
        let all = self.groups.clone();
        let (home, group) = if self.dice.chance(60) {
            self.dice.pick(&same).clone()
        } else {
            self.dice.pick(&all).clone()
        };
        let mut pair = json!({"GroupId": group, "UserId": ACCOUNT});
        if home != vpc {
            pair["VpcId"] = json!(home);
            if self.dice.chance(70) {
                pair["VpcPeeringConnectionId"] = json!("pcx-1");
                let status = *self.dice.pick(&["active", "active", "active", "deleted"]);
                pair["PeeringStatus"] = json!(status);
            }
        }
        match self.dice.below(20) {
            0 => pair = json!({"GroupId": "sg-gone"}),
            1 => pair = json!({"GroupId": "sg-gone", "UserId": ACCOUNT}),
            2 => pair = json!({"GroupId": "sg-foreign", "UserId": "999988887777"}),
            3 => {
                pair.as_object_mut().unwrap().remove("UserId");
            }
            4 => pair = json!({"GroupId": "sg-guest", "UserId": "999988887777"}),
            _ => {}
        }
        Drawn {
            protocol: protocol.to_owned(),
            ports,
            set: "UserIdGroupPairs",
            row: json!({"ReferencedGroupInfo": pair}),
            peer: pair,
            stale: self.dice.chance(5),
        }
    }

    /// Rows of `describe-security-group-rules`.
    fn rows(&mut self, group: &str, egress: bool, drawn: &[Drawn]) -> Vec<Value> {
        let mut rows: Vec<Value> = Vec::new();
        for rule in drawn {
            let mut row = rule.row.clone();
            let number = self.dice.next();
            row["SecurityGroupRuleId"] = json!(format!("sgr-{number:016x}"));
            row["GroupId"] = json!(group);
            row["IsEgress"] = json!(egress);
            row["IpProtocol"] = json!(rule.protocol);
            let (from, to) = rule
                .ports
                .filter(|_| rule.protocol != "-1")
                .unwrap_or((-1, -1));
            row["FromPort"] = json!(from);
            row["ToPort"] = json!(to);
            // Amazon holds no rule twice.
            let key = |row: &Value| {
                let mut key = row.clone();
                key.as_object_mut().unwrap().remove("SecurityGroupRuleId");
                if let Some(info) = key.get_mut("ReferencedGroupInfo") {
                    *info = json!(info["GroupId"]);
                }
                if key["IpProtocol"] == "6" {
                    key["IpProtocol"] = json!("tcp");
                }
                key
            };
            if rows.iter().all(|other| key(other) != key(&row)) {
                rows.push(row);
            }
        }
        rows
    }
}

fn cidr_rule(protocol: &str, ports: Option<(i64, i64)>, cidr: &str) -> Drawn {
    let (set, field, key) = if cidr.contains(':') {
        ("Ipv6Ranges", "CidrIpv6", "CidrIpv6")
    } else {
        ("IpRanges", "CidrIp", "CidrIpv4")
    };
    Drawn {
        protocol: protocol.to_owned(),
        ports,
        set,
        peer: json!({field: cidr}),
        row: json!({key: cidr}),
        stale: false,
    }
}

fn permission(rule: &Drawn) -> Value {
    let mut permission = json!({
        "IpProtocol": rule.protocol, "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": [],
        "UserIdGroupPairs": [],
    });
    if let Some((from, to)) = rule.ports {
        permission["FromPort"] = json!(from);
        permission["ToPort"] = json!(to);
    }
    permission[rule.set] = json!([rule.peer]);
    permission
}

/// Rules of the same protocol and ports that follow each other share a permission.
fn permissions(drawn: &[Drawn]) -> Vec<Value> {
    let mut permissions: Vec<Value> = Vec::new();
    for rule in drawn {
        let single = permission(rule);
        match permissions.last_mut() {
            Some(last)
                if last["IpProtocol"] == single["IpProtocol"]
                    && last.get("FromPort") == single.get("FromPort")
                    && last.get("ToPort") == single.get("ToPort") =>
            {
                let set = last[rule.set].as_array_mut().unwrap();
                if !set.contains(&rule.peer) {
                    set.push(rule.peer.clone());
                }
            }
            _ => permissions.push(single),
        }
    }
    permissions
}

fn stale_set(group: &str, ingress: &[Drawn], egress: &[Drawn]) -> Option<Value> {
    let stale = |drawn: &[Drawn]| -> Vec<Value> {
        drawn
            .iter()
            .filter(|rule| rule.stale)
            .map(permission)
            .collect()
    };
    let (ingress, egress) = (stale(ingress), stale(egress));
    (!ingress.is_empty() || !egress.is_empty()).then(|| {
        json!({
            "GroupId": group, "StaleIpPermissions": ingress, "StaleIpPermissionsEgress": egress,
        })
    })
}
