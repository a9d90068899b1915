//! The kernel programs of `filter`.
//!
//! One pipeline ([`pipeline::judge`]), called from each hook; here is nothing but the hooks and
//! what a verdict means to each. Two more programs are never attached: user space runs them with
//! `BPF_PROG_TEST_RUN` to sweep the tables and to read the clock.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(core_intrinsics, asm_experimental_arch))]
#![cfg_attr(
    target_arch = "bpf",
    expect(internal_features, reason = "atomics of the BPF target, see atomic.rs")
)]

#[cfg(target_arch = "bpf")]
mod account;
#[cfg(target_arch = "bpf")]
mod atomic;
#[cfg(target_arch = "bpf")]
mod clock;
#[cfg(target_arch = "bpf")]
mod connections;
#[cfg(target_arch = "bpf")]
mod flows;
#[cfg(target_arch = "bpf")]
mod fragments;
#[cfg(target_arch = "bpf")]
mod hooks;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod memory;
#[cfg(target_arch = "bpf")]
mod pipeline;
#[cfg(target_arch = "bpf")]
mod policy;
#[cfg(target_arch = "bpf")]
mod ports;
#[cfg(target_arch = "bpf")]
mod seen;
#[cfg(target_arch = "bpf")]
mod settings;
#[cfg(target_arch = "bpf")]
mod source;
#[cfg(target_arch = "bpf")]
mod sweep;
#[cfg(target_arch = "bpf")]
mod verifier;

/// For other targets, so that a plain `cargo check` of the workspace works.
#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("filter-ebpf holds kernel programs: build it with `cargo xtask build`");
}
