//! Random plans against random policies, and a second opinion on what may pass.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use reachproof_agent::{policy::Policy, wire::Assigned};
use reachproof_proto::v1;

/// IPv4 addresses that nobody may reach, and some that one may.
const CHOSEN_V4: [[u8; 4]; 12] = [
    [127, 0, 0, 1],
    [127, 255, 255, 255],
    [169, 254, 169, 254],
    [169, 254, 170, 23],
    [0, 0, 0, 0],
    [224, 0, 0, 1],
    [255, 255, 255, 255],
    [10, 0, 0, 1],
    [10, 0, 255, 255],
    [172, 20, 0, 10],
    [126, 255, 255, 255],
    [128, 0, 0, 0],
];

/// Beginnings of IPv6 addresses that hide an IPv4 address, or are denied, or are ordinary.
const CHOSEN_V6: [&str; 13] = [
    "::",
    "::ffff:0:0",
    "::ffff:0:0:0",
    "64:ff9b::",
    "64:ff9b:1::",
    "2002::",
    "2001::",
    "fe80::",
    "fec0::",
    "ff02::",
    "fd00:ec2::",
    "2600:1f14:abc::",
    "2600:1f14:abc::5efe:0:0",
];

fn address_v4() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        select(CHOSEN_V4.to_vec()).prop_map(Ipv4Addr::from),
        any::<u32>().prop_map(Ipv4Addr::from_bits),
    ]
}

/// A random address, or a chosen beginning with an IPv4 address at one of the places where one hides.
fn address_v6() -> impl Strategy<Value = Ipv6Addr> {
    let disguised = (
        select(CHOSEN_V6.to_vec()),
        address_v4(),
        select(vec![0_u32, 32, 64, 80]),
        any::<bool>(),
    );
    let disguised = disguised.prop_map(|(begin, hidden, place, inverted)| {
        let begin: Ipv6Addr = begin.parse().unwrap();
        let hidden = if inverted {
            !hidden.to_bits()
        } else {
            hidden.to_bits()
        };
        Ipv6Addr::from_bits(begin.to_bits() | u128::from(hidden) << place)
    });
    prop_oneof![3 => disguised, 1 => any::<u128>().prop_map(Ipv6Addr::from_bits)]
}

fn network() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (address_v4(), 0_u8..=32)
            .prop_map(|(address, length)| Ipv4Net::new(address, length).unwrap().into()),
        (address_v6(), 0_u8..=128)
            .prop_map(|(address, length)| Ipv6Net::new(address, length).unwrap().into()),
    ]
}

/// A policy, and what it was made of.
#[derive(Debug, Clone)]
struct Rules {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    deny_ports: Vec<std::ops::RangeInclusive<u16>>,
}

fn rules() -> impl Strategy<Value = Rules> {
    let ports =
        (any::<u16>(), 0_u16..100).prop_map(|(first, more)| first..=first.saturating_add(more));
    (vec(network(), 0..4), vec(network(), 0..3), vec(ports, 0..3)).prop_map(
        |(allow, deny, deny_ports)| Rules {
            allow,
            deny,
            deny_ports,
        },
    )
}

/// A probe as a coordinator that does not care could send it.
fn probe() -> impl Strategy<Value = v1::Probe> {
    let target = prop_oneof![
        4 => address_v4().prop_map(|address| address.octets().to_vec()),
        4 => address_v6().prop_map(|address| address.octets().to_vec()),
        1 => vec(any::<u8>(), 0..20),
    ];
    let port = prop_oneof![select(vec![22_u32, 3389, 443, 0, 65_558]), 0_u32..70_000];
    let kind = select(vec![
        v1::ProbeKind::TcpConnect,
        v1::ProbeKind::Peer,
        v1::ProbeKind::DnsUdp,
        v1::ProbeKind::DnsTcp,
    ]);
    (any::<u32>(), target, port, kind).prop_map(|(id, target, port, kind)| v1::Probe {
        id,
        source: vec![10; target.len()],
        target,
        port,
        kind: kind.into(),
        nonce: vec![1; 16],
        attempts: 1,
        deadline_ms: 1_000,
        interval_ms: 1_000,
        ..v1::Probe::default()
    })
}

/// Whether nobody may reach an address, by the standard library and by text.
fn forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.octets()[0] == 0
                || v4.octets()[0] >= 240
        }
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || (first == 0xfd00 && second == 0x0ec2)
        }
    }
}

/// IPv4 addresses that an address hides, read from its segments.
fn hidden(address: Ipv6Addr) -> Vec<IpAddr> {
    let segments = address.segments();
    let join = |high: u16, low: u16| {
        IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    let [a, b, c, d, e, f, g, h] = segments;
    let mut found = Vec::new();
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..]
        | [0x64, 0xff9b, 1, ..] => found.push(join(g, h)),
        [0x2002, ..] => found.push(join(b, c)),
        [0x2001, 0, ..] => found.extend([join(c, d), join(!g, !h)]),
        _ => {}
    }
    if f == 0x5efe && e & 0xfcff == 0 {
        found.push(join(g, h));
    }
    if (a, b, c) == (0x64, 0xff9b, 1) {
        // RFC 6052 2.2, /48: bits 48 to 63 and 72 to 87.
        found.push(join(d, e << 8 | f >> 8));
    }
    found
}

/// Whether a second reading of security.md, "What an agent may connect to" lets a target pass.
fn may_pass(rules: &Rules, target: SocketAddr) -> bool {
    let own = |networks: &[IpNet], address: IpAddr| {
        networks.iter().any(|network| {
            let mapped = match network {
                IpNet::V6(v6) if v6.prefix_len() >= 96 => v6
                    .addr()
                    .to_ipv4_mapped()
                    .map(|v4| IpNet::from(Ipv4Net::new(v4, v6.prefix_len() - 96).unwrap())),
                IpNet::V4(_) | IpNet::V6(_) => None,
            };
            mapped.unwrap_or(*network).contains(&address)
        })
    };
    let address = target.ip();
    let mut all = vec![address];
    if let IpAddr::V6(v6) = address {
        all.extend(hidden(v6));
    }
    let port = target.port();
    !all.iter()
        .any(|address| forbidden(*address) || own(&rules.deny, *address))
        && own(&rules.allow, address)
        && port != 22
        && port != 3389
        && !rules.deny_ports.iter().any(|ports| ports.contains(&port))
}

/// Runs so many random plans; whatever the policy lets pass, the second reading must let pass too.
fn plans(cases: u32) {
    let mut passed = 0_u64;
    let mut refused = 0_u64;
    let strategy = (rules(), vec(probe(), 1..4));
    let config = Config {
        cases,
        ..Config::default()
    };
    let counted = std::cell::RefCell::new((&mut passed, &mut refused));
    TestRunner::new(config)
        .run(&strategy, |(rules, probes)| {
            let policy = Policy::new(
                rules.allow.clone(),
                rules.deny.clone(),
                rules.deny_ports.clone(),
            );
            let plan = v1::Assignment {
                run: "r".to_owned(),
                generation: 1,
                probes,
                ..v1::Assignment::default()
            };
            for probe in Assigned::try_from(plan).unwrap().probes {
                let mut counted = counted.borrow_mut();
                match policy.check(probe.target) {
                    Ok(()) => {
                        *counted.0 += 1;
                        prop_assert!(may_pass(&rules, probe.target), "{} passed", probe.target);
                    }
                    Err(refusal) => {
                        *counted.1 += 1;
                        // But for broadcast addresses, which the second reading does not know, nothing more is refused.
                        let broadcast = matches!(
                            refusal,
                            reachproof_agent::policy::Refusal::Broadcast { .. }
                        );
                        let site_local = matches!(probe.target.ip(), IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfec0);
                        prop_assert!(
                            broadcast || site_local || !may_pass(&rules, probe.target),
                            "{}: {refusal}",
                            probe.target
                        );
                    }
                }
            }
            Ok(())
        })
        .unwrap();
    println!("{cases} plans: {passed} targets passed, {refused} were refused");
    assert!(passed > 0 && refused > 0, "one side was never tried");
}

#[test]
fn no_random_plan_passes_a_policy_that_forbids_it() {
    plans(20_000);
}

/// `REACHPROOF_PLANS` asks for another number.
#[test]
#[ignore = "needs minutes"]
fn none_of_a_million_random_plans_passes_a_policy_that_forbids_it() {
    let asked = std::env::var("REACHPROOF_PLANS");
    plans(asked.map_or(1_000_000, |text| text.parse().unwrap()));
}
