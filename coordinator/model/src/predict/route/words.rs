//! Sentences about routes.

use std::net::IpAddr;

use super::{Hop, Path};
use crate::prediction::RouteReason;

/// Which route wins.
pub(in crate::predict) fn hop(
    hop: &Hop<'_>,
    address: IpAddr,
    reason: Option<RouteReason>,
) -> String {
    let route = hop
        .route
        .map(|(network, target)| format!("{network} -> {}", target.as_str()));
    match (reason, route) {
        (Some(RouteReason::None), _) => format!("no route covers {address}"),
        (Some(RouteReason::FarSide), Some(route)) => {
            format!("{route} does not lead to the VPC of {address}")
        }
        (Some(RouteReason::TgwZone), Some(route)) => {
            format!("{route} has no attachment subnet in the zone of the sender")
        }
        (Some(reason), Some(route)) => {
            format!(
                "{route} does not deliver to {address} ({})",
                reason.as_str()
            )
        }
        (Some(reason), None) => format!("{address} is not delivered ({})", reason.as_str()),
        (None, Some(route)) => route,
        (None, None) => match hop.path {
            Path::SameSubnet => format!("{address} is in the same subnet"),
            Path::Local
            | Path::Middlebox
            | Path::Peering { .. }
            | Path::FarSide
            | Path::TransitGateway(_)
            | Path::Nat
            | Path::InternetGateway
            | Path::VpnGateway
            | Path::Other
            | Path::Unread
            | Path::Conflict
            | Path::None
            | Path::Blackhole
            | Path::Filtered => format!("which route holds for {address} could not be read"),
        },
    }
}
