//! ICMP queries and their answers (RFC 792, RFC 4443): the messages that are tracked.

use crate::{Direction, address::Family};

/// A message of a query's exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Type of the request.
    pub request: u8,
    /// Whether the message is the answer.
    pub is_answer: bool,
}

/// The exchange that a type belongs to; `None`: it asks nothing and answers nothing.
#[inline(always)]
#[must_use]
pub const fn of(family: Family, icmp_type: u8) -> Option<Query> {
    let (request, is_answer) = match (family, icmp_type) {
        // Echo, timestamp, information, address mask.
        (Family::V4, 8 | 13 | 15 | 17) | (Family::V6, 128) => (icmp_type, false),
        (Family::V4, 0) => (8, true),
        (Family::V4, 14 | 16 | 18) => (icmp_type - 1, true),
        (Family::V6, 129) => (128, true),
        _ => return None,
    };
    Some(Query { request, is_answer })
}

/// The type of the answer to a request; `None`: it is no request.
#[must_use]
pub const fn answer(family: Family, request: u8) -> Option<u8> {
    match (family, request) {
        (Family::V4, 8) => Some(0),
        (Family::V4, 13 | 15 | 17) | (Family::V6, 128) => Some(request + 1),
        _ => None,
    }
}

impl Query {
    /// What stands in the place of ports in the connection's key: the identifier, and the
    /// request's type with the direction of who asks. So two ends that ask each other with one
    /// identifier have two connections, and an answer alone opens nothing.
    #[inline(always)]
    #[must_use]
    pub const fn ports(self, identifier: u16, direction: Direction) -> (u16, u16) {
        let asker = if self.is_answer { direction.reverse() } else { direction };
        (identifier, (self.request as u16) << 8 | asker as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_its_answer_and_nothing_else_is_tracked() {
        for (family, pairs) in
            [(Family::V4, &[(8u8, 0u8), (13, 14), (15, 16), (17, 18)][..]), (Family::V6, &[(128, 129)][..])]
        {
            for icmp_type in 0..=255 {
                let expected = pairs.iter().find_map(|(request, answer)| match icmp_type {
                    t if t == *request => Some(Query { request: *request, is_answer: false }),
                    t if t == *answer => Some(Query { request: *request, is_answer: true }),
                    _ => None,
                });
                assert_eq!(of(family, icmp_type), expected, "{family:?} {icmp_type}");
                let answered = pairs.iter().find(|(request, _)| *request == icmp_type);
                assert_eq!(answer(family, icmp_type), answered.map(|(_, answer)| *answer));
            }
        }
    }

    #[test]
    fn a_request_and_its_answer_have_one_key() {
        let request = of(Family::V4, 8).expect("echo request");
        let answer = of(Family::V4, 0).expect("echo reply");
        for direction in [Direction::Ingress, Direction::Egress] {
            assert_eq!(request.ports(7, direction), answer.ports(7, direction.reverse()));
        }
    }

    #[test]
    fn queries_that_are_not_one_exchange_differ() {
        let echo = of(Family::V4, 8).expect("echo request");
        let timestamp = of(Family::V4, 13).expect("timestamp request");
        let ports = echo.ports(7, Direction::Ingress);
        assert_ne!(ports, echo.ports(7, Direction::Egress), "both ends ask with one identifier");
        assert_ne!(ports, echo.ports(8, Direction::Ingress), "identifiers");
        assert_ne!(ports, timestamp.ports(7, Direction::Ingress), "types");
    }
}
