//! Programs of the benchmark: they give every packet another tuple, then jump to what is measured.
//!
//! `BPF_PROG_TEST_RUN` repeats one frame: the same connection, the same rule, all of it in the
//! first-level cache. So a *wrapper* rewrites the frame's tuple first, from a seeded generator,
//! and calls by tail call the very programs that `attach` loads; or, as the base that is taken
//! off, an empty one. What the rewriting costs is in both.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        bindings::{BPF_F_MMAPABLE, TC_ACT_SHOT, xdp_action},
        btf_maps::Array,
        macros::{btf_map, classifier, map, xdp},
        maps::ProgramArray,
        programs::{TcContext, XdpContext},
    };
    use filter_common::bench::State;

    #[btf_map]
    static STATE: Array<State, 1, { BPF_F_MMAPABLE as usize }> = Array::new();
    #[map]
    static NEXT_XDP: ProgramArray = ProgramArray::with_max_entries(1, 0);
    #[map]
    static NEXT_TC: ProgramArray = ProgramArray::with_max_entries(1, 0);

    /// Rewrites the remote end of a frame without VLAN tags and IP options.
    ///
    /// # Safety
    ///
    /// The frame lies between the two addresses.
    #[inline(always)]
    unsafe fn rewrite(start: usize, end: usize) -> Option<()> {
        let state = STATE.get_ptr_mut(0)?;
        // SAFETY: the pointer is into a map's value; the frame's end is checked before each write.
        unsafe {
            let tuple = (*state).advance();
            let (address, port) = ((*state).address_at as usize, (*state).port_at as usize);
            if address > 64 || port > 64 {
                return None;
            }
            if (*state).wide != 0 {
                if start + address + 16 > end {
                    return None;
                }
                ((start + address) as *mut [u32; 4]).write_unaligned(tuple.address.map(u32::to_be));
            } else {
                if start + address + 4 > end {
                    return None;
                }
                ((start + address) as *mut u32).write_unaligned(tuple.address[0].to_be());
            }
            if start + port + 2 > end {
                return None;
            }
            ((start + port) as *mut u16).write_unaligned(tuple.port.to_be());
        }
        Some(())
    }

    #[xdp(frags)]
    fn bench_xdp(context: XdpContext) -> u32 {
        // SAFETY: the frame is the context's.
        if unsafe { rewrite(context.data(), context.data_end()) }.is_some() {
            // SAFETY: nothing here needs to be dropped.
            unsafe { NEXT_XDP.tail_call(&context, 0) };
        }
        xdp_action::XDP_ABORTED
    }

    #[classifier]
    fn bench_tc(context: TcContext) -> i32 {
        // SAFETY: the frame is the context's.
        if unsafe { rewrite(context.data(), context.data_end()) }.is_some() {
            // SAFETY: nothing here needs to be dropped.
            unsafe { NEXT_TC.tail_call(&context, 0) };
        }
        TC_ACT_SHOT
    }

    #[xdp(frags)]
    fn empty_xdp(_: XdpContext) -> u32 {
        xdp_action::XDP_DROP
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

/// For other targets, so that a plain `cargo check` of the workspace works.
#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("these are kernel programs: `cargo xtask bench datapath` builds and runs them");
}
