//! An OpenTelemetry collector as destination: log records by OTLP over HTTP, in JSON.
//!
//! A record's body is its line in AWS's text, its attributes are its fields, under the names by which the
//! OpenTelemetry collector's own reader of VPC flow logs knows them.
//!
//! Sources: OTLP specification 1.x, "OTLP/HTTP"; OpenTelemetry semantic conventions.

mod message;

use std::{
    error::Error as _,
    io::{self, Write},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use serde::Deserialize;

use super::{Batch, Destination, Error, Trouble, Turn, tls};

/// Records of one request. Collectors take four MiB, or twenty; a record takes some hundred bytes.
const RECORDS: usize = 1000;
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where a collector takes logs.
const PATH: &str = "/v1/logs";

/// A collector and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Its URL. Without a path, it gets the usual one.
    pub url: String,
    /// Headers of every request, for example `Authorization`.
    pub headers: Vec<(String, String)>,
    /// `service.name` of the records.
    pub service: String,
}

/// What is wrong with a [`Collector`].
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The URL.
    #[error(
        "`{url}` is no URL of a collector: it must be like http://127.0.0.1:4318 or https://collector.example/v1/logs"
    )]
    Url {
        /// What it is.
        url: String,
    },
    /// A header. (Its value may be a secret.)
    #[error("`{name}` and its value cannot be a header")]
    Header {
        /// Its name.
        name: String,
    },
    /// The HTTP client: certificates, mostly.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Sends records to a collector.
#[derive(Debug)]
pub struct Otlp {
    url: Url,
    service: String,
    client: Client,
    /// What was taken last, and how many of its records are sent.
    pending: Option<(Batch, usize)>,
    position: u64,
}

impl Otlp {
    /// A collector, for records after the place `position` of their source.
    ///
    /// # Errors
    ///
    /// If the URL or a header is none.
    pub fn new(collector: &Collector, position: u64) -> Result<Self, CollectorError> {
        let wrong = || CollectorError::Url { url: collector.url.clone() };
        let mut url = Url::parse(&collector.url).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(wrong());
        }
        if matches!(url.path(), "" | "/") {
            url.set_path(PATH);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &collector.headers {
            let wrong = || CollectorError::Header { name: name.clone() };
            let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.append(HeaderName::try_from(name).map_err(|_| wrong())?, value);
        }
        tls::use_ring();
        let client = Client::builder().timeout(PATIENCE).default_headers(headers).build()?;
        Ok(Self { url, service: collector.service.clone(), client, pending: None, position })
    }

    async fn post(&self, body: Vec<u8>) -> Result<Response, Error> {
        let request = self.client.post(self.url.clone());
        let request = request.header(CONTENT_TYPE, "application/json").header(CONTENT_ENCODING, "gzip");
        let sent = request.body(body).send().await;
        // Its text names the URL again, and hides what went wrong in its sources.
        sent.map_err(|error| {
            let deepest = std::iter::successors(error.source(), |&error| error.source()).last();
            let text = deepest.map_or_else(|| error.to_string(), ToString::to_string);
            self.trouble(Trouble::Unknown, None, text)
        })
    }

    fn trouble(&self, trouble: Trouble, after: Option<Duration>, what: String) -> Error {
        Error { after, ..Error::new(format!("send records to {}", self.url), trouble, what) }
    }
}

impl Destination for Otlp {
    fn take(&mut self, batch: &Batch, _: &mut Turn<'_>) {
        self.pending = Some((batch.clone(), 0));
        self.position = batch.position();
    }

    async fn send(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        while let Some((batch, sent)) = &self.pending {
            let rows = *sent..batch.len().min(sent + RECORDS);
            if rows.is_empty() {
                self.pending = None;
                break;
            }
            let body = message::encode(&self.service, batch, rows.clone(), turn.now)
                .and_then(|message| compress(&message))
                .map_err(|error| Error::new("encode records", Trouble::Unknown, error))?;
            let refused = match Answer::of(self.post(body).await?).await {
                Answer::Taken { refused } => usize::try_from(refused).unwrap_or(usize::MAX),
                Answer::Refused { what } => {
                    turn.trouble = Some(self.trouble(Trouble::Unknown, None, what));
                    rows.len()
                }
                Answer::Later { trouble, after, what } => return Err(self.trouble(trouble, after, what)),
            };
            // A collector does not tell which ones it refused, only how many.
            for row in rows.clone().take(refused).map(|row| batch.row(row)) {
                turn.refuse(&row, row.measure);
            }
            if let Some((_, sent)) = &mut self.pending {
                *sent = rows.end;
            }
        }
        Ok(())
    }

    fn durable(&self) -> u64 {
        self.pending.as_ref().map_or(self.position, |(batch, _)| batch.after())
    }
}

fn compress(message: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(message)?;
    gzip.finish()
}

/// What a collector said.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It took the records, but for some.
    Taken { refused: u64 },
    /// It will never take them.
    Refused { what: String },
    /// Not now.
    Later { trouble: Trouble, after: Option<Duration>, what: String },
}

/// The message of success (`ExportLogsServiceResponse`).
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Success {
    partial_success: PartialSuccess,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialSuccess {
    /// In JSON, Protocol Buffers' long numbers are strings; some servers write numbers.
    rejected_log_records: serde_json::Value,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
        let after = after.map(Duration::from_secs);
        let body = response.bytes().await.unwrap_or_default();
        if status.is_success() {
            let success: Success = serde_json::from_slice(&body).unwrap_or_default();
            let refused = &success.partial_success.rejected_log_records;
            let refused = refused.as_u64().or_else(|| refused.as_str()?.parse().ok()).unwrap_or_default();
            return Self::Taken { refused };
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let what = format!("it answers {status}{}{text}", if text.is_empty() { "" } else { ": " });
        let later = |trouble, what| Self::Later { trouble, after, what };
        match status {
            // "The client MUST NOT retry": what is in them is wrong, or too much.
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Self::Refused { what },
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                later(Trouble::RateLimited, what)
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => later(Trouble::Access, what),
            // A wrong path and a broken proxy are repaired some time.
            _ => later(Trouble::Unknown, what),
        }
    }
}

#[cfg(test)]
mod tests;
