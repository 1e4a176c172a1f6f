//! Which flows a change between the two readings could touch.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;

use reachproof_model::describe::Described;
use reachproof_model::flow::EPHEMERAL_PORTS_DEFAULT;
use reachproof_model::plan::{
    AgentKind, Depth, FLOWS_PER_RUN_MAX, FileState, ProbePlan, Roster, RosterAgent, Scope, plan,
};
use reachproof_model::predict::predict;
use reachproof_model::snapshot::Snapshot;
use reachproof_model::stability::{Reading, Stability, StabilityState, stability};
use serde_json::{Value, json};

use judging::{address, name};
use world::described;

mod judging;
mod world;

/// Plans over A01 with agents on n1 and n2.
fn planned(snapshot: &Snapshot) -> ProbePlan {
    let agents = [("n1", "10.0.1.20"), ("n2", "10.0.2.20")].map(|(agent, text)| RosterAgent {
        name: name(agent),
        node: None,
        kind: AgentKind::Node,
        addresses: vec![address(text)],
        ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
        stream_address: None,
    });
    let scope = Scope {
        network_policies: FileState::Read,
        flows_max: FLOWS_PER_RUN_MAX,
        depth: Depth::Rules,
        seed: 1,
    };
    plan(snapshot, &Roster::new(agents), &scope)
}

/// Compares A01 with what `change` makes of it; gives the flows that are touched, too.
fn compared(change: impl FnOnce(&mut Described)) -> (Stability, BTreeSet<String>, usize) {
    let before = described("A01");
    let mut after = before.clone();
    change(&mut after);
    let first = Snapshot::decode(&before).unwrap().snapshot;
    let second = Snapshot::decode(&after).unwrap().snapshot;
    let plan = planned(&first);
    let predictions: Vec<_> = plan
        .flows
        .iter()
        .map(|planned| predict(&first, &planned.flow))
        .collect();
    let reading = |described, snapshot| Reading {
        described,
        snapshot,
    };
    let again = Some(reading(&after, &second));
    let result = stability(reading(&before, &first), again, &plan, &predictions);
    let touched = result
        .touched
        .iter()
        .map(|index| plan.flows[*index].flow.to_string())
        .collect();
    (result, touched, plan.flows.len())
}

/// Changes one answer of a world.
fn edit(world: &mut Described, stem: &str, change: impl FnOnce(&mut Value)) {
    let mut answer = world.get(stem).unwrap().clone();
    change(&mut answer);
    world.insert(stem, answer);
}

/// The group of this description.
fn group<'a>(answer: &'a mut Value, description: &str) -> &'a mut Value {
    let groups = answer["SecurityGroups"].as_array_mut().unwrap();
    groups
        .iter_mut()
        .find(|group| group["Description"] == description)
        .unwrap()
}

#[test]
fn two_equal_readings_are_stable() {
    let (stability, touched, _) = compared(|_| {});
    assert_eq!(stability.state, StabilityState::Stable);
    assert!(touched.is_empty());
}

#[test]
fn a_changed_rule_touches_the_flows_that_it_decides_and_no_other() {
    let (stability, touched, all) = compared(|world| {
        edit(world, "describe-security-groups", |answer| {
            group(answer, "D")["IpPermissions"] = json!([]);
        });
    });
    assert_eq!(stability.state, StabilityState::Changed);
    assert_eq!(
        stability.changed,
        BTreeSet::from(["describe-security-groups".to_owned()])
    );
    assert!(
        touched.contains("10.0.1.20 -> 10.0.2.20 tcp/8080"),
        "{touched:?}"
    );
    assert!(
        !touched.contains("10.0.1.20 -> 10.0.1.10 tcp/443"),
        "{touched:?}"
    );
    assert!(touched.len() < all);
}

#[test]
fn another_order_of_an_answer_touches_nothing() {
    let (stability, touched, _) = compared(|world| {
        edit(world, "describe-network-interfaces", |answer| {
            answer["NetworkInterfaces"]
                .as_array_mut()
                .unwrap()
                .reverse();
        });
    });
    assert_eq!(stability.state, StabilityState::Changed);
    assert!(touched.is_empty(), "{touched:?}");
}

#[test]
fn an_interface_that_was_replaced_touches_its_flows() {
    let (_, touched, _) = compared(|world| {
        edit(world, "describe-network-interfaces", |answer| {
            for interface in answer["NetworkInterfaces"].as_array_mut().unwrap() {
                if interface["PrivateIpAddress"] == "10.0.1.10" {
                    interface["NetworkInterfaceId"] = json!("eni-00000000000000000");
                }
            }
        });
    });
    assert!(
        touched.contains("10.0.1.20 -> 10.0.1.10 tcp/443"),
        "{touched:?}"
    );
    assert!(
        !touched.contains("10.0.1.20 -> 10.0.2.10 tcp/443"),
        "{touched:?}"
    );
}

#[test]
fn a_cluster_that_is_being_updated_touches_every_flow() {
    let (stability, touched, all) = compared(|world| {
        edit(world, "describe-cluster", |answer| {
            answer["cluster"]["status"] = json!("UPDATING")
        });
    });
    assert_eq!(stability.state, StabilityState::ClusterNotActive);
    assert_eq!(touched.len(), all);
}

#[test]
fn a_cluster_that_was_updated_between_two_quiet_readings_touches_every_flow() {
    for field in ["version", "platformVersion"] {
        let (stability, touched, all) = compared(|world| {
            edit(world, "describe-cluster", |answer| {
                answer["cluster"][field] = json!("another")
            });
        });
        assert_eq!(stability.state, StabilityState::ClusterUpdated, "{field}");
        assert_eq!(touched.len(), all);
    }
}

#[test]
fn an_interface_that_is_no_longer_in_use_touches_the_flows_of_its_address_alone() {
    let (_, touched, _) = compared(|world| {
        edit(world, "describe-network-interfaces", |answer| {
            for interface in answer["NetworkInterfaces"].as_array_mut().unwrap() {
                if interface["PrivateIpAddress"] == "10.0.2.20" {
                    interface["Status"] = json!("available");
                }
            }
        });
    });
    assert!(
        touched.contains("10.0.1.20 -> 10.0.2.20 tcp/8080"),
        "{touched:?}"
    );
    assert!(
        touched.iter().all(|flow| flow.contains("10.0.2.20")),
        "{touched:?}"
    );
}

#[test]
fn addresses_that_the_cni_adds_to_an_interface_touch_nothing() {
    let (stability, touched, _) = compared(|world| {
        edit(world, "describe-network-interfaces", |answer| {
            for interface in answer["NetworkInterfaces"].as_array_mut().unwrap() {
                let addresses = interface["PrivateIpAddresses"].as_array_mut().unwrap();
                if addresses[0]["PrivateIpAddress"] == "10.0.2.20" {
                    addresses.push(json!({"PrivateIpAddress": "10.0.2.29", "Primary": false}));
                }
            }
        });
    });
    assert_eq!(stability.state, StabilityState::Changed);
    assert!(touched.is_empty(), "{touched:?}");
}

#[test]
fn policies_that_only_one_reading_has_touch_every_flow() {
    let (_, touched, all) = compared(|world| world.insert("networkpolicies", json!({"items": []})));
    assert_eq!(touched.len(), all);
}

#[test]
fn without_a_second_reading_every_flow_is_touched() {
    let world = described("A01");
    let snapshot = Snapshot::decode(&world).unwrap().snapshot;
    let plan = planned(&snapshot);
    let reading = Reading {
        described: &world,
        snapshot: &snapshot,
    };
    let stability = stability(reading, None, &plan, &[]);
    assert_eq!(stability.state, StabilityState::NotReadAgain);
    assert_eq!(stability.touched.len(), plan.flows.len());
}
