//! The relation at the size of the performance goals, on one thread: `cargo bench -p reachproof-model`.
//!
//! Prints what the world is and how much memory the relation takes, then measures.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench"
)]

mod measure;
#[path = "../tests/second/mod.rs"]
mod second;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use criterion::measurement::WallTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use measure::ProcessorTime;
use reachproof_model::coverage::relation_coverage;
use reachproof_model::matrix::Matrix;
use reachproof_model::plan::{Depth, FLOWS_PER_RUN_MAX, FileState, Purpose, Scope, plan_rules};
use reachproof_model::snapshot::Snapshot;
use second::cluster::{PROBED_PORTS, Shape, agents, cluster, flows};

/// Counts bytes that are allocated now, and the most that there were.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator that counts has no safe form")]
// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Flows that are asked in turn: more than any cache holds.
const FLOWS: usize = 1 << 20;

/// Prints what the world is, and what the relation takes.
fn introduce(files: &serde_json::Map<String, serde_json::Value>, snapshot: &Snapshot) {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let matrix = Matrix::new(snapshot);
    let counts = matrix.count();
    let (now, most) = (NOW.load(Ordering::Relaxed), MOST.load(Ordering::Relaxed));
    let interfaces = files["describe-network-interfaces"]["NetworkInterfaces"]
        .as_array()
        .unwrap();
    let prefixes: usize = interfaces
        .iter()
        .filter_map(|eni| eni["Ipv4Prefixes"].as_array())
        .map(Vec::len)
        .sum();
    println!(
        "world: {} interfaces, {prefixes} /28 prefixes, {} classes, {} port intervals, {} rows",
        interfaces.len(),
        matrix.classes().len(),
        matrix.port_intervals().len(),
        matrix.rows(),
    );
    println!(
        "relation: {:.1} MiB kept, {:.1} MiB at most; {counts:?}",
        mebibytes(now - before),
        mebibytes(most - before),
    );
}

#[expect(clippy::as_conversions, reason = "a figure for people")]
fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn relation(criterion: &mut Criterion<ProcessorTime>) {
    let files = cluster(1, Shape::FULL);
    let snapshot = second::decode(&files);
    introduce(&files, &snapshot);
    drop(files);
    let mut group = criterion.benchmark_group("matrix");
    group.sample_size(20);
    group.bench_function("5000x60", |bencher| {
        bencher.iter(|| black_box(Matrix::new(&snapshot).count()));
    });
    group.finish();
    let matrix = Matrix::new(&snapshot);
    let flows = flows(7, Shape::FULL, FLOWS);
    let mut group = criterion.benchmark_group("predict");
    group.sample_size(10);
    group.throughput(Throughput::Elements(u64::try_from(FLOWS).unwrap()));
    group.bench_function("bare", |bencher| {
        bencher.iter(|| {
            for flow in &flows {
                black_box(matrix.kind(flow));
            }
        });
    });
    group.bench_function("explained", |bencher| {
        bencher.iter(|| {
            for flow in &flows {
                black_box(matrix.explain(flow));
            }
        });
    });
    group.finish();
    let mut edited = snapshot.security_groups().next().unwrap().clone();
    edited.ingress.remove(0);
    let changed = matrix.edited(&edited).unwrap();
    println!("one rule less changes {} pairs of classes", changed.len());
    let mut group = criterion.benchmark_group("diff");
    group.bench_function("one_rule", |bencher| {
        bencher.iter_with_large_drop(|| matrix.edited(&edited).unwrap());
    });
    group.finish();
}

fn planning(criterion: &mut Criterion<ProcessorTime>) {
    let files = cluster(1, Shape::FULL);
    let snapshot = second::decode(&files);
    let roster = agents(&files);
    drop(files);
    let matrix = Matrix::new(&snapshot);
    let scope = Scope {
        network_policies: FileState::Read,
        flows_max: FLOWS_PER_RUN_MAX,
        depth: Depth::Rules,
        seed: 1,
    };
    let plan = plan_rules(&matrix, &roster, &scope, &PROBED_PORTS);
    let of_rules = plan
        .flows
        .iter()
        .filter(|flow| !flow.purposes.contains(&Purpose::Required));
    let chosen: Vec<_> = of_rules.map(|flow| &flow.flow).collect();
    let count = |purpose| {
        plan.flows
            .iter()
            .filter(|flow| flow.purposes.contains(&purpose))
            .count()
    };
    let all = plan.flows.iter().map(|planned| &planned.flow);
    let found = relation_coverage(&matrix, &roster, &PROBED_PORTS, all);
    println!(
        "plan: {} flows beyond {} required, {} at edges, {} controls, {} left out",
        chosen.len(),
        plan.flows.len() - chosen.len(),
        count(Purpose::Edge),
        count(Purpose::Control),
        plan.left_out,
    );
    println!(
        "coverage: tuples {:?}, class pairs {:?}, rules {} shown, {} missing, {} cannot decide",
        found.tuples,
        found.class_pairs,
        found.rules.shown.len(),
        found.rules.missing.len(),
        found.rules.cannot_decide.len(),
    );
    let at_ports = plan
        .flows
        .iter()
        .filter(|flow| flow.purposes.contains(&Purpose::Rule));
    let at_ports: Vec<_> = at_ports.map(|flow| &flow.flow).collect();
    let shown = relation_coverage(&matrix, &roster, &PROBED_PORTS, at_ports.iter().copied()).tuples;
    let goal = roster.len() * PROBED_PORTS.len() * 105 / 100;
    println!(
        "bound: {} probes show {shown:?} tuples, 1.05 x nodes x ports are {goal}",
        at_ports.len(),
    );
    let mut loads = BTreeMap::new();
    for flow in &chosen {
        *loads.entry(flow.source).or_insert(0_usize) += 1;
    }
    println!(
        "load: {:?} at most of {} agents",
        loads.values().max(),
        roster.len()
    );
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10);
    group.bench_function("5000x60", |bencher| {
        bencher.iter_with_large_drop(|| plan_rules(&matrix, &roster, &scope, &PROBED_PORTS));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessorTime(WallTime));
    targets = relation, planning
}
criterion_main!(benches);
