//! Managed prefix lists.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Match;
use crate::id::PrefixListId;

/// A managed prefix list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixList {
    /// Its id.
    pub id: PrefixListId,
    /// Its name.
    pub name: Option<String>,
    /// Its networks; absent where they were not or not completely readable.
    pub networks: Option<Vec<IpNet>>,
}

impl PrefixList {
    /// Returns whether an address is in the list.
    #[must_use]
    pub fn matches(&self, address: IpAddr) -> Match {
        self.networks.as_ref().map_or(Match::Unsure, |networks| {
            Match::from(networks.iter().any(|network| network.contains(&address)))
        })
    }
}
