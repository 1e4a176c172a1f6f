//! Whole runs over real sockets, with agents that see what the test says.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use fake::{Agent, ENDPOINT, Fate, Habit, Network, coordinator};
use reachproof_model::cluster_endpoint::EndpointPath;
use reachproof_model::finding::FindingKind;
use reachproof_proto::v1::agent_message::Body;
use reachproof_proto::v1::coordinator_message::Body as Order;
use reachproof_verify::report::Allowed;
use reachproof_verify::report::human::{Colour, Details, Terminal, View, render, render_missing};
use reachproof_verify::{Report, RunError};

mod fake;

/// Host n1 of the base world of SEMANTICS J: its groups let everything out and nothing in.
const N1: &str = "10.0.1.20";
/// Host n2: tcp/8080 from the VPC in, nothing out (vector A01).
const N2: &str = "10.0.2.20";
/// Host n3: as n2.
const N3: &str = "10.0.1.40";

/// What the security groups of A01 make the network do.
fn as_predicted(source: IpAddr, target: IpAddr, port: u16) -> Fate {
    let from_n1 = source.to_string() == N1;
    let to_d = [N2, N3].contains(&target.to_string().as_str());
    if from_n1 && to_d && port == 8_080 {
        Fate::Open
    } else {
        Fate::Silent
    }
}

/// Runs A01 with three agents, of which the first has a habit.
async fn run(habit: Habit, network: Network) -> Report {
    run_all([habit, Habit::Faithful, Habit::Faithful], network).await
}

/// The same, each agent with a habit of its own.
async fn run_all(habits: [Habit; 3], network: Network) -> Report {
    let coordinator = coordinator("A01", 3).await;
    let site = Arc::new(coordinator.site);
    let mut agents = tokio::task::JoinSet::new();
    let names = [("n1", N1), ("n2", N2), ("n3", N3)];
    for ((name, address), habit) in names.into_iter().zip(habits) {
        let agent = Agent {
            name,
            address: address.parse().unwrap(),
            habit,
            network: network.clone(),
        };
        agents.spawn(agent.live(Arc::clone(&site)));
    }
    let report = coordinator.run.await.unwrap().unwrap();
    while agents.join_next().await.is_some() {}
    report
}

/// The kind, and the reason where there is one, of every flow.
fn kinds(report: &Report) -> BTreeMap<String, (FindingKind, Option<&'static str>)> {
    let findings = report.findings.iter();
    findings
        .map(|finding| {
            let reason = finding.reason.as_ref().map(|reason| reason.as_str());
            (finding.flow.to_string(), (finding.kind, reason))
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_network_that_does_as_predicted_is_confirmed() {
    let report = run(Habit::Faithful, Network::new(as_predicted)).await;
    let kinds = kinds(&report);
    let kind = |port: u16| kinds[&format!("{N1} -> {N2} tcp/{port}")];
    assert_eq!(kind(8_080), (FindingKind::ConfirmedAllow, None));
    assert_eq!(kind(8_079), (FindingKind::ConfirmedDeny, None));
    assert_eq!(kind(7_500), (FindingKind::ConfirmedDeny, None));
    // n2 reaches nothing at all, so its silence proves nothing.
    let silent = kinds[&format!("{N2} -> {N3} tcp/7500")];
    assert_eq!(silent, (FindingKind::Inconclusive, Some("no-control")));
    assert_eq!(report.count(FindingKind::ContradictionOpen), 0);
    assert_eq!(report.agents.present.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn drift_in_both_directions_is_found() {
    let drift = |source: IpAddr, target: IpAddr, port| match (target.to_string().as_str(), port) {
        (N2, 7_500) => Fate::Open,
        (N3, 8_080) => Fate::Silent,
        (N3, 8_079) => Fate::Open,
        _ => as_predicted(source, target, port),
    };
    let report = run(Habit::Faithful, Network::new(drift)).await;
    let kinds = kinds(&report);
    let to = |target, port: u16| kinds[&format!("{N1} -> {target} tcp/{port}")].0;
    assert_eq!(to(N2, 7_500), FindingKind::ContradictionOpen);
    assert_eq!(to(N3, 8_079), FindingKind::ContradictionOpen);
    // Nothing else of n3 is open, and its stream comes from elsewhere: nobody heard it around the silence.
    let closed = &kinds[&format!("{N1} -> {N3} tcp/8080")];
    assert_eq!(*closed, (FindingKind::Inconclusive, Some("target-unheard")));
    assert_eq!(report.exit_code(Allowed::default()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_cut_in_the_middle_changes_no_verdict_and_counts_nothing_twice() {
    let faithful = run(Habit::Faithful, Network::new(as_predicted)).await;
    let cut = run(Habit::Cut, Network::new(as_predicted)).await;
    assert_eq!(kinds(&cut), kinds(&faithful));
    for finding in &cut.findings {
        assert!(finding.observation.attempts.len() <= 9, "{}", finding.flow);
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_starts_anew_in_the_middle_confirms_no_deny_of_its_own_half() {
    let report = run(Habit::Restart, Network::new(as_predicted)).await;
    // As a target it may have forgotten connections; as a source it tried everything that was unfinished again.
    let kinds = kinds(&report);
    let to_restarted = kinds[&format!("{N2} -> {N1} tcp/7500")];
    assert_ne!(to_restarted.0, FindingKind::ConfirmedDeny);
    assert_eq!(
        kinds[&format!("{N1} -> {N2} tcp/8080")].0,
        FindingKind::ConfirmedAllow
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_did_not_report_before_it_vanished_is_not_observed() {
    let report = run(Habit::Vanish, Network::new(as_predicted)).await;
    let unreported = report.findings.iter().filter(|finding| {
        finding
            .reason
            .as_ref()
            .is_some_and(|r| r.as_str() == "not-reported")
    });
    assert!(unreported.count() > 0);
    for finding in &report.findings {
        let to_lost = finding.flow.destination.to_string() == N1;
        if to_lost {
            assert_ne!(finding.kind, FindingKind::ConfirmedDeny, "{}", finding.flow);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn agents_that_served_another_coordinator_before_confirm_as_new_ones_do() {
    let new = run(Habit::Faithful, Network::new(as_predicted)).await;
    let habits = [Habit::Experienced, Habit::Experienced, Habit::Faithful];
    let report = run_all(habits, Network::new(as_predicted)).await;
    assert_eq!(kinds(&report), kinds(&new));
    let denied = kinds(&report).into_values();
    assert!(
        denied
            .filter(|(kind, _)| *kind == FindingKind::ConfirmedDeny)
            .count()
            > 0
    );
}

#[tokio::test(start_paused = true)]
async fn silence_is_judged_only_behind_the_fence_of_its_target() {
    let habits = [Habit::Faithful, Habit::Mute, Habit::Faithful];
    let report = run_all(habits, Network::new(as_predicted)).await;
    let kinds = kinds(&report);
    let to = |target, port: u16| kinds[&format!("{N1} -> {target} tcp/{port}")];
    let unfenced = (FindingKind::Inconclusive, Some("target-report-incomplete"));
    assert_eq!(to(N2, 8_079), unfenced);
    assert_eq!(to(N2, 7_500), unfenced);
    assert_eq!(to(N3, 8_079), (FindingKind::ConfirmedDeny, None));
    assert_eq!(to(N2, 8_080), (FindingKind::ConfirmedAllow, None));
}

#[tokio::test(start_paused = true)]
async fn silence_of_a_target_without_room_for_connections_proves_nothing() {
    let habits = [Habit::Faithful, Habit::Full, Habit::Faithful];
    let report = run_all(habits, Network::new(as_predicted)).await;
    let kinds = kinds(&report);
    let to = |target, port: u16| kinds[&format!("{N1} -> {target} tcp/{port}")];
    let full = (FindingKind::Inconclusive, Some("accept-queue"));
    assert_eq!(to(N2, 8_079), full);
    assert_eq!(to(N2, 8_080), (FindingKind::ConfirmedAllow, None));
    assert_eq!(to(N3, 8_079), (FindingKind::ConfirmedDeny, None));
    let present = report.agents.present.iter();
    let drops: Vec<_> = present.map(|agent| agent.accept_queue_drops).collect();
    assert_eq!(drops, [Some(0), Some(1), Some(0)]);
}

#[tokio::test(start_paused = true)]
async fn where_the_cluster_endpoint_leads_is_in_the_report_of_the_agent_that_said_so() {
    let report = run(Habit::Resolves, Network::new(as_predicted)).await;
    let endpoints = report.agents.present.iter().map(|agent| &agent.endpoint);
    let [Some(resolved), None, None] = endpoints.collect::<Vec<_>>()[..] else {
        panic!("{:?}", report.agents.present)
    };
    assert_eq!(resolved.leads_to, EndpointPath::ControlPlane);
    assert_eq!(resolved.resolution.name, ENDPOINT);
    let text = summary(&report);
    assert!(
        text.contains("control-plane interfaces (10.0.1.10): n1"),
        "{text}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&reachproof_verify::report::json::render(&report).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&fake::schema()).unwrap();
    let errors = validator.iter_errors(&json);
    let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
}

/// What a person sees who asks for no details.
fn summary(report: &Report) -> String {
    let terminal = Terminal {
        width: 100,
        colour: Colour::Plain,
    };
    let view = View {
        terminal,
        details: Details::Summary,
        allowed: Allowed::default(),
    };
    render(report, &view)
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_the_right_proof_confirms_nothing() {
    let all_open = |_: IpAddr, _: IpAddr, _: u16| Fate::Open;
    let report = run(Habit::Stranger, Network::new(all_open)).await;
    let kinds = kinds(&report);
    let peer = kinds[&format!("{N1} -> {N2} tcp/7500")];
    assert_eq!(peer, (FindingKind::Inconclusive, Some("peer-mismatch")));
}

#[tokio::test(start_paused = true)]
async fn results_that_come_sooner_than_they_can_make_everything_of_their_agent_void() {
    let report = run(Habit::Hasty, Network::new(as_predicted)).await;
    let [void] = report.agents.void.as_slice() else {
        panic!("{:?}", report.agents.void);
    };
    assert_eq!(void.name.as_str(), "n1");
    for finding in &report.findings {
        let ends = [finding.flow.source, finding.flow.destination];
        if ends.iter().any(|end| end.to_string() == N1) && !finding.observation.attempts.is_empty()
        {
            let reason = finding.reason.as_ref().map(|reason| reason.as_str());
            assert_eq!(reason, Some("implausible"), "{}", finding.flow);
        }
    }
    let text = summary(&report);
    assert!(
        text.contains("n1: nothing that it reported counts"),
        "{text}"
    );
    let json = reachproof_verify::report::json::render(&report).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["agents"]["void"][0]["because"], "too_soon");
    let validator = jsonschema::validator_for(&fake::schema()).unwrap();
    let errors = validator.iter_errors(&json);
    let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn results_of_another_run_are_dropped() {
    let report = run(Habit::Forger, Network::new(as_predicted)).await;
    for finding in &report.findings {
        if finding.flow.source.to_string() == N1 {
            assert!(finding.observation.attempts.is_empty(), "{}", finding.flow);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_interrupted_cancels_at_its_agents_and_judges_nothing() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let coordinator = fake::coordinator_until("A01", 1, async {
        stopped.await.unwrap();
    })
    .await;
    let site = coordinator.site;
    let mut link = fake::attach(&site, &fake::bearer(&site, "n1", N1.parse().unwrap()))
        .await
        .unwrap();
    let hello = fake::hello("n1", N1.parse().unwrap(), 1);
    link.say(Body::Hello(hello)).await;
    loop {
        let message = link.receive.message().await.unwrap().unwrap();
        if let Some(Order::Assignment(_)) = message.body {
            break;
        }
    }
    stop.send(()).unwrap();
    loop {
        let message = link.receive.message().await.unwrap().unwrap();
        if let Some(Order::Cancel(_)) = message.body {
            break;
        }
    }
    drop(link);
    let error = coordinator.run.await.unwrap().unwrap_err();
    assert!(matches!(error, RunError::Interrupted), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_run_without_agents_names_those_who_should_have_come() {
    let coordinator = coordinator("A01", 2).await;
    let error = coordinator.run.await.unwrap().unwrap_err();
    let RunError::NoAgents { missing, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(missing.len(), 2);
    let text = render_missing(
        &missing,
        Terminal {
            width: 200,
            colour: Colour::Plain,
        },
    );
    assert!(text.contains("is outside the snapshot"), "{text}");
}
