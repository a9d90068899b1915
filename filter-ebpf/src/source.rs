//! Packets behind the hooks' contexts.
//!
//! What lies in one piece is read in place, with one bounds check of the one shape that the
//! verifier knows. What does not (a multi-buffer XDP frame, a socket buffer with its headers in
//! pages) is fetched by a helper: slower, and rare.

use core::ptr;

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::{TcContext, XdpContext},
};
use filter_common::bytes::{Bytes, Segmentation};

use crate::maps::{SCRATCH, Scratch};

/// Offsets beyond this are never read: the verifier wants a bound on what is added to a packet pointer.
const MAX_OFFSET: usize = 0x7fff;

/// What a packet source knows besides the bytes.
pub(crate) trait Source: Bytes {
    /// Whether this host made the packet, rather than forwarding it.
    fn made_by_this_host(&self) -> bool;
}

/// Where `T` is at `offset`, if it lies between `start` and `end`; else null.
#[inline(always)]
fn in_place<T>(start: usize, end: usize, offset: usize) -> *const T {
    let at = start + offset;
    if at + size_of::<T>() > end { ptr::null() } else { at as *const T }
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
        if offset > MAX_OFFSET {
            return None;
        }
        let mut at = in_place::<T>(self.0.data(), self.0.data_end(), offset);
        if at.is_null() {
            let scratch = scratch::<T>()?;
            // SAFETY: the helper fills exactly the value's bytes, or fails. Kernel 5.18.
            let status = unsafe {
                bpf_xdp_load_bytes(self.0.ctx, offset as u32, scratch.cast(), size_of::<T>() as u32)
            };
            if status != 0 {
                return None;
            }
            at = scratch;
        }
        // SAFETY: a whole `T` is there, and by the trait's contract any bytes are one.
        Some(unsafe { at.read_unaligned() })
    }

    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: the context is the program's own. Kernel 5.18.
        unsafe { bpf_xdp_get_buff_len(self.0.ctx) as usize }
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
        if offset > MAX_OFFSET {
            return None;
        }
        let mut at = in_place::<T>(self.0.data(), self.0.data_end(), offset);
        if at.is_null() {
            let scratch = scratch::<T>()?;
            let size = size_of::<T>() as u32;
            // SAFETY: the helper fills exactly the value's bytes, or fails.
            let status = unsafe { bpf_skb_load_bytes(self.0.as_ptr(), offset as u32, scratch.cast(), size) };
            if status != 0 {
                return None;
            }
            at = scratch;
        }
        // SAFETY: a whole `T` is there, and by the trait's contract any bytes are one.
        Some(unsafe { at.read_unaligned() })
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
