//! Who is not let in, and who is sent away.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fake::{Link, attach, bearer, channel, coordinator, hello};
use reachproof_proto::v1;
use reachproof_proto::v1::agent_message::Body;
use reachproof_proto::v1::coordinator_message::Body as Order;
use reachproof_verify::{Credentials, SystemRandomness};
use tonic::{Code, Status};

mod fake;

/// An address of the base world.
const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 20));

/// Reads on until the stream ends; gives the status.
async fn end(mut link: Link) -> Status {
    loop {
        match link.receive.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Status::ok("ended"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn a_stream_without_exactly_the_one_right_token_is_refused() {
    let coordinator = coordinator("A01", 9).await;
    let good = bearer(&coordinator.site, "a", ADDRESS)[0].clone();
    let refused: [Vec<String>; 7] = [
        vec![],
        vec![String::new()],
        vec!["Bearer ".to_owned()],
        vec![format!("{good}0")],
        vec![good.replace("Bearer", "Basic")],
        vec![format!("Bearer {}", "a".repeat(5 * 1024))],
        vec![good.clone(), good.clone()],
    ];
    for entries in refused {
        let status = attach(&coordinator.site, &entries).await.err().unwrap();
        assert_eq!(status.code(), Code::Unauthenticated, "{entries:?}");
        // Five wrong tokens a second are listened to.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let mut link = attach(&coordinator.site, &[good]).await.unwrap();
    link.say(Body::Hello(hello("a", ADDRESS, 1))).await;
    let first = link.receive.message().await.unwrap().unwrap();
    assert!(matches!(first.body, Some(Order::Welcome(_))), "{first:?}");
    coordinator.run.abort();
}

#[tokio::test]
async fn a_coordinator_with_another_ca_is_not_trusted() {
    let coordinator = coordinator("A01", 9).await;
    let other = tempfile::tempdir().unwrap();
    let random = SystemRandomness::default();
    let other = Credentials::in_directory(&other.path().join("c"), &random).unwrap();
    let wrong = channel(coordinator.site.address, &other.ca_certificate).await;
    assert!(wrong.is_err());
    let right = channel(coordinator.site.address, &coordinator.site.ca).await;
    assert!(right.is_ok());
    coordinator.run.abort();
}

#[tokio::test]
async fn messages_that_break_the_rules_end_the_stream_with_a_reason() {
    let coordinator = coordinator("A01", 9).await;
    let beat = || Body::Heartbeat(v1::Heartbeat::default());
    let greet = |wire_version| {
        let hello = hello("a", ADDRESS, 1);
        Body::Hello(v1::Hello {
            wire_version,
            ..hello
        })
    };
    let listening = Body::Listening(v1::ListenReport {
        failures: vec![v1::ListenFailure {
            port: 65_979,
            errno: 1,
        }],
        ..v1::ListenReport::default()
    });
    let table = [
        (vec![beat()], Code::InvalidArgument),
        (vec![greet(2)], Code::FailedPrecondition),
        (vec![greet(1), greet(1)], Code::InvalidArgument),
        (vec![greet(1), listening], Code::InvalidArgument),
    ];
    for (messages, code) in table {
        let link = attach(&coordinator.site, &bearer(&coordinator.site, "a", ADDRESS))
            .await
            .unwrap();
        let what = format!("{messages:?}");
        for message in messages {
            link.say(message).await;
        }
        let status = end(link).await;
        assert_eq!(status.code(), code, "{what}: {status:?}");
    }
    coordinator.run.abort();
}

#[tokio::test]
async fn a_message_above_a_mebibyte_is_refused() {
    let coordinator = coordinator("A01", 9).await;
    let link = attach(&coordinator.site, &bearer(&coordinator.site, "a", ADDRESS))
        .await
        .unwrap();
    let hello = v1::Hello {
        version: "v".repeat(1024 * 1024 + 1),
        ..hello("a", ADDRESS, 1)
    };
    link.say(Body::Hello(hello)).await;
    let status = end(link).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    coordinator.run.abort();
}

#[tokio::test]
async fn a_newer_stream_of_an_agent_takes_over_from_the_older_one() {
    let coordinator = coordinator("A01", 9).await;
    let site = Arc::new(coordinator.site);
    let first = attach(&site, &bearer(&site, "a", ADDRESS)).await.unwrap();
    first.say(Body::Hello(hello("a", ADDRESS, 1))).await;
    let mut second = attach(&site, &bearer(&site, "a", ADDRESS)).await.unwrap();
    second.say(Body::Hello(hello("a", ADDRESS, 1))).await;
    assert_eq!(end(first).await.code(), Code::Aborted);
    let welcome = second.receive.message().await.unwrap().unwrap();
    assert!(
        matches!(welcome.body, Some(Order::Welcome(_))),
        "{welcome:?}"
    );
    coordinator.run.abort();
}

#[tokio::test]
async fn a_batch_that_comes_twice_is_acknowledged_twice_and_one_that_cannot_be_read_does_not_come_back()
 {
    let coordinator = coordinator("A01", 9).await;
    let mut link = attach(&coordinator.site, &bearer(&coordinator.site, "a", ADDRESS))
        .await
        .unwrap();
    link.say(Body::Hello(hello("a", ADDRESS, 1))).await;
    let unreadable = v1::ObservationBatch {
        sequence: 2,
        elapsed_us: vec![99],
        ..v1::ObservationBatch::default()
    };
    for (batch, acknowledged) in [
        (
            v1::ObservationBatch {
                sequence: 1,
                ..v1::ObservationBatch::default()
            },
            1,
        ),
        (
            v1::ObservationBatch {
                sequence: 1,
                ..v1::ObservationBatch::default()
            },
            1,
        ),
        (unreadable, 2),
    ] {
        link.say(Body::Observations(batch)).await;
        let sequence = loop {
            let message = link.receive.message().await.unwrap().unwrap();
            if let Some(Order::Ack(ack)) = message.body {
                break ack.sequence;
            }
        };
        assert_eq!(sequence, acknowledged);
    }
    let again = attach(&coordinator.site, &bearer(&coordinator.site, "a", ADDRESS))
        .await
        .unwrap();
    again.say(Body::Hello(hello("a", ADDRESS, 1))).await;
    let mut again = again;
    let welcome = again.receive.message().await.unwrap().unwrap();
    let Some(Order::Welcome(welcome)) = welcome.body else {
        panic!("{welcome:?}");
    };
    assert_eq!(welcome.sequence_acknowledged, 2);
    coordinator.run.abort();
}
