#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::json;

use super::check::{Check, Condition};
use super::party::{InvalidParty, Party};
use super::*;
use crate::describe::Described;

#[test]
fn parties_are_written_as_they_are_read() {
    for words in [
        "control plane",
        "managed nodes without a launch template",
        "Fargate pods with a policy",
        "everybody with the cluster group with IPv6",
        "nodes with groups of nodes in other subnets",
        "secondary interfaces without sg-1",
        "node/ip-10-0-1-20*",
        "default/web",
    ] {
        let party: Party = words.parse().unwrap();
        assert_eq!(party.to_string(), words);
    }
    let nobody: Result<Party, InvalidParty> = "  ".parse();
    assert!(nobody.is_err());
}

/// A world with an instance and its interface, of which nothing says that it is a node.
fn described() -> Described {
    let mut described = Described::default();
    for (stem, answer) in [
        (
            "describe-vpcs",
            json!({"Vpcs": [{"VpcId": "vpc-1", "CidrBlock": "10.0.0.0/16"}]}),
        ),
        (
            "describe-subnets",
            json!({"Subnets": [{"SubnetId": "subnet-1", "VpcId": "vpc-1", "CidrBlock": "10.0.0.0/24"}]}),
        ),
        (
            "describe-network-interfaces",
            json!({"NetworkInterfaces": [{
                "NetworkInterfaceId": "eni-1", "VpcId": "vpc-1", "SubnetId": "subnet-1", "Status": "in-use",
                "PrivateIpAddress": "10.0.0.5", "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.5", "Primary": true}],
                "Groups": [{"GroupId": "sg-1"}],
                "Attachment": {"InstanceId": "i-1", "DeviceIndex": 0},
            }]}),
        ),
        (
            "describe-security-groups",
            json!({"SecurityGroups": [{"GroupId": "sg-1", "GroupName": "one", "VpcId": "vpc-1", "IpPermissions": [], "IpPermissionsEgress": []}]}),
        ),
        ("describe-route-tables", json!({"RouteTables": []})),
        ("describe-network-acls", json!({"NetworkAcls": []})),
        (
            "describe-instances",
            json!({"Reservations": [{"Instances": [{"InstanceId": "i-1", "State": {"Name": "running"}}]}]}),
        ),
    ] {
        described.insert(stem, answer);
    }
    described
}

fn judged(described: &Described, checks: Vec<Condition>) -> JudgedClaim {
    let snapshot = Snapshot::decode(described).unwrap().snapshot;
    let world = World {
        snapshot: &snapshot,
        described,
        findings: &[],
        wire: Wire::Network,
    };
    let claim = Claim {
        id: "X".to_owned(),
        says: "x".to_owned(),
        source: "x".to_owned(),
        date: "x".to_owned(),
        applies: Vec::new(),
        checks,
        flows: Vec::new(),
        omission: None,
        by_hand: None,
    };
    judge::judge(&[claim], &world).into_iter().next().unwrap()
}

fn groups(of: &str, groups: &str) -> Condition {
    Condition {
        check: Check::Groups {
            of: of.parse().unwrap(),
            relation: check::Relation::Include,
            groups: vec![groups.parse().unwrap()],
        },
        wanted: true,
    }
}

#[test]
fn what_an_absent_answer_would_say_is_untested_and_never_fails() {
    let described = described();
    for (of, group, said) in [
        (
            "control plane",
            "one",
            "`describe-cluster` is not in the snapshot",
        ),
        (
            "nodes",
            "the cluster group",
            "`describe-cluster` is not in the snapshot",
        ),
        (
            "API servers",
            "one",
            "`endpointslices` is not in the snapshot",
        ),
        (
            "Fargate pods",
            "one",
            "neither `pods` nor `nodes` is in the snapshot",
        ),
        ("pods", "one", "`pods` is not in the snapshot"),
        ("nodes", "sg-none", "no security group is called `sg-none`"),
        (
            "branch interfaces",
            "one",
            "there is nobody that `branch interfaces` means",
        ),
    ] {
        let found = judged(&described, vec![groups(of, group)]);
        assert_eq!(
            (found.verdict, found.reason.as_str()),
            (ClaimVerdict::Untested, said),
            "{of}"
        );
        let not = Condition {
            wanted: false,
            ..groups(of, group)
        };
        assert_eq!(
            judged(&described, vec![not]).verdict,
            ClaimVerdict::Untested,
            "{of}"
        );
    }
}

#[test]
fn that_every_instance_counts_as_a_node_is_said() {
    let found = judged(&described(), vec![groups("nodes", "one")]);
    assert_eq!(found.verdict, ClaimVerdict::Holds);
    assert_eq!(
        found.assumption.as_deref(),
        Some(
            "nothing says which instances are nodes: every running one in the cluster's VPC counts"
        )
    );
    assert_eq!(
        judged(&described(), vec![groups("10.0.0.5", "one")]).assumption,
        None
    );
}

#[test]
fn one_miss_fails_although_other_things_are_unsure() {
    let conditions = vec![
        groups("control plane", "one"),
        Condition {
            wanted: false,
            ..groups("nodes", "one")
        },
    ];
    let found = judged(&described(), conditions);
    assert_eq!(found.verdict, ClaimVerdict::Fails);
}
