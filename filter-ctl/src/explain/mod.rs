//! Why a packet passes, or does not.
//!
//! # The problem
//!
//! The datapath answers with a class of decisions, not with rules: rows and columns that decide
//! alike are merged. People and tools want the rules: which layer decided, which rules matched,
//! which one nearly did, whether the flow is tracked, and what becomes of the answer.
//!
//! # The structure
//!
//! Nothing here decides a second time what is decided elsewhere. A [`Question`] names a packet.
//! [`Facts`] are what a policy says about it: the cell of the packet and that of its mirror image,
//! asked of whatever has them, which is [`crate::reference`] (rule by rule), the compiled tables,
//! or the tables in the kernel. [`judge`] puts them together in the order of the datapath's
//! `pipeline.rs`, for a packet of no connection or of one that is tracked. Beside that verdict,
//! rules are only *listed*:
//!
//! - one packet: [`Matched`] lists those that [`crate::reference`] finds, with the nearest misses;
//!   [`Explanation`] tells all of it, to people or as JSON;
//! - many packets: [`batch`] asks the compiled tables for verdicts and an [`index`] for rules, as
//!   walking the rules would cost time that grows with their number.
//!
//! Tests hold the two together, and both to the programs in the kernel.

pub mod batch;
pub mod endpoint;
mod explanation;
pub mod index;
mod judgement;
mod layers;
mod matched;
mod miss;
mod question;
mod report;
#[cfg(test)]
mod tests;

pub use explanation::{Document, Explanation, InForce};
pub use judgement::{Facts, asks_groups, is_tracked, judge, layer, verdict};
pub use matched::{AclRule, Matched, NamedRule};
pub use question::{AskError, Asked, Message, Question, protocol_name, protocol_number};
