//! What changes in an answer although nothing happens in the world.

use std::borrow::Cow;

use serde_json::Value;

/// Stem of the leases that kubelets renew every few seconds.
const LEASES: &str = "leases";

/// Stem of the aggregated APIs, whose conditions have the words of the last attempt to reach them.
const API_SERVICES: &str = "apiservices";

/// Returns what an answer says of the world: without evidence that changes by itself (control-plane.md, "Free evidence").
///
/// `answer` is a whole answer or one object of it. Two readings of one world are equal in this, not in all they hold.
#[must_use]
pub fn lasting<'a>(stem: &str, answer: &'a Value) -> Cow<'a, Value> {
    match stem {
        LEASES => Cow::Owned(Value::Null),
        API_SERVICES => {
            let mut answer = answer.clone();
            match answer.get_mut("items").and_then(Value::as_array_mut) {
                Some(items) => items.iter_mut().for_each(drop_messages),
                None => drop_messages(&mut answer),
            }
            Cow::Owned(answer)
        }
        _ => Cow::Borrowed(answer),
    }
}

/// Takes the messages out of the conditions of an object.
fn drop_messages(object: &mut Value) {
    let conditions = object.pointer_mut("/status/conditions");
    let conditions = conditions.and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        if let Value::Object(fields) = condition {
            let _words = fields.remove("message");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_of_an_aggregated_api_and_renewals_are_no_change_and_its_state_is() {
        let of = |status: &str, message: &str| {
            let condition = json!({"type": "Available", "status": status, "message": message});
            json!({"kind": "APIService", "status": {"conditions": [condition]}})
        };
        let (one, other) = (of("False", "timed out"), of("False", "EOF"));
        assert_eq!(lasting(API_SERVICES, &one), lasting(API_SERVICES, &other));
        let whole = |item: &Value| json!({"items": [item]});
        assert_eq!(
            lasting(API_SERVICES, &whole(&one)),
            lasting(API_SERVICES, &whole(&other))
        );
        assert_ne!(
            lasting(API_SERVICES, &one),
            lasting(API_SERVICES, &of("True", "timed out"))
        );
        let lease = |time: &str| json!({"items": [{"spec": {"renewTime": time}}]});
        assert_eq!(lasting(LEASES, &lease("1")), lasting(LEASES, &lease("2")));
        assert_ne!(lasting("pods", &one), lasting("pods", &other));
    }
}
