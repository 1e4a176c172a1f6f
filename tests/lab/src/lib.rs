//! Builds an EKS-shaped VPC in network namespaces from a snapshot; the kernel decides.

mod plan;
pub mod world;

pub use plan::{Endpoint, EndpointKind, LabPlan, Management};

/// The answers that a snapshot must hold for a lab to be built from it; every other one may be absent.
pub const REQUIRED_ANSWERS: [&str; 6] = [
    "describe-vpcs",
    "describe-subnets",
    "describe-network-interfaces",
    "describe-security-groups",
    "describe-route-tables",
    "describe-network-acls",
];
