//! Two views of one thing: what two accounts or two Regions say about a peering, a VPC, an interface that both see
//! (K.1 "Two views of one thing").

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::describe::Described;
use crate::snapshot::FieldDifference;

/// Answers whose things several accounts may see, with the list and the field that names them.
const IDENTIFIED: [(&str, &str, &str); 10] = [
    ("describe-vpcs", "Vpcs", "VpcId"),
    ("describe-subnets", "Subnets", "SubnetId"),
    (
        "describe-network-interfaces",
        "NetworkInterfaces",
        "NetworkInterfaceId",
    ),
    ("describe-security-groups", "SecurityGroups", "GroupId"),
    ("describe-route-tables", "RouteTables", "RouteTableId"),
    ("describe-network-acls", "NetworkAcls", "NetworkAclId"),
    (
        "describe-vpc-peering-connections",
        "VpcPeeringConnections",
        "VpcPeeringConnectionId",
    ),
    (
        "describe-transit-gateways",
        "TransitGateways",
        "TransitGatewayId",
    ),
    (
        "describe-transit-gateway-vpc-attachments",
        "TransitGatewayVpcAttachments",
        "TransitGatewayAttachmentId",
    ),
    (
        "describe-transit-gateway-route-tables",
        "TransitGatewayRouteTables",
        "TransitGatewayRouteTableId",
    ),
];

/// Fields in which two views may differ without a contradiction: each account has its own tags and zone names (ids of
/// zones are compared), some details are for the owner alone, and a count of free addresses says when it was asked for.
const OWN: [&str; 7] = [
    "AvailableIpAddressCount",
    "Tags",
    "TagSet",
    "PeeringOptions",
    "AvailabilityZone",
    "Attachment",
    "Association",
];

/// Longest piece of a value that a difference shows, in characters.
const SHOWN_MAX: usize = 60;

/// Returns the answers with the views of one thing in several files of one kind made one, where they do not contradict
/// each other: the owner's first, else the union. Contradicting views stay as they are.
pub(super) fn united(described: &Described) -> Cow<'_, Described> {
    let mut united = Cow::Borrowed(described);
    for (stem, list, id) in IDENTIFIED {
        let stems: Vec<String> = described
            .family(stem)
            .map(|file| file.stem().to_owned())
            .collect();
        if stems.len() < 2 {
            continue;
        }
        for (id, rows) in views(described, &stems, (list, id)) {
            if let Some(one) = unite(&rows) {
                put(united.to_mut(), &rows, (list, id), &one);
            }
        }
    }
    united
}

/// One description of a thing, with the file in which it is.
struct View<'d> {
    stem: &'d str,
    value: &'d Value,
}

/// Things that several rows describe differently.
fn views<'d>(
    described: &'d Described,
    stems: &'d [String],
    (list, id): (&str, &'d str),
) -> Vec<(&'d str, Vec<View<'d>>)> {
    let mut found: HashMap<&str, Vec<View<'d>>> = HashMap::new();
    for stem in stems {
        let rows = described
            .get(stem)
            .and_then(|file| file.get(list)?.as_array());
        for value in rows.into_iter().flatten() {
            if let Some(name) = value.get(id).and_then(Value::as_str) {
                found.entry(name).or_default().push(View { stem, value });
            }
        }
    }
    let differ = |views: &Vec<View<'_>>| {
        let mut others = views.iter().skip(1);
        views
            .first()
            .is_some_and(|first| others.any(|other| other.value != first.value))
    };
    let mut differing: Vec<Vec<View<'d>>> = found.into_values().filter(differ).collect();
    differing.sort_by(|one, other| key(one, id).cmp(&key(other, id)));
    differing.into_iter().map(|views| (id, views)).collect()
}

fn key<'d>(views: &[View<'d>], id: &str) -> Option<&'d str> {
    views.first()?.value.get(id)?.as_str()
}

/// All views as one, the owner's first; absent where two of them contradict each other.
fn unite(views: &[View<'_>]) -> Option<Value> {
    let is_owner = |view: &&View<'_>| {
        let owner = view.value.get("OwnerId").and_then(Value::as_str);
        let rest = view.stem.split_once('.').map(|(_, rest)| rest);
        owner
            .zip(rest)
            .is_some_and(|(owner, rest)| rest.contains(owner))
    };
    let first = views.iter().find(is_owner).or_else(|| views.first())?;
    let mut one = first.value.clone();
    for view in views {
        one = merge(&one, view.value, "").ok()?;
    }
    Some(one)
}

/// Replaces every view of a thing by the one that holds.
fn put(described: &mut Described, views: &[View<'_>], (list, id): (&str, &str), one: &Value) {
    let wanted = one.get(id);
    for view in views {
        let rows = described
            .get_mut(view.stem)
            .and_then(|file| file.get_mut(list)?.as_array_mut());
        for row in rows.into_iter().flatten() {
            if row.get(id) == wanted {
                row.clone_from(one);
            }
        }
    }
}

/// Returns the first field in which two descriptions contradict each other.
pub(super) fn difference(one: &Value, other: &Value) -> Option<FieldDifference> {
    merge(one, other, "").err()
}

/// Two values as one: what one lacks the other has, what is their own the first has.
fn merge(one: &Value, other: &Value, path: &str) -> Result<Value, FieldDifference> {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            merge_objects(one, other, path).map(Value::Object)
        }
        (Value::Array(ones), Value::Array(others)) if ones.len() == others.len() => ones
            .iter()
            .zip(others)
            .enumerate()
            .map(|(place, (one, other))| merge(one, other, &format!("{path}[{place}]")))
            .collect::<Result<_, _>>()
            .map(Value::Array)
            .or_else(|difference| {
                // The order of a list means nothing.
                let is_there = |one: &Value| others.contains(one);
                if ones.iter().all(is_there) {
                    Ok(Value::Array(ones.clone()))
                } else {
                    Err(difference)
                }
            }),
        (one, other) if one == other || is_absent(other) => Ok(one.clone()),
        (one, other) if is_absent(one) => Ok(other.clone()),
        (one, other) => Err(FieldDifference {
            field: path.to_owned(),
            one: shown(one),
            other: shown(other),
        }),
    }
}

fn merge_objects(
    one: &Map<String, Value>,
    other: &Map<String, Value>,
    path: &str,
) -> Result<Map<String, Value>, FieldDifference> {
    let mut merged = one.clone();
    for (key, theirs) in other {
        let below = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let value = match one.get(key) {
            None => theirs.clone(),
            Some(ours) if OWN.contains(&key.as_str()) => {
                if is_absent(ours) {
                    theirs.clone()
                } else {
                    ours.clone()
                }
            }
            Some(ours) => merge(ours, theirs, &below)?,
        };
        merged.insert(key.clone(), value);
    }
    Ok(merged)
}

fn is_absent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    };
    text.chars().take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tags_and_what_one_side_lacks_do_not_contradict() {
        let one = json!({"Id": "a", "Tags": [{"Key": "x"}], "Side": {"VpcId": "v"}, "Status": ""});
        let other =
            json!({"Id": "a", "Tags": [], "Side": {"VpcId": "v", "Region": "r"}, "Status": "up"});
        assert_eq!(
            merge(&one, &other, ""),
            Ok(
                json!({"Id": "a", "Tags": [{"Key": "x"}], "Side": {"VpcId": "v", "Region": "r"}, "Status": "up"})
            )
        );
    }

    #[test]
    fn a_field_that_differs_is_named_with_both_values() {
        let view = |code: &str| json!({"Status": {"Code": code}});
        assert_eq!(
            difference(&view("active"), &view("deleted")),
            Some(FieldDifference {
                field: "Status.Code".to_owned(),
                one: "active".to_owned(),
                other: "deleted".to_owned(),
            })
        );
        assert_eq!(difference(&json!([1, 2]), &json!([2, 1])), None);
    }
}
