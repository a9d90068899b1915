//! Sums over flow records: who talks most, who is rejected most, which rules decide.
//!
//! Records are added one by one and never kept, so a summary of gigabytes takes the memory of its
//! groups. Of those there are `GROUPS` in each table at most: a scan of every address can make any
//! number. The first ones are kept, what belongs to none of them is summed up as one ([`Table::rest`]),
//! and all sums are exact.

use std::{collections::HashMap, hash::Hash, net::IpAddr};

use filter_common::{Direction, verdict::Reason};

use super::{
    Record,
    record::{Action, Content, Flow, Loss},
};
use crate::naming::{AclRuleName, Decision, Decisions, GroupRuleName};

/// Groups that a table has at most.
const GROUPS: usize = 1 << 18;

/// Packets and bytes, by direction: ingress, egress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets on the wire.
    pub packets: [u64; 2],
    /// Bytes, from the IP header on.
    pub bytes: [u64; 2],
    /// Records that count them.
    pub records: u64,
}

impl Count {
    fn add(&mut self, flow: &Flow, direction: Option<Direction>) {
        let index = direction.map_or(0, Direction::index);
        self.packets[index] += flow.packets;
        self.bytes[index] += flow.bytes;
        self.records += 1;
    }

    /// Packets in both directions.
    #[must_use]
    pub const fn all_packets(&self) -> u64 {
        self.packets[0] + self.packets[1]
    }

    /// Bytes in both directions.
    #[must_use]
    pub const fn all_bytes(&self) -> u64 {
        self.bytes[0] + self.bytes[1]
    }
}

/// Two ends that talk: an interface's shown address and the other end's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Talk {
    /// `eni-…`
    pub interface_id: Option<String>,
    /// The interface's address.
    pub local: IpAddr,
    /// The other end's.
    pub remote: IpAddr,
}

/// What was tried in vain, whatever port it came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Who talked with whom.
    pub talk: Talk,
    /// In which direction.
    pub direction: Option<Direction>,
    /// IANA protocol number.
    pub protocol: u8,
    /// The port that was asked for; 0 where there is none.
    pub port: u16,
    /// Why it was rejected.
    pub reason: Reason,
    /// The rules that decided.
    pub rules: Decisions,
}

/// Counts by groups of one kind.
#[derive(Clone, Debug)]
pub struct Table<K> {
    counts: HashMap<K, Count>,
    most: usize,
    /// What belongs to groups beyond the bound.
    pub rest: Count,
}

impl<K: Eq + Hash> Table<K> {
    fn new() -> Self {
        Self { counts: HashMap::new(), most: GROUPS, rest: Count::default() }
    }

    fn add(&mut self, key: K, flow: &Flow, direction: Option<Direction>) {
        let room = self.counts.len() < self.most;
        let count = match self.counts.get_mut(&key) {
            Some(count) => count,
            None if room => self.counts.entry(key).or_default(),
            None => &mut self.rest,
        };
        count.add(flow, direction);
    }

    /// How many groups there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The groups with the largest measure, those first; of equals, in the order of `tie`.
    #[must_use]
    pub fn top<T: Ord>(
        &self,
        count: usize,
        measure: impl Fn(&Count) -> u64,
        tie: impl Fn(&K) -> T,
    ) -> Vec<(&K, &Count)> {
        let mut groups: Vec<_> = self.counts.iter().collect();
        groups.sort_by(|(one, first), (other, second)| {
            measure(second).cmp(&measure(first)).then_with(|| tie(one).cmp(&tie(other)))
        });
        groups.truncate(count);
        groups
    }
}

/// Sums over records.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Accepted traffic by its two ends.
    pub talkers: Table<Talk>,
    /// Rejected traffic by what was tried.
    pub rejected: Table<Attempt>,
    /// All flows by what the security groups said.
    pub groups: Table<Decision<GroupRuleName>>,
    /// All flows by what the network ACL said.
    pub acl: Table<Decision<AclRuleName>>,
    /// What was accepted, and what was rejected.
    pub totals: [Count; 2],
    /// Packets that no record counts.
    pub lost: Loss,
    /// The first and the last second of all flows.
    pub span: Option<(u64, u64)>,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            talkers: Table::new(),
            rejected: Table::new(),
            groups: Table::new(),
            acl: Table::new(),
            totals: [Count::default(); 2],
            lost: Loss::default(),
            span: None,
        }
    }
}

impl Summary {
    /// Adds a record.
    pub fn add(&mut self, record: &Record) {
        let flow = match &record.content {
            Content::Flow(flow) => flow,
            Content::Lost(loss) => {
                self.lost.packets += loss.packets;
                self.lost.bytes += loss.bytes;
                self.lost.records += loss.records;
                return;
            }
            Content::Idle => return,
        };
        let direction = record.direction;
        let (start, end) = self.span.unwrap_or((record.start, record.end));
        self.span = Some((start.min(record.start), end.max(record.end)));
        let talk = Talk { interface_id: record.interface_id.clone(), local: flow.shown, remote: flow.remote };
        match flow.action() {
            Action::Accept => {
                self.totals[0].add(flow, direction);
                self.talkers.add(talk, flow, direction);
            }
            Action::Reject => {
                self.totals[1].add(flow, direction);
                let outgoing = direction == Some(Direction::Egress);
                let attempt = Attempt {
                    talk,
                    direction,
                    protocol: flow.protocol,
                    port: if outgoing { flow.remote_port } else { flow.local_port },
                    reason: flow.reason,
                    rules: flow.rules.clone(),
                };
                self.rejected.add(attempt, flow, direction);
            }
        }
        self.groups.add(flow.rules.groups.clone(), flow, direction);
        self.acl.add(flow.rules.acl.clone(), flow, direction);
    }
}

#[cfg(test)]
mod tests {
    use filter_common::record::FlowRecord;

    use super::*;
    use crate::flowlog::fake::{lost_record, record, resolve, resolved};

    fn from(host: u8, packets: u64, reason: Reason) -> Record {
        let remote = IpAddr::from([198, 51, 100, host]).into();
        resolve(&FlowRecord { remote, packets, bytes: packets * 100, reason: reason as u8, ..record(0) })
    }

    #[test]
    fn ends_are_summed_up_over_ports_and_directions_and_the_largest_comes_first() {
        let mut summary = Summary::default();
        let answer = FlowRecord { direction: Direction::Egress as u8, packets: 5, bytes: 500, ..record(0) };
        let other_port = FlowRecord { remote_port: 40_023, packets: 2, bytes: 200, ..record(0) };
        let records = [resolved(), resolve(&answer), resolve(&other_port)];
        records
            .iter()
            .chain(&[from(9, 100, Reason::Untracked), lost_record()])
            .for_each(|one| summary.add(one));
        let top = summary.talkers.top(10, Count::all_bytes, Clone::clone);
        let told: Vec<_> = top.iter().map(|(talk, count)| (talk.remote.to_string(), count.packets)).collect();
        let expected = [("198.51.100.9", [100, 0]), ("198.51.100.7", [14, 5])];
        assert_eq!(told, expected.map(|(remote, packets)| (remote.to_owned(), packets)));
        assert_eq!(summary.talkers.top(1, Count::all_bytes, Clone::clone).len(), 1);
        assert_eq!((summary.totals[0].all_packets(), summary.lost.packets), (119, 40));
        assert_eq!(summary.span, Some((1_700_000_010, 1_700_000_061)));
        assert!(summary.rejected.is_empty());
    }

    #[test]
    fn attempts_are_told_apart_by_what_was_asked_for_and_why_it_was_refused() {
        let mut summary = Summary::default();
        let denied = from(9, 3, Reason::SecurityGroup);
        let by_acl = from(9, 1, Reason::NetworkAcl);
        [denied.clone(), denied, by_acl].iter().for_each(|one| summary.add(one));
        let top = summary.rejected.top(10, Count::all_packets, |attempt| attempt.port);
        let told: Vec<_> =
            top.iter().map(|(one, count)| (one.reason, one.port, count.all_packets())).collect();
        assert_eq!(told, [(Reason::SecurityGroup, 22, 6), (Reason::NetworkAcl, 22, 1)]);
    }

    #[test]
    fn what_finds_no_room_is_summed_up_as_one() {
        let mut summary = Summary::default();
        summary.talkers.most = 2;
        (1..=5).for_each(|host| summary.add(&from(host, 1, Reason::Untracked)));
        summary.add(&from(1, 1, Reason::Untracked));
        assert_eq!((summary.talkers.len(), summary.talkers.rest.packets), (2, [3, 0]));
        let kept: u64 =
            summary.talkers.top(9, Count::all_packets, Clone::clone).iter().map(|one| one.1.packets[0]).sum();
        assert_eq!(kept + 3, summary.totals[0].all_packets());
    }
}
