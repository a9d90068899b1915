//! Verdicts and the reasons for them.

/// What happens to a packet, and why.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(pub Reason);

impl Verdict {
    /// Whether the packet goes on its way.
    #[inline(always)]
    pub const fn passes(self) -> bool {
        self.0.passes()
    }
}

/// How a reason's packets are counted (design: the law of conservation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// Judged and let through: an `ACCEPT` record.
    Accepted,
    /// Judged and stopped: a `REJECT` record.
    Rejected,
    /// Passed without being judged: control traffic that no rule can stop.
    NeverFiltered,
    /// Passed without being judged: link-local and reserved addresses.
    Exempt,
    /// Dropped without a readable tuple, so without a record.
    Unparsable,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $category:ident, $word:literal;)+) => {
        /// Why a packet got its verdict: the index of its counter, a field of its record, the
        /// label of its metric.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $name = $number,)+ }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)+];

            /// How the reason's packets are counted.
            #[inline(always)]
            #[must_use]
            pub const fn category(self) -> Category {
                match self { $(Reason::$name => Category::$category,)+ }
            }

            /// The stable name in output, records and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$name => $word,)+ }
            }

            /// The reason of a number, as read from a record.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Reason::$name),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// A rule of the security groups allowed it and its connection is tracked from now on.
    NewConnection = 0, Accepted, "new-connection";
    /// It belongs to a tracked connection.
    Connection = 1, Accepted, "connection";
    /// An ICMP error about a tracked connection.
    Related = 2, Accepted, "related";
    /// Rules for any address allow it in both directions, so that it needs no tracking.
    Untracked = 3, Accepted, "untracked";
    /// Rules allow it, but it cannot begin a connection (a stray TCP segment, an ICMP message that asks nothing).
    Stray = 4, Accepted, "stray";
    /// A later fragment of a datagram whose first fragment was accepted.
    Fragment = 5, Accepted, "fragment";

    /// The network ACL denies it.
    NetworkAcl = 6, Rejected, "network-acl";
    /// No rule of the security groups allows it.
    SecurityGroup = 7, Rejected, "security-group";
    /// It would begin a connection and there is no room: `conntrack_allowance_exceeded`.
    AllowanceExceeded = 8, Rejected, "conntrack-allowance-exceeded";
    /// `SourceDestCheck` is on and the local address is not one of the interface's.
    SourceDestCheck = 9, Rejected, "source-dest-check";

    /// ARP.
    Arp = 10, NeverFiltered, "arp";
    /// IPv6 neighbour discovery.
    NeighborDiscovery = 11, NeverFiltered, "neighbor-discovery";
    /// IPv6 multicast listener discovery.
    MulticastListener = 12, NeverFiltered, "multicast-listener";
    /// DHCPv4 or DHCPv6.
    Dhcp = 13, NeverFiltered, "dhcp";

    /// The remote is `169.254.0.0/16` or one of the subnet's first four addresses.
    Exempt = 14, Exempt, "exempt";

    /// A header does not fit into the packet, or a length points past its end.
    Truncated = 15, Unparsable, "truncated";
    /// An IPv4 or IPv6 header that contradicts itself (version, header length, total length).
    BadIpHeader = 16, Unparsable, "bad-ip-header";
    /// A TCP, UDP or ICMP header that contradicts itself (data offset, UDP length).
    BadTransportHeader = 17, Unparsable, "bad-transport-header";
    /// More IPv6 extension headers than are walked.
    ExtensionHeaders = 18, Unparsable, "extension-headers";
    /// More than two VLAN tags.
    VlanDepth = 19, Unparsable, "vlan-depth";
    /// Neither IPv4, IPv6 nor ARP.
    NotIp = 20, Unparsable, "not-ip";
    /// A first fragment too short for its transport header.
    TinyFragment = 21, Unparsable, "tiny-fragment";
    /// A later fragment whose first one was not seen, or not accepted.
    OrphanFragment = 22, Unparsable, "orphan-fragment";
    /// The interface has no policy.
    NoPolicy = 23, Unparsable, "no-policy";

    /// `StrictTcp` is on and it is a TCP segment of no connection that does not ask for one, either.
    StrictTcp = 24, Rejected, "strict-tcp";
}

impl Reason {
    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// Whether the packet goes on its way.
    #[inline(always)]
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self.category(), Category::Accepted | Category::NeverFiltered | Category::Exempt)
    }

    /// Whether the packet is judged, so that a record counts it.
    #[inline(always)]
    #[must_use]
    pub const fn judged(self) -> bool {
        matches!(self.category(), Category::Accepted | Category::Rejected)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_reasons_number_is_its_position() {
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position, "{reason:?}");
            assert_eq!(Reason::from_number(position as u8), Some(*reason));
        }
        assert_eq!(Reason::COUNT, 25);
        for number in Reason::COUNT..=255 {
            assert_eq!(Reason::from_number(number as u8), None, "{number}");
        }
    }

    #[test]
    fn names_are_unique_and_fit_for_labels() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::COUNT);
        for name in names {
            assert!(
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{name}"
            );
        }
    }

    #[test]
    fn only_what_is_accepted_or_exempt_passes_and_only_what_has_a_tuple_is_judged() {
        for reason in Reason::ALL {
            let (passes, judged) = match reason.category() {
                Category::Accepted => (true, true),
                Category::Rejected => (false, true),
                Category::NeverFiltered | Category::Exempt => (true, false),
                Category::Unparsable => (false, false),
            };
            assert_eq!((reason.passes(), reason.judged()), (passes, judged), "{reason:?}");
            assert_eq!(Verdict(*reason).passes(), passes);
        }
    }

    #[test]
    fn what_cannot_be_read_or_has_no_policy_is_dropped() {
        for reason in [
            Reason::Truncated,
            Reason::BadIpHeader,
            Reason::BadTransportHeader,
            Reason::ExtensionHeaders,
            Reason::VlanDepth,
            Reason::NotIp,
            Reason::TinyFragment,
            Reason::OrphanFragment,
            Reason::NoPolicy,
            Reason::AllowanceExceeded,
            Reason::StrictTcp,
        ] {
            assert!(!reason.passes(), "{reason:?}");
        }
    }
}
