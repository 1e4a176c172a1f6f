//! A small prober, so that a lab can be judged without agents.

use std::io::{self, ErrorKind, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::LabError;
use crate::lab::Lab;

/// Probes sent so far: makes every payload one of its kind.
static SENT: AtomicU64 = AtomicU64::new(0);

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// An address of the endpoint that sends.
    pub source: IpAddr,
    /// Where to, of the same family.
    pub destination: IpAddr,
    /// Protocol and ports or types.
    pub traffic: Traffic,
    /// How long to wait before silence is silence.
    pub wait: Duration,
}

/// The protocol of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// A TCP connection; source port 0 lets the kernel choose.
    Tcp {
        /// The port to connect to.
        port: u16,
        /// The port to connect from.
        source_port: u16,
    },
    /// One UDP datagram; source port 0 lets the kernel choose.
    Udp {
        /// The port to send to.
        port: u16,
        /// The port to send from.
        source_port: u16,
    },
    /// One ICMP or ICMPv6 message, by the family of the addresses.
    Icmp {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
    /// One packet of another protocol.
    Other {
        /// The protocol number.
        protocol: u8,
    },
}

/// What the kernel made of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A connection was made, or a datagram answered: something listens there.
    Connected,
    /// The host said that nothing listens there: the way is open.
    Refused,
    /// The packet was seen at its destination, or the answer to an echo at its source. Only for protocols without ports.
    Arrived,
    /// Nothing came until the wait was over.
    Silent,
}

impl Answer {
    /// Whether packets got through.
    pub fn is_open(self) -> bool {
        match self {
            Self::Connected | Self::Refused | Self::Arrived => true,
            Self::Silent => false,
        }
    }
}

impl Lab {
    /// Sends `probe` from `endpoint` and waits for what becomes of it.
    ///
    /// TCP, UDP and echoes are judged by their answer, other protocols by their arrival at the endpoint that has the
    /// destination's address (if none has it: by an answer that repeats the payload, as an echo does).
    ///
    /// # Errors
    /// [`LabError::UnknownEndpoint`]; [`LabError::Probe`] if the kernel refuses to send, for example because the
    /// source is no address of the endpoint.
    pub fn probe(&self, endpoint: &str, probe: &Probe) -> Result<Answer, LabError> {
        let failed = |source| LabError::Probe {
            endpoint: endpoint.to_owned(),
            source,
        };
        let (protocol, message) = match probe.traffic {
            Traffic::Tcp { port, source_port } => {
                return self
                    .within(endpoint, || tcp(probe, port, source_port))?
                    .map_err(failed);
            }
            Traffic::Udp { port, source_port } => {
                return self
                    .within(endpoint, || udp(probe, port, source_port))?
                    .map_err(failed);
            }
            Traffic::Icmp { kind, code } if probe.destination.is_ipv4() => {
                (1, icmp_message(kind, code))
            }
            Traffic::Icmp { kind, code } => (58, icmpv6_message(kind, code)),
            Traffic::Other { protocol } => (protocol, marker().to_vec()),
        };
        let watcher = self
            .endpoint_at(probe.destination)
            .filter(|_| !probe.is_echo())
            .map_or(endpoint, |found| found.name.as_str());
        let receiver = self
            .within(watcher, || raw(probe.destination, protocol))?
            .map_err(failed)?;
        self.within(endpoint, || send(probe, protocol, &message))?
            .map_err(failed)?;
        arrival(&receiver, &message, probe.wait).map_err(failed)
    }
}

impl Probe {
    /// Whether the kernel of the destination answers with the same payload.
    fn is_echo(&self) -> bool {
        let request = if self.destination.is_ipv4() { 8 } else { 128 };
        matches!(self.traffic, Traffic::Icmp { kind, code: 0 } if kind == request)
    }
}

fn tcp(probe: &Probe, port: u16, source_port: u16) -> io::Result<Answer> {
    let socket = Socket::new(
        Domain::for_address(at(probe.destination, port)),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&at(probe.source, source_port).into())?;
    match socket.connect_timeout(&at(probe.destination, port).into(), probe.wait) {
        Ok(()) => Ok(Answer::Connected),
        Err(error) => judge(error),
    }
}

fn udp(probe: &Probe, port: u16, source_port: u16) -> io::Result<Answer> {
    let mut socket = Socket::new(
        Domain::for_address(at(probe.destination, port)),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.bind(&at(probe.source, source_port).into())?;
    socket.connect(&at(probe.destination, port).into())?;
    socket.set_read_timeout(Some(probe.wait))?;
    socket.send(&marker())?;
    // Any datagram from there is an answer, however long.
    socket
        .read(&mut [0; 64])
        .map(|_| Answer::Connected)
        .or_else(judge)
}

/// Tells answers and silence from errors of this host.
fn judge(error: io::Error) -> io::Result<Answer> {
    if error.kind() == ErrorKind::ConnectionRefused {
        Ok(Answer::Refused)
    } else if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) {
        Ok(Answer::Silent)
    } else {
        Err(error)
    }
}

fn raw(address: IpAddr, protocol: u8) -> io::Result<Socket> {
    Socket::new(
        Domain::for_address(at(address, 0)),
        Type::RAW,
        Some(Protocol::from(i32::from(protocol))),
    )
}

fn send(probe: &Probe, protocol: u8, message: &[u8]) -> io::Result<()> {
    let socket = raw(probe.source, protocol)?;
    socket.bind(&at(probe.source, 0).into())?;
    socket.send_to(message, &at(probe.destination, 0).into())?;
    Ok(())
}

/// Waits until the payload of `message` is seen.
fn arrival(mut receiver: &Socket, message: &[u8], wait: Duration) -> io::Result<Answer> {
    let payload = message
        .get(message.len().saturating_sub(MARKER)..)
        .unwrap_or(message);
    let end = Instant::now() + wait;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Answer::Silent);
        }
        receiver.set_read_timeout(Some(left))?;
        let mut packet = [0; 2048];
        match receiver.read(&mut packet) {
            Ok(length) => {
                let seen = packet.get(..length).unwrap_or_default();
                if seen.windows(payload.len()).any(|window| window == payload) {
                    return Ok(Answer::Arrived);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return judge(error),
        }
    }
}

/// Bytes of a payload.
const MARKER: usize = 16;

/// A payload that no other probe of this process has.
fn marker() -> [u8; MARKER] {
    let number = SENT.fetch_add(1, Ordering::Relaxed);
    let mut marker = *b"reachpro00000000";
    for (byte, value) in marker.iter_mut().skip(8).zip(number.to_be_bytes()) {
        *byte = value;
    }
    marker
}

/// An ICMP message with its checksum (RFC 792).
fn icmp_message(kind: u8, code: u8) -> Vec<u8> {
    let mut message = icmpv6_message(kind, code);
    let sum: u32 = message
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
            _ => 0,
        })
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let [_, _, high, low] = (!((folded & 0xffff) + (folded >> 16))).to_be_bytes();
    for (byte, value) in message.iter_mut().skip(2).zip([high, low]) {
        *byte = value;
    }
    message
}

/// An ICMPv6 message; the kernel puts the checksum in.
fn icmpv6_message(kind: u8, code: u8) -> Vec<u8> {
    [kind, code, 0, 0, 0x52, 0x50, 0, 1]
        .into_iter()
        .chain(marker())
        .collect()
}

fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_over_an_icmp_message_is_all_ones() {
        let message = icmp_message(13, 0);
        let sum: u32 = message
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn no_two_probes_have_one_payload() {
        assert_ne!(marker(), marker());
    }
}
