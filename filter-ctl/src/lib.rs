//! filter-ctl

pub mod policy;
