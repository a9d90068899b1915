//! The whole answer to one question, for people.

use std::net::{IpAddr, SocketAddr};

use filter_common::{
    abi::Side,
    cell::Cell,
    service::{ICMP, ICMPV6},
    verdict::{Category, Reason},
};

use super::{
    Explanation, Message, Question,
    explanation::{Answer, Document, InForce},
    is_tracked,
    judgement::{is_untracked, judge, opens, verdict},
    layers, protocol_name,
    question::EPHEMERAL,
};
use crate::text::shown;

/// Width of the names of lines.
const NAMES: usize = 18;

impl Explanation {
    /// The report: the verdict in one line, then what led to it.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = Report::default();
        let answer = &self.packet;
        report.text +=
            &format!("{}: {}\n\n", verdict(answer.reason).to_uppercase(), shown(&headline(answer)));
        let kind = match (answer.question.established, is_untracked(&answer.question, &answer.facts)) {
            (true, _) => "of a tracked connection",
            (false, true) => "of an untracked flow",
            (false, false) if !opens(&answer.question) => "of no connection",
            (false, false) => "the first of a connection",
        };
        let packet = packet(&answer.question);
        report.line(
            "packet",
            &format!("{} of {}: {packet}, {kind}", answer.question.direction.name(), self.interface_id),
        );
        if let Some(in_force) = &self.in_force {
            in_force.tell(&mut report, answer);
        }
        for layer in layers::layers(&answer.question, &answer.facts, answer.reason, answer.matched.as_ref()) {
            let name = layer.layer.replace("acl", "ACL").replace("group", "groups").replace('-', " ");
            report.line(&name, &format!("{}: {}", layer.says.replace('-', " "), layer.why));
            for detail in &layer.details {
                report.line("", &format!("  {detail}"));
            }
        }
        let tracked = if is_tracked(answer.reason) { "yes" } else { "no" };
        report.line(
            "tracked",
            &format!("{tracked}: {}", layers::tracking(&answer.question, &answer.facts, answer.reason)),
        );
        report.line(
            "reply",
            &match &self.reply {
                None => "none: it is not one that is answered".to_owned(),
                Some(answered) if answer.reason.passes() => reply(answered),
                Some(answered) => format!("none; were the packet accepted, {}", reply(answered)),
            },
        );
        for note in notes(answer, self.in_force.as_ref()) {
            report.line("note", &note);
        }
        report.text
    }
}

#[derive(Default)]
pub(super) struct Report {
    text: String,
}

impl Report {
    fn line(&mut self, name: &str, value: &str) {
        debug_assert!(name.len() < NAMES, "{name}");
        self.text += format!("  {name:NAMES$}{}", shown(value)).trim_end();
        self.text.push('\n');
    }
}

/// Who decided, in words.
fn headline(answer: &Answer) -> String {
    let matched = answer.matched.as_ref();
    match answer.reason {
        Reason::NetworkAcl => match matched {
            Some(matched) if !matched.acl_misses.is_empty() || matched.acl.is_star() => {
                format!("no numbered rule of the network ACL {} matches, so its * denies", matched.acl_id)
            }
            Some(matched) => {
                format!("rule {} of the network ACL {} denies it", matched.acl.number, matched.acl_id)
            }
            None => "the network ACL denies it".to_owned(),
        },
        Reason::SecurityGroup if matched.is_some_and(|matched| matched.group_ids.is_empty()) => {
            "the interface is in no security group".to_owned()
        }
        Reason::SecurityGroup => "no rule of the security groups allows it".to_owned(),
        Reason::SourceDestCheck => {
            format!("{} is not the interface's address, and SourceDestCheck is on", answer.question.local())
        }
        Reason::Connection => "it belongs to a tracked connection".to_owned(),
        Reason::Related => "it is an ICMP error about a tracked connection".to_owned(),
        Reason::Exempt => format!("{} is exempt: neither filtered nor logged", answer.question.remote()),
        reason if reason.category() == Category::NeverFiltered => {
            format!("never filtered ({})", reason.name())
        }
        _ => match matched.and_then(|matched| matched.groups.first()) {
            Some(rule) => format!("{} allows it by {} ({})", rule.group_id, rule.rule_id, rule.rule),
            None => "the security groups allow it".to_owned(),
        },
    }
}

/// A packet in words: `tcp 192.0.2.1:50000 → 10.0.1.20:22`.
fn packet(question: &Question) -> String {
    let protocol = protocol_name(question.protocol);
    let Question { source, destination, .. } = question;
    match question.message {
        Message::Ports(from, to) => {
            let end = |address: IpAddr, port| SocketAddr::new(address, port);
            format!("{protocol} {} → {}", end(*source, from), end(*destination, to))
        }
        Message::Icmp(icmp_type, code) => {
            format!("{protocol} type {icmp_type} code {code} {source} → {destination}")
        }
        Message::Nothing => format!("{protocol} {source} → {destination}"),
    }
}

/// The packet's answer in one line.
fn reply(answer: &Answer) -> String {
    let packet = packet(&answer.question);
    let how = match answer.reason {
        Reason::Connection => "by state; ",
        Reason::Untracked | Reason::NewConnection | Reason::Stray => "by rules; ",
        _ => "",
    };
    let acl = match &answer.matched {
        _ if !matches!(answer.reason.category(), Category::Accepted) => headline(answer),
        _ if answer.facts.forward.has(Cell::SAME_SUBNET) => "the network ACL is not asked".to_owned(),
        Some(matched) => format!("network ACL rule {} allows it ({})", matched.acl.number, matched.acl.rule),
        None => "the network ACL allows it".to_owned(),
    };
    format!("{}: {packet}, {how}{acl}", verdict(answer.reason))
}

/// Whether neither rules nor connections have a say.
const fn passes_unasked(reason: Reason) -> bool {
    matches!(reason.category(), Category::NeverFiltered | Category::Exempt)
}

/// What was supposed, and what else it depends on.
fn notes(answer: &Answer, in_force: Option<&InForce>) -> Vec<String> {
    let mut notes = Vec::new();
    let question = &answer.question;
    if !question.established && question.is_error() && !passes_unasked(answer.reason) {
        notes.push(
            "were it about a packet of a tracked connection, the security groups would not be asked"
                .to_owned(),
        );
    }
    if question.established && in_force.is_some() && question.query().is_some() {
        let other = Question { established: false, ..*question };
        notes.push(format!(
            "identifiers are not compared: a message with another one than the connection's is its own matter, and the rules {} it",
            verdict(judge(&other, &answer.facts))
        ));
    }
    let family = if question.source.is_ipv4() { "IPv4" } else { "IPv6" };
    if matches!((question.protocol, question.message), (ICMP | ICMPV6, Message::Nothing)) {
        let name = protocol_name(question.protocol);
        notes.push(format!("{name} over {family} is a protocol like any other: its type is not looked at"));
    }
    if answer.question.assumed_port {
        notes.push(format!(
            "the source port {EPHEMERAL} is supposed; it matters for tracking and for the reply alone"
        ));
    }
    if answer.reason == Reason::Exempt
        && answer.facts.side == Side::Host
        && answer.question.direction == filter_common::Direction::Ingress
    {
        notes.push(
            "on side host that holds for packets that this host made; forwarded ones meet the rules"
                .to_owned(),
        );
    }
    notes
}

impl InForce {
    fn tell(&self, report: &mut Report, answer: &Answer) {
        let force = format!("generation {} on {}", self.generation, self.device);
        match &self.document {
            Document::Same(path) => report.line("in force", &format!("{force}, as {} says", path.display())),
            Document::Differs(path, reason) => {
                let (path, verdict) = (path.display(), verdict(*reason));
                let says = if answer.matched.is_some() {
                    "but says the same of this packet".to_owned()
                } else {
                    format!("and says {verdict} ({}) of this packet", reason.name())
                };
                report.line("in force", &force);
                report.line("DIFFERS", &format!("the document {path} is not what is in force, {says}"));
                report.line("", &format!("`filter-ctl apply {path}` puts it into force"));
            }
            Document::Unreadable(path, error) => {
                report.line("in force", &force);
                report.line("document", &format!("{}: {error}; rules have no names here", path.display()));
            }
        }
        match &self.connection {
            Some(one) => {
                let seconds = |time: std::time::Duration| format!("{} s", time.as_secs());
                let (age, idle) = (seconds(one.age), seconds(one.idle));
                let (state, origin) = (one.phase.name(), one.origin.name());
                report.line(
                    "table",
                    &format!("its connection is {state}, begun by {origin} {age} ago, idle for {idle}"),
                );
            }
            None => report.line("table", "no connection between these ends is tracked"),
        }
        if self.full {
            report.line("FULL", "the interface tracks as many connections as it may: new ones are dropped");
        }
    }
}
