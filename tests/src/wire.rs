//! Frames over a lab's link, and what the filter on one of its ends makes of each.
//!
//! Where [`crate::program`] runs the programs over bytes, here the kernel calls them: it has moved
//! the outer VLAN tag beside the packet, spread a large one over pages, or not.

use filter_common::{Direction, counters::Counters, verdict::Reason};
use filter_ctl::datapath::{Host, Places, journal};

use crate::{eventually::eventually, lab::Lab, packet, traffic::PATIENCE};

/// What the hosts at both ends send by themselves.
const CHATTER: [Reason; 3] = [Reason::Arp, Reason::NeighborDiscovery, Reason::MulticastListener];

/// The link of a lab whose filter is attached.
#[derive(Debug)]
pub struct Wire<'a> {
    lab: &'a Lab,
    host: Host,
    slot: u32,
}

impl<'a> Wire<'a> {
    /// The link of a lab.
    ///
    /// # Panics
    ///
    /// When nothing is attached.
    #[must_use]
    pub fn of(lab: &'a Lab) -> Self {
        let places = Places::new(lab.state_folder(), lab.pins());
        let host = Host::open_in(&places).expect("an attached filter");
        let slot = journal::entries(&places).expect("its state")[0].attachment.slot;
        Self { lab, host, slot }
    }

    /// Sends a frame to the interface or from it; it must be counted once, for this reason. Frames to
    /// other hardware addresses than the devices' own are answered by nobody.
    ///
    /// # Panics
    ///
    /// When it is counted otherwise, or not at all.
    #[track_caller]
    pub fn expect(&self, direction: Direction, frame: &[u8], expected: Reason, what: &str) {
        let before = self.counters();
        let (from, device) = match direction {
            Direction::Ingress => (&self.lab.remote, "veth0"),
            Direction::Egress => (&self.lab.workload, "eth0"),
        };
        packet::send(from, device, frame);
        let what = format!("{} {what} ({:?}, side {:?})", direction.name(), self.lab.hook, self.lab.side);
        let moved = eventually(&format!("{what} to be counted"), PATIENCE, || {
            let moved = moved(&before, &self.counters(), direction, expected);
            (!moved.is_empty()).then_some(moved)
        });
        let right = match moved[..] {
            [(reason, packets)] => reason == expected && (packets == 1 || CHATTER.contains(&reason)),
            _ => false,
        };
        assert!(right, "{what}: expected {expected:?}, found {moved:?}");
    }

    fn counters(&self) -> Counters {
        self.host.counters(self.slot).expect("read the counters")
    }
}

/// The reasons whose packets became more, but for the hosts' own chatter where that is not asked for.
fn moved(before: &Counters, after: &Counters, direction: Direction, asked: Reason) -> Vec<(Reason, u64)> {
    let count = |counters: &Counters, reason: Reason| counters.packets[direction.index()][reason as usize];
    Reason::ALL
        .iter()
        .filter(|reason| **reason == asked || !CHATTER.contains(reason))
        .map(|reason| (*reason, count(after, *reason) - count(before, *reason)))
        .filter(|(_, packets)| *packets > 0)
        .collect()
}
