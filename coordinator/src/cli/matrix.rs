//! `reachproof matrix`: the whole reachability relation between classes of endpoints.

use std::io::{self, Write};
use std::net::IpAddr;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use reachproof_model::class::ClassId;
use reachproof_model::flow::{Packets, SourceKind, Transport};
use reachproof_model::matrix::{
    Ends, Filter, GRID_PAIRS_MAX, GridQuestion, ListedEntry, Matrix, Tuple,
};
use reachproof_model::net::PortRange;
use reachproof_model::prediction::Gate;
use reachproof_model::selector::{Selector, SelectorError};
use reachproof_model::snapshot::{Decoded, Direction, FoldedGap, Snapshot};
use reachproof_model::words::counted;
use serde_json::{Map, Value, json};

use crate::console;
use crate::source::SourceArguments;

use super::exit_code::ExitCode;
use super::explain::Kind;
use super::gaps::{self, GapArguments};
use super::{CliError, decoded, table, write_json};

mod grid;

/// Most lines that are shown to people; JSON and CSV have all.
const ROWS_MAX: usize = 500;

/// Arguments of `matrix`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    world: SourceArguments,
    /// Only from these: an IP address, a name like NAMESPACE/POD or a node's, an id, 'control plane'; * is any text
    #[arg(long, value_name = "WHO", value_parser = Selector::from_str)]
    source: Option<Selector>,
    /// Only to these, by the same names
    #[arg(long, value_name = "WHO", value_parser = Selector::from_str)]
    destination: Option<Selector>,
    /// Only these ports: one, by number or name, or a range like 8000-9000
    #[arg(long, value_name = "PORTS", value_parser = ports)]
    port: Option<PortRange>,
    /// Protocol of the ports
    #[arg(long, value_enum, default_value_t = Protocol::Tcp)]
    protocol: Protocol,
    /// A line for each two classes and each range of TCP ports, with what decides, in place of a grid
    #[arg(long)]
    list: bool,
    /// A grid as wide as it comes, not only as wide as the terminal (80 columns without one)
    #[arg(long, conflicts_with = "list")]
    wide: bool,
    /// Network namespace in which the sources are [default: a pod's where the snapshot lists the address as a pod's]
    #[arg(long, value_enum)]
    source_kind: Option<Kind>,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t = MatrixFormat::Table)]
    output: MatrixFormat,
    #[command(flatten)]
    gaps: GapArguments,
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// TCP.
    Tcp,
    /// UDP, in a grid.
    Udp,
}

impl From<Protocol> for Transport {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

/// How the relation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MatrixFormat {
    /// For people: a grid, or a list with `--list`.
    Table,
    /// One JSON object a line.
    Json,
    /// Comma-separated values with a header.
    Csv,
}

/// Reads a port or a range.
fn ports(text: &str) -> Result<PortRange, String> {
    let port =
        |text: &str| Packets::port(text.trim(), Transport::Tcp).map_err(|error| error.to_string());
    let is_range = text.starts_with(|first: char| first.is_ascii_digit());
    let ends = text.split_once('-').filter(|_| is_range);
    let (first, last) = ends.unwrap_or((text, text));
    PortRange::new(port(first)?, port(last)?).map_err(|error| error.to_string())
}

/// Writes the relation, for people as a grid; in JSON the gaps follow it in a line of their own, where there are any.
///
/// # Errors
/// [`CliError`] for a snapshot that cannot be used and for an answer that cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let is_grid = arguments.output == MatrixFormat::Table && !arguments.list;
    if arguments.protocol != Protocol::Tcp && !is_grid {
        return Err(CliError::ListOfTcp);
    }
    let Decoded { snapshot, gaps } = decoded(&arguments.world)?;
    let gaps = arguments.gaps.of_relation(&gaps);
    gaps::tell(&gaps);
    let kind = arguments.source_kind.map(SourceKind::from);
    let matrix = Matrix::with_source_kind(&snapshot, kind);
    let (source, destination) = (
        chosen(&matrix, arguments.source.as_ref())?,
        chosen(&matrix, arguments.destination.as_ref())?,
    );
    let filter = Filter {
        sources: source.classes,
        destinations: destination.classes,
        ports: arguments.port,
    };
    let ends = Ends {
        source: source.address,
        destination: destination.address,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    if is_grid {
        out.write_all(grid(&matrix, arguments, (filter, ends))?.as_bytes())?;
    } else {
        let asked = (arguments, &filter, ends);
        list(&matrix, asked, &gaps, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::Answered)
}

/// Nothing lies between the ends that are asked about.
fn no_pair(arguments: &Arguments) -> CliError {
    let named = |who: &Option<Selector>| {
        who.as_ref()
            .map_or_else(|| "*".to_owned(), ToString::to_string)
    };
    let (from, to) = (named(&arguments.source), named(&arguments.destination));
    SelectorError::NoPair { from, to }.into()
}

/// The relation in rows and columns.
fn grid(
    matrix: &Matrix<'_>,
    arguments: &Arguments,
    (filter, ends): (Filter, Ends),
) -> Result<String, CliError> {
    let pairs = matrix.pairs_of(&filter);
    if pairs > GRID_PAIRS_MAX {
        return Err(CliError::GridTooLarge { pairs });
    }
    let question = GridQuestion {
        filter,
        ends,
        transport: arguments.protocol.into(),
    };
    let grids = matrix.grids(&question);
    if grids.is_empty() {
        return Err(no_pair(arguments));
    }
    let page = grid::Page {
        transport: question.transport,
        ports: arguments.port,
        width: (!arguments.wide).then(|| console::width(grid::WIDTH)),
    };
    Ok(grid::text(&grids, page))
}

/// The relation line by line.
fn list(
    matrix: &Matrix<'_>,
    (arguments, filter, ends): (&Arguments, &Filter, Ends),
    gaps: &[FoldedGap],
    out: &mut impl Write,
) -> Result<(), CliError> {
    let mut listing = matrix.listing(filter, ends).peekable();
    if listing.peek().is_none() && !matrix.classes().is_empty() {
        return Err(no_pair(arguments));
    }
    let kind = arguments.source_kind.map(SourceKind::from);
    let kind_of =
        |listed: &ListedEntry| kind.unwrap_or_else(|| matrix.snapshot().source_kind(listed.source));
    match arguments.output {
        MatrixFormat::Table => out.write_all(people(matrix, listing).as_bytes())?,
        MatrixFormat::Json => {
            for listed in listing {
                write_json(out, &object(matrix, &listed, kind_of(&listed)))?;
            }
            if !gaps.is_empty() {
                write_json(out, &json!({ "gaps": gaps }))?;
            }
        }
        MatrixFormat::Csv => {
            writeln!(out, "{}", CSV_HEADER.join(","))?;
            for listed in listing {
                writeln!(out, "{}", record(matrix, &listed, kind_of(&listed)))?;
            }
        }
    }
    Ok(())
}

/// Who is meant by a filter.
#[derive(Default)]
struct Chosen {
    /// The classes; absent without a filter, else never empty.
    classes: Option<Vec<ClassId>>,
    /// The one address that is meant.
    address: Option<IpAddr>,
}

/// Looks up a filter.
fn chosen(matrix: &Matrix<'_>, who: Option<&Selector>) -> Result<Chosen, CliError> {
    let Some(who) = who else {
        return Ok(Chosen::default());
    };
    let ends = who.resolve(matrix.snapshot())?;
    let classes = ends.classes(matrix.snapshot(), matrix.classes());
    if classes.is_empty() {
        return Err(who.in_no_class(matrix.snapshot()).into());
    }
    Ok(Chosen {
        classes: Some(classes),
        address: ends.address(),
    })
}

fn people(matrix: &Matrix<'_>, mut listing: impl Iterator<Item = ListedEntry>) -> String {
    let rows: Vec<[String; 5]> = listing
        .by_ref()
        .take(ROWS_MAX)
        .map(|listed| {
            let entry = &listed.entry;
            let is_itself = listed.source == listed.destination;
            let nearness = match (listed.on_one_host, is_itself) {
                (_, true) => ", itself",
                (true, false) => ", on the same host",
                (false, false) => "",
            };
            [
                matrix.class_name(entry.source),
                format!("{}{nearness}", matrix.class_name(entry.destination)),
                entry.ports.to_string(),
                entry.verdict.as_str().to_owned(),
                because(matrix.snapshot(), &entry.tuple),
            ]
        })
        .collect();
    let left_out = listing.count();
    let mut text = table::aligned(
        ["source", "destination", "tcp ports", "verdict", "because"],
        rows.into_iter(),
    );
    text.push('\n');
    if left_out > 0 {
        text.push_str(&format!(
            "and {}: narrow with --source, --destination, --port, or take -o csv\n",
            counted(left_out, "more line", "more lines")
        ));
    }
    text
}

/// What decides, with the names of the groups; entries and routes that let it pass are in JSON and CSV.
fn because(snapshot: &Snapshot, tuple: &Tuple) -> String {
    let mut parts: Vec<String> = Vec::new();
    if let Some(gate) = tuple.gate {
        parts.push(gate.to_string());
    }
    parts.extend(tuple.reason.map(str::to_owned));
    if tuple.gate.is_none() {
        let rules = [
            (Direction::Egress, &tuple.egress),
            (Direction::Ingress, &tuple.ingress),
        ];
        parts.extend(rules.into_iter().filter_map(|(direction, rule)| {
            Some(table::rule(snapshot, direction, rule.as_ref()?.as_str()))
        }));
    }
    let entry = match tuple.gate {
        Some(Gate::NaclOut) => tuple.entry_out.as_ref(),
        Some(Gate::NaclIn) => tuple.entry_in.as_ref(),
        Some(
            Gate::Endpoints
            | Gate::SourceDestCheck
            | Gate::SgEgress
            | Gate::Route
            | Gate::SgIngress
            | Gate::NaclReturnOut
            | Gate::NaclReturnIn
            | Gate::ReturnRoute
            | Gate::NetworkPolicy,
        )
        | None => None,
    };
    parts.extend(entry.map(|(acl, number)| format!("{acl}#{number}")));
    if tuple.gate == Some(Gate::Route) {
        parts.extend(tuple.route.as_ref().map(|(_, route)| route.clone()));
    }
    parts.join(", ")
}

/// An entry as JSON.
fn object(matrix: &Matrix<'_>, listed: &ListedEntry, kind: SourceKind) -> Value {
    let entry = &listed.entry;
    let mut object = Map::new();
    let shown = |class, example: IpAddr| {
        let mut end = end(matrix, class);
        if let Some(fields) = end.as_object_mut() {
            fields.insert("example".to_owned(), json!(example));
        }
        end
    };
    let source = shown(entry.source, listed.source);
    object.insert("source".to_owned(), source);
    let destination = shown(entry.destination, listed.destination);
    object.insert("destination".to_owned(), destination);
    object.insert("source_kind".to_owned(), json!(kind));
    object.insert("on_one_host".to_owned(), json!(listed.on_one_host));
    object.insert("protocol".to_owned(), json!("tcp"));
    object.insert("ports".to_owned(), json!(entry.ports));
    object.insert("verdict".to_owned(), json!(entry.verdict.as_str()));
    let tuple = &entry.tuple;
    let mut add = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(key.to_owned(), value);
        }
    };
    let list = |entry: &Option<(reachproof_model::id::NetworkAclId, u32)>| {
        let entry = entry.as_ref();
        entry.map(|(acl, number)| json!({"acl": acl, "rule_number": number}))
    };
    add("gate", tuple.gate.map(|gate| json!(gate)));
    add("reason", tuple.reason.map(|reason| json!(reason)));
    add("egress", tuple.egress.as_ref().map(|rule| json!(rule)));
    add("ingress", tuple.ingress.as_ref().map(|rule| json!(rule)));
    add("nacl_out", list(&tuple.entry_out));
    add("nacl_in", list(&tuple.entry_in));
    let route = tuple.route.as_ref();
    add(
        "route",
        route.map(|(table, route)| json!({"table": table, "route": route})),
    );
    Value::Object(object)
}

/// A class as JSON.
pub(super) fn end(matrix: &Matrix<'_>, id: ClassId) -> Value {
    let class = matrix.classes().class(id);
    json!({
        "class": id.place(),
        "name": class.name(matrix.snapshot()),
        "vpc": class.vpc,
        "subnet": class.subnet,
        "groups": class.groups,
        "network": class.network.map(|network| network.to_string()),
        "example": class.example,
        "interfaces": class.members.len(),
        "addresses": u64::try_from(class.addresses).unwrap_or(u64::MAX),
    })
}

const CSV_HEADER: [&str; 15] = [
    "source",
    "source_example",
    "destination",
    "destination_example",
    "first_port",
    "last_port",
    "verdict",
    "gate",
    "reason",
    "egress_rule",
    "ingress_rule",
    "nacl_out",
    "nacl_in",
    "source_kind",
    "on_one_host",
];

/// An entry as a line of [`CSV_HEADER`].
fn record(matrix: &Matrix<'_>, listed: &ListedEntry, kind: SourceKind) -> String {
    let entry = &listed.entry;
    let tuple = &entry.tuple;
    let rule = |rule: &Option<reachproof_model::id::RuleId>| {
        rule.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    let list = |entry: &Option<(reachproof_model::id::NetworkAclId, u32)>| {
        let entry = entry.as_ref();
        entry
            .map(|(acl, number)| format!("{acl}#{number}"))
            .unwrap_or_default()
    };
    let fields = [
        matrix.class_name(entry.source),
        listed.source.to_string(),
        matrix.class_name(entry.destination),
        listed.destination.to_string(),
        entry.ports.first().to_string(),
        entry.ports.last().to_string(),
        entry.verdict.as_str().to_owned(),
        tuple.gate.map(|gate| gate.to_string()).unwrap_or_default(),
        tuple.reason.unwrap_or_default().to_owned(),
        rule(&tuple.egress),
        rule(&tuple.ingress),
        list(&tuple.entry_out),
        list(&tuple.entry_in),
        kind.as_str().to_owned(),
        listed.on_one_host.to_string(),
    ];
    fields.map(|field| quoted(&field)).join(",")
}

/// A field of a line; in quotes, so that a name with a comma or a leading `=` stays one text.
fn quoted(field: &str) -> String {
    // A spreadsheet would compute what begins so.
    let guard = if field.starts_with(['=', '+', '-', '@']) {
        "'"
    } else {
        ""
    };
    format!("\"{guard}{}\"", field.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_above_65535_is_refused() {
        assert!(ports("65979").is_err());
        assert_eq!(ports("443"), Ok(PortRange::between(443, 443)));
        assert_eq!(ports("https"), Ok(PortRange::between(443, 443)));
        assert_eq!(ports("ms-sql-s"), Ok(PortRange::between(1433, 1433)));
        assert!(ports("ntp").is_err());
        assert_eq!(ports("8000-9000"), Ok(PortRange::between(8000, 9000)));
        assert!(ports("9000-8000").is_err());
    }

    #[test]
    fn a_name_cannot_break_out_of_its_field() {
        assert_eq!(quoted("a\",b"), "\"a\"\",b\"");
        assert_eq!(quoted("=cmd"), "\"'=cmd\"");
    }
}
