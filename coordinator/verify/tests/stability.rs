//! Changes at random instants of whole runs: each is marked, nothing that it could touch is confirmed, the rest stands.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reads its files and fails by panicking"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake::{Agent, Fate, Habit, Network, coordinator_settling};
use reachproof_model::describe::Described;
use reachproof_model::finding::{Finding, FindingKind};
use reachproof_model::flow::Flow;
use reachproof_model::predict::verdict;
use reachproof_model::prediction::Verdict;
use reachproof_model::snapshot::Snapshot;
use reachproof_model::stability::StabilityState;
use reachproof_verify::Report;
use reachproof_verify::source::{WorldError, WorldReading, WorldSource};
use serde_json::{Value, json};
use tokio::task::JoinSet;

mod fake;

/// Kinds of changes.
const KINDS: u64 = 10;

/// Runs with a change.
const CHANGES: u64 = 100;

/// Runs at one time.
const RUNS_AT_ONCE: usize = 20;

/// The agents: host n1 lets everything out and nothing in, n2 and n3 let tcp/8080 in and nothing out (SEMANTICS J).
const AGENTS: [(&str, &str); 3] = [
    ("n1", "10.0.1.20"),
    ("n2", "10.0.2.20"),
    ("n3", "10.0.1.40"),
];

/// Addresses of the control plane.
const CONTROL_PLANE: [&str; 2] = ["10.0.1.10", "10.0.2.10"];

/// What happens to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// The group of n2 and n3 admits 8080 no more.
    RuleRevoked,
    /// The group of n2 and n3 admits this port as well.
    RuleAdded(u16),
    /// The interface with this address is replaced by another one with the same address.
    InterfaceReplaced(&'static str),
    /// The interface with this address is gone.
    InterfaceGone(&'static str),
    /// The interface with this address is being detached: no gate shows it.
    InterfaceDetached(&'static str),
    /// The interface with this address carries the group of n1.
    GroupsExchanged(&'static str),
    /// An update of the cluster is in progress.
    ClusterUpdating,
    /// An update of the cluster began and ended.
    ClusterUpdated,
}

impl Change {
    /// One of every kind in turn; `draw` chooses where.
    fn of(number: u64, draw: u64) -> Self {
        let pick = |addresses: [&'static str; 2]| addresses[usize::from(draw & 1 == 1)];
        let nodes = pick([AGENTS[1].1, AGENTS[2].1]);
        match number % KINDS {
            0 => Self::RuleRevoked,
            1 => Self::RuleAdded([7_500, 8_079, 8_081][usize::try_from(draw % 3).unwrap()]),
            2 => Self::InterfaceReplaced(nodes),
            3 => Self::InterfaceReplaced(pick(CONTROL_PLANE)),
            4 => Self::InterfaceGone(pick(CONTROL_PLANE)),
            5 => Self::InterfaceGone(nodes),
            6 => Self::InterfaceDetached(nodes),
            7 => Self::GroupsExchanged(nodes),
            8 => Self::ClusterUpdating,
            _ => Self::ClusterUpdated,
        }
    }

    /// Whether the change could make a difference to `flow`: said here from what the change is, not by the model.
    fn could_touch(self, flow: &Flow) -> bool {
        let ends = [flow.source, flow.destination].map(|end| end.to_string());
        let port = flow.protocol.port();
        let to_d = [AGENTS[1].1, AGENTS[2].1].contains(&ends[1].as_str());
        let from_d = [AGENTS[1].1, AGENTS[2].1].contains(&ends[0].as_str());
        match self {
            // Nothing leaves n2 and n3, whatever is admitted there.
            Self::RuleRevoked => to_d && !from_d && port == Some(8_080),
            Self::RuleAdded(added) => to_d && !from_d && port == Some(added),
            Self::InterfaceReplaced(address)
            | Self::InterfaceGone(address)
            | Self::InterfaceDetached(address)
            | Self::GroupsExchanged(address) => ends.iter().any(|end| end == address),
            Self::ClusterUpdating | Self::ClusterUpdated => true,
        }
    }

    /// The world afterwards.
    fn applied(self, before: &Described) -> Described {
        let mut world = before.clone();
        match self {
            Self::RuleRevoked => edit(&mut world, "describe-security-groups", |answer| {
                group(answer, "D")["IpPermissions"] = json!([]);
            }),
            Self::RuleAdded(port) => edit(&mut world, "describe-security-groups", |answer| {
                let rules = group(answer, "D")["IpPermissions"].as_array_mut().unwrap();
                rules.push(json!({
                    "IpProtocol": "tcp", "FromPort": port, "ToPort": port,
                    "IpRanges": [{"CidrIp": "10.0.0.0/16"}],
                    "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": [],
                }));
            }),
            Self::InterfaceReplaced(address) => interfaces(&mut world, address, |found| {
                found["NetworkInterfaceId"] = json!("eni-00000000000000000");
            }),
            Self::InterfaceGone(address) => {
                edit(&mut world, "describe-network-interfaces", |answer| {
                    let all = answer["NetworkInterfaces"].as_array_mut().unwrap();
                    all.retain(|found| found["PrivateIpAddress"] != address);
                });
            }
            Self::InterfaceDetached(address) => interfaces(&mut world, address, |found| {
                found["Status"] = json!("available");
            }),
            Self::GroupsExchanged(address) => {
                let group = group_id(before, "S");
                interfaces(&mut world, address, |found| {
                    found["Groups"] = json!([{"GroupId": group, "GroupName": "S"}]);
                });
            }
            Self::ClusterUpdating => edit(&mut world, "describe-cluster", |answer| {
                answer["cluster"]["status"] = json!("UPDATING");
            }),
            Self::ClusterUpdated => edit(&mut world, "describe-cluster", |answer| {
                answer["cluster"]["platformVersion"] = json!("eks.8");
            }),
        }
        if matches!(self, Self::RuleRevoked | Self::RuleAdded(_)) {
            sync_rules(self, &mut world, &group_id(before, "D"));
        }
        world
    }
}

/// Changes one answer of a world.
fn edit(world: &mut Described, stem: &str, change: impl FnOnce(&mut Value)) {
    let mut answer = world.get(stem).unwrap().clone();
    change(&mut answer);
    world.insert(stem, answer);
}

/// Changes the interfaces with this primary address.
fn interfaces(world: &mut Described, address: &str, change: impl Fn(&mut Value)) {
    edit(world, "describe-network-interfaces", |answer| {
        for found in answer["NetworkInterfaces"].as_array_mut().unwrap() {
            if found["PrivateIpAddress"] == address {
                change(found);
            }
        }
    });
}

/// The group of this description.
fn group<'a>(answer: &'a mut Value, description: &str) -> &'a mut Value {
    let groups = answer["SecurityGroups"].as_array_mut().unwrap();
    groups
        .iter_mut()
        .find(|group| group["Description"] == description)
        .unwrap()
}

/// Its id.
fn group_id(world: &Described, description: &str) -> String {
    let mut answer = world.get("describe-security-groups").unwrap().clone();
    let id = &group(&mut answer, description)["GroupId"];
    id.as_str().unwrap().to_owned()
}

/// Lets the list of rules say what the groups say.
fn sync_rules(change: Change, world: &mut Described, group: &str) {
    edit(world, "describe-security-group-rules", |answer| {
        let rules = answer["SecurityGroupRules"].as_array_mut().unwrap();
        let own = |rule: &Value| rule["GroupId"] == group && rule["IsEgress"] == false;
        if let Change::RuleAdded(port) = change {
            let mut added = rules.iter().find(|rule| own(rule)).unwrap().clone();
            added["SecurityGroupRuleId"] = json!("sgr-00000000000000000");
            added["FromPort"] = json!(port);
            added["ToPort"] = json!(port);
            rules.push(added);
        } else {
            rules.retain(|rule| !own(rule));
        }
    });
}

/// A world that changes at one instant, counted in what is asked of its network.
struct Scripted {
    before: (Described, Snapshot),
    after: (Described, Snapshot),
    clock: Mutex<Clock>,
}

/// How far a scripted world is.
struct Clock {
    /// Questions of the network so far.
    asked: u64,
    /// Readings so far.
    readings: u64,
    /// Questions after which the change happens; it has happened at the second reading in any case.
    instant: u64,
}

impl Scripted {
    fn new(before: &Described, change: Option<Change>, instant: u64) -> Self {
        let after = change.map_or_else(|| before.clone(), |change| change.applied(before));
        let decoded = |world: &Described| Snapshot::decode(world).unwrap().snapshot;
        Self {
            before: (before.clone(), decoded(before)),
            after: (after.clone(), decoded(&after)),
            clock: Mutex::new(Clock {
                asked: 0,
                readings: 0,
                instant,
            }),
        }
    }

    /// What the network does with a connection at this moment: as the rules of this moment say.
    fn fate(&self, source: IpAddr, target: IpAddr, port: u16) -> Fate {
        let mut clock = self.clock.lock().unwrap();
        let world = if clock.asked < clock.instant {
            &self.before
        } else {
            &self.after
        };
        clock.asked += 1;
        match verdict(&world.1, &Flow::tcp(source, target, port)) {
            Verdict::Allow { .. } => Fate::Open,
            Verdict::Deny(_)
            | Verdict::Partial { .. }
            | Verdict::Unknown(_)
            | Verdict::Bypass(_)
            | Verdict::Exempt(_) => Fate::Silent,
        }
    }
}

impl WorldSource for Scripted {
    fn read(&self) -> Result<WorldReading, WorldError> {
        let mut clock = self.clock.lock().unwrap();
        clock.readings += 1;
        let world = if clock.readings == 1 {
            &self.before
        } else {
            &self.after
        };
        Ok(WorldReading::saved(world.0.clone()))
    }
}

/// The world A01.
fn base() -> Described {
    let vector = include_str!("../../../tests/vectors/A01.json");
    let mut vector: Value = serde_json::from_str(vector).unwrap();
    let Value::Object(answers) = vector["snapshot"].take() else {
        panic!("a vector has a snapshot");
    };
    Described::from(answers)
}

/// One whole run over a scripted world; the number of questions that its network was asked, too.
async fn run(world: Scripted, settle: Duration) -> (Report, u64) {
    let world = Arc::new(world);
    let coordinator = coordinator_settling(Arc::<Scripted>::clone(&world), settle, 3).await;
    let site = Arc::new(coordinator.site);
    let asked = Arc::clone(&world);
    let network = Network::new(move |source, target, port| asked.fate(source, target, port));
    let mut agents = JoinSet::new();
    for (name, address) in AGENTS {
        let agent = Agent {
            name,
            address: address.parse().unwrap(),
            habit: Habit::Faithful,
            network: network.clone(),
        };
        agents.spawn(agent.live(Arc::clone(&site)));
    }
    let report = coordinator.run.await.unwrap().unwrap();
    let asked = world.clock.lock().unwrap().asked;
    (report, asked)
}

/// What a sequence of pseudo-random numbers has at a place (splitmix64).
fn draw(place: u64) -> u64 {
    let mut mixed = place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Whether a finding says that the network did as predicted.
fn is_confirmed(kind: FindingKind) -> bool {
    match kind {
        FindingKind::ConfirmedAllow
        | FindingKind::ConfirmedDeny
        | FindingKind::ConfirmedPartial => true,
        FindingKind::ContradictionOpen
        | FindingKind::ContradictionClosed
        | FindingKind::Inconclusive
        | FindingKind::Bypass
        | FindingKind::NotObserved => false,
    }
}

/// What a finding is called in the run without a change.
type Baseline = BTreeMap<Flow, FindingKind>;

/// The findings of a run without a change.
fn baseline(quiet: &Report) -> Baseline {
    let findings = quiet.findings.iter();
    findings
        .map(|finding| (finding.flow.clone(), finding.kind))
        .collect()
}

/// How the findings of all runs with a change came out.
#[derive(Debug, Default)]
struct Tally {
    touched: usize,
    kept: usize,
    control_lost: usize,
}

impl Tally {
    /// Checks one finding of a run with `change`.
    fn count(&mut self, change: Change, finding: &Finding, baseline: &Baseline) {
        let reason = finding.reason.as_ref().map(|reason| reason.as_str());
        let place = || format!("{change:?}: {} {:?} {reason:?}", finding.flow, finding.kind);
        if change.could_touch(&finding.flow) {
            self.touched += 1;
            assert!(!is_confirmed(finding.kind), "{}", place());
            assert!(!finding.kind.is_contradiction(), "{}", place());
        } else if baseline[&finding.flow] == finding.kind {
            self.kept += 1;
        } else {
            // Silence needs a control, and what the change cut off before it was tried is none.
            self.control_lost += 1;
            assert_eq!(
                baseline[&finding.flow],
                FindingKind::ConfirmedDeny,
                "{}",
                place()
            );
            assert_eq!(finding.kind, FindingKind::Inconclusive, "{}", place());
            assert!(
                matches!(
                    reason,
                    Some("no-control" | "source-unheard" | "target-unheard" | "address-unshown")
                ),
                "{}",
                place()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_changes_at_random_instants_each_is_marked_and_confirms_nothing_it_could_touch()
 {
    let base = base();
    let (quiet, asked) = run(Scripted::new(&base, None, 0), Duration::ZERO).await;
    assert_eq!(quiet.stability.state, StabilityState::Stable);
    assert!(asked > 0);
    let baseline = baseline(&quiet);
    assert!(
        baseline
            .values()
            .filter(|kind| is_confirmed(**kind))
            .count()
            >= 6
    );

    let mut tally = Tally::default();
    let numbers: Vec<u64> = (0..CHANGES).collect();
    for numbers in numbers.chunks(RUNS_AT_ONCE) {
        let mut runs = JoinSet::new();
        for number in numbers.iter().copied() {
            let change = Change::of(number, draw(2 * number));
            // Up to `asked`: after the last probe, before the second reading.
            let world = Scripted::new(&base, Some(change), draw(2 * number + 1) % (asked + 1));
            runs.spawn(async move { (change, run(world, Duration::ZERO).await.0) });
        }
        while let Some(ended) = runs.join_next().await {
            let (change, report) = ended.unwrap();
            assert_ne!(report.stability.state, StabilityState::Stable, "{change:?}");
            for finding in &report.findings {
                tally.count(change, finding, &baseline);
            }
        }
    }
    println!("{tally:?}");
    assert!(tally.touched > 300 && tally.kept > 500, "{tally:?}");
    assert!(tally.control_lost < tally.kept / 5, "{tally:?}");
}

/// A settle time that no test has to wait for.
const SETTLE: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn a_change_within_the_settle_time_marks_the_run_and_confirms_nothing_it_could_touch() {
    let base = base();
    let (quiet, _) = run(Scripted::new(&base, None, 0), SETTLE).await;
    assert_eq!(quiet.stability.state, StabilityState::Stable);
    assert_eq!(quiet.run.readings.len(), 3);

    let mut tally = Tally::default();
    let mut runs = JoinSet::new();
    for number in 0..KINDS {
        let change = Change::of(number, draw(number));
        let changed = Scripted::new(&change.applied(&base), None, 0);
        // The world changes after the first reading, before the second.
        let world = Scripted::new(&base, Some(change), 0);
        runs.spawn(async move {
            let (quiet, _) = run(changed, Duration::ZERO).await;
            (change, baseline(&quiet), run(world, SETTLE).await.0)
        });
    }
    while let Some(ended) = runs.join_next().await {
        let (change, baseline, report) = ended.unwrap();
        assert_ne!(report.stability.state, StabilityState::Stable, "{change:?}");
        assert!(!report.stability.settling.is_empty(), "{change:?}");
        assert!(report.stability.changed.is_empty(), "{change:?}");
        for finding in &report.findings {
            tally.count(change, finding, &baseline);
        }
    }
    assert!(tally.touched > 0 && tally.kept > 0, "{tally:?}");
}
