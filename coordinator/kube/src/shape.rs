//! Objects reduced to their allowed fields, and lists of them, as `kubectl get -o json` prints them.

use serde_json::{Map, Value, json};

use crate::resource::{AWS_NODE, CNI_VARIABLES, Resource};

/// Reduces an object to the fields that its resource keeps, and sorts its keys.
///
/// `apiVersion` and `kind` are added: the items of a list lack them, and kubectl prints them.
pub(crate) fn object(resource: &Resource, answer: &Value) -> Value {
    let mut kept = keep(answer, resource.kept).unwrap_or_else(|| json!({}));
    if let Value::Object(fields) = &mut kept {
        fields.insert("apiVersion".to_owned(), Value::from(resource.api_version()));
        fields.insert("kind".to_owned(), Value::from(resource.kind));
    }
    sort_keys(&mut kept);
    kept
}

/// Makes the `List` of objects, sorted by namespace and name.
pub(crate) fn list(mut items: Vec<Value>) -> Value {
    items.sort_by_cached_key(|item| (text(item, "namespace"), text(item, "name")));
    json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
}

/// Makes the `Status` by which a snapshot keeps that the API server serves a kind and refused to list it.
pub(crate) fn refusal() -> Value {
    json!({
        "apiVersion": "v1",
        "code": 403,
        "kind": "Status",
        "message": "access denied",
        "reason": "Forbidden",
        "status": "Failure",
    })
}

fn text(item: &Value, field: &str) -> String {
    let text = item
        .get("metadata")
        .and_then(|metadata| metadata.get(field)?.as_str());
    text.unwrap_or_default().to_owned()
}

/// The part of `value` that `paths` lead to; none if they lead nowhere.
fn keep(value: &Value, paths: &[&[&str]]) -> Option<Value> {
    if paths.is_empty() {
        return None;
    }
    // A path that ends here keeps all that is below.
    if paths.iter().any(|path| path.is_empty()) {
        return Some(value.clone());
    }
    match value {
        Value::Array(items) => Some(
            items
                .iter()
                .filter_map(|item| keep(item, paths))
                .collect::<Value>(),
        ),
        Value::Object(fields) => {
            let kept: Map<String, Value> = fields
                .iter()
                .filter_map(|(name, field)| Some((name.clone(), keep(field, &below(name, paths))?)))
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The paths that go through the field `name`, from there on.
fn below<'a>(name: &str, paths: &[&'a [&'a str]]) -> Vec<&'a [&'a str]> {
    let through = paths.iter().filter_map(|path| match path.split_first() {
        Some((first, rest)) if *first == name => Some(rest),
        Some(_) | None => None,
    });
    through.collect()
}

/// Sorts the keys of all objects: the API server writes fields in the order of its structs, kubectl sorts them.
fn sort_keys(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(sort_keys),
        Value::Object(fields) => {
            fields.sort_keys();
            fields.values_mut().for_each(sort_keys);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Reduces `aws-node` further: only the variables that the model can use, with their values.
///
/// Returns the variables whose value is not in the object, because it comes from elsewhere.
pub(crate) fn reduce_cni(daemon_set: &mut Value) -> Vec<String> {
    let mut indirect = Vec::new();
    let containers = daemon_set.pointer_mut("/spec/template/spec/containers");
    let Some(Value::Array(containers)) = containers else {
        return indirect;
    };
    containers.retain(|container| container.get("name").and_then(Value::as_str) == Some(AWS_NODE));
    for container in containers {
        if container
            .get("envFrom")
            .and_then(Value::as_array)
            .is_some_and(|from| !from.is_empty())
        {
            indirect.push("envFrom".to_owned());
        }
        let Some(Value::Array(variables)) = container.get_mut("env") else {
            continue;
        };
        variables
            .retain(|variable| name(variable).is_some_and(|name| CNI_VARIABLES.contains(&name)));
        let elsewhere = variables
            .iter()
            .filter(|variable| variable.get("valueFrom").is_some());
        indirect.extend(elsewhere.filter_map(name).map(str::to_owned));
    }
    indirect
}

fn name(variable: &Value) -> Option<&str> {
    variable.get("name").and_then(Value::as_str)
}

#[cfg(test)]
#[path = "shape/tests.rs"]
mod tests;
