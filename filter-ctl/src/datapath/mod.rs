//! The kernel side: loading the programs, filling their maps, attaching, and taking off again.
//!
//! The only part of the crate that talks to the kernel about programs. An attached device is four
//! things: a slot with its policy in the maps, two hooks, a folder of pins, and an entry in the
//! state folder. They come in this order and go in the reverse one, so that no program ever runs
//! without a policy and a command that is killed half way leaves something that the next one can
//! finish or take back.

pub mod apply;
pub mod attach;
pub mod connections;
pub mod detach;
pub mod device;
pub mod error;
pub mod hooks;
pub mod host;
pub mod inspect;
pub mod journal;
pub mod kernel;
pub mod kernel_log;
mod netns;
pub mod object;
mod pins;
pub mod places;
pub mod policy;
pub mod rules;
pub mod session;
mod sys;
pub mod tables;
pub mod versions;

pub use device::Device;
pub use error::Error;
pub use host::Host;
pub use places::Places;
pub use session::Session;

use crate::state::Attachment;

/// The attached devices of this host, by slot; also when the process may not open the maps.
///
/// # Errors
///
/// If a state file cannot be read.
pub fn attachments() -> Result<Vec<Attachment>, Error> {
    attachments_in(&Places::from_environment())
}

/// Whether the process may do anything with the datapath at all.
///
/// # Errors
///
/// If it is not root's.
pub fn require_root() -> Result<(), Error> {
    if sys::is_root() { Ok(()) } else { Err(Error::NotRoot) }
}

fn attachments_in(places: &Places) -> Result<Vec<Attachment>, Error> {
    Ok(journal::entries(places)?.into_iter().map(|entry| entry.attachment).collect())
}

/// The last chance to keep the flow records of an interface that is being detached: no hook of it
/// runs any more, its counts and its policy still stand in the maps.
fn drain_before_detach(host: &Host, attachment: &Attachment) -> Result<(), String> {
    crate::flowlog::hand_over_all(host, attachment.slot).map_err(|error| error.to_string())
}
