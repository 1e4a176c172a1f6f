//! Changes at the size of the performance goals, on one thread: what differs between two snapshots, and what repairs a flow.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench"
)]

mod measure;
#[path = "../tests/second/mod.rs"]
mod second;

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{Criterion, criterion_group, criterion_main};
use measure::ProcessorTime;
use reachproof_model::change::Comparison;
use reachproof_model::flow::Flow;
use reachproof_model::predict::verdict;
use reachproof_model::prediction::{Gate, Verdict};
use reachproof_model::repair::Workshop;
use reachproof_model::snapshot::Snapshot;
use second::cluster::{Shape, cluster, flows};
use second::random::ACCOUNT;
use serde_json::{Map, Value, json};

/// Takes all ingress rules of a group away.
fn close(files: &mut Map<String, Value>, group: &str) {
    let groups = files["describe-security-groups"]["SecurityGroups"]
        .as_array_mut()
        .unwrap();
    let found = groups.iter_mut().find(|it| it["GroupId"] == group).unwrap();
    found["IpPermissions"] = json!([]);
    let rules = files["describe-security-group-rules"]["SecurityGroupRules"]
        .as_array_mut()
        .unwrap();
    rules.retain(|rule| rule["GroupId"] != group || rule["IsEgress"] == true);
}

/// A group that loses all its ingress.
fn differing(criterion: &mut Criterion<ProcessorTime>) {
    let mut files = cluster(1, Shape::FULL);
    let before = second::decode(&files);
    close(&mut files, "sg-000");
    let after = second::decode(&files);
    drop(files);
    let found = Comparison::new(&before, &after).difference();
    println!(
        "one group without ingress: {} kinds of flows, {} other answers, {} of outside, {:?}",
        found.flows.len(),
        found.answers.len(),
        found.outside.len(),
        found.coverage,
    );
    let mut group = criterion.benchmark_group("diff");
    group.sample_size(10);
    group.bench_function("relations_of_one_group", |bencher| {
        let comparison = Comparison::new(&before, &after);
        bencher.iter_with_large_drop(|| comparison.flows());
    });
    group.bench_function("one_group", |bencher| {
        bencher.iter_with_large_drop(|| Comparison::new(&before, &after).difference());
    });
    group.finish();
}

/// Adds a VPC with a few databases behind a peering to which the cluster's route is a blackhole.
fn peer(files: &mut Map<String, Value>) {
    let permission = |network| json!({"IpProtocol": "-1", "IpRanges": [{"CidrIp": network}]});
    let everything = |egress| {
        json!({
            "RuleNumber": 100, "Protocol": "-1", "RuleAction": "allow", "Egress": egress,
            "CidrBlock": "0.0.0.0/0",
        })
    };
    let block = json!({
        "CidrBlock": "10.200.0.0/16", "CidrBlockState": {"State": "associated"},
    });
    let (near, far) = ("10.0.0.0/16", "10.200.0.0/16");
    let side = |vpc, network| json!({"VpcId": vpc, "OwnerId": ACCOUNT, "CidrBlock": network});
    files.insert(
        "describe-vpc-peering-connections".to_owned(),
        json!({"VpcPeeringConnections": [{
            "VpcPeeringConnectionId": "pcx-1", "Status": {"Code": "active"},
            "RequesterVpcInfo": side("vpc-v", near), "AccepterVpcInfo": side("vpc-w", far),
        }]}),
    );
    add(
        files,
        ("describe-vpcs", "Vpcs"),
        json!({
            "VpcId": "vpc-w", "OwnerId": ACCOUNT, "CidrBlock": far, "CidrBlockAssociationSet": [block],
        }),
    );
    add(
        files,
        ("describe-subnets", "Subnets"),
        json!({
            "SubnetId": "subnet-w", "VpcId": "vpc-w", "CidrBlock": "10.200.0.0/24",
            "AvailabilityZone": "us-east-1a",
        }),
    );
    add(
        files,
        ("describe-security-groups", "SecurityGroups"),
        json!({
            "GroupId": "sg-w", "GroupName": "databases", "OwnerId": ACCOUNT, "VpcId": "vpc-w",
            "IpPermissions": [permission("10.0.0.0/8")], "IpPermissionsEgress": [],
        }),
    );
    add(
        files,
        ("describe-security-group-rules", "SecurityGroupRules"),
        json!({
            "SecurityGroupRuleId": "sgr-w", "GroupId": "sg-w", "IsEgress": false, "IpProtocol": "-1",
            "FromPort": -1, "ToPort": -1, "CidrIpv4": "10.0.0.0/8",
        }),
    );
    add(
        files,
        ("describe-network-acls", "NetworkAcls"),
        json!({
            "NetworkAclId": "acl-w", "VpcId": "vpc-w", "IsDefault": false,
            "Entries": [everything(false), everything(true)],
            "Associations": [{"SubnetId": "subnet-w"}],
        }),
    );
    add(
        files,
        ("describe-route-tables", "RouteTables"),
        json!({
            "RouteTableId": "rtb-w", "VpcId": "vpc-w", "Associations": [{"Main": true}],
            "Routes": [
                {"DestinationCidrBlock": far, "GatewayId": "local"},
                {"DestinationCidrBlock": "10.0.0.0/9", "VpcPeeringConnectionId": "pcx-1"},
            ],
        }),
    );
    let routes = files["describe-route-tables"]["RouteTables"][0]["Routes"].as_array_mut();
    routes.unwrap().push(json!({
        "DestinationCidrBlock": "10.200.0.0/24", "VpcPeeringConnectionId": "pcx-1",
        "State": "blackhole",
    }));
    for number in 0..DATABASES {
        let address = format!("10.200.0.{}", number + 10);
        add(
            files,
            ("describe-network-interfaces", "NetworkInterfaces"),
            json!({
                "NetworkInterfaceId": format!("eni-w{number}"), "VpcId": "vpc-w",
                "SubnetId": "subnet-w", "OwnerId": ACCOUNT, "Status": "in-use",
                "InterfaceType": "interface", "SourceDestCheck": true, "Description": "database",
                "PrivateIpAddress": address, "Groups": [{"GroupId": "sg-w"}],
                "PrivateIpAddresses": [{"PrivateIpAddress": address, "Primary": true}],
            }),
        );
    }
}

/// Adds one more of what an answer lists.
fn add(files: &mut Map<String, Value>, (stem, list): (&str, &str), item: Value) {
    files[stem][list].as_array_mut().unwrap().push(item);
}

/// The first flow of each gate that a repair opens.
fn stopped<'f>(snapshot: &Snapshot, flows: &'f [Flow]) -> BTreeMap<Gate, &'f Flow> {
    let mut found = BTreeMap::new();
    for flow in flows {
        let Verdict::Deny(denial) = verdict(snapshot, flow) else {
            continue;
        };
        let known = found.contains_key(&denial.gate());
        let asked = std::slice::from_ref(flow);
        if !known && Workshop::new(snapshot).repair(asked, &[]).is_ok() {
            found.insert(denial.gate(), flow);
        }
    }
    found
}

/// Flows among which one for each gate is looked for.
const STOPPED_AMONG: usize = 2_000;
/// Interfaces behind the peering.
const DATABASES: u16 = 20;

fn repairing(criterion: &mut Criterion<ProcessorTime>) {
    let mut files = cluster(1, Shape::FULL);
    let snapshot = second::decode(&files);
    peer(&mut files);
    let peered = second::decode(&files);
    drop(files);
    let inside = flows(7, Shape::FULL, STOPPED_AMONG);
    let to_peer: Vec<Flow> = inside
        .iter()
        .map(|flow| Flow::tcp(flow.source, "10.200.0.12".parse().unwrap(), 5432))
        .collect();
    let mut group = criterion.benchmark_group("repair");
    group.sample_size(10);
    group.bench_function("workshop", |bencher| {
        bencher.iter_with_large_drop(|| Workshop::new(&snapshot));
    });
    for (snapshot, flows) in [(&snapshot, &inside), (&peered, &to_peer)] {
        let mut workshop = Workshop::new(snapshot);
        for (gate, flow) in stopped(snapshot, flows) {
            if std::ptr::eq(snapshot, &peered) && gate != Gate::Route {
                continue;
            }
            let asked = std::slice::from_ref(flow);
            let repair = workshop.repair(asked, &[]).unwrap();
            println!(
                "{gate}: {} changes open {flow} and {} pairs of classes besides{}",
                repair.changes.len(),
                repair.besides.len(),
                if repair.is_bounded {
                    ", of which not all are counted"
                } else {
                    ""
                },
            );
            group.bench_function(gate.as_str(), |bencher| {
                bencher.iter(|| black_box(workshop.repair(asked, &[])));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessorTime(WallTime));
    targets = differing, repairing
}
criterion_main!(benches);
