//! The only way to read a packet.

/// A packet's bytes, wherever they are: behind an XDP or TC context in the kernel, in a slice in tests.
pub trait Bytes {
    /// The header at `offset`, or `None` where the packet ends before it.
    ///
    /// `T` must be valid for every bit pattern and may be unaligned in the packet: the headers of
    /// `network_types` and arrays of bytes are.
    fn read<T: Copy>(&self, offset: usize) -> Option<T>;

    /// Length of the whole packet in bytes, from its link-layer header on, beyond what lies in
    /// one piece of memory.
    fn length(&self) -> usize;

    /// Whether the packet has at least `length` bytes; cheaper than [`Bytes::length`] at some hooks.
    fn holds(&self, length: usize) -> bool {
        length <= self.length()
    }

    /// VLAN tags that the hook has taken out of the data and holds as metadata (TC), 0 or 1.
    fn tags_in_metadata(&self) -> usize {
        0
    }

    /// For a packet that stands for several on the wire (GSO, GRO at TC): bytes of payload that
    /// each of them carries, and their number if the hook knows it. `None` for an ordinary packet.
    fn segmentation(&self) -> Option<Segmentation> {
        None
    }
}

/// How a large packet is cut on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Payload bytes of each segment but the last (`gso_size`).
    pub size: u32,
    /// Number of segments (`gso_segs`); 0 where the kernel has not computed it.
    pub count: u32,
}

#[cfg(any(test, feature = "user"))]
impl Bytes for &[u8] {
    fn read<T: Copy>(&self, offset: usize) -> Option<T> {
        let bytes = self.get(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: the slice is as long as `T`, unaligned reads are asked for, and by the trait's
        // contract every bit pattern is a `T`.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    fn length(&self) -> usize {
        self.len()
    }
}
