//! The sender, and the two programs that are the limits: user space's side of
//! `filter-ebpf/src/bench_sender.rs`.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aya::maps::{Array, MapData};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, Pod};
use filter_common::sender::Sending;

use super::super::cpu;
use crate::lab::{DEVICE, Lab, Namespace};

/// Frames that the kernel hands over at once.
const BATCH: u32 = 64;
/// Frames of one system call while it rains: half a second. Each call ends with a pause, as the
/// kernel waits until nobody uses its frames any more.
const CALL: u32 = 1 << 22;
/// Longer than any measurement; a sender that nobody stops ends by itself.
const LIMIT: Duration = Duration::from_secs(120);

/// What is sent: UDP datagrams of 18 bytes, in frames of 60.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    /// The source address, or the first of them.
    pub(super) source: Ipv4Addr,
    /// The bits in which the source addresses differ.
    pub(super) mask: u32,
    /// Every address once and again, not random ones.
    pub(super) in_order: bool,
    pub(super) port: u16,
}

impl Traffic {
    /// The sender's orders for this traffic, which is the frame with other sources.
    fn sending(self, frame: &[u8; 60], device: u32) -> Sending {
        let words = frame[14..34].chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
        Sending {
            // Any seed will do, as long as it is always the same.
            random: u64::from(self.port),
            packets: 0,
            base: self.source.to_bits(),
            mask: self.mask,
            in_order: self.in_order.into(),
            sum: words.sum(),
            device,
            unused: 0,
        }
    }
}

/// Hands frames to the remote end's device, from its namespace.
pub(super) struct Sender {
    ebpf: Ebpf,
    sending: Array<MapData, Plain>,
    namespace: Namespace,
    device: u32,
    /// The remote end's and the workload's.
    addresses: [[u8; 6]; 2],
    target: Ipv4Addr,
    frame: [u8; 60],
}

/// The sender's state as aya wants it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain(Sending);
// SAFETY: a struct of integers without padding.
unsafe impl Pod for Plain {}

impl Sender {
    pub(super) fn load(object: &[u8], lab: &Lab, target: Ipv4Addr) -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(object).context("cannot create the sender's map")?;
        load(&mut ebpf, "bench_send")?;
        let sending = ebpf.take_map("SENDING").context("the sender has no map")?;
        // SAFETY: the name is a string that ends with a zero.
        let device = lab.remote.enter(|| unsafe { libc::if_nametoindex(c"eth0".as_ptr()) })?;
        if device == 0 {
            bail!("the remote end has no device {DEVICE}");
        }
        Ok(Self {
            ebpf,
            sending: sending.try_into()?,
            namespace: lab.remote.clone(),
            device,
            addresses: [lab.remote.hardware_address(DEVICE)?, lab.workload.hardware_address(DEVICE)?],
            target,
            frame: [0; 60],
        })
    }

    /// Says what is sent from now on.
    pub(super) fn prepare(&mut self, traffic: Traffic) -> Result<()> {
        self.frame = frame(self.addresses, self.target, traffic.port);
        Ok(self.sending.set(0, Plain(traffic.sending(&self.frame, self.device)), 0)?)
    }

    /// How many packets were sent since it was last prepared.
    pub(super) fn sent(&self) -> Result<u64> {
        Ok(self.sending.get(&0, 0)?.0.packets)
    }

    /// Sends so many packets.
    pub(super) fn send(&self, count: u32) -> Result<()> {
        self.namespace.enter(|| self.run(count))?
    }

    /// What is sent, as packets that a raw socket takes, one after the other.
    pub(super) fn packets(&self, traffic: Traffic) -> impl Iterator<Item = [u8; 46]> {
        let frame = frame(self.addresses, self.target, traffic.port);
        let mut sending = traffic.sending(&frame, self.device);
        std::iter::from_fn(move || {
            let (source, checksum) = sending.advance();
            let mut packet = [0; 46];
            packet.copy_from_slice(&frame[14..]);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            packet[12..16].copy_from_slice(&source.to_be_bytes());
            Some(packet)
        })
    }

    /// Sends as fast as it can until told to stop.
    pub(super) fn flood(&self, stop: &AtomicBool) -> Result<()> {
        self.namespace.enter(|| {
            cpu::assign(0, cpu::SENDER)?;
            let deadline = Instant::now() + LIMIT;
            while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
                self.run(CALL)?;
            }
            Ok(())
        })?
    }

    fn run(&self, count: u32) -> Result<()> {
        let program: &Xdp = self.ebpf.program("bench_send").context("no sender")?.try_into()?;
        let end = self.sent()? + u64::from(count);
        let mut left = count;
        while left > 0 {
            let attrs = TestRunAttrs::new().xdp_live_frames(BATCH.min(left));
            let options =
                TestRunOptions { data_in: Some(&self.frame), repeat: left, attrs, ..TestRunOptions::new() };
            left = match program.test_run(options) {
                Ok(_) => 0,
                // A signal: even being stopped and continued is one.
                Err(ProgramError::SyscallError(error)) if error.io_error.kind() == ErrorKind::Interrupted => {
                    u32::try_from(end.saturating_sub(self.sent()?))?
                }
                Err(error) => return Err(error).context("cannot send frames (kernel 5.18 or later)"),
            };
        }
        Ok(())
    }
}

/// The empty programs.
pub(super) struct Limits {
    ebpf: Ebpf,
    attached: Option<(&'static str, XdpLinkId)>,
}

impl Limits {
    pub(super) fn load(object: &[u8]) -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(object).context("cannot load the empty programs")?;
        for name in ["bench_drop", "bench_pass"] {
            load(&mut ebpf, name)?;
        }
        Ok(Self { ebpf, attached: None })
    }

    /// Attaches one of them to the namespace's device, as native XDP.
    pub(super) fn attach(&mut self, namespace: &Namespace, name: &'static str) -> Result<()> {
        let program = program(&mut self.ebpf, name)?;
        let link = namespace.enter(|| program.attach(DEVICE, XdpMode::Driver))?;
        self.attached = Some((name, link.with_context(|| format!("cannot attach {name}"))?));
        Ok(())
    }

    pub(super) fn detach(&mut self) -> Result<()> {
        let Some((name, link)) = self.attached.take() else { return Ok(()) };
        Ok(program(&mut self.ebpf, name)?.detach(link)?)
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no {name}"))?;
    Ok(program.try_into()?)
}

fn load(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    program(ebpf, name)?.load().with_context(|| format!("the kernel refuses {name}"))
}

/// A frame without source address and IP checksum, which are the sender's business.
fn frame([from, to]: [[u8; 6]; 2], target: Ipv4Addr, port: u16) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&from);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    // Version and header length, a total of 46 bytes, time to live 64, UDP.
    let ip = [0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17];
    frame[14..24].copy_from_slice(&ip);
    frame[30..34].copy_from_slice(&target.octets());
    frame[34..36].copy_from_slice(&12_345_u16.to_be_bytes());
    frame[36..38].copy_from_slice(&port.to_be_bytes());
    // 26 bytes of UDP, without checksum.
    frame[39] = 26;
    frame
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::{Ipv4Addr, Traffic, frame};

    #[test]
    fn a_frame_is_a_datagram_as_ordered() {
        let target = Ipv4Addr::new(192, 0, 2, 20);
        let source = Ipv4Addr::new(10, 1, 2, 3);
        let mut bytes = frame([[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]], target, 1000);
        let traffic = Traffic { source, mask: 0, in_order: false, port: 1000 };
        // As the program in the kernel does.
        let (address, checksum) = traffic.sending(&bytes, 1).advance();
        bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
        bytes[26..30].copy_from_slice(&address.to_be_bytes());

        let packet = SlicedPacket::from_ethernet(&bytes).expect("a frame");
        let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4") };
        let header = ip.header();
        assert_eq!((header.source_addr(), header.destination_addr()), (source, target));
        assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
        let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!("no UDP") };
        assert_eq!((udp.source_port(), udp.destination_port(), udp.length()), (12_345, 1000, 26));
    }
}
