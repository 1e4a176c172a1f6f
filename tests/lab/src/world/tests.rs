//! Tests of world files: reading, checking, expanding.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeSet;
use std::error::Error;

use serde_json::Value;

use super::*;
use crate::REQUIRED_ANSWERS;

/// The default world's file with one text replaced by another.
fn edited(old: &str, new: &str) -> String {
    let text = BUILTIN[0].text;
    assert!(text.contains(old), "{old}");
    text.replace(old, new)
}

/// The error of a file, with its causes.
fn refusal(text: &str) -> String {
    let Err(error) = World::parse("test", text) else {
        panic!("accepted: {text}")
    };
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

#[test]
fn every_world_that_comes_along_reads_and_expands() {
    for builtin in BUILTIN {
        let world = World::parse(builtin.name, builtin.text)
            .unwrap_or_else(|error| panic!("{}: {error}: {:?}", builtin.name, error.source()));
        let expanded = world.expand().unwrap();
        for stem in REQUIRED_ANSWERS {
            assert!(
                expanded.plan.snapshot.contains_key(stem),
                "{}: {stem}",
                builtin.name
            );
        }
        assert_eq!(
            world.drift.is_some(),
            builtin.name.contains("drift"),
            "{}",
            builtin.name
        );
        assert_eq!(world.drift.is_some(), expanded.plan.enforced.is_some());
    }
}

#[test]
fn a_world_reads_back_as_it_was_written() {
    for builtin in BUILTIN {
        let world = World::builtin(builtin.name).unwrap();
        let again = World::parse(builtin.name, &world.to_yaml().unwrap()).unwrap();
        assert_eq!(again, world, "{}", builtin.name);
    }
}

#[test]
fn the_snapshot_has_the_fields_of_a_recorded_one() {
    let recorded: Value = serde_json::from_str(include_str!("../../../vectors/A01.json")).unwrap();
    let snapshot = World::builtin("default")
        .unwrap()
        .expand()
        .unwrap()
        .plan
        .snapshot;
    for (stem, list) in [
        ("describe-vpcs", "Vpcs"),
        ("describe-subnets", "Subnets"),
        ("describe-network-interfaces", "NetworkInterfaces"),
        ("describe-security-groups", "SecurityGroups"),
        ("describe-route-tables", "RouteTables"),
        ("describe-network-acls", "NetworkAcls"),
        ("describe-instances", "Reservations"),
    ] {
        let keys = |answer: &Value| -> BTreeSet<String> {
            answer[list][0]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect()
        };
        let missing: Vec<String> = keys(&recorded["snapshot"][stem])
            .difference(&keys(&snapshot[stem]))
            .cloned()
            .collect();
        assert!(missing.is_empty(), "{stem} lacks {missing:?}");
    }
}

#[test]
fn rules_of_both_answers_are_the_same() {
    for builtin in BUILTIN {
        let snapshot = World::builtin(builtin.name)
            .unwrap()
            .expand()
            .unwrap()
            .plan
            .snapshot;
        let groups = snapshot["describe-security-groups"]["SecurityGroups"]
            .as_array()
            .unwrap();
        let permissions: usize = groups
            .iter()
            .flat_map(|group| [&group["IpPermissions"], &group["IpPermissionsEgress"]])
            .map(|list| list.as_array().unwrap().len())
            .sum();
        let rules = snapshot["describe-security-group-rules"]["SecurityGroupRules"]
            .as_array()
            .unwrap();
        assert_eq!(permissions, rules.len(), "{}", builtin.name);
        let ids: BTreeSet<&str> = rules
            .iter()
            .map(|rule| rule["SecurityGroupRuleId"].as_str().unwrap())
            .collect();
        assert_eq!(ids.len(), rules.len(), "{}", builtin.name);
    }
}

#[test]
fn a_launch_template_that_names_groups_displaces_the_cluster_group() {
    let groups_of = |world: &str| {
        let snapshot = World::builtin(world)
            .unwrap()
            .expand()
            .unwrap()
            .plan
            .snapshot;
        let enis = snapshot["describe-network-interfaces"]["NetworkInterfaces"].clone();
        let eni = enis
            .as_array()
            .unwrap()
            .iter()
            .find(|eni| eni["NetworkInterfaceId"] == "eni-node-1");
        let groups = eni.unwrap()["Groups"].as_array().unwrap().clone();
        groups
            .iter()
            .map(|group| group["GroupId"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(groups_of("default"), ["sg-cluster"]);
    assert_eq!(groups_of("node-sg"), ["sg-node"]);
}

#[test]
fn drift_changes_what_the_wire_enforces_and_not_the_snapshot() {
    let plan = World::builtin("drift-open").unwrap().expand().unwrap().plan;
    let enforced = plan.enforced.unwrap();
    for (stem, answer) in &plan.snapshot {
        let differs = enforced[stem] != *answer;
        assert_eq!(
            differs,
            stem.starts_with("describe-security-group") && !stem.ends_with("associations"),
            "{stem}"
        );
    }
}

#[test]
fn agents_stand_where_the_file_says() {
    let agents = World::builtin("default").unwrap().expand().unwrap().agents;
    let names: Vec<&str> = agents.iter().map(|agent| agent.endpoint.as_str()).collect();
    assert_eq!(
        names,
        [
            "fargate-a",
            "fargate-b",
            "node-1",
            "node-2",
            "outsider-a",
            "outsider-b",
            "web"
        ]
    );
    let web = agents.iter().find(|agent| agent.endpoint == "web").unwrap();
    assert_eq!(web.node.as_deref(), Some("ip-10-0-1-20.ec2.internal"));
    assert_eq!(
        web.addresses,
        ["10.0.1.21".parse::<std::net::IpAddr>().unwrap()]
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let text = edited(
        "    interfaces:\n      - {subnet: a, groups: [outsider]",
        "    interfcaes:\n      - {subnet: a, groups: [outsider]",
    );
    let line = text
        .lines()
        .position(|line| line.contains("interfcaes"))
        .unwrap()
        + 1;
    let said = refusal(&text);
    assert!(said.contains("unknown field `interfcaes`"), "{said}");
    assert!(said.contains(&format!("line {line}")), "{said}");
}

#[test]
fn a_rule_outside_the_notation_is_refused_with_its_line() {
    let text = edited("tcp 8080 from 10.0.0.0/16", "tcp 65979 from 10.0.0.0/16");
    let line = text
        .lines()
        .position(|line| line.contains("65979"))
        .unwrap()
        + 1;
    let said = refusal(&text);
    assert!(said.contains("`tcp 65979` is not traffic"), "{said}");
    assert!(said.contains(&format!("line {line}")), "{said}");
}

#[test]
fn names_that_lead_nowhere_are_refused() {
    for (old, new, expected) in [
        (
            "groups: [outsider], addresses: [10.0.1.60]",
            "groups: [x], addresses: [10.0.1.60]",
            "security group `x`",
        ),
        (
            "[all from cluster]",
            "[all from nobody]",
            "security group `nobody`",
        ),
        (
            "[all from cluster]",
            "[all from list:offices]",
            "prefix list `offices`",
        ),
        ("x-eni-a: {subnet: a", "x-eni-a: {subnet: c", "subnet `c`"),
        (
            "cidrs: [10.0.1.0/24], zone: a",
            "cidrs: [10.0.1.0/24], acl: tight",
            "network ACL `tight`",
        ),
        (
            "cidrs: [10.0.1.0/24], zone: a",
            "cidrs: [10.0.1.0/24], routes: out",
            "route table `out`",
        ),
        (
            "    - node-1 -> x-eni-b:443",
            "    - node-9 -> x-eni-b:443",
            "`node-9`",
        ),
    ] {
        let said = refusal(&edited(old, new));
        assert!(said.contains(expected), "{new}: {said}");
    }
}

#[test]
fn addresses_are_unique_and_in_their_subnet() {
    for (old, new, expected) in [
        ("[10.0.1.60]", "[10.0.2.61]", "not in subnet `a`"),
        ("[10.0.1.60]", "[10.0.1.20]", "another one has too"),
        (
            "web: {addresses: [10.0.1.21]}",
            "web: {addresses: [10.0.1.22]}",
            "no interface of `node-1` owns",
        ),
        (
            "web: {addresses: [10.0.1.21]}",
            "web: {addresses: [10.0.1.99], branch: {subnet: a, groups: [cluster]}}",
            "`trunk`",
        ),
        ("[10.0.1.60]", "[]", "no IPv4 address"),
    ] {
        let said = refusal(&edited(old, new));
        assert!(said.contains(expected), "{new}: {said}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (old, new, expected) in [
        (
            "ingress: [all from cluster]",
            "ingress: [all to cluster]",
            "write `from` in this list",
        ),
        (
            "      web: {addr",
            "      node-2: {addr",
            "`node-2` names two things",
        ),
        ("outsider-a:  ", "Outsider:  ", "cannot name a host"),
    ] {
        let said = refusal(&edited(old, new));
        assert!(said.contains(expected), "{new}: {said}");
    }
}

#[test]
fn a_world_may_withhold_its_endpoint() {
    let mut world = World::builtin("default").unwrap();
    let endpoint = |world: &World| {
        let snapshot = world.expand().unwrap().plan.snapshot;
        snapshot["describe-cluster"]["cluster"]
            .get("endpoint")
            .is_some()
    };
    assert!(endpoint(&world));
    world.cluster.endpoint = super::ClusterEndpoint::Withheld;
    assert!(!endpoint(&world));
    let text = world.to_yaml().unwrap();
    assert!(text.contains("endpoint: withheld"), "{text}");
}
