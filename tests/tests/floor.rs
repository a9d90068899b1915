//! The oldest kernel: what has all that is needed is attached to, what has not is refused with a
//! plain word. (`cargo xtask kernels` runs this in kernels on both sides.)

use filter_ctl::datapath::kernel;
use tests::{
    kernel::instead,
    lab::{HOST, Hook, Lab, STRANGER, Side, WORKLOAD},
    policy::Policy,
    servers::Server,
    traffic::{Outcome, assert_tcp},
};

#[test]
fn attach_enforces_or_says_what_the_kernel_lacks() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    let server = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    let document = lab.write(&Policy::new().allow_in("tcp 80", "198.51.100.7/32"));
    let output = lab.try_attach(&document, &[]);
    if let Some(what) = kernel::missing() {
        instead("this kernel is below the floor; that `attach` refuses it was tested");
        let output = output.code(6);
        for word in [what, "Linux 6.1", &kernel::release()] {
            assert!(output.stderr.contains(word), "no word of {word:?}: {}", output.stderr);
        }
        assert!(!lab.pins().exists(), "something is left in {}", lab.pins().display());
        assert_tcp(&lab.remote, STRANGER.v4, server.address(), Outcome::Answered);
        return;
    }
    let _ = output.ok();
    assert_tcp(&lab.remote, HOST.v4, server.address(), Outcome::Answered);
    assert_tcp(&lab.remote, STRANGER.v4, server.address(), Outcome::Silent);
}

#[test]
fn the_kernel_s_version_agrees_with_what_it_is_found_to_have() {
    let release = kernel::release();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let [major, minor] = [0, 1].map(|place| {
        kernel::FLOOR.split('.').nth(place).and_then(|number| number.parse::<u32>().ok()).expect("a number")
    });
    if version >= (major, minor) {
        assert_eq!(kernel::missing(), None, "{release} is a kernel that is promised to do");
    }
    if version >= (6, 6) {
        assert!(kernel::has_tcx(), "{release} has TCX");
    }
    if version < (5, 17) {
        assert!(kernel::missing().is_some(), "{release} lacks what the programs call");
    }
}
