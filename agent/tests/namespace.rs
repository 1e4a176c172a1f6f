//! What the kernel says about networks that refuse, drop or do not exist, in a network namespace of its own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::{
    env,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reachproof_agent::{
    engine::{Engine, EngineConfig, Evidence, Pacing, PeerConnection, Sink},
    environment::{Clock, Rng, SystemClock, SystemRng},
    limits::Limits,
    listener::{ListenOrder, Listeners},
    outcome::{Errno, Outcome},
    policy::Policy,
    probe::{Attempts, Finished, Probe, ProbeKind, RunName, Work},
    wire::Assigned,
};
use reachproof_proto::v1;
use socket2::{Domain, Protocol, Socket, Type};

/// Set where the namespace is made already.
const INSIDE: &str = "REACHPROOF_TEST_INSIDE";

/// Makes the network: TEST-NET-2 and a documentation prefix are refused by routes, ports by a firewall.
const NETWORK: &str = "
set -e
ip link set lo up
ip address add 2001:db8::1/128 dev lo
ip address add 10.9.0.1/32 dev lo
ip address add 2600:1f14:abc::1/128 dev lo
ip route add unreachable 198.51.100.0/25
ip route add prohibit 198.51.100.128/25
ip -6 route add unreachable 2001:db8:1::/48
nft -f - <<'RULES'
table inet wall {
  chain output {
    type filter hook output priority 0;
    tcp dport 81 reject with icmpx type host-unreachable
    tcp dport 82 reject with icmpx type admin-prohibited
    tcp dport 83 reject with icmpx type port-unreachable
    tcp dport 84 drop
    tcp dport 85 reject with tcp reset
    udp dport 82 reject with icmpx type admin-prohibited
    udp dport 83 reject with icmpx type port-unreachable
  }
  chain input {
    type filter hook input priority 0;
    udp dport 87 reject with icmpx type admin-prohibited
    udp dport 88 drop
    tcp dport 86 reject with icmpx type port-unreachable
    tcp dport 87 reject with icmpx type admin-prohibited
  }
}
RULES
exec \"$0\" \"$@\"
";

/// Gives finished attempts to a test.
struct Collect(mpsc::Sender<Finished>);

impl Sink for Collect {
    fn finished(&self, attempt: Finished) {
        self.0.send(attempt).unwrap();
    }

    fn connected(&self, connection: PeerConnection) {
        self.0.send(connection.attempt).unwrap();
    }
}

/// The clock and the random numbers of this machine.
fn environment() -> (Arc<dyn Clock>, Arc<dyn Rng>) {
    (Arc::new(SystemClock), Arc::new(SystemRng::new().unwrap()))
}

/// An engine without a pace and with few limits, and what it finishes.
fn engine(in_flight_max: usize) -> (Engine, mpsc::Receiver<Finished>) {
    let engine_config = EngineConfig {
        in_flight_max,
        pacing: Pacing::Unpaced,
        tracked_max: None,
        evidence: Evidence::Full,
        policy: Policy::unrestricted(),
    };
    let (sender, finished) = mpsc::channel();
    let (engine, _ended) = Engine::start(engine_config, environment(), Collect(sender)).unwrap();
    (engine, finished)
}

/// What `count` probes of `target` end with that are made at once, try once, and wait a second.
fn burst(in_flight_max: usize, target: &str, source: Option<IpAddr>, count: u32) -> Vec<Outcome> {
    let (engine, finished) = engine(in_flight_max);
    let probe = |id| Probe {
        id,
        target: target.parse().unwrap(),
        source,
        kind: ProbeKind::TcpConnect,
        attempts: Attempts::until_answered(1),
        deadline: Duration::from_secs(1),
        interval: Duration::from_secs(1),
    };
    engine.add(Work {
        run: RunName::new("run"),
        probes: (0..count).map(probe).collect(),
        expires_at: Instant::now() + Duration::from_secs(60),
    });
    let next = |_| {
        finished
            .recv_timeout(Duration::from_secs(20))
            .unwrap()
            .outcome
    };
    (0..count).map(next).collect()
}

/// The outcome of one attempt from `source` to `target`.
fn outcome(source: &str, target: &str) -> Outcome {
    outcome_of(ProbeKind::TcpConnect, source, target)
}

/// The outcome of one attempt of this kind from `source` to `target`.
fn outcome_of(kind: ProbeKind, source: &str, target: &str) -> Outcome {
    let (engine, finished) = engine(1);
    let target: SocketAddr = target.parse().unwrap();
    let probe = Probe {
        id: 1,
        target,
        source: Some(source.parse().unwrap()),
        kind,
        attempts: Attempts::until_answered(1),
        deadline: Duration::from_millis(500),
        interval: Duration::from_millis(500),
    };
    let expires_at = Instant::now() + Duration::from_secs(60);
    engine.add(Work {
        run: RunName::new("run"),
        probes: vec![probe],
        expires_at,
    });
    finished
        .recv_timeout(Duration::from_secs(20))
        .unwrap()
        .outcome
}

/// The error number of an attempt that was unreachable without an ICMP error.
fn no_way(source: &str, target: &str) -> Errno {
    let outcome = outcome(source, target);
    let Outcome::Unreachable {
        errno, icmp: None, ..
    } = outcome
    else {
        panic!("{target}: {outcome:?}")
    };
    errno
}

/// The error number, type and code of an attempt that an ICMP error ended, which came from the target's own address.
fn icmp_error(kind: ProbeKind, source: &str, target: &str) -> (i32, u8, u8) {
    let outcome = outcome_of(kind, source, target);
    let Outcome::Unreachable {
        errno,
        icmp: Some(icmp),
        ..
    } = outcome
    else {
        panic!("{target}: {outcome:?}")
    };
    let target: SocketAddr = target.parse().unwrap();
    assert_eq!(icmp.from, Some(target.ip()), "{target}");
    (errno.0, icmp.kind, icmp.code)
}

/// Whether the test runs in the namespace; if not, it was run there, and passed.
fn is_inside(test: &str, network: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", network])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", test])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}

#[test]
#[ignore = "needs user namespaces, ip and nft"]
fn the_kernel_says_what_the_table_of_outcomes_says() {
    if !is_inside("the_kernel_says_what_the_table_of_outcomes_says", NETWORK) {
        return;
    }
    let (v4, v6) = ("127.0.0.1", "::1");
    // No route at all, and routes that refuse.
    assert_eq!(no_way(v6, "[2001:db8:2::1]:80"), Errno(libc::ENETUNREACH));
    assert_eq!(no_way(v4, "198.51.100.1:80"), Errno(libc::EHOSTUNREACH));
    assert_eq!(no_way(v6, "[2001:db8:1::1]:80"), Errno(libc::EHOSTUNREACH));
    let errno = Errno(libc::EACCES);
    assert_eq!(
        outcome(v4, "198.51.100.200:80"),
        Outcome::LocalError { errno }
    );
    for (source, target) in [(v4, "127.0.0.2"), (v6, "[2001:db8::1]")] {
        // Nobody listens on the latter.
        for port in [85, 89] {
            let refused = outcome(source, &format!("{target}:{port}"));
            assert!(matches!(refused, Outcome::Refused { .. }), "{refused:?}");
        }
        let silent = outcome(source, &format!("{target}:84"));
        assert!(matches!(silent, Outcome::TimedOut { .. }), "{silent:?}");
    }
}

#[test]
#[ignore = "needs user namespaces, ip and nft"]
fn an_icmp_error_is_no_answer_whichever_it_is() {
    if !is_inside("an_icmp_error_is_no_answer_whichever_it_is", NETWORK) {
        return;
    }
    let (refused, unreachable) = (libc::ECONNREFUSED, libc::EHOSTUNREACH);
    let (tcp, udp) = (ProbeKind::TcpConnect, ProbeKind::DnsUdp { id: 7 });
    let peer = ProbeKind::Peer { nonce: [1; 16] };
    for kind in [tcp, peer, ProbeKind::DnsTcp { id: 7 }] {
        // As the host's own firewall sends them while connect() runs, and as others do later.
        for (port, v4, v6) in [
            (81, (unreachable, 3, 1), (unreachable, 1, 3)),
            (82, (unreachable, 3, 13), (libc::EACCES, 1, 1)),
            (83, (refused, 3, 3), (refused, 1, 4)),
            (86, (refused, 3, 3), (refused, 1, 4)),
            (87, (unreachable, 3, 13), (libc::EACCES, 1, 1)),
        ] {
            let target = format!("127.0.0.2:{port}");
            assert_eq!(icmp_error(kind, "127.0.0.1", &target), v4, "{target}");
            let target = format!("[2001:db8::1]:{port}");
            assert_eq!(icmp_error(kind, "::1", &target), v6, "{target}");
        }
    }
    // Port 89 has no listener: the host itself says so.
    for (port, v4, v6) in [
        (82, (unreachable, 3, 13), (libc::EACCES, 1, 1)),
        (83, (refused, 3, 3), (refused, 1, 4)),
        (87, (unreachable, 3, 13), (libc::EACCES, 1, 1)),
        (89, (refused, 3, 3), (refused, 1, 4)),
    ] {
        let target = format!("127.0.0.2:{port}");
        assert_eq!(icmp_error(udp, "127.0.0.1", &target), v4, "{target}");
        let target = format!("[2001:db8::1]:{port}");
        assert_eq!(icmp_error(udp, "::1", &target), v6, "{target}");
    }
    for (source, target) in [("127.0.0.1", "127.0.0.2:88"), ("::1", "[2001:db8::1]:88")] {
        let silent = outcome_of(udp, source, target);
        assert!(matches!(silent, Outcome::TimedOut { .. }), "{silent:?}");
    }
}

#[test]
#[ignore = "needs user namespaces, ip and nft"]
fn a_probe_by_hand_says_unreachable_and_who_said_so() {
    if !is_inside("a_probe_by_hand_says_unreachable_and_who_said_so", NETWORK) {
        return;
    }
    for (target, kind, code) in [("10.9.0.1", 3, 3), ("2600:1f14:abc::1", 1, 4)] {
        let probe = Command::new(env!("CARGO_BIN_EXE_reachproof-agent"))
            .args(["probe", target, "83", "85", "86", "--output=json"])
            .args(["--attempts=1", "--timeout-ms=500"])
            .output()
            .unwrap();
        let mut lines: Vec<serde_json::Value> = String::from_utf8(probe.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        lines.sort_by_key(|line| line["port"].as_u64());
        let said = |line: &serde_json::Value| (line["outcome"].clone(), line["icmp"].clone());
        let icmp = serde_json::json!({ "type": kind, "code": code, "from": target });
        assert_eq!(said(&lines[0]), ("unreachable".into(), icmp.clone()));
        assert_eq!(said(&lines[1]), ("refused".into(), serde_json::Value::Null));
        assert_eq!(said(&lines[2]), ("unreachable".into(), icmp));
    }
}

#[test]
#[ignore = "needs user namespaces, ip and nft"]
fn silence_of_a_process_that_was_stopped_meanwhile_is_its_own() {
    if !is_inside(
        "silence_of_a_process_that_was_stopped_meanwhile_is_its_own",
        NETWORK,
    ) {
        return;
    }
    for (stopped, word) in [(false, "timeout"), (true, "starved")] {
        let child = Command::new(env!("CARGO_BIN_EXE_reachproof-agent"))
            .args(["probe", "10.9.0.1", "84", "--attempts=1"])
            .arg("--timeout-ms=2500")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        thread::sleep(Duration::from_millis(500));
        if stopped {
            // It goes on long before its deadline.
            kill(pid, Signal::SIGSTOP).unwrap();
            thread::sleep(Duration::from_secs(1));
            kill(pid, Signal::SIGCONT).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = format!("10.9.0.1 84 {word} after ");
        assert!(
            text.starts_with(&line) && text.ends_with(" ms, 1 attempt\n"),
            "{text}"
        );
    }
}

/// Routes everything to the loopback device, so that any packet can be sent, and counts the SYNs that are.
const ANYWHERE: &str = "
set -e
ip link set lo up
ip address add 2600:1f14:abc::1/128 dev lo
ip address add 10.0.0.1/32 dev lo
ip route add default dev lo
ip -6 route add default dev lo
nft -f - <<'RULES'
table inet count {
  counter syns { }
  chain output {
    type filter hook output priority 0;
    tcp flags & (syn | ack) == syn counter name syns
  }
}
RULES
exec \"$0\" \"$@\"
";

/// A policy as wide as can be written, but for the service ranges and one port.
const WIDE: &str = "
allow: [0.0.0.0/0, '::/0']
deny: [172.20.0.0/16, 'fd30:4ce2:e0fc::/108']
deny_ports: [2379]
";

/// A policy of one VPC.
const NARROW: &str = "allow: [10.0.0.0/16, '2600:1f14:abc::/56']";

/// Targets that the wide policy refuses: what is always denied, its disguises, service addresses and their disguises.
const EVASIONS: [&str; 32] = [
    "127.0.0.1:80",
    "127.255.255.254:80",
    "[::1]:80",
    "[::ffff:127.0.0.1]:80",
    "[::127.0.0.1]:80",
    "0.0.0.0:80",
    "0.1.2.3:80",
    "[::]:80",
    "169.254.169.254:80",
    "169.254.170.2:80",
    "169.254.170.23:80",
    "169.254.20.10:53",
    "[::ffff:169.254.169.254]:80",
    "[::ffff:0:169.254.169.254]:80",
    "[64:ff9b::169.254.169.254]:80",
    "[64:ff9b:1::169.254.169.254]:80",
    "[64:ff9b:1:a9fe:a9:fe00::]:80",
    "[2002:a9fe:a9fe::1]:80",
    "[2001:0:a9fe:a9fe::1]:80",
    "[2001::5601:5601]:80",
    "[2600:1f14:abc::5efe:169.254.169.254]:80",
    "[fd00:ec2::254]:80",
    "[fd00:ec2::23]:80",
    "[fe80::1]:80",
    "[fec0::1]:80",
    "224.0.0.1:80",
    "[ff02::1]:80",
    "255.255.255.255:80",
    "240.0.0.1:80",
    "172.20.0.1:443",
    "[64:ff9b::172.20.0.10]:53",
    "[fd30:4ce2:e0fc::a]:53",
];

/// Ordinary addresses on ports that the wide policy refuses.
const SHUT_PORTS: [&str; 4] = [
    "10.0.0.1:22",
    "[::ffff:10.0.0.1]:22",
    "10.0.0.1:3389",
    "[2600:1f14:abc::1]:2379",
];

/// Targets that only the narrow policy refuses: beyond the VPC, its broadcast address.
const OUTSIDE: [&str; 4] = [
    "10.1.0.1:443",
    "192.0.2.1:443",
    "[2600:1f14:abd::1]:443",
    "10.0.255.255:443",
];

/// SYNs that were sent so far.
fn syns() -> u64 {
    let output = Command::new("nft")
        .args(["list", "counter", "inet", "count", "syns"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let count = text
        .split("packets ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    count.unwrap().parse().unwrap()
}

/// What an engine with this policy makes of a plan for `targets`, as a coordinator would send it.
fn outcomes(policy: &str, targets: &[&str]) -> Vec<Outcome> {
    let policy = Policy::parse(Path::new("policy.yaml"), policy).unwrap();
    let limits = Limits {
        in_flight_max: 64,
        starts_per_second_max: 100,
    };
    let engine_config = EngineConfig::of_stream(Limits::within_host(limits).unwrap(), policy);
    let (sender, finished) = mpsc::channel();
    let (engine, _ended) = Engine::start(engine_config, environment(), Collect(sender)).unwrap();
    let probe = |(id, target): (u32, &&str)| {
        let target: SocketAddr = target.parse().unwrap();
        let (target_bytes, source) = match target.ip() {
            IpAddr::V4(v4) => (v4.octets().to_vec(), vec![10, 0, 0, 1]),
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
                (v6.octets().to_vec(), vec![10, 0, 0, 1])
            }
            IpAddr::V6(v6) => (
                v6.octets().to_vec(),
                "2600:1f14:abc::1"
                    .parse::<Ipv6Addr>()
                    .unwrap()
                    .octets()
                    .to_vec(),
            ),
        };
        v1::Probe {
            id,
            target: target_bytes,
            port: target.port().into(),
            source,
            kind: v1::ProbeKind::TcpConnect.into(),
            attempts: 1,
            deadline_ms: 300,
            interval_ms: 300,
            ..v1::Probe::default()
        }
    };
    let plan = v1::Assignment {
        run: "run".to_owned(),
        generation: 1,
        probes: (0..).zip(targets).map(probe).collect(),
        expires_after_ms: 60_000,
        ..v1::Assignment::default()
    };
    let assigned = Assigned::try_from(plan).unwrap();
    assert_eq!(
        assigned.refused,
        [],
        "a bound of the wire came before the policy"
    );
    engine.add(Work {
        run: assigned.run,
        probes: assigned.probes,
        expires_at: Instant::now() + assigned.expires_after,
    });
    let next = |_| {
        finished
            .recv_timeout(Duration::from_secs(20))
            .unwrap()
            .outcome
    };
    targets.iter().map(next).collect()
}

#[test]
#[ignore = "needs user namespaces, ip and nft"]
fn forty_evasions_are_refused_without_a_packet() {
    if !is_inside("forty_evasions_are_refused_without_a_packet", ANYWHERE) {
        return;
    }
    let refused = |outcomes: &[Outcome]| {
        outcomes
            .iter()
            .filter(|outcome| **outcome == Outcome::RefusedByPolicy)
            .count()
    };
    let mut count = 0;
    for (policy, targets) in [
        (WIDE, EVASIONS.as_slice()),
        (WIDE, SHUT_PORTS.as_slice()),
        (NARROW, EVASIONS.as_slice()),
        (NARROW, OUTSIDE.as_slice()),
    ] {
        let found = refused(&outcomes(policy, targets));
        assert_eq!(found, targets.len());
        count += found;
    }
    let sent = syns();
    println!(
        "{count} refusals of {} targets, {sent} SYNs sent",
        EVASIONS.len() + SHUT_PORTS.len() + OUTSIDE.len()
    );
    assert_eq!(sent, 0);
    // Without the policy the same targets would be tried: the counter sees what is sent.
    let tried = outcomes(
        WIDE,
        &["10.0.0.1:443", "192.0.2.1:443", "[2600:1f14:abc::1]:443"],
    );
    assert_eq!(refused(&tried), 0);
    assert!(syns() >= 3, "the counter counts nothing");
}

/// Four source ports, and a port that drops.
const FOUR_PORTS: &str = "
set -e
ip link set lo up
echo 40000 40003 > /proc/sys/net/ipv4/ip_local_port_range
nft -f - <<'RULES'
table inet wall {
  chain output {
    type filter hook output priority 0;
    tcp dport 84 drop
  }
}
RULES
exec \"$0\" \"$@\"
";

#[test]
#[ignore = "needs user namespaces, ip and nft"]
fn a_used_up_port_range_is_a_local_error_and_no_silence() {
    if !is_inside(
        "a_used_up_port_range_is_a_local_error_and_no_silence",
        FOUR_PORTS,
    ) {
        return;
    }
    for source in [None, Some("127.0.0.1".parse().unwrap())] {
        let outcomes = burst(10, "127.0.0.2:84", source, 10);
        let mut words: Vec<&str> = outcomes.into_iter().map(Outcome::word).collect();
        words.sort_unstable();
        let (errors, silent) = words.split_at(6);
        assert_eq!(errors, ["error"; 6], "{source:?}");
        assert_eq!(silent, ["timeout"; 4], "{source:?}");
    }
}

/// 148 open files, an address, and a port that drops.
const FEW_FILES: &str = "
set -e
ip link set lo up
ip address add 10.0.0.1/32 dev lo
nft -f - <<'RULES'
table inet wall {
  chain output {
    type filter hook output priority 0;
    tcp dport 84 drop
  }
}
RULES
ulimit -n 148
exec \"$0\" \"$@\"
";

#[test]
#[ignore = "needs user namespaces, ip and nft"]
fn too_few_open_files_are_a_local_error_that_the_limits_avoid() {
    if !is_inside(
        "too_few_open_files_are_a_local_error_that_the_limits_avoid",
        FEW_FILES,
    ) {
        return;
    }
    let errno = Errno(libc::EMFILE);
    let outcomes = burst(1_000, "127.0.0.2:84", None, 200);
    let (errors, silent): (Vec<_>, Vec<_>) = outcomes
        .into_iter()
        .partition(|outcome| *outcome == Outcome::LocalError { errno });
    assert!(errors.len() >= 52, "{} errors", errors.len());
    for outcome in silent {
        assert!(matches!(outcome, Outcome::TimedOut { .. }), "{outcome:?}");
    }
    let asked = Limits {
        in_flight_max: 1_000,
        starts_per_second_max: 100,
    };
    let allowed = Limits::within_host(asked).unwrap().attempts.in_flight_max;
    let allowed = usize::try_from(allowed).unwrap();
    for outcome in burst(allowed, "127.0.0.2:84", None, 20) {
        assert!(matches!(outcome, Outcome::TimedOut { .. }), "{outcome:?}");
    }
    // By hand, too: what is not yet closed takes descriptors beside what is in flight.
    let listener = TcpListener::bind("10.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    thread::spawn(move || listener.incoming().for_each(drop));
    let probe = Command::new(env!("CARGO_BIN_EXE_reachproof-agent"))
        .args(["probe", "10.0.0.1", "--in-flight-max=16384", "--attempts=1"])
        .args([port.as_str(); 2_000])
        .output()
        .unwrap();
    let text = String::from_utf8(probe.stdout).unwrap();
    let open = text.lines().filter(|line| line.contains(" open in "));
    assert_eq!(open.count(), 2_000, "{text}");
}

/// Connection tracking that sees all packets.
const TRACKED: &str = "
set -e
ip link set lo up
nft -f - <<'RULES'
table inet track {
  chain output {
    type filter hook output priority 0;
    ct state new accept
  }
}
RULES
exec \"$0\" \"$@\"
";

/// A number that connection tracking tells.
fn tracking(name: &str) -> u32 {
    let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
    std::fs::read_to_string(path)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// An attribute of netlink with its padding.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A message that makes connection tracking enter UDP flow number `number`, answered and for an hour.
fn flow(number: u32) -> Vec<u8> {
    const NESTED: u16 = 0x8000;
    let source = (0x0a00_0000 + number).to_be_bytes();
    let tuple = |kind: u16, source: [u8; 4], target: [u8; 4], ports: [u16; 2]| {
        let addresses = [attribute(1, &source), attribute(2, &target)].concat();
        let [from, to] = ports.map(u16::to_be_bytes);
        let protocol = [attribute(1, &[17]), attribute(2, &from), attribute(3, &to)].concat();
        let parts = [
            attribute(1 | NESTED, &addresses),
            attribute(2 | NESTED, &protocol),
        ];
        attribute(kind | NESTED, &parts.concat())
    };
    let target = [192, 0, 2, 1];
    let parts = [
        vec![2, 0, 0, 0],
        tuple(1, source, target, [1000, 2000]),
        tuple(2, target, source, [2000, 1000]),
        // Confirmed, answered, assured: the kernel does not drop it for a new one.
        attribute(3, &14_u32.to_be_bytes()),
        attribute(7, &3_600_u32.to_be_bytes()),
    ]
    .concat();
    let length = u32::try_from(16 + parts.len()).unwrap();
    // IPCTNL_MSG_CT_NEW as a request to create.
    let mut message = [length.to_ne_bytes(), 0x0401_0100_u32.to_ne_bytes()].concat();
    message.extend_from_slice(&[0; 8]);
    message.extend(parts);
    message
}

/// Fills the table of connections with flows of nobody.
fn fill() {
    let protocol = Protocol::from(libc::NETLINK_NETFILTER);
    let netlink = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol)).unwrap();
    let most = tracking("max");
    for first in (0..most).step_by(100) {
        let messages: Vec<u8> = (first..most.min(first + 100)).flat_map(flow).collect();
        netlink.send(&messages).unwrap();
    }
}

#[test]
#[ignore = "needs user namespaces, ip, nft and 100 MB of memory"]
fn a_full_connection_table_is_a_local_error_and_no_silence() {
    if !is_inside(
        "a_full_connection_table_is_a_local_error_and_no_silence",
        TRACKED,
    ) {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    for outcome in burst(4, &target, None, 4) {
        assert!(matches!(outcome, Outcome::Connected { .. }), "{outcome:?}");
    }
    fill();
    let (count, most) = (tracking("count"), tracking("max"));
    assert!(count >= most, "{count} of {most} entries");
    let errno = Errno::NO_ROOM;
    assert_eq!(
        burst(4, &target, None, 4),
        [Outcome::LocalError { errno }; 4]
    );
}

/// Queues of eight connections.
const SHORT_QUEUES: &str = "
set -e
ip link set lo up
echo 8 > /proc/sys/net/core/somaxconn
exec \"$0\" \"$@\"
";

#[test]
#[ignore = "needs user namespaces and ip"]
fn what_is_dropped_at_a_socket_is_counted_there_and_not_at_others() {
    if !is_inside(
        "what_is_dropped_at_a_socket_is_counted_there_and_not_at_others",
        SHORT_QUEUES,
    ) {
        return;
    }
    // Its only thread accepts nothing while it connects.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let addresses: Vec<IpAddr> = ["127.0.0.1", "::1"]
        .map(|address| address.parse().unwrap())
        .into();
    let run = RunName::new("run");
    runtime.block_on(async {
        let mut listeners =
            Listeners::new(addresses.clone(), Arc::new(SystemClock), Arc::new(drop), 64);
        let order = |port| ListenOrder { port, key: [9; 32] };
        let never = tokio::time::Instant::now() + Duration::from_secs(3600);
        let orders = [order(12_345), order(12_346)];
        assert_eq!(listeners.open(&run, &orders, never).await, []);
        for full in &addresses {
            let target = SocketAddr::new(*full, 12_345);
            let before = listeners.queue_drops(&run).unwrap();
            let wait = Duration::from_millis(100);
            let held: Vec<TcpStream> =
                std::iter::from_fn(|| TcpStream::connect_timeout(&target, wait).ok()).collect();
            assert_eq!(held.len(), 9);
            let drops = listeners.drain(&run).await;
            assert_eq!(drops.len(), 4);
            for socket in drops {
                let counts =
                    socket.address == target || (socket.address.port() == 12_345 && full.is_ipv6());
                assert_eq!(socket.drops > 0, counts, "{socket:?}");
            }
            assert!(listeners.queue_drops(&run).unwrap() > before);
        }
        assert_eq!(listeners.drain(&RunName::new("other")).await, []);
        listeners.close_all().await;
        assert_eq!(listeners.drain(&run).await, []);
    });
}
