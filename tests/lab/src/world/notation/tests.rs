//! Tests of the notation.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use super::*;

#[test]
fn a_rule_reads_back_as_it_was_written() {
    for text in [
        "all from cluster",
        "tcp 443 from nodes",
        "tcp 1025-65535 to 10.0.0.0/16",
        "udp 53 from list:offices",
        "tcp from 2600:1f14:abc::/56",
        "icmp to 0.0.0.0/0",
        "icmp 3:4 from 10.0.0.0/16",
        "icmpv6 128 from ::/0",
        "protocol 47 to 10.0.0.0/8",
    ] {
        let rule =
            Rule::try_from(text.to_owned()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(String::from(rule), text);
    }
}

#[test]
fn an_entry_reads_back_as_it_was_written() {
    for text in [
        "open",
        "100 allow tcp 32768-61000 to 0.0.0.0/0",
        "90 deny all from 10.0.1.0/24",
    ] {
        let line =
            AclLine::try_from(text.to_owned()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(String::from(line), text);
    }
}

#[test]
fn what_is_not_in_the_notation_is_refused() {
    for text in [
        "tcp 443",
        "tcp 70000 from x",
        "tcp 9-8 from x",
        "tcp 443 from X",
        "all 5 to y",
        "icmp x to y",
    ] {
        assert!(Rule::try_from(text.to_owned()).is_err(), "{text}");
    }
    for text in [
        "0 allow all to 0.0.0.0/0",
        "32767 deny all to 0.0.0.0/0",
        "1 drop all to 0.0.0.0/0",
        "closed",
    ] {
        assert!(AclLine::try_from(text.to_owned()).is_err(), "{text}");
    }
    for text in ["peering", "peering A", "local", "nat x"] {
        assert!(RouteTarget::try_from(text.to_owned()).is_err(), "{text}");
    }
}
