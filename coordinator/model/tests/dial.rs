//! What answers of API servers say of dials: every recorded one, and what is no answer.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::net::SocketAddr;

use reachproof_model::dial::{DialFailure, Dialled, Exchange, broken_source, dialled, is_kubelet};
use serde::Deserialize;

/// A recorded answer, and what it says.
#[derive(Deserialize)]
struct Recorded {
    name: String,
    target: SocketAddr,
    status: u16,
    body: String,
    dialled: String,
    #[serde(default)]
    source: Option<SocketAddr>,
    #[serde(default)]
    kubelet: bool,
}

fn word(dialled: Dialled) -> &'static str {
    match dialled {
        Dialled::Answered => "answered",
        Dialled::Broken => "broken",
        Dialled::Refused => "refused",
        Dialled::Silent => "silent",
        Dialled::Unreachable => "unreachable",
        Dialled::Unclear(failure) => failure.as_str(),
    }
}

/// From tests of Kubernetes' own servers (v1.36), reports of EKS users (SEMANTICS G.2) and their sources.
fn recorded() -> Vec<Recorded> {
    serde_json::from_str(include_str!("dials/answers.json")).unwrap()
}

#[test]
fn every_recorded_answer_is_classified() {
    let recorded = recorded();
    assert!(recorded.len() >= 40, "{} answers", recorded.len());
    for row in &recorded {
        let exchange = Exchange::Answer {
            status: row.status,
            body: row.body.as_bytes(),
        };
        assert_eq!(
            word(dialled(exchange, row.target)),
            row.dialled,
            "{}",
            row.name
        );
        assert_eq!(broken_source(exchange), row.source, "{}", row.name);
        assert_eq!(
            is_kubelet(row.status, row.body.as_bytes()),
            row.kubelet,
            "{}",
            row.name
        );
    }
    println!("{} recorded answers classified", recorded.len());
}

#[test]
fn only_the_dials_own_time_out_is_silence() {
    let silent = recorded().into_iter().filter(|row| row.dialled == "silent");
    for row in silent {
        assert!(row.body.contains("dial tcp "), "{}", row.name);
        // The same words about another address, or from anybody but the API server, are none.
        let elsewhere: SocketAddr = "10.9.9.9:1".parse().unwrap();
        let exchange = |body| Exchange::Answer {
            status: row.status,
            body,
        };
        let other = dialled(exchange(row.body.as_bytes()), elsewhere);
        assert_eq!(other, Dialled::Unclear(DialFailure::OtherAddress));
        let backend = row.body.replace("\"kind\"", "\"kin\"");
        let backend = dialled(exchange(backend.as_bytes()), row.target);
        assert_eq!(backend, Dialled::Answered, "{}", row.name);
    }
}

#[test]
fn an_exchange_without_an_answer_says_nothing_of_the_dial() {
    let target: SocketAddr = "10.0.1.31:8080".parse().unwrap();
    for failure in [
        DialFailure::ApiCertificate,
        DialFailure::ApiUnreachable,
        DialFailure::ApiNoAnswer,
        DialFailure::ApiAnswerTooLong,
        DialFailure::ApiCredentials,
    ] {
        assert_eq!(
            dialled(Exchange::None(failure), target),
            Dialled::Unclear(failure)
        );
        assert_eq!(broken_source(Exchange::None(failure)), None);
        let json = serde_json::to_value(failure).unwrap();
        assert_eq!(json, failure.as_str());
    }
}
