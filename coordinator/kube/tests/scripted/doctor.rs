//! What `reachproof doctor` says of Kubernetes.

use reachproof_kube::Entry;
use reachproof_kube::access::Account;
use reachproof_kube::doctor::{DIALS, Examination, RIGHTS, SERVER, examine};
use reachproof_kube::resource::RESOURCES;
use reachproof_model::examination::CheckState;
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

async fn examined(entry: &Entry, account: Account) -> Examination {
    let mut examination = Examination::default();
    examine(entry, limits(), &account, &mut examination).await;
    examination
}

#[tokio::test]
async fn a_single_right_that_is_missing_comes_with_its_rule() {
    for (account, verbs, review) in [
        (Account::Reader, "list", 2),
        (Account::Run, "list, watch", 4),
    ] {
        let fake = refusing(review).await;
        let folder = tempfile::tempdir().unwrap();
        let found = examined(&entry(&folder, fake.address), account).await;
        let [server, rights, _dials] = found.checks.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(server.detail, format!("http://{}/ v1.36.3", fake.address));
        assert_eq!(
            (rights.subject, rights.state),
            (RIGHTS, CheckState::Missing)
        );
        assert!(
            rights.detail.starts_with("access denied: ") && rights.detail.ends_with(" pods"),
            "{}",
            rights.detail
        );
        assert_eq!(
            rights.remedy,
            format!(
                "add the rule `{{apiGroups: [\"\"], resources: [pods], verbs: [{verbs}]}}` to the account's ClusterRole"
            )
        );
    }
}

/// What is found with an account that has no right.
async fn examined_without_rights() -> Examination {
    let fake = Fake::start(|path, _| match path {
        path if path.contains("selfsubject") => Reply::ok(json!({"status": {"allowed": false}})),
        _ => quiet(path),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    examined(&entry(&folder, fake.address), Account::Reader).await
}

#[tokio::test]
async fn many_rights_that_are_missing_are_one_line_with_one_remedy() {
    let found = examined_without_rights().await;
    let rights = &found.checks[1];
    assert_eq!(rights.state, CheckState::Missing);
    assert_eq!(rights.remedy, "grant them as in deploy/rbac-reader.yaml");
    assert_eq!(rights.detail.split("; ").count(), RESOURCES.len());
}

#[tokio::test]
async fn the_right_to_ask_api_servers_is_a_line_of_its_own_and_nothing_is_missing_without_it() {
    let found = examined_without_rights().await;
    let dials = found.checks.last().unwrap();
    assert_eq!((dials.subject, dials.state), (DIALS, CheckState::Unknown));
    assert_eq!(
        dials.detail,
        "what the control plane reaches is predicted alone: no `get` on pods/proxy in reachproof, reachproof-host; pods/log in reachproof"
    );
    let fake = refusing(usize::MAX).await;
    let folder = tempfile::tempdir().unwrap();
    let found = examined(&entry(&folder, fake.address), Account::Reader).await;
    assert_eq!(found.checks.last().unwrap().state, CheckState::Ok);
}

#[tokio::test]
async fn rights_that_are_held_are_one_line() {
    let fake = refusing(usize::MAX).await;
    let folder = tempfile::tempdir().unwrap();
    let found = examined(&entry(&folder, fake.address), Account::Reader).await;
    assert!(
        found.checks.iter().all(|it| it.state == CheckState::Ok),
        "{found:?}"
    );
    assert_eq!(
        found.checks[1].detail,
        format!("all {} are held", RESOURCES.len())
    );
}

#[tokio::test]
async fn without_an_api_server_no_right_is_asked_for() {
    let mut fake = Fake::start(|path, _| quiet(path)).await;
    fake.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let found = examined(&entry(&folder, fake.address), Account::Coordinator).await;
    let [server] = found.checks.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        (server.subject, server.state),
        (SERVER, CheckState::Missing)
    );
    assert_eq!(
        server.detail,
        format!("cannot reach the API server `http://{}/`", fake.address)
    );
    assert!(server.evidence.contains("no answer for"), "{server:?}");
    assert!(
        server.remedy.starts_with("check the address"),
        "{}",
        server.remedy
    );
    assert_eq!(found.url, Some(format!("http://{}/", fake.address)));
}

#[tokio::test]
async fn credentials_that_nobody_knows_are_not_the_network() {
    let fake = Fake::start(|_, _| Reply::status(401, "Unauthorized")).await;
    let folder = tempfile::tempdir().unwrap();
    let found = examined(&entry(&folder, fake.address), Account::Reader).await;
    let [server] = found.checks.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        server.detail,
        format!(
            "the API server `http://{}/` does not accept the credentials",
            fake.address
        )
    );
    assert!(server.remedy.starts_with("renew"), "{}", server.remedy);
}
