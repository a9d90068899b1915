//! With a server in this process that answers as it is told.

use std::{
    collections::VecDeque,
    io::Read,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::{net::TcpListener, task::JoinHandle};

use super::*;
use crate::{
    flowlog::{
        Record,
        fake::{TestResult, resolved},
        logformat::LogFormat,
    },
    publish::{Due, Limits, Losses, Publisher},
};

/// Status, `Retry-After`, body.
type Told = (u16, Option<u64>, &'static str);

/// A collector.
#[derive(Clone, Default)]
struct Server {
    /// How to answer the next requests; then with success.
    answers: Arc<Mutex<VecDeque<Told>>>,
    /// Path, headers and message of each request.
    requests: Arc<Mutex<Vec<(String, HeaderMap, Json)>>>,
}

impl Server {
    async fn serve(&self) -> TestResult<(SocketAddr, JoinHandle<()>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = self.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                let answer = service_fn(move |request| {
                    let server = server.clone();
                    async move { server.answer(request).await }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), answer));
            }
        });
        Ok((address, task))
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> TestResultSend<hyper::Response<Full<bytes::Bytes>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let mut message = Vec::new();
        GzDecoder::new(&*body).read_to_end(&mut message)?;
        let message = serde_json::from_slice(&message)?;
        self.requests.lock().unwrap().push((head.uri.path().to_owned(), head.headers, message));
        let next = self.answers.lock().unwrap().pop_front();
        let (status, after, body) = next.unwrap_or((200, None, "{}"));
        let mut response = hyper::Response::builder().status(status);
        if let Some(after) = after {
            response = response.header(RETRY_AFTER, after);
        }
        Ok(response.body(Full::from(body))?)
    }

    /// How many records each request had.
    fn counts(&self) -> Vec<usize> {
        let requests = self.requests.lock().unwrap();
        let records = |message: &Json| {
            message["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().map_or(0, Vec::len)
        };
        requests.iter().map(|(_, _, message)| records(message)).collect()
    }
}

type TestResultSend<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn otlp(address: SocketAddr) -> TestResult<Otlp> {
    let headers = vec![("Authorization".to_owned(), "Bearer 1".to_owned())];
    let collector = Collector { url: format!("http://{address}"), headers, service: "gateway".to_owned() };
    Ok(Otlp::new(&collector, 0)?)
}

fn batch(records: u64) -> Batch {
    let mut batch = Batch::new(Arc::new(LogFormat::default()), 0);
    assert!((0..records).all(|start| batch.push(&Record { start, ..resolved() }, start + 1)));
    batch
}

#[tokio::test]
async fn records_are_posted_to_a_collector() -> TestResult {
    let server = Server::default();
    let (address, _task) = server.serve().await?;
    let mut publisher =
        Publisher::start("fl-1", LogFormat::default(), 60, 0, Limits::default(), otlp(address)?)?;
    for position in 1..=1500 {
        publisher.publish(&resolved(), position);
    }
    let summary = publisher.finish(Duration::from_secs(60)).await;
    assert_eq!((summary.left, summary.progress.durable), (0, 1500));
    assert_eq!(server.counts().iter().sum::<usize>(), 1500);
    let requests = server.requests.lock().unwrap();
    let (path, headers, _) = &requests[0];
    assert_eq!(path, "/v1/logs");
    assert_eq!(
        (&headers["content-type"], &headers["authorization"]),
        (&HeaderValue::from_static("application/json"), &HeaderValue::from_static("Bearer 1"))
    );
    Ok(())
}

#[tokio::test]
async fn a_request_has_at_most_a_thousand_records_and_none_is_sent_twice() -> TestResult {
    let server = Server::default();
    server.answers.lock().unwrap().extend([(200, None, "{}"), (503, Some(7), "busy")]);
    let (address, _task) = server.serve().await?;
    let (mut otlp, mut losses) = (otlp(address)?, Losses::new(60));
    let mut turn = Turn::new(0, Due::Elapsed, &mut losses);
    otlp.take(&batch(2500), &mut turn);
    let error = otlp.send(&mut turn).await.unwrap_err();
    assert_eq!((error.trouble, error.after), (Trouble::RateLimited, Some(Duration::from_secs(7))));
    assert!(error.to_string().ends_with("/v1/logs: it answers 503 Service Unavailable: busy"), "{error}");
    assert_eq!(otlp.durable(), 0);
    otlp.send(&mut turn).await?;
    assert_eq!(server.counts(), [1000, 1000, 1000, 500], "the second one failed");
    assert_eq!(otlp.durable(), 2500);
    Ok(())
}

#[tokio::test]
async fn what_a_collector_refuses_is_counted() -> TestResult {
    for (answer, refused) in [
        ((200, None, r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"no"}}"#), 3),
        ((200, None, r#"{"partialSuccess":{"rejectedLogRecords":2}}"#), 2),
        ((400, None, "bad"), 10),
        ((413, None, ""), 10),
        ((200, None, "not JSON"), 0),
    ] {
        let server = Server::default();
        server.answers.lock().unwrap().push_back(answer);
        let (address, _task) = server.serve().await?;
        let (mut otlp, mut losses) = (otlp(address)?, Losses::new(60));
        let mut turn = Turn::new(0, Due::Elapsed, &mut losses);
        otlp.take(&batch(10), &mut turn);
        otlp.send(&mut turn).await?;
        assert_eq!(turn.refused, refused, "{answer:?}");
        assert_eq!(turn.trouble.is_some(), answer.0 >= 400, "told, though nothing waits for it");
        assert_eq!(losses.pop().map_or(0, |lost| lost.measure.records), refused);
    }
    Ok(())
}

#[tokio::test]
async fn what_can_be_repaired_is_tried_again() -> TestResult {
    for (status, trouble) in [
        (401, Trouble::Access),
        (403, Trouble::Access),
        (404, Trouble::Unknown),
        (429, Trouble::RateLimited),
        (502, Trouble::Unknown),
    ] {
        let server = Server::default();
        server.answers.lock().unwrap().push_back((status, None, ""));
        let (address, _task) = server.serve().await?;
        let (mut otlp, mut losses) = (otlp(address)?, Losses::new(60));
        let mut turn = Turn::new(0, Due::Elapsed, &mut losses);
        otlp.take(&batch(10), &mut turn);
        assert_eq!(otlp.send(&mut turn).await.map_err(|error| error.trouble), Err(trouble));
        otlp.send(&mut turn).await?;
        assert_eq!((server.counts(), turn.refused), (vec![10, 10], 0));
    }
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_told() -> TestResult {
    let (address, task) = Server::default().serve().await?;
    task.abort();
    let _ = task.await;
    let (mut otlp, mut losses) = (otlp(address)?, Losses::new(60));
    let mut turn = Turn::new(0, Due::Elapsed, &mut losses);
    otlp.take(&batch(1), &mut turn);
    let error = otlp.send(&mut turn).await.unwrap_err();
    assert!(error.to_string().ends_with("/v1/logs: Connection refused (os error 111)"), "{error}");
    Ok(())
}

#[test]
fn an_address_is_checked() {
    let of = |url: &str, header: &str| {
        let headers = vec![(header.to_owned(), "x".to_owned())];
        Otlp::new(&Collector { url: url.to_owned(), headers, service: String::new() }, 0)
            .map(|otlp| otlp.url.to_string())
            .map_err(|error| error.to_string())
    };
    assert_eq!(of("http://[::1]:4318", "x-key").as_deref(), Ok("http://[::1]:4318/v1/logs"));
    assert_eq!(of("https://c.example/otlp", "x-key").as_deref(), Ok("https://c.example/otlp"));
    for url in ["collector:4318", "ftp://c.example", "", "/v1/logs"] {
        assert!(of(url, "x-key").is_err_and(|error| error.contains("is no URL of a collector")), "{url}");
    }
    assert!(of("http://c.example", "a b").is_err_and(|error| error.contains("cannot be a header")));
}
