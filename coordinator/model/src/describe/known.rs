//! What things are known by, where nothing names their answer.

use serde_json::{Map, Value};

use super::name::Claim;
use super::{ANSWERS, Answer, Form};

/// A text field.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str()
}

/// The answer that a list is by its own kind: `PodList` holds pods.
pub(super) fn list_answer(whole: &Value) -> Option<&'static Answer> {
    let kind = text(whole, "kind")?.strip_suffix("List")?;
    Answer::of_kind(kind, text(whole, "apiVersion"))
}

/// The single answer whose thing this is, without the key on top.
pub(super) fn bare(fields: &Map<String, Value>) -> Option<&'static Answer> {
    let stem = if fields.contains_key("resourcesVpcConfig") {
        "describe-cluster"
    } else if fields.contains_key("nodegroupName") {
        "describe-nodegroup"
    } else if fields.contains_key("fargateProfileName") {
        "describe-fargate-profile"
    } else {
        return None;
    };
    Answer::of_stem(stem)
}

/// The list whose item this is. Later rows are the more particular ones: a subnet has all that a VPC is known by.
pub(super) fn item_answer(fields: &Map<String, Value>, claim: &Claim) -> Option<&'static Answer> {
    if fields.contains_key("InstanceId") && !fields.contains_key("NetworkInterfaceId") {
        return Answer::of_stem("describe-instances");
    }
    let has = |mark: &str| fields.contains_key(mark);
    let known = ANSWERS.iter().rev().find(|answer| match answer.form {
        Form::List { marks, .. } | Form::ListOf { marks, .. } => marks.iter().all(|mark| has(mark)),
        Form::Single { .. } | Form::Plain { .. } | Form::Objects { .. } => false,
    });
    known.or_else(|| {
        claim.answer.filter(|answer| match answer.form {
            Form::List { marks, .. } => marks.first().is_some_and(|mark| has(mark)),
            Form::ListOf { .. }
            | Form::Single { .. }
            | Form::Plain { .. }
            | Form::Objects { .. } => false,
        })
    })
}

/// Items of lists in a list, as `Reservations[].Instances` leaves them.
pub(super) fn flattened(items: Vec<Value>) -> Vec<Value> {
    if items.is_empty() || !items.iter().all(Value::is_array) {
        return items;
    }
    let lists = items.into_iter().map(|item| match item {
        Value::Array(inner) => inner,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Vec::new()
        }
    });
    lists.flatten().collect()
}
