//! The review of tokens at a scripted API server: each way to be refused, and what is asked meanwhile.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reachproof_kube::token::{
    AgentPlace, AgentRules, REVIEWS_PER_SECOND, TokenRefusal, TokenReviewer,
};
use serde_json::{Value, json};

use crate::support::{Fake, Reply};

const AUDIENCE: &str = "reachproof/demo/reachproof/reachproof";

const ISSUER: &str = "https://issuer.example/id/1";

/// Seconds since 1970 at which the tests take place.
const NOW: u64 = 1_800_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn rules() -> AgentRules {
    AgentRules {
        audience: AUDIENCE.to_owned(),
        accounts: vec![("reachproof".to_owned(), "reachproof-agent".to_owned())],
        label: (
            "app.kubernetes.io/instance".to_owned(),
            "reachproof".to_owned(),
        ),
    }
}

/// A token that says `claims`.
fn token(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.c2lnbmVk",
        part(&json!({"alg": "RS256"})),
        part(claims)
    )
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": [AUDIENCE], "exp": NOW + 600, "nbf": NOW,
        "kubernetes.io": {"pod": {"name": "agent-1", "uid": "uid-1"}},
    })
}

/// A TokenReview that vouches for the pod.
fn review() -> Value {
    json!({"status": {
        "authenticated": true,
        "audiences": [AUDIENCE],
        "user": {
            "username": "system:serviceaccount:reachproof:reachproof-agent",
            "extra": {
                "authentication.kubernetes.io/pod-name": ["agent-1"],
                "authentication.kubernetes.io/pod-uid": ["uid-1"],
            },
        },
    }})
}

fn pod() -> Value {
    json!({
        "metadata": {
            "name": "agent-1", "uid": "uid-1",
            "labels": {"app.kubernetes.io/instance": "reachproof"},
        },
        "spec": {"nodeName": "node-1"},
        "status": {"podIPs": [{"ip": "10.0.1.21"}, {"ip": "2001:db8::21"}]},
    })
}

fn node() -> Value {
    json!({
        "metadata": {"name": "node-1", "labels": {"eks.amazonaws.com/compute-type": "ec2"}},
        "status": {"addresses": [
            {"type": "Hostname", "address": "node-1"},
            {"type": "InternalIP", "address": "10.0.1.20"},
        ]},
    })
}

/// An API server that says so of token, pod and node.
async fn server(review: Value, pod: Option<Value>, node: Value) -> Fake {
    let answers = Arc::new((review, pod, node));
    Fake::start(move |path, _| match path {
        path if path.ends_with("/version") => Reply::ok(json!({"gitVersion": "v1.36.0"})),
        path if path.contains("/tokenreviews") => Reply::ok(answers.0.clone()),
        path if path.contains("/pods/agent-1") => match &answers.1 {
            Some(pod) => Reply::ok(pod.clone()),
            None => Reply::status(404, "not found"),
        },
        path if path.contains("/nodes/node-1") => Reply::ok(answers.2.clone()),
        _ => Reply::status(404, "not found"),
    })
    .await
}

/// What comes of a token whose review, pod and node are as these functions say.
async fn answer(
    change: impl FnOnce(&mut Value, &mut Value, &mut Value),
) -> Result<reachproof_kube::token::AgentPod, TokenRefusal> {
    let (mut review, mut pod, mut node) = (review(), pod(), node());
    change(&mut review, &mut pod, &mut node);
    let fake = server(review, Some(pod), node).await;
    let reviewer = TokenReviewer::new(fake.connect().await, rules());
    reviewer.review(&token(&claims()), now()).await
}

#[tokio::test]
async fn an_agent_is_what_its_pod_and_node_say() {
    let found = answer(|_, _, _| {}).await.unwrap();
    assert_eq!(
        (found.name.as_str(), found.uid.as_str()),
        ("agent-1", "uid-1")
    );
    assert_eq!(
        (found.node.as_str(), found.place),
        ("node-1", AgentPlace::Pod)
    );
    let addresses: [IpAddr; 2] = ["10.0.1.21", "2001:db8::21"].map(|it| it.parse().unwrap());
    assert_eq!(found.addresses, addresses);

    let host = answer(|_, pod, _| pod["spec"]["hostNetwork"] = json!(true));
    let host = host.await.unwrap();
    assert_eq!(host.place, AgentPlace::Host);
    assert_eq!(host.addresses, ["10.0.1.20".parse::<IpAddr>().unwrap()]);

    let fargate = answer(|_, _, node| {
        node["metadata"]["labels"]["eks.amazonaws.com/compute-type"] = json!("fargate");
    });
    assert_eq!(fargate.await.unwrap().place, AgentPlace::Fargate);
}

#[tokio::test]
async fn what_the_token_says_of_itself_can_only_refuse_it_and_costs_no_review() {
    let fake = server(review(), Some(pod()), node()).await;
    let reviewer = TokenReviewer::new(fake.connect().await, rules());
    let with = |field: &str, value: Value| {
        let mut claims = claims();
        claims[field] = value;
        token(&claims)
    };
    for (token, refusal) in [
        ("a.b.c".to_owned(), TokenRefusal::Malformed),
        ("a.b".to_owned(), TokenRefusal::Malformed),
        (
            with("aud", json!(["https://kubernetes.default.svc"])),
            TokenRefusal::Audience,
        ),
        (
            with("aud", json!("reachproof/demo/reachproof/other")),
            TokenRefusal::Audience,
        ),
        (with("exp", json!(NOW - 61)), TokenRefusal::Expired),
        (with("nbf", json!(NOW + 61)), TokenRefusal::NotYetValid),
        (with("kubernetes.io", json!({})), TokenRefusal::Unbound),
    ] {
        assert_eq!(reviewer.review(&token, now()).await, Err(refusal));
    }
    assert_eq!(reviewer.counts().reviews, 0);
}

/// A reviewer that asked who issues tokens, of an API server that answers so.
async fn informed(discovery: Reply) -> (Fake, TokenReviewer) {
    let fake = Fake::start(move |path, _| match path {
        path if path.ends_with("/version") => Reply::ok(json!({"gitVersion": "v1.36.0"})),
        path if path.contains("/openid-configuration") => discovery.clone(),
        path if path.contains("/tokenreviews") => Reply::ok(review()),
        path if path.contains("/pods/agent-1") => Reply::ok(pod()),
        path if path.contains("/nodes/node-1") => Reply::ok(node()),
        _ => Reply::status(404, "not found"),
    })
    .await;
    let mut reviewer = TokenReviewer::new(fake.connect().await, rules());
    reviewer.learn_issuer().await;
    (fake, reviewer)
}

#[tokio::test]
async fn a_token_of_another_issuer_costs_no_review_where_the_api_server_names_its_own() {
    let other = |issuer: Value| {
        let mut claims = claims();
        claims["iss"] = issuer;
        token(&claims)
    };
    let (_fake, reviewer) = informed(Reply::ok(json!({"issuer": ISSUER}))).await;
    for issuer in [json!("https://issuer.example/id/2"), json!(""), Value::Null] {
        let refused = reviewer.review(&other(issuer), now()).await;
        assert_eq!(refused, Err(TokenRefusal::Issuer));
    }
    assert_eq!(reviewer.counts().reviews, 0);
    assert!(reviewer.review(&token(&claims()), now()).await.is_ok());

    for silent in [
        Reply::status(403, "no"),
        Reply::status(404, "no"),
        Reply::ok(json!({})),
    ] {
        let (_fake, reviewer) = informed(silent).await;
        let left_to_the_review = reviewer.review(&other(json!("elsewhere")), now()).await;
        assert!(left_to_the_review.is_ok());
        assert_eq!(reviewer.counts().reviews, 1);
    }
}

#[tokio::test]
async fn a_review_that_does_not_vouch_for_an_agent_of_this_release_is_refused() {
    let status = |field: &'static str, value: Value| {
        answer(move |review, _, _| review["status"][field] = value)
    };
    for (field, value, refusal) in [
        (
            "authenticated",
            json!(false),
            TokenRefusal::NotAuthenticated,
        ),
        ("error", json!("expired"), TokenRefusal::NotAuthenticated),
        ("audiences", json!([]), TokenRefusal::NotAuthenticated),
        (
            "audiences",
            json!(["other"]),
            TokenRefusal::NotAuthenticated,
        ),
        ("audiences", Value::Null, TokenRefusal::NotAuthenticated),
    ] {
        assert_eq!(status(field, value).await, Err(refusal), "{field}");
    }
    for username in [
        "system:serviceaccount:reachproof:reachproof-agent2",
        "system:serviceaccount:reachproof:reachproof-agent:x",
        "system:serviceaccount:default:reachproof-agent",
        "system:node:node-1",
    ] {
        let refused = answer(|review, _, _| review["status"]["user"]["username"] = json!(username));
        assert_eq!(refused.await, Err(TokenRefusal::Account), "{username}");
    }
    let unbound = answer(|review, _, _| review["status"]["user"]["extra"] = json!({}));
    assert_eq!(unbound.await, Err(TokenRefusal::Unbound));
}

#[tokio::test]
async fn a_pod_that_is_gone_ending_replaced_or_foreign_is_refused() {
    let fake = server(review(), None, node()).await;
    let reviewer = TokenReviewer::new(fake.connect().await, rules());
    let gone = reviewer.review(&token(&claims()), now()).await;
    assert_eq!(gone, Err(TokenRefusal::PodGone));
    let ending = answer(|_, pod, _| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01"));
    assert_eq!(ending.await, Err(TokenRefusal::PodGone));
    let replaced = answer(|_, pod, _| pod["metadata"]["uid"] = json!("uid-2"));
    assert_eq!(replaced.await, Err(TokenRefusal::PodGone));
    let foreign = answer(|_, pod, _| pod["metadata"]["labels"] = json!({}));
    assert_eq!(foreign.await, Err(TokenRefusal::PodForeign));
    let early = answer(|_, pod, _| pod["status"] = json!({}));
    assert_eq!(early.await, Err(TokenRefusal::PodNotReady));
}

#[tokio::test]
async fn a_token_is_reviewed_once_and_its_pod_is_looked_up_each_time() {
    let fake = server(review(), Some(pod()), node()).await;
    let reviewer = TokenReviewer::new(fake.connect().await, rules());
    for _ in 0..3 {
        reviewer.review(&token(&claims()), now()).await.unwrap();
    }
    assert_eq!(fake.paths("/tokenreviews").len(), 1);
    assert_eq!(fake.paths("/pods/agent-1").len(), 3);
    assert_eq!(reviewer.counts().remembered, 2);
}

#[tokio::test]
async fn more_reviews_than_the_api_server_should_bear_are_put_off() {
    let mut refused = review();
    refused["status"]["authenticated"] = json!(false);
    let fake = server(refused, Some(pod()), node()).await;
    let reviewer = TokenReviewer::new(fake.connect().await, rules());
    let mut put_off = 0;
    for number in 0..2 * REVIEWS_PER_SECOND {
        let mut claims = claims();
        claims["jti"] = json!(number);
        if reviewer.review(&token(&claims), now()).await == Err(TokenRefusal::Unavailable) {
            put_off += 1;
        }
    }
    println!(
        "{put_off} put off, {} reviewed",
        fake.paths("/tokenreviews").len()
    );
    assert!(put_off > 0);
}
