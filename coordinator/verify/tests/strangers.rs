//! Strangers that come in numbers: agents get in all the same, and what strangers take is given back.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reads its own process and fails by panicking"
)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fake::{
    Link, Site, attach_over, bearer, channel_from, connect_from, connector, coordinator_waiting,
    hello, shake_hands,
};
use reachproof_proto::v1::agent_message::Body;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;

mod fake;

/// Agents of the tests; each has an address of its own from which it dials.
const AGENTS: u8 = 7;

/// How long an agent may take to get in (security.md, "Identity").
const IN_MAX: Duration = Duration::from_secs(10);

/// Connections that a flood keeps open at most at its own end; the coordinator keeps far fewer.
const KEPT: usize = 256;

/// An address of this host.
fn here(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

/// An address of the base world.
fn address() -> IpAddr {
    IpAddr::from([10, 0, 1, 20])
}

/// Dials until an agent is welcome; says how long that took.
async fn come_in(site: &Site, number: u8) -> (Duration, Link) {
    let begin = Instant::now();
    let name = format!("agent-{number}");
    loop {
        let channel = channel_from(here(100 + number), site.address, &site.ca).await;
        if let Ok(channel) = channel
            && let Ok(mut link) = attach_over(channel, &bearer(site, &name, address())).await
        {
            link.say(Body::Hello(hello(&name, address(), 1))).await;
            if let Ok(Some(_)) = link.receive.message().await {
                return (begin.elapsed(), link);
            }
        }
        assert!(begin.elapsed() < 2 * IN_MAX, "{name} does not get in");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Lets every agent in beside a flood; gives the longest that one took.
async fn all_come_in(site: &Arc<Site>) -> Duration {
    let mut coming = tokio::task::JoinSet::new();
    for number in 0..AGENTS {
        let site = Arc::clone(site);
        coming.spawn(async move { come_in(&site, number).await });
    }
    let mut longest = Duration::ZERO;
    let mut links = Vec::new();
    while let Some(came) = coming.join_next().await {
        let (took, link) = came.unwrap();
        longest = longest.max(took);
        links.push(link);
    }
    longest
}

/// Connects from one address again and again, over TLS or not, without a byte that means anything; tells when so many
/// connections were made.
fn flood(
    site: &Arc<Site>,
    over_tls: bool,
    count: usize,
) -> (JoinHandle<usize>, oneshot::Receiver<()>) {
    let site = Arc::clone(site);
    let (tell, told) = oneshot::channel();
    let task = tokio::spawn(async move {
        let (tls, mut tell) = (connector(&site.ca), Some(tell));
        let (mut bare, mut kept, mut made) = (Vec::new(), Vec::new(), 0);
        for number in 0..count {
            let Ok(stream) = connect_from(here(9), site.address).await else {
                continue;
            };
            made += 1;
            if over_tls {
                kept.extend(shake_hands(&tls, stream).await.ok());
            } else {
                bare.push(stream);
            }
            if kept.len() > KEPT {
                kept.remove(0);
            }
            if number == count / 4 {
                tell.take().map(|tell| tell.send(()));
            }
        }
        made
    });
    (task, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_connections_without_a_byte_keep_no_agent_out() {
    let coordinator = coordinator_waiting(99, Duration::from_secs(60)).await;
    let site = Arc::new(coordinator.site);
    let (flood, begun) = flood(&site, false, 200);
    begun.await.unwrap();
    let longest = all_come_in(&site).await;
    println!(
        "{AGENTS} agents in within {longest:?} beside {} bare connections",
        flood.await.unwrap()
    );
    assert!(longest < IN_MAX, "{longest:?}");
    coordinator.run.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn six_thousand_idle_tls_connections_of_one_address_keep_no_agent_out() {
    let coordinator = coordinator_waiting(99, Duration::from_secs(120)).await;
    let site = Arc::new(coordinator.site);
    let (flood, begun) = flood(&site, true, 6_000);
    begun.await.unwrap();
    let longest = all_come_in(&site).await;
    println!(
        "{AGENTS} agents in within {longest:?} beside {} idle connections",
        flood.await.unwrap()
    );
    assert!(longest < IN_MAX, "{longest:?}");
    coordinator.run.abort();
}

/// Memory of this process, in KiB.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.unwrap().split_whitespace();
    words.filter_map(|word| word.parse().ok()).next().unwrap()
}

/// Most memory that streams without `Hello` may take from the coordinator and this test together, in KiB.
const GROWTH_KIB_MAX: u64 = 64 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn streams_without_hello_again_and_again_take_bounded_memory() {
    let coordinator = coordinator_waiting(99, Duration::from_secs(120)).await;
    let site = Arc::new(coordinator.site);
    let token = bearer(&site, "agent-1", address());
    let before = memory_kib();
    let mut most = before;
    let mut links = std::collections::VecDeque::new();
    for _ in 0..1_000 {
        let Ok(channel) = channel_from(here(9), site.address, &site.ca).await else {
            continue;
        };
        for _ in 0..4 {
            links.extend(attach_over(channel.clone(), &token).await.ok());
        }
        while links.len() > KEPT {
            links.pop_front();
        }
        most = most.max(memory_kib());
    }
    drop(links);
    println!(
        "{before} KiB before 4,000 streams without hello, {most} KiB at most, {} KiB after",
        memory_kib()
    );
    assert!(most - before < GROWTH_KIB_MAX, "{before} to {most} KiB");
    coordinator.run.abort();
}

#[tokio::test]
async fn an_agent_that_is_in_is_not_sent_away_by_strangers() {
    let coordinator = coordinator_waiting(99, Duration::from_secs(60)).await;
    let site = Arc::new(coordinator.site);
    let (_, mut link) = come_in(&site, 1).await;
    let (flood, _begun) = flood(&site, true, 300);
    flood.await.unwrap();
    let alive = tokio::time::timeout(Duration::from_secs(1), link.receive.message()).await;
    assert!(!matches!(alive, Ok(Ok(None) | Err(_))), "{alive:?}");
    coordinator.run.abort();
}

#[tokio::test]
async fn an_address_of_no_interface_is_refused_by_a_clear_word() {
    let coordinator = coordinator_waiting(99, Duration::from_secs(60)).await;
    let site = &coordinator.site;
    for strange in [[127, 0, 0, 1], [224, 0, 0, 1], [10, 9, 9, 9]].map(IpAddr::from) {
        let channel = channel_from(here(1), site.address, &site.ca).await.unwrap();
        let token = bearer(site, "stranger", strange);
        let mut link = attach_over(channel, &token).await.unwrap();
        link.say(Body::Hello(hello("stranger", strange, 1))).await;
        let refused = loop {
            match link.receive.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{strange} was not refused"),
                Err(status) => break status,
            }
        };
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
        assert!(
            refused.message().contains(&strange.to_string()),
            "{refused:?}"
        );
    }
    coordinator.run.abort();
}

#[tokio::test]
async fn a_token_is_good_for_its_own_agent_alone() {
    let coordinator = coordinator_waiting(99, Duration::from_secs(60)).await;
    let site = &coordinator.site;
    let other = IpAddr::from([10, 0, 2, 20]);
    for (name, claimed) in [("other", address()), ("agent-1", other)] {
        let channel = channel_from(here(1), site.address, &site.ca).await.unwrap();
        let token = bearer(site, "agent-1", address());
        let mut link = attach_over(channel, &token).await.unwrap();
        link.say(Body::Hello(hello(name, claimed, 1))).await;
        let refused = link.receive.message().await.err().unwrap();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    }
    coordinator.run.abort();
}
