//! The whole answer to one question: as an object for programs; `report.rs` tells it to people.

use std::path::PathBuf;

use filter_common::{abi::Side, cell::Cell, verdict::Reason};
use serde_json::{Value, json};

use super::{
    Facts, Matched, Message, Question, is_tracked,
    judgement::{asks_groups, judge, layer, settled, verdict},
    layers::{self, Layer},
};
use crate::{datapath::connections::Tracked, policy::EffectivePolicy};

/// A packet and what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) question: Question,
    pub(super) facts: Facts,
    pub(super) reason: Reason,
    /// The rules; `None`: they are not known.
    pub(super) matched: Option<Matched>,
}

/// Why a packet passes, or does not.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub(super) interface_id: String,
    pub(super) packet: Answer,
    /// The packet's answer; `None`: there is none.
    pub(super) reply: Option<Answer>,
    pub(super) in_force: Option<InForce>,
}

/// What is known of the attached device whose tables were asked.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The device.
    pub device: String,
    /// Generation of the policy in force.
    pub generation: u32,
    /// The connection in the table that the packet belongs to.
    pub connection: Option<Tracked>,
    /// Whether all connections that the interface may track are in use.
    pub full: bool,
    /// The document that it was compared with.
    pub document: Document,
}

/// A document beside the tables in force.
#[derive(Clone, Debug)]
pub enum Document {
    /// It comes to the tables in force.
    Same(PathBuf),
    /// It does not; what would become of the packet under it.
    Differs(PathBuf, Reason),
    /// It cannot be read, and why.
    Unreadable(PathBuf, String),
}

impl Answer {
    fn of_rules(policy: &EffectivePolicy, question: Question, side: Side) -> Self {
        let facts = Facts::of_rules(policy, &question, side);
        let question = settled(question, &facts);
        Self {
            reason: judge(&question, &facts),
            matched: Some(Matched::new(policy, &question)),
            question,
            facts,
        }
    }

    /// The packet's answer, as it would come were the packet accepted: of its connection, if it
    /// makes one.
    fn reply(&self) -> Option<Question> {
        let opens = Facts { forward: Cell(self.facts.forward.0 | PASSES), ..self.facts };
        let reason = judge(&self.question, &opens);
        let established = self.question.established || is_tracked(reason);
        self.question.reply().map(|reply| Question { established, ..reply })
    }

    fn layers(&self) -> Vec<Layer> {
        layers::layers(&self.question, &self.facts, self.reason, self.matched.as_ref())
    }

    /// The rule that decided.
    fn rule(&self) -> Value {
        match (self.reason, &self.matched) {
            (Reason::NetworkAcl, Some(matched)) => json!(matched.acl.number),
            _ => self
                .rules()
                .first()
                .map_or(Value::Null, |rule| json!({ "group_id": rule.group_id, "rule_id": rule.rule_id })),
        }
    }

    /// The groups' rules that match, where they were asked.
    fn rules(&self) -> &[super::NamedRule] {
        match &self.matched {
            Some(matched) if asks_groups(&self.question, self.reason) => &matched.groups,
            _ => &[],
        }
    }

    fn to_json(&self) -> Value {
        let Question { direction, source, destination, protocol, established, .. } = self.question;
        let mut json = json!({
            "direction": direction.name(),
            "protocol": protocol,
            "source": source,
            "destination": destination,
        });
        match self.question.message {
            Message::Ports(from, to) => {
                json["source_port"] = from.into();
                json["destination_port"] = to.into();
            }
            Message::Icmp(icmp_type, code) => {
                json["icmp_type"] = icmp_type.into();
                json["icmp_code"] = code.into();
            }
            Message::Nothing => {}
        }
        let matched = self.matched.as_ref();
        let misses =
            matched.filter(|_| self.reason == Reason::SecurityGroup).map(|matched| &matched.group_misses);
        let acl_misses =
            matched.filter(|_| self.reason == Reason::NetworkAcl).map(|matched| &matched.acl_misses);
        json["established"] = established.into();
        json["verdict"] = verdict(self.reason).into();
        json["layer"] = layer(self.reason).into();
        json["reason"] = self.reason.name().into();
        json["rule"] = self.rule();
        json["rules"] = json!(self.rules());
        json["network_acl"] =
            json!(matched.map(|matched| json!({ "network_acl_id": matched.acl_id, "rule": matched.acl })));
        json["nearest_misses"] = match (misses, acl_misses) {
            (Some(misses), _) => json!(misses),
            (None, Some(misses)) => json!(misses),
            (None, None) => json!([]),
        };
        json["tracked"] = is_tracked(self.reason).into();
        json["tracking"] = layers::tracking(&self.question, &self.facts, self.reason).into();
        json["layers"] = json!(self.layers());
        json
    }
}

impl Explanation {
    /// What a document's rules say.
    #[must_use]
    pub fn of_rules(policy: &EffectivePolicy, question: Question) -> Self {
        Self::on_side(policy, question, Side::Workload)
    }

    /// [`Explanation::of_rules`] for a device on a side.
    #[must_use]
    pub fn on_side(policy: &EffectivePolicy, question: Question, side: Side) -> Self {
        let packet = Answer::of_rules(policy, question, side);
        let reply = packet.reply().map(|question| Answer::of_rules(policy, question, side));
        Self { interface_id: policy.interface.id.clone(), packet, reply, in_force: None }
    }

    /// What the tables in force say. The document's rules are named if it says the same of the packet.
    #[must_use]
    pub fn of_tables(
        interface_id: &str,
        question: Question,
        facts: Facts,
        document: Option<&EffectivePolicy>,
        in_force: InForce,
    ) -> Self {
        // Facts are of both directions: who says the same of the packet does of its answer.
        let document = document.filter(|policy| Facts::of_rules(policy, &question, facts.side) == facts);
        let answer = |question: Question, facts: Facts| {
            let matched = document.map(|policy| Matched::new(policy, &question));
            Answer { reason: judge(&question, &facts), matched, question, facts }
        };
        let packet = answer(question, facts);
        let reply = packet.reply().map(|question| answer(question, facts.of_reply()));
        Self { interface_id: interface_id.to_owned(), packet, reply, in_force: Some(in_force) }
    }

    /// What becomes of the packet.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.packet.reason
    }

    /// The packet's answer and what becomes of it, were the packet accepted; `None`: there is none.
    #[must_use]
    pub fn reply(&self) -> Option<(Question, Reason)> {
        self.reply.as_ref().map(|reply| (reply.question, reply.reason))
    }

    /// The object for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut json = json!({ "interface_id": self.interface_id });
        if let (Value::Object(all), Value::Object(packet)) = (&mut json, self.packet.to_json()) {
            all.extend(packet);
        }
        json["reply"] = self.reply.as_ref().map_or(Value::Null, Answer::to_json);
        if let Some(in_force) = &self.in_force {
            let differs = in_force.document.differs();
            json["differs"] = json!(differs);
            json["in_force"] = in_force.to_json();
        }
        json
    }
}

/// What both layers say of a packet that they let pass.
const PASSES: u8 = Cell::NACL_ALLOW | Cell::GROUP_ALLOW;

impl Document {
    /// Whether it comes to other tables; `None`: it cannot be read.
    #[must_use]
    pub const fn differs(&self) -> Option<bool> {
        match self {
            Self::Same(_) => Some(false),
            Self::Differs(..) => Some(true),
            Self::Unreadable(..) => None,
        }
    }
}

impl InForce {
    fn to_json(&self) -> Value {
        let connection = self.connection.map(|one| {
            let mut json = json!({ "state": one.phase.name(), "origin": one.origin.name() });
            if let Value::Object(all) = &mut json {
                all.extend(one.times_json());
            }
            json
        });
        let document = match &self.document {
            Document::Same(path) => json!({ "path": path }),
            Document::Differs(path, reason) => json!({
                "path": path,
                "verdict": verdict(*reason),
                "layer": layer(*reason),
                "reason": reason.name(),
            }),
            Document::Unreadable(path, error) => json!({ "path": path, "error": error }),
        };
        json!({
            "device": self.device,
            "generation": self.generation,
            "connection": connection,
            "connections_full": self.full,
            "document": document,
        })
    }
}
