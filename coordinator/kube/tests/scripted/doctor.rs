//! The lines of `reachproof doctor`.

use reachproof_kube::access::Account;
use reachproof_kube::doctor::{CheckState, examine};
use reachproof_kube::resource::RESOURCES;
use serde_json::json;

use crate::support::{Fake, Reply, entry, limits, quiet};

/// An API server that allows everything but one review, by its number.
async fn refusing(review: usize) -> Fake {
    Fake::start(move |path, count| match path {
        "/readyz" => Reply::Text(200, "ok"),
        path if path.contains("selfsubject") => {
            Reply::ok(json!({"status": {"allowed": count != review}}))
        }
        _ => quiet(path),
    })
    .await
}

#[tokio::test]
async fn each_line_is_ok_or_says_the_mend() {
    let fake = refusing(1).await;
    let folder = tempfile::tempdir().unwrap();
    let checks = examine(&entry(&folder, fake.address), limits(), &Account::Reader).await;
    assert_eq!(checks.len(), 1 + RESOURCES.len());
    assert_eq!(
        checks[0].detail,
        format!("http://{}/ v1.36.3", fake.address)
    );
    let missing: Vec<_> = checks
        .iter()
        .filter(|it| it.state != CheckState::Ok)
        .collect();
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].subject, "kubernetes: list pods");
    assert_eq!(
        missing[0].mend,
        "add the rule `{apiGroups: [\"\"], resources: [pods], verbs: [list]}` to the account's ClusterRole"
    );
}

#[tokio::test]
async fn a_run_needs_to_follow_what_it_read() {
    let fake = refusing(3).await;
    let folder = tempfile::tempdir().unwrap();
    let checks = examine(&entry(&folder, fake.address), limits(), &Account::Run).await;
    let missing: Vec<_> = checks
        .iter()
        .filter(|it| it.state != CheckState::Ok)
        .map(|it| (it.subject.as_str(), it.mend.as_str()))
        .collect();
    assert_eq!(
        missing,
        [(
            "kubernetes: list, watch pods",
            "add the rule `{apiGroups: [\"\"], resources: [pods], verbs: [list, watch]}` to the account's ClusterRole"
        )]
    );
}

#[tokio::test]
async fn without_an_api_server_the_rights_are_unknown() {
    let mut fake = Fake::start(|path, _| quiet(path)).await;
    fake.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let account = Account::Coordinator;
    let checks = examine(&entry(&folder, fake.address), limits(), &account).await;
    assert_eq!(checks.len(), 2 + RESOURCES.len());
    assert_eq!(checks[0].state, CheckState::Missing);
    assert!(
        checks[0].detail.contains("no answer for"),
        "{}",
        checks[0].detail
    );
    assert!(
        checks[0].mend.starts_with("check the address"),
        "{}",
        checks[0].mend
    );
    assert!(
        checks[1..].iter().all(|it| it.state == CheckState::Unknown),
        "{checks:?}"
    );
}
