//! Verdicts out of rows: of a pair of classes at a port interval, and of a flow.

use std::net::IpAddr;

use crate::class::{ClassId, Endpoint, Facts, Located, Policed, index};
use crate::flow::{EPHEMERAL_PORTS_DEFAULT, Flow, FlowProtocol, SourceKind};
use crate::predict::{Doubt, Doubts, Fixed, Gates, Way, same_host, verdict, walk};
use crate::prediction::{Denial, Gate, UnknownReason, Verdict};
use crate::snapshot::{Direction, IpFamily, OtherFamily, Snat};

use super::acl::AclRowId;
use super::ports::has;
use super::row::{NO_GROUPS, RowId};
use super::{Brief, Matrix};

/// Verdict of a flow without its reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VerdictKind {
    /// It passes.
    Allow,
    /// Something drops it.
    Deny,
    /// It passes for some source ports.
    Partial,
    /// Nobody can tell.
    Unknown,
    /// It never leaves the host.
    Bypass,
    /// AWS does not filter it.
    Exempt,
}

impl VerdictKind {
    /// Returns the word of the verdict in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Partial => "partial",
            Self::Unknown => "unknown",
            Self::Bypass => "bypass",
            Self::Exempt => "exempt",
        }
    }
}

impl From<&Verdict> for VerdictKind {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Allow { .. } => Self::Allow,
            Verdict::Deny(_) => Self::Deny,
            Verdict::Partial { .. } => Self::Partial,
            Verdict::Unknown(_) => Self::Unknown,
            Verdict::Bypass(_) => Self::Bypass,
            Verdict::Exempt(_) => Self::Exempt,
        }
    }
}

/// Everything about a pair of classes, before the port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'m> {
    pub(super) way: &'m Way,
    pub(super) egress: RowId,
    pub(super) ingress: RowId,
    /// Rows of the two lists; absent inside a subnet.
    pub(super) acls: Option<(AclRowId, AclRowId)>,
    pub(super) policed: Policed,
}

impl Pair<'_> {
    /// Returns whether nothing but rules and entries decides.
    pub(super) fn is_plain(&self) -> bool {
        self.way.is_plain() && self.policed == Policed::No
    }
}

/// What decides one cell, in the order of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell<'m> {
    /// A gate without ports.
    Way(&'m Verdict),
    /// No rule of the sender admits.
    SgEgress,
    /// An entry of the sender's subnet denies.
    NaclOut(u32),
    /// An entry of the receiver's subnet denies.
    NaclIn(u32),
    /// No rule of the receiver admits.
    SgIngress,
    /// Something is not known.
    Doubt(Doubt),
    /// Both rules admit.
    Allow,
}

impl Cell<'_> {
    /// The verdict without its reasons.
    pub(super) fn kind(self) -> VerdictKind {
        match self {
            Self::Way(verdict) => VerdictKind::from(verdict),
            Self::SgEgress | Self::SgIngress | Self::NaclOut(_) | Self::NaclIn(_) => {
                VerdictKind::Deny
            }
            Self::Doubt(_) => VerdictKind::Unknown,
            Self::Allow => VerdictKind::Allow,
        }
    }

    /// The gate that decides, where one does.
    pub(super) fn gate(self) -> Option<Gate> {
        match self {
            Self::Way(verdict) => verdict.gate(),
            Self::SgEgress => Some(Gate::SgEgress),
            Self::SgIngress => Some(Gate::SgIngress),
            Self::NaclOut(_) => Some(Gate::NaclOut),
            Self::NaclIn(_) => Some(Gate::NaclIn),
            Self::Doubt(_) | Self::Allow => None,
        }
    }
}

/// One port interval of a pair on its way through the gates.
pub(super) struct OneCell<'w, 'm, 's> {
    pub(super) matrix: &'m Matrix<'s>,
    pub(super) pair: &'w Pair<'m>,
    pub(super) interval: usize,
    doubts: Doubts,
}

impl<'w, 'm, 's> OneCell<'w, 'm, 's> {
    pub(super) fn new(matrix: &'m Matrix<'s>, pair: &'w Pair<'m>, interval: usize) -> Self {
        Self {
            matrix,
            pair,
            interval,
            doubts: pair.way.doubts,
        }
    }

    /// The row of rules that is asked, and whether it admits for certain and whether it may: 1 or 0.
    #[inline]
    pub(super) fn rule_lanes(&self, direction: Direction) -> (RowId, (u64, u64)) {
        let row = match direction {
            Direction::Egress => self.pair.egress,
            Direction::Ingress => self.pair.ingress,
        };
        (row, self.matrix.groups.lanes(row, self.interval))
    }

    /// The same of a list; absent inside a subnet.
    #[inline]
    pub(super) fn entry_lanes(&self, direction: Direction) -> Option<(AclRowId, (u64, u64))> {
        let (out, back) = self.pair.acls?;
        let row = match direction {
            Direction::Egress => out,
            Direction::Ingress => back,
        };
        Some((row, self.matrix.acls.lanes(row, self.interval)))
    }

    /// Goes on behind rules that say so.
    #[inline]
    pub(super) fn admit(
        &mut self,
        direction: Direction,
        (sure, possible): (u64, u64),
    ) -> Result<(), Cell<'m>> {
        if possible == 0 {
            return Err(match direction {
                Direction::Egress => Cell::SgEgress,
                Direction::Ingress => Cell::SgIngress,
            });
        }
        self.doubts.add_if(sure == 0, Doubt::Rules);
        Ok(())
    }

    /// Goes on behind a list that says so.
    #[inline]
    pub(super) fn pass(
        &mut self,
        direction: Direction,
        row: AclRowId,
        (sure, possible): (u64, u64),
    ) -> Result<(), Cell<'m>> {
        if possible == 0 {
            let number = self.matrix.acls.deciding(row, self.interval);
            return Err(match direction {
                Direction::Egress => Cell::NaclOut(number),
                Direction::Ingress => Cell::NaclIn(number),
            });
        }
        self.doubts.add_if(sure == 0, Doubt::Other);
        Ok(())
    }

    /// What decides, once the walk has ended.
    pub(super) fn settle(&self, walked: Result<(), Cell<'m>>) -> Cell<'m> {
        match (walked, self.doubts.settle(), &self.pair.way.partial) {
            (Err(cell), _, _) => cell,
            (Ok(()), Some(doubt), _) => Cell::Doubt(doubt),
            (Ok(()), None, Some(verdict)) => Cell::Way(verdict),
            (Ok(()), None, None) => Cell::Allow,
        }
    }
}

impl<'m> Gates for OneCell<'_, 'm, '_> {
    type End = Cell<'m>;

    #[inline]
    fn fixed(&mut self, gate: Fixed) -> Result<(), Cell<'m>> {
        if gate == Fixed::NetworkPolicy {
            let is_policed = self.pair.policed == Policed::Yes;
            self.doubts.add_if(is_policed, Doubt::NetworkPolicy);
        }
        match &self.pair.way.end {
            Some((at, verdict)) if *at == gate => Err(Cell::Way(verdict)),
            Some(_) | None => Ok(()),
        }
    }

    #[inline]
    fn rules(&mut self, direction: Direction) -> Result<(), Cell<'m>> {
        let (_, lanes) = self.rule_lanes(direction);
        self.admit(direction, lanes)
    }

    #[inline]
    fn entries(&mut self, direction: Direction) -> Result<(), Cell<'m>> {
        match self.entry_lanes(direction) {
            Some((row, lanes)) => self.pass(direction, row, lanes),
            None => Ok(()),
        }
    }
}

impl<'s> Matrix<'s> {
    /// The rows and the way of a pair, pods as pods; absent of two families.
    pub(super) fn pair(&self, source: ClassId, destination: ClassId) -> Option<Pair<'_>> {
        let (from, to) = (self.classes.facts(source), self.classes.facts(destination));
        match self.exit(from, to) {
            None => self.pair_of_hosts(source, destination),
            Some((sender, brief)) => {
                let mut pair = self.joined(&sender, to, brief)?;
                // Policies select pods by their own address, before any SNAT.
                pair.policed = from.policed.max(to.policed);
                Some(pair)
            }
        }
    }

    /// The rows and the way of a pair as if both were hosts: nobody translates anything.
    pub(super) fn pair_of_hosts(&self, source: ClassId, destination: ClassId) -> Option<Pair<'_>> {
        let (from, to) = (self.classes.facts(source), self.classes.facts(destination));
        self.joined(from, to, self.brief(from, to)?)
    }

    fn joined(&self, from: &Facts, to: &Facts, brief: &Brief) -> Option<Pair<'_>> {
        let way = self.ways.get(index(brief.way))?;
        Some(Pair {
            way,
            egress: self.groups.row((from, Direction::Egress), to, brief.egress),
            ingress: self
                .groups
                .row((to, Direction::Ingress), from, brief.ingress),
            acls: (!brief.is_same_subnet).then_some(brief.acls),
            policed: from.policed.max(to.policed),
        })
    }

    /// Decides one cell.
    pub(super) fn cell<'m>(&'m self, pair: &Pair<'m>, interval: usize) -> Cell<'m> {
        let mut one = OneCell::new(self, pair, interval);
        let walked = walk(&mut one);
        one.settle(walked)
    }

    /// Returns the verdict of a flow, as [`crate::predict::verdict`] gives it.
    ///
    /// Flows that the relation does not cover are predicted one by one: other protocols, other ephemeral ranges, chosen
    /// interfaces, source NAT, addresses of no class.
    #[must_use]
    pub fn verdict(&self, flow: &Flow) -> Verdict {
        match self.ends(flow) {
            None => verdict(self.snapshot, flow),
            Some((from, to, port)) => match self.same_host(from, to) {
                Some(verdict) => verdict,
                None => match self.pair_of_hosts(from.class, to.class) {
                    None => verdict(self.snapshot, flow),
                    Some(pair) => self.verdict_of(&pair, self.ports.of(port), (from, to)),
                },
            },
        }
    }

    /// Returns the verdict of a flow without its reasons.
    #[must_use]
    pub fn kind(&self, flow: &Flow) -> VerdictKind {
        match self.ends(flow) {
            None => VerdictKind::from(&verdict(self.snapshot, flow)),
            Some((from, to, port)) => match self.same_host(from, to) {
                Some(verdict) => VerdictKind::from(&verdict),
                None => {
                    let (from, to) = (from.class, to.class);
                    self.quick(from, to, self.ports.of(port))
                        .or_else(|| {
                            let pair = self.pair_of_hosts(from, to)?;
                            Some(self.cell(&pair, self.ports.of(port)).kind())
                        })
                        .unwrap_or(VerdictKind::Unknown)
                }
            },
        }
    }

    /// The kind of most cells: on a plain way any miss is a deny, and what all rows let pass is an allow.
    fn quick(&self, source: ClassId, destination: ClassId, interval: usize) -> Option<VerdictKind> {
        let (from, to) = (self.classes.facts(source), self.classes.facts(destination));
        let brief = self.brief(from, to).filter(|brief| brief.is_plain)?;
        let egress = self.groups.row((from, Direction::Egress), to, brief.egress);
        let ingress = self
            .groups
            .row((to, Direction::Ingress), from, brief.ingress);
        let (mut sure, mut possible) = self.groups.lanes(egress, interval);
        let mut join = |lanes: (u64, u64)| {
            sure &= lanes.0;
            possible &= lanes.1;
        };
        join(self.groups.lanes(ingress, interval));
        if !brief.is_same_subnet {
            let (out, back) = brief.acls;
            join(self.acls.lanes(out, interval));
            join(self.acls.lanes(back, interval));
        }
        // Allow or deny is a coin toss to the processor: it is chosen without a branch, and only doubt is one.
        let is_policed = from.policed.max(to.policed) == Policed::Yes;
        let is_doubtful = sure != possible || (is_policed && possible != 0);
        let kind = [VerdictKind::Deny, VerdictKind::Allow];
        let place = usize::from(possible != 0);
        kind.get(place).copied().filter(|_| !is_doubtful)
    }

    /// The ends of a flow that the relation covers.
    pub(super) fn ends(&self, flow: &Flow) -> Option<(&Endpoint, &Endpoint, u16)> {
        let FlowProtocol::Tcp { port } = flow.protocol else {
            return None;
        };
        if flow.source_interface.is_some() || flow.ephemeral_ports != EPHEMERAL_PORTS_DEFAULT {
            return None;
        }
        let (Located::At(from), Located::At(to)) = (
            self.classes.locate(flow.source),
            self.classes.locate(flow.destination),
        ) else {
            return None;
        };
        let is_covered = flow.source != flow.destination
            && !flow.source.is_loopback()
            && !flow.destination.is_loopback()
            && !self.may_be_translated(flow, from)
            && !self.is_one_host_in_two_vpcs(from, to);
        is_covered.then_some((from, to, port))
    }

    /// Whether the node may translate the source (E.1). Few flows come from pods: the interface is looked up for those.
    fn may_be_translated(&self, flow: &Flow, from: &Endpoint) -> bool {
        if flow.source_kind == SourceKind::Host {
            return false;
        }
        match (flow.destination, self.snapshot.ip_family()) {
            (IpAddr::V4(_), IpFamily::V4) => {
                let vpc = self.snapshot.interfaces.at(from.owner).vpc;
                self.snapshot.cni.snat != Snat::External
                    && !self.snapshot.vpcs.at(vpc).contains(flow.destination)
            }
            (IpAddr::V6(_), IpFamily::V6) => false,
            (IpAddr::V4(_), IpFamily::V6) => self.snapshot.cni.v4_egress != OtherFamily::Absent,
            (IpAddr::V6(_), IpFamily::V4) => self.snapshot.cni.v6_egress != OtherFamily::Absent,
        }
    }

    /// Whether two interfaces of one host are in different VPCs: whether they meet depends on the way.
    fn is_one_host_in_two_vpcs(&self, from: &Endpoint, to: &Endpoint) -> bool {
        let vpc = |end: &Endpoint| &self.classes.class(end.class).vpc;
        from.host == to.host && vpc(from) != vpc(to)
    }

    /// The verdict of two endpoints of one host that do not meet over the VPC (E.3, E.4).
    pub(super) fn same_host(&self, from: &Endpoint, to: &Endpoint) -> Option<Verdict> {
        if from.host != to.host {
            return None;
        }
        let entry = |end: &Endpoint| self.snapshot.interfaces.at(end.owner);
        same_host(self.snapshot, entry(from), entry(to))
    }

    /// The whole verdict of a cell, with the names of the interfaces.
    fn verdict_of(
        &self,
        pair: &Pair<'_>,
        interval: usize,
        (from, to): (&Endpoint, &Endpoint),
    ) -> Verdict {
        let interface =
            |end: &Endpoint| self.snapshot.interfaces.at(end.owner).interface.id.clone();
        let acl = |gate, end: &Endpoint, rule_number| {
            let entry = self.snapshot.interfaces.at(end.owner);
            let list = self.snapshot.network_acl_of(&entry.interface.subnet);
            list.map_or(Verdict::Unknown(UnknownReason::Other), |list| {
                Verdict::Deny(Denial::NetworkAcl {
                    gate,
                    at: list.id.clone(),
                    subnet: entry.interface.subnet.clone(),
                    rule_number,
                })
            })
        };
        let refused = |gate, end: &Endpoint| {
            Verdict::Deny(Denial::SecurityGroup {
                gate,
                at: interface(end),
            })
        };
        match self.cell(pair, interval) {
            Cell::Way(verdict) => verdict.clone(),
            Cell::SgEgress => refused(Gate::SgEgress, from),
            Cell::SgIngress => refused(Gate::SgIngress, to),
            Cell::NaclOut(number) => acl(Gate::NaclOut, from, number),
            Cell::NaclIn(number) => acl(Gate::NaclIn, to, number),
            Cell::Doubt(doubt) => {
                let reason = doubt.reason();
                Verdict::Unknown(reason.unwrap_or_else(|| self.unresolved(pair, interval)))
            }
            Cell::Allow => self.allowed(pair, interval),
        }
    }

    fn allowed(&self, pair: &Pair<'_>, interval: usize) -> Verdict {
        let rule = |row| {
            let place = self.groups.deciding(row, interval)?;
            self.groups.rule(place).map(|rule| rule.id.clone())
        };
        match (rule(pair.egress), rule(pair.ingress)) {
            (Some(egress), Some(ingress)) => Verdict::Allow { egress, ingress },
            (None, _) | (_, None) => Verdict::Unknown(UnknownReason::Other),
        }
    }

    /// What is not known about the rules: egress first (K.1 "Order among unknowns").
    pub(super) fn unresolved(&self, pair: &Pair<'_>, interval: usize) -> UnknownReason {
        if self.lacks_groups(pair, interval) {
            return UnknownReason::NoGroups;
        }
        let names = |row: RowId| {
            if has(self.groups.bits(row).0, interval) {
                Vec::new()
            } else {
                self.groups.unresolved(row, interval)
            }
        };
        let mut rules = names(pair.egress);
        rules.extend(names(pair.ingress));
        self.snapshot.unresolved(rules)
    }

    /// Whether the first side whose rules do not settle it has no groups at all.
    fn lacks_groups(&self, pair: &Pair<'_>, interval: usize) -> bool {
        if has(self.groups.bits(pair.egress).0, interval) {
            pair.ingress == NO_GROUPS
        } else {
            pair.egress == NO_GROUPS
        }
    }
}
