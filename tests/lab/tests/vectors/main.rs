//! Every vector of `tests/vectors` in a lab of its own: what the kernel does agrees with `expect`.
//!
//! Needs no root. A name as argument runs only the vectors whose name starts with it.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says why it fails and how many vectors it judged"
)]

mod replies;

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use reachproof_lab::{
    Answer, Endpoint, EndpointKind, Isolation, Lab, LabPlan, Probe, Traffic, isolate,
};
use replies::{reply_lists, source_ports};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The lab loses nothing, so silence shows itself soon.
const WAIT: Duration = Duration::from_millis(1500);
/// Labs at a time.
const WORKERS: usize = 8;
/// At least so many vectors must be judged by the kernel.
const JUDGED_MIN: usize = 60;

/// One file of `tests/vectors`.
#[derive(Deserialize)]
struct Vector {
    id: String,
    flow: Flow,
    expect: Expect,
    snapshot: Map<String, Value>,
}

/// The flow of a vector.
#[derive(Deserialize)]
struct Flow {
    source: IpAddr,
    destination: IpAddr,
    /// A word or a number.
    protocol: Value,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    icmp_type: u8,
    #[serde(default)]
    icmp_code: u8,
    #[serde(default)]
    source_kind: String,
    source_interface: Option<String>,
    #[serde(default = "linux_default")]
    ephemeral_ports: (u16, u16),
}

/// The range of a flow that names none.
fn linux_default() -> (u16, u16) {
    (32768, 60999)
}

/// What the vector expects, as far as a kernel can show it.
#[derive(Deserialize)]
struct Expect {
    verdict: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    gate: String,
    #[serde(default)]
    at: String,
}

/// How a vector ended.
enum End {
    /// The kernel did as expected.
    Agrees,
    /// It did not; or the lab could not be built.
    Differs(String),
    /// The kernel cannot be asked, and why.
    Left(String),
}

fn main() -> ExitCode {
    match isolate() {
        Ok(Isolation::Finished(code)) => code,
        Ok(Isolation::Inside) => run(),
        Err(error) => panic!("{error}"),
    }
}

fn run() -> ExitCode {
    // As the standard harness has it: nothing here is ignored, and nothing is listed.
    if std::env::args().any(|argument| matches!(argument.as_str(), "--ignored" | "--list")) {
        return ExitCode::SUCCESS;
    }
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    let started = Instant::now();
    let queue = Mutex::new(vectors(&wanted).into_iter());
    let ends = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(vector) = queue.lock().unwrap().next() else {
                        break;
                    };
                    let end = judge(&vector);
                    ends.lock().unwrap().push((vector.id, end));
                }
            });
        }
    });
    let mut ends = ends.into_inner().unwrap();
    ends.sort_by(|left, right| left.0.cmp(&right.0));
    report(&ends, wanted.is_empty(), started.elapsed())
}

fn report(ends: &[(String, End)], all: bool, elapsed: Duration) -> ExitCode {
    let (mut agree, mut differ) = (0, 0);
    for (id, end) in ends {
        match end {
            End::Agrees => agree += 1,
            End::Left(reason) => println!("{id}: not judged, {reason}"),
            End::Differs(what) => {
                differ += 1;
                println!("{id}: DIFFERS, {what}");
            }
        }
    }
    let judged = agree + differ;
    println!(
        "{} vectors: {judged} judged by the kernel, {agree} agree, {differ} differ, {} not judged; {:.1} s",
        ends.len(),
        ends.len() - judged,
        elapsed.as_secs_f64(),
    );
    if differ > 0 || (all && judged < JUDGED_MIN) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn vectors(wanted: &str) -> Vec<Vector> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut vectors: Vec<Vector> = files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap())
        .filter(|vector: &Vector| vector.id.starts_with(wanted))
        .collect();
    vectors.sort_by(|left, right| left.id.cmp(&right.id));
    vectors
}

fn judge(vector: &Vector) -> End {
    if vector.expect.verdict == "unknown" {
        return End::Left(format!("the verdict is unknown ({})", vector.expect.reason));
    }
    if vector.expect.verdict == "partial" && vector.flow.source_kind == "pod" {
        return End::Left("the node translates the source port, so it cannot be chosen".to_owned());
    }
    match probe_all(vector, None) {
        Err(error) => End::Differs(error.to_string()),
        Ok(answers) => match compare(vector, &answers) {
            End::Agrees => control(vector),
            other @ (End::Differs(_) | End::Left(_)) => other,
        },
    }
}

/// The control of a deny by a filter: without any filter the same flow gets through, so the filter caused the silence.
fn control(vector: &Vector) -> End {
    let gate = vector.expect.gate.as_str();
    if vector.expect.verdict != "deny" || !(gate.starts_with("sg-") || gate.starts_with("nacl-")) {
        return End::Agrees;
    }
    match probe_all(vector, Some(unfiltered(&vector.snapshot))) {
        Err(error) => End::Differs(error.to_string()),
        Ok(answers) if answers.iter().all(|(_, answer)| answer.is_open()) => End::Agrees,
        Ok(answers) => End::Differs(format!("silent without any filter, too: {answers:?}")),
    }
}

/// The same world with every group and every network ACL wide open.
fn unfiltered(snapshot: &Map<String, Value>) -> Map<String, Value> {
    let mut open = snapshot.clone();
    let everything = json!([{
        "IpProtocol": "-1",
        "IpRanges": [{ "CidrIp": "0.0.0.0/0" }],
        "Ipv6Ranges": [{ "CidrIpv6": "::/0" }],
    }]);
    for group in open["describe-security-groups"]["SecurityGroups"]
        .as_array_mut()
        .unwrap()
    {
        group["IpPermissions"] = everything.clone();
        group["IpPermissionsEgress"] = everything.clone();
    }
    for acl in open["describe-network-acls"]["NetworkAcls"]
        .as_array_mut()
        .unwrap()
    {
        let entry = |number: u32, egress: bool, field: &str, range: &str| json!({ "RuleNumber": number, "Protocol": "-1", "RuleAction": "allow", "Egress": egress, field: range });
        acl["Entries"] = json!([
            entry(1, true, "CidrBlock", "0.0.0.0/0"),
            entry(2, true, "Ipv6CidrBlock", "::/0"),
            entry(1, false, "CidrBlock", "0.0.0.0/0"),
            entry(2, false, "Ipv6CidrBlock", "::/0"),
        ]);
    }
    open
}

fn compare(vector: &Vector, answers: &[(u16, Answer)]) -> End {
    let wrong: Vec<String> = answers
        .iter()
        .filter(|(port, answer)| answer.is_open() != expected_open(vector, *port))
        .map(|(port, answer)| format!("from port {port} {answer:?}"))
        .collect();
    let both = || {
        [true, false]
            .iter()
            .all(|open| answers.iter().any(|(_, answer)| answer.is_open() == *open))
    };
    if vector.expect.verdict == "partial" && !both() {
        return End::Differs("a partial verdict needs open and silent ports".to_owned());
    }
    if wrong.is_empty() {
        End::Agrees
    } else {
        End::Differs(format!(
            "{} expected, but {}",
            vector.expect.verdict,
            wrong.join(", ")
        ))
    }
}

fn expected_open(vector: &Vector, port: u16) -> bool {
    match vector.expect.verdict.as_str() {
        "allow" | "bypass" | "exempt" => true,
        "deny" => false,
        "partial" => reply_lists(vector).iter().all(|list| list.allows(port)),
        other => panic!("no kernel can show {other}"),
    }
}

fn probe_all(
    vector: &Vector,
    enforced: Option<Map<String, Value>>,
) -> Result<Vec<(u16, Answer)>, Box<dyn std::error::Error + Send + Sync>> {
    let endpoints = endpoints(vector);
    let plan = LabPlan {
        snapshot: vector.snapshot.clone(),
        enforced,
        endpoints,
        ..LabPlan::default()
    };
    let lab = Lab::up(&plan)?;
    let flow = &vector.flow;
    let source = sender(&lab, vector)?;
    let mut answers = Vec::new();
    for source_port in source_ports(vector) {
        let traffic = match word(&flow.protocol).as_str() {
            "tcp" => Traffic::Tcp {
                port: flow.port,
                source_port,
            },
            "udp" => Traffic::Udp {
                port: flow.port,
                source_port,
            },
            "icmp" | "icmpv6" => Traffic::Icmp {
                kind: flow.icmp_type,
                code: flow.icmp_code,
            },
            number => Traffic::Other {
                protocol: number.parse()?,
            },
        };
        let probe = Probe {
            source: flow.source,
            destination: flow.destination,
            traffic,
            wait: WAIT,
        };
        answers.push((source_port, lab.probe(&source, &probe)?));
    }
    Ok(answers)
}

/// The endpoint that sends: the one with the source address, else the host of the interface that the flow names.
///
/// The latter gets the address on its loopback interface first.
fn sender(lab: &Lab, vector: &Vector) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let flow = &vector.flow;
    if let Some(endpoint) = lab.endpoint_at(flow.source) {
        return Ok(endpoint.name.clone());
    }
    let named = flow
        .source_interface
        .as_ref()
        .ok_or("nobody has the source address")?;
    let interface =
        interfaces(vector).find(|interface| interface["NetworkInterfaceId"] == named.as_str());
    let primary =
        interface.and_then(|interface| interface["PrivateIpAddress"].as_str()?.parse().ok());
    let endpoint = primary
        .and_then(|primary| lab.endpoint_at(primary))
        .ok_or("nobody has the source interface")?;
    let status = lab
        .command(&endpoint.name, "ip".as_ref())?
        .args(["addr", "add", &flow.source.to_string(), "dev", "lo"])
        .status()?;
    assert!(
        status.success(),
        "adding {} to {}",
        flow.source,
        endpoint.name
    );
    Ok(endpoint.name.clone())
}

/// A protocol as text, be it a word or a number.
fn word(protocol: &Value) -> String {
    protocol
        .as_str()
        .map_or_else(|| protocol.to_string(), str::to_owned)
}

/// Pods for the addresses that are not a host's own: those in a pod's namespace, and those of delegated prefixes.
fn endpoints(vector: &Vector) -> Vec<Endpoint> {
    let mut pods = Vec::new();
    let flow = &vector.flow;
    for (name, address) in [("source", flow.source), ("destination", flow.destination)] {
        let in_pod = name == "source" && flow.source_kind == "pod";
        if in_pod || (is_known(vector, address) && !is_single(vector, address)) {
            pods.push(Endpoint {
                name: name.to_owned(),
                addresses: vec![address],
                kind: EndpointKind::Pod,
            });
        }
    }
    pods
}

fn interfaces(vector: &Vector) -> impl Iterator<Item = &Value> {
    vector.snapshot["describe-network-interfaces"]["NetworkInterfaces"]
        .as_array()
        .unwrap()
        .iter()
}

/// Whether an interface lists `address` as such.
fn is_single(vector: &Vector, address: IpAddr) -> bool {
    let lists = [
        ("PrivateIpAddresses", "PrivateIpAddress"),
        ("Ipv6Addresses", "Ipv6Address"),
    ];
    interfaces(vector).any(|interface| {
        lists.iter().any(|(list, field)| {
            let listed = interface[list].as_array().into_iter().flatten();
            listed
                .filter_map(|entry| entry[field].as_str()?.parse().ok())
                .any(|own: IpAddr| own == address)
        })
    })
}

/// Whether an interface has `address`, be it in a delegated prefix.
fn is_known(vector: &Vector, address: IpAddr) -> bool {
    let lists = [
        ("Ipv4Prefixes", "Ipv4Prefix"),
        ("Ipv6Prefixes", "Ipv6Prefix"),
    ];
    is_single(vector, address)
        || interfaces(vector).any(|interface| {
            lists.iter().any(|(list, field)| {
                let listed = interface[list].as_array().into_iter().flatten();
                let mut networks = listed.filter_map(|entry| entry[field].as_str()?.parse().ok());
                networks.any(|network: ipnet::IpNet| network.contains(&address))
            })
        })
}
