//! Tests of the generator.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use super::*;
use reachproof_lab::world::EnforcingMode;

/// Flows of each world in these tests.
const FLOWS: usize = 20;

#[test]
fn one_seed_gives_one_world() {
    let (first, second) = (
        random_world(7, FLOWS).unwrap(),
        random_world(7, FLOWS).unwrap(),
    );
    assert_eq!(first.world, second.world);
    assert_eq!(first.flows, second.flows);
    assert_ne!(first.world, random_world(8, FLOWS).unwrap().world);
}

#[test]
fn every_seed_gives_a_world_that_expands_and_all_the_flows() {
    for seed in 0..200 {
        let random = random_world(seed, FLOWS).unwrap_or_else(|error| panic!("{seed}: {error}"));
        assert_eq!(random.flows.len(), FLOWS, "{seed}");
    }
}

#[test]
fn thirty_seeds_have_every_feature() {
    let worlds: Vec<World> = (0..30)
        .map(|seed| random_world(seed, 1).unwrap().world)
        .collect();
    let seen = |what: fn(&World) -> bool| worlds.iter().filter(|world| what(world)).count();
    let pods = |world: &World| {
        world
            .hosts
            .values()
            .flat_map(|host| host.pods.clone())
            .collect::<Vec<_>>()
    };
    let counts = [
        seen(|world| !world.peerings.is_empty()),
        seen(|world| !world.acls.is_empty()),
        seen(|world| world.cni.external_snat),
        seen(|world| world.cni.custom_networking),
        seen(|world| world.cni.pod_security_groups == EnforcingMode::Standard),
        seen(|world| !world.cni.exclude_snat_cidrs.is_empty()),
        worlds
            .iter()
            .filter(|world| pods(world).iter().any(|(_, pod)| pod.branch.is_some()))
            .count(),
        worlds
            .iter()
            .filter(|world| {
                pods(world)
                    .iter()
                    .any(|(name, _)| name.starts_with("prefix"))
            })
            .count(),
        seen(|world| world.vpcs.values().any(|vpc| vpc.cidrs.len() > 1)),
        seen(|world| world.fargate.values().any(|pod| pod.groups.is_some())),
        seen(|world| {
            world
                .cluster
                .node_groups
                .values()
                .any(|group| group.launch_template_groups.is_some())
        }),
    ];
    assert!(counts.iter().all(|count| *count >= 3), "{counts:?}");
}
