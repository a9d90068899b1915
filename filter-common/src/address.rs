//! IP addresses as the kernel programs handle them.

/// The version of the Internet Protocol.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

/// An address of either family as four words in host order, most significant first; an IPv4
/// address is the first word and the others are zero. The family is kept beside it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address(pub [u32; 4]);

impl Address {
    /// An IPv4 address from its number.
    #[inline(always)]
    #[must_use]
    pub const fn v4(number: u32) -> Self {
        Self([number, 0, 0, 0])
    }

    /// Whether this IPv4 address is in `169.254.0.0/16` (RFC 3927).
    #[inline(always)]
    #[must_use]
    pub const fn is_v4_link_local(&self) -> bool {
        self.0[0] >> 16 == 0xa9fe
    }

    /// Whether this IPv6 address is in `fe80::/10` (RFC 4291, 2.5.6).
    #[inline(always)]
    #[must_use]
    pub const fn is_v6_link_local(&self) -> bool {
        self.0[0] >> 22 == 0xfe80 >> 6
    }
}

#[cfg(any(test, feature = "user"))]
mod user {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::{Address, Family};

    impl From<Ipv4Addr> for Address {
        fn from(address: Ipv4Addr) -> Self {
            Self::v4(address.to_bits())
        }
    }

    impl From<Ipv6Addr> for Address {
        fn from(address: Ipv6Addr) -> Self {
            let bits = address.to_bits();
            Self([(bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32])
        }
    }

    impl From<IpAddr> for Address {
        fn from(address: IpAddr) -> Self {
            match address {
                IpAddr::V4(address) => address.into(),
                IpAddr::V6(address) => address.into(),
            }
        }
    }

    impl Family {
        /// The family of an address.
        #[must_use]
        pub const fn of(address: IpAddr) -> Self {
            match address {
                IpAddr::V4(_) => Self::V4,
                IpAddr::V6(_) => Self::V6,
            }
        }
    }

    impl Address {
        /// This address as a standard one, read as one of `family`.
        #[must_use]
        pub fn to_ip(self, family: Family) -> IpAddr {
            match family {
                Family::V4 => Ipv4Addr::from_bits(self.0[0]).into(),
                Family::V6 => {
                    let [a, b, c, d] = self.0.map(u128::from);
                    Ipv6Addr::from_bits(a << 96 | b << 64 | c << 32 | d).into()
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_is_converted_there_and_back(address: IpAddr) {
            prop_assert_eq!(Address::from(address).to_ip(Family::of(address)), address);
        }
    }

    #[test]
    fn words_are_in_host_order_the_most_significant_first() {
        let v4: IpAddr = [10, 1, 2, 3].into();
        assert_eq!(Address::from(v4), Address([0x0a01_0203, 0, 0, 0]));
        let v6: IpAddr = [0x2001, 0xdb8, 0, 1, 2, 3, 4, 5].into();
        assert_eq!(Address::from(v6), Address([0x2001_0db8, 1, 0x0002_0003, 0x0004_0005]));
    }
}
