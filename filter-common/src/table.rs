//! The flat, set-associative table.
