use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::flowlog::{
    fake::{lost_record, resolved},
    record::{Content, Record},
};

type TestResult<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const SMALL: Limits = Limits { bytes: 4 * 4096, segment: 4096 };

fn read(spool: &Spool) -> TestResult<Vec<Record>> {
    Ok(spool.reader()?.collect::<Result<_>>()?)
}

/// A record that can be told from others by its packets.
fn numbered(number: u64) -> Record {
    let mut record = resolved();
    if let Content::Flow(flow) = &mut record.content {
        flow.packets = number;
    }
    record
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.content.packets()).collect()
}

#[test]
fn what_was_appended_is_read_again_and_again() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut spool = Spool::open(folder.path(), Limits::default())?;
    let records = [resolved(), lost_record(), numbered(7)];
    spool.append(&records[..1])?;
    spool.append(&records[1..])?;
    assert_eq!(read(&spool)?, records);
    assert_eq!(read(&spool)?, records);
    drop(spool);
    assert_eq!(read(&Spool::open(folder.path(), Limits::default())?)?, records);
    Ok(())
}

#[test]
fn the_oldest_segment_is_dropped_and_counted_and_the_bound_holds() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut spool = Spool::open(folder.path(), SMALL)?;
    let total = 200;
    for number in 1..=total {
        spool.append(&[numbered(number)])?;
        let bytes = usage(folder.path())?.bytes;
        assert!(bytes <= SMALL.bytes, "{bytes} bytes after {number} records");
    }
    let kept = numbers(&read(&spool)?);
    let dropped = spool.dropped();
    assert!(dropped.records > 0);
    assert_eq!(kept, (dropped.records + 1..=total).collect::<Vec<_>>(), "only the oldest are gone");
    assert_eq!(dropped.packets, (1..=dropped.records).sum::<u64>());
    assert_eq!(usage(folder.path())?.dropped, dropped, "the numbers outlive the process");
    assert_eq!(Spool::open(folder.path(), SMALL)?.dropped(), dropped);
    Ok(())
}

#[test]
fn one_batch_may_fill_several_segments() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut spool = Spool::open(folder.path(), SMALL)?;
    let batch: Vec<_> = (1..=20).map(numbered).collect();
    spool.append(&batch)?;
    assert!(segments(folder.path())?.len() > 1);
    assert_eq!(read(&spool)?, batch);
    Ok(())
}

#[test]
fn a_torn_last_line_is_cut_off() -> TestResult {
    let folder = tempfile::tempdir()?;
    Spool::open(folder.path(), SMALL)?.append(&[numbered(1), numbered(2)])?;
    let path = segment_path(folder.path(), 1);
    let bytes = fs::metadata(&path)?.len();
    fs::OpenOptions::new().write(true).open(&path)?.set_len(bytes - 30)?;

    let mut spool = Spool::open(folder.path(), SMALL)?;
    assert_eq!(numbers(&read(&spool)?), [1]);
    spool.append(&[numbered(3)])?;
    assert_eq!(numbers(&read(&spool)?), [1, 3]);
    Ok(())
}

#[test]
fn a_torn_header_is_written_anew() -> TestResult {
    let folder = tempfile::tempdir()?;
    fs::write(segment_path(folder.path(), 5), &HEADER[..7])?;
    let mut spool = Spool::open(folder.path(), SMALL)?;
    spool.append(&[numbered(1)])?;
    let mut reader = spool.reader()?;
    assert_eq!(reader.by_ref().count(), 1);
    assert_eq!(reader.unreadable(), 0);
    Ok(())
}

#[test]
fn a_segment_of_another_version_is_left_alone() -> TestResult {
    let folder = tempfile::tempdir()?;
    let foreign = "{\"filter_spool\":2}\nwho knows\n";
    fs::write(segment_path(folder.path(), 5), foreign)?;
    let mut spool = Spool::open(folder.path(), SMALL)?;
    spool.append(&[numbered(1)])?;
    assert_eq!(numbers(&read(&spool)?), [1]);
    assert_eq!(fs::read_to_string(segment_path(folder.path(), 5))?, foreign);
    assert!(segment_path(folder.path(), 6).exists());
    Ok(())
}

#[test]
fn lines_that_are_no_records_are_skipped_and_counted() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut spool = Spool::open(folder.path(), SMALL)?;
    spool.append(&[numbered(1)])?;
    let mut file = fs::OpenOptions::new().append(true).open(segment_path(folder.path(), 1))?;
    file.write_all(b"{\"start\":\nnonsense\n")?;
    drop(spool);
    let mut spool = Spool::open(folder.path(), SMALL)?;
    spool.append(&[numbered(2)])?;
    let mut reader = spool.reader()?;
    let read = reader.by_ref().collect::<Result<Vec<_>>>()?;
    assert_eq!(numbers(&read), [1, 2]);
    assert_eq!(reader.unreadable(), 2);
    Ok(())
}

#[test]
fn a_segment_that_was_counted_before_a_crash_is_not_counted_twice() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut spool = Spool::open(folder.path(), SMALL)?;
    while segments(folder.path())?.len() < 3 {
        spool.append(&[numbered(1)])?;
    }
    let counted = Dropped { through: 1, records: 12, packets: 12 };
    fs::write(dropped_path(folder.path()), serde_json::to_vec(&counted)?)?;
    drop(spool);
    let spool = Spool::open(folder.path(), SMALL)?;
    assert_eq!(spool.dropped(), counted);
    assert!(!segment_path(folder.path(), 1).exists());
    Ok(())
}

#[test]
fn a_reader_keeps_what_is_dropped_meanwhile_and_sees_nothing_that_comes_later() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut spool = Spool::open(folder.path(), SMALL)?;
    spool.append(&[numbered(1)])?;
    let reader = spool.reader()?;
    for number in 2..=200 {
        spool.append(&[numbered(number)])?;
    }
    assert!(!segment_path(folder.path(), 1).exists());
    assert_eq!(numbers(&reader.collect::<Result<Vec<_>>>()?), [1]);
    Ok(())
}

#[test]
fn a_reader_can_begin_anywhere() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut spool = Spool::open(folder.path(), SMALL)?;
    let mut places = vec![spool.position()];
    for number in 1..=20 {
        spool.append(&[numbered(number)])?;
        places.push(spool.position());
    }
    assert!(places[20].segment > 1);
    for (count, place) in places.iter().enumerate() {
        let read = spool.reader_from(*place)?.collect::<Result<Vec<_>>>()?;
        assert_eq!(numbers(&read), (count as u64 + 1..=20).collect::<Vec<_>>(), "{place:?}");
    }
    let beyond = Position { segment: 99, bytes: 4 };
    assert_eq!(spool.reader_from(beyond)?.count(), 0);
    Ok(())
}

#[test]
fn a_smaller_bound_holds_at_once() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut spool = Spool::open(folder.path(), Limits { bytes: 1 << 20, segment: 4096 })?;
    for number in 1..=200 {
        spool.append(&[numbered(number)])?;
    }
    drop(spool);
    let spool = Spool::open(folder.path(), SMALL)?;
    assert!(usage(folder.path())?.bytes <= SMALL.bytes);
    assert_eq!(read(&spool)?.len() as u64 + spool.dropped().records, 200);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the sizes of the batches, and wherever the process ends in between or its last
    /// line is torn: what is read is what was appended, in order, less what was dropped from the
    /// front and the torn record.
    #[test]
    fn nothing_is_lost_but_what_is_counted(batches in prop::collection::vec((0_usize..30, 0_u8..4), 1..20)) {
        let folder = tempfile::tempdir()?;
        let mut spool = Spool::open(folder.path(), SMALL)?;
        let mut expected: Vec<u64> = Vec::new();
        let mut next = 1;
        for (count, event) in batches {
            let batch: Vec<_> = (next..next + count as u64).map(numbered).collect();
            next += count as u64;
            expected.extend(numbers(&batch));
            spool.append(&batch)?;
            if event == 0 {
                drop(spool);
                spool = Spool::open(folder.path(), SMALL)?;
            } else if event == 1 {
                let kept = spool.reader()?.count();
                let last = spool_last(folder.path())?;
                if last.bytes > HEADER.len() as u64 && kept > 0 {
                    drop(spool);
                    fs::OpenOptions::new().write(true).open(&last.path)?.set_len(last.bytes - 1)?;
                    expected.pop();
                    spool = Spool::open(folder.path(), SMALL)?;
                }
            }
        }
        let read = spool.reader()?.collect::<Result<Vec<_>>>()?;
        let dropped = spool.dropped().records as usize;
        prop_assert_eq!(numbers(&read), &expected[dropped..]);
        prop_assert_eq!(spool.dropped().packets, expected[..dropped].iter().sum::<u64>());
        prop_assert!(usage(folder.path())?.bytes <= SMALL.bytes);
    }
}

fn spool_last(folder: &Path) -> Result<Segment> {
    let all = segments(folder)?;
    Ok(all.into_iter().next_back().unwrap_or(Segment { number: 0, path: PathBuf::new(), bytes: 0 }))
}

#[test]
fn a_segment_of_another_version_is_skipped_with_a_note() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut spool = Spool::open(folder.path(), Limits::default())?;
    spool.append(&[resolved()])?;
    std::fs::write(super::segment_path(folder.path(), 1), "{\"filter_spool\":99}\n{}\n")?;
    let mut reader = Reader::open(&super::segments(folder.path())?, Position::default())?;
    assert_eq!(reader.by_ref().count(), 0);
    assert_eq!(reader.unreadable(), 0);
    let [note] = reader.notes() else { return Err("one note".into()) };
    assert!(note.ends_with("is in a format of another version: skipped"), "{note}");
    Ok(())
}
