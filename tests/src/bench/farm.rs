//! Targets in a namespace of their own: thousands of addresses behind one link, open, refused or silent.

use std::{
    fs::File,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    thread,
};

use clap::ValueEnum;
use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};

use super::Measured;

/// Port of every target.
pub const PORT: u16 = 80;

/// Most targets of one kind: the addresses of a /18, but for its first and last.
pub const TARGETS_MAX: u16 = 16_382;

/// Connections that wait to be accepted: above all that are ever in flight, since a full queue looks like a drop.
const BACKLOG: i32 = 65_535;

/// First two bytes of the addresses of each kind; the lower half of their third byte is used (a /18 each).
const OPEN: [u8; 2] = [10, 64];
const REFUSED: [u8; 2] = [10, 65];
const SILENT: [u8; 2] = [10, 66];

/// What a sweep meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mix {
    /// All are open.
    Open,
    /// All refuse.
    Refused,
    /// None answers.
    Silent,
    /// 90 % open, 5 % refused, 5 % silent.
    Mixed,
}

impl Mix {
    /// All mixes.
    pub const ALL: [Mix; 4] = [Mix::Open, Mix::Refused, Mix::Silent, Mix::Mixed];

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mix::Open => "open",
            Mix::Refused => "refused",
            Mix::Silent => "silent",
            Mix::Mixed => "mixed",
        }
    }

    /// The first `count` targets, each with the word that is true for it.
    #[must_use]
    pub fn targets(self, count: u16) -> Vec<(SocketAddr, &'static str)> {
        let numbers = 1..=count.min(TARGETS_MAX);
        numbers
            .map(|number| {
                let (network, word) = match (self, number % 20) {
                    (Mix::Open, _) => (OPEN, "open"),
                    (Mix::Refused, _) | (Mix::Mixed, 0) => (REFUSED, "refused"),
                    (Mix::Silent, _) | (Mix::Mixed, 10) => (SILENT, "timeout"),
                    (Mix::Mixed, _) => (OPEN, "open"),
                };
                let ([a, b], [c, d]) = (network, number.to_be_bytes());
                let address = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
                (SocketAddr::new(address, PORT), word)
            })
            .collect()
    }
}

/// Builds the farm: this namespace probes, `farm` answers.
///
/// To be called inside an isolated program.
///
/// # Errors
/// What `ip` or `nft` say.
pub fn build() -> Measured<()> {
    run("ip", &["netns", "add", "farm"], "")?;
    let prober = "link set lo up
link add probes type veth peer name targets netns farm
link set probes up
address add 10.63.0.1/30 dev probes
route add 10.64.0.0/14 via 10.63.0.2
";
    run("ip", &["-batch", "-"], prober)?;
    let farm = "link set lo up
link set targets up
address add 10.63.0.2/30 dev targets
route add local 10.64.0.0/14 dev lo
";
    run("ip", &["-n", "farm", "-batch", "-"], farm)?;
    let rules = "table ip farm {
  chain input {
    type filter hook input priority 0;
    ip daddr 10.65.0.0/18 tcp dport 80 reject with tcp reset
    ip daddr 10.66.0.0/18 drop
  }
}";
    run("ip", &["netns", "exec", "farm", "nft", "-f", "-"], rules)?;
    listen()
}

/// Accepts and closes on every open target, on a thread that lives as long as the program.
fn listen() -> Measured<()> {
    let namespace = File::open("/run/netns/farm")?;
    let (ready, is_ready) = std::sync::mpsc::channel();
    thread::Builder::new()
        .name("farm".to_owned())
        .spawn(move || {
            let listener = setns(&namespace, CloneFlags::CLONE_NEWNET)
                .map_err(std::io::Error::from)
                .and_then(|()| listener());
            match listener {
                Ok(listener) => {
                    let _ = ready.send(Ok(()));
                    // An error is that of one connection, which its client has reset.
                    loop {
                        drop(listener.accept());
                    }
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        })?;
    is_ready.recv()??;
    Ok(())
}

/// A listening socket on all addresses of this thread's namespace.
fn listener() -> std::io::Result<Socket> {
    std::fs::write("/proc/sys/net/core/somaxconn", BACKLOG.to_string())?;
    // Without cookies a full queue of half-open connections would be silence.
    std::fs::write(
        "/proc/sys/net/ipv4/tcp_max_syn_backlog",
        BACKLOG.to_string(),
    )?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Runs a program with something on its standard input.
///
/// # Errors
/// When it cannot be started, or what it says when it fails.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Measured<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start `{program}`: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{program} {}`: {}", arguments.join(" "), said.trim()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_has_the_parts_that_it_says() {
        let count = |mix: Mix, word: &str| {
            let targets = mix.targets(10_000);
            targets.iter().filter(|(_, truth)| *truth == word).count()
        };
        assert_eq!(count(Mix::Open, "open"), 10_000);
        assert_eq!(count(Mix::Mixed, "open"), 9_000);
        assert_eq!(count(Mix::Mixed, "refused"), 500);
        assert_eq!(count(Mix::Mixed, "timeout"), 500);
    }
}
