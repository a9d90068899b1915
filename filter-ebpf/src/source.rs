//! Packets behind the hooks' contexts.
//!
//! What lies in one piece is read in place, with one bounds check of the one shape that the
//! verifier knows. What does not (a multi-buffer XDP frame, a socket buffer with its headers in
//! pages) is fetched by a helper: slower, and rare.

use core::ffi::c_long;

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::{TcContext, XdpContext},
};
use filter_common::bytes::{Bytes, Segmentation};

use crate::{
    maps::{SCRATCH, Scratch},
    verifier,
};

/// Offsets beyond this are never read: the verifier wants a bound on what is added to a packet pointer.
const MAX_OFFSET: usize = 0x7fff;

/// What a packet source knows besides the bytes.
pub(crate) trait Source: Bytes {
    /// Whether this host made the packet, rather than forwarding it.
    fn made_by_this_host(&self) -> bool;
}

/// The `T` at `offset`: in place if it lies between `start` and `end`, else where `fetch` copies it to.
#[inline(always)]
fn read<T: Copy>(
    start: usize,
    end: usize,
    offset: usize,
    fetch: impl FnOnce(*mut T, u32) -> c_long,
) -> Option<T> {
    let offset = verifier::opaque(offset);
    if offset > MAX_OFFSET {
        return None;
    }
    let mut at = (start + offset) as *const T;
    if start + offset + size_of::<T>() > end {
        let scratch = scratch::<T>()?;
        if fetch(scratch, size_of::<T>() as u32) != 0 {
            return None;
        }
        at = scratch;
    }
    // SAFETY: a whole `T` is there, and by the trait's contract any bytes are one.
    Some(unsafe { at.read_unaligned() })
}

/// Where a helper copies a header to: this CPU's, as the stack is too small for one per header.
#[inline(always)]
fn scratch<T>() -> Option<*mut T> {
    const { assert!(size_of::<T>() <= size_of::<Scratch>()) };
    Some(SCRATCH.get_ptr_mut(0)?.cast())
}

/// A frame at XDP.
pub(crate) struct Xdp<'a>(pub(crate) &'a XdpContext);

impl Bytes for Xdp<'_> {
    #[inline(always)]
    fn read<T: Copy>(&self, offset: usize) -> Option<T> {
        // SAFETY: the helper fills exactly the value's bytes, or fails. Kernel 5.18.
        let fetch =
            |to: *mut T, size| unsafe { bpf_xdp_load_bytes(self.0.ctx, offset as u32, to.cast(), size) };
        read(self.0.data(), self.0.data_end(), offset, fetch)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: the context is the program's own. Kernel 5.18.
        unsafe { bpf_xdp_get_buff_len(self.0.ctx) as usize }
    }

    #[inline(always)]
    fn holds(&self, length: usize) -> bool {
        // Only a multi-buffer frame needs the helper, whose call costs as much as reading a header.
        length <= self.0.data_end() - self.0.data() || length <= self.length()
    }
}

impl Source for Xdp<'_> {
    #[inline(always)]
    fn made_by_this_host(&self) -> bool {
        // What a device receives comes from elsewhere.
        false
    }
}

/// A socket buffer at TC.
pub(crate) struct Skb<'a>(pub(crate) &'a TcContext);

impl Bytes for Skb<'_> {
    #[inline(always)]
    fn read<T: Copy>(&self, offset: usize) -> Option<T> {
        // SAFETY: the helper fills exactly the value's bytes, or fails.
        let fetch =
            |to: *mut T, size| unsafe { bpf_skb_load_bytes(self.0.as_ptr(), offset as u32, to.cast(), size) };
        read(self.0.data(), self.0.data_end(), offset, fetch)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.0.len() as usize
    }

    #[inline(always)]
    fn tags_in_metadata(&self) -> usize {
        // SAFETY: the context is the program's own.
        usize::from(unsafe { (*self.0.skb.skb).vlan_present } != 0)
    }

    #[inline(always)]
    fn segmentation(&self) -> Option<Segmentation> {
        // SAFETY: the context is the program's own.
        let (size, count) = unsafe { ((*self.0.skb.skb).gso_size, (*self.0.skb.skb).gso_segs) };
        if size == 0 { None } else { Some(Segmentation { size, count }) }
    }
}

impl Source for Skb<'_> {
    #[inline(always)]
    fn made_by_this_host(&self) -> bool {
        // A forwarded packet remembers the device by which it came in.
        // SAFETY: the context is the program's own.
        unsafe { (*self.0.skb.skb).ingress_ifindex == 0 }
    }
}
