//! Random worlds: small, drawn from a seed, with every feature that a world file has.
//!
//! Model and kernel are two implementations of the same rules, written apart. A random world asks both the same
//! questions, where nobody thought of an example.

#[cfg(test)]
mod tests;

mod flows;
mod groups;
mod hosts;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reachproof_lab::world::notation::RouteTarget;
use reachproof_lab::world::{Expect, Peering, RouteTable, Subnet, Vpc, World, WorldError};

pub use flows::{RandomFlow, RandomTraffic};

/// A world with questions about it.
#[derive(Debug, Clone)]
pub struct RandomWorld {
    /// What it was drawn from: the same seed gives the same world and flows.
    pub seed: u64,
    /// The world.
    pub world: World,
    /// Connections to ask model and kernel about.
    pub flows: Vec<RandomFlow>,
}

/// Draws a world with `flows` questions from `seed`.
///
/// # Errors
/// [`WorldError`] if the world does not expand, which would be a fault of the generator.
pub fn random_world(seed: u64, flows: usize) -> Result<RandomWorld, WorldError> {
    let mut draw = Draw {
        rng: StdRng::seed_from_u64(seed),
    };
    let features = Features::draw(&mut draw);
    let mut world = empty_world(&features, &mut draw);
    groups::add_groups(&mut world, &features, &mut draw);
    hosts::add_hosts(&mut world, &features, &mut draw);
    // Read back from text: what is checked is what a file could say.
    let world = World::parse(&format!("random-{seed}"), &world.to_yaml()?)?;
    let endpoints = world.expand()?.plan.endpoints;
    let flows = flows::draw_flows(&endpoints, flows, &mut draw);
    Ok(RandomWorld { seed, world, flows })
}

/// Chance, from the seed alone.
struct Draw {
    rng: StdRng,
}

impl Draw {
    /// True in `percent` of a hundred cases.
    fn chance(&mut self, percent: u8) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// A number of `range`.
    fn number(&mut self, range: std::ops::Range<usize>) -> usize {
        self.rng.random_range(range)
    }

    /// One of `choices`, `None` if there are none.
    fn pick<'c, T>(&mut self, choices: &'c [T]) -> Option<&'c T> {
        if choices.is_empty() {
            return None;
        }
        choices.get(self.rng.random_range(0..choices.len()))
    }
}

/// What a world has.
#[derive(Debug, Clone)]
struct Features {
    /// IPv6 beside IPv4.
    dual_stack: bool,
    /// A second VPC, peered.
    peered: bool,
    /// Pods on a second interface with groups of their own.
    custom_networking: bool,
    /// Network ACLs that let only some replies through. Not in peered worlds: there the CNI chooses the source port, so
    /// that nobody could try a certain one.
    half_open_acls: bool,
    /// A pod with a branch interface.
    branch: bool,
}

impl Features {
    fn draw(draw: &mut Draw) -> Self {
        let peered = draw.chance(50);
        Features {
            dual_stack: draw.chance(50),
            peered,
            custom_networking: draw.chance(25),
            half_open_acls: !peered && draw.chance(70),
            branch: draw.chance(50),
        }
    }
}

/// VPCs, subnets and routes; groups, lists and hosts come later.
fn empty_world(features: &Features, draw: &mut Draw) -> World {
    let mut vpcs = BTreeMap::from([("main".to_owned(), vpc(0, &["a", "b", "c"], features))]);
    let mut peerings = BTreeMap::new();
    let mut main_routes = BTreeMap::new();
    let mut route_tables = BTreeMap::new();
    if features.peered {
        vpcs.insert("far".to_owned(), vpc(1, &["f"], features));
        let peering = Peering {
            requester: "main".to_owned(),
            accepter: "far".to_owned(),
        };
        peerings.insert("link".to_owned(), peering);
        let mut far_routes = BTreeMap::new();
        // A missing route on one side is a deny of its own: `route: none` or `return-route: none`.
        let over = || RouteTarget::Peering("link".to_owned());
        if draw.chance(90) {
            main_routes.extend(
                vpc_cidrs(1, features)
                    .into_iter()
                    .map(|cidr| (cidr, over())),
            );
        }
        if draw.chance(90) {
            far_routes.extend(
                vpc_cidrs(0, features)
                    .into_iter()
                    .map(|cidr| (cidr, over())),
            );
        }
        route_tables.insert("far".to_owned(), table("far", far_routes));
    }
    if draw.chance(30) {
        main_routes.insert(cidr(Ipv4Addr::UNSPECIFIED.into(), 0), RouteTarget::Nat);
    }
    route_tables.insert("main".to_owned(), table("main", main_routes));
    World {
        about: "A random world.".to_owned(),
        lesson: String::new(),
        vpcs,
        peerings,
        prefix_lists: BTreeMap::new(),
        security_groups: BTreeMap::new(),
        acls: BTreeMap::new(),
        route_tables,
        cluster: hosts::cluster(features),
        cni: hosts::cni(features, draw),
        hosts: BTreeMap::new(),
        fargate: BTreeMap::new(),
        coordinator: None,
        drift: None,
        expect: Expect::default(),
        expect_with_api_servers: None,
    }
}

fn table(vpc: &str, routes: BTreeMap<IpNet, RouteTarget>) -> RouteTable {
    RouteTable {
        vpc: Some(vpc.to_owned()),
        main: true,
        routes,
    }
}

fn vpc(number: u8, subnets: &[&str], features: &Features) -> Vpc {
    let subnets = subnets.iter().zip(1..).map(|(name, place): (&&str, u8)| {
        let mut cidrs = vec![cidr(Ipv4Addr::new(10, number, place, 0).into(), 24)];
        if features.dual_stack {
            cidrs.push(cidr(v6(number, place, 0), 64));
        }
        let zone = if place == 1 { 'a' } else { 'b' };
        (
            (*name).to_owned(),
            Subnet {
                cidrs,
                zone,
                acl: None,
                routes: None,
            },
        )
    });
    Vpc {
        subnets: subnets.collect(),
        cidrs: vpc_cidrs(number, features),
    }
}

fn vpc_cidrs(number: u8, features: &Features) -> Vec<IpNet> {
    let mut cidrs = vec![cidr(Ipv4Addr::new(10, number, 0, 0).into(), 16)];
    if features.dual_stack {
        cidrs.push(cidr(v6(number, 0, 0), 56));
    }
    cidrs
}

/// An IPv6 address of VPC `number`, its /56 by `number`, its /64 by `place`.
fn v6(number: u8, place: u8, host: u16) -> IpAddr {
    let fourth = u16::from(number) << 8 | u16::from(place);
    Ipv6Addr::new(0x2600, 0x1f14, 0xabc, fourth, 0, 0, 0, host).into()
}

/// The network of `address`; a prefix that is too long is taken as the longest.
fn cidr(address: IpAddr, length: u8) -> IpNet {
    IpNet::new(address, length).map_or_else(|_| IpNet::from(address), |net| net.trunc())
}
