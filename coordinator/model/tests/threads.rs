//! Situations out of public threads: `check` names the cause that was found there, and its first proposal opens the flow.
//!
//! `tests/field/*.thread.json`: what people saw (`pins`), the flow, what the model says of it, the snapshot, and the fixes
//! and failed attempts of the thread, each as a whole snapshot.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test says what it expects by failing"
)]

mod applied;

use std::fs;
use std::path::Path;

use applied::apply;
use reachproof_model::cause::{Cause, causes};
use reachproof_model::class::Classes;
use reachproof_model::describe::{Described, parse};
use reachproof_model::expectation::needs::needs;
use reachproof_model::flow::Flow;
use reachproof_model::predict::verdict;
use reachproof_model::prediction::{Gate, Verdict};
use reachproof_model::repair::{NoRepair, Repair, Workshop};
use reachproof_model::snapshot::Snapshot;
use serde_json::{Map, Value};

/// A replayed thread.
struct Thread {
    expect: Value,
    files: Map<String, Value>,
    fixes: Map<String, Value>,
    flow: Flow,
    snapshot: Snapshot,
}

fn decode(files: &Map<String, Value>) -> Snapshot {
    let described = Described::from(files.clone());
    Snapshot::decode(&described).unwrap().snapshot
}

impl Thread {
    fn new(id: &str) -> Self {
        let path = format!("../../tests/field/{id}.thread.json");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let mut thread = parse(&fs::read_to_string(path).unwrap()).unwrap();
        let files = thread["snapshot"].as_object().unwrap().clone();
        let snapshot = decode(&files);
        let flow = Flow::from_json(&thread["flow"]).unwrap();
        let control_plane = snapshot.control_plane_interfaces().into_iter();
        let is_of_control_plane = control_plane
            .flat_map(|found| &found.interface.addresses)
            .any(|address| *address == flow.source);
        Self {
            // The threads know no source ports of API servers.
            flow: match flow.protocol.port() {
                Some(port) if is_of_control_plane => {
                    Flow::from_api_server(flow.source, flow.destination, port)
                }
                Some(_) | None => flow,
            },
            snapshot,
            fixes: thread["fixes"].as_object().unwrap().clone(),
            expect: thread["expect"].take(),
            files,
        }
    }

    /// Whether the flow is one that the cluster needs, so that nobody has to ask for it.
    fn is_need(&self) -> bool {
        needs(&self.snapshot).flows().any(|flow| *flow == self.flow)
    }

    /// The causes of everything that the cluster needs and of the flow.
    fn causes(&self) -> Vec<Cause> {
        let needs = needs(&self.snapshot);
        let flows = needs.flows().chain((!self.is_need()).then_some(&self.flow));
        causes(&self.snapshot, &Classes::new(&self.snapshot), flows)
    }

    /// The causes that the flow has.
    fn own(&self) -> Vec<Cause> {
        let causes = self.causes().into_iter();
        causes
            .filter(|cause| cause.flows.contains(&self.flow))
            .collect()
    }

    /// What would open the first cause of the flow.
    fn repair(&self) -> Result<Repair, NoRepair> {
        let cause = self.own().remove(0);
        Workshop::new(&self.snapshot).repair(&cause.flows, &[])
    }

    /// What the model says of the flow once the proposal is applied to the answers of the APIs.
    fn repaired(&self, repair: &Repair) -> Verdict {
        let mut files = self.files.clone();
        for change in &repair.changes {
            apply(&mut files, change);
        }
        verdict(&decode(&files), &self.flow)
    }

    /// The commands of the proposal.
    fn commands(&self) -> Vec<String> {
        let repair = self.repair().unwrap();
        repair
            .changes
            .iter()
            .map(|change| change.aws_cli())
            .collect()
    }
}

/// Checks cause and proposal of a thread whose flow some gate stops.
fn mends(id: &str, is_need: bool, commands: &[&str]) {
    let thread = Thread::new(id);
    assert_eq!(thread.is_need(), is_need, "{id}");
    let own = thread.own();
    let gate = thread.expect["gate"].as_str().unwrap();
    let has_gate = |cause: &Cause| cause.gates().iter().any(|found| found.as_str() == gate);
    assert!(own.iter().any(has_gate), "{id}: {own:?} is not {gate}");
    let repair = thread.repair().unwrap();
    let then = thread.repaired(&repair);
    assert!(
        matches!(then, Verdict::Allow { .. }),
        "{id}: {repair:?} leaves {then}"
    );
    assert_eq!(thread.commands(), commands, "{id}");
}

/// Checks what the model says of the flow under each fix and attempt of the thread.
fn fixes(id: &str, expected: &[(&str, &str)]) {
    let thread = Thread::new(id);
    let found: Vec<(String, String)> = thread
        .fixes
        .iter()
        .map(|(name, files)| {
            let snapshot = decode(files.as_object().unwrap());
            let word = verdict(&snapshot, &thread.flow).as_str().to_owned();
            (name.clone(), word)
        })
        .collect();
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(name, word)| (name.as_str(), word.as_str()))
        .collect();
    assert_eq!(found, expected, "{id}");
}

#[test]
fn a_balancers_group_is_admitted_by_the_group_that_fargate_pods_wear() {
    let command = "aws ec2 authorize-security-group-ingress --group-id sg-f1d7689d5d7f1018c --protocol tcp --port 8080 --source-group sg-a6c643a323d7d9ec3";
    mends("alb-to-fargate", false, &[command]);
    fixes("alb-to-fargate", &[("rule", "allow")]);
}

#[test]
fn a_bastion_is_admitted_by_the_additional_group_of_the_control_plane() {
    let command = "aws ec2 authorize-security-group-ingress --group-id sg-2c36ab5733a7d8ae3 --protocol tcp --port 443 --source-group sg-3873267d2ff6f4746";
    mends("bastion-private-endpoint", false, &[command]);
    let names = ["additional-group", "cidr", "cluster-group"];
    fixes(
        "bastion-private-endpoint",
        &names.map(|name| (name, "allow")),
    );
}

#[test]
fn a_webhook_on_an_interface_of_custom_networking_is_found_unasked() {
    let command = "aws ec2 authorize-security-group-ingress --group-id sg-89d9983df3d6366f3 --protocol tcp --port 8443 --source-group sg-2c36ab5733a7d8ae3";
    mends("eniconfig-groups-lost", true, &[command]);
    fixes("eniconfig-groups-lost", &[("as-eniconfig", "allow")]);
}

#[test]
fn egress_that_forgets_ipv6_is_found_unasked() {
    let command = "aws ec2 authorize-security-group-egress --group-id sg-89d9983df3d6366f3 --ip-permissions 'IpProtocol=tcp,FromPort=443,ToPort=443,UserIdGroupPairs=[{GroupId=sg-2c36ab5733a7d8ae3}]'";
    mends("ipv6-egress-forgotten", true, &[command]);
    fixes(
        "ipv6-egress-forgotten",
        &[("refs", "allow"), ("v6-out", "allow")],
    );
}

#[test]
fn a_low_port_between_nodes_is_admitted_from_the_nodes_own_group() {
    let command = "aws ec2 authorize-security-group-ingress --group-id sg-89d9983df3d6366f3 --protocol tcp --port 80 --source-group sg-89d9983df3d6366f3";
    mends("low-port-between-nodes", false, &[command]);
    fixes("low-port-between-nodes", &[("all-self", "allow")]);
}

#[test]
fn both_gaps_of_a_metrics_server_are_found_unasked() {
    let command = "aws ec2 authorize-security-group-ingress --group-id sg-89d9983df3d6366f3 --protocol tcp --port 4443 --source-group sg-2c36ab5733a7d8ae3";
    mends("metrics-server-two-gaps", true, &[command]);
    fixes(
        "metrics-server-two-gaps",
        &[("both", "allow"), ("only-4443", "allow")],
    );
    // The way from the metrics server to the kubelets of other nodes is stopped twice, which is one cause.
    let thread = Thread::new("metrics-server-two-gaps");
    let causes = thread.causes();
    let [_, kubelets] = causes.as_slice() else {
        panic!("{causes:?} are not two causes");
    };
    assert_eq!(kubelets.title(), "pods on nodes -> nodes tcp/10250");
    assert_eq!(kubelets.gates(), [Gate::SgEgress, Gate::SgIngress]);
    let both = decode(thread.fixes["both"].as_object().unwrap());
    assert_eq!(causes_of(&both), 0);
    let one = decode(thread.fixes["only-4443"].as_object().unwrap());
    assert_eq!(causes_of(&one), 1);
}

/// How many causes break something that the cluster of a snapshot needs.
fn causes_of(snapshot: &Snapshot) -> usize {
    let classes = Classes::new(snapshot);
    causes(snapshot, &classes, needs(snapshot).flows()).len()
}

#[test]
fn a_pod_with_a_group_of_its_own_is_admitted_to_coredns_over_both_protocols() {
    let command = |protocol| {
        format!(
            "aws ec2 authorize-security-group-ingress --group-id sg-89d9983df3d6366f3 --protocol {protocol} --port 53 --source-group sg-0cd505cb2f80dd378"
        )
    };
    mends(
        "pod-group-and-dns",
        true,
        &[&command("tcp"), &command("udp")],
    );
    let expected = [
        ("dns-only", "allow"),
        ("try1-on-nodes", "deny"),
        ("try2-all-tcp", "deny"),
        ("try3-node-group-in-policy", "allow"),
    ];
    fixes("pod-group-and-dns", &expected);
}

#[test]
fn a_policy_is_named_and_no_rule_is_proposed() {
    let thread = Thread::new("policy-beside-groups");
    assert!(thread.is_need());
    let [cause] = thread.own().try_into().unwrap();
    assert!(!cause.is_stop());
    let words =
        "nothing that is known stops it; not known: networkpolicy (NetworkPolicy d/deny-egress)";
    assert_eq!(cause.why(&thread.snapshot), [words]);
    assert_eq!(thread.repair(), Err(NoRepair::NotStopped));
    fixes("policy-beside-groups", &[("no-policy", "allow")]);
}

#[test]
fn replies_to_translated_pods_get_an_entry_for_every_port_of_the_translation() {
    let command = "aws ec2 create-network-acl-entry --network-acl-id acl-4e716df345a2a453e --ingress --rule-number 200 --protocol 6 --port-range From=1024,To=65535 --cidr-block 10.80.1.5/32 --rule-action allow";
    mends("snat-ports-and-acl", false, &[command]);
    fixes(
        "snat-ports-and-acl",
        &[("snat-none", "allow"), ("wide-acl", "allow")],
    );
}

#[test]
fn of_two_groups_of_a_node_the_users_gets_the_rule() {
    let command = "aws ec2 authorize-security-group-ingress --group-id sg-89d9983df3d6366f3 --protocol tcp --port 8080 --source-group sg-a6c643a323d7d9ec3";
    mends("two-cluster-tags", false, &[command]);
    fixes("two-cluster-tags", &[("one-tag-rule-written", "allow")]);
}

#[test]
fn a_webhook_on_the_host_network_is_dialled_at_its_nodes_address() {
    let command = "aws ec2 authorize-security-group-ingress --group-id sg-89d9983df3d6366f3 --protocol tcp --port 10260 --source-group sg-2c36ab5733a7d8ae3";
    mends("webhook-hostnetwork-10260", true, &[command]);
    let expected = [
        ("additional", "allow"),
        ("cluster", "allow"),
        ("wrong-group", "deny"),
    ];
    fixes("webhook-hostnetwork-10260", &expected);
}

#[test]
fn a_webhook_is_dialled_at_the_port_behind_its_service() {
    let command = "aws ec2 authorize-security-group-ingress --group-id sg-89d9983df3d6366f3 --protocol tcp --port 9443 --source-group sg-2c36ab5733a7d8ae3";
    mends("webhook-port-behind-service", true, &[command]);
    let names = ["9443-from-CL", "9443-from-CP"];
    fixes(
        "webhook-port-behind-service",
        &names.map(|name| (name, "allow")),
    );
}
