//! Properties that hold in every world (end of SEMANTICS K.1).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    dead_code,
    reason = "a test says what it expects by failing; other tests use the rest of the common module"
)]

mod common;

use common::*;
use proptest::prelude::*;
use reachproof_model::snapshot::Direction;
use serde_json::{Value, json};

/// A rule: protocol, ports, peer.
#[derive(Debug, Clone)]
struct Rule {
    protocol: &'static str,
    ports: (u16, u16),
    peer: Peer,
}

/// The other side of a rule.
#[derive(Debug, Clone)]
enum Peer {
    /// An IPv4 network.
    Network(&'static str),
    /// A group.
    Group(&'static str),
    /// A prefix list that nobody can read.
    UnreadList,
}

/// An entry of the ACL of A2.
#[derive(Debug, Clone)]
struct Entry {
    direction: Direction,
    number: u32,
    action: &'static str,
    ports: (u16, u16),
}

/// What varies about the base world.
#[derive(Debug, Clone)]
struct Variation {
    egress: Vec<Rule>,
    ingress: Vec<Rule>,
    entries: Vec<Entry>,
    port: u16,
    source: &'static str,
    destination: &'static str,
}

const PORTS: [u16; 6] = [22, 443, 444, 8079, 8080, 9000];

/// Networks of rules, cut in half.
const HALVES: [(&str, [&str; 2]); 4] = [
    ("0.0.0.0/0", ["0.0.0.0/1", "128.0.0.0/1"]),
    ("10.0.0.0/16", ["10.0.0.0/17", "10.0.128.0/17"]),
    ("10.0.1.0/24", ["10.0.1.0/25", "10.0.1.128/25"]),
    ("10.0.2.0/24", ["10.0.2.0/25", "10.0.2.128/25"]),
];

/// IPv6 address of host h2, which the base world has none for.
const V6_OF_N2: &str = "2600:1f14:abc:2::20";

/// A range between two of the ports, so that edges meet.
fn ports() -> impl Strategy<Value = (u16, u16)> {
    (
        prop::sample::select(&PORTS[..]),
        prop::sample::select(&PORTS[..]),
    )
        .prop_map(|(one, other)| (one.min(other), one.max(other)))
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        6 => prop::sample::select(vec!["0.0.0.0/0", "10.0.0.0/16", "10.0.1.0/24", "10.0.2.0/24", "10.0.1.20/32"])
            .prop_map(Peer::Network),
        3 => prop::sample::select(vec![S, D, POD]).prop_map(Peer::Group),
        1 => Just(Peer::UnreadList),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    (
        prop::sample::select(vec!["tcp", "udp", "-1", "6"]),
        ports(),
        peer(),
    )
        .prop_map(|(protocol, ports, peer)| Rule {
            protocol,
            ports,
            peer,
        })
}

fn an_entry() -> impl Strategy<Value = Entry> {
    let direction = prop::sample::select(vec![Direction::Ingress, Direction::Egress]);
    let action = prop::sample::select(vec!["allow", "deny"]);
    let range = prop_oneof![ports(), Just((0, 65_535)), Just((32_768, 50_000))];
    (direction, 1_u32..400, action, range).prop_map(|(direction, number, action, ports)| Entry {
        direction,
        number,
        action,
        ports,
    })
}

fn variation() -> impl Strategy<Value = Variation> {
    (
        prop::collection::vec(rule(), 0..5),
        prop::collection::vec(rule(), 0..5),
        prop::collection::vec(an_entry(), 0..6),
        prop::sample::select(&PORTS[..]),
        prop::sample::select(vec!["10.0.1.20", "10.0.1.21", "10.0.1.70"]),
        prop::sample::select(vec!["10.0.2.20", "10.0.2.21", "10.1.0.5", "10.2.0.5"]),
    )
        .prop_map(
            |(egress, ingress, mut entries, port, source, destination)| {
                // The API does not let two entries of one direction have one number.
                entries.sort_by_key(|entry| (entry.direction, entry.number));
                entries.dedup_by_key(|entry| (entry.direction, entry.number));
                Variation {
                    egress,
                    ingress,
                    entries,
                    port,
                    source,
                    destination,
                }
            },
        )
}

impl Rule {
    fn permission(&self) -> Value {
        let mut permission = json!({"IpProtocol": self.protocol});
        if self.protocol != "-1" {
            permission["FromPort"] = json!(self.ports.0);
            permission["ToPort"] = json!(self.ports.1);
        }
        let (field, peer) = match &self.peer {
            Peer::Network(network) => ("IpRanges", json!({"CidrIp": network})),
            Peer::Group(id) => (
                "UserIdGroupPairs",
                json!({"GroupId": id, "UserId": "111122223333"}),
            ),
            Peer::UnreadList => ("PrefixListIds", json!({"PrefixListId": "pl-unread"})),
        };
        permission[field] = json!([peer]);
        permission
    }

    /// The same rule with an id of its own, as `describe-security-group-rules` has it.
    fn named(&self, group: &str, direction: Direction) -> Value {
        let (first, last) = match self.protocol {
            "-1" => (-1, -1),
            _ => (i32::from(self.ports.0), i32::from(self.ports.1)),
        };
        let protocol = if self.protocol == "6" {
            "tcp"
        } else {
            self.protocol
        };
        let mut rule = json!({"GroupId": group, "IsEgress": direction == Direction::Egress,
            "IpProtocol": protocol, "FromPort": first, "ToPort": last});
        match &self.peer {
            Peer::Network(network) => rule["CidrIpv4"] = json!(network),
            Peer::Group(id) => rule["ReferencedGroupInfo"] = json!({"GroupId": id}),
            Peer::UnreadList => rule["PrefixListId"] = json!("pl-unread"),
        }
        rule["SecurityGroupRuleId"] = json!(format!("sgr-{rule}"));
        rule
    }

    /// Two rules that together say the same: the port range, or the network, cut in half.
    fn split(&self) -> Vec<Self> {
        if self.ports.0 < self.ports.1 && self.protocol != "-1" {
            let middle = self.ports.0 + (self.ports.1 - self.ports.0) / 2;
            let low = Self {
                ports: (self.ports.0, middle),
                ..self.clone()
            };
            let high = Self {
                ports: (middle + 1, self.ports.1),
                ..self.clone()
            };
            return vec![low, high];
        }
        let Peer::Network(network) = self.peer else {
            return vec![self.clone()];
        };
        let halves = HALVES.iter().find(|(whole, _)| *whole == network);
        let halves = halves.map_or(vec![network], |(_, halves)| halves.to_vec());
        let with = |half| Self {
            peer: Peer::Network(half),
            ..self.clone()
        };
        halves.into_iter().map(with).collect()
    }
}

impl Variation {
    fn world(&self) -> World {
        let permissions =
            |rules: &[Rule]| json!(rules.iter().map(Rule::permission).collect::<Vec<_>>());
        let egress = self
            .egress
            .iter()
            .map(|rule| rule.named(S, Direction::Egress));
        let ingress = self
            .ingress
            .iter()
            .map(|rule| rule.named(D, Direction::Ingress));
        let named: Vec<_> = egress.chain(ingress).collect();
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|item| entry(item.direction, item.number, item.action, item.ports))
            .collect();
        entries.push(all(Direction::Ingress, 500, "allow"));
        entries.push(all(Direction::Egress, 500, "allow"));
        World::base()
            .egress(S, permissions(&self.egress))
            .ingress(D, permissions(&self.ingress))
            .acl(A2, json!(entries))
            .file(
                "describe-security-group-rules",
                json!({"SecurityGroupRules": named}),
            )
    }

    /// The world with IPv6 at h2 as well, and with a rule for all of IPv6 in some groups; the network ACL lets it pass.
    fn dual_stack(&self, admitted: &[&str]) -> World {
        let v6 = json!({"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]});
        let permissions = |rules: &[Rule], group: &str| {
            let own = admitted.contains(&group).then(|| v6.clone());
            json!(
                own.into_iter()
                    .chain(rules.iter().map(Rule::permission))
                    .collect::<Vec<_>>()
            )
        };
        let mut world = self.world();
        let entries = [Direction::Ingress, Direction::Egress].map(|direction| {
            json!({"RuleNumber": 600, "Protocol": "-1", "RuleAction": "allow",
                "Egress": direction == Direction::Egress, "Ipv6CidrBlock": "::/0"})
        });
        for list in world.list("describe-network-acls") {
            list["Entries"]
                .as_array_mut()
                .unwrap()
                .extend(entries.clone());
        }
        world
            .egress(S, permissions(&self.egress, S))
            .ingress(D, permissions(&self.ingress, D))
            .set(
                "describe-network-interfaces",
                N2,
                "Ipv6Addresses",
                json!([{"Ipv6Address": V6_OF_N2}]),
            )
    }

    fn flow(&self) -> Value {
        json!({"source": self.source, "destination": self.destination, "protocol": "tcp", "port": self.port})
    }

    fn says(&self) -> Value {
        self.world().says(self.flow())
    }
}

/// Reverses every list of a value, or turns it by some places.
fn reordered(value: &Value, turn: usize) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(|item| reordered(item, turn)).collect();
            if turn.is_multiple_of(2) {
                items.reverse();
            }
            let places = turn % items.len().max(1);
            items.rotate_left(places);
            Value::Array(items)
        }
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), reordered(value, turn)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Verdict, gate and reason: what does not depend on the names of rules.
fn decision(answer: &Value) -> [Value; 3] {
    ["verdict", "gate", "reason"].map(|field| answer[field].clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn one_more_rule_never_takes_an_allow_away(before in variation(), more in rule(), at_source in any::<bool>()) {
        let mut after = before.clone();
        if at_source { after.egress.push(more) } else { after.ingress.push(more) }
        if before.says()["verdict"] == "allow" {
            prop_assert_eq!(&after.says()["verdict"], "allow");
        }
        if after.says()["gate"] == "sg-ingress" {
            prop_assert_ne!(&before.says()["verdict"], "allow");
        }
    }

    #[test]
    fn one_more_group_never_takes_an_allow_away(world in variation(), at_source in any::<bool>()) {
        let (interface, carried) = if at_source { (N1, [S, POD]) } else { (N2, [D, POD]) };
        if world.says()["verdict"] == "allow" {
            let more = world.world().carries(interface, &carried);
            prop_assert_eq!(&more.says(world.flow())["verdict"], "allow");
        }
    }

    #[test]
    fn the_order_of_lists_changes_nothing(world in variation(), turn in 0_usize..6) {
        let mut other = World::empty();
        for (stem, answer) in world.world().described().iter() {
            other = other.file(stem, reordered(answer, turn));
        }
        prop_assert_eq!(world.says(), other.says(world.flow()));
    }

    #[test]
    fn split_rules_say_the_same(world in variation()) {
        let mut split = world.clone();
        split.egress = world.egress.iter().flat_map(Rule::split).collect();
        split.ingress = world.ingress.iter().flat_map(Rule::split).collect();
        prop_assert_eq!(decision(&world.says()), decision(&split.says()));
    }

    #[test]
    fn ipv4_rules_never_affect_ipv6(world in variation(), admitted in prop::sample::subsequence(vec![S, D], 0..=2)) {
        let networks = |rules: &[Rule]| -> Vec<Rule> {
            rules.iter().filter(|rule| matches!(rule.peer, Peer::Network(_))).cloned().collect()
        };
        let with = Variation { egress: networks(&world.egress), ingress: networks(&world.ingress), ..world.clone() };
        let without = Variation { egress: Vec::new(), ingress: Vec::new(), entries: Vec::new(), ..world };
        let flow = json!({"source": "2600:1f14:abc:1::20", "destination": V6_OF_N2, "protocol": "tcp",
            "port": with.port});
        let says = |variation: &Variation| decision(&variation.dual_stack(&admitted).says(flow.clone()));
        let said = says(&with);
        prop_assert_eq!(&said, &says(&without));
        prop_assert_eq!(said[0] == "allow", admitted.len() == 2, "{:?}", said);
    }

    #[test]
    fn an_unreadable_rule_never_makes_a_deny(world in variation()) {
        let mut more = world.clone();
        let unread = Rule { protocol: "-1", ports: (0, 0), peer: Peer::UnreadList };
        more.ingress.push(unread.clone());
        more.egress.push(unread);
        let answer = more.says();
        prop_assert!(answer["gate"] != "sg-ingress" && answer["gate"] != "sg-egress", "{}", answer);
    }
}
