//! The answers of a snapshot as the lab reads them: each under one stem, and without what is not drawn.

use std::collections::BTreeSet;

use reachproof_model::describe::{ANSWERS, Answer, Described, Form};
use reachproof_model::id::{InstanceId, NetworkInterfaceId, NodeName};
use reachproof_model::snapshot::{Host, Owner, PodNetwork, Snapshot};
use serde_json::{Map, Value};

use crate::rehearsal::inhabitants::{Inhabitant, PodId};

/// The DaemonSet of the VPC CNI, and its answer.
const CNI: &str = "aws-node";

/// What stays in a copy.
#[derive(Debug, Default)]
pub(super) struct Kept {
    interfaces: BTreeSet<NetworkInterfaceId>,
    instances: BTreeSet<InstanceId>,
    nodes: BTreeSet<NodeName>,
    pods: BTreeSet<PodId>,
}

impl Kept {
    /// What those who are drawn need: their interfaces, instances, nodes, and the pods on the host network of these nodes.
    pub(super) fn of(snapshot: &Snapshot, drawn: &[&Inhabitant]) -> Self {
        let mut kept = Self::default();
        for one in drawn {
            kept.interfaces.extend(one.interfaces.iter().cloned());
            kept.pods.extend(one.pod.clone());
            if let Host::Instance(id) = &one.host {
                kept.instances.insert(id.clone());
            }
        }
        let stands = |interface: &NetworkInterfaceId| kept.interfaces.contains(interface);
        let nodes = snapshot.nodes().iter().filter(|node| {
            match &node.instance {
            Some(instance) => kept.instances.contains(instance),
            None => node.addresses.iter().any(|address| {
                matches!(snapshot.owner(*address), Owner::One(owner) if stands(&owner.id))
            }),
        }
        });
        kept.nodes = nodes.map(|node| node.name.clone()).collect();
        let on_host = snapshot.pods().iter().filter(|pod| {
            pod.network == PodNetwork::Host
                && pod
                    .node
                    .as_ref()
                    .is_some_and(|node| kept.nodes.contains(node))
        });
        kept.pods.extend(on_host.map(PodId::of));
        kept
    }
}

/// The answers, those of `STEM` and `STEM.ID` as one list under `STEM` wherever the calls were several for one question.
pub(super) fn folded(described: &Described) -> Map<String, Value> {
    let mut answers = Map::new();
    for (stem, answer) in described.iter() {
        match plain_stem(stem) {
            Some((plain, key)) => fold(&mut answers, (plain, key), answer),
            None => {
                answers.insert(stem.to_owned(), answer.clone());
            }
        }
    }
    if let Some(set) = answers.get(CNI).and_then(only_cni) {
        answers.insert(CNI.to_owned(), set);
    }
    answers
}

/// The stem under which a list is read whole, with its key; the cluster's is that of a single thing.
fn plain_stem(stem: &str) -> Option<(&'static str, &'static str)> {
    let plain = stem.split_once('.').map_or(stem, |(plain, _)| plain);
    let is_it = |answer: &&Answer| answer.stem == plain;
    ANSWERS
        .iter()
        .find(is_it)
        .and_then(|answer| match answer.form {
            Form::List { key, .. } => Some((answer.stem, key)),
            Form::Single { key, .. } if answer.stem == "describe-cluster" => {
                Some((answer.stem, key))
            }
            Form::Single { .. }
            | Form::ListOf { .. }
            | Form::Plain { .. }
            | Form::Objects { .. } => None,
        })
}

/// Adds the items of an answer to the list that is there, each once.
fn fold(answers: &mut Map<String, Value>, (stem, key): (&str, &str), answer: &Value) {
    let Some(there) = answers.get_mut(stem) else {
        answers.insert(stem.to_owned(), answer.clone());
        return;
    };
    let items = answer.get(key).and_then(Value::as_array);
    let list = there.get_mut(key).and_then(Value::as_array_mut);
    if let (Some(list), Some(items)) = (list, items) {
        for item in items {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
    }
}

/// The CNI among all DaemonSets of the cluster.
fn only_cni(answer: &Value) -> Option<Value> {
    let items = answer.get("items")?.as_array()?;
    let name = |item: &&Value| item.pointer("/metadata/name").and_then(Value::as_str) == Some(CNI);
    items.iter().find(name).cloned()
}

/// Leaves out interfaces, instances, nodes and pods that are not drawn; rules, routes and everything else stays.
pub(super) fn reduce(answers: &mut Map<String, Value>, kept: &Kept) {
    retain(
        answers,
        "describe-network-interfaces",
        "NetworkInterfaces",
        |it| holds(&kept.interfaces, it.get("NetworkInterfaceId")),
    );
    // Then the interfaces are those that instances list.
    let is_by_instances = !answers.contains_key("describe-network-interfaces");
    let reservations = answers
        .get_mut("describe-instances")
        .and_then(|answer| answer.get_mut("Reservations")?.as_array_mut());
    for reservation in reservations.into_iter().flatten() {
        let instances = reservation
            .get_mut("Instances")
            .and_then(Value::as_array_mut);
        if let Some(instances) = instances {
            instances.retain(|it| holds(&kept.instances, it.get("InstanceId")));
            if is_by_instances {
                instances
                    .iter_mut()
                    .for_each(|it| reduce_instance(it, kept));
            }
        }
    }
    let name = |it: &Value| it.pointer("/metadata/name").cloned();
    retain(answers, "nodes", "items", |it| {
        holds(&kept.nodes, name(it).as_ref())
    });
    retain(answers, "pods", "items", |it| {
        PodId::in_answer(it).is_some_and(|pod| kept.pods.contains(&pod))
    });
}

/// Leaves out the interfaces of an instance that are not drawn.
fn reduce_instance(instance: &mut Value, kept: &Kept) {
    let listed = instance
        .get_mut("NetworkInterfaces")
        .and_then(Value::as_array_mut);
    if let Some(listed) = listed {
        listed.retain(|it| holds(&kept.interfaces, it.get("NetworkInterfaceId")));
    }
}

fn retain(answers: &mut Map<String, Value>, stem: &str, key: &str, stays: impl Fn(&Value) -> bool) {
    let list = answers
        .get_mut(stem)
        .and_then(|answer| answer.get_mut(key)?.as_array_mut());
    if let Some(list) = list {
        list.retain(stays);
    }
}

fn holds<Id: std::borrow::Borrow<str> + Ord>(kept: &BTreeSet<Id>, id: Option<&Value>) -> bool {
    id.and_then(Value::as_str)
        .is_some_and(|id| kept.contains(id))
}
