//! What the kernel says about networks that refuse, drop or do not exist, in a network namespace of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    env,
    net::SocketAddr,
    process::Command,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use reachproof_agent::{
    engine::{Engine, PeerConnection, Sink},
    limits::Limits,
    outcome::{Errno, Outcome},
    probe::{Attempts, Finished, Probe, ProbeKind, RunName, Work},
    seams::SystemClock,
};

/// Set where the namespace is made already.
const INSIDE: &str = "REACHPROOF_TEST_INSIDE";

/// Makes the network: TEST-NET-2 and a documentation prefix are refused by routes, ports by a firewall.
const NETWORK: &str = "
set -e
ip link set lo up
ip address add 2001:db8::1/128 dev lo
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

/// The outcome of one attempt from `source` to `target`.
fn outcome(source: &str, target: &str) -> Outcome {
    let limits = Limits {
        in_flight_max: 1,
        starts_per_second_max: 100,
    };
    let (sender, finished) = mpsc::channel();
    let (engine, _ended) = Engine::start(limits, Arc::new(SystemClock), Collect(sender)).unwrap();
    let target: SocketAddr = target.parse().unwrap();
    let probe = Probe {
        id: 1,
        target,
        source: source.parse().unwrap(),
        kind: ProbeKind::TcpConnect,
        attempts: Attempts::Random { most: 1 },
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

/// The error number of an attempt that was unreachable.
fn unreachable(source: &str, target: &str) -> Errno {
    let outcome = outcome(source, target);
    let Outcome::Unreachable { errno, .. } = outcome else {
        panic!("{target}: {outcome:?}")
    };
    errno
}

#[test]
#[ignore = "needs user namespaces, ip and nft"]
fn the_kernel_says_what_the_table_of_outcomes_says() {
    if env::var_os(INSIDE).is_none() {
        let status = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "sh", "-c", NETWORK])
            .arg(env::current_exe().unwrap())
            .args([
                "--exact",
                "--ignored",
                "--nocapture",
                "the_kernel_says_what_the_table_of_outcomes_says",
            ])
            .env(INSIDE, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let (v4, v6) = ("127.0.0.1", "::1");
    // No route at all, and routes that refuse.
    assert_eq!(
        unreachable(v6, "[2001:db8:2::1]:80"),
        Errno(libc::ENETUNREACH)
    );
    assert_eq!(
        unreachable(v4, "198.51.100.1:80"),
        Errno(libc::EHOSTUNREACH)
    );
    assert_eq!(
        unreachable(v6, "[2001:db8:1::1]:80"),
        Errno(libc::EHOSTUNREACH)
    );
    let errno = Errno(libc::EACCES);
    assert_eq!(
        outcome(v4, "198.51.100.200:80"),
        Outcome::LocalError { errno }
    );
    // ICMP errors, as routers and firewalls send them.
    assert_eq!(unreachable(v4, "127.0.0.2:81"), Errno(libc::EHOSTUNREACH));
    assert_eq!(unreachable(v4, "127.0.0.2:82"), Errno(libc::EHOSTUNREACH));
    assert_eq!(
        unreachable(v6, "[2001:db8::1]:81"),
        Errno(libc::EHOSTUNREACH)
    );
    assert_eq!(unreachable(v6, "[2001:db8::1]:82"), Errno(libc::EACCES));
    for (source, target) in [(v4, "127.0.0.2"), (v6, "[2001:db8::1]")] {
        let refused = outcome(source, &format!("{target}:83"));
        assert!(matches!(refused, Outcome::Refused { .. }), "{refused:?}");
        let silent = outcome(source, &format!("{target}:84"));
        assert!(matches!(silent, Outcome::TimedOut { .. }), "{silent:?}");
    }
}
