//! Network namespaces of the kernel: made, named, entered, and filled from a blueprint.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::blueprint::{Blueprint, End, Forwarding, Link, Namespace, Table};
use crate::error::LabError;
use crate::isolate::NAMESPACES;
use reachproof_start::find;

/// The name of the namespace of an interface's wire.
pub(crate) fn wire_name(interface: &str) -> String {
    format!("wire-{interface}")
}

/// How many namespaces are filled at a time: filling waits for two small programs each.
const WORKERS: usize = 4;
/// Settings below `/proc/sys/net` of every namespace. Whatever the machine's defaults are: no source check beside
/// that of the wire, no redirects, IPv6 on, no limit on answers that say "closed".
const SETTINGS: [(&str, &str); 9] = [
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
];
/// What makes a namespace a router, or keeps it from being one.
const FORWARDING: [&str; 2] = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];

/// The file that stands for the namespace `name`.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(NAMESPACES).join(name)
}

/// Builds everything that `blueprint` says; `prefix` comes before each name.
///
/// # Errors
/// [`LabError::Namespace`], [`LabError::Setting`], [`LabError::ToolNotRun`], [`LabError::ToolRefused`].
pub(crate) fn build(blueprint: &Blueprint, prefix: &str) -> Result<(), LabError> {
    let named: Vec<(String, &Namespace)> = blueprint
        .namespaces
        .iter()
        .map(|(name, namespace)| (format!("{prefix}{name}"), namespace))
        .collect();
    each(&named, |(name, namespace)| {
        create(name, namespace.forwarding)
    })?;
    settings("root", Forwarding::Off)?;
    let links: Vec<String> = blueprint
        .links
        .iter()
        .zip(1_u32..)
        .map(|(link, number)| link_line(link, number, prefix))
        .collect();
    run(("ip", &["-batch", "-"]), "root", &lines(&links))?;
    fill("root", &blueprint.root)?;
    each(&named, |(name, namespace)| {
        within(name, || fill(name, namespace))?
    })
}

/// Runs `work` on a thread of its own inside the namespace `name`.
///
/// Programs that it starts and sockets that it opens are inside, too.
///
/// # Errors
/// [`LabError::Namespace`] if it cannot be entered, [`LabError::Thread`] if `work` panics.
pub(crate) fn within<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
    let failed = |source: Errno| LabError::Namespace {
        operation: "enter",
        name: name.to_owned(),
        source,
    };
    let file = File::open(path(name)).map_err(|error| failed(errno(&error)))?;
    on_thread(name, || {
        setns(&file, CloneFlags::CLONE_NEWNET).map_err(failed)?;
        Ok(work())
    })?
}

/// Takes the name of a namespace away; the namespace itself goes when nothing runs in it any more.
pub(crate) fn forget(name: &str) {
    // Nothing is left to do about a failure: the mount namespace goes with the program.
    let _ = umount2(&path(name), MntFlags::MNT_DETACH);
    let _ = fs::remove_file(path(name));
}

fn on_thread<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
    thread::scope(|scope| {
        let failed = || LabError::Thread {
            name: name.to_owned(),
        };
        let handle = thread::Builder::new()
            .spawn_scoped(scope, work)
            .map_err(|_| failed())?;
        handle.join().map_err(|_| failed())
    })
}

/// Works on all `items`, several at a time; returns the first error.
fn each<T: Sync>(
    items: &[T],
    work: impl Fn(&T) -> Result<(), LabError> + Sync,
) -> Result<(), LabError> {
    let queue = Mutex::new(items.iter());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let results: Vec<Result<(), LabError>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(item) = next() {
                        work(item)?;
                    }
                    Ok(())
                })
            })
            .collect();
        let failed = || LabError::Thread {
            name: "root".to_owned(),
        };
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(failed())))
            .collect()
    });
    results.into_iter().collect()
}

fn create(name: &str, forwarding: Forwarding) -> Result<(), LabError> {
    let failed = |source: Errno| LabError::Namespace {
        operation: "create",
        name: name.to_owned(),
        source,
    };
    let target = path(name);
    File::create(&target).map_err(|error| failed(errno(&error)))?;
    on_thread(name, || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(failed)?;
        settings(name, forwarding)?;
        mount(
            Some("/proc/thread-self/ns/net"),
            &target,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .map_err(failed)
    })?
}

fn settings(name: &str, forwarding: Forwarding) -> Result<(), LabError> {
    let forward = match forwarding {
        Forwarding::Off => "0",
        Forwarding::On => "1",
    };
    let all = SETTINGS
        .into_iter()
        .chain(FORWARDING.into_iter().map(|path| (path, forward)));
    for (path, value) in all {
        fs::write(PathBuf::from("/proc/sys/net").join(path), value).map_err(|source| {
            LabError::Setting {
                path,
                name: name.to_owned(),
                source,
            }
        })?;
    }
    Ok(())
}

/// Both ends have one hardware address, so each takes what the other sends for its own.
fn link_line(link: &Link, number: u32, prefix: &str) -> String {
    let [a, b, c, d] = number.to_be_bytes();
    let address = format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
    let place = |end: &End| {
        end.namespace
            .as_ref()
            .map(|name| format!(" netns {prefix}{name}"))
            .unwrap_or_default()
    };
    format!(
        "link add dev {}{} address {address} type veth peer name {}{} address {address}",
        link.left.device,
        place(&link.left),
        link.right.device,
        place(&link.right),
    )
}

/// Fills the namespace in which this thread is.
fn fill(name: &str, namespace: &Namespace) -> Result<(), LabError> {
    let mut all = vec!["link set dev lo up".to_owned()];
    for device in &namespace.devices {
        all.push(format!("link set dev {device} arp off addrgenmode none"));
        all.push(format!("link set dev {device} up"));
    }
    all.extend(namespace.lines.iter().cloned());
    run(("ip", &["-batch", "-"]), name, &lines(&all))?;
    if !namespace.ipv6_rules.is_empty() {
        run(
            ("ip", &["-6", "-batch", "-"]),
            name,
            &lines(&namespace.ipv6_rules),
        )?;
    }
    if !namespace.nft.is_empty() {
        run(("nft", &["-f", "-"]), name, &namespace.nft)?;
    }
    Ok(())
}

/// Gives the namespace in which this thread is the routes and the filter of `namespace` in the place of its own; of `table`
/// nothing else stays.
///
/// # Errors
/// [`LabError::ToolNotRun`], [`LabError::ToolRefused`].
pub(crate) fn refill(name: &str, namespace: &Namespace, table: Table) -> Result<(), LabError> {
    let routes = namespace.routes();
    let is_used = |line: &String| line.ends_with(&table.to_string());
    if routes.iter().any(is_used) {
        let flush = format!("route flush{table}\n");
        run(("ip", &["-batch", "-"]), name, &flush)?;
        run(("ip", &["-6", "-batch", "-"]), name, &flush)?;
    }
    run(("ip", &["-batch", "-"]), name, &lines(&routes))?;
    let filter = format!("flush ruleset\n{}", namespace.nft);
    run(("nft", &["-f", "-"]), name, &filter)
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn run(
    (tool, arguments): (&'static str, &[&str]),
    name: &str,
    input: &str,
) -> Result<(), LabError> {
    let not_run = |source| LabError::ToolNotRun {
        tool,
        name: name.to_owned(),
        source,
    };
    let program = find(tool).unwrap_or_else(|| PathBuf::from(tool));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_run)?;
    // A program that ends early leaves the rest unread; what it said about that is the error to show.
    let _ = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(not_run)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = said.lines().take(4).collect::<Vec<_>>().join("; ");
    Err(LabError::ToolRefused {
        tool,
        name: name.to_owned(),
        message,
    })
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}
