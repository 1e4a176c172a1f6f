//! One order for everything that AWS sends in any order.

use serde_json::{Map, Value};

/// The same answer with its keys and its lists sorted, at every depth.
///
/// No list of these answers means something by its order: rules, routes and entries carry their own precedence
/// (SEMANTICS K), the primary address its own flag. Sorted, an unchanged world gives the same bytes.
pub(crate) fn canonical(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields
                .into_iter()
                .map(|(key, field)| (key, canonical(field)))
                .collect();
            fields.sort_by(|(left, _), (right, _)| left.cmp(right));
            Value::Object(fields.into_iter().collect::<Map<String, Value>>())
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(canonical).collect();
            items.sort_by_cached_key(Value::to_string);
            Value::Array(items)
        }
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
    }
}
