//! Which local ports are remembered: those that a connection has had, of its protocol.
//!
//! A packet for any other port is not looked up (`filter-ebpf/src/ports.rs`): a port too few would hide a
//! connection, which every other test would notice; a port too many would cost time, which none would.

use filter_common::Direction::{Egress, Ingress};
use tests::{
    frame::{ack, echo, syn, syn_ack, udp},
    policy::{ANY4, Policy},
    program::effective,
};

use crate::case::{ENI, EVERYWHERE, HOST, HOST_RULE, STRANGER, each};

#[test]
fn only_ports_of_connections_are_remembered() {
    let policy = Policy::new()
        .allow_in("tcp 22", HOST_RULE)
        .allow_in("icmp 8", HOST_RULE)
        .allow_in("udp 63", HOST_RULE)
        .allow_in("tcp 80", ANY4)
        .allow_out("tcp 0-65535", ANY4)
        .allow_out("udp 53", HOST_RULE);
    each(&EVERYWHERE, &effective(&policy), |eni, place| {
        let local = |port: u16| format!("{ENI}:{port}");
        eni.judge(Ingress, &syn(HOST, &local(23)));
        eni.judge(Ingress, &syn(STRANGER, &local(22)));
        eni.judge(Ingress, &udp(HOST, &local(22)));
        eni.judge(Egress, &udp(&local(40_000), STRANGER));
        eni.judge(Ingress, &echo(HOST, ENI, 7));
        // Neither what is untracked nor what may not open a connection has one.
        eni.judge(Ingress, &syn(STRANGER, &local(80)));
        eni.judge(Egress, &ack(&local(22), HOST));
        assert!(eni.ports().iter().all(Vec::is_empty), "{place}: {:?}", eni.ports());

        eni.judge(Ingress, &syn(HOST, &local(22)));
        eni.judge(Egress, &syn_ack(&local(22), HOST));
        assert_eq!(eni.ports(), [vec![22], vec![]], "{place}");

        eni.judge(Ingress, &udp(HOST, &local(63)));
        for port in [0, 64, u16::MAX] {
            eni.judge(Egress, &udp(&local(port), "198.51.100.7:53"));
        }
        assert_eq!(eni.ports(), [vec![22], vec![0, 63, 64, u16::MAX]], "{place}");

        eni.wait(1000);
        assert_eq!(eni.ports(), [vec![22], vec![0, 63, 64, u16::MAX]], "{place}: for good");
    });
}
