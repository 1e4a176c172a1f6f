//! `/portForward` of a kubelet, by WebSocket: what API servers hand on when somebody asks them for a port-forward with the
//! subprotocol `v4.channel.k8s.io` (k8s.io/kubelet, `pkg/cri/streaming/portforward/websocket.go`).
//!
//! Of each message the first byte names the channel: 0 has the bytes of the port, 1 what went wrong with it. The first
//! message of each is the port's number. Frames are those of RFC 6455, "Data Framing".

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::ServerConnection;

use crate::authority::base64;
use crate::namespace::within;

/// What is appended to a key before it is hashed (RFC 6455, "Opening Handshake").
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The only way of speaking that is known here.
const PROTOCOL: &str = "v4.channel.k8s.io";

/// Channels of the first port.
const DATA: u8 = 0;
const ERROR: u8 = 1;

/// Kinds of frames (RFC 6455, "Base Framing Protocol"), the last fragment of a message.
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

/// Most bytes of a frame that is read.
const FRAME_MAX: usize = 16 << 20;

/// How often it is looked whether the lab ends, in milliseconds.
const TICK_MS: u8 = 100;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Namespace and name of the pod.
    pub(crate) pod: (String, String),
    port: u16,
    key: String,
}

impl Asked {
    /// Reads a request; absent where it is none for a port-forward by WebSocket.
    pub(crate) fn of(request: &str) -> Option<Self> {
        let mut lines = request.split("\r\n");
        let target = lines.next()?.strip_prefix("GET /portForward/")?;
        let (path, query) = target.split(' ').next()?.split_once('?')?;
        let (namespace, name) = path.split_once('/')?;
        let headers: Vec<(String, &str)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
            .collect();
        let header = |wanted: &str| {
            let found = headers.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| *value)
        };
        let mut protocols = header("sec-websocket-protocol")?.split(',');
        protocols.find(|protocol| protocol.trim() == PROTOCOL)?;
        let mut words = query.split('&');
        let port = words.find_map(|word| word.strip_prefix("port=")?.parse().ok())?;
        Some(Self {
            pod: (namespace.to_owned(), name.to_owned()),
            port,
            key: header("sec-websocket-key")?.to_owned(),
        })
    }

    /// The answer that makes a WebSocket of the connection.
    fn welcome(&self) -> String {
        let hashed = digest(
            &SHA1_FOR_LEGACY_USE_ONLY,
            format!("{}{GUID}", self.key).as_bytes(),
        );
        let accept = base64(hashed.as_ref());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n"
        )
    }
}

/// A connection that was made a WebSocket.
pub(crate) struct Tunnel {
    asked: Asked,
    tls: Box<ServerConnection>,
    stream: TcpStream,
    /// What came and is no whole frame.
    pending: Vec<u8>,
}

/// Whether a tunnel goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Over,
}

impl Tunnel {
    pub(crate) fn new(asked: Asked, tls: Box<ServerConnection>, stream: TcpStream) -> Self {
        Self {
            asked,
            tls,
            stream,
            pending: Vec::new(),
        }
    }

    /// Carries bytes between the client and the port, in the network namespace `place` of the pod, until one of both ends or
    /// `stop` is set.
    ///
    /// # Errors
    /// What the sockets say.
    pub(crate) fn carry(mut self, place: &str, stop: &AtomicBool) -> io::Result<()> {
        self.stream.set_nonblocking(false)?;
        self.tls.set_buffer_limit(None);
        self.tls
            .writer()
            .write_all(self.asked.welcome().as_bytes())?;
        let number = self.asked.port.to_le_bytes();
        self.send(DATA, &number)?;
        self.send(ERROR, &number)?;
        let port = self.asked.port;
        let dialled = within(place, move || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        });
        let mut pod = match dialled.map_err(io::Error::other)? {
            Ok(pod) => pod,
            Err(error) => {
                let (_, name) = &self.asked.pod;
                let said = format!("error forwarding port {port} to pod {name}: {error}");
                self.send(ERROR, said.as_bytes())?;
                return self.end();
            }
        };
        while !stop.load(Ordering::Relaxed) {
            let (from_client, from_pod) = self.wait(&pod)?;
            if from_client && self.take(&mut pod)? == State::Over {
                return Ok(());
            }
            if from_pod {
                let mut bytes = [0; 16 * 1024];
                match pod.read(&mut bytes)? {
                    0 => return self.end(),
                    length => self.send(DATA, bytes.get(..length).unwrap_or_default())?,
                }
            }
        }
        self.end()
    }

    /// Which of both has something to say.
    fn wait(&self, pod: &TcpStream) -> io::Result<(bool, bool)> {
        let mut sockets =
            [self.stream.as_fd(), pod.as_fd()].map(|socket| PollFd::new(socket, PollFlags::POLLIN));
        poll(&mut sockets, PollTimeout::from(TICK_MS))?;
        let [client, pod] = sockets.map(|socket| socket.any().unwrap_or(false));
        Ok((client, pod))
    }

    /// Hands on what the client sent.
    fn take(&mut self, pod: &mut TcpStream) -> io::Result<State> {
        if self.tls.read_tls(&mut self.stream)? == 0 {
            return Ok(State::Over);
        }
        let read = self.tls.process_new_packets().map_err(io::Error::other)?;
        match self.tls.reader().read_to_end(&mut self.pending) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        while let Some((kind, payload)) = frame(&mut self.pending)? {
            match (kind, payload.split_first()) {
                (CLOSE, _) => return Ok(State::Over),
                (BINARY, Some((&DATA, bytes))) => pod.write_all(bytes)?,
                // Pings need no answer here, and nobody writes to the other channel.
                _ => {}
            }
        }
        let is_over = read.peer_has_closed();
        Ok(if is_over { State::Over } else { State::Open })
    }

    fn send(&mut self, channel: u8, bytes: &[u8]) -> io::Result<()> {
        let length = u64::try_from(bytes.len() + 1).map_err(io::Error::other)?;
        // The form for the longest frames is good for all that a client reads.
        let mut head = vec![BINARY, 127];
        head.extend(length.to_be_bytes());
        head.push(channel);
        self.tls.writer().write_all(&head)?;
        self.tls.writer().write_all(bytes)?;
        self.flush()
    }

    fn end(&mut self) -> io::Result<()> {
        self.tls.writer().write_all(&[CLOSE, 0])?;
        self.tls.send_close_notify();
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.stream)?;
        }
        Ok(())
    }
}

/// Takes the first whole frame of a client from `pending`: its kind and its payload.
///
/// # Errors
/// A frame that no client sends: without a mask, or too long.
fn frame(pending: &mut Vec<u8>) -> io::Result<Option<(u8, Vec<u8>)>> {
    let [kind, length, rest @ ..] = pending.as_slice() else {
        return Ok(None);
    };
    let (kind, length) = (*kind, *length);
    if length & 0x80 == 0 {
        return Err(io::Error::other("a frame without a mask"));
    }
    let wide = match length & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((wide, rest)) = rest.split_at_checked(wide) else {
        return Ok(None);
    };
    let length = if wide.is_empty() {
        usize::from(length & 0x7f)
    } else {
        wide.iter().fold(0_usize, |sum, byte| {
            sum.saturating_mul(256).saturating_add((*byte).into())
        })
    };
    if length > FRAME_MAX {
        return Err(io::Error::other("the frame is too long"));
    }
    let Some((mask, rest)) = rest.split_at_checked(4) else {
        return Ok(None);
    };
    let Some(masked) = rest.get(..length) else {
        return Ok(None);
    };
    let payload = masked.iter().zip(mask.iter().cycle());
    let payload = payload.map(|(byte, mask)| byte ^ mask).collect();
    let whole = pending.len() - (rest.len() - length);
    pending.drain(..whole);
    Ok(Some((kind, payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, "Opening Handshake".
    const REQUEST: &str = "GET /portForward/network/x-1?port=7080 HTTP/1.1\r\nHost: n\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: v5.channel.k8s.io, v4.channel.k8s.io\r\n\r\n";

    #[test]
    fn a_request_for_a_port_is_welcomed_by_its_key() {
        let asked = Asked::of(REQUEST).unwrap();
        assert_eq!(asked.pod, ("network".to_owned(), "x-1".to_owned()));
        assert_eq!(asked.port, 7080);
        let welcome = asked.welcome();
        assert!(
            welcome.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{welcome}"
        );
        for other in [
            REQUEST.replace("v4.channel.k8s.io", "v6.channel.k8s.io"),
            REQUEST.replace("port=7080", "port=x"),
            REQUEST.replace("/portForward/", "/exec/"),
        ] {
            assert_eq!(Asked::of(&other), None, "{other}");
        }
    }

    #[test]
    fn frames_are_taken_whole() {
        let mut short = vec![BINARY, 0x83, 1, 2, 3, 4];
        short.extend([b'a' ^ 1, b'b' ^ 2, b'c' ^ 3]);
        for cut in 0..short.len() {
            let mut part = short[..cut].to_vec();
            assert_eq!(frame(&mut part).unwrap(), None, "{cut}");
            assert_eq!(part.len(), cut);
        }
        let mut long = vec![BINARY, 0xfe, 1, 0, 0, 0, 0, 0];
        long.extend([7; 256]);
        let mut both = [short, long].concat();
        assert_eq!(frame(&mut both).unwrap(), Some((BINARY, b"abc".to_vec())));
        assert_eq!(frame(&mut both).unwrap(), Some((BINARY, vec![7; 256])));
        assert!(both.is_empty());
        assert!(frame(&mut vec![BINARY, 3, 1, 2, 3]).is_err());
        assert!(frame(&mut vec![BINARY, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
