//! The ports that one end reaches at another.

use std::io::Write;
use std::net::IpAddr;

use reachproof_model::diagnosis::Conclusion;
use reachproof_model::flow::{Flow, SourceKind, Transport};
use reachproof_model::net::PortRange;
use reachproof_model::prediction::Verdict;
use reachproof_model::reach::{Reach, reach};
use reachproof_model::selector::EndPair;
use serde::Serialize;
use serde_json::Value;

use super::{Asked, stands_for};
use crate::cli::{CliError, Format, diagnosis, table, write_json};

/// Most reasons that the line about all other ports gives.
const REASONS_MAX: usize = 2;

/// What gets through between two ends.
struct Reached<'a> {
    pair: &'a EndPair,
    flow: Flow,
    /// What the model says of every port, by protocol.
    parts: Vec<(Transport, Vec<Reach>)>,
}

/// The ports between two ends, as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    source: IpAddr,
    destination: IpAddr,
    source_kind: SourceKind,
    stands_for: Value,
    ports: Vec<Part<'a>>,
}

/// Ports of one verdict, as JSON.
#[derive(Serialize)]
struct Part<'a> {
    protocol: Transport,
    ports: PortRange,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

/// Writes which ports of some protocols get through between every two ends.
///
/// # Errors
/// [`CliError::Output`] for an answer that cannot be written.
pub(super) fn write(
    asked: &Asked<'_>,
    transports: &[Transport],
    out: &mut impl Write,
) -> Result<(), CliError> {
    let pairs = asked.pairs.iter();
    let all: Vec<Reached<'_>> = pairs.map(|pair| reached(asked, pair, transports)).collect();
    if asked.arguments.output == Format::Json {
        for reached in &all {
            write_json(out, &reached.answer())?;
        }
        return Ok(());
    }
    for reached in &all {
        out.write_all(reached.section(asked).as_bytes())?;
    }
    out.write_all(asked.left_out().as_bytes())?;
    out.write_all(closing(asked, &all).as_bytes())?;
    Ok(())
}

fn reached<'a>(asked: &Asked<'_>, pair: &'a EndPair, transports: &[Transport]) -> Reached<'a> {
    let flow = asked.flow(pair, Transport::Tcp.to_port(0));
    let of = |transport| (transport, reach(asked.snapshot, &flow, transport));
    Reached {
        pair,
        parts: transports.iter().copied().map(of).collect(),
        flow,
    }
}

/// Whether nothing gets through.
fn is_denied(part: &Reach) -> bool {
    matches!(part.verdict, Verdict::Deny(_))
}

impl Reached<'_> {
    /// The ports that get through for certain, those of some source ports only among them.
    fn open(&self) -> Vec<String> {
        let open = |transport: &Transport, part: &Reach| {
            let is_open = !is_denied(part) && !matches!(part.verdict, Verdict::Unknown(_));
            is_open.then(|| ports(*transport, part.ports))
        };
        let all = self.parts.iter();
        all.flat_map(|(transport, parts)| parts.iter().filter_map(|part| open(transport, part)))
            .collect()
    }

    fn conclusion(&self) -> Conclusion {
        let mut parts = self.parts.iter().flat_map(|(_, parts)| parts);
        if !self.open().is_empty() {
            Conclusion::Pass
        } else if parts.all(is_denied) {
            Conclusion::Fail
        } else {
            Conclusion::Unsure
        }
    }

    fn answer(&self) -> Answer<'_> {
        let parts = self.parts.iter().flat_map(|(transport, parts)| {
            parts.iter().map(|part| Part {
                protocol: *transport,
                ports: part.ports,
                verdict: &part.verdict,
            })
        });
        Answer {
            source: self.flow.source,
            destination: self.flow.destination,
            source_kind: self.flow.source_kind,
            stands_for: stands_for(self.pair),
            ports: parts.collect(),
        }
    }

    /// The two ends, and a line for what gets through.
    fn section(&self, asked: &Asked<'_>) -> String {
        let rows = self.parts.iter().flat_map(|(transport, parts)| {
            let open = parts.iter().filter(|part| !is_denied(part));
            let mut rows: Vec<[String; 3]> = open
                .map(|part| {
                    [
                        ports(*transport, part.ports),
                        part.verdict.as_str().to_owned(),
                        table::decision(asked.snapshot, &part.verdict),
                    ]
                })
                .collect();
            rows.extend(others(asked, *transport, parts));
            rows
        });
        format!(
            "{} -> {}\n{}\n\n",
            asked.end(self.pair.source, self.pair.sources),
            asked.end(self.pair.destination, self.pair.destinations),
            table::aligned(["ports", "verdict", "because"], rows)
        )
    }
}

/// A line for the ports that are denied; absent where none is.
fn others(asked: &Asked<'_>, transport: Transport, parts: &[Reach]) -> Option<[String; 3]> {
    let denied: Vec<&Reach> = parts.iter().filter(|part| is_denied(part)).collect();
    let mut reasons: Vec<String> = denied
        .iter()
        .map(|part| table::decision(asked.snapshot, &part.verdict))
        .collect();
    reasons.sort();
    reasons.dedup();
    let more = reasons.len().saturating_sub(REASONS_MAX);
    reasons.truncate(REASONS_MAX);
    if more > 0 {
        reasons.push(format!("{more} more"));
    }
    let which = if denied.len() == parts.len() {
        "all of"
    } else {
        "other"
    };
    let verdict = denied.first()?.verdict.as_str().to_owned();
    Some([format!("{which} {transport}"), verdict, reasons.join("; ")])
}

/// `tcp/443`, `tcp/8000-8010`, `tcp` for every port.
fn ports(transport: Transport, ports: PortRange) -> String {
    if ports == PortRange::ALL {
        format!("all of {transport}")
    } else {
        format!("{transport}/{ports}")
    }
}

/// The last lines: what gets through.
fn closing(asked: &Asked<'_>, all: &[Reached<'_>]) -> String {
    let count = |wanted| all.iter().filter(|it| it.conclusion() == wanted).count();
    let (open, unknown) = (count(Conclusion::Pass), count(Conclusion::Unsure));
    let conclusion = match (open, unknown) {
        (0, 0) => Conclusion::Fail,
        (0, _) => Conclusion::Unsure,
        (_, _) => Conclusion::Pass,
    };
    let said = match (all, conclusion) {
        ([only], Conclusion::Pass) => format!("reaches {}", only.open().join(", ")),
        (_, Conclusion::Fail) => "reaches no port".to_owned(),
        ([_], Conclusion::Unsure) => "nobody can tell of the ports above".to_owned(),
        (all, _) => format!(
            "some port gets through in {open} of {} pairs of classes",
            all.len()
        ),
    };
    diagnosis::verdict((conclusion, 0), &format!("{}: {said}", asked.title())).split_off(1)
}
