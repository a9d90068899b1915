//! Flow logs at their destinations, read back by programs that are not ours: moto's server stands for AWS, boto3 and
//! flowlogs_reader read what it has, DuckDB queries Parquet.

use std::{
    error::Error,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime},
};

use filter_ctl::{
    flowlog::{
        fields::{Field, Row, Value},
        logformat::LogFormat,
    },
    policy::{DestinationOptions, FileFormat},
    publish::{
        Folder, Layout, Limits, Publisher, Retention, Rotation, S3, Summary, aws::Settings, s3::Bucket,
    },
};
use serde_json::{Value as Json, json};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(60);
const ACCOUNT: &str = "111122223333";

/// The environment that `cargo xtask setup` makes.
fn python() -> PathBuf {
    let folder = std::env::var_os("FILTER_PYTHON").map(PathBuf::from);
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/xtask/python");
    let folder = folder.unwrap_or(default);
    assert!(
        folder.join("requirements.txt").exists(),
        "no Python programs in {}: run `cargo xtask setup`",
        folder.display()
    );
    folder.join("bin/python")
}

/// Runs one of the scripts beside this file; what it prints is JSON, if anything.
fn run(script: &str, arguments: &[&dyn AsRef<OsStr>]) -> TestResult<Json> {
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/publish").join(script));
    command.args(arguments.iter().map(|argument| argument.as_ref()));
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{script}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    if output.stdout.is_empty() { Ok(Json::Null) } else { Ok(serde_json::from_slice(&output.stdout)?) }
}

/// moto's server.
struct Aws {
    child: Child,
    endpoint: String,
}

impl Aws {
    /// Starts it at a port of its choice, 0, or at a given one, and waits until it answers.
    fn start(port: u16) -> TestResult<Self> {
        let mut command = Command::new(python());
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(child.stderr.take().ok_or("no standard error")?).lines();
        let endpoint = loop {
            let line = said.next().ok_or("moto's server ended")??;
            if let Some((_, address)) = line.split_once("Running on ") {
                break address.trim().to_owned();
            }
        };
        // Read on, so that it never waits for a reader.
        std::thread::spawn(move || said.for_each(drop));
        Ok(Self { child, endpoint })
    }

    fn settings(&self) -> TestResult<(tempfile::TempDir, Settings)> {
        settings(&self.endpoint)
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Credentials in a profile file, and an endpoint.
fn settings(endpoint: &str) -> TestResult<(tempfile::TempDir, Settings)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config");
    fs::write(&file, "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n")?;
    let settings = Settings {
        endpoint: Some(endpoint.to_owned()),
        region: Some("us-east-1".to_owned()),
        profile_file: Some(file),
        ..Settings::default()
    };
    Ok((folder, settings))
}

/// A record as a flow log has it.
#[derive(Clone)]
struct Record(Vec<(Field, Value<'static>)>);

impl Row for Record {
    fn value(&self, field: Field) -> Value<'_> {
        self.0.iter().find(|(own, _)| *own == field).map_or(Value::None, |(_, value)| value.clone())
    }
}

impl Record {
    fn new(interface: &'static str, time: u64) -> Self {
        let address = |last| Value::from(IpAddr::from(Ipv4Addr::new(198, 51, 100, last)));
        Self(vec![
            (Field::AccountId, ACCOUNT.into()),
            (Field::InterfaceId, interface.into()),
            (Field::SrcAddr, address(7)),
            (Field::DstAddr, address(20)),
            (Field::SrcPort, 40022_u16.into()),
            (Field::DstPort, 443_u16.into()),
            (Field::Protocol, 6_u8.into()),
            (Field::Packets, 12_u64.into()),
            (Field::Bytes, 2410_u64.into()),
            (Field::Start, time.into()),
            (Field::End, (time + 9).into()),
            (Field::Action, "ACCEPT".into()),
            (Field::LogStatus, "OK".into()),
        ])
    }

    fn with(mut self, field: Field, value: impl Into<Value<'static>>) -> Self {
        self.0.retain(|(own, _)| *own != field);
        self.0.push((field, value.into()));
        self
    }

    /// A record of an interval without traffic.
    fn idle(time: u64) -> Self {
        let Self(mut values) = Self::new("eni-2", time).with(Field::LogStatus, "NODATA");
        let stay = [Field::AccountId, Field::InterfaceId, Field::Start, Field::End, Field::LogStatus];
        values.retain(|(field, _)| stay.contains(field));
        Self(values)
    }
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn finish(publisher: Publisher) -> TestResult<Summary> {
    let summary = runtime()?.block_on(publisher.finish(PATIENCE));
    assert_eq!((summary.left, summary.untold, &summary.progress.error), (0, false, &None), "{summary:?}");
    Ok(summary)
}

fn publish_all(publisher: &mut Publisher, records: &[Record]) {
    for (position, record) in records.iter().enumerate() {
        publisher.publish(record, 1 + position as u64);
    }
}

#[cfg(feature = "cloudwatch")]
mod cloudwatch {
    use filter_ctl::{
        policy::TrafficType,
        publish::cloudwatch::{CloudWatch, Group},
    };

    use super::*;

    fn publisher(settings: Settings, traffic: TrafficType) -> TestResult<Publisher> {
        let destination = CloudWatch::new(Group { name: "flows".to_owned(), traffic, settings }, 0);
        Ok(Publisher::start("fl-1", LogFormat::default(), 60, 0, Limits::default(), destination)?)
    }

    fn read(endpoint: &str) -> TestResult<Json> {
        let (start, end) = ((now() - 14 * 86400).to_string(), (now() + 3600).to_string());
        run("read.py", &[&endpoint, &"cloudwatch", &"flows", &start, &end])
    }

    #[test]
    fn every_record_comes_to_its_interfaces_stream() -> TestResult {
        let aws = Aws::start(0)?;
        let (_folder, settings) = aws.settings()?;
        let mut publisher = publisher(settings, TrafficType::All)?;
        // More than one request takes, latest first; and one that is too old for the service as it is.
        let latest = now() - 60;
        let mut records: Vec<_> = (0..12_000).map(|second| Record::new("eni-1", latest - second)).collect();
        records.push(Record::new("eni-2", latest).with(Field::Action, "REJECT"));
        records.push(Record::idle(latest));
        records.push(Record::new("eni-1", now() - 30 * 86400));
        publish_all(&mut publisher, &records);
        let summary = finish(publisher)?;
        assert_eq!((summary.progress.refused, summary.progress.durable), (0, 12_003));

        let found = read(&aws.endpoint)?;
        assert_eq!(found["streams"], json!(["eni-1-all", "eni-2-all"]));
        let found = found["records"].as_array().ok_or("no records")?;
        assert_eq!(found.len(), 12_003);
        let of = |id: &str| found.iter().filter(|record| record["interface_id"] == id).collect::<Vec<_>>();
        let starts: Vec<_> = of("eni-1").iter().filter_map(|record| record["start"].as_u64()).collect();
        assert_eq!(
            starts[0],
            records[12_002].0[9].1.to_string().parse::<u64>()?,
            "the record itself is as it was"
        );
        assert!(starts.is_sorted(), "in chronological order");
        let expected = json!({
            "version": 2, "account_id": ACCOUNT, "interface_id": "eni-2", "srcaddr": "198.51.100.7",
            "dstaddr": "198.51.100.20", "srcport": 40022, "dstport": 443, "protocol": 6, "packets": 12,
            "bytes": 2410, "start": latest, "end": latest + 9, "action": "REJECT", "log_status": "OK",
        });
        assert_eq!(*of("eni-2")[0], expected);
        let idle = json!({
            "version": 2, "account_id": ACCOUNT, "interface_id": "eni-2", "start": latest, "end": latest + 9,
            "log_status": "NODATA",
        });
        assert_eq!(*of("eni-2")[1], idle);
        Ok(())
    }

    #[test]
    fn an_outage_of_the_service_loses_nothing() -> TestResult {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (_folder, settings) = settings(&format!("http://127.0.0.1:{port}"))?;
        let limits = Limits { longest_wait: Duration::from_millis(100), ..Limits::default() };
        let group = Group { name: "flows".to_owned(), traffic: TrafficType::Reject, settings };
        let mut publisher =
            Publisher::start("fl-1", LogFormat::default(), 60, 0, limits, CloudWatch::new(group, 0))?;
        publish_all(&mut publisher, &[Record::new("eni-1", now()), Record::new("eni-1", now())]);
        let end = std::thread::spawn(move || finish(publisher).map_err(|error| error.to_string()));
        // The service comes when it was missed already, or about to be.
        let aws = Aws::start(port)?;
        end.join().map_err(|_| "it panicked")??;
        let found = read(&aws.endpoint)?;
        assert_eq!(found["streams"], json!(["eni-1-reject"]));
        assert_eq!(found["records"].as_array().map(Vec::len), Some(2));
        Ok(())
    }
}

#[test]
fn a_public_reader_reads_the_files_in_a_bucket() -> TestResult {
    let aws = Aws::start(0)?;
    run("bucket.py", &[&aws.endpoint, &"logs"])?;
    let (folder, settings) = aws.settings()?;
    let layout = Layout::new("vpc", ACCOUNT, "us-east-1", "fl-1", DestinationOptions::default())?;
    let format: LogFormat =
        "${version} ${interface-id} ${srcaddr} ${packets} ${start} ${end} ${log-status} ${vpc-id}".parse()?;
    let staging = Folder::open(
        folder.path().join("staging"),
        layout,
        Arc::new(format.clone()),
        Rotation::default(),
        Retention::default(),
        0,
    )?;
    let bucket = Bucket { name: "logs".to_owned(), settings, virtual_hosted: None };
    let mut publisher =
        Publisher::start("fl-1", format, 60, 0, Limits::default(), S3::new(bucket, staging, 1 << 30))?;
    let time = 1_795_537_200;
    let first = Record::new("eni-1", time).with(Field::VpcId, "vpc-1");
    publish_all(&mut publisher, &[first, Record::new("eni-1", time + 600), Record::idle(time + 600)]);
    finish(publisher)?;

    let (start, end) = ((time - 3600).to_string(), (time + 3600).to_string());
    let mut found = run("read.py", &[&aws.endpoint, &"s3", &"logs/vpc", &start, &end])?;
    let records = found["records"].as_array_mut().ok_or("no records")?;
    records.sort_by_key(|record| (record["start"].as_u64(), record["log_status"].to_string()));
    let expected = json!([
        { "version": 3, "interface_id": "eni-1", "srcaddr": "198.51.100.7", "packets": 12, "start": time,
          "end": time + 9, "log_status": "OK", "vpc_id": "vpc-1" },
        { "version": 3, "interface_id": "eni-2", "start": time + 600, "end": time + 609,
          "log_status": "NODATA" },
        { "version": 3, "interface_id": "eni-1", "srcaddr": "198.51.100.7", "packets": 12,
          "start": time + 600, "end": time + 609, "log_status": "OK" },
    ]);
    assert_eq!(found["records"], expected);
    Ok(())
}

#[test]
fn duckdb_queries_parquet_as_athena_does() -> TestResult {
    let folder = tempfile::tempdir()?;
    let options = DestinationOptions {
        file_format: FileFormat::Parquet,
        hive_compatible_partitions: true,
        per_hour_partition: true,
    };
    let layout = Layout::new("", ACCOUNT, "us-east-1", "fl-1", options)?;
    let format = LogFormat::new(Field::ALL.to_vec())?;
    let destination = Folder::open(
        folder.path(),
        layout,
        Arc::new(format.clone()),
        Rotation::default(),
        Retention::default(),
        0,
    )?;
    let mut publisher = Publisher::start("fl-1", format, 60, 0, Limits::default(), destination)?;
    let time = 1_795_537_200;
    let mut records: Vec<_> = (0..5_000).map(|second| Record::new("eni-1", time + second)).collect();
    records.push(Record::new("eni-2", time).with(Field::Action, "REJECT").with(Field::DstPort, 22_u16));
    records.push(
        Record::new("eni-1", time).with(Field::DstAddr, "203.0.113.9").with(Field::Bytes, 5_000_000_000_u64),
    );
    records.push(Record::idle(time));
    publish_all(&mut publisher, &records);
    finish(publisher)?;

    let found = run("query.py", &[&folder.path()])?;
    for field in Field::ALL {
        let expected = match field.kind() {
            filter_ctl::flowlog::fields::Kind::Int32 => "INTEGER",
            filter_ctl::flowlog::fields::Kind::Int64 => "BIGINT",
            filter_ctl::flowlog::fields::Kind::Text => "VARCHAR",
        };
        assert_eq!(found["types"][field.column()], expected, "{field:?}");
    }
    let partition = |hour: u64| json!([2026, 11, 24, hour, ACCOUNT.parse::<u64>().unwrap_or_default()]);
    assert_eq!(found["partitions"], json!([partition(16), partition(17)]));
    assert_eq!(found["rejected"], json!([["eni-2", "198.51.100.7", "REJECT", 6]]));
    let top = json!([[5_000_000_000_u64, "203.0.113.9"], [5_000 * 2410, "198.51.100.20"]]);
    assert_eq!(found["top"], top);
    assert_eq!(found["statuses"], json!([["NODATA", 1, 0, 0], ["OK", 5_002, 5_002, 5_002]]));
    assert_eq!(found["ends"], json!([[time + 9, time + 5_008]]));
    Ok(())
}
