//! An S3-compatible object store as destination.
//!
//! Files are made in a staging folder of this machine, by [`Folder`], in the layout of the bucket;
//! what is complete there is uploaded, oldest first, and removed. So an outage of the store costs no record
//! as long as the folder has room, a crash costs none at all, and a file is uploaded whole or not.

use std::{
    fs,
    io::Read,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use bytes::Bytes;
use object_store::{
    BackoffConfig, ClientOptions, CredentialProvider, ObjectStoreExt, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AwsCredential},
    path::Path as Key,
};
use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinHandle,
    time::Instant,
};

use super::{
    Batch, Destination, Due, Error, Folder, Layout, Trouble, Turn,
    aws::Settings,
    backoff::Backoff,
    folder::trouble,
    retention::{Published, prune, published},
    tls,
};

/// Bytes of a part of a large object, and the size from which on one is uploaded in parts. Of each
/// upload so much stands in memory. (S3 takes parts from 5 MiB on.)
const PART: u64 = 8 << 20;
/// How often a request is tried before the whole upload waits and begins anew.
const RETRIES: usize = 3;
/// How long a request, and all tries of one, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A bucket and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Where it is, and who we are there.
    pub settings: Settings,
    /// Whether the bucket's name stands in the host's name instead of the path. AWS wants it so,
    /// most other stores do not: `None` means where no endpoint is set.
    pub virtual_hosted: Option<bool>,
}

/// Uploads files into a bucket.
pub struct S3 {
    staging: Folder,
    /// Bytes that may wait in the staging folder.
    limit: u64,
    bucket: Bucket,
    upload: Option<Upload>,
}

/// The task that uploads.
struct Upload {
    task: JoinHandle<()>,
    /// How often it was asked to look for files.
    asked: Arc<AtomicU64>,
    wake: Arc<Notify>,
    state: watch::Receiver<State>,
}

/// What the task tells.
#[derive(Clone, Debug, Default)]
struct State {
    /// Bytes in complete files that wait.
    waiting: u64,
    /// What [`Upload::asked`] was when it last looked and found nothing.
    answered: u64,
    /// Why the last try failed.
    error: Option<(String, Trouble)>,
}

impl S3 {
    /// A bucket, with the folder where files are staged, on a disk that outlives a crash, and the bytes
    /// that may wait there. What an earlier run left there is uploaded too.
    #[must_use]
    pub const fn new(bucket: Bucket, staging: Folder, limit: u64) -> Self {
        Self { staging, limit, bucket, upload: None }
    }

    fn upload(&mut self) -> &mut Upload {
        let start = || {
            let (wake, asked) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(1)));
            let (tell, state) = watch::channel(State::default());
            let uploader = Uploader {
                bucket: self.bucket.clone(),
                root: self.staging.root().to_owned(),
                layout: self.staging.layout().clone(),
                tell,
                asked: Arc::clone(&asked),
                wake: Arc::clone(&wake),
            };
            Upload { task: tokio::spawn(uploader.run()), asked, wake, state }
        };
        self.upload.get_or_insert_with(start)
    }
}

impl Upload {
    /// Asks for another look.
    fn ask(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.wake.notify_one();
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Destination for S3 {
    fn take(&mut self, batch: &Batch, turn: &mut Turn<'_>) {
        self.staging.take(batch, turn);
    }

    async fn send(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let before = self.staging.published();
        let staged = self.staging.send(turn).await;
        let new = self.staging.published() > before;
        let (limit, bucket) = (self.limit, self.bucket.name.clone());
        let upload = self.upload();
        if new {
            upload.ask();
        }
        staged?;
        let upload_error = |state: &State| {
            let (what, trouble) = state.error.clone()?;
            Some(Error::new(format!("upload to s3://{bucket}"), trouble, what))
        };
        if turn.due == Due::All {
            let asked = upload.asked.load(Ordering::SeqCst);
            let state = upload.state.wait_for(|state| state.answered >= asked).await;
            return match state {
                Ok(_) => Ok(()),
                Err(gone) => Err(Error::new(format!("upload to s3://{bucket}"), Trouble::Unknown, gone)),
            };
        }
        let state = upload.state.borrow().clone();
        let error = upload_error(&state);
        if state.waiting < limit {
            turn.trouble = error;
            return Ok(());
        }
        let full = || {
            Error::new(
                format!("stage more for s3://{bucket}"),
                Trouble::Unknown,
                "the staging folder is full",
            )
        };
        Err(error.unwrap_or_else(full))
    }

    /// What is complete in the staging folder is as durable as in the bucket: it will get there.
    fn durable(&self) -> u64 {
        self.staging.durable()
    }
}

/// Uploads what is complete in the staging folder, for as long as it runs.
struct Uploader {
    bucket: Bucket,
    root: PathBuf,
    layout: Layout,
    tell: watch::Sender<State>,
    asked: Arc<AtomicU64>,
    wake: Arc<Notify>,
}

impl Uploader {
    async fn run(self) {
        let mut backoff = Backoff::default();
        let mut store = None;
        loop {
            match self.pass(&mut store).await {
                Ok(()) => {
                    backoff.reset();
                    self.wake.notified().await;
                }
                Err(error) => {
                    let what = Some((error.source.to_string(), error.trouble));
                    self.tell.send_modify(|state| state.error = what);
                    tokio::time::sleep(backoff.wait()).await;
                }
            }
        }
    }

    /// Uploads everything that is there.
    async fn pass(&self, store: &mut Option<AmazonS3>) -> Result<(), Error> {
        loop {
            let asked = self.asked.load(Ordering::SeqCst);
            let files =
                published(&self.root, &self.layout).map_err(|error| trouble("read", &self.root, error))?;
            let mut waiting: u64 = files.iter().map(|file| file.bytes.max(1)).sum();
            self.tell.send_modify(|state| state.waiting = waiting);
            if files.is_empty() {
                self.tell.send_replace(State { answered: asked, ..State::default() });
                return Ok(());
            }
            let store = match store {
                Some(store) => store,
                None => store.insert(self.bucket.open().await?),
            };
            for file in files {
                self.upload(store, &file).await?;
                fs::remove_file(&file.path).map_err(|error| trouble("remove", &file.path, error))?;
                prune(&file.path, &self.root.join(self.layout.top()));
                waiting -= file.bytes.max(1);
                self.tell.send_modify(|state| {
                    state.waiting = waiting;
                    state.error = None;
                });
            }
        }
    }

    async fn upload(&self, store: &AmazonS3, file: &Published) -> Result<(), Error> {
        let key = file.path.strip_prefix(&self.root).unwrap_or(&file.path).to_string_lossy().into_owned();
        let failed = |error: object_store::Error| refused(format!("upload {key}"), error);
        let name = Key::parse(&key).map_err(|error| failed(error.into()))?;
        let mut source = fs::File::open(&file.path).map_err(|error| trouble("open", &file.path, error))?;
        let mut part = || {
            let mut bytes = Vec::new();
            let read = source.by_ref().take(PART).read_to_end(&mut bytes);
            read.map_err(|error| trouble("read", &file.path, error)).map(|_| Bytes::from(bytes))
        };
        let first = part()?;
        if (first.len() as u64) < PART {
            return store.put(&name, first.into()).await.map(drop).map_err(failed);
        }
        let mut upload = store.put_multipart(&name).await.map_err(failed)?;
        let mut next = first;
        let sent = loop {
            if let Err(error) = upload.put_part(next.into()).await {
                break Err(failed(error));
            }
            match part() {
                Ok(bytes) if bytes.is_empty() => break upload.complete().await.map(drop).map_err(failed),
                Ok(bytes) => next = bytes,
                Err(error) => break Err(error),
            }
        };
        if sent.is_err() {
            // Parts of uploads that are neither completed nor aborted cost money. If this fails too, the
            // bucket's lifecycle rule for them is what is left.
            let _ = upload.abort().await;
        }
        sent
    }
}

impl Bucket {
    async fn open(&self) -> Result<AmazonS3, Error> {
        tls::use_ring();
        let found = self.settings.load().await;
        let own = self.settings.endpoint.clone();
        // The service's own variable goes before the one for all services.
        let endpoint = own.or_else(|| std::env::var("AWS_ENDPOINT_URL_S3").ok());
        let endpoint = endpoint.or_else(|| found.endpoint_url().map(str::to_owned));
        let retry =
            RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: PATIENCE };
        let client = ClientOptions::new().with_timeout(PATIENCE);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.name)
            .with_credentials(Arc::new(Credentials::of(&found)))
            .with_virtual_hosted_style_request(self.virtual_hosted.unwrap_or(endpoint.is_none()))
            .with_client_options(client)
            .with_retry(retry);
        if let Some(region) = found.region() {
            builder = builder.with_region(region.as_ref());
        }
        if let Some(endpoint) = endpoint {
            builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
        }
        builder.build().map_err(|error| refused(format!("open the bucket {}", self.name), error))
    }
}

fn refused(action: String, error: object_store::Error) -> Error {
    use object_store::Error::{PermissionDenied, Unauthenticated};
    let text = error.to_string();
    let trouble = match &error {
        PermissionDenied { .. } | Unauthenticated { .. } => Trouble::Access,
        // S3 API, `ErrorResponses`: 503 means to reduce the rate.
        _ if text.contains("SlowDown") || text.contains("503") => Trouble::RateLimited,
        _ => Trouble::Unknown,
    };
    Error::new(action, trouble, error)
}

/// Credentials as the AWS tools find them, for the object store; asked for again before they expire.
#[derive(Debug)]
struct Credentials {
    provider: Option<SharedCredentialsProvider>,
    known: Mutex<Option<(Arc<AwsCredential>, Instant)>>,
}

impl Credentials {
    /// How long credentials that do not say when they expire are used: a file may be written anew.
    const LIFE: Duration = Duration::from_secs(15 * 60);
    /// How long before they expire others are asked for.
    const MARGIN: Duration = Duration::from_secs(60);

    fn of(found: &SdkConfig) -> Self {
        Self { provider: found.credentials_provider(), known: Mutex::new(None) }
    }
}

#[async_trait]
impl CredentialProvider for Credentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut known = self.known.lock().await;
        if let Some((credential, until)) = &*known
            && Instant::now() < *until
        {
            return Ok(Arc::clone(credential));
        }
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
            object_store::Error::Unauthenticated { path: "the credentials".to_owned(), source }
        };
        let Some(provider) = &self.provider else { return Err(failed("none are configured".into())) };
        let found = provider.provide_credentials().await.map_err(|error| failed(error.into()))?;
        let life = found.expiry().and_then(|expiry| expiry.duration_since(std::time::SystemTime::now()).ok());
        let life = life.map_or(Self::LIFE, |life| life.saturating_sub(Self::MARGIN).min(Self::LIFE));
        let credential = Arc::new(AwsCredential {
            key_id: found.access_key_id().to_owned(),
            secret_key: found.secret_access_key().to_owned(),
            token: found.session_token().map(str::to_owned),
        });
        *known = Some((Arc::clone(&credential), Instant::now() + life));
        Ok(credential)
    }
}

#[cfg(test)]
mod tests;
