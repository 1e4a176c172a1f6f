//! The name of the cluster's API server: the one name that the agent resolves for a run.
//!
//! It comes from the agent's own configuration and never over the stream, so that no coordinator can make an agent ask a
//! resolver for anything (security.md, "What an agent may do"). What it resolves to is reported, not connected to.

use std::net::IpAddr;

use reachproof_proto::{endpoint::EndpointName, net::address_to_wire, v1::EndpointReport};
use tokio::time::timeout;

use crate::{
    environment::Net,
    limits::{ENDPOINT_ADDRESSES_MAX, FAILURE_TEXT_MAX, RESOLVE_TIMEOUT},
    probe::RunName,
};

/// Asks the resolver of the host once and says what it said.
pub async fn resolve<N: Net>(net: N, name: EndpointName, run: RunName) -> EndpointReport {
    let asked = timeout(RESOLVE_TIMEOUT, net.resolve(name.as_str())).await;
    let (addresses, failure) = match asked {
        Ok(Ok(addresses)) => (addresses, String::new()),
        Ok(Err(error)) => (Vec::new(), error.to_string()),
        Err(_) => (Vec::new(), "the resolver did not answer".to_owned()),
    };
    EndpointReport {
        run: run.as_str().to_owned(),
        addresses: distinct(addresses),
        name: name.as_str().to_owned(),
        failure: short(&failure),
    }
}

/// The addresses as they go over the wire: sorted, each once, as many as are reported.
fn distinct(mut addresses: Vec<IpAddr>) -> Vec<Vec<u8>> {
    addresses.sort();
    addresses.dedup();
    addresses
        .into_iter()
        .take(ENDPOINT_ADDRESSES_MAX)
        .map(address_to_wire)
        .collect()
}

/// A text without control characters that is not too long.
fn short(text: &str) -> String {
    let mut short = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if short.len() + character.len_utf8() > FAILURE_TEXT_MAX {
            break;
        }
        short.push(character);
    }
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_failure_is_cut_and_cleaned() {
        assert_eq!(short("no\u{1b}[31m\nsuch"), "no[31msuch");
        assert!(short(&"ä".repeat(200)).len() <= FAILURE_TEXT_MAX);
    }
}
