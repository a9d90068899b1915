//! What the benchmark's wrapper programs and their driver share: remote ends, by number.
//!
//! Everything is computed from a number, so that a million different packets cost the caches
//! nothing: a table of them would compete with the tables that are measured.

/// A packet's remote end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The address. Words in host order, most significant first; IPv4: the first.
    pub address: [u32; 4],
    /// The port.
    pub port: u16,
}

/// What the wrapper does with the next packet.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
pub struct State {
    /// Of the generator (Knuth's MMIX linear congruential one).
    pub random: u64,
    /// Counts packets.
    pub packets: u64,
    /// One of [`State::WITHIN_PREFIXES`], [`State::CONNECTIONS`], [`State::IN_ORDER`].
    pub mode: u32,
    /// Prefixes, or connections.
    pub count: u32,
    /// Offset of the remote address in the frame, below 64.
    pub address_at: u32,
    /// Offset of the remote port in the frame, below 64.
    pub port_at: u32,
    /// 1: addresses have 16 bytes.
    pub wide: u32,
    /// The remote port of [`State::WITHIN_PREFIXES`].
    pub port: u32,
}

impl State {
    /// [`State::mode`]: a random address within a random one of the prefixes.
    pub const WITHIN_PREFIXES: u32 = 0;
    /// [`State::mode`]: a random one of the connections.
    pub const CONNECTIONS: u32 = 1;
    /// [`State::mode`]: the connections one after the other.
    pub const IN_ORDER: u32 = 2;

    /// The next packet's remote end.
    #[inline(always)]
    pub fn advance(&mut self) -> Remote {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let order = self.packets as u32;
        self.packets += 1;
        let wide = self.wide != 0;
        let chosen = (((self.random >> 32) * self.count as u64) >> 32) as u32;
        match self.mode {
            Self::IN_ORDER => connection(order, wide),
            Self::CONNECTIONS => connection(chosen, wide),
            _ => {
                let (address, length) = prefix(chosen, wide);
                let noise = mix(self.random);
                let words = [(noise >> 32) as u32, noise as u32];
                let mut address = address;
                if wide {
                    let mask = u64::MAX >> (length & 63);
                    // Longer than 64 bits, the prefix is a host.
                    let mask = if length < 64 { mask } else { 0 };
                    address[0] |= words[0] & (mask >> 32) as u32;
                    address[1] |= words[1] & mask as u32;
                    if length <= 64 {
                        address[2] = words[0];
                        address[3] = words[1];
                    }
                } else {
                    address[0] |= words[0] & (u32::MAX as u64 >> (length & 63)) as u32;
                }
                Remote { address, port: self.port as u16 }
            }
        }
    }
}

/// The n-th prefix and its length. IPv4: /24 55 %, /20 to /23 20 %, /16 to /19 10 %, /26 to /32 15 %, over all
/// of the address space. IPv6: /48 46 %, /32, /40, /44 8 % each, /56, /64, /128 10 % each, in 4,096 blocks of /32.
#[inline(always)]
#[must_use]
pub const fn prefix(number: u32, wide: bool) -> ([u32; 4], u32) {
    let bits = mix(number as u64 + 1);
    let percent = ((bits >> 57) as u32 * 100) >> 7;
    let choice = (bits >> 50) as u32 & 7;
    if wide {
        let length = match percent {
            0..46 => 48,
            46..54 => 32,
            54..62 => 40,
            62..70 => 44,
            70..80 => 56,
            80..90 => 64,
            _ => 128,
        };
        let high = 0x2001_0000_0000_0000 | (bits & 0xfff) << 32 | (bits >> 12) & 0xffff_ffff;
        let kept = if length < 64 { high & !(u64::MAX >> length) } else { high };
        let host = if length == 128 { (bits >> 20) as u32 } else { 0 };
        return ([(kept >> 32) as u32, kept as u32, 0, host], length);
    }
    let length = match percent {
        0..55 => 24,
        55..75 => 20 + (choice & 3),
        75..85 => 16 + (choice & 3),
        _ => 26 + (if choice > 6 { 6 } else { choice }),
    };
    ([(bits as u32) & !((u32::MAX as u64 >> length) as u32), 0, 0, 0], length)
}

/// The remote end of the n-th connection: 11.0.0.0 and on, or hosts of 2001:db8:b::/48, each with a port of its own.
#[inline(always)]
#[must_use]
pub const fn connection(number: u32, wide: bool) -> Remote {
    let port = 1024 + (number.wrapping_mul(7) & 0x7fff) as u16;
    let address = if wide {
        [0x2001_0db8, 0x000b_0000, number.wrapping_mul(0x9e37_79b1), number]
    } else {
        [0x0b00_0000 | number & 0x00ff_ffff, 0, 0, 0]
    };
    Remote { address, port }
}

/// Spreads a number over 64 bits (Steele, Lea, Flood: SplitMix64, 2014).
#[inline(always)]
const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_remotes_lie_within_the_prefixes() {
        for wide in [false, true] {
            let mut state = State { random: 1, count: 1000, wide: wide.into(), ..State::default() };
            let prefixes: Vec<_> = (0..1000).map(|number| prefix(number, wide)).collect();
            for _ in 0..1000 {
                let Remote { address, .. } = state.advance();
                let value = |words: [u32; 4]| words.iter().fold(0, |all, word| all << 32 | u128::from(*word));
                let within = prefixes.iter().any(|(first, length)| {
                    let shift = if wide { 128 - length } else { 128 - length.min(&32) };
                    shift == 128 || value(address) >> shift == value(*first) >> shift
                });
                assert!(within, "{address:x?}");
            }
        }
    }
}
