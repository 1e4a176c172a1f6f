//! Pings, and what an agent says in answer about its clock and its lateness.

use std::{
    fs,
    process::{Child, Command},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reachproof_proto::v1::{Assignment, Heartbeat, Listen, Probe, ProbeKind};
use tokio::time::{Instant, sleep};

use crate::{
    coordinator::{AgentStream, Coordinator, RunningAgent},
    support::Silent,
};

/// An agent in a process of its own; it ends with the test.
struct Process(Child);

impl Process {
    /// Starts it on 127.0.0.1.
    fn start(coordinator: &Coordinator) -> Process {
        let config = coordinator.config("127.0.0.1");
        let policy = coordinator.file("policy.json");
        fs::write(&policy, r#"{"allow": ["10.0.0.0/16"]}"#).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_reachproof-agent"))
            .args(["run", "--name=a", "--kind=pod", "--address=127.0.0.1"])
            .arg(format!("--coordinator=https://{}", config.coordinator))
            .arg(format!("--server-name={}", config.server_name))
            .arg(format!("--ca={}", config.ca.display()))
            .arg(format!("--token-file={}", config.token_file.display()))
            .arg(format!("--policy={}", policy.display()))
            .env_clear()
            .spawn()
            .unwrap();
        Process(child)
    }

    /// Stops it as a debugger would, or lets it go on.
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Lets the agent listen on a port.
async fn listen(stream: &mut AgentStream, port: u16) {
    stream
        .assign(Assignment {
            run: "run".to_owned(),
            generation: 1,
            listen: vec![Listen {
                port: port.into(),
                proof_key: vec![5; 32],
            }],
            probes: Vec::new(),
            expires_after_ms: 60_000,
        })
        .await;
    assert_eq!(stream.listening().await.failures, []);
}

/// The longest lateness of these, which must be about times that follow each other.
fn longest_us(heartbeats: &[Heartbeat]) -> u32 {
    for pair in heartbeats.windows(2) {
        assert_eq!(pair[1].late_since_us, pair[0].sent_us);
        assert!(pair[1].sent_us > pair[0].sent_us);
    }
    heartbeats
        .iter()
        .map(|heartbeat| heartbeat.late_max_us.unwrap())
        .max()
        .unwrap()
}

#[tokio::test]
async fn a_ping_is_answered_at_once_with_the_agents_clock() {
    let mut coordinator = Coordinator::start().await;
    let agent = RunningAgent::start(coordinator.config("127.0.0.1"));
    let mut stream = coordinator.welcomed().await;
    let begin = Instant::now();
    let mut last: Option<Heartbeat> = None;
    for number in 1..=100 {
        let asked = begin.elapsed();
        stream.ping(number).await;
        let heartbeats = stream.heartbeats(number).await;
        let answer = *heartbeats.last().unwrap();
        if let Some(last) = last {
            let passed = Duration::from_micros(answer.sent_us - last.sent_us);
            assert!(passed < begin.elapsed());
        }
        assert!(begin.elapsed() - asked < Duration::from_millis(400));
        // Nothing is on: nothing is measured.
        assert_eq!((answer.late_max_us, answer.late_since_us), (None, 0));
        last = Some(answer);
    }
    agent.stop().await;
}

#[tokio::test]
async fn lateness_is_measured_while_a_port_is_open_or_an_attempt_is_made() {
    let mut coordinator = Coordinator::start().await;
    let agent = RunningAgent::start(coordinator.config("127.0.0.1"));
    let mut stream = coordinator.welcomed().await;
    listen(&mut stream, 21_001).await;
    stream.ping(1).await;
    let first = *stream.heartbeats(1).await.last().unwrap();
    assert!(first.late_max_us.is_some(), "{first:?}");
    sleep(Duration::from_millis(700)).await;
    stream.ping(2).await;
    let heartbeats = [vec![first], stream.heartbeats(2).await].concat();
    longest_us(&heartbeats);
    stream.cancel("run").await;
    sleep(Duration::from_millis(200)).await;
    // The rest of what was measured is said once.
    stream.ping(3).await;
    stream.heartbeats(3).await;
    stream.ping(4).await;
    let answer = *stream.heartbeats(4).await.last().unwrap();
    assert_eq!(answer.late_max_us, None);
    let silent = Silent::new();
    let std::net::SocketAddr::V4(target) = silent.address else {
        panic!()
    };
    stream
        .assign(Assignment {
            run: "other".to_owned(),
            generation: 1,
            listen: Vec::new(),
            probes: vec![Probe {
                id: 1,
                target: target.ip().octets().to_vec(),
                port: target.port().into(),
                source: vec![127, 0, 0, 1],
                kind: ProbeKind::TcpConnect.into(),
                attempts: 1,
                deadline_ms: 400,
                interval_ms: 400,
                ..Probe::default()
            }],
            expires_after_ms: 60_000,
        })
        .await;
    sleep(Duration::from_millis(200)).await;
    stream.ping(5).await;
    let answer = *stream.heartbeats(5).await.last().unwrap();
    assert!(answer.late_max_us.is_some(), "{answer:?}");
    stream.observations().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_stopped_says_for_how_long() {
    let mut coordinator = Coordinator::start().await;
    let agent = Process::start(&coordinator);
    let mut stream = coordinator.welcomed().await;
    listen(&mut stream, 21_002).await;
    stream.ping(1).await;
    let first = *stream.heartbeats(1).await.last().unwrap();
    for number in 2..=3 {
        let begin = Instant::now();
        agent.signal(Signal::SIGSTOP);
        stream.ping(number).await;
        sleep(Duration::from_millis(1_500)).await;
        agent.signal(Signal::SIGCONT);
        let stopped = begin.elapsed();
        let heartbeats = stream.heartbeats(number).await;
        let late = Duration::from_micros(longest_us(&heartbeats).into());
        assert!(
            late > Duration::from_millis(1_400) && late < stopped + Duration::from_secs(1),
            "{late:?} of {stopped:?}"
        );
        let answer = heartbeats.last().unwrap();
        assert!(answer.sent_us - first.sent_us > 1_400_000);
    }
}
