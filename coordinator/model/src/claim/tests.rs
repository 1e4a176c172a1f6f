#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use super::check::{Check, Condition};
use super::flows::{Between, FlowClaim, Said};
use super::party::{InvalidParty, Party};
use super::*;
use crate::describe::Described;
use crate::finding::{FindingKind, FindingReason};
use crate::flow::{Flow, FlowProtocol};
use crate::observation::{Attempt, Identification, Observation, Outcome};
use crate::predict::predict;
use crate::vantage::Vantage;

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

/// A claim that holds if all of `checks` do.
fn claim(checks: Vec<Condition>) -> Claim {
    Claim {
        id: "X".to_owned(),
        says: "x".to_owned(),
        source: "x".to_owned(),
        date: "x".to_owned(),
        applies: Vec::new(),
        checks,
        flows: Vec::new(),
        omission: None,
        by_hand: None,
    }
}

fn judged(described: &Described, checks: Vec<Condition>) -> JudgedClaim {
    let snapshot = Snapshot::decode(described).unwrap().snapshot;
    let world = World {
        snapshot: &snapshot,
        described,
        findings: &[],
        wire: Wire::Network,
    };
    judge::judge(&[claim(checks)], &world)
        .into_iter()
        .next()
        .unwrap()
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

/// What an attempt to dial shows: the source as the sender calls it, and as the target saw it.
fn dialled(local: &str, identification: Identification) -> Attempt {
    Attempt {
        number: 0,
        local: Some(local.parse().unwrap()),
        started: Duration::ZERO,
        received: Duration::from_millis(1),
        outcome: Outcome::Connected {
            handshake: Duration::from_millis(1),
        },
        syn_retransmissions: 0,
        identification,
    }
}

/// Judges that the API server behind 10.0.0.5 connects from there to 10.0.0.6, by `attempts`.
fn from_there(attempts: Vec<Attempt>, reason: Option<FindingReason>) -> ClaimVerdict {
    let mut described = described();
    let cluster = json!({"cluster": {"name": "demo", "resourcesVpcConfig": {"vpcId": "vpc-1"}}});
    described.insert("describe-cluster", cluster);
    let interface = |id: &str, address: &str, description: &str| {
        json!({
            "NetworkInterfaceId": id, "VpcId": "vpc-1", "SubnetId": "subnet-1", "Status": "in-use",
            "Description": description, "PrivateIpAddress": address,
            "PrivateIpAddresses": [{"PrivateIpAddress": address, "Primary": true}],
            "Groups": [{"GroupId": "sg-1"}],
        })
    };
    let interfaces = [
        interface("eni-1", "10.0.0.5", "Amazon EKS demo"),
        interface("eni-2", "10.0.0.6", ""),
    ];
    described.insert(
        "describe-network-interfaces",
        json!({"NetworkInterfaces": interfaces}),
    );
    let snapshot = Snapshot::decode(&described).unwrap().snapshot;
    let [source, target] = ["10.0.0.5", "10.0.0.6"].map(|address| address.parse().unwrap());
    let flow = Flow::from_api_server(source, target, 7500);
    let finding = Finding {
        kind: match reason {
            Some(_) => FindingKind::Inconclusive,
            None => FindingKind::ConfirmedAllow,
        },
        prediction: predict(&snapshot, &flow),
        flow,
        source: Vantage::ApiServer(source),
        destination_agent: None,
        observation: Observation { attempts },
        strength: None,
        reason,
        conditions: Vec::new(),
        attempt_conditions: Vec::new(),
        notes: Vec::new(),
    };
    let claim = Claim {
        flows: vec![FlowClaim {
            from: "control plane".parse().unwrap(),
            to: "10.0.0.6".parse().unwrap(),
            packets: vec![FlowProtocol::Tcp { port: 7500 }],
            said: Said::FromInterface,
            between: Between::Hosts,
        }],
        ..claim(Vec::new())
    };
    let world = World {
        snapshot: &snapshot,
        described: &described,
        findings: &[finding],
        wire: Wire::Network,
    };
    judge::judge(&[claim], &world)[0].verdict
}

#[test]
fn who_sends_is_what_the_target_saw_and_not_what_the_sender_says() {
    let observed = |address: &str| Identification::Verified {
        observed: address.parse::<SocketAddr>().unwrap(),
    };
    let own = dialled("10.0.0.5:40000", observed("10.0.0.5:40000"));
    // Of a gateway that translates, and of another API server.
    let other = dialled("10.0.0.5:40001", observed("10.0.0.9:40001"));
    let unseen = dialled("10.0.0.5:40002", Identification::NotAsked);
    let judged = |attempts: &[&Attempt], reason| {
        from_there(attempts.iter().copied().cloned().collect(), reason)
    };
    assert_eq!(judged(&[&own, &unseen], None), ClaimVerdict::Holds);
    assert_eq!(judged(&[&own, &other], None), ClaimVerdict::Fails);
    let translated = Some(FindingReason::SourceTranslated);
    assert_eq!(judged(&[&unseen], translated), ClaimVerdict::Fails);
    assert_eq!(judged(&[&unseen], None), ClaimVerdict::Untested);
    assert_eq!(judged(&[], None), ClaimVerdict::Untested);
}
