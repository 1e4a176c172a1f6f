//! The commonest accident: rules vanish, and with them everything that could have been heard of a target but its own
//! stream. What closed must be found.
//!
//! `REACHPROOF_SENSITIVITY_WORLDS` says how many of the worlds are played, all by default.

use std::collections::BTreeSet;
use std::error::Error;
use std::process::ExitCode;

use reachproof_lab::world::notation::Rule;
use reachproof_lab::world::{
    AgentPresence, Drift, Host, HostRole, Interface, InterfaceKind, SecurityGroup, World,
};
use reachproof_tests::binaries::build;
use reachproof_tests::harness::{Case, CaseResult, run_cases};
use reachproof_tests::play::{Play, Seen, WAIT, summary};
use reachproof_tests::truth::{Truth, ask, lies};

/// Worlds in which agents can report through the VPC.
const WORLDS: [&str; 5] = ["default", "node-sg", "terraform", "pod-sg", "dual-stack"];

/// Groups that lose their rules, in each world.
const GROUPS: usize = 3;

/// Groups that a world gets where it has too few of its own, with the last numbers of their hosts' addresses.
const ADDED: [(&str, u8); 3] = [("red", 100), ("green", 110), ("blue", 120)];

/// Of a hundred flows that closed, this many are found.
const FOUND_MIN: usize = 95;

fn main() -> ExitCode {
    run_cases(
        || Ok(build()?),
        &[Case {
            name: "vanished_rules_are_found_although_nobody_is_heard_any_more",
            ignored: None,
            run: find,
        }],
    )
}

#[expect(clippy::print_stdout, reason = "the figures are what is asked for")]
fn find() -> CaseResult {
    let (mut found, mut all) = (0, 0);
    for name in WORLDS.into_iter().take(worlds()?) {
        let (one, whole) = find_in(name)?;
        println!("  {name}: {one} of {whole} closed flows are found");
        found += one;
        all += whole;
    }
    println!("  {found} of {all} closed flows are found");
    if all > 0 && found * 100 >= all * FOUND_MIN {
        return Ok(());
    }
    Err(format!("only {found} of {all} closed flows are found").into())
}

/// How many worlds are played.
fn worlds() -> Result<usize, Box<dyn Error>> {
    match std::env::var("REACHPROOF_SENSITIVITY_WORLDS") {
        Ok(text) => Ok(text.parse()?),
        Err(_) => Ok(WORLDS.len()),
    }
}

/// Plays one world: how many of the flows that closed were found, and how many there are.
#[expect(clippy::print_stdout, reason = "the figures are what is asked for")]
fn find_in(name: &str) -> Result<(usize, usize), Box<dyn Error>> {
    let mut world = World::builtin(name)?;
    add_coordinator(&mut world)?;
    let groups = choose_groups(&mut world)?;
    let mut drifted = world.security_groups.clone();
    drifted.retain(|name, _| groups.contains(name));
    drifted.values_mut().for_each(|group| group.ingress.clear());
    world.drift = Some(Drift {
        security_groups: drifted,
        acls: std::collections::BTreeMap::new(),
    });
    let mut play = Play::open(&world, WAIT)?;
    play.start_agents(&[])?;
    let ended = play.end()?;
    let lies = lies(&ended.stage, &ended.findings)?;
    if !lies.is_empty() {
        return Err(format!("{name}: {}", lies.join("\n")).into());
    }
    let allowed: Vec<&Seen> = ended
        .findings
        .iter()
        .filter(|finding| finding.is_allowed() && finding.flow.protocol == "tcp")
        .filter(|finding| !["bypass", "not_observed"].contains(&finding.kind.as_str()))
        .collect();
    let truths = ask(&ended.stage, &allowed)?;
    let closed: Vec<&Seen> = allowed
        .into_iter()
        .zip(truths)
        .filter(|(_, truth)| *truth == Truth::Closed)
        .map(|(finding, _)| finding)
        .collect();
    println!(
        "  {name} without {groups:?}: {}",
        summary(closed.iter().copied())
    );
    for finding in &closed {
        let doubted = finding.kind == "inconclusive" && finding.reason.is_some();
        if finding.kind != "contradiction_closed" && !doubted {
            return Err(format!("{name}: {finding}").into());
        }
    }
    let found = closed
        .iter()
        .filter(|finding| finding.kind == "contradiction_closed");
    Ok((found.count(), closed.len()))
}

/// Gives the world a host that everybody may report to.
fn add_coordinator(world: &mut World) -> CaseResult {
    add_group(world, "ops", "tcp 7443 from 10.0.0.0/16")?;
    let subnet = world.cluster.subnets.first().ok_or("no subnet")?.clone();
    add_host(world, "ops", "ops", &subnet, 200)?;
    if let Some(host) = world.hosts.get_mut("ops") {
        host.agent = AgentPresence::None;
    }
    world.coordinator = Some("ops".to_owned());
    Ok(())
}

/// Three groups that the control plane's interfaces do not carry: the world's own, then further ones with two hosts each.
fn choose_groups(world: &mut World) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let mut kept: BTreeSet<&String> = world.cluster.additional_groups.iter().collect();
    kept.insert(&world.cluster.security_group);
    let own = world
        .security_groups
        .keys()
        .filter(|name| !kept.contains(name) && *name != "ops");
    let mut chosen: BTreeSet<String> = own.take(GROUPS).cloned().collect();
    for (name, number) in ADDED {
        if chosen.len() < GROUPS {
            add_group(world, name, "tcp 7500 from 10.0.0.0/16")?;
            let subnets = world.cluster.subnets.clone();
            for (place, subnet) in subnets.iter().take(2).enumerate() {
                let number = number.saturating_add(u8::try_from(place)?);
                add_host(world, &format!("{name}-{place}"), name, subnet, number)?;
            }
            chosen.insert(name.to_owned());
        }
    }
    Ok(chosen)
}

fn add_group(world: &mut World, name: &str, ingress: &str) -> CaseResult {
    let group = SecurityGroup {
        vpc: None,
        ingress: vec![Rule::try_from(ingress.to_owned())?],
        egress: vec![Rule::try_from("all to 0.0.0.0/0".to_owned())?],
    };
    world.security_groups.insert(name.to_owned(), group);
    Ok(())
}

/// Adds an instance with one interface whose address ends with `number`.
fn add_host(world: &mut World, name: &str, group: &str, subnet: &str, number: u8) -> CaseResult {
    let mut vpcs = world.vpcs.values();
    let found = vpcs.find_map(|vpc| vpc.subnets.get(subnet));
    let cidrs = found
        .map(|subnet| subnet.cidrs.as_slice())
        .unwrap_or_default();
    let network = cidrs.iter().find_map(|cidr| match cidr.network() {
        std::net::IpAddr::V4(address) => Some(address.octets()),
        std::net::IpAddr::V6(_) => None,
    });
    let [a, b, c, _] = network.ok_or("the subnet has no addresses of IPv4")?;
    let interface = Interface {
        subnet: subnet.to_owned(),
        groups: Some(vec![group.to_owned()]),
        addresses: vec![std::net::Ipv4Addr::new(a, b, c, number).into()],
        prefixes: Vec::new(),
        kind: InterfaceKind::Interface,
    };
    let host = Host {
        role: HostRole::Instance,
        node_group: None,
        interfaces: vec![interface],
        pods: std::collections::BTreeMap::new(),
        agent: AgentPresence::Running,
    };
    world.hosts.insert(name.to_owned(), host);
    Ok(())
}
