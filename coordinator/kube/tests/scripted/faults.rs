//! What the reader makes of an API server that misbehaves: whole, a gap, or an error, never a part.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::support::{Fake, Reply, connect, entry, limits, page, quiet};
use reachproof_kube::access::{Account, check_rights};
use reachproof_kube::resource::RESOURCES;
use reachproof_kube::{
    ApiServer, ConnectError, Entry, Gap, Note, ReadError, Reading, RequestError, RightState, read,
};
use serde_json::{Value, json};

const PODS: &str = "/api/v1/pods?limit=2";

async fn outcome(fake: &Fake) -> Result<Reading, ReadError> {
    read(&fake.connect().await, |_| {}).await
}

fn names(reading: &Reading, stem: &str) -> Vec<String> {
    let items = reading.answers[stem]["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The message of an error and of its causes, as the program prints them.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[tokio::test]
async fn a_quiet_cluster_is_read_whole_and_twice_the_same() {
    let fake = Fake::start(|path, _| quiet(path)).await;
    let first = outcome(&fake).await.unwrap();
    let second = outcome(&fake).await.unwrap();
    assert_eq!(first.answers.len(), RESOURCES.len());
    assert_eq!(first.gaps, []);
    assert_eq!(names(&first, "pods"), ["a", "b", "c"]);
    assert_eq!(
        Value::from(first.answers).to_string(),
        Value::from(second.answers).to_string()
    );
}

#[tokio::test]
async fn outside_a_pod_its_account_is_no_way_in_and_the_error_says_another() {
    let error = ApiServer::connect(&Entry::Pod, limits()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Pod { .. }), "{error:?}");
    assert!(
        error.to_string().ends_with("or name a kubeconfig"),
        "{error}"
    );
}

#[tokio::test]
async fn a_context_that_is_not_there_is_an_error_that_names_those_that_are() {
    let fake = Fake::start(|path, _| quiet(path)).await;
    let folder = tempfile::tempdir().unwrap();
    let Entry::Kubeconfig { path, .. } = entry(&folder, fake.address) else {
        panic!("no file")
    };
    let elsewhere = Entry::Kubeconfig {
        path,
        context: Some("elsewhere".to_owned()),
    };
    let text = chain(&ApiServer::connect(&elsewhere, limits()).await.unwrap_err());
    assert!(
        text.starts_with("the kubeconfig `/")
            && text.ends_with(" has no context `elsewhere`; pass --context with one of x"),
        "{text}"
    );
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there_is_told_from_one_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    let entry = Entry::Kubeconfig {
        path: Some(path.clone()),
        context: None,
    };
    let error = ApiServer::connect(&entry, limits()).await.unwrap_err();
    assert_eq!(
        error.cause(),
        format!("there is no kubeconfig `{}`", path.display())
    );
    assert!(error.remedy().contains("update-kubeconfig"));
    std::fs::write(&path, "clusters: 7").unwrap();
    let error = ApiServer::connect(&entry, limits()).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Kubeconfig { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn only_reads_are_sent() {
    let fake = Fake::start(|path, _| quiet(path)).await;
    outcome(&fake).await.unwrap();
    let asked = fake.asked();
    assert!(
        asked.iter().all(|asked| asked.line.starts_with("GET ")),
        "{asked:?}"
    );
    assert!(fake.paths("secret").is_empty() && fake.paths("configmap").is_empty());
}

#[tokio::test]
async fn a_list_that_expires_is_read_again_from_its_beginning() {
    let fake = Fake::start(|path, count| match path {
        "/api/v1/pods?limit=2&continue=2" if count == 0 => {
            Reply::status(410, "the provided continue parameter is too old")
        }
        PODS if count == 1 => Reply::ok(page(path, &["d", "e", "f"])),
        "/api/v1/pods?limit=2&continue=2" => Reply::ok(page(path, &["d", "e", "f"])),
        _ => quiet(path),
    })
    .await;
    let reading = outcome(&fake).await.unwrap();
    // Nothing of the first world is left.
    assert_eq!(names(&reading, "pods"), ["d", "e", "f"]);
    let call = reading
        .calls
        .iter()
        .find(|call| call.stem == "pods")
        .unwrap();
    assert_eq!((call.restarts, call.pages), (1, 4));
}

#[tokio::test]
async fn a_list_that_always_expires_is_an_error() {
    let fake = Fake::start(|path, _| match path {
        path if path.contains("pods?limit=2&continue") => Reply::status(410, "expired"),
        _ => quiet(path),
    })
    .await;
    let error = outcome(&fake).await.unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Expired {
                stem: "pods",
                restarts: 2
            }
        ),
        "{error:?}"
    );
    assert_eq!(fake.paths(PODS).len(), 6);
}

#[tokio::test]
async fn retry_after_is_waited_out_before_the_next_attempt() {
    let fake = Fake::start(|path, count| match path {
        PODS if count == 0 => Reply::throttle(1),
        _ => quiet(path),
    })
    .await;
    let reading = outcome(&fake).await.unwrap();
    assert_eq!(names(&reading, "pods"), ["a", "b", "c"]);
    let asked = fake.asked();
    let at: Vec<Instant> = asked
        .iter()
        .filter(|asked| asked.line.contains(&format!("{PODS} ")))
        .map(|asked| asked.at)
        .collect();
    assert_eq!(at.len(), 2);
    assert!(
        at[1] - at[0] >= Duration::from_secs(1),
        "{:?}",
        at[1] - at[0]
    );
}

#[tokio::test]
async fn a_server_that_asks_for_more_than_the_patience_is_an_error_at_once() {
    let fake = Fake::start(|path, _| match path {
        PODS => Reply::throttle(3600),
        _ => quiet(path),
    })
    .await;
    let server = fake.connect().await;
    let begin = Instant::now();
    let error = read(&server, |_| {}).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(1));
    let text = chain(&error);
    assert!(
        text.starts_with("cannot read `pods`: the API server is throttling")
            && text.contains("3600 s more"),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_that_throttles_for_ever_is_given_up() {
    let fake = Fake::start(|path, _| match path {
        PODS => Reply::throttle(1),
        _ => quiet(path),
    })
    .await;
    let error = outcome(&fake).await.unwrap_err();
    let ReadError::Request {
        stem: "pods",
        source: RequestError::Throttled { attempts, .. },
    } = error
    else {
        panic!("{error:?}");
    };
    assert!((3..=5).contains(&attempts), "{attempts}");
}

#[tokio::test]
async fn an_error_of_the_server_is_asked_again() {
    let fake = Fake::start(|path, count| match path {
        PODS if count < 2 => Reply::status(500, "etcdserver: leader changed"),
        _ => quiet(path),
    })
    .await;
    let reading = outcome(&fake).await.unwrap();
    assert_eq!(names(&reading, "pods"), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_hanging_answer_is_asked_again() {
    let fake = Fake::start(|path, count| match path {
        PODS if count == 0 => Reply::Hang,
        _ => quiet(path),
    })
    .await;
    let reading = outcome(&fake).await.unwrap();
    let call = reading
        .calls
        .iter()
        .find(|call| call.stem == "pods")
        .unwrap();
    assert_eq!(call.attempts, 3);
}

#[tokio::test]
async fn a_server_that_hangs_for_ever_is_an_error_that_says_so() {
    let fake = Fake::start(|path, _| match path {
        PODS => Reply::Hang,
        _ => quiet(path),
    })
    .await;
    let text = chain(&outcome(&fake).await.unwrap_err());
    assert!(
        text.starts_with("cannot read `pods`: no answer for ")
            && text.contains("no whole answer within"),
        "{text}"
    );
}

#[tokio::test]
async fn a_body_cut_short_is_never_taken_as_whole() {
    let fake = Fake::start(|path, count| match path {
        "/api/v1/pods?limit=2&continue=2" if count == 0 => Reply::Cut(page(path, &["a", "b", "c"])),
        _ => quiet(path),
    })
    .await;
    let reading = outcome(&fake).await.unwrap();
    assert_eq!(names(&reading, "pods"), ["a", "b", "c"]);
    let fake = Fake::start(|path, _| match path {
        "/api/v1/pods?limit=2&continue=2" => Reply::Cut(page(path, &["a", "b", "c"])),
        _ => quiet(path),
    })
    .await;
    assert!(matches!(
        outcome(&fake).await.unwrap_err(),
        ReadError::Request { stem: "pods", .. }
    ));
}

#[tokio::test]
async fn a_connection_closed_half_way_is_made_anew() {
    let fake = Fake::start(|path, count| match path {
        "/api/v1/pods?limit=2&continue=2" if count == 0 => Reply::Close,
        _ => quiet(path),
    })
    .await;
    assert_eq!(
        names(&outcome(&fake).await.unwrap(), "pods"),
        ["a", "b", "c"]
    );
}

#[tokio::test]
async fn a_flapping_server_is_read_whole() {
    // Every question finds it down first.
    let fake = Fake::start(|path, count| match path {
        "/version" => quiet(path),
        _ if count == 0 => Reply::Close,
        _ => quiet(path),
    })
    .await;
    let reading = outcome(&fake).await.unwrap();
    assert_eq!(reading.answers.len(), RESOURCES.len());
    assert_eq!(names(&reading, "pods"), ["a", "b", "c"]);
    assert!(
        reading.calls.iter().all(|call| call.attempts >= 2),
        "{:?}",
        reading.calls
    );
}

#[tokio::test]
async fn a_server_that_is_away_half_way_and_comes_back_is_survived() {
    let mut fake = Fake::start(|path, _| quiet(path)).await;
    let server = fake.connect().await;
    fake.stop().await;
    let reading = tokio::spawn(async move { read(&server, |_| {}).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!reading.is_finished());
    fake.come_back().await;
    assert_eq!(
        reading.await.unwrap().unwrap().answers.len(),
        RESOURCES.len()
    );
}

#[tokio::test]
async fn a_server_that_stays_away_half_way_leaves_no_reading() {
    let mut fake = Fake::start(|path, _| quiet(path)).await;
    let server = fake.connect().await;
    fake.stop().await;
    let text = chain(&read(&server, |_| {}).await.unwrap_err());
    assert!(
        text.starts_with("cannot read `nodes`: no answer for")
            && text.to_lowercase().contains("connection refused"),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_told_at_once() {
    let mut fake = Fake::start(|path, _| quiet(path)).await;
    fake.stop().await;
    let begin = Instant::now();
    let error = connect(fake.address).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(matches!(error, ConnectError::FirstContact { .. }));
    let text = chain(&error);
    assert!(
        text.contains(&format!("http://{}", fake.address))
            && text.to_lowercase().contains("connection refused"),
        "{text}"
    );
}

/// Reads with the right to list everything but the VPC CNI's policies, whose group is answered with `group`.
async fn without_the_right_to_policies(group: fn() -> Reply) -> Reading {
    let fake = Fake::start(move |path, _| match path.split('?').next() {
        Some("/apis/networking.k8s.aws/v1alpha1") => group(),
        Some(path) if path.contains("networking.k8s.aws") => Reply::status(403, "forbidden"),
        Some(_) | None => quiet(path),
    })
    .await;
    outcome(&fake).await.unwrap()
}

#[tokio::test]
async fn a_policy_that_is_served_and_refused_is_kept_as_a_refusal() {
    let served = || Reply::ok(json!({"resources": [{"name": "clusternetworkpolicies"}]}));
    let reading = without_the_right_to_policies(served).await;
    let kind = |stem: &str| reading.answers[stem]["kind"].clone();
    assert_eq!(kind("clusternetworkpolicies"), "Status");
    // Others of the group are not served.
    assert_eq!(kind("policyendpoints"), "List");
    let gaps: Vec<String> = reading.gaps.iter().map(Gap::to_string).collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0].starts_with("cannot read `clusternetworkpolicies`: access denied"));
}

#[tokio::test]
async fn a_policy_that_may_be_served_counts_as_refused() {
    for group in [
        || Reply::status(403, "forbidden"),
        || Reply::ok(json!({"unknown": 1})),
    ] {
        let reading = without_the_right_to_policies(group).await;
        assert_eq!(reading.answers["policyendpoints"]["kind"], "Status");
    }
    let reading = without_the_right_to_policies(|| Reply::status(404, "not found")).await;
    assert_eq!(reading.answers["policyendpoints"]["kind"], "List");
    assert_eq!(reading.gaps, []);
}

#[tokio::test]
async fn a_right_that_is_missing_is_a_gap_that_names_the_rule() {
    let fake = Fake::start(|path, _| match path {
        PODS => Reply::status(403, "pods is forbidden"),
        path if path.contains("daemonsets") => Reply::status(403, "daemonsets is forbidden"),
        _ => quiet(path),
    })
    .await;
    let reading = outcome(&fake).await.unwrap();
    assert!(!reading.answers.contains_key("pods") && !reading.answers.contains_key("aws-node"));
    assert_eq!(reading.answers.len(), RESOURCES.len() - 2);
    let text: Vec<String> = reading.gaps.iter().map(Gap::to_string).collect();
    assert_eq!(
        text,
        [
            "cannot read `pods`: access denied; add the rule `{apiGroups: [\"\"], resources: [pods], verbs: [list]}` to the account's ClusterRole",
            "cannot read `aws-node`: access denied; add the rule `{apiGroups: [\"apps\"], resources: [daemonsets], verbs: [get], resourceNames: [aws-node]}` to the account's Role in namespace `kube-system`",
        ]
    );
}

#[tokio::test]
async fn a_right_taken_away_half_way_is_a_gap_and_no_part_of_a_list() {
    let fake = Fake::start(|path, _| match path {
        path if path.contains("pods?limit=2&continue") => Reply::status(403, "forbidden"),
        _ => quiet(path),
    })
    .await;
    let reading = outcome(&fake).await.unwrap();
    assert!(!reading.answers.contains_key("pods"));
    assert_eq!(reading.gaps.len(), 1);
}

#[tokio::test]
async fn a_refusal_of_a_server_that_is_still_starting_is_no_gap() {
    // As seen after a restart: everything is forbidden until the roles are read.
    let fake = Fake::start(|path, count| match path {
        PODS if count < 3 => Reply::status(403, "pods is forbidden"),
        "/readyz" if count == 0 => Reply::status(403, "cannot get path \"/readyz\""),
        "/readyz" if count == 1 => Reply::Text(500, "[-]poststarthook/rbac/bootstrap-roles failed"),
        "/readyz" => Reply::Text(200, "ok"),
        _ => quiet(path),
    })
    .await;
    let reading = outcome(&fake).await.unwrap();
    assert_eq!(names(&reading, "pods"), ["a", "b", "c"]);
    assert_eq!(reading.gaps, []);
}

#[tokio::test]
async fn a_refusal_counts_at_once_where_nobody_may_ask_for_the_health() {
    let fake = Fake::start(|path, _| match path {
        "/version" | "/readyz" => Reply::status(403, "forbidden"),
        PODS => Reply::status(403, "pods is forbidden"),
        _ => quiet(path),
    })
    .await;
    let server = fake.connect().await;
    assert_eq!(server.version(), "");
    let reading = read(&server, |_| {}).await.unwrap();
    assert_eq!(reading.gaps.len(), 1);
    assert_eq!(fake.paths(&format!("{PODS} ")).len(), 1);
}

#[tokio::test]
async fn a_kind_that_is_not_installed_is_an_empty_list_and_noted() {
    let fake = Fake::start(|path, _| match path {
        path if path.contains("k8s.aws") || path.contains("amazonaws") => {
            Reply::Text(404, "404 page not found")
        }
        _ => quiet(path),
    })
    .await;
    let reading = outcome(&fake).await.unwrap();
    assert!(names(&reading, "eniconfigs").is_empty());
    let not_served = [
        "applicationnetworkpolicies",
        "clusternetworkpolicies",
        "policyendpoints",
        "clusterpolicyendpoints",
        "securitygrouppolicies",
        "eniconfigs",
        "cninodes",
    ]
    .map(|stem| Note::NotServed { stem });
    assert_eq!(reading.notes, not_served);
    assert_eq!(reading.gaps, []);
}

#[tokio::test]
async fn a_cluster_without_the_vpc_cni_has_a_gap_for_it() {
    let fake = Fake::start(|path, _| match path {
        path if path.contains("daemonsets") => {
            Reply::status(404, "daemonsets.apps \"aws-node\" not found")
        }
        _ => quiet(path),
    })
    .await;
    let reading = outcome(&fake).await.unwrap();
    assert_eq!(reading.gaps, [Gap::Absent { stem: "aws-node" }]);
}

#[tokio::test]
async fn pages_that_go_in_a_circle_are_an_error() {
    let fake = Fake::start(|path, _| match path {
        path if path.starts_with(PODS) => {
            let next = if path.ends_with("continue=A") {
                "B"
            } else {
                "A"
            };
            Reply::ok(json!({"metadata": {"continue": next}, "items": []}))
        }
        _ => quiet(path),
    })
    .await;
    let error = outcome(&fake).await.unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Circle {
                stem: "pods",
                page: 3
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_empty_page_with_a_token_is_not_the_end() {
    let fake = Fake::start(|path, _| match path {
        PODS => Reply::ok(json!({"metadata": {"continue": "0"}, "items": null})),
        _ => quiet(path),
    })
    .await;
    assert_eq!(
        names(&outcome(&fake).await.unwrap(), "pods"),
        ["a", "b", "c"]
    );
}

#[tokio::test]
async fn a_token_is_escaped() {
    let fake = Fake::start(|path, _| match path {
        PODS => Reply::ok(json!({"metadata": {"continue": "a+b/c=&limit=1"}, "items": []})),
        "/api/v1/pods?limit=2&continue=a%2Bb%2Fc%3D%26limit%3D1" => {
            Reply::ok(json!({"metadata": {}, "items": []}))
        }
        _ => quiet(path),
    })
    .await;
    assert!(names(&outcome(&fake).await.unwrap(), "pods").is_empty());
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_an_error() {
    let fake = Fake::start(|path, _| match path {
        PODS => Reply::ok(json!({"welcome": "to the portal"})),
        _ => quiet(path),
    })
    .await;
    let error = outcome(&fake).await.unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Malformed {
                stem: "pods",
                page: 1,
                field: "items"
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn credentials_that_run_out_half_way_are_an_error_with_the_mend() {
    let fake = Fake::start(|path, _| match path {
        path if path.contains("pods?limit=2&continue") => Reply::status(401, "Unauthorized"),
        _ => quiet(path),
    })
    .await;
    let text = chain(&outcome(&fake).await.unwrap_err());
    assert!(
        text.contains("cannot read `pods`") && text.contains("renew"),
        "{text}"
    );
    // Asked again once, as a server that has just started knows nobody yet.
    assert_eq!(fake.paths("continue=2").len(), 2);
}

#[tokio::test]
async fn messages_of_a_server_cannot_write_to_the_terminal() {
    let fake = Fake::start(|path, _| match path {
        PODS => Reply::status(418, "\u{1b}[2Jgone"),
        _ => quiet(path),
    })
    .await;
    let text = chain(&outcome(&fake).await.unwrap_err());
    assert!(
        text.contains("[2Jgone") && !text.contains('\u{1b}'),
        "{text:?}"
    );
}

#[tokio::test]
async fn each_right_is_held_missing_or_unknown() {
    // The script does not see bodies: the reviews are told apart by their order, one each.
    let fake = Fake::start(|path, count| match (path, count) {
        ("/readyz", _) => Reply::Text(200, "ok"),
        (path, 0) if path.contains("selfsubject") => {
            Reply::ok(json!({"status": {"allowed": true}}))
        }
        (path, 1) if path.contains("selfsubject") => {
            Reply::ok(json!({"status": {"allowed": false}}))
        }
        (path, 2 | 3) if path.contains("selfsubject") => Reply::status(403, "forbidden"),
        (path, _) if path.contains("selfsubject") => Reply::ok(json!({"status": {}})),
        _ => quiet(path),
    })
    .await;
    let checked = check_rights(&fake.connect().await, &Account::Reader).await;
    assert_eq!(checked.len(), RESOURCES.len());
    assert!(matches!(checked[0].state, RightState::Held));
    assert!(matches!(&checked[1].state, RightState::Missing { verbs } if verbs == &["list"]));
    assert!(matches!(checked[2].state, RightState::Unknown(_)));
    assert!(matches!(checked[3].state, RightState::Missing { .. }));
}
