//! Reads a cluster's Kubernetes objects in the shape that `kubectl get -o json` prints, limited to what the model needs.
//!
//! The only crate with a Kubernetes client. It decides nothing: what it returns is a map from the stem of a snapshot's
//! file (`pods`) to the answer, as if somebody had laid the files by hand. It never writes to the cluster but for
//! access reviews, which change nothing, for reports that somebody wants kept, and for the coordinator's own credentials; it
//! never asks for `exec`, nor for Secrets and ConfigMaps but those. Somebody who asks a coordinator in the cluster reads the same.
//!
//! * [`connect`]: kubeconfig or the pod's own account to an [`ApiServer`]
//! * [`resource`]: which objects are read, and which of their fields are kept
//! * [`reader`]: one [`Reading`] of everything, with what could not be read as [`Gap`]s
//! * [`change`]: what changes after a reading, as it happens
//! * [`access`]: the rights that this needs, and whether the account has them; [`doctor`]: the same in words
//! * [`token`]: who an agent is, by its service-account token
//! * [`dial`]: API servers that are asked to connect to pods, one exchange each
//! * [`history`]: reports that are kept in the cluster, and Events about them
//! * [`storage`]: the one Secret with the coordinator's own credentials, and the ConfigMaps that tell agents its CA
//! * [`installed`]: the coordinator that a chart installed, and [`forward`]: the way to it through the API server
//! * `request`, `list`, `watch`: one answer with patience; all pages of a list; a stream of events
//! * `proxy`: what the environment keeps from the proxy
//! * `shape`: an object reduced to its allowed fields
//!
//! **Invariants.** A list is whole or it is an error: never some of its pages. An unchanged cluster gives the same
//! bytes: fields that change by themselves (resource versions, heartbeats, managed fields) are not on the allow-list,
//! keys are sorted, items are sorted by namespace and name. Absent on purpose: environment variables, volumes and
//! images of pods, which may hold what is nobody else's business.
//!
//! ```no_run
//! # async fn snapshot() -> Result<(), Box<dyn std::error::Error>> {
//! use reachproof_kube::{ApiServer, Entry, Limits, read};
//!
//! let entry = Entry::Kubeconfig { path: None, context: None };
//! let server = ApiServer::connect(&entry, Limits::default()).await?;
//! let reading = read(&server, |call| eprintln!("{call}")).await?;
//! for gap in &reading.gaps {
//!     eprintln!("gap: {gap}");
//! }
//! assert!(reading.answers.contains_key("pods"));
//! # Ok(())
//! # }
//! ```

pub mod access;
pub mod change;
pub mod connect;
pub mod dial;
pub mod doctor;
mod error;
pub mod forward;
pub mod history;
pub mod installed;
mod limits;
mod list;
mod proxy;
pub mod reader;
mod request;
pub mod resource;
mod shape;
pub mod storage;
pub mod token;
mod watch;

pub use access::{RightState, check_rights};
pub use change::{Change, follow};
pub use connect::{ApiServer, Entry};
pub use error::{ConnectError, ReadError, RequestError};
pub use history::{History, HistoryError};
pub use limits::Limits;
pub use reader::{Call, Gap, Note, Reading, read};
