//! A report of 30,000 flows, read and written in every format: `cargo bench -p reachproof-verify`.
//!
//! The findings are those of the recorded report of the tests, over and over, each between addresses of its own. The report
//! is written by another process, so that the memory is that of reading and writing alone.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench"
)]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use reachproof_verify::Report;
use reachproof_verify::report::human::{Colour, Details, Terminal, View};
use reachproof_verify::report::{Allowed, FORMATS};

const FLOWS: usize = 30_000;

/// Most processor time and memory, in seconds and MiB: a busy machine does not count.
const GOAL: (f64, u64) = (5.0, 400);

fn main() {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap();
    if let Some(path) = arguments.find(|argument| argument.ends_with(".large.json")) {
        return make(Path::new(&path));
    }
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("report.large.json");
    assert!(Command::new(program).arg(&path).status().unwrap().success());
    let size = fs::metadata(&path).unwrap().len() >> 20;
    let began = Instant::now();
    let worked = processor();
    let report = Report::open(&path).unwrap();
    assert_eq!(report.findings.len(), FLOWS);
    println!(
        "read: {FLOWS} flows, {size} MiB in {:.2?}, {} MiB",
        began.elapsed(),
        most()
    );
    let view = view();
    for format in &FORMATS {
        let one = Instant::now();
        let path = home.path().join(format.name);
        let mut out = BufWriter::new(File::create(&path).unwrap());
        format.write(&report, &view, &mut out).unwrap();
        out.flush().unwrap();
        let size = fs::metadata(&path).unwrap().len() >> 10;
        println!(
            "{}: {size} KiB in {:.2?}, {} MiB",
            format.name,
            one.elapsed(),
            most()
        );
    }
    let (seconds, memory) = (processor() - worked, most());
    println!(
        "read and written in {} formats: {seconds:.2} s of processor time in {:.2?}, {memory} MiB at most",
        FORMATS.len(),
        began.elapsed()
    );
    assert!(
        seconds <= GOAL.0 && memory <= GOAL.1,
        "the goal is {GOAL:?}"
    );
}

/// Everything, as a file gets it.
fn view() -> View {
    View {
        terminal: Terminal {
            width: 120,
            colour: Colour::Plain,
        },
        details: Details::All,
        allowed: Allowed::default(),
    }
}

/// Writes a report of as many flows.
fn make(path: &Path) {
    let recorded = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/old/report.json.gz");
    let mut report = Report::open(&recorded).unwrap();
    let recorded = report.findings.clone();
    let label = report.endpoints.values().next().unwrap().clone();
    report.findings = (0..FLOWS)
        .zip(recorded.iter().cycle())
        .map(|(number, finding)| {
            let mut finding = finding.clone();
            let ends = u32::try_from(number).unwrap();
            finding.flow.source = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + ends % 200));
            finding.flow.destination = IpAddr::V4(Ipv4Addr::from(0x0a01_0000 + ends / 200));
            report.endpoints.insert(finding.flow.source, label.clone());
            report
                .endpoints
                .insert(finding.flow.destination, label.clone());
            finding.prediction.flow = finding.flow.clone();
            finding
        })
        .collect();
    let json = FORMATS.iter().find(|format| format.name == "json").unwrap();
    let view = view();
    let mut out = BufWriter::new(File::create(path).unwrap());
    json.write(&report, &view, &mut out).unwrap();
    out.flush().unwrap();
}

/// Processor time of this process so far, in seconds: the fields `utime` and `stime` of proc(5), in ticks of 10 ms.
fn processor() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .map(|ticks| ticks.parse::<f64>().unwrap() / 100.0)
        .sum()
}

/// Most memory that this process had, in MiB.
fn most() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim()
        .trim_end_matches(" kB")
        .trim()
        .parse::<u64>()
        .unwrap()
        >> 10
}
