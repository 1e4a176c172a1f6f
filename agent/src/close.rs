//! How a connection ends whose handshake was the evidence.

/// How a connection to a peer is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// With FIN: the random source port stays in TIME_WAIT.
    Normal,
    /// With RST: the source port is planned and may be needed again at once.
    Reset,
}
