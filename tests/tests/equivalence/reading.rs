//! Random damage to frames: the programs read what is left as the library does, and never read
//! past it.

use filter_common::{
    Direction::Ingress,
    abi::Link,
    packet::Packet,
    verdict::{Category, Reason},
};
use tests::{
    frame::{echo, error, protocol, syn, udp_with},
    policy::Policy,
    program::{Metadata, Receive, Setting, effective, programs},
    random::Random,
};

const ENI: &str = "10.0.1.20:22";
const HOST: &str = "198.51.100.7:40000";
const ENI_V6: &str = "[2001:db8:0:1::20]:22";
const HOST_V6: &str = "[2001:db8:100::7]:40000";

/// Frames of every make, whole.
fn whole() -> Vec<Vec<u8>> {
    let asked = syn(HOST, ENI);
    let v6 = udp_with(HOST_V6, ENI_V6, 64);
    let frames = [
        asked.clone(),
        asked.clone().options(10),
        asked.clone().tags(&[1, 2]),
        udp_with(HOST, ENI, 64),
        udp_with(HOST, ENI, 64).fragments(1, 32).0,
        udp_with(HOST, ENI, 64).later(1, 32),
        echo(HOST, ENI, 7).data(64),
        error(HOST, ENI, (3, 4), &asked),
        protocol(HOST, ENI, 47, &[0; 64]),
        v6.clone(),
        v6.clone().extensions(8).tags(&[1]),
        v6.clone().extension_headers(&[0, 43, 51, 60]),
        v6.fragments(1, 32).0,
        v6.later(1, 32),
        echo(HOST_V6, ENI_V6, 7),
        error(HOST_V6, ENI_V6, (2, 0), &v6),
        syn(HOST_V6, ENI_V6).data(200),
    ];
    frames.iter().map(tests::frame::Frame::bytes).collect()
}

/// Changes some bytes, most often in the headers, and perhaps the length.
fn damage(random: &mut Random, frame: &mut Vec<u8>) {
    const TELLING: [u8; 16] = [0, 1, 4, 6, 7, 8, 16, 17, 20, 43, 44, 58, 60, 0x40, 0x45, 0xff];
    for _ in 0..random.below(4) {
        let reach = if random.below(3) == 0 { frame.len() as u64 } else { 64 };
        let at = random.below(reach) as usize % frame.len();
        frame[at] = match random.below(3) {
            0 => random.below(256) as u8,
            1 => frame[at] ^ 1 << random.below(8),
            _ => TELLING[random.below(16) as usize],
        };
    }
    match random.below(4) {
        0 => frame.truncate(14 + random.below(frame.len() as u64 - 13) as usize),
        1 => frame.extend(vec![0; random.below(40) as usize]),
        _ => {}
    }
}

#[test]
fn damaged_frames_are_read_as_the_library_reads_them_and_counted_once() {
    let mut random = Random::new(crate::seed());
    let frames = whole();
    let policy = effective(&Policy::open().log("ALL"));
    let mut programs = programs();
    let mut unread = 0;
    for receive in [Receive::Xdp, Receive::Tc] {
        let mut eni = programs.eni(Setting::WORKLOAD, receive, &policy);
        for _ in 0..10_000 {
            let mut bytes = frames[random.below(frames.len() as u64) as usize].clone();
            damage(&mut random, &mut bytes);
            if receive == Receive::Tc && bytes.len() < 14 + 40 {
                // The kernel refuses to test a frame at TC that is shorter than its IP header.
                continue;
            }
            let mut packet = Packet::EMPTY;
            let read = packet.read(&bytes.as_slice(), Link::Ethernet);
            // It panics where the frame is not counted exactly once.
            let outcome = eni.judge_bytes(Ingress, &bytes, Metadata { came_by: 1, segments: None });
            let found = outcome.reason;
            if let Err(reason) = read {
                assert_eq!(found, reason, "{receive:?}: {bytes:02x?}");
                unread += 1;
            } else {
                let refused = found.category() == Category::Unparsable && found != Reason::OrphanFragment;
                assert!(!refused && found != Reason::Arp, "{receive:?}: {found:?} {packet:?} {bytes:02x?}");
                assert_eq!(outcome.bytes, u64::from(packet.length), "{receive:?}: {bytes:02x?}");
            }
        }
    }
    println!("{unread} frames could not be read");
    assert!(unread > 2_000, "{unread}");
}
