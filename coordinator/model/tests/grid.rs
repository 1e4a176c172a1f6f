//! A cell of a grid says what holds for every two members of its row and column.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test reads a file and fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::{A1, D, World, entry};
use reachproof_model::class::ClassId;
use reachproof_model::describe::{Described, parse};
use reachproof_model::flow::{Flow, Transport};
use reachproof_model::matrix::{
    Ends, Filter, Grid, GridCell, GridEnd, GridQuestion, Matrix, VerdictKind,
};
use reachproof_model::net::PortRange;
use reachproof_model::predict::verdict;
use reachproof_model::snapshot::{Direction, Owner, Snapshot};
use serde_json::{Value, json};

#[allow(dead_code, reason = "shared with other tests")]
mod common;

fn question(transport: Transport, port: Option<u16>) -> GridQuestion {
    GridQuestion {
        filter: Filter {
            ports: port.map(|port| PortRange::between(port, port)),
            ..Filter::default()
        },
        ends: Ends::default(),
        transport,
    }
}

/// The rows with what each column says of them, those that are folded, too.
fn blocks(grid: &Grid) -> Vec<(&GridEnd, &GridEnd, GridCell)> {
    let deny = GridCell::Every(VerdictKind::Deny);
    let mut blocks = Vec::new();
    for (row, cells) in grid.rows.iter().zip(&grid.cells) {
        let cells = grid.columns.iter().zip(cells);
        blocks.extend(cells.map(|(column, cell)| (row, column, cell.clone())));
        let closed = grid.closed_columns.iter();
        blocks.extend(closed.map(|column| (row, column, deny.clone())));
    }
    for row in &grid.closed_rows {
        let all = grid.columns.iter().chain(&grid.closed_columns);
        blocks.extend(all.map(|column| (row, column, deny.clone())));
    }
    blocks
}

/// Asks about every two members of every row and column, and returns how many were on two hosts.
fn check(snapshot: &Snapshot, transport: Transport, port: u16) -> usize {
    let matrix = Matrix::new(snapshot);
    let members = |ids: &[ClassId]| {
        let classes = ids.iter().map(|id| matrix.classes().class(*id));
        let members = classes.flat_map(|class| {
            let own = class.members.iter();
            own.map(|member| (member.address, class.source_kind))
        });
        members.collect::<Vec<_>>()
    };
    let host = |address| match snapshot.owner(address) {
        Owner::One(interface) => snapshot.host(interface),
        Owner::Nobody | Owner::Several(_) => panic!("{address} is of no class"),
    };
    let mut checked = 0;
    for grid in matrix.grids(&question(transport, Some(port))) {
        for side in [
            [&grid.rows, &grid.closed_rows],
            [&grid.columns, &grid.closed_columns],
        ] {
            let names: Vec<&str> = side
                .into_iter()
                .flatten()
                .map(|end| end.name.as_str())
                .collect();
            let unique: BTreeSet<&&str> = names.iter().collect();
            assert_eq!(unique.len(), names.len(), "{names:?}");
        }
        for (row, column, cell) in blocks(&grid) {
            for (source, source_kind) in members(&row.classes) {
                for (destination, _) in members(&column.classes) {
                    if host(source) == host(destination) {
                        continue;
                    }
                    let flow = Flow {
                        protocol: transport.to_port(port),
                        source_kind,
                        ..Flow::tcp(source, destination, 0)
                    };
                    let wanted = VerdictKind::from(&verdict(snapshot, &flow));
                    assert_eq!(cell, GridCell::Every(wanted), "{flow}");
                    checked += 1;
                }
            }
        }
    }
    checked
}

/// The worlds of all files of a folder of `tests` whose names end so.
fn worlds(folder: &str, end: &str) -> Vec<Snapshot> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let files = fs::read_dir(directory.join(folder)).unwrap();
    let paths = files.map(|entry| entry.unwrap().path());
    let wanted = paths.filter(|path| path.to_string_lossy().ends_with(end));
    wanted
        .map(|path| {
            let mut file = parse(&fs::read_to_string(path).unwrap()).unwrap();
            let Value::Object(answers) = file["snapshot"].take() else {
                panic!("no snapshot");
            };
            Snapshot::decode(&Described::from(answers))
                .unwrap()
                .snapshot
        })
        .collect()
}

#[test]
fn every_cell_is_true_of_every_two_members_on_two_hosts() {
    let mut checked = 0;
    for snapshot in worlds("vectors", ".json") {
        checked += check(&snapshot, Transport::Tcp, 8080);
        checked += check(&snapshot, Transport::Udp, 53);
    }
    for snapshot in worlds("field", ".thread.json") {
        checked += check(&snapshot, Transport::Tcp, 443);
        checked += check(&snapshot, Transport::Udp, 53);
    }
    assert!(checked > 10_000, "{checked}");
}

#[test]
fn a_list_that_lets_some_replies_pass_is_a_cell_of_its_own() {
    let entries = json!([
        entry(Direction::Ingress, 100, "allow", (40_000, 65_535)),
        entry(Direction::Egress, 100, "allow", (0, 65_535)),
    ]);
    let world = World::base().acl(A1, entries);
    let snapshot = world.decoded().snapshot;
    assert!(check(&snapshot, Transport::Tcp, 8080) > 0);
    let matrix = Matrix::new(&snapshot);
    let grids = matrix.grids(&question(Transport::Tcp, Some(8080)));
    let mut cells = grids.iter().flat_map(|grid| grid.cells.iter().flatten());
    assert!(cells.any(|cell| *cell == GridCell::Every(VerdictKind::Partial)));
}

#[test]
fn without_a_port_a_cell_has_the_ports_that_are_open() {
    let permissions = json!([
        {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]},
        {"IpProtocol": "tcp", "FromPort": 444, "ToPort": 450, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]},
    ]);
    let snapshot = World::base().ingress(D, permissions).decoded().snapshot;
    let matrix = Matrix::new(&snapshot);
    let grids = matrix.grids(&question(Transport::Tcp, None));
    let wanted = GridCell::Some {
        open: vec![PortRange::between(443, 450)],
        unknown: Vec::new(),
    };
    let mut cells = grids.iter().flat_map(|grid| grid.cells.iter().flatten());
    assert!(cells.any(|cell| *cell == wanted));
}
