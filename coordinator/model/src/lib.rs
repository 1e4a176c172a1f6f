//! The static model of reachproof: nouns and decisions, without I/O, clock or async.
//!
//! It decodes what the AWS APIs and Kubernetes say about a cluster's network, predicts every flow, plans what to
//! probe, and judges what was observed. It never looks at the network, so that a prediction cannot know what a probe
//! saw.
//!
//! | module | what |
//! |---|---|
//! | [`id`], [`net`], [`flow`] | identifiers, networks and ports, the question |
//! | [`describe`] | answers of the APIs as JSON |
//! | [`snapshot`] | the world that they describe, and the gaps in it |
//! | [`mod@predict`], [`prediction`] | the evaluator of `SEMANTICS.md` section K, and its answer |
//! | [`selector`], [`mod@near`] | who is meant by a name, and what comes near a name that nobody has |
//! | [`mod@reach`] | the ports that one end reaches at another |
//! | [`relevance`] | which gaps an answer rests on |
//! | [`cause`] | what stops flows, grouped by what they share |
//! | [`diagnosis`] | causes with their repairs, judged together |
//! | [`repair`] | changes that would open flows, and what they open besides |
//! | [`plan`], [`observation`] | what to probe, and what was seen |
//! | [`mod@dial`] | what an API server's answer says of its dial |
//! | [`vantage`] | who tries a flow: an agent, an API server, or nobody |
//! | [`cluster_endpoint`] | where the name of the API server leads |
//! | [`stability`], [`compare`], [`finding`], [`expectation`] | what follows |
//! | [`examination`] | what `doctor` found, in one line |
//! | [`words`] | counts with their nouns |
//!
//! **Invariant.** What could not be read makes a flow unknown; it never makes a deny.
//!
//! **Invariant.** The order of lists in an answer changes no verdict; where the snapshot has no rule ids, it changes
//! the names of rules.
//!
//! ```
//! use reachproof_model::describe::{Described, parse};
//! use reachproof_model::flow::Flow;
//! use reachproof_model::predict::predict;
//! use reachproof_model::snapshot::Snapshot;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut described = Described::default();
//! for (stem, answer) in [
//!     ("describe-vpcs", r#"{"Vpcs": []}"#),
//!     ("describe-subnets", r#"{"Subnets": []}"#),
//!     ("describe-network-interfaces", r#"{"NetworkInterfaces": []}"#),
//!     ("describe-security-groups", r#"{"SecurityGroups": []}"#),
//!     ("describe-route-tables", r#"{"RouteTables": []}"#),
//!     ("describe-network-acls", r#"{"NetworkAcls": []}"#),
//! ] {
//!     described.insert(stem, parse(answer)?);
//! }
//! let decoded = Snapshot::decode(&described)?;
//! let flow = Flow::tcp("10.0.1.20".parse()?, "10.0.2.20".parse()?, 443);
//! let prediction = predict(&decoded.snapshot, &flow);
//! assert_eq!(prediction.verdict.to_string(), "unknown (src-outside-model)");
//! # Ok(())
//! # }
//! ```

pub mod cause;
pub mod change;
pub mod claim;
pub mod class;
pub mod cluster_endpoint;
pub mod compare;
pub mod coverage;
pub mod describe;
pub mod diagnosis;
pub mod dial;
pub mod examination;
pub mod expectation;
pub mod finding;
pub mod flow;
pub mod id;
pub mod matrix;
pub mod near;
pub mod net;
pub mod observation;
pub mod plan;
pub mod predict;
pub mod prediction;
pub mod reach;
pub mod relevance;
pub mod repair;
pub mod selector;
pub mod snapshot;
pub mod stability;
pub mod vantage;
pub mod words;
