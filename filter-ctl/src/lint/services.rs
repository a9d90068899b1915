//! Sets of services: ranges on the line of all services, `kind << 16 | value`.

use filter_common::service::Service;

use crate::{compile::spans, policy::RuleService};

/// A set of services: ranges with both ends included, sorted, with gaps between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Services(Vec<(u32, u32)>);

impl Services {
    /// The services of a rule.
    pub(super) fn of(service: RuleService) -> Self {
        Self(spans(service))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// The ranges that end at `first` or later.
    fn from(&self, first: u32) -> &[(u32, u32)] {
        &self.0[self.0.partition_point(|range| range.1 < first)..]
    }

    /// Those that `other` has not. Costs what the result and a search cost, however large `other` is.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut rest = Vec::new();
        for &(first, last) in &self.0 {
            let mut next = first;
            for &(taken, end) in other.from(first).iter().take_while(|range| range.0 <= last) {
                if taken > next {
                    rest.push((next, taken - 1));
                }
                next = end + 1;
            }
            if next <= last {
                rest.push((next, last));
            }
        }
        Self(rest)
    }

    /// Those that both have.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        for &(first, last) in &self.0 {
            let within = other.from(first).iter().take_while(|range| range.0 <= last);
            both.extend(within.map(|range| (range.0.max(first), range.1.min(last))));
        }
        Self(both)
    }

    /// Adds all of another set's.
    pub(super) fn add(&mut self, other: &Self) {
        for &(mut first, mut last) in &other.0 {
            // Ranges that touch the new one become part of it.
            let from = self.0.partition_point(|range| range.1.saturating_add(1) < first);
            let to = self.0.partition_point(|range| range.0 <= last.saturating_add(1));
            if let Some(&(earliest, _)) = self.0[from..to].first() {
                first = first.min(earliest);
            }
            if let Some(&(_, latest)) = self.0[from..to].last() {
                last = last.max(latest);
            }
            self.0.splice(from..to, [(first, last)]);
        }
    }

    pub(super) fn contains(&self, other: &Self) -> bool {
        other.without(self).is_empty()
    }

    /// Whether a TCP or UDP port is in it.
    pub(super) fn has_port(&self, protocol: u8, port: u16) -> bool {
        let place = Service::new(protocol, port).place();
        self.from(place).first().is_some_and(|range| range.0 <= place)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use filter_common::service::{TCP, UDP};
    use proptest::prelude::*;

    use super::*;

    fn set(ranges: &[(u32, u32)]) -> (Services, BTreeSet<u32>) {
        let mut services = Services::default();
        let mut model = BTreeSet::new();
        for &(first, length) in ranges {
            services.add(&Services(vec![(first, first + length)]));
            model.extend(first..=first + length);
        }
        (services, model)
    }

    fn values(services: &Services) -> BTreeSet<u32> {
        services.0.iter().flat_map(|&(first, last)| first..=last).collect()
    }

    proptest! {
        #[test]
        fn sets_are_sets(a in prop::collection::vec((0u32..60, 0u32..9), 0..9), b in prop::collection::vec((0u32..60, 0u32..9), 0..9)) {
            let ((a, a_model), (b, b_model)) = (set(&a), set(&b));
            prop_assert_eq!(values(&a), a_model.clone());
            prop_assert!(a.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "sorted, with gaps: {:?}", a);
            prop_assert_eq!(values(&a.without(&b)), &a_model - &b_model);
            prop_assert_eq!(values(&a.and(&b)), &a_model & &b_model);
            prop_assert_eq!(a.contains(&b), b_model.is_subset(&a_model));
            prop_assert_eq!(a.count() as usize, a_model.len());
        }
    }

    #[test]
    fn everything_is_all_protocols() {
        let all = Services::of(RuleService::All);
        for part in [
            RuleService::Tcp(0, u16::MAX),
            RuleService::Udp(53, 53),
            RuleService::Icmp(None, None),
            RuleService::Icmpv6(Some(2), Some(0)),
            RuleService::Protocol(255),
        ] {
            assert!(all.contains(&Services::of(part)), "{part}");
            assert!(!Services::of(part).contains(&all), "{part}");
        }
        assert!(Services::of(RuleService::Tcp(20, 22)).has_port(TCP, 22));
        assert!(!Services::of(RuleService::Tcp(20, 22)).has_port(UDP, 22));
        assert!(!Services::of(RuleService::Tcp(20, 22)).has_port(TCP, 23));
    }
}
