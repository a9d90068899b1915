use super::*;

fn run(phase: Phase, steps: &[(Direction, u8)]) -> Option<Phase> {
    let mut state = State::new(phase, Direction::Ingress, 7);
    for (direction, flags) in steps {
        state = advance(state, *direction, *flags);
        assert_eq!(state.incarnation(), 7, "a transition keeps the incarnation");
    }
    Phase::from_number(state.phase_number())
}

use Direction::{Egress, Ingress};
use tcp_flags::{ACK, FIN, RST, SYN};

#[test]
fn a_handshake_establishes() {
    assert_eq!(run(Phase::TcpSynSent, &[(Egress, SYN | ACK)]), Some(Phase::TcpSynReceived));
    let steps = [(Egress, SYN | ACK), (Ingress, ACK)];
    assert_eq!(run(Phase::TcpSynSent, &steps), Some(Phase::TcpEstablished));
}

#[test]
fn a_segment_of_the_initiator_alone_establishes_nothing() {
    assert_eq!(run(Phase::TcpSynSent, &[(Ingress, ACK), (Ingress, ACK)]), Some(Phase::TcpSynSent));
}

#[test]
fn fin_from_both_sides_is_time_wait() {
    let half = [(Ingress, FIN | ACK)];
    assert_eq!(run(Phase::TcpEstablished, &half), Some(Phase::TcpFinWait));
    let answered = [(Ingress, FIN | ACK), (Egress, ACK)];
    assert_eq!(run(Phase::TcpEstablished, &answered), Some(Phase::TcpCloseWait));
    let both = [(Ingress, FIN | ACK), (Egress, ACK), (Egress, FIN | ACK), (Ingress, ACK)];
    assert_eq!(run(Phase::TcpEstablished, &both), Some(Phase::TcpTimeWait));
}

#[test]
fn a_fin_sent_again_is_not_the_other_sides() {
    let twice = [(Ingress, FIN | ACK), (Ingress, FIN | ACK)];
    assert_eq!(run(Phase::TcpEstablished, &twice), Some(Phase::TcpFinWait));
}

#[test]
fn rst_closes_from_either_side() {
    assert_eq!(run(Phase::TcpEstablished, &[(Ingress, RST)]), Some(Phase::TcpClosed));
    assert_eq!(run(Phase::TcpSynSent, &[(Egress, RST | ACK)]), Some(Phase::TcpClosed));
}

#[test]
fn nothing_reopens_what_was_reset() {
    for flags in [ACK, FIN | ACK, SYN | ACK, RST] {
        for direction in [Ingress, Egress] {
            let steps = [(Egress, RST), (direction, flags), (direction, flags)];
            assert_eq!(run(Phase::TcpEstablished, &steps), Some(Phase::TcpClosed), "{flags:#x}");
        }
    }
}

#[test]
fn a_disguised_syn_asks_the_rules_too() {
    for phase in [Phase::TcpSynSent, Phase::TcpEstablished, Phase::TcpTimeWait, Phase::TcpClosed] {
        let state = State::new(phase, Direction::Ingress, 0);
        for disguise in [FIN, RST, FIN | RST] {
            assert!(begins_anew(state, service::TCP, SYN | disguise), "{phase:?} {disguise}");
        }
        assert!(!begins_anew(state, service::TCP, SYN | ACK), "{phase:?}");
    }
}

#[test]
fn what_is_over_lingers_and_nothing_else() {
    for phase in Phase::ALL {
        let over = matches!(phase, Phase::TcpClosed | Phase::TcpTimeWait);
        assert_eq!(lingers(State::new(phase, Direction::Ingress, 0)), over, "{phase:?}");
    }
}

#[test]
fn a_udp_stream_needs_more_than_one_exchange() {
    assert_eq!(run(Phase::UdpOneWay, &[(Ingress, 0)]), Some(Phase::UdpOneWay));
    assert_eq!(run(Phase::UdpOneWay, &[(Egress, 0), (Egress, 0)]), Some(Phase::UdpAnswered));
    let two = [(Egress, 0), (Ingress, 0), (Egress, 0)];
    assert_eq!(run(Phase::UdpOneWay, &two), Some(Phase::UdpStream));
}

#[test]
fn who_asks_again_without_an_answer_is_still_unanswered() {
    assert_eq!(run(Phase::UdpAskedAgain, &[(Ingress, 0), (Ingress, 0)]), Some(Phase::UdpAskedAgain));
    assert_eq!(run(Phase::IcmpAsked, &[(Ingress, 0)]), Some(Phase::IcmpAsked));
    assert_eq!(run(Phase::OtherOneWay, &[(Ingress, 0)]), Some(Phase::OtherOneWay));
    assert_eq!(run(Phase::IcmpAsked, &[(Egress, 0)]), Some(Phase::IcmpAnswered));
    assert_eq!(run(Phase::OtherOneWay, &[(Egress, 0)]), Some(Phase::OtherBothWays));
}

#[test]
fn flags_concern_tcp_only() {
    for phase in [Phase::UdpStream, Phase::IcmpAnswered, Phase::OtherBothWays] {
        for flags in [SYN, FIN, RST, ACK] {
            assert_eq!(run(phase, &[(Ingress, flags), (Egress, flags)]), Some(phase), "{flags:#x}");
        }
    }
}

#[test]
fn what_follows_a_fin_of_the_same_side_is_no_answer_to_it() {
    let steps = [(Ingress, FIN | ACK), (Ingress, ACK), (Ingress, ACK)];
    assert_eq!(run(Phase::TcpEstablished, &steps), Some(Phase::TcpFinWait));
}

#[test]
fn every_phase_has_a_word_for_it() {
    assert_eq!(
        Phase::ALL.map(Phase::name),
        [
            "one-way",
            "answered",
            "answered",
            "stream",
            "syn-sent",
            "syn-received",
            "established",
            "fin-wait",
            "close-wait",
            "time-wait",
            "closed",
            "picked-up",
            "asked",
            "answered",
            "one-way",
            "both-ways",
        ]
    );
}

#[test]
fn a_syn_in_the_handshake_is_the_connections_own() {
    for (phase, anew) in [
        (Phase::TcpSynSent, false),
        (Phase::TcpSynReceived, false),
        (Phase::TcpEstablished, true),
        (Phase::TcpTimeWait, true),
        (Phase::TcpClosed, true),
    ] {
        let state = State::new(phase, Direction::Ingress, 0);
        assert_eq!(begins_anew(state, service::TCP, SYN), anew, "{phase:?}");
        assert!(!begins_anew(state, service::TCP, SYN | ACK), "{phase:?}");
    }
}

#[test]
fn flags_are_logged_as_aws_counts_them() {
    for (flags, logged) in
        [(SYN, 2), (SYN | ACK, 18), (ACK, 0), (FIN | ACK, 1), (RST | ACK, 4), (SYN | 0x40, 2), (0x18, 0)]
    {
        assert_eq!(logged_flags(flags), logged);
    }
}

#[test]
fn half_open_is_what_has_not_been_answered() {
    for phase in Phase::ALL {
        let unanswered = matches!(
            phase,
            Phase::UdpOneWay | Phase::TcpSynSent | Phase::TcpPickedUp | Phase::IcmpAsked | Phase::OtherOneWay
        );
        assert_eq!(Phase::is_half_open(phase as u8), unanswered, "{phase:?}");
    }
    assert!(!Phase::is_half_open(Phase::COUNT as u8));
}

#[test]
fn phases_are_numbered_in_order() {
    for (number, phase) in Phase::ALL.iter().enumerate() {
        assert_eq!(*phase as usize, number);
        assert_eq!(Phase::from_number(number as u8), Some(*phase));
    }
    assert_eq!(Phase::from_number(Phase::COUNT as u8), None);
}
