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
use reachproof_model::stability::{
    Passing, Reading, Readings, Stability, StabilityState, stability,
};
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
    let readings = Readings {
        earlier: None,
        before: reading(&before, &first),
        after: Some(reading(&after, &second)),
        passed: &[],
    };
    let result = stability(&readings, &plan, &predictions);
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
fn a_renewed_lease_and_other_words_of_an_aggregated_api_are_no_change() {
    let world = |renewed: &str, status: &str, message: &str| {
        let lease = json!({"metadata": {"name": "n1"}, "spec": {"renewTime": renewed}});
        let condition = json!({"type": "Available", "status": status, "message": message});
        let api = json!({"metadata": {"name": "v1.x"}, "status": {"conditions": [condition]}});
        let mut world = described("A01");
        for (stem, item) in [("leases", lease), ("apiservices", api)] {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": [item]});
            world.insert(stem, list);
        }
        world
    };
    let against = |after: Described| {
        let before = world("2026-11-30T08:40:00Z", "False", "timed out");
        let snapshot = Snapshot::decode(&before).unwrap().snapshot;
        let plan = planned(&snapshot);
        let flows = plan.flows.iter();
        let predictions: Vec<_> = flows.map(|own| predict(&snapshot, &own.flow)).collect();
        let second = Snapshot::decode(&after).unwrap().snapshot;
        let readings = Readings {
            earlier: None,
            before: Reading {
                described: &before,
                snapshot: &snapshot,
            },
            after: Some(Reading {
                described: &after,
                snapshot: &second,
            }),
            passed: &[],
        };
        stability(&readings, &plan, &predictions)
    };
    let same = against(world("2026-11-30T08:40:10Z", "False", "EOF"));
    assert_eq!(same.state, StabilityState::Stable);
    assert!(same.changed.is_empty(), "{:?}", same.changed);
    let other = against(world("2026-11-30T08:40:10Z", "True", "timed out"));
    assert_eq!(other.changed, BTreeSet::from(["apiservices".to_owned()]));
    assert!(other.touched.is_empty());
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
    let readings = Readings {
        earlier: None,
        before: reading,
        after: None,
        passed: &[],
    };
    let stability = stability(&readings, &plan, &[]);
    assert_eq!(stability.state, StabilityState::NotReadAgain);
    assert_eq!(stability.touched.len(), plan.flows.len());
}

/// Compares A01 with itself, after `earlier` and with what came and went; gives the flows that are touched, too.
fn around(earlier: Option<&Described>, passed: &[Passing]) -> (Stability, BTreeSet<String>, usize) {
    let world = described("A01");
    let snapshot = Snapshot::decode(&world).unwrap().snapshot;
    let former = earlier.map(|world| (world, Snapshot::decode(world).unwrap().snapshot));
    let plan = planned(&snapshot);
    let flows = plan.flows.iter();
    let predictions: Vec<_> = flows
        .map(|planned| predict(&snapshot, &planned.flow))
        .collect();
    let reading = Reading {
        described: &world,
        snapshot: &snapshot,
    };
    let readings = Readings {
        earlier: former.as_ref().map(|(described, snapshot)| Reading {
            described,
            snapshot,
        }),
        before: reading,
        after: Some(reading),
        passed,
    };
    let result = stability(&readings, &plan, &predictions);
    let touched = result.touched.iter();
    let touched = touched
        .map(|index| plan.flows[*index].flow.to_string())
        .collect();
    (result, touched, plan.flows.len())
}

#[test]
fn a_change_within_the_settle_time_touches_what_it_would_touch_during_the_probes() {
    let mut earlier = described("A01");
    edit(&mut earlier, "describe-network-interfaces", |answer| {
        for found in answer["NetworkInterfaces"].as_array_mut().unwrap() {
            if found["PrivateIpAddress"] == "10.0.2.20" {
                found["Status"] = json!("attaching");
            }
        }
    });
    let (stability, touched, all) = around(Some(&earlier), &[]);
    assert_eq!(stability.state, StabilityState::Changed);
    assert!(stability.changed.is_empty());
    assert_eq!(
        stability.settling,
        BTreeSet::from(["describe-network-interfaces".to_owned()])
    );
    assert!(!touched.is_empty() && touched.len() < all, "{touched:?}");
    assert!(
        touched.iter().all(|flow| flow.contains("10.0.2.20")),
        "{touched:?}"
    );
}

#[test]
fn an_update_within_the_settle_time_touches_every_flow() {
    let mut earlier = described("A01");
    edit(&mut earlier, "describe-cluster", |answer| {
        answer["cluster"]["status"] = json!("UPDATING");
    });
    let (stability, touched, all) = around(Some(&earlier), &[]);
    assert_eq!(stability.state, StabilityState::ClusterNotActive);
    assert_eq!(touched.len(), all);
}

/// An object that came and went, seen in one state.
fn passing(file: &str, namespace: &str, state: Value) -> Passing {
    Passing {
        file: file.to_owned(),
        namespace: namespace.to_owned(),
        name: "kubernetes".to_owned(),
        states: vec![state],
    }
}

#[test]
fn a_pod_that_came_and_went_touches_the_flows_of_its_address() {
    let status = json!({"podIPs": [{"ip": "10.0.2.20"}]});
    let pod = passing("pods", "default", json!({"status": status}));
    let (stability, touched, all) = around(None, std::slice::from_ref(&pod));
    assert_eq!(stability.state, StabilityState::Changed);
    assert_eq!(
        stability.passed,
        BTreeSet::from(["pods default/kubernetes".to_owned()])
    );
    assert!(!touched.is_empty() && touched.len() < all, "{touched:?}");
    assert!(
        touched.iter().all(|flow| flow.contains("10.0.2.20")),
        "{touched:?}"
    );

    let host = json!({"spec": {"hostNetwork": true}, "status": status});
    let (stability, touched, _) = around(None, &[passing("pods", "default", host)]);
    assert_eq!(stability.state, StabilityState::Changed);
    assert!(touched.is_empty(), "{touched:?}");
}

#[test]
fn nodes_and_the_api_servers_own_slice_touch_the_flows_of_their_addresses_and_other_slices_none() {
    let node = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.1.20"}]}});
    let slice = json!({"endpoints": [{"addresses": ["10.0.1.10"]}]});
    for (object, end) in [
        (passing("nodes", "", node), Some("10.0.1.20")),
        (
            passing("endpointslices", "default", slice.clone()),
            Some("10.0.1.10"),
        ),
        (passing("endpointslices", "shop", slice), None),
        (passing("services", "default", json!({})), None),
    ] {
        let (_, touched, _) = around(None, std::slice::from_ref(&object));
        assert_eq!(
            !touched.is_empty(),
            end.is_some(),
            "{object:?}: {touched:?}"
        );
        let end = end.unwrap_or_default();
        assert!(
            touched.iter().all(|flow| flow.contains(end)),
            "{object:?}: {touched:?}"
        );
    }
}

#[test]
fn an_update_of_a_node_group_touches_the_flows_of_its_instances() {
    let with_group = |status: &str| {
        let mut world = described("A01");
        let group = json!({"nodegroup": {"nodegroupName": "ng", "status": status}});
        world.insert("describe-nodegroup.ng", group);
        edit(&mut world, "describe-instances", |answer| {
            let instance = &mut answer["Reservations"][0]["Instances"][0];
            instance["Tags"] = json!([{"Key": "eks:nodegroup-name", "Value": "ng"}]);
        });
        world
    };
    let (updating, active) = (with_group("UPDATING"), with_group("ACTIVE"));
    let snapshot = Snapshot::decode(&updating).unwrap().snapshot;
    let plan = planned(&snapshot);
    let flows = plan.flows.iter();
    let predictions: Vec<_> = flows
        .map(|planned| predict(&snapshot, &planned.flow))
        .collect();
    let reading = |described| Reading {
        described,
        snapshot: &snapshot,
    };
    let compared = |described| {
        let readings = Readings {
            earlier: None,
            before: reading(described),
            after: Some(reading(described)),
            passed: &[],
        };
        stability(&readings, &plan, &predictions)
    };
    assert_eq!(compared(&active).state, StabilityState::Stable);
    let marked = compared(&updating);
    assert_eq!(marked.state, StabilityState::Changed);
    assert_eq!(
        marked.settling,
        BTreeSet::from(["describe-nodegroup.ng".to_owned()])
    );
    let touched = marked.touched.len();
    assert!(touched > 0 && touched < plan.flows.len(), "{touched}");
}
