//! A small network on this machine, for the demo and the benchmarks.
//!
//! Two network namespaces joined by a veth pair. `workload` is the protected end: its device is
//! the network interface of the example policy. `remote` is everybody else: the subnet's router
//! and, on its loopback device, a host that the policy trusts and one out of the wide world.
//! (The router's own address would prove nothing: a subnet's first four addresses are exempt.)
//!
//! ```text
//!   workload                              remote
//!   eth0 10.0.1.20                        eth0 10.0.1.1            lo 198.51.100.7  trusted
//!        2001:db8:0:1::20  ═══ veth ═══        2001:db8:0:1::1        2001:db8:100::7
//!        default route ──────────────────►                            203.0.113.9   world
//!                                                                     2001:db8:200::9
//! ```

mod filter;
mod namespace;
mod server;
mod socket;
mod undo;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub(crate) use filter::{Filter, Hook};
pub(crate) use namespace::Namespace;
pub(crate) use server::{Server, echo_lines, echo_udp, greet};
pub(crate) use socket::connect;
pub(crate) use undo::{guard, make};

/// The device's name at both ends.
pub(crate) const DEVICE: &str = "eth0";

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// A host of the small network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// The protected end.
    Workload,
    /// The gateway of the workload's subnet; exempt from filtering.
    Router,
    /// A remote host inside the ranges that the example policy trusts.
    Trusted,
    /// A remote host outside them.
    World,
}

impl Host {
    pub(crate) const fn address(self, family: Family) -> IpAddr {
        match (self, family) {
            (Self::Workload, Family::V4) => IpAddr::V4(Ipv4Addr::new(10, 0, 1, 20)),
            (Self::Router, Family::V4) => IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)),
            (Self::Trusted, Family::V4) => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
            (Self::World, Family::V4) => IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)),
            (Self::Workload, Family::V6) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x20)),
            (Self::Router, Family::V6) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1)),
            (Self::Trusted, Family::V6) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 7)),
            (Self::World, Family::V6) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x200, 0, 0, 0, 0, 9)),
        }
    }
}

/// Both namespaces, and a filter-ctl of their own.
pub(crate) struct Lab {
    pub(crate) workload: Namespace,
    pub(crate) remote: Namespace,
    pub(crate) filter: Filter,
}

impl Lab {
    /// Builds the network. `purpose` and this process's id make its names unique; what an
    /// earlier run of the same purpose left behind when it was killed is removed.
    ///
    /// Everything is removed by the guard that the caller holds, and by the signals that end
    /// a program.
    pub(crate) fn build(purpose: &str, binary: &Path) -> Result<Self> {
        namespace::remove_stale(purpose)?;
        let name = format!("filter-{purpose}-{}", std::process::id());
        let workload = Namespace::create(&format!("{name}-workload"))?;
        let remote = Namespace::create(&format!("{name}-remote"))?;
        workload.without_address_detection()?;
        remote.without_address_detection()?;
        remote.ip(&[
            "link",
            "add",
            DEVICE,
            "type",
            "veth",
            "peer",
            "name",
            DEVICE,
            "netns",
            workload.name(),
        ])?;
        for namespace in [&workload, &remote] {
            namespace.ip(&["link", "set", "lo", "up"])?;
            namespace.ip(&["link", "set", DEVICE, "up"])?;
        }
        for family in [Family::V4, Family::V6] {
            workload.address(Host::Workload.address(family), family.subnet(), DEVICE)?;
            remote.address(Host::Router.address(family), family.subnet(), DEVICE)?;
            for host in [Host::Trusted, Host::World] {
                remote.address(host.address(family), family.host(), "lo")?;
            }
            let router = Host::Router.address(family).to_string();
            workload.ip(&[family.flag(), "route", "add", "default", "via", &router])?;
        }
        let filter = Filter::new(&name, binary, &workload)?;
        let lab = Self { workload, remote, filter };
        lab.wait_until_reachable()?;
        Ok(lab)
    }

    /// A fresh veth pair passes packets only when both ends have a carrier.
    fn wait_until_reachable(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.remote.has_carrier(DEVICE) || !self.workload.has_carrier(DEVICE) {
            if Instant::now() > deadline {
                bail!("the veth pair between the namespaces does not come up");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Family {
    fn flag(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }

    /// The length of a subnet's prefix.
    fn subnet(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }

    /// The length of a single address as a prefix.
    fn host(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// The folder with the example policies.
pub(crate) fn examples() -> PathBuf {
    crate::workspace::root().join("examples")
}
