//! Worlds read through the SDK from a server of ours.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use reachproof_aws::Call;
use serde_json::{Map, Value};
use support::world::{is_of_two_accounts, vector_files};
use support::{Fault, Replay, World, read, read_with};

/// Sorts keys and lists at every depth, by the rule that a snapshot has but written anew.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort();
            Value::Object(
                keys.into_iter()
                    .map(|key| (key.clone(), sorted(&fields[key])))
                    .collect(),
            )
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(sorted).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            plain.clone()
        }
    }
}

/// The answers of a world, without the prefix lists that neither rule nor route names: those are not asked for.
fn mentioned(world: &World) -> Map<String, Value> {
    let answers = world.aws();
    let names = |id: &str| {
        let (groups, tables) = (
            &answers["describe-security-groups"],
            &answers["describe-route-tables"],
        );
        groups.to_string().contains(id) || tables.to_string().contains(id)
    };
    let files = answers.iter().filter(|(stem, _)| {
        stem.strip_prefix("get-managed-prefix-list-entries.")
            .is_none_or(names)
    });
    let mut kept: Map<String, Value> = files
        .map(|(stem, file)| (stem.clone(), file.clone()))
        .collect();
    let lists = answers["describe-managed-prefix-lists"]["PrefixLists"]
        .as_array()
        .unwrap();
    let lists = lists
        .iter()
        .filter(|list| names(list["PrefixListId"].as_str().unwrap()))
        .cloned()
        .collect();
    kept["describe-managed-prefix-lists"]["PrefixLists"] = Value::Array(lists);
    kept
}

fn bytes(answers: &Map<String, Value>) -> String {
    serde_json::to_string(answers).unwrap()
}

#[tokio::test]
async fn every_vector_is_read_back_as_it_was_served() {
    let files = vector_files();
    assert_eq!(files.len(), 74);
    for file in files {
        let world = World::of_file(&file);
        if is_of_two_accounts(&world) {
            continue;
        }
        let replay = Replay::start(world.clone(), |_| Fault::Pages(3)).await;
        let reading = read(&replay)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(reading.readings, 1, "{}", file.display());
        for (stem, served) in mentioned(&world) {
            let read = reading
                .answers
                .get(&stem)
                .unwrap_or_else(|| panic!("{}: no {stem}", file.display()));
            assert_eq!(sorted(read), sorted(&served), "{}: {stem}", file.display());
        }
    }
}

#[tokio::test]
async fn the_same_world_gives_the_same_bytes_however_it_is_paged_and_ordered() {
    let world = World::of_vector("E01").with_everything();
    let whole = read_with(world.clone(), |_| Fault::None).await.unwrap();
    for fault in [
        Fault::Pages(1),
        Fault::Pages(2),
        Fault::EmptyPages(2),
        Fault::Reversed(1),
        Fault::Reversed(3),
    ] {
        let label = format!("{fault:?}");
        let paged = read_with(world.clone(), move |_| fault.clone())
            .await
            .unwrap();
        assert_eq!(bytes(&paged.answers), bytes(&whole.answers), "{label}");
    }
}

#[tokio::test]
async fn the_policy_allows_exactly_the_actions_that_are_called() {
    let replay = Replay::start(World::of_vector("A17").with_everything(), |_| Fault::None).await;
    read(&replay).await.unwrap();
    let called: BTreeSet<String> = replay.log().into_iter().map(|asked| asked.action).collect();
    let known: BTreeSet<String> = Call::ALL
        .iter()
        .map(|call| call.action().to_owned())
        .collect();
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/iam-policy.json");
    let policy: Value = serde_json::from_str(&std::fs::read_to_string(policy).unwrap()).unwrap();
    let mut allowed = BTreeSet::new();
    for statement in policy["Statement"].as_array().unwrap() {
        assert_eq!(statement["Effect"], "Allow");
        for action in statement["Action"].as_array().unwrap() {
            let call = Call::ALL
                .iter()
                .find(|call| call.action() == action)
                .unwrap();
            assert_eq!(statement["Sid"], call.statement(), "{action}");
            assert!(
                allowed.insert(action.as_str().unwrap().to_owned()),
                "{action} stands twice"
            );
        }
    }
    assert_eq!(called, allowed);
    assert_eq!(known, allowed);
}

#[tokio::test]
async fn managed_resources_are_asked_for_and_pages_are_as_large_as_the_api_allows() {
    let replay = Replay::start(World::of_vector("A17").with_everything(), |_| Fault::None).await;
    read(&replay).await.unwrap();
    for asked in replay.log() {
        let managed = asked
            .parameters
            .get("IncludeManagedResources")
            .map(String::as_str);
        let hides = ["ec2:DescribeNetworkInterfaces", "ec2:DescribeInstances"]
            .contains(&asked.action.as_str());
        assert_eq!(managed, hides.then_some("true"), "{}", asked.action);
        let size = asked
            .parameters
            .get("MaxResults")
            .or_else(|| asked.parameters.get("maxResults"));
        let size: Option<u32> = size.map(|size| size.parse().unwrap());
        // What nothing else counts is read twice, in pages of two sizes.
        let twice = ["ec2:DescribeRouteTables", "ec2:GetManagedPrefixListEntries"];
        if twice.contains(&asked.action.as_str()) && size == Some(97) {
            continue;
        }
        let expected = match asked.action.as_str() {
            "eks:DescribeCluster" | "eks:DescribeNodegroup" | "eks:DescribeFargateProfile" => None,
            "ec2:DescribeVpcAttribute" => None,
            "ec2:DescribeStaleSecurityGroups" => Some(255),
            "ec2:DescribeRouteTables"
            | "ec2:DescribeManagedPrefixLists"
            | "ec2:GetManagedPrefixListEntries" => Some(100),
            action if action.starts_with("eks:") => Some(100),
            _ => Some(1000),
        };
        assert_eq!(size, expected, "{}", asked.action);
    }
}

#[tokio::test]
async fn at_most_two_calls_are_in_flight_and_each_is_recorded() {
    let late = |_: &support::Asked| Fault::Late(Duration::from_millis(10));
    let replay = Replay::start(World::of_vector("A17").with_everything(), late).await;
    let reading = read(&replay).await.unwrap();
    let pages: usize = reading.calls.iter().map(|call| call.pages).sum();
    assert_eq!(pages, replay.log().len());
    assert!(
        replay.in_flight_max() <= reachproof_aws::CALLS_IN_FLIGHT_MAX,
        "{}",
        replay.in_flight_max()
    );
    assert!(replay.in_flight_max() > 1, "nothing was concurrent");
}

#[tokio::test]
async fn values_that_the_sdk_does_not_know_keep_their_spelling() {
    let mut world = World::of_vector("A01");
    world.list_mut("describe-network-interfaces", "NetworkInterfaces")[0]["InterfaceType"] =
        "quantum_trunk".into();
    world.list_mut("describe-route-tables", "RouteTables")[0]["Routes"][0]["State"] =
        "pondering".into();
    world.0["describe-cluster"]["cluster"]["status"] = "HIBERNATING".into();
    let reading = read_with(world.clone(), |_| Fault::None).await.unwrap();
    for (stem, served) in mentioned(&world) {
        assert_eq!(sorted(&reading.answers[&stem]), sorted(&served), "{stem}");
    }
}

#[tokio::test]
async fn a_group_created_in_another_vpc_is_fetched_by_id() {
    let mut world = World::of_vector("A01");
    let interface = &world.list("describe-network-interfaces", "NetworkInterfaces")[0];
    let group = interface["Groups"][0]["GroupId"].clone();
    for one in world.list_mut("describe-security-groups", "SecurityGroups") {
        if one["GroupId"] == group {
            one["VpcId"] = "vpc-00000000000000000".into();
        }
    }
    let reading = read_with(world.clone(), |_| Fault::None).await.unwrap();
    let groups = &reading.answers["describe-security-groups"];
    assert_eq!(sorted(groups), sorted(&world.0["describe-security-groups"]));
}
