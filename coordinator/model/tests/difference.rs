//! Whatever `diff` calls "no change" is none for any flow: random pairs of worlds, one edit each, against `predict`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod second;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use reachproof_model::change::{AnswerChange, Comparison, Coverage, Difference, Party};
use reachproof_model::flow::Flow;
use reachproof_model::matrix::VerdictKind;
use reachproof_model::predict::verdict;
use reachproof_model::snapshot::Snapshot;
use second::random::{Dice, Size, World};
use serde_json::{Map, Value, json};

/// Pairs of worlds in an ordinary run; `REACHPROOF_PAIRS` asks for another number.
const PAIRS: u64 = 42;
/// Flows that are asked of each pair.
const FLOWS: usize = 2_000;

/// An edit of a world; false where it has nothing to edit.
type Edit = fn(&mut Dice, &mut Map<String, Value>) -> bool;

/// The kinds of edits, by name.
const EDITS: [(&str, Edit); 17] = [
    ("permission taken away", |dice, files| {
        let Some(list) = permissions(dice, files).filter(|list| !list.is_empty()) else {
            return false;
        };
        let place = dice.below(list.len());
        list.remove(place);
        true
    }),
    ("tcp", |dice, files| {
        permit(
            dice,
            files,
            json!({"IpProtocol": "tcp", "FromPort": 443, "ToPort": 8080, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}),
        )
    }),
    ("udp", |dice, files| {
        permit(
            dice,
            files,
            json!({"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "IpRanges": [{"CidrIp": "10.0.0.0/15"}]}),
        )
    }),
    ("icmp", |dice, files| {
        permit(
            dice,
            files,
            json!({"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}),
        )
    }),
    ("another protocol", |dice, files| {
        permit(
            dice,
            files,
            json!({"IpProtocol": "50", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}),
        )
    }),
    ("outside", |dice, files| {
        permit(
            dice,
            files,
            json!({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "203.0.113.0/24"}]}),
        )
    }),
    ("outside over IPv6", |dice, files| {
        permit(
            dice,
            files,
            json!({"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}]}),
        )
    }),
    ("the same in halves", |dice, files| {
        let Some(list) = permissions(dice, files) else {
            return false;
        };
        let halved: Vec<bool> = list.iter_mut().map(halve).collect();
        halved.contains(&true)
    }),
    ("SNAT setting", |_, files| {
        setting(files, "AWS_VPC_K8S_CNI_EXTERNALSNAT", &["true", "false"])
    }),
    ("enforcing mode", |_, files| {
        setting(
            files,
            "POD_SECURITY_GROUP_ENFORCING_MODE",
            &["standard", "strict"],
        )
    }),
    ("mode of policies", |_, files| {
        setting(
            files,
            "NETWORK_POLICY_ENFORCING_MODE",
            &["strict", "standard"],
        )
    }),
    ("policy", |_, files| {
        let Some(items) = files
            .get_mut("networkpolicies")
            .and_then(|it| it["items"].as_array_mut())
        else {
            return false;
        };
        if items.pop().is_none() {
            items.push(json!({
                "metadata": {"namespace": "default", "name": "new"},
                "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
            }));
        }
        true
    }),
    ("ACL entry", |dice, files| {
        let acls = files["describe-network-acls"]["NetworkAcls"]
            .as_array_mut()
            .unwrap();
        one(
            dice,
            acls.iter_mut()
                .filter_map(|acl| acl["Entries"].as_array_mut()),
        )
        .is_some_and(|entries| {
            let place = dice.below(entries.len().max(1));
            place < entries.len() && {
                entries.remove(place);
                true
            }
        })
    }),
    ("route", |dice, files| {
        let tables = files["describe-route-tables"]["RouteTables"]
            .as_array_mut()
            .unwrap();
        one(
            dice,
            tables
                .iter_mut()
                .filter_map(|table| table["Routes"].as_array_mut()),
        )
        .is_some_and(|routes| {
            let place = dice.below(routes.len().max(1));
            place < routes.len() && {
                routes.remove(place);
                true
            }
        })
    }),
    ("groups of an interface", |dice, files| {
        let enis = files["describe-network-interfaces"]["NetworkInterfaces"]
            .as_array_mut()
            .unwrap();
        let groups: BTreeSet<String> = enis
            .iter()
            .flat_map(|eni| eni["Groups"].as_array().into_iter().flatten())
            .map(|group| group["GroupId"].as_str().unwrap_or_default().to_owned())
            .collect();
        let groups: Vec<String> = groups.into_iter().collect();
        one(dice, enis.iter_mut()).is_some_and(|eni| {
            eni["Groups"] = json!([{"GroupId": dice.pick(&groups)}]);
            true
        })
    }),
    ("source/destination check", |dice, files| {
        let enis = files["describe-network-interfaces"]["NetworkInterfaces"]
            .as_array_mut()
            .unwrap();
        one(dice, enis.iter_mut()).is_some_and(|eni| {
            eni["SourceDestCheck"] = json!(eni["SourceDestCheck"] == json!(false));
            true
        })
    }),
    ("peering", |dice, files| {
        let list = files.get_mut("describe-vpc-peering-connections");
        let list = list.and_then(|it| it["VpcPeeringConnections"].as_array_mut());
        list.and_then(|list| one(dice, list.iter_mut()))
            .is_some_and(|peering| {
                peering["Status"] = json!({"Code": "deleted"});
                true
            })
    }),
];

/// One of several, if there is any.
fn one<T>(dice: &mut Dice, items: impl Iterator<Item = T>) -> Option<T> {
    let mut items: Vec<T> = items.collect();
    (!items.is_empty()).then(|| items.swap_remove(dice.below(items.len())))
}

/// The permissions of some group in some direction.
fn permissions<'f>(
    dice: &mut Dice,
    files: &'f mut Map<String, Value>,
) -> Option<&'f mut Vec<Value>> {
    let groups = files["describe-security-groups"]["SecurityGroups"]
        .as_array_mut()
        .unwrap();
    let group = one(dice, groups.iter_mut())?;
    let key = *dice.pick(&["IpPermissions", "IpPermissionsEgress"]);
    group[key].as_array_mut()
}

fn permit(dice: &mut Dice, files: &mut Map<String, Value>, permission: Value) -> bool {
    permissions(dice, files).is_some_and(|list| {
        list.push(permission);
        true
    })
}

/// Every network of a permission as its two halves.
fn halve(permission: &mut Value) -> bool {
    let Some(ranges) = permission["IpRanges"].as_array() else {
        return false;
    };
    let halves: Vec<Value> = ranges
        .iter()
        .flat_map(|range| {
            let network = range["CidrIp"]
                .as_str()
                .and_then(|text| text.parse::<ipnet::IpNet>().ok());
            let halves = network.and_then(|network| network.subnets(network.prefix_len() + 1).ok());
            match halves {
                Some(halves) => halves.map(|half| json!({"CidrIp": half})).collect(),
                None => vec![range.clone()],
            }
        })
        .collect();
    let is_edited = halves.len() > ranges.len();
    permission["IpRanges"] = Value::Array(halves);
    is_edited
}

/// Sets a variable of the CNI to the first of two words that it does not have.
fn setting(files: &mut Map<String, Value>, name: &str, words: &[&str; 2]) -> bool {
    let Some(node) = files.get_mut("aws-node") else {
        return false;
    };
    let env = node["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array_mut()
        .unwrap();
    let before = env.iter().find(|variable| variable["name"] == name);
    let word = words
        .iter()
        .find(|word| before.is_none_or(|before| before["value"] != **word));
    let word = word.unwrap().to_owned();
    env.retain(|variable| variable["name"] != name);
    env.push(json!({"name": name, "value": word}));
    true
}

/// The world of a seed before and after one edit; absent where the edit has nothing to edit.
fn pair(seed: u64, edit: Edit) -> Option<(World, World)> {
    let mut before = second::random::world(seed, Size::SMALL);
    let mut after = second::random::world(seed, Size::SMALL);
    let mut dice = Dice::new(seed ^ 0x5eed);
    // Names by position move with an edit, which is no change; names that only one snapshot has are no rules of its groups.
    before.snapshot.remove("describe-security-group-rules");
    after.snapshot.remove("describe-security-group-rules");
    edit(&mut dice, &mut after.snapshot).then_some((before, after))
}

/// The flows of a sample whose word changed.
fn changed(seed: u64, world: &World, before: &Snapshot, after: &Snapshot) -> Vec<Flow> {
    let mut dice = Dice::new(seed);
    let kind = |snapshot: &Snapshot, flow: &Flow| VerdictKind::from(&verdict(snapshot, flow));
    (0..FLOWS)
        .map(|_| Flow::from_json(&second::random::flow(&mut dice, world)).unwrap())
        .filter(|flow| kind(before, flow) != kind(after, flow))
        .collect()
}

/// Whether a listed change is one: a flow of it, asked before and after.
fn is_real(before: &Snapshot, after: &Snapshot, change: &AnswerChange) -> bool {
    let address = |party: &Party| -> (IpAddr, IpAddr) {
        match party {
            Party::Inside { before, after, .. } => (*before, *after),
            Party::Outside { example, .. } => (*example, *example),
        }
    };
    let (source, destination) = (address(&change.source), address(&change.destination));
    let mut flow = Flow::tcp(source.0, destination.0, 0);
    flow.protocol = change.packet;
    flow.source_kind = change.source_kind;
    flow.ephemeral_ports = change.ephemeral_ports;
    flow.source_interface.clone_from(&change.emitter);
    let one = verdict(before, &flow);
    (flow.source, flow.destination) = (source.1, destination.1);
    let other = verdict(after, &flow);
    (&one, &other) == (&change.before, &change.after)
}

/// How often an edit changed something, and how often it did not.
#[derive(Debug, Default)]
struct Tally {
    changed: u32,
    same: u32,
}

/// `REACHPROOF_PAIRS` and `REACHPROOF_SEED` (the first) ask for others.
#[test]
fn no_change_is_said_exactly_when_no_flow_changes() {
    let pairs = second::asked("REACHPROOF_PAIRS", PAIRS);
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let (mut done, mut seed) = (0, second::asked("REACHPROOF_SEED", 1));
    while done < pairs {
        let (name, edit) = EDITS[usize::try_from(seed).unwrap() % EDITS.len()];
        seed += 1;
        let Some((world, edited)) = pair(seed, edit) else {
            continue;
        };
        done += 1;
        let before = second::decode(&world.snapshot);
        let after = second::decode(&edited.snapshot);
        let comparison = Comparison::new(&before, &after);
        let difference = comparison.difference();
        assert_eq!(difference.coverage, Coverage::Whole, "seed {seed}, {name}");
        // No edit adds an interface or takes one away.
        assert!(difference.appeared.is_empty() && difference.gone.is_empty());
        let flows = changed(seed, &world, &before, &after);
        let tally = tallies.entry(name).or_default();
        if difference.is_change() {
            tally.changed += 1;
            assert_listed(
                &difference,
                (&before, &after),
                &format!("seed {seed}, {name}"),
            );
        } else {
            tally.same += 1;
            assert!(flows.is_empty(), "seed {seed}, {name}: {}", flows[0]);
        }
    }
    println!("{tallies:#?}");
    let both = tallies.values().fold((0, 0), |sum, tally| {
        (sum.0 + tally.changed, sum.1 + tally.same)
    });
    assert!(both.0 > 10 && both.1 > 2, "{tallies:?}");
}

/// Everything that is listed is so.
fn assert_listed(difference: &Difference, (before, after): (&Snapshot, &Snapshot), about: &str) {
    let listed = difference.answers.iter().chain(&difference.outside);
    for change in listed {
        assert!(is_real(before, after, change), "{about}: {change:?}");
    }
}
