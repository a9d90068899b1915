//! Packets in unusual clothes, through every hook: real fragments, and frames that no socket sends.

#[path = "frames/hard.rs"]
mod hard;

use std::{net::IpAddr, time::Duration};

use hard::{jumbo_frames, the_layers_above, the_link_layer};
use tests::{
    lab::{HOST, Lab, STRANGER, WORKLOAD},
    matrix,
    policy::Policy,
    process::finish,
    records::{Sum, assert_sum},
};

/// One echo with 3000 bytes of payload: three fragments each way. Whether it was answered.
fn large_ping(lab: &Lab, source: IpAddr, to: IpAddr) -> bool {
    let mut ping = lab.remote.command("ping");
    ping.args(["-n", "-c", "1", "-W", "0.4", "-s", "3000", "-I", &source.to_string(), &to.to_string()]);
    finish(&mut ping, Duration::from_secs(10)).code == 0
}

/// Later fragments follow the first one, in and out, and count with its flow.
fn fragments_follow_their_first_one(lab: &mut Lab) {
    let mut policy = Policy::new().log("ALL");
    for (service, host) in [("icmp 8", "198.51.100.7/32"), ("icmpv6 128", "2001:db8:100::7/128")] {
        policy = policy.allow_in(service, host);
    }
    lab.attach(&policy);
    for local in WORKLOAD.both() {
        assert!(large_ping(lab, HOST.like(local), local), "{local}");
        assert!(!large_ping(lab, STRANGER.like(local), local), "{local}");
    }
    let records = lab.flows();
    // Three headers of 20 bytes; with IPv6 three of 40 and three fragment headers of 8.
    for (local, protocol, bytes) in [(WORKLOAD.v4, 1, 3008 + 60), (WORKLOAD.v6, 58, 3008 + 144)] {
        let echo = Sum { packets: 3, bytes };
        assert_sum(&records, (HOST.like(local), local), protocol, "ACCEPT", echo);
        assert_sum(&records, (local, HOST.like(local)), protocol, "ACCEPT", echo);
        let accepted = tests::records::sum(&records, STRANGER.like(local), local, protocol, "ACCEPT");
        assert_eq!(accepted, Sum::default());
        // Only first fragments can be judged, the others have none to follow; `ping` tries more than
        // once when its own host's filter drops them.
        let first = tests::records::sum(&records, STRANGER.like(local), local, protocol, "REJECT");
        assert!(first.packets >= 1, "{first:?}");
    }
}

matrix!(
    every: fragments_follow_their_first_one,
    the_link_layer,
    the_layers_above,
    jumbo_frames,
);
