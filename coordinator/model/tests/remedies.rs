//! Proposals for the base world of SEMANTICS J with one thing broken: what is typed, and when there is nothing to type.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    dead_code,
    reason = "a test says what it expects by failing; other tests use the rest of the common module"
)]

mod common;

use common::*;
use reachproof_model::diagnosis::{Remedy, diagnose};
use reachproof_model::flow::{Flow, FlowProtocol};
use reachproof_model::predict::stops;
use reachproof_model::prediction::Gate;
use reachproof_model::repair::{NoRepair, Workshop};
use reachproof_model::snapshot::Direction;
use serde_json::{Value, json};

/// The cluster security group.
const CLUSTER: &str = "sg-b626d80a0de38e17b";

fn flow(source: &str, destination: &str, port: u16) -> Flow {
    Flow::tcp(source.parse().unwrap(), destination.parse().unwrap(), port)
}

/// What is typed to open a flow, or why nothing is.
fn typed(world: &World, flow: &Flow) -> Result<Vec<String>, NoRepair> {
    let snapshot = world.decoded().snapshot;
    let repair = Workshop::new(&snapshot).repair(std::slice::from_ref(flow), &[])?;
    assert_eq!(repair.not_known, None);
    Ok(repair
        .changes
        .iter()
        .map(|change| change.aws_cli())
        .collect())
}

/// An ACL of A2 with these entries.
fn list(entries: &[Value]) -> World {
    World::base().acl(A2, json!(entries))
}

#[test]
fn what_nothing_stops_needs_no_repair() {
    let found = typed(&World::base(), &flow("10.0.1.20", "10.0.2.20", 8080));
    assert_eq!(found, Err(NoRepair::NotStopped));
}

#[test]
fn the_users_group_gets_the_rule_and_is_referred_to_before_the_clusters() {
    let world = World::base()
        .carries(N2, &[CLUSTER, D])
        .carries(N1, &[CLUSTER, S]);
    let world = world.ingress(CLUSTER, json!([]));
    let command = format!(
        "aws ec2 authorize-security-group-ingress --group-id {D} --protocol tcp --port 9090 --source-group {S}"
    );
    assert_eq!(
        typed(&world, &flow("10.0.1.20", "10.0.2.20", 9090)),
        Ok(vec![command])
    );
}

#[test]
fn a_network_stands_where_a_reference_does_not_work() {
    // Outbound references over a transit gateway are not supported (A.3).
    let world = World::base().egress(S, json!([]));
    let command = format!(
        "aws ec2 authorize-security-group-egress --group-id {S} --protocol tcp --port 8080 --cidr 10.2.0.5/32"
    );
    assert_eq!(
        typed(&world, &flow("10.0.1.20", "10.2.0.5", 8080)),
        Ok(vec![command])
    );
}

#[test]
fn a_missing_return_route_is_added_over_the_peering() {
    let world = World::base().routes(RT_W, json!([]));
    let command = format!(
        "aws ec2 create-route --route-table-id {RT_W} --destination-cidr-block 10.0.1.0/24 --vpc-peering-connection-id {PCX}"
    );
    assert_eq!(
        typed(&world, &flow("10.0.1.20", "10.1.0.5", 8080)),
        Ok(vec![command])
    );
}

#[test]
fn where_no_peering_is_active_no_route_is_proposed() {
    let deleted = json!({"Code": "deleted"});
    let world = World::base().set("describe-vpc-peering-connections", PCX, "Status", deleted);
    let error = NoRepair::NoWay {
        from: V.into(),
        to: W.into(),
    };
    assert_eq!(
        typed(&world, &flow("10.0.1.20", "10.1.0.5", 8080)),
        Err(error)
    );
}

#[test]
fn an_entry_stands_before_the_one_that_drops() {
    let world = list(&[
        entry(Direction::Ingress, 50, "deny", (8000, 9000)),
        all(Direction::Ingress, 100, "allow"),
        all(Direction::Egress, 100, "allow"),
    ]);
    let acl = format!("acl-of-{A2}");
    let command = format!(
        "aws ec2 create-network-acl-entry --network-acl-id {acl} --ingress --rule-number 20 --protocol 6 \
         --port-range From=8080,To=8080 --cidr-block 10.0.1.20/32 --rule-action allow"
    );
    assert_eq!(
        typed(&world, &flow("10.0.1.20", "10.0.2.20", 8080)),
        Ok(vec![command])
    );
}

#[test]
fn before_entry_one_there_is_no_number() {
    let world = list(&[
        entry(Direction::Ingress, 1, "deny", (8000, 9000)),
        all(Direction::Ingress, 100, "allow"),
        all(Direction::Egress, 100, "allow"),
    ]);
    let error = NoRepair::NoNumber {
        acl: format!("acl-of-{A2}").into(),
    };
    assert_eq!(
        typed(&world, &flow("10.0.1.20", "10.0.2.20", 8080)),
        Err(error)
    );
}

#[test]
fn an_empty_list_gets_an_entry_for_the_packets_and_one_for_the_replies() {
    let world = list(&[]);
    let flow = flow("10.0.1.20", "10.0.2.20", 8080);
    let snapshot = world.decoded().snapshot;
    let gates: Vec<Gate> = stops(&snapshot, &flow)
        .iter()
        .map(|stop| stop.denial.gate())
        .collect();
    assert_eq!(gates, [Gate::NaclIn, Gate::NaclReturnOut]);
    let start = format!("aws ec2 create-network-acl-entry --network-acl-id acl-of-{A2}");
    let commands = vec![
        format!(
            "{start} --ingress --rule-number 100 --protocol 6 --port-range From=8080,To=8080 --cidr-block 10.0.1.20/32 --rule-action allow"
        ),
        format!(
            "{start} --egress --rule-number 100 --protocol 6 --port-range From=32768,To=60999 --cidr-block 10.0.1.20/32 --rule-action allow"
        ),
    ];
    assert_eq!(typed(&world, &flow), Ok(commands));
}

#[test]
fn several_addresses_of_a_subnet_get_its_network() {
    let snapshot = list(&[all(Direction::Egress, 100, "allow")])
        .decoded()
        .snapshot;
    let flows = [
        flow("10.0.1.20", "10.0.2.20", 8080),
        flow("10.0.1.30", "10.0.2.20", 8080),
    ];
    let repair = Workshop::new(&snapshot).repair(&flows, &[]).unwrap();
    let commands: Vec<_> = repair
        .changes
        .iter()
        .map(|change| change.aws_cli())
        .collect();
    assert_eq!(commands.len(), 1, "{commands:?}");
    assert!(
        commands[0].contains("--cidr-block 10.0.1.0/24"),
        "{commands:?}"
    );
}

#[test]
fn every_gate_that_stops_a_flow_is_named_not_the_first_alone() {
    let world = World::base().egress(S, json!([])).ingress(D, json!([]));
    let world = world.acl(A2, json!([all(Direction::Egress, 100, "allow")]));
    let snapshot = world.decoded().snapshot;
    let found = stops(&snapshot, &flow("10.0.1.20", "10.0.2.20", 8080));
    let gates: Vec<Gate> = found.iter().map(|stop| stop.denial.gate()).collect();
    assert_eq!(gates, [Gate::SgEgress, Gate::NaclIn, Gate::SgIngress]);
}

#[test]
fn a_cause_that_anothers_repair_mends_needs_none_of_its_own() {
    let world = World::base().carries(BR1, &[POD, S]);
    let snapshot = world.decoded().snapshot;
    let flows = [
        flow("10.0.1.20", "10.0.2.20", 9090),
        flow("10.0.1.21", "10.0.2.20", 9090),
        flow("10.0.1.90", "10.0.2.20", 9090),
        flow("10.0.1.20", "10.0.2.20", 8080),
    ];
    let diagnosis = diagnose(&snapshot, &flows, &[]);
    assert_eq!((diagnosis.now.passing, diagnosis.now.stopped), (1, 3));
    assert_eq!((diagnosis.then.passing, diagnosis.then.stopped), (4, 0));
    let [first, second] = diagnosis.causes.as_slice() else {
        panic!("{:?} are not two causes", diagnosis.causes);
    };
    assert_eq!((first.cause.flows.len(), second.cause.flows.len()), (2, 1));
    assert!(matches!(first.remedy, Remedy::Repair(_)), "{first:?}");
    assert_eq!(second.remedy, Remedy::Shared(vec![0]));
    assert_eq!(diagnosis.changes().count(), 1);
}

#[test]
fn tcp_and_udp_on_one_port_between_the_same_ends_are_one_cause() {
    let world = World::base().ingress(D, json!([]));
    let snapshot = world.decoded().snapshot;
    let tcp = flow("10.0.1.20", "10.0.2.20", 53);
    let udp = Flow {
        protocol: FlowProtocol::Udp { port: 53 },
        ..tcp.clone()
    };
    let other = flow("10.0.1.20", "10.0.2.20", 9090);
    let diagnosis = diagnose(&snapshot, &[tcp.clone(), other, udp.clone()], &[]);
    let flows: Vec<_> = diagnosis
        .causes
        .iter()
        .map(|found| found.cause.flows.len())
        .collect();
    assert_eq!(flows, [2, 1]);
    assert_eq!(diagnosis.causes[0].cause.flows, [tcp, udp]);
    assert!(
        diagnosis.causes[0]
            .cause
            .title()
            .ends_with(" tcp/53, udp/53")
    );
    assert_eq!(diagnosis.then.stopped, 0);
}
