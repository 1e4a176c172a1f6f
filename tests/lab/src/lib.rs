//! Builds an EKS-shaped VPC in network namespaces from a snapshot; the kernel decides.
//!
//! The lab knows networks only. It is compiled from what the AWS APIs say and from SEMANTICS A to C, without the
//! model that predicts: so it is a second opinion on that model, and a place where agents meet real drops.
//!
//! | module | what it does |
//! |---|---|
//! | `isolate` | namespaces for the program itself |
//! | `plan`, `lab`, `probe` | what to build, the network that is up, a small prober |
//! | `describe`, `cloud`, `cni`, `path` | the snapshot, read |
//! | `layout`, `topology`, `host`, `transit_gateway`, `management` | who stands where, drawn as a blueprint |
//! | `security_group`, `network_acl`, `exempt`, `nft` | filters as nftables text |
//! | `blueprint`, `namespace` | text for `ip` and `nft`, and the kernel that it is given to |
//! | `authority`, `listener`, `kubelet` | what the control plane's interfaces and kubelets show, and who serves it |
//! | `world` | worlds in YAML, expanded to snapshots and plans |
//!
//! **Invariants.** Filters stand on the wire side, in namespaces that no host can enter. Whatever is dropped is
//! dropped silently. The management links lead from an endpoint to the root and nowhere else. When the program ends,
//! however it ends, nothing of a lab is left.
//!
//! ```no_run
//! use reachproof_lab::{Isolation, Lab, LabPlan, isolate};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     if let Isolation::Finished(_) = isolate()? {
//!         return Ok(());
//!     }
//!     let snapshot = serde_json::from_reader(std::fs::File::open("snapshot.json")?)?;
//!     let lab = Lab::up(&LabPlan { snapshot, ..LabPlan::default() })?;
//!     for endpoint in lab.endpoints() {
//!         println!("{}: {}", endpoint.name, lab.enter_hint(&endpoint.name)?);
//!     }
//!     Ok(())
//! }
//! ```

mod authority;
mod blueprint;
mod cloud;
mod cni;
mod describe;
mod endpoint_slice;
mod error;
mod exempt;
mod host;
mod isolate;
mod kubelet;
pub mod kubernetes;
mod lab;
mod layout;
mod listener;
mod management;
mod namespace;
mod network_acl;
mod nft;
mod path;
mod plan;
mod probe;
mod security_group;
mod topology;
mod transit_gateway;
pub mod world;

pub use authority::{Authority, AuthorityError};
pub use blueprint::is_namespace_name;
pub use endpoint_slice::add_endpoint_slices;
pub use error::LabError;
pub use isolate::{IsolateError, Isolation, is_isolating, isolate};
pub use lab::Lab;
pub use plan::{Endpoint, EndpointKind, LabPlan, Management};
pub use probe::{Answer, Probe, Traffic};

/// The answers that a snapshot must hold for a lab to be built from it; every other one may be absent.
pub const REQUIRED_ANSWERS: [&str; 6] = [
    "describe-vpcs",
    "describe-subnets",
    "describe-network-interfaces",
    "describe-security-groups",
    "describe-route-tables",
    "describe-network-acls",
];
