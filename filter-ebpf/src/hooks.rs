//! The hooks: how the kernel calls the pipeline, and what a verdict means to it.
//!
//! aya's macros put each hook into a function that calls it. The hooks ask to be inlined there: LLVM leaves
//! the call once the pipeline is large enough, and it costs 9 ns.
//!
//! What is logged here is for debugging ours; the verifier removes it unless the interface was
//! attached with `--debug`. What users read are flow records.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use aya_log_ebpf::debug;
use filter_common::abi::Sweep;

use crate::{
    clock, pipeline, settings,
    source::{Skb, Xdp},
    sweep,
};

/// `TC_ACT_UNSPEC` is TCX's `TCX_NEXT`: programs after ours keep their say.
const PASS: i32 = TC_ACT_UNSPEC;

/// The device's receive side, before the kernel makes a socket buffer. Kernel 5.18 (multi-buffer).
#[xdp(frags)]
#[inline(always)]
fn filter_xdp(context: XdpContext) -> u32 {
    let verdict = pipeline::judge(&Xdp(&context), settings::receive_direction());
    if verdict.passes() {
        xdp_action::XDP_PASS
    } else {
        debug!(&context, "dropped on receive: reason {}", verdict.0 as u8);
        xdp_action::XDP_DROP
    }
}

/// The device's receive side at TC. TCX from kernel 6.6, clsact before.
#[classifier]
#[inline(always)]
fn filter_tc_receive(context: TcContext) -> i32 {
    let verdict = pipeline::judge(&Skb(&context), settings::receive_direction());
    if verdict.passes() {
        PASS
    } else {
        debug!(&context, "dropped on receive: reason {}", verdict.0 as u8);
        TC_ACT_SHOT
    }
}

/// The device's send side at TC.
#[classifier]
#[inline(always)]
fn filter_tc_send(context: TcContext) -> i32 {
    let verdict = pipeline::judge(&Skb(&context), settings::receive_direction().reverse());
    if verdict.passes() {
        PASS
    } else {
        debug!(&context, "dropped on send: reason {}", verdict.0 as u8);
        TC_ACT_SHOT
    }
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
    let swept = sweep::run(order.first, order.count, order.slot, order.flags);
    order.records = swept.records;
    order.deferred = swept.deferred;
    order.oldest = swept.oldest;
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
