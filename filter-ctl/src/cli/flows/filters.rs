//! Which records are wanted.

use std::net::IpAddr;

use filter_common::Direction;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};

use crate::{
    explain::protocol_number,
    flowlog::{
        Record,
        record::{Action, Content, Flow},
    },
};

/// Filters of `flows`. What was lost (`SKIPDATA`) is told whichever flows are asked for: the lost
/// packets may have been of those.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Filters {
    /// Only this network interface's (may be repeated)
    #[arg(long, value_name = "eni-…")]
    pub interface_id: Vec<String>,

    /// Only accepted or only rejected traffic; what was lost (SKIPDATA) is always told
    #[arg(long, value_enum, ignore_case = true)]
    pub action: Option<Action>,

    /// Only one direction, as the network interface sees it
    #[arg(long, value_name = "ingress|egress", value_parser = direction)]
    pub direction: Option<Direction>,

    /// Only flows with this address, or one of this prefix, at either end (may be repeated)
    #[arg(long, value_name = "ADDRESS|PREFIX", value_parser = prefix)]
    pub address: Vec<IpNet>,

    /// Only flows with this port, or one of these, at either end (may be repeated)
    #[arg(long, value_name = "PORT|FROM-TO", value_parser = ports)]
    pub port: Vec<(u16, u16)>,

    /// Only flows of this protocol: tcp, udp, icmp, icmpv6 or a number (may be repeated)
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol_number)]
    pub protocol: Vec<u8>,

    /// Only flows that a rule of this security group let pass (may be repeated)
    #[arg(long, value_name = "sg-…")]
    pub group: Vec<String>,

    /// Only flows that this rule decided about: a security group's by its id, a network ACL's by its
    /// number, or by the ACL and the number (may be repeated)
    #[arg(long, value_name = "sgr-…|NUMBER|acl-…:NUMBER", value_parser = rule)]
    pub rule: Vec<Rule>,

    /// Only what was seen at or after this time: 2026-01-31T12:00:00Z, Unix seconds, or so long ago (90s, 10m, 2h, 1d)
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<u64>,

    /// Only what was seen before this time; likewise
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<u64>,
}

/// A rule that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A security group's, by its id.
    Group(String),
    /// A network ACL's, perhaps of a certain one.
    Acl(Option<String>, u16),
}

impl Filters {
    /// Whether a record is wanted.
    pub(super) fn want(&self, record: &Record) -> bool {
        let interface = self.interface_id.is_empty()
            || self.interface_id.iter().any(|id| record.interface_id.as_ref() == Some(id));
        let time = self.since.is_none_or(|since| record.end >= since)
            && self.until.is_none_or(|until| record.start < until);
        let flow = match &record.content {
            Content::Flow(flow) => self.want_direction(record) && self.want_flow(flow),
            Content::Lost(_) => self.want_direction(record),
            // That nothing came is no news of the flows that are asked for.
            Content::Idle => !self.asks_for_flows(),
        };
        interface && time && flow
    }

    fn want_direction(&self, record: &Record) -> bool {
        self.direction.is_none_or(|direction| record.direction.is_none_or(|of| of == direction))
    }

    fn want_flow(&self, flow: &Flow) -> bool {
        let has =
            |prefix: &IpNet| [flow.local, flow.shown, flow.remote].iter().any(|one| prefix.contains(one));
        let uses = |(from, to): &(u16, u16)| {
            [flow.local_port, flow.remote_port].iter().any(|port| (from..=to).contains(&port))
        };
        let group = flow.rules.groups.rule();
        let acl = flow.rules.acl.rule();
        let decided = |rule: &Rule| match rule {
            Rule::Group(id) => group.is_some_and(|known| *known.id == **id),
            Rule::Acl(id, number) => acl.is_some_and(|known| {
                known.number == *number && id.as_ref().is_none_or(|id| *known.acl == **id)
            }),
        };
        let let_pass = |id: &String| group.is_some_and(|known| *known.group == **id);
        self.action.is_none_or(|action| flow.action() == action)
            && any(&self.address, has)
            && any(&self.port, uses)
            && any(&self.protocol, |protocol| flow.protocol == *protocol)
            && any(&self.group, let_pass)
            && any(&self.rule, decided)
    }

    const fn asks_for_flows(&self) -> bool {
        self.action.is_some()
            || self.direction.is_some()
            || !self.address.is_empty()
            || !self.port.is_empty()
            || !self.protocol.is_empty()
            || !self.group.is_empty()
            || !self.rule.is_empty()
    }
}

/// Whether one of several matches; none asks for nothing.
fn any<T>(wanted: &[T], matches: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(matches)
}

fn direction(text: &str) -> Result<Direction, String> {
    let known = Direction::BOTH.into_iter().find(|direction| direction.name() == text);
    known.ok_or_else(|| "expected ingress or egress".to_owned())
}

fn prefix(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from).ok();
    address.or_else(|| text.parse().ok()).ok_or_else(|| {
        format!("`{text}` is neither an address nor a prefix as in 198.51.100.0/24 or 2001:db8::/32")
    })
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) if from <= to => Ok((from, to)),
        _ => Err(format!("`{text}` is neither a port nor a range of them as in 8000-8080")),
    }
}

fn rule(text: &str) -> Result<Rule, String> {
    if text.starts_with("sgr-") {
        return Ok(Rule::Group(text.to_owned()));
    }
    let (acl, number) = match text.rsplit_once(':') {
        Some((acl, number)) => (Some(acl.to_owned()), number),
        None => (None, text),
    };
    match (acl.as_ref().is_none_or(|acl| acl.starts_with("acl-")), number) {
        // The two of them are told by the family of the flow.
        (true, number) if number.parse::<u16>().is_ok_and(|number| number > 0) => {
            Ok(Rule::Acl(acl, number.parse().unwrap_or_default()))
        }
        _ => Err(format!(
            "`{text}` is no rule: expected sgr-…, the number of a network ACL's rule, or acl-…:NUMBER"
        )),
    }
}

/// A time in Unix seconds.
fn time(text: &str) -> Result<u64, String> {
    time_at(text, Timestamp::now())
}

fn time_at(text: &str, now: Timestamp) -> Result<u64, String> {
    let seconds = match (text.parse::<i64>(), text.parse::<Timestamp>(), text.parse::<SignedDuration>()) {
        (Ok(seconds), ..) => Some(seconds),
        (_, Ok(time), _) => Some(time.as_second()),
        (.., Ok(ago)) if !ago.is_negative() => now.checked_sub(ago).ok().map(Timestamp::as_second),
        _ => days(text).and_then(|days| now.as_second().checked_sub(days * 86_400)),
    };
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).ok_or_else(|| {
        format!("`{text}` is no time: expected 2026-01-31T12:00:00Z, Unix seconds, or so long ago as in 90s, 10m, 2h, 1d")
    })
}

/// `3d`: a duration has no days, as some of them have 23 hours.
fn days(text: &str) -> Option<i64> {
    text.strip_suffix('d')?.parse().ok().filter(|days| (0..=36_500).contains(days))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use filter_common::{record::FlowRecord, verdict::Reason};

    use super::*;
    use crate::{
        flowlog::fake::{lost_record, record, resolve, resolved},
        naming::{AclRuleName, Decision, GroupRuleName},
    };

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        filters: Filters,
    }

    fn filters(options: &str) -> Result<Filters, clap::Error> {
        let words = ["flows"].into_iter().chain(options.split_whitespace());
        Command::try_parse_from(words).map(|command| command.filters)
    }

    /// An accepted flow from 198.51.100.7:40022 to 10.0.1.20:22, a rejected one of UDP from elsewhere to
    /// a secondary address, a loss of ingress, and silence.
    fn records() -> Vec<Record> {
        let mut accepted = resolved();
        if let Content::Flow(flow) = &mut accepted.content {
            flow.rules.groups = Decision::Rule(GroupRuleName { group: "sg-1".into(), id: "sgr-1".into() });
            flow.rules.acl = Decision::Rule(AclRuleName { acl: "acl-1".into(), number: 100 });
        }
        let rejected = FlowRecord {
            remote: IpAddr::from([203, 0, 113, 9]).into(),
            local: IpAddr::from([10, 0, 1, 99]).into(),
            protocol: 17,
            local_port: 53,
            direction: Direction::Egress as u8,
            reason: Reason::NetworkAcl as u8,
            ..record(0)
        };
        let idle = Record { content: Content::Idle, direction: None, ..resolved() };
        vec![accepted, resolve(&rejected), lost_record(), idle]
    }

    /// Which of them a command line wants: by their first letters.
    fn wanted(options: &str) -> Result<String, clap::Error> {
        let filters = filters(options)?;
        let wanted = "arli".chars().zip(records()).filter(|(_, record)| filters.want(record));
        Ok(wanted.map(|(letter, _)| letter).collect())
    }

    #[test]
    fn each_filter_selects_its_flows_and_losses_are_always_told() -> Result<(), clap::Error> {
        for (options, expected) in [
            ("", "arli"),
            ("--action accept", "al"),
            ("--action REJECT", "rl"),
            ("--direction ingress", "al"),
            ("--direction egress", "r"),
            ("--address 198.51.100.7", "al"),
            ("--address 198.51.100.0/24 --address 203.0.113.0/24", "arl"),
            ("--address 10.0.1.20", "arl"),
            ("--address 10.0.1.99", "rl"),
            ("--address 2001:db8::/32", "l"),
            ("--port 22", "al"),
            ("--port 40000-50000", "arl"),
            ("--port 50-60 --protocol udp", "rl"),
            ("--protocol tcp --protocol 17", "arl"),
            ("--protocol 47", "l"),
            ("--group sg-1", "al"),
            ("--group sg-2", "l"),
            ("--rule sgr-1", "al"),
            ("--rule 100", "al"),
            ("--rule acl-1:100", "al"),
            ("--rule acl-2:100 --rule 90", "l"),
            ("--interface-id eni-0a1", "arli"),
            ("--interface-id eni-0a9", ""),
            ("--since 1700000061", "arli"),
            ("--since 1700000062", ""),
            ("--until 1700000010", ""),
            ("--until 2023-11-14T22:13:31Z", "arli"),
            ("--address 198.51.100.7 --action reject", "l"),
        ] {
            assert_eq!(wanted(options)?, expected, "{options}");
        }
        Ok(())
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_was_expected() {
        for (options, expected) in [
            ("--address 198.51.100.300", "198.51.100.0/24"),
            ("--port 80-79", "8000-8080"),
            ("--port 65536", "8000-8080"),
            ("--protocol quic", "a number from 0 to 255"),
            ("--rule 0", "acl-…:NUMBER"),
            ("--rule sg-1:100", "acl-…:NUMBER"),
            ("--direction in", "ingress or egress"),
            ("--since yesterday", "10m"),
            ("--since -10m", "unexpected argument"),
        ] {
            let error = filters(options).map(drop).map_err(|error| error.to_string());
            assert!(error.as_ref().is_err_and(|error| error.contains(expected)), "{options}: {error:?}");
        }
    }

    #[test]
    fn times_are_absolute_or_ago() -> Result<(), Box<dyn std::error::Error>> {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse()?;
        let second = now.as_second() as u64;
        for (text, expected) in [
            ("1700000000", 1_700_000_000),
            ("2026-01-31T12:00:00Z", second),
            ("2026-01-31T13:00:00+01:00", second),
            ("90s", second - 90),
            ("10m", second - 600),
            ("1h 30m", second - 5400),
            ("2d", second - 2 * 86_400),
        ] {
            assert_eq!(time_at(text, now), Ok(expected), "{text}");
        }
        for text in ["-1", "1969-01-01T00:00:00Z", "d", "10x", ""] {
            assert!(time_at(text, now).is_err(), "{text}");
        }
        Ok(())
    }
}
