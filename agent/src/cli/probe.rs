//! `reachproof-agent probe`.

use std::{
    error::Error,
    fs,
    io::{self, BufWriter, Read, Write},
    net::{AddrParseError, IpAddr, SocketAddr},
    num::ParseIntError,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use thiserror::Error;

use crate::{
    by_hand::{Answer, Line, Order, probe_all},
    engine::{Evidence, Pacing},
    environment::{Clock, Rng, SystemClock, SystemRng},
    limits::{
        DEADLINE_MAX, HAND_ATTEMPTS_MAX, HAND_CLOSING_MAX, HAND_DESCRIPTORS_RESERVED,
        HAND_IN_FLIGHT_CAP,
    },
    outcome::Outcome,
    policy::Policy,
};

/// Arguments of `probe`.
#[derive(Debug, Args)]
pub(super) struct ProbeArguments {
    /// An address and one or more ports, or `-` for a list of targets on stdin.
    #[arg(value_name = "ADDRESS PORT", num_args = 0.., required_unless_present = "targets", conflicts_with = "targets")]
    target: Vec<String>,
    /// File with `ADDRESS PORT` a line, or `-` for stdin; anything behind these two is ignored.
    #[arg(long, value_name = "FILE")]
    targets: Option<PathBuf>,
    /// Most attempts for each target; an answer ends them.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(HAND_ATTEMPTS_MAX)))]
    attempts: u32,
    /// How long an attempt waits for an answer, in milliseconds, at most 60000.
    #[arg(long, value_name = "T", default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    timeout_ms: u32,
    /// Attempts in flight at once, at most 16384 and what the limit on open files lets be.
    #[arg(long, value_name = "K", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=i64::from(HAND_IN_FLIGHT_CAP)))]
    in_flight_max: u32,
    /// Attempts started per second, evenly; left out: as fast as they come.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    starts_per_second: Option<u32>,
    /// Policy file as for `run`; left out: everything but what is always denied.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Shape of the output, one line a target.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// Shape of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// `ADDRESS PORT OUTCOME`, the time of the last attempt, and how many there were.
    Text,
    /// A JSON object with all that is known.
    Json,
}

/// Targets that are none.
#[derive(Debug, Error)]
enum TargetsError {
    /// The list could not be read.
    #[error("cannot read the targets in `{}`", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// An address is none. Forms that some programs read as IPv4, such as `0x7f.1`, are none here.
    #[error(
        "{place}: `{text}` is not an IP address, needs a literal such as 10.0.0.1 or 2001:db8::1"
    )]
    Address {
        place: String,
        text: String,
        #[source]
        source: AddrParseError,
    },
    /// A port is none.
    #[error("{place}: `{text}` is not a port, needs 1 to 65535")]
    Port {
        place: String,
        text: String,
        #[source]
        source: ParseIntError,
    },
    /// An address comes without a port.
    #[error("{place}: `{address}` has no port behind it, needs ADDRESS PORT")]
    NoPort { place: String, address: String },
}

/// Why nothing was probed, or not everything.
#[derive(Debug)]
pub(super) enum ProbeError {
    /// The arguments name something that is no target.
    Usage(String),
    /// Anything else.
    Other(Box<dyn Error>),
}

/// Probes the targets and prints a line for each.
pub(super) fn probe(arguments: &ProbeArguments) -> Result<(), ProbeError> {
    let targets = arguments.targets().map_err(|error| {
        if arguments.are_in_a_list() {
            ProbeError::Other(error.into())
        } else {
            ProbeError::Usage(error.to_string())
        }
    })?;
    probe_targets(arguments, &targets).map_err(ProbeError::Other)
}

fn probe_targets(arguments: &ProbeArguments, targets: &[SocketAddr]) -> Result<(), Box<dyn Error>> {
    let policy = match &arguments.policy {
        Some(path) => Policy::read(path)?,
        None => Policy::by_hand(),
    };
    let asked = usize::try_from(arguments.in_flight_max)?;
    let descriptors = descriptors_for(asked + 2 * HAND_CLOSING_MAX)?;
    let in_flight_max = asked.min(descriptors);
    let order = Order {
        attempts: arguments.attempts,
        deadline: Duration::from_millis(arguments.timeout_ms.into()).min(DEADLINE_MAX),
        in_flight_max,
        closing_max: HAND_CLOSING_MAX.min((descriptors - in_flight_max) / 2),
        pacing: match arguments.starts_per_second {
            Some(per_second) => Pacing::Even {
                per_second,
                burst: 1,
            },
            None => Pacing::Unpaced,
        },
        evidence: match arguments.output {
            Output::Text => Evidence::Outcome,
            Output::Json => Evidence::Full,
        },
        policy,
    };
    let mut writer = BufWriter::new(io::stdout().lock());
    let environment: (Arc<dyn Clock>, Arc<dyn Rng>) =
        (Arc::new(SystemClock), Arc::new(SystemRng::new()?));
    match arguments.output {
        Output::Text => probe_all(targets, &order, environment, (&mut writer, text))?,
        Output::Json => probe_all(targets, &order, environment, (&mut writer, json))?,
    }
    Ok(())
}

/// Makes room for so many sockets, as far as the hard limit goes, and says how many there may be, at least 1.
fn descriptors_for(sockets: usize) -> Result<usize, Box<dyn Error>> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = u64::try_from(sockets)? + HAND_DESCRIPTORS_RESERVED;
    let limit = soft.max(wanted.min(hard));
    if limit > soft {
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard)?;
    }
    Ok(usize::try_from(
        limit.saturating_sub(HAND_DESCRIPTORS_RESERVED).max(1),
    )?)
}

/// `ADDRESS PORT OUTCOME`, then what there is to say of the last attempt and of their number.
fn text(writer: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let target = answer.target;
    writeln!(
        writer,
        "{} {} {}",
        target.ip(),
        target.port(),
        told(answer.last.outcome, answer.last.attempt.saturating_add(1))
    )
}

/// An outcome with its time and the number of attempts; nothing was sent where the policy refused.
fn told(outcome: Outcome, attempts: u32) -> String {
    let word = outcome.word();
    let several = if attempts == 1 { "" } else { "s" };
    let milliseconds = outcome.elapsed().as_secs_f64() * 1_000.0;
    match outcome {
        Outcome::RefusedByPolicy => word.to_owned(),
        Outcome::LocalError { .. } => format!("{word}, {attempts} attempt{several}"),
        Outcome::Connected { .. } | Outcome::Refused { .. } => {
            format!("{word} in {milliseconds:.1} ms, {attempts} attempt{several}")
        }
        Outcome::TimedOut { .. } | Outcome::Unreachable { .. } | Outcome::Starved { .. } => {
            format!("{word} after {milliseconds:.1} ms, {attempts} attempt{several}")
        }
    }
}

/// One JSON object.
fn json(writer: &mut impl Write, answer: &Answer) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, &Line::from(answer))?;
    writer.write_all(b"\n")
}

impl ProbeArguments {
    /// Whether the targets stand in a file or on stdin.
    fn are_in_a_list(&self) -> bool {
        self.targets.is_some() || self.target.first().is_some_and(|first| first == "-")
    }

    /// The targets, in the order in which they are given.
    fn targets(&self) -> Result<Vec<SocketAddr>, TargetsError> {
        match (&self.targets, self.target.as_slice()) {
            (Some(path), _) => listed(path),
            (None, [only]) if only == "-" => listed(Path::new("-")),
            (None, [address, ports @ ..]) => named(address, ports),
            (None, []) => Ok(Vec::new()),
        }
    }
}

/// The targets that the command line names: one address with its ports.
fn named(address: &str, ports: &[String]) -> Result<Vec<SocketAddr>, TargetsError> {
    let place = || "target".to_owned();
    if ports.is_empty() {
        return Err(TargetsError::NoPort {
            place: place(),
            address: address.to_owned(),
        });
    }
    ports
        .iter()
        .map(|port| target(address, port, place))
        .collect()
}

/// The targets of a file, or of stdin where it is called `-`.
fn listed(path: &Path) -> Result<Vec<SocketAddr>, TargetsError> {
    let unreadable = |source| TargetsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().read_to_string(&mut text).map_err(unreadable)?;
    } else {
        text = fs::read_to_string(path).map_err(unreadable)?;
    }
    parse(&text)
}

/// The targets in a list; blank lines are none.
fn parse(text: &str) -> Result<Vec<SocketAddr>, TargetsError> {
    let mut targets = Vec::new();
    for (number, line) in (1_u64..).zip(text.lines()) {
        let mut words = line.split_ascii_whitespace();
        let Some(address) = words.next() else {
            continue;
        };
        let place = || format!("line {number}");
        let port = words.next().ok_or_else(|| TargetsError::NoPort {
            place: place(),
            address: address.to_owned(),
        })?;
        targets.push(target(address, port, place)?);
    }
    Ok(targets)
}

/// A target of two words.
fn target(
    address: &str,
    port: &str,
    place: impl Fn() -> String,
) -> Result<SocketAddr, TargetsError> {
    let parsed: IpAddr = address.parse().map_err(|source| TargetsError::Address {
        place: place(),
        text: address.to_owned(),
        source,
    })?;
    let port: std::num::NonZeroU16 = port.parse().map_err(|source| TargetsError::Port {
        place: place(),
        text: port.to_owned(),
        source,
    })?;
    // An IPv4-mapped address is IPv4 on the wire.
    Ok(SocketAddr::new(parsed.to_canonical(), port.get()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_list_has_an_address_and_a_port_a_line_and_whatever_behind() {
        let read = parse("10.0.0.1 443 open 12\n\n  2001:db8::1\t80 # web\n::ffff:10.0.0.2 1\n");
        let expected: Vec<SocketAddr> = ["10.0.0.1:443", "[2001:db8::1]:80", "10.0.0.2:1"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn a_line_that_is_no_target_is_named() {
        for (text, message) in [
            (
                "10.0.0.1 443\n0x7f000001 80",
                "line 2: `0x7f000001` is not an IP address",
            ),
            ("0177.0.0.1 80", "line 1: `0177.0.0.1` is not"),
            ("localhost 80", "line 1: `localhost` is not"),
            ("10.0.0.1 0", "line 1: `0` is not a port"),
            ("10.0.0.1 65979", "line 1: `65979` is not a port"),
            ("10.0.0.1", "line 1: `10.0.0.1` has no port behind it"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn a_line_says_how_long_it_took_and_how_often_it_was_tried() {
        let after = Duration::from_micros(3_000_400);
        for (outcome, attempts, line) in [
            (
                Outcome::Connected {
                    handshake: Duration::from_micros(412),
                },
                1,
                "open in 0.4 ms, 1 attempt",
            ),
            (
                Outcome::TimedOut { after },
                3,
                "timeout after 3000.4 ms, 3 attempts",
            ),
            (Outcome::RefusedByPolicy, 1, "policy"),
        ] {
            assert_eq!(told(outcome, attempts), line);
        }
    }

    #[test]
    fn one_address_may_have_several_ports() {
        let ports = ["80".to_owned(), "443".to_owned()];
        let read = named("10.0.0.1", &ports).unwrap();
        assert_eq!(
            read.iter().map(SocketAddr::port).collect::<Vec<_>>(),
            [80, 443]
        );
        assert!(named("10.0.0.1", &[]).is_err());
    }
}
