//! Verdicts out of rows: of a pair of classes at a port interval, and of a flow.

use crate::class::{Class, ClassId, Endpoint, HostRole, Located, Policed, index};
use crate::flow::{EPHEMERAL_PORTS_DEFAULT, Flow, FlowProtocol, SourceKind};
use crate::id::RuleId;
use crate::predict::{RouteTaken, Way, verdict};
use crate::prediction::{BypassReason, Denial, Gate, UnknownReason, Verdict};
use crate::snapshot::{Direction, EnforcingMode, Match, Snat};

use super::Matrix;
use super::acl::AclRowId;
use super::ports::has;
use super::row::{NO_GROUPS, RowId};

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

/// A verdict with every gate's deciding element, borrowed from the relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'m> {
    /// The verdict.
    pub kind: VerdictKind,
    /// Gate that decides a deny or a partial.
    pub gate: Option<Gate>,
    /// Word of a route denial or of an unknown.
    pub reason: Option<&'static str>,
    /// Rule that admits at the sender; absent where none does.
    pub egress: Option<&'m RuleId>,
    /// Rule that admits at the receiver; absent where none does.
    pub ingress: Option<&'m RuleId>,
    /// Number of the entry of the sender's subnet that decides; absent inside a subnet and where nobody can tell.
    pub entry_out: Option<u32>,
    /// Number of the entry of the receiver's subnet that decides.
    pub entry_in: Option<u32>,
    pub(crate) route: Option<&'m RouteTaken>,
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
    /// The path is not known.
    Path(&'m UnknownReason),
    /// Rules cannot be resolved, or there are no groups.
    Rules,
    /// Something else is not known.
    Other,
    /// A NetworkPolicy selects an end.
    Policy,
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
            Self::Path(_) | Self::Rules | Self::Other | Self::Policy => VerdictKind::Unknown,
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
            Self::Path(_) | Self::Rules | Self::Other | Self::Policy | Self::Allow => None,
        }
    }
}

impl<'s> Matrix<'s> {
    /// The rows and the way of a pair; absent of two families.
    pub(super) fn pair(&self, source: ClassId, destination: ClassId) -> Option<Pair<'_>> {
        let (from, to) = (self.classes.facts(source), self.classes.facts(destination));
        let brief = self.brief(from, to)?;
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
        let way = pair.way;
        if let Some(verdict) = &way.endpoints {
            return Cell::Way(verdict);
        }
        let (egress, egress_unsure) = self.groups.bits(pair.egress);
        let is_admitted = has(egress, interval);
        if !is_admitted && !has(egress_unsure, interval) {
            return Cell::SgEgress;
        }
        if let Some(verdict) = &way.route {
            return Cell::Way(verdict);
        }
        let mut other = way.after_rules.is_some();
        if let Some((out, _)) = pair.acls {
            match self.acl(out, interval) {
                Some(number) => return Cell::NaclOut(number),
                None => other |= has(self.acls.bits(out).1, interval),
            }
        }
        if let Some(verdict) = &way.receiver {
            return Cell::Way(verdict);
        }
        if let Some((_, back)) = pair.acls {
            match self.acl(back, interval) {
                Some(number) => return Cell::NaclIn(number),
                None => other |= has(self.acls.bits(back).1, interval),
            }
        }
        let (ingress, ingress_unsure) = self.groups.bits(pair.ingress);
        let is_let_in = has(ingress, interval);
        if !is_let_in && !has(ingress_unsure, interval) {
            return Cell::SgIngress;
        }
        if let Some(verdict) = way.replies.as_ref().or(way.return_route.as_ref()) {
            return Cell::Way(verdict);
        }
        if let Some(reason) = &way.before_rules {
            return Cell::Path(reason);
        }
        if !is_admitted || !is_let_in {
            return Cell::Rules;
        }
        match (other, pair.policed, &way.partial) {
            (true, _, _) => Cell::Other,
            (false, Policed::Yes, _) => Cell::Policy,
            (false, Policed::No, Some(verdict)) => Cell::Way(verdict),
            (false, Policed::No, None) => Cell::Allow,
        }
    }

    /// The number of the entry that denies an interval, if one does.
    fn acl(&self, row: AclRowId, interval: usize) -> Option<u32> {
        let (passing, unsure) = self.acls.bits(row);
        let is_denied = !has(passing, interval) && !has(unsure, interval);
        is_denied.then(|| self.acls.deciding(row, interval))
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
                None => match self.pair(from.class, to.class) {
                    None => verdict(self.snapshot, flow),
                    Some(pair) => self.spell(&pair, self.ports.of(port), (from, to)),
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
                            let pair = self.pair(from, to)?;
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
        let mut answer = self.groups.answer(egress, interval);
        answer = answer.and(self.groups.answer(ingress, interval));
        if !brief.is_same_subnet {
            let (out, back) = brief.acls;
            answer = answer.and(self.acls.answer(out, interval));
            answer = answer.and(self.acls.answer(back, interval));
        }
        match (answer, from.policed.max(to.policed)) {
            (Match::No, _) => Some(VerdictKind::Deny),
            (Match::Yes, Policed::No) => Some(VerdictKind::Allow),
            (Match::Yes, Policed::Yes) | (Match::Unsure, _) => None,
        }
    }

    /// Returns the verdict of a flow with what decides at every gate; absent of flows that the relation does not cover.
    #[must_use]
    pub fn decision(&self, flow: &Flow) -> Option<Decision<'_>> {
        let (from, to, port) = self.ends(flow)?;
        if let Some(verdict) = self.same_host(from, to) {
            return Some(Decision {
                kind: VerdictKind::from(&verdict),
                gate: None,
                reason: verdict.reason(),
                egress: None,
                ingress: None,
                entry_out: None,
                entry_in: None,
                route: None,
            });
        }
        let pair = self.pair(from.class, to.class)?;
        Some(self.decide(&pair, self.ports.of(port)))
    }

    /// Everything that decides one cell.
    pub(super) fn decide<'m>(&'m self, pair: &Pair<'m>, interval: usize) -> Decision<'m> {
        let cell = self.cell(pair, interval);
        let rule = |row| {
            let place = self.groups.deciding(row, interval)?;
            self.groups.rule(place).map(|rule| &rule.id)
        };
        let entry = |row| Some(self.acls.deciding(row, interval)).filter(|number| *number != 0);
        Decision {
            kind: cell.kind(),
            gate: cell.gate(),
            reason: self.reason(pair, cell, interval),
            egress: rule(pair.egress),
            ingress: rule(pair.ingress),
            entry_out: pair.acls.and_then(|(out, _)| entry(out)),
            entry_in: pair.acls.and_then(|(_, back)| entry(back)),
            route: pair.way.route_taken.as_ref(),
        }
    }

    fn reason(&self, pair: &Pair<'_>, cell: Cell<'_>, interval: usize) -> Option<&'static str> {
        match cell {
            Cell::Way(verdict) => verdict.reason(),
            Cell::Path(reason) => Some(reason.as_str()),
            Cell::Rules if self.lacks_groups(pair, interval) => {
                Some(UnknownReason::NoGroups.as_str())
            }
            Cell::Rules => Some(UnknownReason::UnresolvedRule { rules: Vec::new() }.as_str()),
            Cell::Other => Some(UnknownReason::Other.as_str()),
            Cell::Policy => Some(UnknownReason::NetworkPolicy.as_str()),
            Cell::SgEgress | Cell::SgIngress | Cell::NaclOut(_) | Cell::NaclIn(_) | Cell::Allow => {
                None
            }
        }
    }

    /// The ends of a flow that the relation covers.
    fn ends(&self, flow: &Flow) -> Option<(&Endpoint, &Endpoint, u16)> {
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
        let vpc = self.snapshot.interfaces.at(from.owner).vpc;
        let may_be_translated = flow.source_kind == SourceKind::Pod
            && flow.destination.is_ipv4()
            && self.snapshot.cni.snat == Snat::OnNode
            && !self.snapshot.vpcs.at(vpc).contains(flow.destination);
        let is_covered = flow.source != flow.destination
            && !flow.source.is_loopback()
            && !flow.destination.is_loopback()
            && !may_be_translated;
        is_covered.then_some((from, to, port))
    }

    /// The verdict of two endpoints of one host that do not meet over the VPC (E.3, E.4).
    fn same_host(&self, from: &Endpoint, to: &Endpoint) -> Option<Verdict> {
        if from.host != to.host {
            return None;
        }
        let (one, other) = (self.classes.class(from.class), self.classes.class(to.class));
        let is_branch = |class: &Class| class.role == HostRole::Branch;
        let has_branch = is_branch(one) || is_branch(other);
        if has_branch && self.snapshot.cni.enforcing_mode == EnforcingMode::Strict {
            return None;
        }
        if has_branch && one.groups != other.groups {
            return Some(Verdict::Unknown(UnknownReason::SameHostBranch));
        }
        Some(Verdict::Bypass(BypassReason::SameHost))
    }

    /// The whole verdict of a cell, with the names of the interfaces.
    fn spell(
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
            Cell::Path(reason) => Verdict::Unknown(reason.clone()),
            Cell::Rules => Verdict::Unknown(self.unresolved(pair, interval)),
            Cell::Other => Verdict::Unknown(UnknownReason::Other),
            Cell::Policy => Verdict::Unknown(UnknownReason::NetworkPolicy),
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
    fn unresolved(&self, pair: &Pair<'_>, interval: usize) -> UnknownReason {
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
        UnknownReason::UnresolvedRule { rules }
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
