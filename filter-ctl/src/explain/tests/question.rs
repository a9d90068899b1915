//! What may be left out, and what contradicts itself.

use super::{asked, web_policy};
use crate::explain::{AskError, Message, Question};

fn complete(words: &str) -> Result<Question, AskError> {
    asked(words).complete(&web_policy().interface)
}

#[test]
fn the_interfaces_own_end_may_be_left_out() {
    let question = complete("ingress tcp 203.0.113.9 :22").expect("a question");
    assert_eq!(question.destination.to_string(), "10.0.1.20");
    assert_eq!(question.message, Message::Ports(50_000, 22));
    assert!(question.assumed_port);
    let question = complete("egress udp - [2001:db8::53]:53").expect("a question");
    assert_eq!(question.source.to_string(), "2001:db8:0:1::20");
    assert_eq!(complete("egress gre - 192.0.2.1").expect("a question").message, Message::Nothing);
    assert_eq!(complete("egress gre 10.0.1.20:0 192.0.2.1:0").expect("a question").message, Message::Nothing);
}

#[test]
fn what_is_needed_or_contradicts_itself_is_said() {
    let said: Vec<_> = [
        "ingress tcp - :22",
        "egress tcp 10.0.1.20:22 -",
        "ingress tcp 203.0.113.9 -",
        "ingress tcp 203.0.113.9 [2001:db8::1]:22",
        "ingress icmp 2001:db8::1 - 8/0",
        "ingress icmpv6 203.0.113.9 - 128/0",
        "ingress ah 2001:db8::1 -",
        "ingress 44 2001:db8::1 -",
        "ingress icmp 203.0.113.9 -",
        "ingress icmp 203.0.113.9:7 - 8/0",
        "ingress esp 203.0.113.9 :500",
        "ingress tcp 203.0.113.9 :22 8/0",
    ]
    .into_iter()
    .map(|words| complete(words).expect_err("no question").to_string())
    .collect();
    insta::assert_snapshot!(said.join("\n"), @r#"
    the source is the other end and needs an address
    the destination is the other end and needs an address
    tcp needs a destination port (as in 192.0.2.1:443; `destination_port` in a line of packets)
    the source 203.0.113.9 and the destination 2001:db8::1 are of different families: a packet has one
    icmp goes over IPv4: over IPv6 it is icmpv6 (icmp over IPv6 has no types: leave them out)
    icmpv6 goes over IPv6: over IPv4 it is icmp (icmpv6 over IPv4 has no types: leave them out)
    ah over IPv6 is an extension header, which is walked over: name the protocol behind it
    protocol 44 over IPv6 is an extension header, which is walked over: name the protocol behind it
    icmp needs a type, and may have a code (8/0 is an ICMP echo request, 128/0 an ICMPv6 one)
    icmp has no ports: leave the port 7 out
    esp has no ports: leave the port 500 out
    tcp has no ICMP type or code: leave them out
    "#);
    let mut nowhere = web_policy().interface;
    nowhere.primary_v6 = None;
    let error = asked("ingress tcp 2001:db8::1 :22").complete(&nowhere).expect_err("no address");
    assert!(matches!(error, AskError::Local { family: "IPv6", end: "destination", .. }));
}

#[test]
fn icmp_over_the_other_family_is_a_protocol_like_any_other() {
    for words in ["ingress icmpv6 203.0.113.9 -", "ingress icmp 2001:db8::1 -", "ingress ah 203.0.113.9 -"] {
        let question = complete(words).expect("a question");
        assert_eq!((question.message, question.can_belong()), (Message::Nothing, true), "{words}");
    }
}

#[test]
fn an_answer_goes_the_other_way() {
    let reply = complete("ingress tcp 203.0.113.9:4000 :22").expect("a question").reply().expect("a reply");
    assert_eq!((reply.source.to_string(), reply.message), ("10.0.1.20".into(), Message::Ports(22, 4000)));
    for (asked, answered) in [(8, 0), (13, 14), (15, 16), (17, 18)] {
        let reply = complete(&format!("ingress icmp 203.0.113.9 - {asked}/0")).expect("a question").reply();
        assert_eq!(reply.expect("a reply").message, Message::Icmp(answered, 0));
    }
    let reply = complete("ingress icmpv6 2001:db8::1 - 128/0").expect("a question").reply();
    assert_eq!(reply.expect("a reply").message, Message::Icmp(129, 0));
    for words in [
        "ingress icmp 203.0.113.9 - 0/0",
        "ingress icmp 203.0.113.9 - 3/4",
        "ingress icmpv6 2001:db8::1 - 129/0",
    ] {
        assert_eq!(complete(words).expect("a question").reply(), None, "{words}");
    }
}
