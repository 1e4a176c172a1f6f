//! `reachproof explain`: flows between two ends, gate by gate, or the ports that get through.

use std::io::{self, Write};
use std::net::IpAddr;

use clap::{Args, ValueEnum};
use reachproof_model::class::Classes;
use reachproof_model::diagnosis::{Conclusion, Diagnosis, diagnose};
use reachproof_model::flow::{Flow, FlowProtocol, Packets, SourceKind};
use reachproof_model::net::Printable;
use reachproof_model::predict::predict;
use reachproof_model::prediction::Prediction;
use reachproof_model::selector::{EndPair, Question};
use reachproof_model::snapshot::{Decoded, FoldedGap, Gap, Owner, Snapshot};
use serde::Serialize;
use serde_json::{Value, json};

use crate::source::SourceArguments;

use super::diagnosis;
use super::exit_code::ExitCode;
use super::gaps::{self, GapArguments};
use super::{CliError, Format, decoded, table, write_json};
use gates::explanation;

mod gates;
mod ports;
mod several;

/// Most pairs of classes that are explained: who has more names fewer ends.
const PAIRS_MAX: usize = 100;

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Who connects: an IP address, a name like NAMESPACE/POD or a node's, an id, 'control plane'
    #[arg(value_name = "SOURCE")]
    from: String,
    /// Who is connected to, by the same names; of svc/NAMESPACE/SERVICE its endpoints
    destination: String,
    /// Destination port, by number or name, as 443, https or udp/53 [default: all that get through]
    port: Option<String>,
    #[command(flatten)]
    source: SourceArguments,
    /// Protocol: tcp, udp, icmp, icmpv6 or a number [default: tcp, or what the port's name says]
    #[arg(long)]
    protocol: Option<String>,
    /// Network namespace in which the source is [default: a pod's where the snapshot lists the address as a pod's]
    #[arg(long, value_enum)]
    source_kind: Option<Kind>,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    gaps: GapArguments,
}

/// Network namespace of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// A host's.
    Host,
    /// A pod's: the VPC CNI translates its address outside the VPC.
    Pod,
}

impl From<Kind> for SourceKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Host => Self::Host,
            Kind::Pod => Self::Pod,
        }
    }
}

/// Explains one flow, or one for each pair of classes of the ends; without a port, which ones get through.
///
/// # Errors
/// [`CliError`] for arguments that make no flow and for a snapshot that cannot be used.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let words = (arguments.protocol.as_deref(), arguments.port.as_deref());
    let question = Question::from_words(&arguments.from, &arguments.destination, words)?;
    let Decoded { snapshot, gaps } = decoded(&arguments.source)?;
    let pairs = question.pairs(&snapshot, &Classes::new(&snapshot))?;
    let mut asked = Asked {
        arguments,
        question: &question,
        snapshot: &snapshot,
        gaps: &gaps,
        left_out: pairs.len().saturating_sub(PAIRS_MAX),
        pairs,
    };
    asked.pairs.truncate(PAIRS_MAX);
    let mut out = io::stdout().lock();
    match &question.packets {
        Packets::These(protocols) => asked.explain(protocols, &mut out)?,
        Packets::EveryPort(transports) => ports::write(&asked, transports, &mut out)?,
    }
    out.flush()?;
    Ok(ExitCode::Answered)
}

/// What is asked, with the ends looked up.
struct Asked<'a> {
    arguments: &'a Arguments,
    question: &'a Question,
    snapshot: &'a Snapshot,
    gaps: &'a [Gap],
    /// Ends that show what is asked, at most [`PAIRS_MAX`].
    pairs: Vec<EndPair>,
    /// Pairs beyond that.
    left_out: usize,
}

impl Asked<'_> {
    /// The flow between two ends.
    fn flow(&self, pair: &EndPair, protocol: FlowProtocol) -> Flow {
        let flow = pair.flow(self.snapshot, protocol);
        let kind = self.arguments.source_kind.map(SourceKind::from);
        Flow {
            source_kind: kind.unwrap_or(flow.source_kind),
            ..flow
        }
    }

    /// Explains the flows of some protocols between every two ends.
    fn explain(&self, protocols: &[FlowProtocol], out: &mut impl Write) -> Result<(), CliError> {
        let flows = self.pairs.iter().flat_map(|pair| {
            let own = protocols.iter();
            own.map(move |protocol| (pair, self.flow(pair, *protocol)))
        });
        let flows: Vec<(&EndPair, Flow)> = flows.collect();
        match (self.arguments.output, flows.as_slice()) {
            (Format::Json, flows) => {
                for (pair, flow) in flows {
                    write_json(out, &self.diagnosed(pair, flow))?;
                }
            }
            (Format::Table, [(pair, flow)]) if pair.stands_for_itself() => {
                let prediction = predict(self.snapshot, flow);
                self.tell_gaps(std::slice::from_ref(&prediction));
                let own = std::slice::from_ref(flow);
                let diagnosis = diagnose(self.snapshot, own, own);
                let mut text = explanation(self.snapshot, &prediction);
                text.push_str(&judged(self.snapshot, &prediction, &diagnosis));
                out.write_all(text.as_bytes())?;
            }
            (Format::Table, flows) => out.write_all(several::text(self, flows).as_bytes())?,
        }
        Ok(())
    }

    /// A flow with all that is known of it.
    fn diagnosed(&self, pair: &EndPair, flow: &Flow) -> Diagnosed {
        let prediction = predict(self.snapshot, flow);
        let gaps = self.tell_gaps(std::slice::from_ref(&prediction));
        let own = std::slice::from_ref(flow);
        let diagnosis = diagnose(self.snapshot, own, own);
        Diagnosed {
            diagnosis: diagnosis::json(self.snapshot, &diagnosis, &|_| Vec::new()),
            explained: Explained { prediction, gaps },
            stands_for: stands_for(pair),
        }
    }

    /// Tells the gaps next to some answers, and returns them.
    fn tell_gaps(&self, predictions: &[Prediction]) -> Vec<FoldedGap> {
        let gaps = &self.arguments.gaps;
        let gaps = gaps.of_flows(self.snapshot, predictions, self.gaps);
        gaps::tell(&gaps);
        gaps
    }

    /// Who is asked about, in the words of who asks.
    fn title(&self) -> String {
        let (from, to) = (&self.question.source, &self.question.destination);
        format!(
            "{} -> {}",
            Printable(&from.to_string()),
            Printable(&to.to_string())
        )
    }

    /// An end with its name, and for how many it stands.
    fn end(&self, address: IpAddr, count: usize) -> String {
        let end = self.snapshot.called(address);
        if count == 1 {
            end
        } else {
            format!("{end}, one of {count}")
        }
    }

    /// A line about pairs that are left out; nothing where none is.
    fn left_out(&self) -> String {
        match self.left_out {
            0 => String::new(),
            more => format!("and {more} more pairs of classes: name fewer ends\n"),
        }
    }
}

/// For how many ends a pair stands, as JSON.
fn stands_for(pair: &EndPair) -> Value {
    json!({"sources": pair.sources, "destinations": pair.destinations})
}

/// A prediction with the gaps next to it.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    /// The answer.
    #[serde(flatten)]
    pub(super) prediction: Prediction,
    /// What the snapshot does not say.
    pub(super) gaps: Vec<FoldedGap>,
}

/// An explanation with what stops the flow at every gate, and what would open it.
#[derive(Debug, Serialize)]
struct Diagnosed {
    #[serde(flatten)]
    explained: Explained,
    stands_for: Value,
    diagnosis: Value,
}

/// Who holds the ends, what stops the flow at every gate and what would open it, and the verdict.
fn judged(snapshot: &Snapshot, prediction: &Prediction, diagnosis: &Diagnosis) -> String {
    let conclusion = diagnosis.now.conclusion();
    let flow = &prediction.flow;
    let mut text = held(snapshot, flow);
    if !text.is_empty() {
        text.insert(0, '\n');
    }
    if conclusion == Conclusion::Fail {
        text.push_str(&diagnosis::details(snapshot, diagnosis, &|_| Vec::new()));
    }
    let decision = table::decision(snapshot, &prediction.verdict);
    let summary = format!("{flow}: {decision}");
    let summary = match conclusion {
        Conclusion::Pass => format!("{flow}: {}", prediction.verdict.as_str()),
        Conclusion::Fail | Conclusion::Unsure => summary,
    };
    text.push_str(&diagnosis::closing(
        snapshot,
        diagnosis,
        (conclusion, 0),
        &summary,
    ));
    text
}

/// The ends that a service of AWS holds, a line each.
fn held(snapshot: &Snapshot, flow: &Flow) -> String {
    let mut text = String::new();
    for address in [flow.source, flow.destination] {
        let Owner::One(interface) = snapshot.owner(address) else {
            continue;
        };
        if let Some(manager) = interface.manager() {
            let described = Printable(&interface.description).to_string();
            let interface = table::interface(snapshot, &interface.id);
            text.push_str(&format!(
                "{address}: {interface} is of a {manager} ({described})\n"
            ));
        }
    }
    text
}
