//! Paths and protocols that no vector allows.

use reachproof_lab::{Answer, Endpoint, EndpointKind, Lab, LabPlan, Probe, Traffic};
use serde_json::{Map, Value, json};

use crate::{WAIT, address, connect, snapshot};

/// The id of the group called `name` in the vectors.
fn group(snapshot: &Map<String, Value>, name: &str) -> String {
    let groups = snapshot["describe-security-groups"]["SecurityGroups"]
        .as_array()
        .unwrap();
    let found = groups
        .iter()
        .find(|group| group["Description"] == name)
        .unwrap();
    found["GroupId"].as_str().unwrap().to_owned()
}

/// Gives the group called `name` these rules.
fn set_rules(snapshot: &mut Map<String, Value>, name: &str, (ingress, egress): (Value, Value)) {
    let groups = snapshot["describe-security-groups"]["SecurityGroups"]
        .as_array_mut()
        .unwrap();
    let found = groups
        .iter_mut()
        .find(|group| group["Description"] == name)
        .unwrap();
    found["IpPermissions"] = ingress;
    found["IpPermissionsEgress"] = egress;
}

/// A rule for everything from or to an IPv4 range.
fn range(protocol: &str, cidr: &str) -> Value {
    json!([{ "IpProtocol": protocol, "IpRanges": [{ "CidrIp": cidr }] }])
}

pub(crate) fn references_cross_a_transit_gateway_inbound() {
    for (support, answer) in [("enable", Answer::Refused), ("disable", Answer::Silent)] {
        let mut snapshot = snapshot("B13");
        let sender = group(&snapshot, "S");
        let reference = json!([{ "IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080,
            "UserIdGroupPairs": [{ "GroupId": sender, "UserId": "111122223333" }] }]);
        set_rules(&mut snapshot, "S", (json!([]), range("-1", "0.0.0.0/0")));
        set_rules(&mut snapshot, "D", (reference, json!([])));
        let gateway = &mut snapshot["describe-transit-gateways"]["TransitGateways"][0];
        gateway["Options"]["SecurityGroupReferencingSupport"] = json!(support);
        let lab = Lab::up(&LabPlan {
            snapshot,
            ..LabPlan::default()
        })
        .unwrap();
        assert_eq!(
            connect(&lab, "10.0.1.20", "10.2.0.5", 8080),
            answer,
            "references {support}d"
        );
    }
}

pub(crate) fn pods_leave_the_vpc_with_the_address_of_their_node() {
    for (admitted, answer) in [
        ("10.0.1.20/32", Answer::Refused),
        ("10.0.1.31/32", Answer::Silent),
    ] {
        let mut snapshot = snapshot("F19");
        set_rules(&mut snapshot, "D", (range("tcp", admitted), json!([])));
        let lab = Lab::up(&LabPlan {
            snapshot,
            endpoints: vec![pod("10.0.1.31")],
            ..LabPlan::default()
        })
        .unwrap();
        assert_eq!(
            connect(&lab, "10.0.1.31", "10.1.0.5", 8080),
            answer,
            "{admitted} admitted"
        );
    }
}

fn pod(text: &str) -> Endpoint {
    Endpoint {
        name: "pod".to_owned(),
        addresses: vec![address(text)],
        kind: EndpointKind::Pod,
    }
}

pub(crate) fn a_standard_branch_pod_is_filtered_off_its_node_only() {
    let mut snapshot = snapshot("C07");
    set_rules(&mut snapshot, "POD", (json!([]), json!([])));
    let lab = Lab::up(&LabPlan {
        snapshot,
        endpoints: vec![pod("10.0.1.90")],
        ..LabPlan::default()
    })
    .unwrap();
    assert_eq!(
        connect(&lab, "10.0.1.20", "10.0.1.90", 8080),
        Answer::Refused,
        "from its own node"
    );
    assert_eq!(
        connect(&lab, "10.0.2.20", "10.0.1.90", 8080),
        Answer::Silent,
        "from another node"
    );
}

pub(crate) fn udp_and_other_protocols_get_through_where_rules_say_so() {
    let ports = Traffic::Udp {
        port: 53,
        source_port: 0,
    };
    for (protocol, udp, esp) in [
        ("udp", true, false),
        ("50", false, true),
        ("-1", true, true),
    ] {
        let mut snapshot = snapshot("A01");
        set_rules(
            &mut snapshot,
            "D",
            (range(protocol, "10.0.1.20/32"), json!([])),
        );
        let lab = Lab::up(&LabPlan {
            snapshot,
            ..LabPlan::default()
        })
        .unwrap();
        for (traffic, open) in [(ports, udp), (Traffic::Other { protocol: 50 }, esp)] {
            let (source, destination) = (address("10.0.1.20"), address("10.0.2.20"));
            let host = lab.endpoint_at(source).unwrap().name.clone();
            let answer = lab
                .probe(
                    &host,
                    &Probe {
                        source,
                        destination,
                        traffic,
                        wait: WAIT,
                    },
                )
                .unwrap();
            assert_eq!(
                answer.is_open(),
                open,
                "{traffic:?} with {protocol} admitted: {answer:?}"
            );
        }
    }
}
