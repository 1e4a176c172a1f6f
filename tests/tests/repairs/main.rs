//! Broken worlds and what is proposed for each: the commands, done to the world, mend it, in the model and in the lab.
//!
//! The worlds are in `tests/broken`; `cargo lab --world tests/broken/NAME.yaml` runs one. `REACHPROOF_BROKEN` is how many
//! are run in the lab, all by default.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use reachproof_lab::world::{Expect, World};
use reachproof_model::class::Classes;
use reachproof_model::describe::Described;
use reachproof_model::diagnosis::{Diagnosis, diagnose};
use reachproof_model::expectation::needs::needs;
use reachproof_model::flow::{Flow, FlowProtocol};
use reachproof_model::matrix::VerdictKind;
use reachproof_model::predict::verdict;
use reachproof_model::repair::Opened;
use reachproof_model::snapshot::Snapshot;
use serde_json::Value;

mod typed;

/// A flow over TCP: source, destination, port.
type Asked = (&'static str, &'static str, u16);

/// Worlds with the flow that is broken; none: the cluster needs what is broken.
const WORLDS: [(&str, Option<Asked>); 12] = [
    ("node-to-control-plane", None),
    ("acl-without-replies", None),
    ("peering-without-route", Some(DATABASE)),
    ("node-egress", None),
    ("control-plane-to-kubelet", None),
    ("acl-without-requests", None),
    ("wrong-group-on-nodes", None),
    ("pod-group-without-dns", None),
    ("additional-group", None),
    ("ipv6-forgotten", None),
    ("fargate-group", None),
    ("blackholed-route", Some(DATABASE)),
];

/// What the worlds with a peering are about.
const DATABASE: Asked = ("10.0.1.20", "10.1.0.10", 5432);

/// Labs that run side by side.
const TOGETHER: usize = 3;

/// Ports that are asked about beside those of the needs.
const PORTS: [u16; 10] = [1, 53, 442, 443, 5432, 7500, 8080, 10250, 32768, 60999];

fn file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("broken");
    folder.join(format!("{name}.yaml"))
}

fn world(name: &str) -> World {
    World::parse(name, &fs::read_to_string(file(name)).unwrap()).unwrap()
}

fn snapshot(world: &World) -> Snapshot {
    let mut described = Described::default();
    for (stem, answer) in world.expand().unwrap().plan.snapshot {
        described.insert(stem, answer);
    }
    Snapshot::decode(&described).unwrap().snapshot
}

/// What is judged: the flow that is asked about, or all that the cluster needs.
fn judged(snapshot: &Snapshot, asked: Option<Asked>) -> Vec<Flow> {
    match asked {
        Some((source, destination, port)) => {
            let ends: [IpAddr; 2] = [source, destination].map(|end| end.parse().unwrap());
            vec![Flow::tcp(ends[0], ends[1], port)]
        }
        None => needs(snapshot).flows().cloned().collect(),
    }
}

/// What is proposed for the first cause, as it is printed.
fn proposed(diagnosis: &Diagnosis) -> Vec<String> {
    let repair = diagnosis.causes[0].remedy.repair().unwrap();
    let commands = repair.changes.iter().map(|change| change.aws_cli());
    commands.collect()
}

fn mended(name: &str, commands: &[String]) -> World {
    let mut mended = world(name);
    for command in commands {
        typed::done(&mut mended, command);
    }
    // What it stated was of the broken world.
    mended.expect = Expect::default();
    mended
}

/// Whether a proposal names that a flow is opened.
fn is_named(classes: &Classes, snapshot: &Snapshot, opened: &[Opened], flow: &Flow) -> bool {
    let name = |address: IpAddr| {
        let class = classes.of(address).map(|id| classes.class(id));
        class.map_or_else(|| address.to_string(), |class| class.name(snapshot))
    };
    let ends = (name(flow.source), name(flow.destination));
    opened.iter().any(|one| {
        (&one.source.name, &one.destination.name) == (&ends.0, &ends.1)
            && one.protocol.number() == flow.protocol.number()
            && flow
                .protocol
                .port()
                .is_some_and(|port| one.ports.iter().any(|range| range.contains(port)))
    })
}

/// Every pair of addresses on these ports and those of the needs, over TCP and UDP.
fn everything(world: &World, snapshot: &Snapshot, needed: &[Flow]) -> Vec<Flow> {
    let endpoints = world.expand().unwrap().plan.endpoints.into_iter();
    let addresses: BTreeSet<IpAddr> = endpoints.flat_map(|one| one.addresses).collect();
    let mut ports: BTreeSet<u16> = PORTS.into_iter().collect();
    ports.extend(needed.iter().filter_map(|flow| flow.protocol.port()));
    let mut flows = Vec::new();
    for source in &addresses {
        for destination in addresses
            .iter()
            .filter(|one| *one != source && one.is_ipv4() == source.is_ipv4())
        {
            for port in &ports {
                let mut flow = Flow::tcp(*source, *destination, *port);
                flow.source_kind = snapshot.source_kind(*source);
                flows.push(flow.clone());
                flow.protocol = FlowProtocol::Udp { port: *port };
                flows.push(flow);
            }
        }
    }
    flows
}

/// Whether two flows are between the same classes on the same port, whoever sends them: whoever wants one wants the other.
fn is_same(classes: &Classes, one: &Flow, other: &Flow) -> bool {
    let ends = |flow: &Flow| (classes.of(flow.source), classes.of(flow.destination));
    one.protocol == other.protocol && ends(one) == ends(other)
}

#[test]
fn every_first_proposal_mends_its_world_and_opens_what_it_names() {
    for (name, asked) in WORLDS {
        let before = snapshot(&world(name));
        let flows = judged(&before, asked);
        let needed: Vec<Flow> = needs(&before).flows().cloned().collect();
        let found = diagnose(&before, &flows, &needed);
        assert_eq!(found.causes.len(), 1, "{name}: {:?}", found.causes);
        let after = snapshot(&mended(name, &proposed(&found)));
        let left = diagnose(&after, &flows, &needed);
        assert_eq!((left.now.stopped, left.now.unknown), (0, 0), "{name}");
        let classes = Classes::new(&before);
        let opened = &found.causes[0].remedy.repair().unwrap().besides;
        for flow in everything(&world(name), &before, &needed) {
            let kind = |snapshot| VerdictKind::from(&verdict(snapshot, &flow));
            let (was, is) = (kind(&before), kind(&after));
            let is_wanted = || {
                flows
                    .iter()
                    .chain(&needed)
                    .any(|one| is_same(&classes, one, &flow))
            };
            assert!(
                was == is || is_wanted() || is_named(&classes, &before, opened, &flow),
                "{name}: {flow} was {was:?} and is {is:?}: {opened:?}"
            );
        }
    }
}

/// Exit code and report of a run in the lab.
fn run(world: &Path) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_reachproof-lab"))
        .args(["--output", "json", "--world"])
        .arg(world)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        report.unwrap_or_else(|error| panic!("{error}: {said}")),
    )
}

/// Kind of the finding of a flow.
fn kind(report: &Value, (source, destination, port): Asked) -> String {
    let mut findings = report["findings"].as_array().unwrap().iter();
    let found = findings.find(|finding| {
        let flow = &finding["flow"];
        flow["source"] == source && flow["destination"] == destination && flow["port"] == port
    });
    found.unwrap()["kind"].as_str().unwrap().to_owned()
}

/// Runs the broken world, does what its report proposes (for a flow that no need is: what `check` proposes), runs it again.
fn breaks_and_is_mended(name: &str, asked: Option<Asked>) {
    let (exit, report) = run(&file(name));
    let commands = match asked {
        None => {
            assert_eq!(exit, Some(1), "{name}");
            let commands = report["causes"][0]["aws_cli"].as_array().unwrap().iter();
            commands
                .map(|one| one.as_str().unwrap().to_owned())
                .collect()
        }
        Some(asked) => {
            assert_eq!(kind(&report, asked), "confirmed_deny", "{name}");
            let before = snapshot(&world(name));
            proposed(&diagnose(&before, &judged(&before, Some(asked)), &[]))
        }
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mended.yaml");
    fs::write(&path, mended(name, &commands).to_yaml().unwrap()).unwrap();
    let (exit, report) = run(&path);
    assert_eq!(
        exit,
        Some(0),
        "{name} after {commands:?}: {:#}",
        report["causes"]
    );
    if let Some(asked) = asked {
        assert_eq!(kind(&report, asked), "confirmed_allow", "{name}");
    }
}

#[test]
#[ignore = "two labs for each of twelve worlds: two minutes"]
fn what_is_proposed_first_mends_the_lab() {
    let count = env::var("REACHPROOF_BROKEN").ok();
    let count = count.map_or(WORLDS.len(), |count| count.parse().unwrap());
    for some in WORLDS[..count.min(WORLDS.len())].chunks(TOGETHER) {
        thread::scope(|scope| {
            for (name, asked) in some {
                scope.spawn(|| breaks_and_is_mended(name, *asked));
            }
        });
    }
}
