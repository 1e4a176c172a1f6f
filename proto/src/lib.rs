//! The wire between coordinator and agents: generated messages and services, and the conversions to `std` types.
//!
//! It never decides anything: what a message means for a run is said where it is used.
//!
//! * [`v1`] holds the messages and services of `reachproof/v1/*.proto`, generated and committed, so that building needs
//!   no `protoc`. `tests/generated.rs` fails when they and the `.proto` files differ.
//! * [`net`] converts addresses and ports, and holds the one definition of the proof in
//!   [`IdentifyResponse`](v1::IdentifyResponse) that the listener makes and the coordinator checks.
//! * [`endpoint`] holds the names that a cluster's API server can have.
//! * [`mod@column`] holds the one form of a column in which most entries are the same.
//!
//! **Invariant.** A number from the wire never narrows with `as`: 65979 is an [`InvalidPort`](net::InvalidPort), not 443.
//!
//! ```
//! use reachproof_proto::net::{address_from_wire, address_to_wire, port_from_wire};
//!
//! let wire = address_to_wire("10.0.1.10".parse().unwrap());
//! assert_eq!(wire, [10, 0, 1, 10]);
//! assert_eq!(address_from_wire(&wire).unwrap().to_string(), "10.0.1.10");
//! assert!(port_from_wire(65979).is_err());
//! ```

pub mod column;
pub mod endpoint;
pub mod net;

/// Version of the wire that this crate speaks: `Hello.wire_version`.
pub const WIRE_VERSION: u32 = 1;

/// Messages and services of package `reachproof.v1`, generated from `proto/reachproof/v1`.
#[expect(
    missing_docs,
    clippy::allow_attributes_without_reason,
    clippy::as_conversions,
    clippy::large_enum_variant,
    reason = "generated"
)]
#[allow(clippy::too_many_lines, reason = "generated")]
pub mod v1 {
    include!("gen/reachproof.v1.rs");
}
