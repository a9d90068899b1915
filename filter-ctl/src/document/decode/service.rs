//! The protocol and ports of a rule, in a security group's words and in a network ACL's.

use std::ops::RangeInclusive;

use filter_common::service::{ICMP, ICMPV6, TCP, UDP};

use super::{Decoder, Object};
use crate::{
    document::{
        diagnostic::{Severity, Span},
        model::Spanned,
        tree::Value,
    },
    policy::RuleService,
};

/// A protocol, or all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    All,
    Number(u8),
}

/// The two fields that hold the ends of a port range, or a type and a code.
type Pair = (&'static str, &'static str);

/// Every number that may be meant as a port: those that are none are told so in a port's words.
const PORTS: RangeInclusive<i64> = i32::MIN as i64..=i32::MAX as i64;

const GROUP: Pair = ("FromPort", "ToPort");
const ACL_PORTS: Pair = ("From", "To");
const ACL_ICMP: Pair = ("Type", "Code");

impl Decoder<'_> {
    fn protocol(&mut self, object: &Object<'_>, name: &'static str) -> Option<Protocol> {
        const EXPECTED: &str = "tcp, udp, icmp, icmpv6, a protocol number from 0 to 255, or -1 for all";
        let Some(text) = self.text(object, name) else {
            if self.scalar(object, name).is_none() {
                self.missing(object, name, EXPECTED);
            }
            return None;
        };
        let protocol = match text.value.to_ascii_lowercase().as_str() {
            "-1" | "all" => Some(Protocol::All),
            "tcp" => Some(Protocol::Number(TCP)),
            "udp" => Some(Protocol::Number(UDP)),
            "icmp" => Some(Protocol::Number(ICMP)),
            "icmpv6" => Some(Protocol::Number(ICMPV6)),
            number if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse().ok().map(Protocol::Number)
            }
            _ => None,
        };
        if protocol.is_none() {
            let message = format!("`{}` is no protocol", text.value);
            self.error("bad-protocol", text.at.span, name, message).expected = Some(EXPECTED.to_owned());
        }
        protocol
    }

    /// `IpProtocol`, `FromPort` and `ToPort` (API reference, `IpPermission`).
    pub(super) fn group_service(&mut self, object: &Object<'_>) -> Option<RuleService> {
        match self.protocol(object, "IpProtocol")? {
            Protocol::Number(TCP) => self.ports(object, GROUP).map(|(from, to)| RuleService::Tcp(from, to)),
            Protocol::Number(UDP) => self.ports(object, GROUP).map(|(from, to)| RuleService::Udp(from, to)),
            Protocol::Number(ICMP) => {
                self.icmp(object, GROUP).map(|(kind, code)| RuleService::Icmp(kind, code))
            }
            Protocol::Number(ICMPV6) => {
                // "For ICMPv6 the port range is optional": without it, all types and codes.
                if self.scalar(object, GROUP.0).is_none() && self.scalar(object, GROUP.1).is_none() {
                    return Some(RuleService::Icmpv6(None, None));
                }
                self.icmp(object, GROUP).map(|(kind, code)| RuleService::Icmpv6(kind, code))
            }
            other => {
                self.ignored_ports(object, &[GROUP.0, GROUP.1]);
                Some(other.without_ports())
            }
        }
    }

    /// `Protocol`, `PortRange` and `IcmpTypeCode` (API reference, `CreateNetworkAclEntry`).
    pub(super) fn acl_service(&mut self, object: &Object<'_>, v6: bool) -> Option<RuleService> {
        match self.protocol(object, "Protocol")? {
            Protocol::Number(TCP) => self
                .part(object, "PortRange", ACL_PORTS, Self::ports)
                .map(|(from, to)| RuleService::Tcp(from, to)),
            Protocol::Number(UDP) => self
                .part(object, "PortRange", ACL_PORTS, Self::ports)
                .map(|(from, to)| RuleService::Udp(from, to)),
            Protocol::Number(ICMP) => self
                .part(object, "IcmpTypeCode", ACL_ICMP, Self::icmp)
                .map(|(kind, code)| RuleService::Icmp(kind, code)),
            Protocol::Number(ICMPV6) if v6 => self
                .part(object, "IcmpTypeCode", ACL_ICMP, Self::icmp)
                .map(|(kind, code)| RuleService::Icmpv6(kind, code)),
            // "58 with an IPv4 CIDR block: traffic for all ICMP types and codes."
            Protocol::Number(ICMPV6) => Some(RuleService::Icmpv6(None, None)),
            other => {
                self.ignored_ports(object, &["PortRange", "IcmpTypeCode"]);
                Some(other.without_ports())
            }
        }
    }

    /// A nested object that must be there, read by `read`.
    fn part<T>(
        &mut self,
        object: &Object<'_>,
        name: &'static str,
        pair: Pair,
        read: impl FnOnce(&mut Self, &Object<'_>, Pair) -> Option<T>,
    ) -> Option<T> {
        if self.scalar(object, name).is_none() {
            self.missing(object, name, &format!("{{ {}: …, {}: … }}", pair.0, pair.1));
            return None;
        }
        self.nested(object, name, |decoder, nested| {
            decoder.only(nested, &[pair.0, pair.1]);
            read(decoder, nested, pair)
        })?
    }

    /// Both numbers of a pair; what is missing is reported.
    fn both(
        &mut self,
        object: &Object<'_>,
        pair: Pair,
        range: RangeInclusive<i64>,
        what: &str,
    ) -> Option<(Spanned<i64>, Spanned<i64>)> {
        for name in [pair.0, pair.1] {
            if self.scalar(object, name).is_none() {
                self.missing(object, name, what);
            }
        }
        // What is no whole number is told so in the words of one.
        let expected = range.start().max(&-1)..=range.end().min(&65_535);
        let expected = format!("a whole number from {} to {}", expected.start(), expected.end());
        let first = self.integer_as(object, pair.0, &range, &expected);
        let second = self.integer_as(object, pair.1, &range, &expected);
        first.zip(second)
    }

    /// A range of ports; both -1 are all ports, as the CLI's `--port all`.
    fn ports(&mut self, object: &Object<'_>, pair: Pair) -> Option<(u16, u16)> {
        let (from, to) = self.both(object, pair, PORTS, "a port from 0 to 65535 (tcp and udp need both)")?;
        if (from.value, to.value) == (-1, -1) {
            return Some((0, u16::MAX));
        }
        let mut port = |number: Spanned<i64>, name| {
            let port = u16::try_from(number.value);
            if port.is_err() {
                self.out_of_range(number.at.span, name, number.value, "a port from 0 to 65535");
            }
            port.ok()
        };
        let span = from.at.span;
        let (first, last) = (port(from, pair.0), port(to, pair.1));
        let (first, last) = first.zip(last)?;
        if first > last {
            let error = self.error("backward-ports", span, pair.0, "the port range runs backwards");
            error.expected = Some(format!("{} must not exceed {} ({last})", pair.0, pair.1));
            error.help =
                Some(format!("for ports {last} to {first} write {}: {last}, {}: {first}", pair.0, pair.1));
            return None;
        }
        Some((first, last))
    }

    /// A type and a code; -1 is all of them.
    fn icmp(&mut self, object: &Object<'_>, pair: Pair) -> Option<(Option<u8>, Option<u8>)> {
        let (kind, code) = self.both(
            object,
            pair,
            -1..=255,
            "an ICMP type or code from 0 to 255, or -1 for all (icmp needs both)",
        )?;
        if kind.value == -1 && code.value != -1 {
            let error = self.error("icmp-code", code.at.span, pair.1, "a code needs a type");
            error.expected = Some(format!("-1, because {} is -1", pair.0));
            return None;
        }
        Some((u8::try_from(kind.value).ok(), u8::try_from(code.value).ok()))
    }

    /// Tells that AWS ignores the ports of other protocols.
    fn ignored_ports(&mut self, object: &Object<'_>, names: &[&'static str]) {
        for name in names {
            let Some(field) = object.field(name) else { continue };
            let all = matches!(&field.value.value, Value::Number(text) if text == "-1");
            if field.value.value != Value::Null && !all {
                let span: Span = field.span;
                let message = "this is ignored: the rule's protocol has no ports here";
                self.report(Severity::Warning, "ports-ignored", span, name, message).help =
                    Some("only tcp, udp, icmp and icmpv6 rules have ports, or a type and a code".to_owned());
            }
        }
    }
}

impl Protocol {
    fn without_ports(self) -> RuleService {
        match self {
            Self::All => RuleService::All,
            Self::Number(number) => RuleService::Protocol(number),
        }
    }
}
