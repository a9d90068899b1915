//! The tables and the index against the rules, walked one by one.

use std::net::IpAddr;

use filter_common::{
    Direction,
    abi::Side,
    packet::is_extension_header,
    service::{ICMP, ICMPV6, Service, ServiceKind, TCP, UDP},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    clock::Clock,
    compile::{
        compile,
        tests::agreement::{addresses_to_ask, services_to_ask, some_policy},
    },
    explain::{Explanation, Facts, Message, Question, batch::Batch},
};

const CLOCK: Clock = Clock { hz: 250, ticks: 0, unix_nanos: 0 };

/// A packet that asks for a service of or by an address; `None`: there is none.
fn question(
    direction: Direction,
    remote: IpAddr,
    local: IpAddr,
    service: Service,
    from: u16,
) -> Option<Question> {
    let (icmp_type, code) = ((service.value >> 8) as u8, service.value as u8);
    let (protocol, message) = match (service.kind, remote) {
        (ServiceKind::Tcp, _) => (TCP, Message::Ports(from, service.value)),
        (ServiceKind::Udp, _) => (UDP, Message::Ports(from, service.value)),
        (ServiceKind::Icmp, IpAddr::V4(_)) => (ICMP, Message::Icmp(icmp_type, code)),
        (ServiceKind::Icmpv6, IpAddr::V6(_)) => (ICMPV6, Message::Icmp(icmp_type, code)),
        (ServiceKind::Other, _) => (u8::try_from(service.value).ok()?, Message::Nothing),
        // Over the other family: protocols like any other, whose types nobody looks at.
        (ServiceKind::Icmp, IpAddr::V6(_)) => (ICMP, Message::Nothing),
        (ServiceKind::Icmpv6, IpAddr::V4(_)) => (ICMPV6, Message::Nothing),
    };
    if message == Message::Nothing {
        let has_values = match remote {
            IpAddr::V4(_) => protocol == ICMP,
            IpAddr::V6(_) => protocol == ICMPV6 || is_extension_header(protocol),
        };
        if has_values || [TCP, UDP].contains(&protocol) {
            return None;
        }
    }
    let (source, destination) = match direction {
        Direction::Ingress => (remote, local),
        Direction::Egress => (local, remote),
    };
    let (established, assumed_port) = (from.is_multiple_of(7), false);
    Some(Question { direction, source, destination, protocol, message, established, assumed_port })
}

/// The question as a line of packets.
fn line(question: &Question) -> String {
    let mut line = json!({
        "direction": question.direction.name(),
        "protocol": question.protocol,
        "source": question.source,
        "destination": question.destination,
        "established": question.established,
    });
    match question.message {
        Message::Ports(from, to) => {
            line["source_port"] = from.into();
            line["destination_port"] = to.into();
        }
        Message::Icmp(icmp_type, code) => {
            line["icmp_type"] = icmp_type.into();
            line["icmp_code"] = code.into();
        }
        Message::Nothing => {}
    }
    line.to_string()
}

/// What a batch must answer, from the explanation that walks the rules.
fn expected(explanation: &Explanation) -> Value {
    let whole = explanation.to_json();
    let name = |rule: &Value| json!({ "group_id": rule["group_id"], "rule_id": rule["rule_id"] });
    let rules: Vec<_> = whole["rules"].as_array().expect("a list").iter().map(name).collect();
    json!({
        "verdict": whole["verdict"],
        "layer": whole["layer"],
        "rule": whole["rule"],
        "rules": rules,
        "tracked": whole["tracked"],
        "reason": whole["reason"],
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_says_what_the_rules_say(
        mut policy in some_policy(),
        source_dest_check in any::<bool>(),
        picks in prop::collection::vec(any::<(bool, usize, usize, usize, u16)>(), 200),
    ) {
        policy.source_dest_check = source_dest_check;
        // Groups that differ, so that their rules' names do.
        for (number, group) in policy.groups.iter_mut().enumerate() {
            group.id = format!("sg-{number}");
        }
        let compiled = compile(&policy).expect("a small policy compiles");
        let block = compiled.block(&CLOCK, 1);
        let (addresses, services) = (addresses_to_ask(&policy), services_to_ask(&policy));
        let of = |family: bool| addresses.iter().copied().filter(move |address| address.is_ipv4() == family).collect::<Vec<_>>();
        let families = [of(false), of(true)];
        let questions: Vec<_> = picks.into_iter().filter_map(|(egress, remote, local, service, from)| {
            let remote = addresses[remote % addresses.len()];
            let locals = &families[usize::from(remote.is_ipv4())];
            let direction = if egress { Direction::Egress } else { Direction::Ingress };
            let service = services[service % services.len()];
            // The answer's service at the edges, too.
            let from = services[usize::from(from) % services.len()].value;
            question(direction, remote, locals[local % locals.len()], service, from)
        }).collect();

        let input: String = questions.iter().map(|question| line(question) + "\n").collect();
        let mut output = Vec::new();
        let mut find = |_: &str| Ok(policy.clone());
        Batch::new(&mut find, Some("eni-1".to_owned())).run(input.as_bytes(), &mut output).expect("written");
        let answers = String::from_utf8(output).expect("UTF-8");
        prop_assert_eq!(answers.lines().count(), questions.len());
        for (question, answer) in questions.iter().zip(answers.lines()) {
            for side in [Side::Workload, Side::Host] {
                let facts = Facts::of_rules(&policy, question, side);
                prop_assert_eq!(Facts::of_tables(&block, question, side), facts, "{:?}", question);
            }
            let explanation = Explanation::of_rules(&policy, *question);
            // It is told to people, whatever it is.
            prop_assert!(explanation.report().contains("reply"));
            let answer: Value = serde_json::from_str(answer).expect("JSON");
            prop_assert_eq!(answer, expected(&explanation), "{:?}", question);
        }
    }
}
