//! Harness of the whole-system tests: real namespaces, real devices, real traffic, and the real
//! `filter-ctl` run as a process.
//!
//! A test makes a [`lab::Lab`], writes a [`policy::Policy`], attaches it and sends traffic:
//!
//! ```text
//!   namespace "workload"                          namespace "remote"
//!   10.0.1.20                                     10.0.1.1 (router), 10.0.1.30 (neighbour),
//!   2001:db8:0:1::20                              198.51.100.7, 203.0.113.9 (the world); v6 likewise
//!   eth0 ═══════════════════ veth ═══════════════ veth0
//!    ▲ side `workload`: the filter is here          ▲ side `host`: the filter is here
//! ```
//!
//! Everything a lab makes (namespaces, mounts, processes) ends with it, a failed test's too.

pub mod eventually;
pub mod foreign;
pub mod frame;
pub mod kernel;
pub mod lab;
pub mod model;
pub mod netns;
pub mod packet;
pub mod policy;
pub mod process;
pub mod program;
pub mod random;
pub mod records;
pub mod servers;
pub mod tools;
pub mod traffic;
pub mod wire;
pub mod wrapper;

/// Runs functions in a lab per hook and side, each combination as a test of its own.
///
/// In a kernel without TCX, a test of TCX proves that `attach` refuses it.
///
/// ```text
/// matrix!(every: function, …);    four hooks × two sides: function::tcx_host and so on
/// matrix!(sides: function, …);    the automatic choice × two sides
/// ```
#[macro_export]
macro_rules! matrix {
    // The automatic choice on a veth is TCX: `sides` proves that, here it would prove it twice.
    (every: $($function:ident),+ $(,)?) => {
        $(mod $function {
            $crate::matrix!(@ super::$function;
                tcx_workload: Tcx Workload, tcx_host: Tcx Host,
                clsact_workload: Clsact Workload, clsact_host: Clsact Host,
                xdp_native_workload: XdpNative Workload, xdp_native_host: XdpNative Host,
                xdp_generic_workload: XdpGeneric Workload, xdp_generic_host: XdpGeneric Host);
        })+
    };
    (sides: $($function:ident),+ $(,)?) => {
        $(mod $function {
            $crate::matrix!(@ super::$function; auto_workload: Auto Workload, auto_host: Auto Host);
        })+
    };
    (@ $function:path; $($test:ident: $hook:ident $side:ident),+) => {
        $(#[test]
        fn $test() {
            $crate::kernel::in_lab($crate::lab::Hook::$hook, $crate::lab::Side::$side, $function);
        })+
    };
}
