use std::{fs, io::Read};

use flate2::read::GzDecoder;

use super::{super::retention::published, *};
use crate::{
    flowlog::{
        Record,
        fake::{TestResult, resolved},
    },
    policy::{DestinationOptions, FileFormat},
    publish::Losses,
};

/// The first second of a window of five minutes: 2026-11-24 16:20:00 UTC.
const T1620: u64 = 1_795_537_200;

struct Place {
    root: tempfile::TempDir,
    layout: Layout,
    losses: Losses,
}

impl Place {
    fn new(file_format: FileFormat) -> TestResult<Self> {
        let options = DestinationOptions { file_format, ..DestinationOptions::default() };
        let layout = Layout::new("", "111122223333", "us-east-1", "fl-1", options)?;
        Ok(Self { root: tempfile::tempdir()?, layout, losses: Losses::new(60) })
    }

    fn open(&self, rotation: Rotation) -> Result<Folder, Error> {
        let format = Arc::new(LogFormat::default());
        Folder::open(self.root.path(), self.layout.clone(), format, rotation, Retention::default(), 0)
    }

    async fn send(&mut self, folder: &mut Folder, now: u64, due: Due) -> Result<(), Error> {
        folder.send(&mut Turn::new(now, due, &mut self.losses)).await
    }

    fn take(&mut self, folder: &mut Folder, now: u64, after: u64, ends: &[u64]) {
        folder.take(&batch(after, ends), &mut Turn::new(now, Due::Elapsed, &mut self.losses));
    }

    /// The minute in the name of each published file, and the ends of its records.
    fn files(&self) -> TestResult<Vec<(String, Vec<u64>)>> {
        let files = published(self.root.path(), &self.layout)?;
        let read = |file: &super::super::retention::Published| {
            let name = file.path.file_name().ok_or("no name")?.to_string_lossy();
            let minute = name.split('_').nth(4).ok_or("no time")?.to_owned();
            let mut text = String::new();
            GzDecoder::new(fs::File::open(&file.path)?).read_to_string(&mut text)?;
            let ends = text.lines().skip(1).filter_map(|line| line.split(' ').nth(11)?.parse().ok());
            Ok((minute, ends.collect()))
        };
        files.iter().map(read).collect()
    }
}

fn batch(after: u64, ends: &[u64]) -> Batch {
    let mut batch = Batch::new(Arc::new(LogFormat::default()), after);
    for (place, &end) in ends.iter().enumerate() {
        let record = Record { start: end - 5, end, ..resolved() };
        assert!(batch.push(&record, after + 1 + place as u64));
    }
    batch
}

fn file(minute: &str, ends: &[u64]) -> (String, Vec<u64>) {
    (format!("20261124T{minute}Z"), ends.to_vec())
}

#[tokio::test]
async fn section_5_9_a_file_holds_the_records_whose_end_lies_in_its_window() -> TestResult {
    let mut place = Place::new(FileFormat::PlainText)?;
    let mut folder = place.open(Rotation::default())?;
    let ends = [T1620 - 1, T1620, T1620 + 299, T1620 + 300];
    place.take(&mut folder, T1620 + 310, 0, &ends);
    place.send(&mut folder, T1620 + 310, Due::Elapsed).await?;
    assert_eq!(place.files()?, [], "records may come late");
    place.send(&mut folder, T1620 + 400, Due::Elapsed).await?;
    let first_two = [file("1615", &ends[..1]), file("1620", &ends[1..3])];
    assert_eq!(place.files()?, first_two);

    place.take(&mut folder, T1620 + 600, 4, &[T1620 + 7]);
    place.send(&mut folder, T1620 + 689, Due::Elapsed).await?;
    assert_eq!(place.files()?.len(), 2);
    place.send(&mut folder, T1620 + 690, Due::Elapsed).await?;
    let all = place.files()?;
    assert_eq!(all.len(), 4, "a late record has a file of its own, with the window's time: {all:?}");
    assert!(all.contains(&file("1620", &[T1620 + 7])) && all.contains(&file("1625", &ends[3..])));
    Ok(())
}

#[tokio::test]
async fn the_end_of_the_log_publishes_what_is_open() -> TestResult {
    let mut place = Place::new(FileFormat::PlainText)?;
    let mut folder = place.open(Rotation::default())?;
    place.take(&mut folder, T1620, 0, &[T1620]);
    place.send(&mut folder, T1620, Due::All).await?;
    assert_eq!(place.files()?, [file("1620", &[T1620])]);
    place.send(&mut folder, T1620 + 1000, Due::All).await?;
    assert_eq!(place.files()?.len(), 1, "no empty files");
    Ok(())
}

#[tokio::test]
async fn what_is_durable_ends_before_the_first_record_in_an_open_file() -> TestResult {
    let mut place = Place::new(FileFormat::PlainText)?;
    let mut folder = place.open(Rotation::default())?;
    assert_eq!(folder.durable(), 0);
    place.take(&mut folder, T1620, 10, &[T1620]);
    place.take(&mut folder, T1620 + 310, 11, &[T1620 + 310]);
    assert_eq!(folder.durable(), 10);
    place.send(&mut folder, T1620 + 390, Due::Elapsed).await?;
    assert_eq!(folder.durable(), 11, "the first file is out, the second is open");
    place.send(&mut folder, T1620 + 390, Due::All).await?;
    assert_eq!(folder.durable(), 12);
    Ok(())
}

#[tokio::test]
async fn a_large_file_ends_before_its_time() -> TestResult {
    for file_format in [FileFormat::PlainText, FileFormat::Parquet] {
        let mut place = Place::new(file_format)?;
        let mut folder = place.open(Rotation { max_bytes: 1, ..Rotation::default() })?;
        for after in 0..3 {
            place.take(&mut folder, T1620, after, &[T1620]);
            place.send(&mut folder, T1620, Due::Elapsed).await?;
        }
        assert_eq!(published(place.root.path(), &place.layout)?.len(), 3, "{file_format:?}");
    }
    Ok(())
}

#[tokio::test]
async fn open_files_are_bounded() -> TestResult {
    let mut place = Place::new(FileFormat::PlainText)?;
    let mut folder = place.open(Rotation { max_open: 2, ..Rotation::default() })?;
    let ends: Vec<_> = (0..10).map(|window| T1620 + 300 * window).collect();
    place.take(&mut folder, T1620, 0, &ends);
    assert_eq!(folder.open.len(), 2);
    place.send(&mut folder, T1620, Due::Elapsed).await?;
    assert_eq!(place.files()?.len(), 8);
    place.send(&mut folder, T1620, Due::All).await?;
    let files = place.files()?;
    assert_eq!(files.iter().flat_map(|(_, ends)| ends.clone()).collect::<Vec<_>>(), ends);
    Ok(())
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_gets_everything_later() -> TestResult {
    let mut place = Place::new(FileFormat::PlainText)?;
    let mut folder = place.open(Rotation::default())?;
    // Root may write where nobody may; a file in the folder's place stops it, too.
    let blocked = place.root.path().join("AWSLogs");
    fs::write(&blocked, "")?;
    place.take(&mut folder, T1620, 0, &[T1620, T1620 + 1]);
    for _ in 0..2 {
        let error = place.send(&mut folder, T1620, Due::All).await.unwrap_err();
        assert!(error.to_string().starts_with("cannot write /"), "{error}");
    }
    assert_eq!(folder.durable(), 0);
    fs::remove_file(&blocked)?;
    place.send(&mut folder, T1620, Due::All).await?;
    assert_eq!(place.files()?, [file("1620", &[T1620, T1620 + 1])]);
    assert_eq!(folder.durable(), 2);
    Ok(())
}

#[tokio::test]
async fn a_crash_leaves_no_half_written_file() -> TestResult {
    let mut place = Place::new(FileFormat::PlainText)?;
    let mut folder = place.open(Rotation::default())?;
    let many: Vec<_> = (0..10_000).map(|second| T1620 + second % 300).collect();
    place.take(&mut folder, T1620, 0, &many);
    place.send(&mut folder, T1620, Due::Elapsed).await?;
    let staging = place.root.path().join(STAGING).join("fl-1");
    let rests = || Ok::<_, io::Error>(fs::read_dir(&staging)?.count() - 1);
    assert_eq!(rests()?, 1);
    // The process ends without a word: its lock goes, its files stay.
    let Folder { staging: locked, open, .. } = folder;
    drop(locked);
    std::mem::forget(open);
    assert_eq!((rests()?, place.files()?.len()), (1, 0));

    let mut folder = place.open(Rotation::default())?;
    assert_eq!(rests()?, 0, "swept");
    place.take(&mut folder, T1620, 0, &many);
    place.send(&mut folder, T1620, Due::All).await?;
    assert_eq!(place.files()?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn old_files_go_when_new_ones_come() -> TestResult {
    let mut place = Place::new(FileFormat::PlainText)?;
    let mut folder = place.open(Rotation::default())?;
    folder.retention = Retention { max_age: Some(3600), max_bytes: None };
    for (after, time) in [T1620, T1620 + 1800, T1620 + 5000].into_iter().enumerate() {
        place.take(&mut folder, time, after as u64, &[time]);
        place.send(&mut folder, time, Due::All).await?;
    }
    assert_eq!(place.files()?.len(), 2);
    Ok(())
}

#[test]
fn two_processes_do_not_write_the_same_log() -> TestResult {
    let place = Place::new(FileFormat::PlainText)?;
    let _first = place.open(Rotation::default())?;
    let second = place.open(Rotation::default()).map(drop).unwrap_err();
    assert!(second.to_string().ends_with("another process writes the files of this flow log"), "{second}");
    Ok(())
}
