//! The relation with two endpoints that show each line: on two hosts, where the gates decide, or on one, where mostly they
//! are not met (E.3, E.4).

use std::net::IpAddr;
use std::rc::Rc;

use crate::class::{ClassId, Endpoint, Located, network_addresses, owned};
use crate::flow::Flow;
use crate::net::PortRange;
use crate::predict::verdict;
use crate::prediction::{BypassReason, Verdict};

use super::relation::{Filter, RelationEntry, Tuple};
use super::{Matrix, VerdictKind};

/// Endpoints that are meant, where somebody names them; absent for any of their class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    /// Address that sends.
    pub source: Option<IpAddr>,
    /// Address that receives.
    pub destination: Option<IpAddr>,
}

/// A line of the relation, and two endpoints for which it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEntry {
    /// What is said.
    pub entry: RelationEntry,
    /// An address that sends.
    pub source: IpAddr,
    /// An address that receives.
    pub destination: IpAddr,
    /// Whether it is said of endpoints that share a host.
    pub on_one_host: bool,
}

/// Most addresses of an owned network that are tried for a second one of a class: all of the prefixes that are delegated
/// for IPv4, and enough of those for IPv6, of which few are told apart.
const TRIED_MAX: usize = 256;

/// An endpoint with one of its addresses.
type Spot<'m> = (&'m Endpoint, IpAddr);

/// Endpoints of every class, sorted by their host.
#[derive(Clone)]
struct Inhabitants<'m>(Rc<[Vec<Spot<'m>>]>);

impl<'m> Inhabitants<'m> {
    fn new(matrix: &'m Matrix<'_>) -> Self {
        let spot = |address| match matrix.classes.locate(address) {
            Located::At(endpoint) => Some((endpoint, address)),
            Located::Nobody | Located::Apart => None,
        };
        let classes = matrix.classes.iter().map(|(_, class)| {
            let members = class.members.iter();
            let mut spots: Vec<_> = members.filter_map(|it| spot(it.address)).collect();
            // Stable: of several on one host, the first in the order of the snapshot stands for it.
            spots.sort_by_key(|(endpoint, _)| endpoint.host);
            spots
        });
        Self(classes.collect())
    }

    fn of(&self, class: ClassId) -> &[Spot<'m>] {
        self.0.get(class.place()).map_or(&[], Vec::as_slice)
    }
}

/// Two endpoints of two classes, of each kind of pair that there is.
#[derive(Default)]
struct Pairs<'m> {
    /// On two hosts.
    apart: Option<(Spot<'m>, Spot<'m>)>,
    /// Two addresses on one host.
    beside: Option<(Spot<'m>, Spot<'m>)>,
    /// One address alone.
    itself: Option<Spot<'m>>,
}

impl Matrix<'_> {
    /// Visits the relation as [`Matrix::relation`] does, and says of endpoints on one host what is true of them: `bypass`,
    /// or what a branch interface makes of it (E.4). Lines of which no two endpoints are an example are left out.
    pub fn listing<'m>(
        &'m self,
        filter: &'m Filter,
        ends: Ends,
    ) -> impl Iterator<Item = ListedEntry> + 'm {
        let is_wanted = |list: &Option<Vec<ClassId>>, id: ClassId| {
            list.as_ref().is_none_or(|list| list.contains(&id))
        };
        let ids = || self.classes.iter().map(|(id, _)| id);
        let sources = ids().filter(move |id| is_wanted(&filter.sources, *id));
        let inhabitants = Inhabitants::new(self);
        let ports = filter.ports.unwrap_or(PortRange::ALL);
        sources.flat_map(move |source| {
            let inhabitants = inhabitants.clone();
            let destinations = ids().filter(move |id| is_wanted(&filter.destinations, *id));
            destinations.flat_map(move |destination| {
                let pairs = self.pairs((source, destination), &inhabitants, ends);
                self.listed((source, destination), ports, &pairs)
            })
        })
    }

    /// The lines of two classes.
    fn listed(
        &self,
        classes: (ClassId, ClassId),
        ports: PortRange,
        pairs: &Pairs<'_>,
    ) -> Vec<ListedEntry> {
        let (source, destination) = classes;
        if self.pair(source, destination).is_none() {
            return Vec::new();
        }
        let beside = pairs
            .beside
            .map(|pair| (pair, self.beside(classes, ports, pair)));
        let (meeting, beside) = match beside {
            // A strict branch pod meets the gates on its own host, too.
            Some((pair, None)) => (pairs.apart.or(Some(pair)), Vec::new()),
            Some((_, Some(listed))) => (pairs.apart, listed),
            None => (pairs.apart, Vec::new()),
        };
        let mut listed = Vec::new();
        if let Some((from, to)) = meeting {
            let entries = self.entries(source, destination, ports).into_iter();
            listed.extend(entries.map(|entry| ListedEntry {
                entry,
                source: from.1,
                destination: to.1,
                on_one_host: from.0.host == to.0.host,
            }));
        }
        listed.extend(beside);
        if let (true, Some((_, address))) = (listed.is_empty(), pairs.itself) {
            let verdict = Verdict::Bypass(BypassReason::Loopback);
            listed.push(unmet(classes, ports, (address, address), &verdict));
        }
        listed
    }

    /// What is said of two addresses on one host; absent where they meet over the VPC.
    fn beside(
        &self,
        classes: (ClassId, ClassId),
        ports: PortRange,
        (from, to): (Spot<'_>, Spot<'_>),
    ) -> Option<Vec<ListedEntry>> {
        let addresses = (from.1, to.1);
        let vpc = |class| &self.classes.class(class).vpc;
        if vpc(classes.0) == vpc(classes.1) {
            let verdict = self.same_host(from.0, to.0)?;
            return Some(vec![unmet(classes, ports, addresses, &verdict)]);
        }
        // Whether they meet depends on the way: the walk knows.
        let mut listed: Vec<ListedEntry> = Vec::new();
        let intervals = self.ports.intervals().iter();
        for range in intervals.filter_map(|range| range.intersection(ports)) {
            let mut flow = Flow::tcp(from.1, to.1, range.first());
            flow.source_kind = self.classes.class(classes.0).source_kind;
            let said = unmet(classes, range, addresses, &verdict(self.snapshot, &flow));
            match listed.last_mut().map(|last| &mut last.entry) {
                Some(last)
                    if (last.verdict, &last.tuple) == (said.entry.verdict, &said.entry.tuple) =>
                {
                    last.ports = PortRange::between(last.ports.first(), range.last());
                }
                Some(_) | None => listed.push(said),
            }
        }
        Some(listed)
    }

    /// Two endpoints of each kind of pair that two classes have.
    fn pairs<'m>(
        &'m self,
        (source, destination): (ClassId, ClassId),
        inhabitants: &Inhabitants<'m>,
        ends: Ends,
    ) -> Pairs<'m> {
        let (mut one, mut other) = (None, None);
        let from = self.meant(inhabitants.of(source), ends.source, &mut one);
        let to = self.meant(inhabitants.of(destination), ends.destination, &mut other);
        let mut pairs = Pairs::default();
        let apart = |from: &Spot<'m>, to: &&Spot<'m>| from.0.host != to.0.host;
        // One of the first and the last is on another host than a third, if any two are.
        for side in [from.first(), from.last()].into_iter().flatten() {
            let far = [to.first(), to.last()].into_iter().flatten();
            let far = far.filter(|to| apart(side, to)).map(|to| (*side, *to));
            pairs.apart = pairs.apart.or(far.into_iter().next());
        }
        let mut rest = to;
        for side in from {
            while let [first, more @ ..] = rest
                && first.0.host < side.0.host
            {
                rest = more;
            }
            let mut there = rest.iter().take_while(|to| to.0.host == side.0.host);
            pairs.itself = pairs
                .itself
                .or(there.clone().find(|to| to.1 == side.1).copied());
            if let Some(found) = there.find(|to| to.1 != side.1) {
                pairs.beside = Some((*side, *found));
                break;
            }
        }
        if pairs.beside.is_none() && source == destination {
            pairs.beside = match (ends.source, ends.destination) {
                (Some(_), Some(_)) => None,
                (None, Some(_)) => to.first().and_then(|to| Some((self.second(*to)?, *to))),
                (_, None) => from
                    .iter()
                    .find_map(|from| Some((*from, self.second(*from)?))),
            };
        }
        pairs
    }

    /// The endpoints that are meant: all of a class, or the one that somebody names.
    fn meant<'a, 'm: 'a>(
        &'m self,
        all: &'a [Spot<'m>],
        named: Option<IpAddr>,
        one: &'a mut Option<Spot<'m>>,
    ) -> &'a [Spot<'m>] {
        let Some(address) = named else {
            return all;
        };
        if let Located::At(endpoint) = self.classes.locate(address) {
            *one = Some((endpoint, address));
        }
        one.as_slice()
    }

    /// Another address of an endpoint's interface in the same class.
    fn second<'m>(&'m self, (endpoint, address): Spot<'m>) -> Option<Spot<'m>> {
        let is_alike = |other: &IpAddr| {
            let is_there = matches!(self.classes.locate(*other), Located::At(at) if at == endpoint);
            *other != address && is_there
        };
        let owned = owned(self.snapshot.interfaces.at(endpoint.owner));
        let mut others = owned
            .into_iter()
            .flat_map(|network| network_addresses(network).take(TRIED_MAX));
        Some((endpoint, others.find(is_alike)?))
    }
}

/// A line about endpoints that meet no gate.
fn unmet(
    (source, destination): (ClassId, ClassId),
    ports: PortRange,
    addresses: (IpAddr, IpAddr),
    verdict: &Verdict,
) -> ListedEntry {
    ListedEntry {
        entry: RelationEntry {
            source,
            destination,
            ports,
            verdict: VerdictKind::from(verdict),
            tuple: Tuple {
                gate: verdict.gate(),
                reason: verdict.reason(),
                egress: None,
                ingress: None,
                entry_out: None,
                entry_in: None,
                route: None,
            },
        },
        source: addresses.0,
        destination: addresses.1,
        on_one_host: true,
    }
}
