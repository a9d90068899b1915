//! Packets in unusual clothes: fragments and VLAN tags.

use std::{net::IpAddr, time::Duration};

use tests::{
    lab::{HOST, Lab, STRANGER, WORKLOAD},
    matrix,
    packet::{hardware_address, send, syn, tagged},
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

/// Every rule holds behind no, one and two VLAN tags, also where the kernel keeps the outer tag
/// beside the packet.
fn rules_hold_behind_vlan_tags(lab: &mut Lab) {
    lab.attach(
        &Policy::new()
            .log("ALL")
            .allow_in("tcp 80", "198.51.100.7/32")
            .allow_in("tcp 80", "2001:db8:100::7/128"),
    );
    let hardware = (hardware_address(&lab.remote, "veth0"), hardware_address(&lab.workload, "eth0"));
    for local in WORKLOAD.both() {
        for (number, tags) in [&[][..], &[5], &[7, 5]].into_iter().enumerate() {
            let source_port = 40_000 + u16::try_from(number).expect("a small number");
            for host in [HOST, STRANGER] {
                let frame = syn(hardware, (host.like(local), local), (source_port, 80));
                send(&lab.remote, "veth0", &tagged(&frame, tags));
            }
        }
    }
    let records = lab.flows();
    for local in WORKLOAD.both() {
        let size = if local.is_ipv4() { 40 } else { 60 };
        for port in 40_000..40_003 {
            let of_port: Vec<_> =
                records.iter().filter(|record| record.source_port == port).cloned().collect();
            let syn = Sum { packets: 1, bytes: size };
            assert_sum(&of_port, (STRANGER.like(local), local), 6, "REJECT", syn);
            if port > 40_000 {
                assert_sum(&of_port, (HOST.like(local), local), 6, "ACCEPT", syn);
            }
        }
    }
}

matrix!(
    every: fragments_follow_their_first_one,
    rules_hold_behind_vlan_tags,
);
