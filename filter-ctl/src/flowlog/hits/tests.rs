use filter_common::verdict::Reason;
use proptest::prelude::*;

use super::*;
use crate::flowlog::{
    fake::{TestResult, attachment, lost_record, resolved},
    spool::Limits,
};

const SMALL: Limits = Limits { bytes: 16 * 4096, segment: 4096 };

fn rule(number: u16) -> Decision<GroupRuleName> {
    Decision::Rule(GroupRuleName { group: "sg-1".into(), id: format!("sgr-{number}").into() })
}

/// A record of so many packets that a rule admitted.
fn hit(number: u16, packets: u64) -> Record {
    let mut record = resolved();
    if let Content::Flow(flow) = &mut record.content {
        flow.packets = packets;
        flow.rules.groups = rule(number);
        flow.rules.acl = Decision::Rule(AclRuleName { acl: "acl-1".into(), number: 100 });
    }
    record
}

struct Place {
    folder: tempfile::TempDir,
    spool: Spool,
    hits: Hits,
}

impl Place {
    fn new() -> TestResult<Self> {
        let folder = tempfile::tempdir()?;
        let spool = Spool::open(&folder.path().join("spool"), SMALL)?;
        let mut hits = Hits::open(folder.path().join("hits.json"), &spool)?;
        hits.learn(&[attachment(0, "eni-0a1")], &spool)?;
        Ok(Self { folder, spool, hits })
    }

    fn keep(&mut self, records: &[Record]) -> Result<()> {
        self.spool.append(records)?;
        self.hits.add(records);
        self.hits.save_with_segment(&self.spool)
    }

    /// The process dies and another one begins.
    fn die(self) -> TestResult<Self> {
        let folder = self.folder;
        drop((self.spool, self.hits));
        let spool = Spool::open(&folder.path().join("spool"), SMALL)?;
        let mut hits = Hits::open(folder.path().join("hits.json"), &spool)?;
        hits.learn(&[attachment(0, "eni-0a1")], &spool)?;
        Ok(Self { folder, spool, hits })
    }

    fn packets(&self, number: u16) -> u64 {
        let hits = self.hits.interfaces().get("eni-0a1");
        hits.and_then(|hits| hits.groups.get(&rule(number))).map_or(0, |counts| counts[0].packets)
    }
}

#[test]
fn counters_are_sums_over_records_by_rule_and_direction() -> TestResult {
    let mut place = Place::new()?;
    let answer = Record { direction: Some(Direction::Egress), ..hit(1, 30) };
    place.keep(&[hit(1, 5), hit(2, 7), answer, hit(1, 1), lost_record()])?;
    let hits = &place.hits.interfaces()["eni-0a1"];
    let [ingress, egress] = hits.groups[&rule(1)];
    assert_eq!((ingress.packets, ingress.records, egress.packets), (6, 2, 30));
    assert_eq!((ingress.bytes, ingress.last), (2 * 2410, resolved().end));
    let by_layer = |way: usize| {
        let sum = |counts: &mut dyn Iterator<Item = &ByDirection>| {
            counts.map(|count| count[way].packets).sum::<u64>()
        };
        (sum(&mut hits.groups.values()), sum(&mut hits.acl.values()))
    };
    assert_eq!((by_layer(0), by_layer(1)), ((13, 13), (30, 30)));
    assert_eq!(hits.lost[0].packets, 40);
    Ok(())
}

#[test]
fn what_was_kept_and_not_counted_when_the_process_died_is_counted_once() -> TestResult {
    let mut place = Place::new()?;
    place.keep(&[hit(1, 5)])?;
    place.hits.save(&place.spool)?;
    place.keep(&[hit(1, 100), hit(2, 7)])?;
    let place = place.die()?;
    assert_eq!((place.packets(1), place.packets(2)), (105, 7));
    let place = place.die()?;
    assert_eq!((place.packets(1), place.packets(2)), (105, 7));
    Ok(())
}

#[test]
fn what_may_have_been_kept_in_vain_is_left_to_the_next_one() -> TestResult {
    let mut place = Place::new()?;
    place.keep(&[hit(1, 5)])?;
    // As after an append that failed half way.
    place.spool.append(&[hit(1, 100)])?;
    place.hits.fall_behind();
    place.hits.save(&place.spool)?;
    assert_eq!(place.packets(1), 5);
    assert_eq!(place.die()?.packets(1), 105);
    Ok(())
}

#[test]
fn counters_begin_with_the_attachment_and_end_with_it() -> TestResult {
    let mut place = Place::new()?;
    place.keep(&[hit(1, 5)])?;
    place.hits.learn(&[attachment(0, "eni-0a1"), attachment(1, "eni-0a2")], &place.spool)?;
    assert_eq!(place.packets(1), 5);
    let later = Attachment { attached_at: attachment(0, "").attached_at + 9, ..attachment(0, "eni-0a1") };
    place.hits.learn(&[attachment(0, "eni-0a1"), Attachment { slot: 2, ..later.clone() }], &place.spool)?;
    assert_eq!(place.packets(1), 5, "on two devices");
    place.hits.learn(&[Attachment { attached_at: later.attached_at + 1, ..later }], &place.spool)?;
    assert_eq!(place.packets(1), 0, "attached anew");
    assert_eq!(place.hits.interfaces().len(), 1);
    place.hits.forget("eni-0a1", &place.spool)?;
    assert!(last_written(place.folder.path().join("hits.json"))?.is_empty());
    Ok(())
}

#[test]
fn rules_that_nobody_knows_have_a_row_of_their_own() -> TestResult {
    let mut place = Place::new()?;
    let mut denied = resolved();
    if let Content::Flow(flow) = &mut denied.content {
        flow.reason = Reason::SecurityGroup;
        flow.rules.groups = Decision::NoRule;
    }
    place.keep(&[denied, resolved()])?;
    let place = place.die()?;
    let groups = &place.hits.interfaces()["eni-0a1"].groups;
    assert_eq!(groups[&Decision::NoRule][0].records, 1);
    assert_eq!(groups[&Decision::Unknown][0].records, 1);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However the batches fall into segments, whatever the spool drops, and wherever processes
    /// die: the counters are the sums over all lines that were ever written.
    #[test]
    fn counters_are_the_sums_over_the_spools_lines_whoever_dies_when(batches in prop::collection::vec((0_usize..40, 0_u8..4), 1..30)) {
        let failed = |error: Box<dyn std::error::Error>| TestCaseError::fail(error.to_string());
        let mut place = Place::new().map_err(failed)?;
        let (mut expected, mut next) = ([0; 3], 0);
        for (count, event) in batches {
            let batch: Vec<_> = (next..next + count as u64).map(|n| hit((n % 3) as u16, n)).collect();
            (next..next + count as u64).for_each(|n| expected[(n % 3) as usize] += n);
            next += count as u64;
            place.keep(&batch).map_err(|error| failed(error.into()))?;
            match event {
                0 => place = place.die().map_err(failed)?,
                1 => place.hits.save(&place.spool).map_err(|error| failed(error.into()))?,
                _ => {}
            }
        }
        prop_assert_eq!([0, 1, 2].map(|number| place.packets(number)), expected);
        prop_assert_eq!(place.die().map_err(failed)?.packets(1), expected[1]);
    }
}
