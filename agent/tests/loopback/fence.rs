//! What an agent says before silence is judged: all that was accepted, and where its cluster's endpoint is.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use reachproof_agent::config::Kind;
use reachproof_proto::v1::{
    Assignment, EndpointReport, FenceReport, Listen, ListenDrops, agent_message::Body,
};
use tokio::time::sleep;

use crate::coordinator::{AgentStream, Coordinator, KNOWN_NAME, RunningAgent};

/// A port outside the ephemeral range that nobody uses; each caller gets its own by its number.
fn free_port(number: u16) -> u16 {
    let range = 19_000 + 100 * number..19_100 + 100 * number;
    range
        .into_iter()
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// Lets the agent listen on a port, or do nothing, in generation `generation`.
async fn assign(stream: &mut AgentStream, generation: u32, port: Option<u16>) {
    let listen = port.map(|port| Listen {
        port: port.into(),
        proof_key: vec![5; 32],
    });
    let asked = listen.is_some();
    stream
        .assign(Assignment {
            run: "run".to_owned(),
            generation,
            listen: listen.into_iter().collect(),
            probes: Vec::new(),
            expires_after_ms: 60_000,
        })
        .await;
    if asked {
        stream.listening().await;
    }
}

/// Acknowledges what comes until the fence is answered; returns the ports of all who connected, and the answer.
async fn until_fence(stream: &mut AgentStream) -> (Vec<u32>, FenceReport) {
    let mut peers = Vec::new();
    loop {
        match stream.hear_news().await {
            Body::Accepts(batch) => {
                peers.extend(batch.accepts.iter().map(|accept| accept.peer_port));
                stream.acknowledge(batch.sequence).await;
            }
            Body::Fence(report) => return (peers, report),
            other @ (Body::Hello(_)
            | Body::Heartbeat(_)
            | Body::Observations(_)
            | Body::Listening(_)
            | Body::Endpoint(_)) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_before_a_fence_is_reported_before_its_answer() {
    let mut coordinator = Coordinator::start().await;
    let agent = RunningAgent::start(coordinator.config("127.0.0.1"));
    let mut stream = coordinator.welcomed().await;
    let port = free_port(0);
    assign(&mut stream, 1, Some(port)).await;
    for number in 1..=20 {
        let target: SocketAddr = ([127, 0, 0, 1], port).into();
        let held: Vec<TcpStream> = (0..50)
            .map(|_| TcpStream::connect(target).unwrap())
            .collect();
        stream.fence(number).await;
        let (mut seen, report) = until_fence(&mut stream).await;
        let mut connected: Vec<u32> = held
            .iter()
            .map(|stream| stream.local_addr().unwrap().port().into())
            .collect();
        seen.sort_unstable();
        connected.sort_unstable();
        assert_eq!((report.run.as_str(), report.number), ("run", number));
        assert_eq!(seen, connected);
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_fence_waits_for_the_acknowledgements_that_let_the_rest_be_sent() {
    let mut coordinator = Coordinator::start().await;
    let agent = RunningAgent::start(coordinator.config("127.0.0.1"));
    let mut stream = coordinator.welcomed().await;
    let port = free_port(1);
    assign(&mut stream, 1, Some(port)).await;
    let mut batches = Vec::new();
    // Four batches wait for their acknowledgement, and a fifth cannot be sent.
    for _ in 0..4 {
        drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
        let Body::Accepts(batch) = stream.hear_news().await else {
            panic!()
        };
        batches.push(batch.sequence);
    }
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    stream.fence(1).await;
    stream.fence(2).await;
    sleep(Duration::from_millis(300)).await;
    stream.acknowledge(4).await;
    let (peers, report) = until_fence(&mut stream).await;
    assert_eq!(
        (batches, peers.len(), report.number),
        (vec![1, 2, 3, 4], 1, 2)
    );
    agent.stop().await;
}

#[tokio::test]
async fn what_full_queues_dropped_is_told_for_each_socket_and_for_all() {
    for (number, kind) in [(2, Kind::Pod), (3, Kind::Fargate), (4, Kind::Node)] {
        let mut coordinator = Coordinator::start().await;
        let mut config = coordinator.config("127.0.0.1");
        config.kind = kind;
        config.addresses.push("::1".parse().unwrap());
        let agent = RunningAgent::start(config);
        let mut stream = coordinator.welcomed().await;
        let port = free_port(number);
        assign(&mut stream, 1, Some(port)).await;
        stream.fence(1).await;
        let (_, report) = until_fence(&mut stream).await;
        assert!(report.accept_queue_drops.is_some(), "{kind:?}");
        let drops = |address: &[u8]| ListenDrops {
            address: address.to_vec(),
            port: port.into(),
            drops: 0,
        };
        let v6 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(report.listen_drops, [drops(&[127, 0, 0, 1]), drops(&v6)]);
        agent.stop().await;
    }
}

#[tokio::test]
async fn the_cluster_endpoint_is_resolved_once_a_run_and_said_again_on_the_next_stream() {
    let mut coordinator = Coordinator::start().await;
    let mut config = coordinator.config("127.0.0.1");
    config.cluster_endpoint = Some(KNOWN_NAME.parse().unwrap());
    let agent = RunningAgent::start(config);
    let mut stream = coordinator.welcomed().await;
    assign(&mut stream, 1, None).await;
    assign(&mut stream, 2, None).await;
    let expected = Body::Endpoint(EndpointReport {
        run: "run".to_owned(),
        name: KNOWN_NAME.to_owned(),
        addresses: vec![vec![10, 0, 1, 10], vec![10, 0, 2, 10]],
        failure: String::new(),
    });
    assert_eq!(stream.hear_news().await, expected);
    agent.net.cut();
    let mut stream = coordinator.welcomed().await;
    assert_eq!(stream.hear_news().await, expected);
    assert_eq!(agent.net.resolved(), [KNOWN_NAME]);
    agent.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_resolve_is_reported_with_the_reason() {
    let mut coordinator = Coordinator::start().await;
    let mut config = coordinator.config("127.0.0.1");
    config.cluster_endpoint = Some("other.eks.amazonaws.com".parse().unwrap());
    let agent = RunningAgent::start(config);
    let mut stream = coordinator.welcomed().await;
    assign(&mut stream, 1, None).await;
    let Body::Endpoint(report) = stream.hear_news().await else {
        panic!()
    };
    assert_eq!(
        (report.addresses.len(), report.failure.as_str()),
        (0, "no such name")
    );
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_was_given_no_name_resolves_none() {
    let mut coordinator = Coordinator::start().await;
    let agent = RunningAgent::start(coordinator.config("127.0.0.1"));
    let mut stream = coordinator.welcomed().await;
    assign(&mut stream, 1, None).await;
    stream.fence(1).await;
    let (_, report) = until_fence(&mut stream).await;
    assert_eq!(report.number, 1);
    assert!(agent.net.resolved().is_empty());
    agent.stop().await;
}
