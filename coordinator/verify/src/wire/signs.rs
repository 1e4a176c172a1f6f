//! What an agent says of itself while it takes part: signs of life, and what its kernel dropped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use reachproof_model::observation::Lateness;
use reachproof_proto::v1;

use super::{InvalidMessage, address, count, port};

/// Most listening sockets of one report (`control.proto`).
pub const LISTEN_DROPS_MAX: usize = 1_024;

/// What a heartbeat says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Number of the ping that it answers; absent where it answers none.
    pub ping: Option<u64>,
    /// When it was sent, by the agent's clock.
    pub sent: Duration,
    /// How late the agent's loops were in the time before; absent where nobody measured it.
    pub lateness: Option<Lateness>,
}

/// Reads a heartbeat.
///
/// # Errors
/// [`InvalidMessage`] for a time that begins after it ended.
pub fn beat(wire: &v1::Heartbeat) -> Result<Beat, InvalidMessage> {
    let (from, to) = (wire.late_since_us, wire.sent_us);
    let lateness = wire.late_max_us.map(|late_max| Lateness {
        from: Duration::from_micros(from),
        to: Duration::from_micros(to),
        late_max: Duration::from_micros(late_max.into()),
    });
    if lateness.is_some() && from > to {
        return Err(InvalidMessage::Range {
            field: "late_since_us",
            index: 0,
        });
    }
    Ok(Beat {
        ping: Some(wire.ping).filter(|number| *number != 0),
        sent: Duration::from_micros(to),
        lateness,
    })
}

/// What an agent's kernel dropped during a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drops {
    /// For want of room in any queue of accepted connections of its network namespace; absent where nobody can tell.
    pub accept_queues: Option<u64>,
    /// At each listening socket of the run that can be read.
    pub sockets: BTreeMap<SocketAddr, u64>,
}

/// Reads what an agent's kernel dropped. A socket that is named twice counts with the larger number.
///
/// # Errors
/// [`InvalidMessage`] for the first field that does not fit.
pub fn drops(wire: &v1::FenceReport) -> Result<Drops, InvalidMessage> {
    count("listen_drops", wire.listen_drops.len(), 0, LISTEN_DROPS_MAX)?;
    let mut sockets = BTreeMap::new();
    for listen in &wire.listen_drops {
        let address = address("listen_drops.address", &listen.address)?;
        let port = port("listen_drops.port", listen.port)?;
        let most: &mut u64 = sockets.entry(SocketAddr::new(address, port)).or_default();
        *most = listen.drops.max(*most);
    }
    Ok(Drops {
        accept_queues: wire.accept_queue_drops,
        sockets,
    })
}
