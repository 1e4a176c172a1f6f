//! Every vector of `tests/vectors` in a lab of its own: what the kernel does agrees with `expect`.
//!
//! Needs no root. A name as argument runs only the vectors whose name starts with it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says why it fails and how many vectors it judged"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use reachproof_lab::{
    Answer, Endpoint, EndpointKind, Isolation, Lab, LabPlan, Management, Probe, Traffic, isolate,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The lab loses nothing, so silence shows itself soon.
const WAIT: Duration = Duration::from_millis(1500);
/// Labs at a time.
const WORKERS: usize = 4;
/// At least so many vectors must be judged by the kernel.
const JUDGED_MIN: usize = 55;

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
    protocol: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    icmp_type: u8,
    #[serde(default)]
    icmp_code: u8,
    source_kind: String,
    ephemeral_ports: (u16, u16),
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
    let wanted = std::env::args()
        .nth(1)
        .filter(|argument| !argument.starts_with('-'))
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
    assert!(!vectors.is_empty(), "no vector is called {wanted}");
    vectors
}

fn judge(vector: &Vector) -> End {
    if vector.expect.verdict == "unknown" {
        return End::Left(format!("the verdict is unknown ({})", vector.expect.reason));
    }
    match probe_all(vector) {
        Err(error) => End::Differs(error.to_string()),
        Ok(answers) => compare(vector, &answers),
    }
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
) -> Result<Vec<(u16, Answer)>, Box<dyn std::error::Error + Send + Sync>> {
    let endpoints = endpoints(vector);
    let plan = LabPlan {
        snapshot: vector.snapshot.clone(),
        enforced: None,
        endpoints,
        management: Management::None,
    };
    let lab = Lab::up(&plan)?;
    let flow = &vector.flow;
    let source = lab
        .endpoint_at(flow.source)
        .ok_or("nobody has the source address")?
        .name
        .clone();
    let mut answers = Vec::new();
    for source_port in source_ports(vector) {
        let traffic = match flow.protocol.as_str() {
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

/// One list of a network ACL, for replies over TCP in one direction.
struct ReplyList<'a> {
    entries: Vec<&'a Value>,
    remote: IpAddr,
}

impl ReplyList<'_> {
    /// Whether the first entry that matches allows a reply to `port`.
    fn allows(&self, port: u16) -> bool {
        let matching = self.entries.iter().find(|entry| {
            let field = if self.remote.is_ipv4() {
                "CidrBlock"
            } else {
                "Ipv6CidrBlock"
            };
            let cidr: Option<ipnet::IpNet> =
                entry[field].as_str().and_then(|cidr| cidr.parse().ok());
            let bound = |end: &str| {
                entry["PortRange"][end]
                    .as_u64()
                    .map(|port| u16::try_from(port).unwrap())
            };
            let ports = bound("From").unwrap_or(0)..=bound("To").unwrap_or(u16::MAX);
            let protocol = entry["Protocol"].as_str().unwrap();
            cidr.is_some_and(|cidr| cidr.contains(&self.remote))
                && (protocol == "-1" || (protocol == "6" && ports.contains(&port)))
        });
        matching.is_some_and(|entry| entry["RuleAction"] == "allow")
    }
}

/// The lists that replies pass: out of the destination's subnet, into the source's.
fn reply_lists(vector: &Vector) -> [ReplyList<'_>; 2] {
    let (source, destination) = (vector.flow.source, vector.flow.destination);
    [(destination, true, source), (source, false, destination)].map(|(inside, egress, remote)| {
        let interface = interfaces(vector)
            .find(|interface| {
                let addresses = interface["PrivateIpAddresses"].as_array().unwrap();
                addresses
                    .iter()
                    .any(|entry| entry["PrivateIpAddress"] == inside.to_string())
            })
            .unwrap();
        let acls = vector.snapshot["describe-network-acls"]["NetworkAcls"]
            .as_array()
            .unwrap();
        let acl = acls
            .iter()
            .find(|acl| {
                let associations = acl["Associations"].as_array().unwrap();
                associations
                    .iter()
                    .any(|association| association["SubnetId"] == interface["SubnetId"])
            })
            .unwrap();
        let entries = acl["Entries"].as_array().unwrap().iter();
        let mut entries: Vec<&Value> = entries.filter(|entry| entry["Egress"] == egress).collect();
        entries.sort_by_key(|entry| entry["RuleNumber"].as_u64());
        ReplyList { entries, remote }
    })
}

/// Port 0 (the kernel's choice), and for a partial verdict both ends of the range and every edge inside it.
fn source_ports(vector: &Vector) -> Vec<u16> {
    if vector.expect.verdict != "partial" {
        return vec![0];
    }
    assert!(
        vector.expect.gate.starts_with("nacl-return"),
        "{} at {}",
        vector.expect.gate,
        vector.expect.at
    );
    let (first, last) = vector.flow.ephemeral_ports;
    let mut ports = BTreeSet::from([first, last]);
    for entry in reply_lists(vector)
        .iter()
        .flat_map(|list| list.entries.iter())
    {
        for (end, step) in [("From", -1), ("To", 1)] {
            if let Some(port) = entry["PortRange"][end].as_i64() {
                ports.extend(
                    [port, port + step]
                        .iter()
                        .filter_map(|port| u16::try_from(*port).ok()),
                );
            }
        }
    }
    ports
        .into_iter()
        .filter(|port| (first..=last).contains(port))
        .collect()
}
