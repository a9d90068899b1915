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
