//! Assignments, with every bound of `control.proto` checked.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use reachproof_proto::{
    net::{
        InvalidAddress, InvalidLength, InvalidPort, Nonce, address_from_wire, bytes_from_wire,
        port_from_wire,
    },
    v1,
};
use thiserror::Error;

use super::errno_to_wire;
use crate::{
    limits::{
        ATTEMPTS_MAX, DEADLINE_MAX, EXPIRY_MAX, FIRST_ATTEMPT_MAX, INTERVAL_MAX, LISTEN_MAX,
        PROBES_MAX, RUN_NAME_MAX, SOURCE_PORTS_MAX,
    },
    listener::{ListenFailure, ListenOrder},
    outcome::Errno,
    probe::{AfterAnswer, Attempts, Probe, ProbeKind, RunName, SourcePorts, Turn},
};

/// Lowest port that is planned on this side: lower ones need a right that the agent does not have.
const UNPRIVILEGED_PORT_FIRST: u16 = 1024;

/// One assignment, its bounds checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The run it belongs to.
    pub run: RunName,
    /// Its number within the run, from 1.
    pub generation: u32,
    /// Ports to open.
    pub listen: Vec<ListenOrder>,
    /// Ports that cannot be opened, as numbers of the wire.
    pub listen_refused: Vec<u32>,
    /// Flows to try.
    pub probes: Vec<Probe>,
    /// Probes that cannot be made, each with what is wrong.
    pub refused: Vec<(u32, InvalidProbe)>,
    /// From receipt until nothing new is started.
    pub expires_after: Duration,
}

/// An assignment that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidAssignment {
    /// The run has no usable name.
    #[error("the name of a run has {length} bytes, needs 1 to {RUN_NAME_MAX}")]
    Run {
        /// How many bytes it has.
        length: usize,
    },
    /// There are too many probes.
    #[error("an assignment has {count} probes, takes at most {PROBES_MAX}")]
    Probes {
        /// How many there are.
        count: usize,
    },
    /// There are too many ports to open.
    #[error("an assignment has {count} ports to open, takes at most {LISTEN_MAX}")]
    Listen {
        /// How many there are.
        count: usize,
    },
}

/// A probe that breaks a bound of `control.proto`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidProbe {
    /// The target is no address.
    #[error("target: {0}")]
    Target(InvalidAddress),
    /// The target's port is no port.
    #[error("target: {0}")]
    Port(InvalidPort),
    /// The source is no address.
    #[error("source: {0}")]
    Source(InvalidAddress),
    /// Source and target are of different families.
    #[error("source and target are not of one address family")]
    Family,
    /// The kind is not known to this version.
    #[error("kind {0} is unknown, needs a newer agent")]
    Kind(i32),
    /// The nonce is not one.
    #[error("nonce: {0}")]
    Nonce(InvalidLength),
    /// A source port is no port, or a privileged one.
    #[error("source port {0} is out of range, needs {UNPRIVILEGED_PORT_FIRST} to 65535")]
    SourcePort(u32),
    /// A range of source ports has none, or a privileged one.
    #[error(
        "source ports {0} to {1} are out of range, needs a range within {UNPRIVILEGED_PORT_FIRST} to 65535"
    )]
    SourcePortRange(u32, u32),
    /// There are too many source ports, or ranges of them.
    #[error("{0} source ports or ranges are planned, takes at most {SOURCE_PORTS_MAX}")]
    SourcePorts(usize),
    /// There are too few or too many attempts.
    #[error("{0} attempts are out of range, needs 1 to {ATTEMPTS_MAX}")]
    Attempts(u32),
    /// The number of the first attempt is too high.
    #[error("first attempt {0} is out of range, needs at most {FIRST_ATTEMPT_MAX}")]
    FirstAttempt(u32),
    /// The deadline is out of range.
    #[error("deadline of {0} ms is out of range, needs 1 to 60000")]
    Deadline(u32),
    /// The interval is out of range.
    #[error("interval of {0} ms is out of range, needs the deadline to 600000")]
    Interval(u32),
}

impl TryFrom<v1::Assignment> for Assigned {
    type Error = InvalidAssignment;

    /// Checks an assignment. One bad probe or port spoils only itself.
    fn try_from(wire: v1::Assignment) -> Result<Assigned, InvalidAssignment> {
        if wire.run.is_empty() || wire.run.len() > RUN_NAME_MAX {
            return Err(InvalidAssignment::Run {
                length: wire.run.len(),
            });
        }
        if wire.probes.len() > PROBES_MAX {
            return Err(InvalidAssignment::Probes {
                count: wire.probes.len(),
            });
        }
        if wire.listen.len() > LISTEN_MAX {
            return Err(InvalidAssignment::Listen {
                count: wire.listen.len(),
            });
        }
        let mut assigned = Assigned {
            run: RunName::new(&wire.run),
            generation: wire.generation,
            listen: Vec::new(),
            listen_refused: Vec::new(),
            probes: Vec::new(),
            refused: Vec::new(),
            expires_after: Duration::from_millis(wire.expires_after_ms.into()).min(EXPIRY_MAX),
        };
        for listen in &wire.listen {
            match listen_from_wire(listen) {
                Some(order) => assigned.listen.push(order),
                None => assigned.listen_refused.push(listen.port),
            }
        }
        for probe in &wire.probes {
            match probe_from_wire(probe) {
                Ok(probe) => assigned.probes.push(probe),
                Err(invalid) => assigned.refused.push((probe.id, invalid)),
            }
        }
        Ok(assigned)
    }
}

/// A port to open; none when port or key are out of bounds.
fn listen_from_wire(wire: &v1::Listen) -> Option<ListenOrder> {
    Some(ListenOrder {
        port: unprivileged(wire.port)?,
        key: bytes_from_wire(&wire.proof_key).ok()?,
    })
}

/// A probe, its bounds checked.
fn probe_from_wire(wire: &v1::Probe) -> Result<Probe, InvalidProbe> {
    let target = address_from_wire(&wire.target).map_err(InvalidProbe::Target)?;
    let port = port_from_wire(wire.port).map_err(InvalidProbe::Port)?;
    let source = address_from_wire(&wire.source).map_err(InvalidProbe::Source)?;
    if target.is_ipv4() != source.is_ipv4() {
        return Err(InvalidProbe::Family);
    }
    let deadline = Duration::from_millis(wire.deadline_ms.into());
    if deadline.is_zero() || deadline > DEADLINE_MAX {
        return Err(InvalidProbe::Deadline(wire.deadline_ms));
    }
    let interval = Duration::from_millis(wire.interval_ms.into());
    if interval < deadline || interval > INTERVAL_MAX {
        return Err(InvalidProbe::Interval(wire.interval_ms));
    }
    Ok(Probe {
        id: wire.id,
        target: SocketAddr::new(target, port),
        source: Some(source),
        kind: kind_from_wire(wire)?,
        attempts: attempts_from_wire(wire)?,
        deadline,
        interval,
    })
}

/// What a probe does once it is connected.
fn kind_from_wire(wire: &v1::Probe) -> Result<ProbeKind, InvalidProbe> {
    match v1::ProbeKind::try_from(wire.kind) {
        Ok(v1::ProbeKind::TcpConnect) => Ok(ProbeKind::TcpConnect),
        Ok(v1::ProbeKind::Peer) => {
            let nonce = bytes_from_wire(&wire.nonce).map_err(InvalidProbe::Nonce)?;
            Ok(ProbeKind::Peer { nonce })
        }
        Ok(v1::ProbeKind::DnsUdp) => query_id(wire).map(|id| ProbeKind::DnsUdp { id }),
        Ok(v1::ProbeKind::DnsTcp) => query_id(wire).map(|id| ProbeKind::DnsTcp { id }),
        Ok(v1::ProbeKind::Tls) => Ok(ProbeKind::Tls),
        Ok(v1::ProbeKind::Unspecified) | Err(_) => Err(InvalidProbe::Kind(wire.kind)),
    }
}

/// The id of the first query: the first two bytes of the nonce.
fn query_id(wire: &v1::Probe) -> Result<u16, InvalidProbe> {
    let nonce: Nonce = bytes_from_wire(&wire.nonce).map_err(InvalidProbe::Nonce)?;
    let [high, low, ..] = nonce;
    Ok(u16::from_be_bytes([high, low]))
}

/// How often a probe is made, and from which ports. Planned ports count for themselves, whatever `attempts` says.
fn attempts_from_wire(wire: &v1::Probe) -> Result<Attempts, InvalidProbe> {
    let planned = wire.source_ports.len().max(wire.source_port_ranges.len());
    if planned > SOURCE_PORTS_MAX {
        return Err(InvalidProbe::SourcePorts(planned));
    }
    if wire.first_attempt > FIRST_ATTEMPT_MAX {
        return Err(InvalidProbe::FirstAttempt(wire.first_attempt));
    }
    let attempts = if wire.source_ports.is_empty() {
        drawn_from_wire(wire)?
    } else {
        planned_from_wire(&wire.source_ports)?
    };
    Ok(Attempts {
        first: wire.first_attempt,
        ..attempts
    })
}

/// Attempts from planned ports.
fn planned_from_wire(ports: &[u32]) -> Result<Attempts, InvalidProbe> {
    let port = |port: &u32| unprivileged(*port).ok_or(InvalidProbe::SourcePort(*port));
    let ports = ports.iter().map(port).collect::<Result<_, _>>()?;
    Ok(Attempts::from_ports(ports))
}

/// Attempts from random ports.
fn drawn_from_wire(wire: &v1::Probe) -> Result<Attempts, InvalidProbe> {
    if wire.attempts == 0 || wire.attempts > ATTEMPTS_MAX {
        return Err(InvalidProbe::Attempts(wire.attempts));
    }
    let ranges = wire
        .source_port_ranges
        .iter()
        .map(range_from_wire)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Attempts {
        turn: if wire.beside {
            Turn::Beside
        } else {
            Turn::Paced
        },
        after_answer: if wire.every {
            AfterAnswer::GoOn
        } else {
            AfterAnswer::End
        },
        ports: if ranges.is_empty() {
            SourcePorts::Ephemeral
        } else {
            SourcePorts::Within(ranges)
        },
        ..Attempts::until_answered(wire.attempts)
    })
}

/// A range of source ports.
fn range_from_wire(wire: &v1::PortRange) -> Result<RangeInclusive<u16>, InvalidProbe> {
    let range = unprivileged(wire.first).zip(unprivileged(wire.last));
    range
        .map(|(first, last)| first..=last)
        .filter(|range| !range.is_empty())
        .ok_or(InvalidProbe::SourcePortRange(wire.first, wire.last))
}

/// A port that needs no right.
fn unprivileged(port: u32) -> Option<u16> {
    port_from_wire(port)
        .ok()
        .filter(|port| *port >= UNPRIVILEGED_PORT_FIRST)
}

/// The report of an assignment that asked for ports.
pub fn listen_report(assigned: &Assigned, failures: &[ListenFailure]) -> v1::ListenReport {
    let refused = assigned
        .listen_refused
        .iter()
        .map(|port| (*port, Errno::INVALID));
    let failed = failures
        .iter()
        .map(|failure| (u32::from(failure.port), failure.errno));
    v1::ListenReport {
        run: assigned.run.as_str().to_owned(),
        generation: assigned.generation,
        failures: refused
            .chain(failed)
            .map(|(port, errno)| v1::ListenFailure {
                port,
                errno: errno_to_wire(errno),
            })
            .collect(),
    }
}
