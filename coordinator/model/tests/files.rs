//! How answers become a snapshot: Kubernetes objects by their kind, clusters by their name, interfaces by instances.
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
use reachproof_model::describe::{Described, sort};
use reachproof_model::snapshot::Snapshot;
use serde_json::{Value, json};

/// The gaps of a world, a line each.
fn gaps(world: &World) -> Vec<String> {
    let gaps = world.decoded().gaps;
    gaps.iter().map(ToString::to_string).collect()
}

/// The error of a world.
fn refused(world: &World) -> String {
    let error = Snapshot::decode(&world.described()).unwrap_err();
    error.to_string()
}

/// A pod with the address of N2's second one.
fn a_pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": "db"},
        "spec": {"nodeName": "n"}, "status": {"phase": "Running", "podIP": "10.0.2.21"}})
}

fn a_node() -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "ip-10-0-2-20"}})
}

/// A policy that selects every pod of `default`.
fn a_policy() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "default", "name": "all"}, "spec": {"podSelector": {}}})
}

fn list(items: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

#[test]
fn a_list_of_several_kinds_is_sorted_by_kind_whatever_its_name() {
    let mixed = list(json!([a_policy(), a_node(), a_pod()]));
    for stem in ["pods", "nodes", "services", "networkpolicies.all"] {
        let world = World::base().file(stem, mixed.clone());
        let snapshot = world.decoded().snapshot;
        assert_eq!(snapshot.pods().len(), 1, "{stem}");
        assert_eq!(snapshot.nodes().len(), 1, "{stem}");
        assert_eq!(
            world.tcp("10.0.1.20", "10.0.2.21"),
            unknown("networkpolicy"),
            "{stem}"
        );
    }
}

#[test]
fn a_file_of_another_kind_is_taken_for_what_it_is_and_its_own_answer_is_absent() {
    let world = World::base().file("networkpolicies", list(json!([a_pod()])));
    assert_eq!(world.decoded().snapshot.pods().len(), 1);
    let lines = gaps(&world);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("networkpolicies: file is absent"))
    );
    assert!(
        !lines
            .iter()
            .any(|line| line.starts_with("pods: file is absent"))
    );
}

#[test]
fn a_status_is_as_if_the_file_were_absent_and_says_why() {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": "networkpolicies.networking.k8s.io is forbidden", "code": 403});
    let lines = gaps(&World::base().file("networkpolicies", status));
    assert!(
        lines.contains(
            &"networkpolicies: file is absent; Kubernetes objects of this kind count as absent"
                .to_owned()
        )
    );
    assert!(lines.contains(&"networkpolicies: the API server answered with an error, `networkpolicies.networking.k8s.io is forbidden`; Kubernetes objects of this kind count as absent".to_owned()));
}

#[test]
fn a_refusal_to_list_policies_of_an_engine_is_an_answer_and_that_of_network_policies_is_none() {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": "access denied", "reason": "Forbidden", "code": 403});
    let pieces = sort("clusternetworkpolicies.json", status.clone()).unwrap();
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].key, "clusternetworkpolicies");
    assert_eq!((&pieces[0].value, pieces[0].count()), (&status, None));
    sort("networkpolicies.json", status.clone()).unwrap_err();

    let world = World::base()
        .file("pods", json!({"items": [a_pod()]}))
        .file("clusternetworkpolicies", status);
    let address = "10.0.2.21".parse().unwrap();
    let decoded = world.decoded();
    assert_eq!(
        decoded.snapshot.network_policies_selecting(address).len(),
        1
    );
}

#[test]
fn a_policy_of_calico_selects_the_pods_of_its_namespace() {
    let policy = json!({"apiVersion": "crd.projectcalico.org/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "default", "name": "deny"}, "spec": {"selector": "all()"}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [policy]});
    let pieces = sort("networkpolicies.json", list.clone()).unwrap();
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].key, "caliconetworkpolicies");

    let world = World::base()
        .file("pods", json!({"items": [a_pod()]}))
        .file("caliconetworkpolicies", list);
    let address = "10.0.2.21".parse().unwrap();
    let decoded = world.decoded();
    let selecting = decoded.snapshot.network_policies_selecting(address);
    assert_eq!(selecting.len(), 1);
    assert_eq!(selecting[0].kind, "Calico NetworkPolicy");
}

#[test]
fn items_null_is_an_empty_list() {
    let world = World::base().file(
        "pods",
        json!({"kind": "PodList", "apiVersion": "v1", "items": null}),
    );
    assert_eq!(world.decoded().snapshot.pods().len(), 0);
    assert!(!gaps(&world).iter().any(|line| line.starts_with("pods")));
}

#[test]
fn an_object_of_the_same_kind_in_another_group_is_another_object() {
    let mut service = a_pod();
    service["apiVersion"] = json!("pods.example.com/v1");
    let world = World::base().file("pods", list(json!([service, a_pod()])));
    assert_eq!(world.decoded().snapshot.pods().len(), 1);
    assert!(
        gaps(&world).contains(
            &"pods: items[0]: unknown word `Pod`; no prediction depends on it".to_owned()
        )
    );
}

#[test]
fn the_cni_is_taken_by_name_wherever_it_stands() {
    let world = World::base();
    let cni = world.described().get("aws-node").unwrap().clone();
    let mut other = cni.clone();
    other["metadata"]["name"] = json!("kube-proxy");
    other["spec"] = json!({"template": {"spec": {"containers": [{"name": "kube-proxy"}]}}});
    let expected = world.decoded().snapshot.cni().clone();
    for items in [json!([cni, other]), json!([other, cni])] {
        let world = World::base().file("aws-node", list(items));
        let decoded = world.decoded();
        assert_eq!(*decoded.snapshot.cni(), expected);
        assert_eq!(decoded.gaps, World::base().decoded().gaps);
    }
    let without = World::base().file("aws-node", list(json!([other])));
    assert!(
        gaps(&without)
            .contains(&"aws-node: file is absent; defaults of the VPC CNI are assumed".to_owned())
    );
}

/// The base world with its cluster under another name of the file, and with another cluster.
fn two_clusters() -> (World, World) {
    let described = World::base().described();
    let cluster = described.get("describe-cluster").unwrap().clone();
    let mut other = cluster.clone();
    other["cluster"]["name"] = json!("other");
    let one = World::base()
        .without("describe-cluster")
        .file("describe-cluster.demo", cluster);
    let two = one.clone().file("describe-cluster.other", other);
    (one, two)
}

#[test]
fn a_cluster_is_read_whatever_stands_behind_the_stem() {
    let (one, _) = two_clusters();
    let of = |world: &World| {
        let snapshot = world.decoded().snapshot;
        let interfaces = snapshot.control_plane_interfaces();
        interfaces
            .iter()
            .map(|found| found.interface.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&one), of(&World::base()));
    assert_eq!(of(&one).len(), 2);
}

#[test]
fn of_two_clusters_one_must_be_named() {
    let (_, two) = two_clusters();
    assert_eq!(
        refused(&two),
        "the snapshot has 2 clusters, `demo`, `other`: name one with --cluster"
    );
    let mut described = two.described();
    let error = described.choose_cluster("third").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no cluster `third` in the snapshot, it has `demo`, `other`"
    );
    described.insert(
        "describe-nodegroup.a",
        json!({"nodegroup": {"nodegroupName": "a", "clusterName": "other"}}),
    );
    described.choose_cluster("demo").unwrap();
    let decoded = Snapshot::decode(&described).unwrap();
    assert_eq!(decoded.snapshot.cluster().unwrap().name, "demo");
    assert!(described.get("describe-nodegroup.a").is_none());
}

#[test]
fn every_missing_answer_is_named_with_its_command() {
    assert_eq!(
        refused(
            &World::base()
                .without("describe-vpcs")
                .without("describe-network-acls")
        ),
        "`describe-vpcs`, `describe-network-acls` are missing, write them with \
         `aws ec2 describe-vpcs --output json`, `aws ec2 describe-network-acls --output json`"
    );
    let error = Snapshot::decode(&Described::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("`describe-vpcs`, `describe-subnets`, `describe-network-interfaces`, ")
    );
}

/// The base world in which instances list their interfaces as `describe-instances` prints them, and nothing else does.
fn interfaces_by_instances() -> World {
    let mut world = World::base();
    let interfaces = world.list("describe-network-interfaces").clone();
    for reservation in world.list("describe-instances") {
        for instance in reservation["Instances"].as_array_mut().unwrap() {
            let own: Vec<_> = interfaces
                .iter()
                .filter(|interface| interface["Attachment"]["InstanceId"] == instance["InstanceId"])
                .map(|interface| {
                    let mut interface = interface.clone();
                    let fields = interface.as_object_mut().unwrap();
                    fields.remove("TagSet");
                    fields["Attachment"]
                        .as_object_mut()
                        .unwrap()
                        .remove("InstanceId");
                    interface
                })
                .collect();
            instance["NetworkInterfaces"] = json!(own);
        }
    }
    world.without("describe-network-interfaces")
}

#[test]
fn without_interfaces_those_of_the_instances_are_taken() {
    let world = interfaces_by_instances();
    let whole = World::base();
    assert_eq!(world.tcp("10.0.1.20", "10.0.2.20"), allowed());
    assert_eq!(whole.tcp("10.0.1.20", "10.0.2.20"), allowed());
    let gap = "describe-network-interfaces: file is absent; interfaces are those that instances list: flows of control plane, Fargate and load balancers are unknown";
    assert!(gaps(&world).contains(&gap.to_owned()));
    let shut = world.ingress(D, json!([]));
    assert_eq!(shut.tcp("10.0.1.20", "10.0.2.20"), denied("sg-ingress", N2));
}

#[test]
fn a_member_that_no_instance_lists_is_no_reason_for_a_deny() {
    // 10.0.1.10 is of the control plane, which is on no instance of ours.
    let world = interfaces_by_instances();
    assert_eq!(
        world.tcp("10.0.1.20", "10.0.1.10"),
        unknown("dst-outside-model")
    );
    assert_eq!(
        world.tcp("10.0.1.10", "10.0.1.20"),
        unknown("src-outside-model")
    );
}

#[test]
fn without_interfaces_and_instances_the_interfaces_are_missing() {
    let world = World::base()
        .without("describe-network-interfaces")
        .without("describe-instances");
    assert_eq!(
        refused(&world),
        "`describe-network-interfaces` is missing, write it with `aws ec2 describe-network-interfaces --output json`"
    );
}
