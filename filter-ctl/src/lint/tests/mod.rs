//! Tests of single lints.
