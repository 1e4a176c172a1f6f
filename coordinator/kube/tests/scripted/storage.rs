//! The coordinator's own credentials in the cluster.

use std::collections::BTreeMap;

use reachproof_kube::storage::{ObjectName, Storage, StorageError, Written};
use serde_json::{Value, json};

use crate::support::{Fake, Reply};

fn name() -> ObjectName {
    ObjectName {
        namespace: "reachproof".to_owned(),
        name: "keys".to_owned(),
    }
}

/// An object with this data.
fn object(data: &Value) -> Value {
    json!({"metadata": {"name": "keys", "resourceVersion": "7"}, "data": data})
}

/// A server on which the object is read as `first`, and answers the writing of it with `second`.
async fn server(first: Reply, second: Reply) -> (Fake, Storage) {
    let fake = Fake::start(move |path, count| match (path, count) {
        ("/version", _) => Reply::ok(json!({"gitVersion": "v1.36.3"})),
        (_, 0) => first.clone(),
        _ => second.clone(),
    })
    .await;
    let storage = Storage::new(fake.connect().await);
    (fake, storage)
}

#[tokio::test]
async fn an_empty_secret_is_filled_and_another_one_who_was_first_is_told() {
    for (answer, written) in [
        (Reply::ok(object(&json!({}))), Written::Done),
        (Reply::status(409, "it was modified"), Written::Conflict),
    ] {
        let (fake, storage) = server(Reply::ok(object(&Value::Null)), answer).await;
        let secret = storage.secret(&name()).await.unwrap();
        assert!(secret.entries.is_empty());
        assert!(!format!("{secret:?}").contains("resourceVersion"));
        let entries = BTreeMap::from([("ca.key".to_owned(), b"secret".to_vec())]);
        let kept = storage.keep(&name(), secret, &entries).await.unwrap();
        assert_eq!(kept, written);
        let wanted =
            ["GET", "PUT"].map(|verb| format!("{verb} /api/v1/namespaces/reachproof/secrets/keys"));
        let asked = fake.paths("secrets");
        assert_eq!(asked.len(), 2, "{asked:?}");
        for (line, wanted) in asked.iter().zip(wanted) {
            assert!(line.starts_with(&wanted), "{line}");
        }
    }
}

#[tokio::test]
async fn what_is_published_already_is_left_alone() {
    let there = Reply::ok(object(&json!({"ca.crt": "one", "other": "stays"})));
    let (fake, storage) = server(there, Reply::status(500, "not asked for")).await;
    let published = storage.publish(&name(), ("ca.crt", "one")).await.unwrap();
    assert_eq!(published, Written::Done);
    assert_eq!(fake.paths("configmaps").len(), 1);
}

#[tokio::test]
async fn a_missing_object_and_a_missing_right_say_what_to_do() {
    let (_fake, storage) = server(Reply::status(404, "no"), Reply::status(404, "no")).await;
    let error = storage.secret(&name()).await.unwrap_err();
    assert!(matches!(error, StorageError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("make it, empty"), "{error}");

    let fake = Fake::start(|path, count| match (path, count) {
        ("/version", _) => Reply::ok(json!({})),
        ("/readyz", _) => Reply::Text(200, "ok"),
        (_, 0) => Reply::ok(object(&json!({}))),
        _ => Reply::status(403, "no right"),
    })
    .await;
    let storage = Storage::new(fake.connect().await);
    let error = storage
        .publish(&name(), ("ca.crt", "one"))
        .await
        .unwrap_err();
    let wanted = "cannot update the ConfigMap reachproof/keys: access denied: no right; grant `update` on it by name";
    assert_eq!(error.to_string(), wanted);
}

#[tokio::test]
async fn what_is_no_base64_is_no_secret() {
    let broken = Reply::ok(object(&json!({"ca.key": "?"})));
    let (_fake, storage) = server(broken.clone(), broken).await;
    let error = storage.secret(&name()).await.unwrap_err();
    assert!(matches!(error, StorageError::Malformed { .. }), "{error}");
}
