//! Destinations that AWS does not filter, and packets that never leave the host (A.5).

mod words;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Walk;
use crate::prediction::{
    BypassReason, ExemptReason, Gate, Place, StepOutcome, UnknownReason, Verdict,
};
use crate::snapshot::{Snapshot, Vpc};

/// Metadata, resolver, time and task metadata [VPC-SEC, VPC-DNS; SEMANTICS K].
const LINK_LOCAL_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 169, 253),
    Ipv4Addr::new(169, 254, 169, 123),
    Ipv4Addr::new(169, 254, 170, 2),
];
/// The same for IPv6 [VPC-DNS; SEMANTICS K].
const LINK_LOCAL_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123),
];

/// Visits the addresses that AWS does not filter: link-local services, and the resolver of every VPC.
pub(crate) fn exempt_addresses(snapshot: &Snapshot) -> impl Iterator<Item = IpAddr> {
    let link_local = LINK_LOCAL_V4.iter().copied().map(IpAddr::V4);
    let vpcs = snapshot.vpcs.iter();
    let disputed = vpcs.flat_map(|vpc| vpc.disputed_primaries.iter().filter_map(resolver_of));
    link_local
        .chain(LINK_LOCAL_V6.iter().copied().map(IpAddr::V6))
        .chain(snapshot.vpcs.iter().filter_map(resolver))
        .chain(disputed)
}

impl Walk<'_> {
    /// Ends the walk for what is exempt or never leaves the host; `vpc` is the source's.
    pub(super) fn exemptions(&mut self, vpc: Option<&Vpc>) -> Result<(), Verdict> {
        let destination = self.flow.destination;
        if is_link_local(destination) {
            return Err(self.exempt(ExemptReason::LinkLocal));
        }
        if vpc.and_then(resolver) == Some(destination) {
            return Err(self.exempt(ExemptReason::VpcDns));
        }
        let disputed = vpc.into_iter().flat_map(|vpc| &vpc.disputed_primaries);
        if disputed.filter_map(resolver_of).any(|it| it == destination) {
            return Err(self.unknown(UnknownReason::Conflict));
        }
        let source = self.flow.source;
        if source == destination || destination.is_loopback() || source.is_loopback() {
            self.note(Gate::Endpoints, Place::Flow, StepOutcome::Skipped, |_| {
                format!("{destination} is the source itself: packets never leave the host")
            });
            return Err(Verdict::Bypass(BypassReason::Loopback));
        }
        self.service_address()
    }

    /// Ends the walk for the address of a service: kube-proxy translates it, so that no packet carries it (K.1 "Service
    /// addresses").
    fn service_address(&mut self) -> Result<(), Verdict> {
        let destination = self.flow.destination;
        if !self.snapshot.is_service_address(destination) {
            return Ok(());
        }
        let reason = UnknownReason::ServiceAddress;
        let outcome = StepOutcome::Unknown(reason.clone());
        self.note(Gate::Endpoints, Place::Flow, outcome, |snapshot| {
            words::service(snapshot, destination)
        });
        Err(Verdict::Unknown(reason))
    }

    fn exempt(&mut self, reason: ExemptReason) -> Verdict {
        let destination = self.flow.destination;
        self.note(Gate::Endpoints, Place::Flow, StepOutcome::Skipped, |_| {
            let service = match reason {
                ExemptReason::VpcDns => "the resolver of the VPC",
                ExemptReason::LinkLocal => "a link-local service of AWS",
            };
            format!("{destination} is {service}, which no group or ACL filters")
        });
        Verdict::Exempt(reason)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => LINK_LOCAL_V4.contains(&address),
        IpAddr::V6(address) => LINK_LOCAL_V6.contains(&address),
    }
}

/// The resolver: base of the primary network plus two \[VPC-DNS\].
fn resolver(vpc: &Vpc) -> Option<IpAddr> {
    resolver_of(&vpc.primary?)
}

fn resolver_of(primary: &IpNet) -> Option<IpAddr> {
    match primary {
        IpNet::V4(network) => u32::from(network.network())
            .checked_add(2)
            .map(|address| IpAddr::V4(Ipv4Addr::from(address))),
        IpNet::V6(_) => None,
    }
}
