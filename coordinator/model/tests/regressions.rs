//! Defects of the evaluator that the second opinion found, each on a vector with one thing changed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use reachproof_model::describe::Described;
use reachproof_model::flow::Flow;
use reachproof_model::predict::verdict;
use reachproof_model::snapshot::Snapshot;
use serde_json::{Value, json};

/// A vector of the repository.
fn vector(name: &str) -> Value {
    let path = format!(
        "{}/../../tests/vectors/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The model's answer to a vector, as JSON.
fn answer(vector: &Value) -> Value {
    let mut described = Described::default();
    for (stem, file) in vector["snapshot"].as_object().unwrap() {
        described.insert(stem.as_str(), file.clone());
    }
    let decoded = Snapshot::decode(&described).unwrap();
    let flow = Flow::from_json(&vector["flow"]).unwrap();
    serde_json::to_value(verdict(&decoded.snapshot, &flow)).unwrap()
}

/// The group of a vector's world that people call `name`.
fn group<'a>(vector: &'a mut Value, name: &str) -> &'a mut Value {
    vector["snapshot"]["describe-security-groups"]["SecurityGroups"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(|group| group["Description"] == name)
        .unwrap()
}

#[test]
fn a_reference_over_an_undescribed_transit_gateway_is_unresolved_whoever_the_peer_is() {
    // E: a rule of the destination that refers to a group which the source does not carry (K.1 "TGW").
    let mut vector = vector("B13");
    group(&mut vector, "S")["IpPermissionsEgress"] =
        json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
    let other = group(&mut vector, "CP")["GroupId"].clone();
    group(&mut vector, "D")["IpPermissions"] = json!([{
        "IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080,
        "UserIdGroupPairs": [{"GroupId": other, "UserId": "111122223333"}],
    }]);
    assert_eq!(answer(&vector)["gate"], "sg-ingress");
    let files = vector["snapshot"].as_object_mut().unwrap();
    files.shift_remove("describe-transit-gateways").unwrap();
    assert_eq!(
        answer(&vector),
        json!({"verdict": "unknown", "reason": "tgw"})
    );
}

#[test]
fn a_foreign_group_with_a_visible_member_is_an_ordinary_reference() {
    // The destination admits a group of another account that somebody else carries (K.1 "SG references").
    let mut vector = vector("A02");
    group(&mut vector, "D")["IpPermissions"] = json!([{
        "IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080,
        "UserIdGroupPairs": [{"GroupId": "sg-guest", "UserId": "999988887777"}],
    }]);
    assert_eq!(answer(&vector)["reason"], "unresolved-rule");
    let interfaces = vector["snapshot"]["describe-network-interfaces"]["NetworkInterfaces"]
        .as_array_mut()
        .unwrap();
    let outsider = interfaces
        .iter_mut()
        .find(|eni| eni["PrivateIpAddress"] == "10.0.2.50")
        .unwrap();
    outsider["Groups"] = json!([{"GroupId": "sg-guest"}]);
    vector["flow"]["source"] = json!("10.0.1.99");
    let emitter = "10.0.1.20";
    let source = vector["snapshot"]["describe-network-interfaces"]["NetworkInterfaces"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(|eni| eni["PrivateIpAddress"] == emitter)
        .unwrap();
    source["SourceDestCheck"] = json!(false);
    vector["flow"]["source_interface"] = source["NetworkInterfaceId"].clone();
    assert_eq!(answer(&vector)["gate"], "sg-ingress");
}

#[test]
fn a_rule_that_is_written_twice_is_unresolved_once() {
    let mut vector = vector("A18");
    let rules = group(&mut vector, "D")["IpPermissions"]
        .as_array()
        .unwrap()
        .clone();
    let once = answer(&vector);
    assert_eq!(once["rules"].as_array().unwrap().len(), 1);
    group(&mut vector, "D")["IpPermissions"] = json!([rules[0], rules[0]]);
    assert_eq!(answer(&vector), once);
}
