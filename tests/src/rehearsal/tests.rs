#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::path::PathBuf;

use reachproof_lab::EndpointKind;
use reachproof_lab::world::{Pod, World};
use serde_json::{Value, json};

use super::*;
use crate::rehearsal::choice::{Candidate, Turn, choose};

/// The snapshot of a world that comes along.
fn described(world: &World) -> Described {
    Described::from(world.expand().unwrap().plan.snapshot)
}

/// The default world with `more` nodes like its first, each with two pods.
fn large(more: u8) -> World {
    let mut world = World::builtin("default").unwrap();
    let first = world.hosts["node-1"].clone();
    let web: Pod = first.pods["web"].clone();
    for number in 0..more {
        let mut node = first.clone();
        let address = |last: u8| format!("10.0.1.{last}").parse().unwrap();
        let own = 100 + 3 * number;
        node.interfaces[0].addresses = vec![address(own), address(own + 1), address(own + 2)];
        node.pods = [(1, "a"), (2, "b")]
            .map(|(place, letter)| {
                let addresses = vec![address(own + place)];
                let pod = Pod {
                    addresses,
                    ..web.clone()
                };
                (format!("pod-{number}-{letter}"), pod)
            })
            .into();
        world.hosts.insert(format!("more-{number}"), node);
    }
    world
}

fn interfaces(answers: &serde_json::Map<String, Value>) -> BTreeSet<String> {
    let list = answers["describe-network-interfaces"]["NetworkInterfaces"].as_array();
    list.unwrap()
        .iter()
        .map(|it| it["NetworkInterfaceId"].as_str().unwrap().to_owned())
        .collect()
}

/// How many hosts of each class there are in a snapshot, at most two.
fn shown(described: &Described) -> BTreeMap<String, usize> {
    let snapshot = Snapshot::decode(described).unwrap().snapshot;
    let classes = Classes::new(&snapshot);
    let mut counts = BTreeMap::new();
    for one in inhabitants::all(&snapshot, &classes) {
        for class in &one.candidate.classes {
            let count = counts
                .entry(classes.class(*class).name(&snapshot))
                .or_insert(0);
            *count = 2.min(*count + 1);
        }
    }
    counts
}

#[test]
fn a_snapshot_that_fits_is_drawn_whole_with_the_agents_of_its_world() {
    for name in ["default", "pod-sg", "dual-stack", "peered-client"] {
        let world = World::builtin(name).unwrap().expand().unwrap();
        let described = Described::from(world.plan.snapshot.clone());
        let rehearsal = Rehearsal::of(&described, HOSTS_MAX).unwrap();
        let drawn = rehearsal.scene.expanded;
        assert_eq!(drawn.plan.snapshot, world.plan.snapshot, "{name}");
        let places = |agents: Vec<AgentPlace>| -> BTreeSet<_> {
            let place =
                |agent: AgentPlace| (agent.addresses, agent.node, format!("{:?}", agent.kind));
            agents.into_iter().map(place).collect()
        };
        assert_eq!(places(drawn.agents), places(world.agents), "{name}");
        assert!(
            !rehearsal.notes.iter().any(|note| note.contains("left out")),
            "{name}"
        );
    }
}

#[test]
fn of_too_many_hosts_each_class_keeps_two_and_every_rule_stays() {
    // Eight hosts and two pods, and fifty nodes with two pods each.
    let whole = described(&large(50));
    let rehearsal = Rehearsal::of(&whole, HOSTS_MAX).unwrap();
    let plan = rehearsal.scene.expanded.plan;
    let reduced = Described::from(plan.snapshot.clone());
    let snapshot = Snapshot::decode(&reduced).unwrap().snapshot;
    let drawn = inhabitants::all(&snapshot, &Classes::new(&snapshot));
    assert_eq!(drawn.len(), HOSTS_MAX);
    assert_eq!(shown(&reduced), shown(&whole));
    let ids = interfaces(&plan.snapshot);
    assert!(ids.contains("eni-x-eni-a") && ids.contains("eni-x-eni-b"));
    for stem in [
        "describe-security-groups",
        "describe-route-tables",
        "describe-network-acls",
        "endpointslices",
    ] {
        assert_eq!(whole.get(stem), reduced.get(stem), "{stem}");
    }
    for endpoint in &plan.endpoints {
        assert!(
            endpoint.addresses.iter().all(|own| {
                matches!(
                    snapshot.owner(*own),
                    reachproof_model::snapshot::Owner::One(_)
                )
            }),
            "{}",
            endpoint.name
        );
    }
    assert_eq!(
        rehearsal.notes[0],
        "60 of 160 hosts of the snapshot in the lab (at most 60), 57 with an agent"
    );
    let left_out: Vec<_> = rehearsal
        .notes
        .iter()
        .filter(|note| note.starts_with("left out"))
        .collect();
    assert!(!left_out.is_empty(), "{:?}", rehearsal.notes);
}

#[test]
fn a_pod_comes_with_its_node_or_not_at_all() {
    let rehearsal = Rehearsal::of(&described(&large(50)), 14).unwrap();
    let snapshot = &rehearsal.scene.expanded.plan.snapshot;
    let names = |stem: &str, field: &str| -> BTreeSet<String> {
        let items = snapshot[stem]["items"].as_array().unwrap().iter();
        items
            .map(|it| it.pointer(field).unwrap().as_str().unwrap().to_owned())
            .collect()
    };
    let nodes = names("nodes", "/metadata/name");
    assert!(names("pods", "/spec/nodeName").is_subset(&nodes));
    let endpoints = &rehearsal.scene.expanded.plan.endpoints;
    let pods = endpoints
        .iter()
        .filter(|endpoint| endpoint.kind == EndpointKind::Pod);
    assert_eq!(
        pods.count(),
        names("pods", "/metadata/name").len() - 2,
        "the others are of Fargate"
    );
}

fn candidate(classes: &[reachproof_model::class::ClassId], needs: Option<usize>) -> Candidate {
    Candidate {
        classes: classes.iter().copied().collect(),
        needs,
        turn: Turn::ByClass,
    }
}

#[test]
fn one_of_each_class_comes_before_a_second_of_any() {
    let described = described(&World::builtin("default").unwrap());
    let snapshot = Snapshot::decode(&described).unwrap().snapshot;
    let ids: Vec<_> = Classes::new(&snapshot).iter().map(|(id, _)| id).collect();
    let nodes: Vec<_> = (0..2).map(|_| candidate(&ids[..1], None)).collect();
    let far = candidate(&ids[1..2], Some(2));
    let near = candidate(&ids[1..2], Some(1));
    let none = candidate(&[], None);
    let all = [&none, &nodes[0], &nodes[1], &far, &near];
    // The pod whose node is there comes before the one that would bring another.
    for (most, chosen) in [
        (1, vec![1]),
        (2, vec![1, 4]),
        (3, vec![0, 1, 4]),
        (4, vec![0, 1, 2, 4]),
        (5, vec![0, 1, 2, 3, 4]),
    ] {
        assert_eq!(choose(&all, most), BTreeSet::from_iter(chosen), "{most}");
    }
    let first = Candidate {
        turn: Turn::First,
        ..none.clone()
    };
    assert_eq!(choose(&[&nodes[0], &first], 1), BTreeSet::from([1]));
}

#[test]
fn answers_of_several_calls_are_one_list_and_the_cluster_is_found_by_any_name() {
    let mut described = Described::default();
    described.insert("describe-vpcs.vpc-1", json!({"Vpcs": [{"VpcId": "vpc-1"}]}));
    described.insert(
        "describe-vpcs.vpc-2",
        json!({"Vpcs": [{"VpcId": "vpc-2"}, {"VpcId": "vpc-1"}]}),
    );
    described.insert(
        "describe-cluster.demo",
        json!({"cluster": {"name": "demo"}}),
    );
    let entries = json!({"Entries": []});
    described.insert("get-managed-prefix-list-entries.pl-1", entries.clone());
    let set = json!({"kind": "DaemonSet", "metadata": {"name": "aws-node"}});
    let other = json!({"kind": "DaemonSet", "metadata": {"name": "kube-proxy"}});
    described.insert("aws-node", json!({"items": [other, set]}));
    let expected = json!({
        "aws-node": set,
        "describe-cluster": {"cluster": {"name": "demo"}},
        "describe-vpcs": {"Vpcs": [{"VpcId": "vpc-1"}, {"VpcId": "vpc-2"}]},
        "get-managed-prefix-list-entries.pl-1": entries,
    });
    assert_eq!(Value::Object(copy::folded(&described)), expected);
}

/// A snapshot without `describe-network-interfaces`: instances list their own, with all that the API says of them.
fn by_instances(described: &Described) -> Described {
    let mut answers = copy::folded(described);
    let listed = answers.remove("describe-network-interfaces").unwrap();
    let instances = answers["describe-instances"]["Reservations"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .flat_map(|reservation| reservation["Instances"].as_array_mut().unwrap());
    for instance in instances {
        let id = instance["InstanceId"].clone();
        let own = listed["NetworkInterfaces"].as_array().unwrap().iter();
        let own = own.filter(|it| it["Attachment"]["InstanceId"] == id);
        let own: Vec<Value> = own
            .cloned()
            .map(|mut it| {
                it["Attachment"]
                    .as_object_mut()
                    .unwrap()
                    .remove("InstanceId");
                it
            })
            .collect();
        instance["NetworkInterfaces"] = json!(own);
    }
    Described::from(answers)
}

#[test]
fn interfaces_come_from_instances_where_nothing_else_lists_them() {
    let whole = described(&large(12));
    let by_instances = by_instances(&whole);
    for most in [10, HOSTS_MAX] {
        let rehearsal = Rehearsal::of(&by_instances, most).unwrap();
        let plan = &rehearsal.scene.expanded.plan;
        let agents = rehearsal.scene.expanded.agents.len();
        assert!(agents > 5 && agents <= most, "{agents} agents");
        let decoded = Snapshot::decode(&Described::from(plan.snapshot.clone())).unwrap();
        let drawn = inhabitants::all(&decoded.snapshot, &Classes::new(&decoded.snapshot));
        assert!(drawn.len() <= most, "{} hosts", drawn.len());
        let texts: Vec<_> = decoded.gaps.iter().map(ToString::to_string).collect();
        assert!(
            texts
                .iter()
                .any(|text| text.contains("interfaces are those that instances list")),
            "{texts:#?}"
        );
    }
}

#[test]
fn what_cannot_be_rehearsed_says_why() {
    let said = |saved: &str| {
        let opened = Rehearsal::open(&Saved {
            path: PathBuf::from(saved),
            cluster: None,
        });
        crate::harness::explain(&opened.unwrap_err())
    };
    assert_eq!(
        said("-"),
        "cannot read the snapshot from standard input: the lab reads it twice, give a file or directory"
    );
    assert!(said("no/such/file").contains("cannot read `no/such/file`"));
    let mut empty = World::builtin("default").unwrap().expand().unwrap().plan;
    for (stem, key) in [
        ("describe-network-interfaces", "NetworkInterfaces"),
        ("describe-instances", "Reservations"),
    ] {
        empty.snapshot.insert(stem.to_owned(), json!({key: []}));
    }
    let refused = Rehearsal::of(&Described::from(empty.snapshot), HOSTS_MAX).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the snapshot has no network interface: there is nobody to build a lab of"
    );
}
