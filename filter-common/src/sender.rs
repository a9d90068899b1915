//! What the benchmark's sender in the kernel and its driver share: which packets are sent.
//!
//! The driver writes one frame, a UDP datagram over IPv4 without checksum; the sender gives each
//! copy another source address and the IP checksum that belongs to it.

/// Which source address the next packet has, and where it goes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sending {
    /// Of the generator (Knuth's MMIX linear congruential one).
    pub random: u64,
    /// Counts packets.
    pub packets: u64,
    /// The bits of the source address that all packets share, in host order.
    pub base: u32,
    /// The bits of the source address in which they differ.
    pub mask: u32,
    /// 1: the differing bits count packets; 0: they are random.
    pub in_order: u32,
    /// The sum of the IPv4 header's 16-bit words but for the source and the checksum.
    pub sum: u32,
    /// Index of the device that the packets are handed to.
    pub device: u32,
    /// Keeps the size a multiple of 8 without padding.
    pub unused: u32,
}

impl Sending {
    /// The next packet's source address and the checksum of its IPv4 header, in host order.
    #[inline(always)]
    pub const fn advance(&mut self) -> (u32, u16) {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let differing = if self.in_order != 0 { self.packets as u32 } else { (self.random >> 32) as u32 };
        self.packets += 1;
        let source = self.base | differing & self.mask;
        (source, checksum(self.sum + (source >> 16) + (source & 0xffff)))
    }
}

/// The Internet checksum of a sum of fewer than 65,536 words of 16 bits (RFC 1071).
#[inline(always)]
#[must_use]
pub const fn checksum(sum: u32) -> u16 {
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_in_order_are_all_different() {
        let mut sending =
            Sending { base: 0xac10_0000, mask: 0xffff, in_order: 1, random: 7, ..Sending::default() };
        let sources: Vec<u32> = (0..65_536).map(|_| sending.advance().0).collect();
        assert!(sources.iter().enumerate().all(|(number, source)| *source == 0xac10_0000 | number as u32));
        assert_eq!(sending.packets, 65_536);
    }

    #[test]
    fn random_sources_keep_to_the_mask_and_rarely_repeat() {
        let mut sending = Sending { base: 0x0a00_0000, mask: 0x00ff_ffff, random: 1, ..Sending::default() };
        let mut sources: Vec<u32> = (0..1_000_000).map(|_| sending.advance().0).collect();
        assert!(sources.iter().all(|source| source >> 24 == 10));
        sources.sort_unstable();
        sources.dedup();
        // Of a million draws out of 2^24, 970,800 are expected to differ.
        assert!(sources.len() > 950_000, "{} different sources", sources.len());
    }

    #[test]
    fn the_checksum_makes_the_header_sum_up_to_nothing() {
        let header = [0x4500_u32, 46, 0, 0, 0x4011, 0, 0, 0, 0xc000, 0x0214];
        let sum = header.iter().sum();
        let mut sending = Sending { base: 0x0a00_0000, mask: 0x00ff_ffff, sum, ..Sending::default() };
        for _ in 0..1000 {
            let (source, check) = sending.advance();
            assert_eq!(checksum(sum + (source >> 16) + (source & 0xffff) + u32::from(check)), 0);
        }
    }
}
