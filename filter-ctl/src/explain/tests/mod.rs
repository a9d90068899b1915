//! Explanations against the rules, and against what people read.

mod agreement;
mod batch;
mod question;
mod report;

use std::path::Path;

use super::{Asked, Explanation, endpoint::Endpoint, protocol_number};
use crate::{
    document::{Document, Limits, load},
    policy::EffectivePolicy,
};
use filter_common::Direction;

/// The example that the documentation asks about, too.
fn web() -> Document {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/web.yaml");
    load(&path, &Limits::None).expect("the example is correct").document
}

fn web_policy() -> EffectivePolicy {
    let document = web();
    let id = document.select(None, &[]).expect("one interface");
    document.effective(id).expect("the example is complete").0
}

/// A question in the words of the command line: `ingress tcp 192.0.2.1 :443`.
fn asked(words: &str) -> Asked {
    let mut asked = Asked {
        direction: Direction::Ingress,
        protocol: 0,
        source: Endpoint::default(),
        destination: Endpoint::default(),
        icmp: (None, None),
        established: false,
    };
    let end = |word: &str| if word == "-" { Endpoint::default() } else { word.parse().expect("an end") };
    let words: Vec<_> = words.split(' ').collect();
    let [direction, protocol, source, destination, rest @ ..] = &words[..] else { panic!("four words") };
    if *direction == "egress" {
        asked.direction = Direction::Egress;
    }
    asked.protocol = protocol_number(protocol).expect("a protocol");
    (asked.source, asked.destination) = (end(source), end(destination));
    for word in rest {
        match word.split_once('/') {
            Some((icmp_type, code)) => asked.icmp = (icmp_type.parse().ok(), code.parse().ok()),
            None => asked.established = *word == "established",
        }
    }
    asked
}

fn explained(policy: &EffectivePolicy, words: &str) -> Explanation {
    let question = asked(words).complete(&policy.interface).expect("a question");
    Explanation::of_rules(policy, question)
}
