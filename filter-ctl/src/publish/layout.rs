//! Where a flow log's files lie and what they are called: AWS's object keys.
//!
//! ```text
//! PREFIX/AWSLogs/ACCOUNT/vpcflowlogs/REGION/YYYY/MM/DD/[HH/]FILE
//! PREFIX/AWSLogs/aws-account-id=ACCOUNT/aws-service=vpcflowlogs/aws-region=REGION/
//!     year=YYYY/month=MM/day=DD/[hour=HH/]FILE                        (Hive-compatible)
//! FILE = ACCOUNT_vpcflowlogs_REGION_FLOWLOG_YYYYMMDDTHHmmZ_HASH.log.gz | .log.parquet
//! ```
//!
//! A file holds records whose *end* lies in one window of five minutes; the time in its name begins
//! that window, and its folder is that time's. Of several files of one window each has a hash of
//! its own.
//!
//! Source: VPC guide, `flow-logs-s3-path`.

use std::fmt;

use jiff::{Timestamp, civil, tz::TimeZone};

use crate::policy::{DestinationOptions, FileFormat};

/// The word in the keys and names that stands for the service.
const SERVICE: &str = "vpcflowlogs";
/// The folder below the prefix; a prefix must not have one of that name.
const TOP: &str = "AWSLogs";

/// How the names of files in a format end.
const fn extension(format: FileFormat) -> &'static str {
    match format {
        FileFormat::PlainText => ".log.gz",
        FileFormat::Parquet => ".log.parquet",
    }
}

/// A window of time whose records share files. Windows begin at multiples of their length since
/// the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// Its first second, in Unix time.
    pub start: u64,
    /// Its length in seconds, at least 1.
    pub length: u32,
}

impl Window {
    /// AWS's length of windows, in seconds.
    pub const FIVE_MINUTES: u32 = 300;

    /// The window that a time lies in, in Unix seconds.
    #[must_use]
    pub fn of(time: u64, length: u32) -> Self {
        let length = length.max(1);
        Self { start: time - time % u64::from(length), length }
    }

    /// The first second after it.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.start.saturating_add(self.length as u64)
    }

    fn civil(self) -> civil::DateTime {
        let second = i64::try_from(self.start).unwrap_or(i64::MAX);
        TimeZone::UTC.to_datetime(Timestamp::from_second(second).unwrap_or(Timestamp::MAX))
    }
}

/// Whose files they are and how they are laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    prefix: String,
    account: String,
    region: String,
    flow_log: String,
    options: DestinationOptions,
}

/// What cannot stand in a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A word of the file's name.
    #[error(
        "the {what} `{value}` cannot stand in a file's name: letters, digits, `-` and `.` can, and one of them must"
    )]
    Word {
        /// Which word: account, region or flow log.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// The prefix.
    #[error("the prefix `{prefix}` {problem}")]
    Prefix {
        /// What it is.
        prefix: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Layout {
    /// A layout.
    ///
    /// The prefix is a path of folders, without `AWSLogs`, which AWS reserves; it may be empty. Slashes at its
    /// ends do not matter.
    ///
    /// # Errors
    ///
    /// If a part cannot stand in a key, or would lead out of the folder.
    pub fn new(
        prefix: &str,
        account: &str,
        region: &str,
        flow_log: &str,
        options: DestinationOptions,
    ) -> Result<Self, LayoutError> {
        let prefix = prefix.trim_matches('/');
        for folder in prefix.split('/').filter(|_| !prefix.is_empty()) {
            let problem = match folder {
                "" => "has an empty folder in it",
                "." | ".." => "must not have `.` or `..` in it",
                TOP => "must not have a folder `AWSLogs`, which is added below it",
                _ if folder.contains(char::is_control) => "has a control character in it",
                _ => continue,
            };
            return Err(LayoutError::Prefix { prefix: prefix.to_owned(), problem });
        }
        // An underscore ends a word, so none can stand in it.
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        for (what, value) in [("account", account), ("region", region), ("flow log", flow_log)] {
            let fits = value.bytes().all(letter) && value.bytes().any(|byte| byte.is_ascii_alphanumeric());
            if !fits {
                return Err(LayoutError::Word { what, value: value.to_owned() });
            }
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            account: account.to_owned(),
            region: region.to_owned(),
            flow_log: flow_log.to_owned(),
            options,
        })
    }

    /// The options of the files.
    #[must_use]
    pub const fn options(&self) -> DestinationOptions {
        self.options
    }

    /// The flow log whose files they are: `fl-…`.
    #[must_use]
    pub fn flow_log(&self) -> &str {
        &self.flow_log
    }

    /// The folder of all files of the flow log, whatever their time: a path without slashes at its ends.
    #[must_use]
    pub fn top(&self) -> String {
        let Self { prefix, account, region, options, .. } = self;
        let slash = if prefix.is_empty() { "" } else { "/" };
        if options.hive_compatible_partitions {
            format!("{prefix}{slash}{TOP}/aws-account-id={account}/aws-service={SERVICE}/aws-region={region}")
        } else {
            format!("{prefix}{slash}{TOP}/{account}/{SERVICE}/{region}")
        }
    }

    /// The folder of a window's files, likewise.
    #[must_use]
    pub fn folder(&self, window: Window) -> String {
        let time = window.civil();
        let (year, month, day) = (time.year(), time.month(), time.day());
        let mut folder = self.top();
        let hive = self.options.hive_compatible_partitions;
        folder += &if hive {
            format!("/year={year:04}/month={month:02}/day={day:02}")
        } else {
            format!("/{year:04}/{month:02}/{day:02}")
        };
        if self.options.per_hour_partition {
            folder += &format!("/{}{:02}", if hive { "hour=" } else { "" }, time.hour());
        }
        folder
    }

    /// The name of one of a window's files.
    #[must_use]
    pub fn name(&self, window: Window, hash: Hash) -> String {
        let time = window.civil();
        format!(
            "{}{:04}{:02}{:02}T{:02}{:02}Z_{hash}{}",
            self.stem(),
            time.year(),
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            extension(self.options.file_format),
        )
    }

    /// Folder and name of one of a window's files: the key of an object.
    #[must_use]
    pub fn key(&self, window: Window, hash: Hash) -> String {
        format!("{}/{}", self.folder(window), self.name(window, hash))
    }

    /// When the window of a file begins, in Unix seconds to the minute, as its name says; `None`
    /// for a file that is not one of this flow log's, in either format.
    #[must_use]
    pub fn time_of(&self, name: &str) -> Option<u64> {
        let rest = name.strip_prefix(&self.stem())?;
        let (time, rest) = rest.split_once("Z_")?;
        let formats = [FileFormat::PlainText, FileFormat::Parquet];
        formats.iter().find(|format| rest.strip_suffix(extension(**format)).is_some_and(Hash::is))?;
        let time = civil::DateTime::strptime("%Y%m%dT%H%M", time).ok()?;
        let second = TimeZone::UTC.to_timestamp(time).ok()?.as_second();
        u64::try_from(second).ok()
    }

    /// How the names of all its files begin.
    fn stem(&self) -> String {
        format!("{}_{SERVICE}_{}_{}_", self.account, self.region, self.flow_log)
    }
}

/// What tells the files of one window apart: eight hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hash(u32);

impl Hash {
    /// A hash that the caller chose.
    #[must_use]
    pub const fn new(hash: u32) -> Self {
        Self(hash)
    }

    /// A hash that no other file is likely to have.
    #[must_use]
    pub fn random() -> Self {
        use std::hash::{BuildHasher, RandomState};
        // Keyed from the kernel's random numbers once, and differently for each that is made.
        Self(RandomState::new().hash_one(0) as u32)
    }

    fn is(text: &str) -> bool {
        text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "111122223333";
    /// 2026-11-24 16:22:57 UTC.
    const TIME: u64 = 1_795_537_377;

    fn layout(prefix: &str, options: DestinationOptions) -> Layout {
        Layout::new(prefix, ACCOUNT, "us-east-1", "fl-1234abcd", options).unwrap()
    }

    fn key(prefix: &str, options: DestinationOptions) -> String {
        layout(prefix, options).key(Window::of(TIME, Window::FIVE_MINUTES), Hash::new(0xfe12_3456))
    }

    #[test]
    fn section_5_9_the_time_in_the_name_begins_the_five_minutes() {
        let window = |end| Window::of(end, Window::FIVE_MINUTES);
        let name = |end| layout("", DestinationOptions::default()).name(window(end), Hash::new(1));
        let expected = "111122223333_vpcflowlogs_us-east-1_fl-1234abcd_20261124T1620Z_00000001.log.gz";
        // From 16:20:00 to 16:24:59.
        let first = TIME - 177;
        assert_eq!([name(first), name(TIME), name(first + 299)], [expected; 3]);
        assert_eq!(name(first + 300), expected.replace("T1620Z", "T1625Z"));
        assert_eq!(name(first - 1), expected.replace("T1620Z", "T1615Z"));
        assert_eq!((window(TIME).start, window(TIME).end()), (first, first + 300));
    }

    #[test]
    fn section_5_9_plain_keys() {
        let day = "AWSLogs/111122223333/vpcflowlogs/us-east-1/2026/11/24";
        let file = "111122223333_vpcflowlogs_us-east-1_fl-1234abcd_20261124T1620Z_fe123456.log.gz";
        assert_eq!(key("", DestinationOptions::default()), format!("{day}/{file}"));
        assert_eq!(key("/logs/vpc/", DestinationOptions::default()), format!("logs/vpc/{day}/{file}"));
        let hourly = DestinationOptions { per_hour_partition: true, ..DestinationOptions::default() };
        assert_eq!(key("", hourly), format!("{day}/16/{file}"));
    }

    #[test]
    fn section_5_9_hive_keys_and_parquet() {
        let options = DestinationOptions {
            file_format: FileFormat::Parquet,
            hive_compatible_partitions: true,
            per_hour_partition: true,
        };
        let hour = "AWSLogs/aws-account-id=111122223333/aws-service=vpcflowlogs/aws-region=us-east-1/year=2026/month=11/day=24/hour=16";
        let file = "111122223333_vpcflowlogs_us-east-1_fl-1234abcd_20261124T1620Z_fe123456.log.parquet";
        assert_eq!(key("p", options), format!("p/{hour}/{file}"));
        let daily = DestinationOptions { per_hour_partition: false, ..options };
        assert_eq!(key("", daily), format!("{}/{file}", hour.trim_end_matches("/hour=16")));
    }

    #[test]
    fn numbers_have_leading_zeros() {
        // 2026-01-02 03:04:05 UTC.
        let window = Window::of(1_767_323_045, Window::FIVE_MINUTES);
        let options = DestinationOptions { per_hour_partition: true, ..DestinationOptions::default() };
        let key = layout("", options).key(window, Hash::new(0xab));
        assert!(
            key.ends_with(
                "/2026/01/02/03/111122223333_vpcflowlogs_us-east-1_fl-1234abcd_20260102T0300Z_000000ab.log.gz"
            ),
            "{key}"
        );
    }

    #[test]
    fn section_5_9_awslogs_is_reserved() {
        let refused = |prefix| {
            let error = Layout::new(prefix, ACCOUNT, "r", "fl-1", DestinationOptions::default()).unwrap_err();
            error.to_string()
        };
        let reserved = "the prefix `a/AWSLogs` must not have a folder `AWSLogs`, which is added below it";
        assert_eq!(refused("a/AWSLogs/"), reserved);
        assert!(refused("AWSLogs").contains("must not have a folder `AWSLogs`"));
        assert!(refused("a/../b").contains("`..`"));
        assert!(refused("a//b").contains("empty folder"));
        assert!(refused("a\nb").contains("control character"));
        assert!(Layout::new("myAWSLogs", ACCOUNT, "r", "fl-1", DestinationOptions::default()).is_ok());
    }

    #[test]
    fn words_that_would_break_the_name_are_refused() {
        for (account, region, flow_log) in
            [("", "r", "f"), ("..", "r", "f"), ("1/2", "r", "f"), ("1", "a_b", "f"), ("1", "r", "fl 1")]
        {
            let refused = Layout::new("", account, region, flow_log, DestinationOptions::default());
            assert!(matches!(refused, Err(LayoutError::Word { .. })), "{account} {region} {flow_log}");
        }
    }

    #[test]
    fn a_files_time_is_read_from_its_name() {
        let layout = layout("", DestinationOptions::default());
        let window = Window::of(TIME, Window::FIVE_MINUTES);
        let name = layout.name(window, Hash::random());
        assert_eq!(layout.time_of(&name), Some(window.start));
        let parquet = name.replace(".log.gz", ".log.parquet");
        assert_eq!(layout.time_of(&parquet), Some(window.start), "of before the format was changed");
        for other in [
            name.replace("fl-1234abcd", "fl-1234abce"),
            name.replace("us-east-1", "us-east-2"),
            name.replace(".log.gz", ".log.gz.1"),
            name.replace("T1620Z", "T1660Z"),
            name.replace("Z_", "Z_x"),
            "notes.log.gz".to_owned(),
        ] {
            assert_eq!(layout.time_of(&other), None, "{other}");
        }
    }

    #[test]
    fn hashes_differ() {
        let hashes: std::collections::HashSet<_> = (0..100).map(|_| Hash::random()).collect();
        assert!(hashes.len() > 95);
    }
}
