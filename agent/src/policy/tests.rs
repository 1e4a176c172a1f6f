//! What policies refuse and allow.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{net::SocketAddr, path::Path};

use super::*;

/// A policy file with these lines.
fn policy(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(Path::new("policy.yaml"), text)
}

/// Two VPCs, IPv4 and IPv6, a service range inside the first, and etcd's ports closed.
fn ordinary() -> Policy {
    policy(
        "allow: [10.0.0.0/16, '2600:1f14:abc::/56']\ndeny: [10.0.100.0/24]\ndeny_ports: [2379-2380, 6443]\n",
    )
    .unwrap()
}

fn check(policy: &Policy, target: &str) -> Result<(), Refusal> {
    policy.check(target.parse::<SocketAddr>().unwrap())
}

#[test]
fn the_ranges_of_the_vpc_are_allowed() {
    let policy = ordinary();
    for target in [
        "10.0.0.1:443",
        "10.0.255.254:1",
        "[2600:1f14:abc::10]:7500",
        "[::ffff:10.0.0.1]:10250",
    ] {
        assert_eq!(check(&policy, target), Ok(()), "{target}");
    }
}

#[test]
fn refusals_name_their_reason() {
    let policy = ordinary();
    let reason = |target| check(&policy, target).unwrap_err().to_string();
    assert_eq!(
        reason("[2002:a9fe:a9fe::1]:80"),
        "169.254.169.254 is always denied"
    );
    assert_eq!(
        reason("10.0.100.7:443"),
        "10.0.100.7 is in 10.0.100.0/24, which the policy denies"
    );
    assert_eq!(
        reason("10.0.255.255:443"),
        "10.0.255.255 is the broadcast address of 10.0.0.0/16"
    );
    assert_eq!(
        reason("10.1.0.1:443"),
        "10.1.0.1 is in no network that the policy allows"
    );
    assert_eq!(reason("10.0.0.1:22"), "port 22 is denied");
}

#[test]
fn an_open_policy_still_denies_what_is_always_denied() {
    let open = policy("allow: [0.0.0.0/0, '::/0']").unwrap();
    for policy in [open, Policy::by_hand()] {
        for target in [
            "127.0.0.1:80",
            "[::1]:80",
            "0.0.0.0:80",
            "[::]:80",
            "169.254.170.23:80",
            "[fd00:ec2::254]:80",
            "[fe80::1]:80",
            "239.1.1.1:80",
            "255.255.255.255:80",
            "[64:ff9b::127.0.0.1]:80",
        ] {
            assert!(
                matches!(check(&policy, target), Err(Refusal::AlwaysDenied { .. })),
                "{target}"
            );
        }
        assert_eq!(check(&policy, "192.0.2.1:443"), Ok(()));
    }
}

#[test]
fn by_hand_every_port_is_allowed_and_by_policy_no_remote_shell() {
    assert_eq!(check(&Policy::by_hand(), "10.0.0.1:22"), Ok(()));
    for port in PORTS_ALWAYS_DENIED {
        assert_eq!(
            check(&ordinary(), &format!("10.0.0.1:{port}")),
            Err(Refusal::Port { port })
        );
    }
}

#[test]
fn json_is_a_policy_too() {
    let read = policy(r#"{"allow": ["10.0.0.0/16"], "deny_ports": [9000, "9100-9200"]}"#).unwrap();
    assert_eq!(check(&read, "10.0.0.1:9001"), Ok(()));
    for port in [9000, 9100, 9200] {
        assert_eq!(
            check(&read, &format!("10.0.0.1:{port}")),
            Err(Refusal::Port { port })
        );
    }
}

#[test]
fn a_mapped_network_is_the_ipv4_network_that_it_stands_for() {
    let read = policy("allow: ['::ffff:10.0.0.0/112']\ndeny: ['::ffff:10.0.9.0/120']\n").unwrap();
    assert_eq!(check(&read, "10.0.0.1:443"), Ok(()));
    assert!(matches!(
        check(&read, "10.0.9.1:443"),
        Err(Refusal::Denied { .. })
    ));
}

#[test]
fn a_file_that_is_not_understood_is_no_policy() {
    for text in [
        "",
        "allow: []",
        "deny: [10.0.0.0/8]",
        "allow: [10.0.0.0/16]\ndenny: [10.0.0.0/24]",
        "allow: [10.0.0.0]",
        "allow: [vpc]",
        "allow: [10.0.0.0/33]",
        "allow: [10.0.0.0/16]\ndeny_ports: [70000]",
        "allow: [10.0.0.0/16]\ndeny_ports: ['9-8']",
        "allow: [10.0.0.0/16]\ndeny_ports: ['ssh']",
    ] {
        assert!(policy(text).is_err(), "{text}");
    }
}

#[test]
fn a_policy_that_is_not_there_or_too_large_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.yaml");
    assert!(matches!(
        Policy::read(&path),
        Err(PolicyError::Unreadable { .. })
    ));
    std::fs::write(
        &path,
        format!("allow: [10.0.0.0/16]\n{}", "#".repeat(70_000)),
    )
    .unwrap();
    assert!(matches!(
        Policy::read(&path),
        Err(PolicyError::TooLarge { .. })
    ));
    std::fs::write(&path, "allow: [10.0.0.0/16]\n").unwrap();
    assert_eq!(check(&Policy::read(&path).unwrap(), "10.0.3.4:80"), Ok(()));
}
