//! Many packets: one JSON object a line in, one a line out.
//!
//! For tools that test a policy with millions of packets. A policy is compiled once for all
//! interfaces that are alike; then a packet costs the reading of its line, two look-ups in the
//! tables, one in the [`super::index`], and the writing of names that were put into JSON before. Memory
//! does not grow with the packets: a line has an end, and no answer is remembered.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    net::IpAddr,
    rc::Rc,
};

use filter_common::{Direction, abi::Side, policy::Words, verdict::Reason};
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

use super::{
    Asked, Facts, Question,
    endpoint::Endpoint,
    index::Index,
    is_tracked,
    judgement::{asks_groups, is_own, judge, layer, settled, verdict},
    protocol_number,
};
use crate::{
    clock::Clock,
    compile::{CompileError, Likeness, compile},
    policy::{EffectivePolicy, Interface, NetworkAcl, NetworkAclRule},
};

/// Longest line that is read, in bytes; a packet takes a few hundred.
const LONGEST: usize = 64 << 10;

/// A packet's line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    interface_id: Option<Text<'a>>,
    #[serde(borrow)]
    direction: Text<'a>,
    protocol: Protocol,
    #[serde(borrow)]
    source: Option<Text<'a>>,
    #[serde(borrow)]
    destination: Option<Text<'a>>,
    source_port: Option<i64>,
    destination_port: Option<i64>,
    icmp_type: Option<i64>,
    icmp_code: Option<i64>,
    established: Option<bool>,
}

/// A string that is copied only if it has escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A protocol by number, name or number in a string.
struct Protocol(u8);

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Protocol;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a protocol: tcp, udp, icmp, icmpv6 or a number from 0 to 255")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Protocol, E> {
                let wrong = |_| E::custom(format!("protocol: {number} is none: expected 0 to 255"));
                u8::try_from(number).map(Protocol).map_err(wrong)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Protocol, E> {
                protocol_number(text).map(Protocol).map_err(|error| E::custom(format!("protocol: {error}")))
            }
        }
        from.deserialize_any(Reader)
    }
}

/// A number of a field, in its type's range; -1 stands for none, as where tables have a column for it.
fn ranged<T: TryFrom<i64>>(field: &str, number: Option<i64>, last: u32) -> Result<Option<T>, String> {
    let wrong = |number| format!("{field}: {number} is not from 0 to {last}, or -1 for none");
    number
        .filter(|number| *number != -1)
        .map(|number| T::try_from(number).map_err(|_| wrong(number)))
        .transpose()
}

/// An end of the packet; its port may stand in a field of its own, or with the address.
fn end(field: &str, text: Option<&Text<'_>>, port: Option<i64>) -> Result<Endpoint, String> {
    let mut end: Endpoint = match text {
        Some(Text(text)) => text.parse().map_err(|error| format!("{field}: {error}"))?,
        None => Endpoint::default(),
    };
    let field = if field == "source" { "source_port" } else { "destination_port" };
    match (end.port, ranged(field, port, u16::MAX.into())?) {
        (Some(first), Some(second)) if first != second => {
            return Err(format!("{field}: {second}, but the address comes with {first}"));
        }
        (_, Some(port)) => end.port = Some(port),
        (_, None) => {}
    }
    Ok(end)
}

impl Line<'_> {
    fn asked(&self) -> Result<Asked, String> {
        Ok(Asked {
            direction: match &*self.direction.0 {
                "ingress" => Direction::Ingress,
                "egress" => Direction::Egress,
                other => return Err(format!("direction: `{other}` is neither ingress nor egress")),
            },
            protocol: self.protocol.0,
            source: end("source", self.source.as_ref(), self.source_port)?,
            destination: end("destination", self.destination.as_ref(), self.destination_port)?,
            icmp: (
                ranged("icmp_type", self.icmp_type, u8::MAX.into())?,
                ranged("icmp_code", self.icmp_code, u8::MAX.into())?,
            ),
            established: self.established.unwrap_or(false),
        })
    }
}

/// One layer's rules in one direction: an index, and the name of each rule.
struct Named<N> {
    index: Index,
    names: Vec<N>,
}

/// An interface that packets are asked about.
struct Target {
    interface: Interface,
    source_dest_check: bool,
    rules: Rc<Rules>,
}

/// The rules of interfaces that are alike.
struct Rules {
    block: Words,
    /// By direction; names are JSON.
    groups: [Named<String>; 2],
    /// By direction; names are numbers, ascending.
    acl: [Named<u16>; 2],
}

impl Rules {
    fn new(policy: &EffectivePolicy) -> Result<Self, CompileError> {
        // Neither is asked for: a verdict depends on no time.
        let clock = Clock { hz: 1, ticks: 0, unix_nanos: 0 };
        Ok(Self {
            block: compile(policy)?.block(&clock, 1),
            groups: Direction::BOTH.map(|direction| groups(policy, direction)),
            acl: Direction::BOTH.map(|direction| acl(policy.nacl.rules(direction))),
        })
    }
}

impl Target {
    /// Writes the answer about a packet.
    fn answer(&self, question: &Question, found: &mut Vec<u32>, out: &mut impl Write) -> io::Result<()> {
        let rules = &self.rules;
        // The tables may be those of another interface that is alike: these two are this one's own.
        let facts = Facts {
            own: is_own(&self.interface, question.local()),
            source_dest_check: self.source_dest_check,
            ..Facts::of_tables(&rules.block, question, Side::Workload)
        };
        let question = &settled(*question, &facts);
        let reason = judge(question, &facts);
        let (direction, remote, service) =
            (question.direction.index(), question.remote(), question.service());
        write!(out, r#"{{"verdict":"{}","layer":"{}","rule":"#, verdict(reason), layer(reason))?;
        let groups = &rules.groups[direction];
        if reason == Reason::NetworkAcl {
            let acl = &rules.acl[direction];
            acl.index.matches(remote, service, found);
            let star = NetworkAcl::star(remote.is_ipv4());
            let number = found.first().map_or(star, |rule| acl.names[*rule as usize]);
            write!(out, "{number}")?;
        }
        found.clear();
        if asks_groups(question, reason) {
            groups.index.matches(remote, service, found);
        }
        let names = || found.iter().map(|rule| groups.names[*rule as usize].as_str());
        if reason != Reason::NetworkAcl {
            out.write_all(names().next().unwrap_or("null").as_bytes())?;
        }
        out.write_all(br#","rules":["#)?;
        for (place, name) in names().enumerate() {
            if place > 0 {
                out.write_all(b",")?;
            }
            out.write_all(name.as_bytes())?;
        }
        writeln!(out, r#"],"tracked":{},"reason":"{}"}}"#, is_tracked(reason), reason.name())
    }
}

/// The groups' rules of a direction, in the document's order.
fn groups(policy: &EffectivePolicy, direction: Direction) -> Named<String> {
    let all = policy.groups.iter();
    let rules =
        || all.clone().flat_map(move |group| group.rules(direction).iter().map(move |rule| (group, rule)));
    let names = rules()
        .map(|(group, rule)| {
            serde_json::json!({ "group_id": group.id, "rule_id": group.rule_id(direction, rule) }).to_string()
        })
        .collect();
    let prefixes = (0..).zip(rules()).flat_map(|(number, (_, rule))| {
        let prefixes = rule.peer.prefixes().iter().filter(|prefix| rule.service.fits(prefix));
        prefixes.map(move |prefix| (number, rule.service, prefix))
    });
    Named { index: Index::new(prefixes), names }
}

/// The network ACL's rules of a direction, by their numbers.
fn acl(rules: &[NetworkAclRule]) -> Named<u16> {
    let mut sorted: Vec<_> = rules.iter().collect();
    sorted.sort_by_key(|rule| rule.number);
    Named {
        index: Index::new((0..).zip(&sorted).map(|(number, rule)| (number, rule.service, &rule.prefix))),
        names: sorted.iter().map(|rule| rule.number).collect(),
    }
}

/// How an interface's policy is found, or what is wrong with it.
pub type Find<'a> = dyn FnMut(&str) -> Result<EffectivePolicy, String> + 'a;

/// Why a batch ended too early.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The packets cannot be read.
    #[error("read packets: {0}")]
    Read(io::Error),
    /// The answers cannot be written.
    #[error("write answers: {0}")]
    Write(#[from] io::Error),
}

/// The answering machine.
pub struct Batch<'a> {
    find: &'a mut Find<'a>,
    /// The interface of lines that name none.
    default: Option<String>,
    /// Without a default: the interfaces of lines that name one's primary address.
    by_address: HashMap<IpAddr, String>,
    targets: HashMap<String, Target>,
    /// Those of targets, or why they do not compile. With thousands of interfaces in one group, whose
    /// members are in its rules, each one's own would take time and memory of their square.
    rules: HashMap<Likeness, Result<Rc<Rules>, String>>,
    /// Rules found, kept for its memory.
    found: Vec<u32>,
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Batch").field("default", &self.default).finish_non_exhaustive()
    }
}

impl<'a> Batch<'a> {
    /// A batch whose lines may leave the interface out if there is a `default`.
    pub fn new(find: &'a mut Find<'a>, default: Option<String>) -> Self {
        Self {
            find,
            default,
            by_address: HashMap::new(),
            targets: HashMap::new(),
            rules: HashMap::new(),
            found: Vec::new(),
        }
    }

    /// The same, whose lines may also name the interface by its primary address.
    #[must_use]
    pub fn by_address(self, by_address: HashMap<IpAddr, String>) -> Self {
        Self { by_address, ..self }
    }

    /// How often rules were compiled.
    #[cfg(test)]
    pub(super) fn compiled(&self) -> usize {
        self.rules.len()
    }

    /// Answers every line. What waits for its answer gets it before the next line is waited for.
    ///
    /// # Errors
    ///
    /// If reading or writing fails; a line that is no packet is answered with what is wrong.
    pub fn run(&mut self, packets: impl Read, mut out: impl Write) -> Result<(), BatchError> {
        let mut packets = BufReader::with_capacity(LONGEST, packets);
        let mut line = Vec::new();
        for number in 1u64.. {
            if packets.buffer().is_empty() {
                out.flush()?;
            }
            let Some(fits) = read_line(&mut packets, &mut line).map_err(BatchError::Read)? else { break };
            let answered = if fits {
                self.answer(&line, &mut out)?
            } else {
                Err(format!("longer than {LONGEST} bytes"))
            };
            if let Err(error) = answered {
                writeln!(out, "{}", serde_json::json!({ "error": format!("line {number}: {error}") }))?;
            }
        }
        Ok(out.flush()?)
    }

    /// Answers one line; the inner error is about the line.
    fn answer(&mut self, line: &[u8], out: &mut impl Write) -> io::Result<Result<(), String>> {
        let Self { find, default, by_address, targets, rules, found } = self;
        let question = read(line).and_then(|line| {
            let asked = line.asked()?;
            let named = line.interface_id.as_ref().map(|Text(id)| &**id);
            let addressed = || by_address.get(&asked.local()?).map(String::as_str);
            let id = named.or(default.as_deref()).or_else(addressed).ok_or(NO_INTERFACE)?;
            if !targets.contains_key(id) {
                // Its errors are not kept: lines may name any number of interfaces that there are not.
                let policy = find(id)?;
                let rules = rules
                    .entry(Likeness::of(&policy))
                    .or_insert_with(|| Rules::new(&policy).map(Rc::new).map_err(|error| error.to_string()));
                let rules = rules.clone().map_err(|error| format!("{id} has no policy: {error}"))?;
                let EffectivePolicy { interface, source_dest_check, .. } = policy;
                targets.insert(id.to_owned(), Target { interface, source_dest_check, rules });
            }
            let target = &targets[id];
            let question = asked.complete(&target.interface).map_err(|error| error.to_string())?;
            Ok((target, question))
        });
        match question {
            Ok((target, question)) => target.answer(&question, found, out).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }
}

/// Reads a line's object.
fn read(line: &[u8]) -> Result<Line<'_>, String> {
    match line.trim_ascii_start() {
        [] => Err("empty".to_owned()),
        // An array would do for the parser, too.
        [b'{', ..] => serde_json::from_slice(line).map_err(|error| told(&error)),
        _ => Err("not a JSON object".to_owned()),
    }
}

const NO_INTERFACE: &str = "interface_id: missing, and the packet names no primary address of one of the document's network interfaces";

/// What is wrong with a line's JSON. It stands on a line of its own, the parser's first.
fn told(error: &serde_json::Error) -> String {
    error
        .to_string()
        .replace(" at line 1 column ", " at column ")
        .replace("expected i64", "expected a number")
}

/// Reads the next line without its end. `None`: there is none; `false`: it is longer than it may be.
fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let read = from.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(true));
    }
    if read <= LONGEST {
        return Ok((read > 0).then_some(true));
    }
    // The rest of it is not kept.
    loop {
        let rest = from.fill_buf()?;
        let (length, ended) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (rest.len(), rest.is_empty()),
        };
        from.consume(length);
        if ended {
            return Ok(Some(false));
        }
    }
}
