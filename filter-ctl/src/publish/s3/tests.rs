//! With a real server: `s3s-fs`, in this process.

use std::{
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;
use hyper_util::rt::TokioIo;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

use super::*;
use crate::{
    flowlog::{
        Record,
        fake::{TestResult, resolved},
        logformat::LogFormat,
    },
    policy::DestinationOptions,
    publish::{
        Limits, Publisher, Retention, Rotation,
        layout::{Hash, Window},
    },
};

/// The first second of a window of five minutes: 2026-11-24 16:20:00 UTC.
const T1620: u64 = 1_795_537_200;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// A store with the bucket `logs`, and a staging folder.
struct Place {
    root: tempfile::TempDir,
}

/// The store, while it runs.
struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Place {
    fn new() -> TestResult<Self> {
        let root = tempfile::tempdir()?;
        fs::create_dir_all(root.path().join("store/logs"))?;
        Ok(Self { root })
    }

    /// Starts the store, at a port of its choice or at a given one.
    async fn serve(&self, port: u16) -> TestResult<Server> {
        let files = FileSystem::new(self.root.path().join("store")).map_err(|error| format!("{error:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single("AKIDEXAMPLE", SECRET));
        let service = builder.build();
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let http = hyper::server::conn::http1::Builder::new();
                connections.spawn(http.serve_connection(TokioIo::new(stream), service.clone()));
            }
        });
        Ok(Server { address, task })
    }

    fn layout() -> TestResult<Layout> {
        Ok(Layout::new("vpc", "111122223333", "us-east-1", "fl-1", DestinationOptions::default())?)
    }

    fn staging(&self) -> PathBuf {
        self.root.path().join("staging")
    }

    /// The destination, with credentials from a file as the AWS tools have it.
    fn s3(&self, address: SocketAddr, secret: &str, limit: u64) -> TestResult<S3> {
        let profile_file = self.root.path().join("config");
        let profile = format!(
            "[profile logs]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {secret}\nregion = eu-west-1\n"
        );
        fs::write(&profile_file, profile)?;
        let settings = Settings {
            endpoint: Some(format!("http://{address}")),
            profile: Some("logs".to_owned()),
            profile_file: Some(profile_file),
            ..Settings::default()
        };
        let format = Arc::new(LogFormat::default());
        let (rotation, retention) = (Rotation::default(), Retention::default());
        let staging = Folder::open(self.staging(), Self::layout()?, format, rotation, retention, 0)?;
        let bucket = Bucket { name: "logs".to_owned(), settings, virtual_hosted: None };
        Ok(S3::new(bucket, staging, limit))
    }

    /// Keys in the bucket, sorted.
    fn keys(&self) -> TestResult<Vec<String>> {
        let bucket = self.root.path().join("store/logs");
        let files = published(&bucket, &Self::layout()?)?;
        Ok(files.iter().map(|file| key(&bucket, &file.path)).collect())
    }

    /// Lines of the object with a key.
    fn lines(&self, key: &str) -> TestResult<Vec<String>> {
        let mut text = String::new();
        let file = fs::File::open(self.root.path().join("store/logs").join(key))?;
        GzDecoder::new(file).read_to_string(&mut text)?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

fn key(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

fn publisher(s3: S3) -> TestResult<Publisher> {
    let tick = Duration::from_millis(20);
    let limits = Limits { tick, longest_wait: tick, ..Limits::default() };
    Ok(Publisher::start("fl-1", LogFormat::default(), 60, 0, limits, s3)?)
}

fn ending(end: u64) -> Record {
    Record { start: end, end, ..resolved() }
}

/// Waits until something is so.
async fn until(mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it comes true within 30 seconds");
}

#[tokio::test]
async fn files_come_to_the_bucket_in_awss_layout() -> TestResult {
    let place = Place::new()?;
    let server = place.serve(0).await?;
    let mut publisher = publisher(place.s3(server.address, SECRET, 1 << 30)?)?;
    for (position, end) in [T1620, T1620 + 299, T1620 + 300].into_iter().enumerate() {
        publisher.publish(&ending(end), 1 + position as u64);
    }
    let summary = publisher.finish(Duration::from_secs(60)).await;
    assert_eq!((summary.left, summary.progress.error, summary.progress.durable), (0, None, 3));

    let keys = place.keys()?;
    let stem = "vpc/AWSLogs/111122223333/vpcflowlogs/us-east-1/2026/11/24/111122223333_vpcflowlogs_us-east-1_fl-1_20261124T";
    let starts = ["1620Z_", "1625Z_"].map(|time| format!("{stem}{time}"));
    assert!(
        keys.len() == 2 && keys.iter().zip(&starts).all(|(key, start)| key.starts_with(start)),
        "{keys:?}"
    );
    let lines = place.lines(&keys[0])?;
    assert!(lines[0].starts_with("version account-id interface-id "), "{lines:?}");
    assert_eq!(lines.len(), 3);
    assert_eq!(published(&place.staging(), &Place::layout()?)?.len(), 0, "what is uploaded is removed");
    Ok(())
}

#[tokio::test]
async fn an_outage_of_the_store_costs_nothing() -> TestResult {
    let place = Place::new()?;
    let address = place.serve(0).await?.address;
    let mut publisher = publisher(place.s3(address, SECRET, 1 << 30)?)?;
    for position in 1..=5 {
        // Long ago: each file is due at once but for the linger, so the open ones are bounded by
        // the end of the log. A window each.
        publisher.publish(&ending(T1620 + 300 * position), position);
    }
    publisher.flush();
    until(|| publisher.progress().records == 5).await;
    let ends = tokio::spawn(publisher.finish(Duration::from_secs(60)));
    until(|| published(&place.staging(), &Place::layout().unwrap()).is_ok_and(|files| files.len() == 5))
        .await;
    assert_eq!(place.keys()?.len(), 0);

    let _server = place.serve(address.port()).await?;
    assert_eq!(ends.await?.left, 0);
    assert_eq!(place.keys()?.len(), 5);
    Ok(())
}

#[tokio::test]
async fn what_a_crash_left_in_the_staging_folder_is_uploaded_by_the_next_run() -> TestResult {
    let place = Place::new()?;
    let layout = Place::layout()?;
    let left = layout.key(Window::of(T1620, 300), Hash::new(7));
    let path = place.staging().join(&left);
    fs::create_dir_all(path.parent().ok_or("no folder")?)?;
    // More than two parts, none like the other.
    let bytes: Vec<u8> = (0..2 * PART + 12_345).map(|place| (place / 251 + place % 256) as u8).collect();
    fs::write(&path, &bytes)?;

    let server = place.serve(0).await?;
    let publisher = publisher(place.s3(server.address, SECRET, 1 << 30)?)?;
    publisher.finish(Duration::from_secs(60)).await;
    assert_eq!(place.keys()?, std::slice::from_ref(&left));
    assert!(fs::read(place.root.path().join("store/logs").join(&left))? == bytes);
    assert!(!path.exists());
    Ok(())
}

#[tokio::test]
async fn wrong_credentials_are_told_and_lose_nothing() -> TestResult {
    let place = Place::new()?;
    let server = place.serve(0).await?;
    let path = place.staging().join(Place::layout()?.key(Window::of(T1620, 300), Hash::new(7)));
    fs::create_dir_all(path.parent().ok_or("no folder")?)?;
    fs::write(&path, "x")?;
    let publisher = publisher(place.s3(server.address, "wrong", 1 << 30)?)?;
    until(|| publisher.progress().error.is_some()).await;
    let progress = publisher.progress();
    assert_eq!((progress.trouble, progress.failures), (Some("Access error"), 0), "{progress:?}");
    let error = progress.error.unwrap_or_default();
    assert!(error.starts_with("cannot upload to s3://logs: "), "{error}");
    assert!(path.exists() && place.keys()?.is_empty());
    assert!(!publisher.finish(Duration::from_millis(100)).await.untold);
    Ok(())
}

#[tokio::test]
async fn a_full_staging_folder_holds_records_back_until_they_are_counted_as_lost() -> TestResult {
    let place = Place::new()?;
    let address = place.serve(0).await?.address;
    let path = place.staging().join(Place::layout()?.key(Window::of(T1620, 300), Hash::new(7)));
    fs::create_dir_all(path.parent().ok_or("no folder")?)?;
    fs::write(&path, [0; 1000])?;
    let s3 = place.s3(address, SECRET, 1000)?;
    let mut publisher = {
        let tick = Duration::from_millis(20);
        let limits = Limits { tick, longest_wait: tick, queue_bytes: 1000, batch_bytes: 1000 };
        Publisher::start("fl-1", LogFormat::default(), 60, 0, limits, s3)?
    };
    until(|| publisher.progress().failures > 0).await;
    for position in 1..=100 {
        publisher.publish(&ending(T1620 + 300), position);
    }
    assert!(publisher.bytes() < 3000, "{}", publisher.bytes());

    let _server = place.serve(address.port()).await?;
    let summary = publisher.finish(Duration::from_secs(60)).await;
    assert_eq!((summary.left, summary.untold), (0, false));
    let keys = place.keys()?;
    let lines = place.lines(&keys[1])?;
    let count = |status: &str| lines.iter().filter(|line| line.ends_with(status)).count();
    assert!(count("SKIPDATA") == 1 && (1..20).contains(&count(" OK")), "{lines:?}");
    Ok(())
}
