//! What a lab promises beside its verdicts: several at once, drift, management links, commands, and nothing left.
//!
//! Needs no root. A name as argument runs only the cases whose name contains it.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says why it fails and what it did"
)]

mod life;
mod tls;
mod traffic;

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use life::{HOLD, hold, nothing_is_left_when_the_program_is_killed};
use reachproof_lab::world::{BUILTIN, World};
use reachproof_lab::{
    Answer, EndpointKind, Isolation, Lab, LabPlan, Management, Probe, Traffic, add_endpoint_slices,
    isolate,
};
use serde_json::{Map, Value, json};
use tls::{
    control_plane_interfaces_prove_that_they_belong_to_the_cluster,
    without_an_authority_they_accept_and_say_nothing,
};
use traffic::{
    a_standard_branch_pod_is_filtered_off_its_node_only,
    pods_leave_the_vpc_with_the_address_of_their_node, references_cross_a_transit_gateway_inbound,
    udp_and_other_protocols_get_through_where_rules_say_so,
};

/// The lab loses nothing, so silence shows itself soon.
const WAIT: Duration = Duration::from_millis(1500);

/// The cases by name.
const CASES: [(&str, fn()); 14] = [
    (
        "control_plane_interfaces_prove_that_they_belong_to_the_cluster",
        control_plane_interfaces_prove_that_they_belong_to_the_cluster,
    ),
    (
        "without_an_authority_they_accept_and_say_nothing",
        without_an_authority_they_accept_and_say_nothing,
    ),
    (
        "every_builtin_world_goes_up_within_seconds",
        every_builtin_world_goes_up_within_seconds,
    ),
    ("two_labs_at_once_do_not_meet", two_labs_at_once_do_not_meet),
    ("the_wire_enforces_the_drift", the_wire_enforces_the_drift),
    (
        "a_changed_source_is_dropped_unless_the_check_is_off",
        a_changed_source_is_dropped_unless_the_check_is_off,
    ),
    (
        "management_links_lead_to_the_coordinator_only",
        management_links_lead_to_the_coordinator_only,
    ),
    (
        "a_command_runs_inside_its_endpoint",
        a_command_runs_inside_its_endpoint,
    ),
    (
        "endpoint_slices_list_what_listens_on_443",
        endpoint_slices_list_what_listens_on_443,
    ),
    (
        "references_cross_a_transit_gateway_inbound",
        references_cross_a_transit_gateway_inbound,
    ),
    (
        "pods_leave_the_vpc_with_the_address_of_their_node",
        pods_leave_the_vpc_with_the_address_of_their_node,
    ),
    (
        "a_standard_branch_pod_is_filtered_off_its_node_only",
        a_standard_branch_pod_is_filtered_off_its_node_only,
    ),
    (
        "udp_and_other_protocols_get_through_where_rules_say_so",
        udp_and_other_protocols_get_through_where_rules_say_so,
    ),
    (
        "nothing_is_left_when_the_program_is_killed",
        nothing_is_left_when_the_program_is_killed,
    ),
];

fn main() -> ExitCode {
    match isolate() {
        Ok(Isolation::Finished(code)) => return code,
        Ok(Isolation::Inside) => {}
        Err(error) => panic!("{error}"),
    }
    if std::env::var_os(HOLD).is_some() {
        hold();
    }
    // As the standard harness has it: nothing here is ignored, and nothing is listed.
    if std::env::args().any(|argument| matches!(argument.as_str(), "--ignored" | "--list")) {
        return ExitCode::SUCCESS;
    }
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    let cases: Vec<_> = CASES
        .iter()
        .filter(|(name, _)| name.contains(&wanted))
        .collect();
    for (name, case) in &cases {
        let started = Instant::now();
        case();
        println!("{name}: ok in {:.1} s", started.elapsed().as_secs_f64());
    }
    println!("{} cases passed", cases.len());
    ExitCode::SUCCESS
}

/// A vector's snapshot: hosts 10.0.1.20, 10.0.2.20, 10.0.1.40, interfaces of the control plane at 10.0.1.10 and .2.10.
fn snapshot(vector: &str) -> Map<String, Value> {
    let path = format!("{}/../vectors/{vector}.json", env!("CARGO_MANIFEST_DIR"));
    let mut file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    file["snapshot"]
        .as_object_mut()
        .map(std::mem::take)
        .unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn connect(lab: &Lab, source: &str, destination: &str, port: u16) -> Answer {
    let (source, destination) = (address(source), address(destination));
    let traffic = Traffic::Tcp {
        port,
        source_port: 0,
    };
    let endpoint = lab.endpoint_at(source).unwrap().name.clone();
    lab.probe(
        &endpoint,
        &Probe {
            source,
            destination,
            traffic,
            wait: WAIT,
        },
    )
    .unwrap()
}

fn every_builtin_world_goes_up_within_seconds() {
    for builtin in BUILTIN {
        let expanded = World::builtin(builtin.name).unwrap().expand().unwrap();
        let started = Instant::now();
        let lab =
            Lab::up(&expanded.plan).unwrap_or_else(|error| panic!("{}: {error}", builtin.name));
        let took = started.elapsed();
        println!(
            "  {}: {} endpoints in {:.2} s",
            builtin.name,
            lab.endpoints().len(),
            took.as_secs_f64()
        );
        assert!(
            took < Duration::from_secs(15),
            "{} took {took:?}",
            builtin.name
        );
        for agent in &expanded.agents {
            assert_eq!(
                lab.endpoint_at(agent.addresses[0]).unwrap().name,
                agent.endpoint
            );
        }
    }
}

fn two_labs_at_once_do_not_meet() {
    let (open, closed) = (
        LabPlan {
            snapshot: snapshot("A01"),
            ..LabPlan::default()
        },
        snapshot("A03"),
    );
    let closed = LabPlan {
        snapshot: closed,
        ..LabPlan::default()
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| Lab::up(&open).unwrap());
        let second = scope.spawn(|| Lab::up(&closed).unwrap());
        let (first, second) = (first.join().unwrap(), second.join().unwrap());
        assert_eq!(
            connect(&first, "10.0.1.20", "10.0.2.20", 8080),
            Answer::Refused
        );
        assert_eq!(
            connect(&second, "10.0.1.20", "10.0.2.20", 8080),
            Answer::Silent
        );
    });
}

fn the_wire_enforces_the_drift() {
    for (said, enforced, answer) in [
        ("A03", "A01", Answer::Refused),
        ("A01", "A03", Answer::Silent),
    ] {
        let plan = LabPlan {
            snapshot: snapshot(said),
            enforced: Some(snapshot(enforced)),
            ..LabPlan::default()
        };
        let lab = Lab::up(&plan).unwrap();
        assert_eq!(
            connect(&lab, "10.0.1.20", "10.0.2.20", 8080),
            answer,
            "{said} with {enforced} enforced"
        );
    }
}

fn a_changed_source_is_dropped_unless_the_check_is_off() {
    for (check, answer) in [(true, Answer::Silent), (false, Answer::Arrived)] {
        let mut snapshot = snapshot("A01");
        let interfaces = snapshot["describe-network-interfaces"]["NetworkInterfaces"]
            .as_array_mut()
            .unwrap();
        let sender = interfaces
            .iter_mut()
            .find(|interface| interface["PrivateIpAddress"] == "10.0.1.20")
            .unwrap();
        sender["SourceDestCheck"] = json!(check);
        open_groups(&mut snapshot);
        let lab = Lab::up(&LabPlan {
            snapshot,
            ..LabPlan::default()
        })
        .unwrap();
        let host = lab.endpoint_at(address("10.0.1.20")).unwrap().name.clone();
        let ip = lab.command(&host, OsStr::new("ip")).unwrap();
        run(ip, "addr add 10.0.99.9/32 dev lo");
        let (source, destination) = (address("10.0.99.9"), address("10.0.2.20"));
        let probe = Probe {
            source,
            destination,
            traffic: Traffic::Other { protocol: 253 },
            wait: WAIT,
        };
        assert_eq!(
            lab.probe(&host, &probe).unwrap(),
            answer,
            "source/dest check {check}"
        );
    }
}

/// Lets every group admit everything.
fn open_groups(snapshot: &mut Map<String, Value>) {
    let everything = json!([{ "IpProtocol": "-1", "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }]);
    for group in snapshot["describe-security-groups"]["SecurityGroups"]
        .as_array_mut()
        .unwrap()
    {
        group["IpPermissions"] = everything.clone();
        group["IpPermissionsEgress"] = everything.clone();
    }
}

fn run(mut command: Command, arguments: &str) {
    let status = command.args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "{arguments}: {status}");
}

fn management_links_lead_to_the_coordinator_only() {
    let plan = LabPlan {
        snapshot: snapshot("A03"),
        management: Management::Links,
        ..LabPlan::default()
    };
    let lab = Lab::up(&plan).unwrap();
    let coordinator = TcpListener::bind(SocketAddr::new(lab.management_address(), 0)).unwrap();
    let target = coordinator.local_addr().unwrap();
    let mut own = Vec::new();
    for endpoint in lab.endpoints() {
        let stream = lab
            .within(&endpoint.name, || TcpStream::connect_timeout(&target, WAIT))
            .unwrap();
        own.push((
            endpoint.name.clone(),
            stream.unwrap().local_addr().unwrap().ip(),
        ));
    }
    assert!(own.len() > 5, "{own:?}");
    let (first, other) = (&own[0], &own[1]);
    // Even an endpoint that sends it there on purpose finds that the root passes nothing on.
    run(
        lab.command(&first.0, OsStr::new("ip")).unwrap(),
        &format!("route add {}/32 dev mgmt", other.1),
    );
    let reached = lab
        .within(&first.0, || {
            TcpStream::connect_timeout(&SocketAddr::new(other.1, 22), WAIT)
        })
        .unwrap();
    let error = reached.unwrap_err().kind();
    assert_eq!(
        error,
        std::io::ErrorKind::TimedOut,
        "{first:?} to {other:?}"
    );
}

fn a_command_runs_inside_its_endpoint() {
    let lab = Lab::up(&LabPlan {
        snapshot: snapshot("A01"),
        ..LabPlan::default()
    })
    .unwrap();
    let host = lab.endpoint_at(address("10.0.2.20")).unwrap().name.clone();
    let output = lab
        .command(&host, OsStr::new("ip"))
        .unwrap()
        .args(["-brief", "addr"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("10.0.2.20/32"), "{text}");
    assert!(lab.enter_hint(&host).unwrap().contains(&host));
    assert!(lab.command("nobody", OsStr::new("ip")).is_err());
}

fn endpoint_slices_list_what_listens_on_443() {
    let mut snapshot = snapshot("F01");
    add_endpoint_slices(&mut snapshot).unwrap();
    let items = snapshot["endpointslices"]["items"]
        .as_array()
        .unwrap()
        .clone();
    let listed: Vec<String> = items
        .iter()
        .flat_map(|item| item["endpoints"].as_array().unwrap())
        .map(|endpoint| endpoint["addresses"][0].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        listed,
        [
            "10.0.1.10",
            "10.0.2.10",
            "2600:1f14:abc:1::10",
            "2600:1f14:abc:2::10"
        ]
    );
    let lab = Lab::up(&LabPlan {
        snapshot,
        ..LabPlan::default()
    })
    .unwrap();
    let control_plane = lab
        .endpoints()
        .iter()
        .filter(|endpoint| endpoint.kind == EndpointKind::ControlPlane);
    assert_eq!(control_plane.count(), 2);
    for listed in &listed[..2] {
        assert_eq!(
            connect(&lab, "10.0.1.20", listed, 443),
            Answer::Connected,
            "{listed}"
        );
    }
}
