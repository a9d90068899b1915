//! What the programs say of single packets, told as tables.
//!
//! Each test is named after the rule it proves; numbers are rows of the conformance table that the
//! rules were collected in. Every case runs at all hooks: XDP and TC, on either side of the link.

#[path = "verdicts/acl.rs"]
mod acl;
#[path = "verdicts/acl_entries.rs"]
mod acl_entries;
#[path = "verdicts/broken.rs"]
mod broken;
#[path = "verdicts/case.rs"]
mod case;
#[path = "verdicts/counts.rs"]
mod counts;
#[path = "verdicts/exempt.rs"]
mod exempt;
#[path = "verdicts/fragments.rs"]
mod fragments;
#[path = "verdicts/groups.rs"]
mod groups;
#[path = "verdicts/naming.rs"]
mod naming;
#[path = "verdicts/ports.rs"]
mod ports;
#[path = "verdicts/records.rs"]
mod records;
#[path = "verdicts/related.rs"]
mod related;
#[path = "verdicts/room.rs"]
mod room;
#[path = "verdicts/services.rs"]
mod services;
#[path = "verdicts/strict.rs"]
mod strict;
#[path = "verdicts/timeouts.rs"]
mod timeouts;
#[path = "verdicts/tracking.rs"]
mod tracking;
#[path = "verdicts/untracked.rs"]
mod untracked;
