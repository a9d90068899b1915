//! One end of a packet, as people write it: `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`,
//! `[2001:db8::1]:443`, `:443`.

use std::{
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// An end; what is not written is for [`super::Asked`] to fill in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: Option<u16>,
}

/// Why a text is no end of a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No address.
    #[error(
        "`{0}` is no address: expected 192.0.2.1, 192.0.2.1:443, 2001:db8::1, [2001:db8::1]:443, or :443 for the interface's own address"
    )]
    Address(String),
    /// No port.
    #[error("`{0}` is no port: expected a number from 0 to 65535")]
    Port(String),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let port = |text: &str| match text.parse() {
            Ok(port) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
            _ => Err(EndpointError::Port(text.to_owned())),
        };
        // Also what looks like an address with a port, but is an IPv6 address: `::1:80`.
        if let Ok(address) = text.parse() {
            return Ok(Self { address: Some(address), port: None });
        }
        let no_address = || EndpointError::Address(text.to_owned());
        if let Some(bracketed) = text.strip_prefix('[') {
            let (address, rest) = bracketed.split_once(']').ok_or_else(no_address)?;
            let address: Ipv6Addr = address.parse().map_err(|_| no_address())?;
            let port = match rest.strip_prefix(':') {
                Some(written) => Some(port(written)?),
                None if rest.is_empty() => None,
                None => return Err(no_address()),
            };
            return Ok(Self { address: Some(address.into()), port });
        }
        let (address, written) = text.rsplit_once(':').ok_or_else(no_address)?;
        if address.is_empty() {
            return Ok(Self { address: None, port: Some(port(written)?) });
        }
        // An IPv6 address with a port needs brackets: without them nobody can tell where it ends.
        let address: std::net::Ipv4Addr = address.parse().map_err(|_| no_address())?;
        Ok(Self { address: Some(address.into()), port: Some(port(written)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for (text, address, port) in [
            ("192.0.2.1", Some("192.0.2.1"), None),
            ("192.0.2.1:443", Some("192.0.2.1"), Some(443)),
            ("2001:db8::1", Some("2001:db8::1"), None),
            ("[2001:db8::1]", Some("2001:db8::1"), None),
            ("[2001:db8::1]:0", Some("2001:db8::1"), Some(0)),
            ("::1:80", Some("::1:80"), None),
            ("::", Some("::"), None),
            (":65535", None, Some(65_535)),
        ] {
            let address = address.map(|address| address.parse().expect("an address"));
            assert_eq!(text.parse(), Ok(Endpoint { address, port }), "{text}");
        }
    }

    #[test]
    fn what_is_none_says_what_was_expected() {
        for text in
            ["", "here", "192.0.2", "192.0.2.256:1", "[192.0.2.1]:80", "[::1", "[::1]80", "fe80::1%eth0"]
        {
            assert!(matches!(text.parse::<Endpoint>(), Err(EndpointError::Address(_))), "{text}");
        }
        for text in ["192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:+1", "[::1]:http", ":-1", ":"] {
            assert!(matches!(text.parse::<Endpoint>(), Err(EndpointError::Port(_))), "{text}");
        }
    }
}
