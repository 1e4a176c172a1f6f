//! Connections that the kernel dropped because a queue of accepted connections was full.
//!
//! Each socket has a count of its own ([`socket_drops`](crate::sys::socket_drops)). Where it cannot be read, the count of the network
//! namespace bounds it from above: on a node, others listen there as well.

use std::fs;

/// Where the kernel counts them, for the network namespace of this process.
const NETSTAT: &str = "/proc/self/net/netstat";

/// Connections dropped in the network namespace since it exists, whoever listened; none where that cannot be read.
pub(super) fn namespace_drops() -> Option<u64> {
    drops(&fs::read_to_string(NETSTAT).ok()?)
}

/// `ListenDrops` of the group `TcpExt`, which counts also what `ListenOverflows` counts.
fn drops(netstat: &str) -> Option<u64> {
    let mut lines = netstat
        .lines()
        .filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let mut columns = names.split_whitespace().zip(numbers.split_whitespace());
    columns
        .find(|(name, _)| *name == "ListenDrops")
        .and_then(|(_, number)| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_by_its_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 2 30\n\
                    IpExt: ListenDrops\nIpExt: 9\n";
        assert_eq!(drops(text), Some(30));
    }

    #[test]
    fn what_is_not_there_is_not_nought() {
        for text in ["", "TcpExt: ListenDrops\n", "TcpExt: A\nTcpExt: 1\n"] {
            assert_eq!(drops(text), None, "{text}");
        }
    }

    #[test]
    fn the_kernel_counts_for_every_namespace() {
        assert!(namespace_drops().is_some());
    }
}
