//! Stub.

pub mod flows;
