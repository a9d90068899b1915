//! filter-ctl
fn main() {}
