//! Reads what AWS says about a cluster's network, in the shape that the AWS CLI prints.
//!
//! The only crate with an AWS SDK. It turns answers into the files of a snapshot (ARCHITECTURE, "Snapshot"), field by
//! field, and decides nothing about them; it never writes to AWS.
//!
//! | module | what |
//! |---|---|
//! | [`Connection`] | credentials, Region, HTTP client, timeouts, retries |
//! | `call` | every action used, with its page size, file and statement |
//! | `session`, `body` | calls in flight, pages to their end, cut answers |
//! | `ec2`, `eks` | the calls |
//! | `shape` | types of the SDK to the CLI's JSON |
//! | `reader`, `consistency` | what is read in which order, and whether it fits together |
//! | [`doctor`] | which permissions there are |
//! | `redact` | stand-ins for account ids |
//!
//! **Invariants.** A list is handed out whole or not at all. What was refused is absent from the answers and named as a
//! gap. Times, counts of calls and pages are in the record, never in the answers: the same world gives the same bytes.
//!
//! ```no_run
//! use reachproof_aws::{Connection, Settings, read};
//!
//! # async fn example() -> Result<(), reachproof_aws::ReadError> {
//! let connection = Connection::open(&Settings::default()).await?;
//! let reading = read(&connection, "demo", &|call| eprintln!("{} {}", call.call, call.subject)).await?;
//! assert!(reading.answers.contains_key("describe-vpcs"));
//! # Ok(())
//! # }
//! ```

mod body;
mod call;
mod canonical;
mod collected;
mod connection;
mod consistency;
pub mod doctor;
mod ec2;
mod eks;
mod error;
mod reader;
mod redact;
mod session;
mod shape;

pub use call::{Call, Necessity};
pub use connection::{Connection, Pace, Settings};
pub use error::{CallError, Failure, ReadError, SdkFailure};
pub use reader::{ReadGap, Reading, read};
pub use redact::redact;
pub use session::{CALLS_IN_FLIGHT_MAX, CallRecord, Progress};
