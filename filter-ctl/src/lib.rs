//! The control plane of `filter`: documents, the compiler, the datapath's loader, flow logs.
//!
//! Dependencies point one way: [`document`] reads files and yields a [`policy`]; [`lint`] looks at what is
//! probably not meant; [`compile`] turns it into tables; only [`datapath`] touches the kernel; [`flowlog`]
//! reads what it counts, [`publish`] delivers it, and [`agent`] does both for as long as it runs; [`explain`] tells which rules decide; [`cli`] is the outermost ring.
//! [`mod@reference`] says slowly and plainly what the tables must say.

pub mod agent;
pub mod cli;
pub mod clock;
mod closest;
pub mod compile;
pub mod datapath;
pub mod document;
pub mod explain;
pub mod flowlog;
pub mod lint;
pub mod naming;
pub mod policy;
pub mod publish;
pub mod reference;
pub mod state;
mod text;
