//! The hooks: how the kernel calls the pipeline, and what a verdict means to it.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use filter_common::abi::Sweep;

use crate::{
    clock, pipeline, settings,
    source::{Skb, Xdp},
    sweep,
};

/// The device's receive side, before the kernel makes a socket buffer. Kernel 5.18 (multi-buffer).
#[xdp(frags)]
fn filter_xdp(context: XdpContext) -> u32 {
    if pipeline::judge(&Xdp(&context), settings::receive_direction()).passes() {
        xdp_action::XDP_PASS
    } else {
        xdp_action::XDP_DROP
    }
}

/// The device's receive side at TC. TCX from kernel 6.6, clsact before.
#[classifier]
fn filter_tc_receive(context: TcContext) -> i32 {
    tc_action(pipeline::judge(&Skb(&context), settings::receive_direction()).passes())
}

/// The device's send side at TC.
#[classifier]
fn filter_tc_send(context: TcContext) -> i32 {
    tc_action(pipeline::judge(&Skb(&context), settings::receive_direction().reverse()).passes())
}

/// `TC_ACT_UNSPEC` is TCX's `TCX_NEXT`: programs after ours keep their say.
#[inline(always)]
fn tc_action(passes: bool) -> i32 {
    if passes { TC_ACT_UNSPEC } else { TC_ACT_SHOT as i32 }
}

/// Hands over counts of a range of slots, see [`filter_common::abi::programs::SWEEP`].
#[xdp]
fn filter_sweep(context: XdpContext) -> u32 {
    let start = context.data();
    if start + size_of::<Sweep>() > context.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the frame is as long as a `Sweep`, and any bytes are one.
    let order = unsafe { &mut *(start as *mut Sweep) };
    let (records, deferred) = sweep::run(order.first, order.count, order.slot, order.flags);
    order.records = records;
    order.deferred = deferred;
    xdp_action::XDP_PASS
}

/// Writes the clock, see [`filter_common::abi::programs::CLOCK`].
#[xdp]
fn filter_clock(context: XdpContext) -> u32 {
    let start = context.data();
    if start + size_of::<u64>() > context.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the frame is as long as the number; packet data may be unaligned.
    unsafe { (start as *mut u64).write_unaligned(clock::ticks()) };
    xdp_action::XDP_PASS
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Endless, so that the verifier refuses a program from which it can be reached.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
