//! Reads a cluster with 10,000 interfaces from a server in another process; prints time and peak memory.
//!
//! `cargo run --release -p reachproof-aws --example scale`
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement fails loudly"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reachproof_aws::Connection;
use reachproof_model::describe::Described;
use reachproof_model::snapshot::Snapshot;
use serde_json::{Value, json};
use support::{CLUSTER, Fault, Replay, World, settings};

/// Interfaces in the cluster's VPC.
const INTERFACES: usize = 10_000;

/// Security groups, with ten rules each.
const GROUPS: usize = 200;

/// The argument with which this program serves instead of reading.
const SERVE: &str = "serve";

#[tokio::main]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some(SERVE) {
        return serve().await;
    }
    let mut server = Command::new(std::env::current_exe().unwrap())
        .arg(SERVE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let address: SocketAddr = lines.next().unwrap().unwrap().parse().unwrap();

    let mut settings = settings(address);
    settings.pace.attempt_timeout = Duration::from_secs(60);
    settings.pace.request_timeout = Duration::from_secs(120);
    settings.pace.reading_time_max = Duration::from_secs(600);
    let connection = Connection::open(&settings).await.unwrap();
    let begun = Instant::now();
    let reading = reachproof_aws::read(&connection, CLUSTER, &|_| {})
        .await
        .unwrap();
    let read = begun.elapsed();
    let decoded = Snapshot::decode(&Described::from(reading.answers)).unwrap();
    let all = begun.elapsed();
    let interfaces = decoded.snapshot.network_interfaces().count();
    let pages: usize = reading.calls.iter().map(|call| call.pages).sum();
    let peak = peak_memory();

    drop(server.stdin.take());
    let busy: u64 = lines.next().unwrap().unwrap().parse().unwrap();
    server.wait().unwrap();
    let busy = Duration::from_millis(busy);
    println!(
        "{interfaces} interfaces, {GROUPS} groups, {} calls, {pages} pages",
        reading.calls.len()
    );
    println!(
        "read in {read:.2?}, with decoding and index {all:.2?}; the server was busy for {busy:.2?} of it"
    );
    println!(
        "beyond the server: {:.2?}; peak memory of the reader: {peak}",
        all.saturating_sub(busy)
    );
}

/// Serves the large world until standard input ends, then prints how long it was busy, in milliseconds.
async fn serve() {
    let replay = Replay::start(large(), |_| Fault::None).await;
    println!("{}", replay.address());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()).unwrap())
        .await
        .unwrap();
    println!("{}", replay.busy().as_millis());
}

/// The world of a vector with many more interfaces and groups in the cluster's VPC.
fn large() -> World {
    let mut world = World::of_vector("A01");
    let home = world.home();
    let interfaces = world.list("describe-network-interfaces", "NetworkInterfaces");
    let model = interfaces
        .iter()
        .find(|one| one["VpcId"] == *home)
        .unwrap()
        .clone();
    let known = interfaces.len();
    let groups = world
        .list("describe-security-groups", "SecurityGroups")
        .len();
    for number in groups..GROUPS {
        let (group, rules) = group(&home, number);
        world
            .list_mut("describe-security-groups", "SecurityGroups")
            .push(group);
        world
            .list_mut("describe-security-group-rules", "SecurityGroupRules")
            .extend(rules);
    }
    for number in known..INTERFACES {
        let address = format!("10.0.{}.{}", 16 + number / 250, 1 + number % 250);
        let mut interface = model.clone();
        interface["NetworkInterfaceId"] = json!(format!("eni-{number:017x}"));
        interface["PrivateIpAddress"] = json!(address);
        interface["PrivateIpAddresses"] = json!([{ "PrivateIpAddress": address, "Primary": true }]);
        interface["Ipv6Addresses"] = json!([]);
        interface["Ipv4Prefixes"] = json!([]);
        interface["Ipv6Prefixes"] = json!([]);
        interface["Groups"] = json!([{ "GroupId": format!("sg-{:017x}", groups + number % (GROUPS - groups)), "GroupName": "g" }]);
        interface["Attachment"] = json!({ "AttachmentId": format!("eni-attach-{number}"), "Status": "attached",
            "DeviceIndex": 1, "InstanceOwnerId": "111122223333" });
        world
            .list_mut("describe-network-interfaces", "NetworkInterfaces")
            .push(interface);
    }
    world
}

/// A group with ten rules, in both files.
fn group(vpc: &str, number: usize) -> (Value, Vec<Value>) {
    let id = format!("sg-{number:017x}");
    let cidr = |rule: usize| format!("10.{rule}.{number}.0/24");
    let permissions: Vec<Value> = (0..10)
        .map(|rule| json!({ "IpProtocol": "tcp", "FromPort": 8000 + rule, "ToPort": 8000 + rule,
            "IpRanges": [ { "CidrIp": cidr(rule) } ], "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": [] }))
        .collect();
    let rules = (0..10)
        .map(|rule| json!({ "SecurityGroupRuleId": format!("sgr-{number:014x}{rule:03x}"), "GroupId": id,
            "GroupOwnerId": "111122223333", "IsEgress": false, "IpProtocol": "tcp", "FromPort": 8000 + rule,
            "ToPort": 8000 + rule, "CidrIpv4": cidr(rule), "Tags": [] }))
        .collect();
    let group = json!({ "GroupId": id, "GroupName": id, "Description": id, "OwnerId": "111122223333", "VpcId": vpc,
        "IpPermissions": permissions, "IpPermissionsEgress": [], "Tags": [] });
    (group, rules)
}

/// The most memory that this process has had, as the kernel says it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace()
        .skip(1)
        .collect::<Vec<_>>()
        .join(" ")
}
