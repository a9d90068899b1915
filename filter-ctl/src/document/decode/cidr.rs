//! Addresses and CIDR blocks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Decoder, Object};
use crate::document::{diagnostic::Severity, model::Spanned};

/// The family that a field is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
    Either,
}

impl Family {
    fn block(self) -> &'static str {
        match self {
            Self::V4 => "an IPv4 block as in 192.0.2.0/24",
            Self::V6 => "an IPv6 block as in 2001:db8::/64",
            Self::Either => "a block as in 192.0.2.0/24 or 2001:db8::/64",
        }
    }
}

/// A block of a family with its host bits cleared, or what is wrong with the text.
pub(super) fn parse(text: &str, family: Family) -> Result<(IpNet, bool), String> {
    let Some((address, length)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => {
                let length = if address.is_ipv4() { 32 } else { 128 };
                format!("`{text}` has no prefix length; this one address is {text}/{length}")
            }
            Err(_) => format!("`{text}` is no CIDR block"),
        });
    };
    let digits = length.bytes().all(|byte| byte.is_ascii_digit());
    let length = length.parse::<u8>().ok().filter(|_| digits);
    let block = match (address.parse::<IpAddr>(), length) {
        (Err(_), _) => return Err(format!("`{address}` is no address")),
        (Ok(address), Some(length)) => IpNet::new(address, length).ok(),
        (Ok(_), None) => None,
    };
    let Some(block) = block else {
        let most = if address.contains(':') { 128 } else { 32 };
        return Err(format!("`{text}` has no prefix length from 0 to {most}"));
    };
    match (family, block) {
        (Family::V4, IpNet::V6(_)) => Err(format!("`{text}` is an IPv6 block")),
        (Family::V6, IpNet::V4(_)) => Err(format!("`{text}` is an IPv4 block")),
        _ => Ok((block.trunc(), block != block.trunc())),
    }
}

impl Decoder<'_> {
    /// The CIDR block in a field. AWS clears its host bits; so do we, and say so.
    pub(super) fn cidr(
        &mut self,
        object: &Object<'_>,
        name: &'static str,
        family: Family,
    ) -> Option<Spanned<IpNet>> {
        let text = self.text(object, name)?;
        match parse(text.value, family) {
            Ok((value, false)) => Some(Spanned { value, at: text.at }),
            Ok((value, true)) => {
                let message = format!("`{}` has host bits; it means {value}", text.value);
                self.report(Severity::Note, "host-bits", text.at.span, name, message);
                Some(Spanned { value, at: text.at })
            }
            Err(message) => {
                self.error("bad-cidr", text.at.span, name, message).expected =
                    Some(family.block().to_owned());
                None
            }
        }
    }

    /// A CIDR block that must be there.
    pub(super) fn required_cidr(
        &mut self,
        object: &Object<'_>,
        name: &'static str,
        family: Family,
    ) -> Option<Spanned<IpNet>> {
        if self.scalar(object, name).is_none() {
            self.missing(object, name, family.block());
            return None;
        }
        self.cidr(object, name, family)
    }

    /// The IPv4 address in a field.
    pub(super) fn ipv4(&mut self, object: &Object<'_>, name: &'static str) -> Option<Spanned<Ipv4Addr>> {
        self.address(object, name, "an IPv4 address as in 192.0.2.20")
    }

    /// The IPv6 address in a field.
    pub(super) fn ipv6(&mut self, object: &Object<'_>, name: &'static str) -> Option<Spanned<Ipv6Addr>> {
        self.address(object, name, "an IPv6 address as in 2001:db8::20")
    }

    fn address<A: std::str::FromStr>(
        &mut self,
        object: &Object<'_>,
        name: &'static str,
        expected: &str,
    ) -> Option<Spanned<A>> {
        let text = self.text(object, name)?;
        let Ok(value) = text.value.parse() else {
            let message = format!("`{}` is no such address", text.value);
            self.error("bad-address", text.at.span, name, message).expected = Some(expected.to_owned());
            return None;
        };
        Some(Spanned { value, at: text.at })
    }
}

/// The block of one IPv4 address.
pub(super) fn host_v4(address: Spanned<Ipv4Addr>) -> Spanned<IpNet> {
    Spanned { value: Ipv4Net::from(address.value).into(), at: address.at }
}

/// The block of one IPv6 address.
pub(super) fn host_v6(address: Spanned<Ipv6Addr>) -> Spanned<IpNet> {
    Spanned { value: Ipv6Net::from(address.value).into(), at: address.at }
}
