//! Every gate that stops a flow, not the first alone.

use std::net::IpAddr;

use super::endpoint::Destination;
use super::outside::Arrival;
use super::security_group::Admission;
use super::{Fixed, Gates, Notes, OneFlow, Route, Stop, Walk, walk};
use crate::flow::Flow;
use crate::net::PortRange;
use crate::prediction::{Gate, Verdict};
use crate::snapshot::{Direction, InterfaceEntry, Snapshot};

/// The two ends of a flow as the network sees them: after SNAT.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends<'s> {
    /// Interface that sends; absent of a source that no interface owns.
    pub(crate) sender: Option<&'s InterfaceEntry>,
    /// Address that the packet carries.
    pub(crate) source: IpAddr,
    /// Ports to which replies go.
    pub(crate) ports: PortRange,
    /// Interface that receives; absent where the way leads to none.
    pub(crate) receiver: Option<&'s InterfaceEntry>,
}

/// All gates that stop a flow, in the order of the walk, and its ends; no ends where a flow never meets a gate.
#[derive(Debug, Clone)]
pub(crate) struct Survey<'s> {
    pub(crate) stops: Vec<Stop>,
    pub(crate) ends: Option<Ends<'s>>,
}

/// Finds every gate that stops `flow`, in the order of SEMANTICS K: the first of them is the one that
/// [`super::predict`] names.
///
/// Past a gate that stops it, the walk goes on as if it did not, up to what nobody can tell: the gates of a far side that
/// no route leads to are not asked. Empty of a flow that nothing stops, also where its verdict is not known.
#[must_use]
pub fn stops(snapshot: &Snapshot, flow: &Flow) -> Vec<Stop> {
    survey(snapshot, flow).stops
}

/// Finds every gate that stops `flow`, and between whom they are.
pub(crate) fn survey<'s>(snapshot: &'s Snapshot, flow: &'s Flow) -> Survey<'s> {
    let mut walk = Walk::new(snapshot, flow, Notes::Nothing);
    match walk.route_of_ends() {
        Ok(route) => walk.survey(route),
        Err(_) => walk.survey_arrival().unwrap_or(Survey {
            stops: Vec::new(),
            ends: None,
        }),
    }
}

/// Goes on past every gate that denies, and keeps what it said.
struct Collecting<'g, G> {
    gates: &'g mut G,
    stops: Vec<Stop>,
}

impl<G: Gates<End = Verdict>> Collecting<'_, G> {
    fn keep(&mut self, met: Result<(), Verdict>) -> Result<(), ()> {
        match met {
            Ok(()) => Ok(()),
            Err(Verdict::Deny(denial)) => {
                self.stops.push(Stop {
                    denial,
                    open_ports: Vec::new(),
                });
                Ok(())
            }
            Err(
                Verdict::Allow { .. }
                | Verdict::Partial { .. }
                | Verdict::Unknown(_)
                | Verdict::Bypass(_)
                | Verdict::Exempt(_),
            ) => Err(()),
        }
    }
}

impl<G: Gates<End = Verdict>> Gates for Collecting<'_, G> {
    type End = ();

    fn fixed(&mut self, gate: Fixed) -> Result<(), ()> {
        let met = self.gates.fixed(gate);
        self.keep(met)
    }

    fn rules(&mut self, direction: Direction) -> Result<(), ()> {
        let met = self.gates.rules(direction);
        self.keep(met)
    }

    fn entries(&mut self, direction: Direction) -> Result<(), ()> {
        let met = self.gates.entries(direction);
        self.keep(met)
    }
}

/// What stops a flow at the gates of `gates`; where the walk ends makes no difference.
fn collected<G: Gates<End = Verdict>>(gates: &mut G) -> Vec<Stop> {
    let mut collecting = Collecting {
        gates,
        stops: Vec::new(),
    };
    let _ended = walk(&mut collecting);
    collecting.stops
}

fn is_reply_list(stop: &Stop) -> bool {
    matches!(stop.denial.gate(), Gate::NaclReturnOut | Gate::NaclReturnIn)
}

impl<'s> Walk<'s> {
    fn survey(&mut self, route: Route<'s>) -> Survey<'s> {
        let ends = Ends {
            sender: Some(route.sender.entry),
            source: route.sender.address,
            ports: route.sender.ports,
            receiver: route.receiving(),
        };
        let mut one = OneFlow {
            walk: self,
            route,
            egress: Admission::NoGroups,
            ingress: Admission::NoGroups,
        };
        let mut stops = collected(&mut one);
        let OneFlow { route, .. } = one;
        // The walk names one of the two lists that replies meet; here each speaks for itself.
        if let Destination::One(receiver) = &route.destination
            && self.has_routed_reply(&route)
        {
            stops.retain(|stop| !is_reply_list(stop));
            stops.extend(self.reply_stops(&route, *receiver));
            stops.sort_by_key(|stop| stop.denial.gate());
        }
        Survey {
            stops,
            ends: Some(ends),
        }
    }

    /// The gates of a destination whose source nobody owns; absent where it has none that are known.
    fn survey_arrival(&mut self) -> Option<Survey<'s>> {
        if !self.snapshot.source_owners(self.flow.source).is_empty() {
            return None;
        }
        let flow = self.flow;
        let mut arrival: Arrival<'_, 's> = self.arrival()?;
        let ends = Ends {
            sender: None,
            source: flow.source,
            ports: flow.ephemeral_ports,
            receiver: Some(arrival.receiver.entry),
        };
        Some(Survey {
            stops: collected(&mut arrival),
            ends: Some(ends),
        })
    }
}
