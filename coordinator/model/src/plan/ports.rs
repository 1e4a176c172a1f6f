//! Source ports by which a partial verdict is judged.

use std::collections::BTreeSet;

use crate::net::PortRange;

/// Most source ports that one flow is tried from: each is a probe of its own. Ten entries of a network ACL make no more.
pub const JUDGED_PORTS_MAX: usize = 40;

/// Returns the ports at both ends of `range` and on both sides of every edge of `open`, within `range` (F.3).
///
/// `open` is sorted and disjoint. Empty when there are more than [`JUDGED_PORTS_MAX`]: then a flow cannot be judged.
#[must_use]
pub fn judged_ports(range: PortRange, open: &[PortRange]) -> BTreeSet<u16> {
    let mut ports = BTreeSet::from([range.first(), range.last()]);
    for open in open {
        let inside = [Some(open.first()), Some(open.last())];
        let outside = [open.first().checked_sub(1), open.last().checked_add(1)];
        ports.extend(inside.into_iter().chain(outside).flatten());
    }
    ports.retain(|port| range.contains(*port));
    if ports.len() > JUDGED_PORTS_MAX {
        ports.clear();
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The judged ports of a range from 32768 to 60999.
    fn judged(open: &[(u16, u16)]) -> Vec<u16> {
        let open: Vec<_> = open
            .iter()
            .map(|(first, last)| PortRange::between(*first, *last))
            .collect();
        judged_ports(PortRange::between(32_768, 60_999), &open)
            .into_iter()
            .collect()
    }

    #[test]
    fn both_ends_and_both_sides_of_every_edge_are_judged() {
        assert_eq!(
            judged(&[(32_768, 40_000), (50_000, 50_000)]),
            [32_768, 40_000, 40_001, 49_999, 50_000, 50_001, 60_999]
        );
    }

    #[test]
    fn ports_outside_the_ephemeral_range_are_not_judged() {
        assert_eq!(judged(&[(1_024, 65_535)]), [32_768, 60_999]);
    }

    #[test]
    fn too_many_edges_cannot_be_judged() {
        let open: Vec<_> = (0..20)
            .map(|index| (33_000 + 10 * index, 33_001 + 10 * index))
            .collect();
        assert!(judged(&open).is_empty());
    }
}
