//! What the running kernel has and lacks, found out by asking it: distributions carry features
//! back, so that a version number tells little.

use aya::{
    programs::{ProgramType, SchedClassifier, TcAttachType},
    sys::{BpfHelper, is_helper_supported},
};

/// The oldest kernel that is supported (`docs/kernels.md` tells what was tested there).
pub const FLOOR: &str = "6.1";

/// The youngest of what the programs call, each with the version that brought it: the first whose
/// `include/uapi/linux/bpf.h` lists it. What else they need is older: ring buffers (5.8), map values
/// in memory (5.5), compare-and-swap (5.12).
const NEEDED: [(BpfHelper, &str); 3] = [
    (BpfHelper::BPF_FUNC_xdp_load_bytes, "XDP on frames in several buffers (Linux 5.18)"),
    (BpfHelper::BPF_FUNC_loop, "loops that are verified once (bpf_loop, Linux 5.17)"),
    (BpfHelper::BPF_FUNC_jiffies64, "a clock of ticks (bpf_jiffies64, Linux 5.6)"),
];

/// What the programs need and this kernel lacks, for people; `None` if it has everything, or does
/// not let this process ask.
#[must_use]
pub fn missing() -> Option<&'static str> {
    let lacks = |helper| is_helper_supported(ProgramType::Xdp, helper).is_ok_and(|supported| !supported);
    NEEDED.into_iter().find(|(helper, _)| lacks(*helper)).map(|(_, what)| what)
}

/// Whether the kernel has TCX (Linux 6.6).
#[must_use]
pub fn has_tcx() -> bool {
    // Every network namespace has this device.
    SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok()
}

/// `uname -r`.
#[must_use]
pub fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |text| text.trim().into())
}
