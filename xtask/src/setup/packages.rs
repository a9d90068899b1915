//! System tools, installed by apt where their program is missing.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::{self, progress};

/// A program and the Debian package that brings it.
pub(crate) type Tool = (&'static str, &'static str);

/// What the demo starts.
pub(crate) const DEMO: &[Tool] =
    &[("ip", "iproute2"), ("nsenter", "util-linux"), ("ping", "iputils-ping"), ("curl", "curl")];

/// What the benchmarks start.
pub(crate) const BENCH: &[Tool] =
    &[("ip", "iproute2"), ("nsenter", "util-linux"), ("iperf3", "iperf3"), ("ethtool", "ethtool")];

/// The packet filters that ours is measured against.
pub(crate) const PEERS: &[Tool] = &[
    ("nft", "nftables"),
    ("iptables-legacy-restore", "iptables"),
    ("ipset", "ipset"),
    ("xdp-filter", "xdp-tools"),
];

/// What the tests start.
pub(crate) const TESTS: &[Tool] = &[
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("bpftool", "bpftool"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("ping", "iputils-ping"),
    ("curl", "curl"),
    ("ethtool", "ethtool"),
    ("iperf3", "iperf3"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
];

/// What breaking the code starts.
pub(crate) const MUTANTS: &[Tool] = &[("git", "git")];

/// What booting other kernels starts.
pub(crate) const KERNELS: &[Tool] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("ldd", "libc-bin"),
];

/// Sees to it that every tool of the list is there.
pub(crate) fn tools(wanted: &[Tool]) -> Result<()> {
    let mut packages: Vec<&str> = missing(wanted).map(|(_, package)| package).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    fetch(&packages)?;
    if let Some((program, package)) = missing(wanted).next() {
        bail!("{package} was installed, but brought no {program}");
    }
    Ok(())
}

/// Installs Debian packages.
pub(super) fn fetch(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if shell::find("apt-get").is_none() {
        bail!("missing tools, and no apt-get to install them: {list} (as Debian calls the packages)");
    }
    shell::require_root("setup", &format!("it installs {list}"))?;
    progress(&format!("installing {list}"));
    // The package lists may be there and fresh; if not, they are fetched and it is tried again.
    if !shell::succeeds(&mut install(packages)) {
        progress("fetching apt's package lists");
        shell::run(Command::new("apt-get").args(["-qq", "update"]))?;
        shell::run(&mut install(packages))?;
    }
    Ok(())
}

fn missing(wanted: &[Tool]) -> impl Iterator<Item = Tool> {
    wanted.iter().copied().filter(|(program, _)| shell::find(program).is_none())
}

fn install(packages: &[&str]) -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt.args(["-qq", "-y", "--no-install-recommends", "install"]).args(packages);
    apt
}
