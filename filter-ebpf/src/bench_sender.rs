//! The sender of the benchmark against other packet filters, and the limits they are measured by.
//!
//! User space runs the sender with `BPF_PROG_TEST_RUN` and `BPF_F_TEST_XDP_LIVE_FRAMES` (kernel
//! 5.18): each run is a frame that the kernel hands to a device as if it had come from a driver, at
//! several million a second, with no socket and no queueing discipline on the way.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        bindings::xdp_action,
        btf_maps::Array,
        helpers::bpf_redirect,
        macros::{btf_map, xdp},
        programs::XdpContext,
    };
    use filter_common::sender::Sending;

    #[btf_map]
    static SENDING: Array<Sending, 1> = Array::new();

    /// Offset of the IPv4 header's checksum behind an Ethernet header; the source follows.
    const CHECKSUM: usize = 24;

    #[xdp]
    fn bench_send(context: XdpContext) -> u32 {
        let checksum = context.data() + CHECKSUM;
        let source = checksum + 2;
        if source + 4 > context.data_end() {
            return xdp_action::XDP_ABORTED;
        }
        let Some(sending) = SENDING.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
        // SAFETY: the pointer is into a map's value that only one CPU uses, the frame's end was
        // checked above, and a redirect needs no more than a device's index.
        unsafe {
            let (address, sum) = (*sending).advance();
            (checksum as *mut u16).write_unaligned(sum.to_be());
            (source as *mut u32).write_unaligned(address.to_be());
            bpf_redirect((*sending).device, 0) as u32
        }
    }

    #[xdp]
    fn bench_drop(_: XdpContext) -> u32 {
        xdp_action::XDP_DROP
    }

    #[xdp]
    fn bench_pass(_: XdpContext) -> u32 {
        xdp_action::XDP_PASS
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
    eprintln!("these are kernel programs: `cargo xtask bench peers` builds and runs them");
}
