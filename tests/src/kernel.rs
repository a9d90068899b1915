//! What the running kernel can and cannot do, found out by asking it.
//!
//! The tests run in many kernels. One that is about something that a kernel lacks is not left out
//! there: it proves that the lack is told, and says that it did.

use std::io::Write;

pub use filter_ctl::datapath::kernel::has_tcx;

use crate::{
    lab::{Hook, Lab, Side},
    policy::Policy,
};

/// TCX where the kernel has it, else what takes its place.
#[must_use]
pub fn classifier() -> Hook {
    if has_tcx() { Hook::Tcx } else { Hook::Clsact }
}

/// Runs a test in a lab of its own, or proves that the kernel's lack of its hook is told.
pub fn in_lab(hook: Hook, side: Side, test: fn(&mut Lab)) {
    let mut lab = Lab::new(hook, side);
    if hook == Hook::Tcx && !has_tcx() {
        refuses_tcx(&mut lab);
    } else {
        test(&mut lab);
    }
}

/// Proves that an order of TCX is refused where the kernel has none, plainly and leaving nothing.
///
/// # Panics
///
/// When it is not.
pub fn refuses_tcx(lab: &mut Lab) {
    instead("no TCX in this kernel; that `attach --hook tcx` refuses was tested");
    lab.hook = Hook::Tcx;
    let document = lab.write(&Policy::open());
    let refusal = lab.try_attach(&document, &[]).code(6);
    for word in ["no TCX", "6.6", "--hook clsact"] {
        assert!(refusal.stderr.contains(word), "no word of {word:?}: {}", refusal.stderr);
    }
    assert!(!lab.pins().exists(), "something is left in {}", lab.pins().display());
}

/// Says what was tested in the place of something that this kernel lacks, past the test runner, which
/// keeps to itself what a test that passes prints.
pub fn instead(what: &str) {
    let _ = std::io::stderr().write_all(format!("\ninstead: {what}\n").as_bytes());
}
