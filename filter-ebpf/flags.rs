// Flags of every build of the kernel programs, for whoever includes this file. The verifier needs
// debug info as BTF (`--btf`), atomic operations that return the old value need BPF instruction
// set 3 (kernel 5.12).
const FLAGS: [&str; 6] = [
    "-Cdebuginfo=2",
    "-Clinker=bpf-linker",
    "-Clink-arg=--btf",
    "-Ctarget-cpu=v3",
    // x86-64 and arm64 read packets unaligned, and the verifier lets them: words instead of bytes.
    "-Ctarget-feature=+allows-misaligned-mem-access",
    // Whose register layouts `aya-ebpf` shall assume: replaced by the target's architecture.
    concat!("--cfg=bpf_target_arch=\"", "x86_64", "\""),
];
