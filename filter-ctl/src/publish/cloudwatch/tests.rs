use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::{
    flowlog::{
        Record,
        fake::{TestResult, lost_record, resolved},
        logformat::LogFormat,
    },
    publish::{Losses, Measure},
};

fn event(measure: Measure) -> Event {
    Event { time: 0, text: String::new(), measure }
}

fn time(record: &Record, now: u64) -> TestResult<i64> {
    let mut batch = Batch::new(Arc::new(LogFormat::default()), 0);
    assert!(batch.push(record, 1));
    Ok(event_time(&batch.row(0), now))
}

#[test]
fn section_5_9_streams_are_named_after_the_interface_and_the_traffic() {
    let names =
        [TrafficType::All, TrafficType::Accept, TrafficType::Reject].map(|kind| stream_name("eni-1", kind));
    assert_eq!(names, ["eni-1-all", "eni-1-accept", "eni-1-reject"]);
}

#[test]
fn section_5_9_an_events_time_is_the_records_start() -> TestResult {
    let start = resolved().start;
    assert_eq!(time(&resolved(), start + 100)?, 1_700_000_010_000);
    let (late, early) = (start + 15 * DAY, start - DAY);
    assert_eq!(time(&resolved(), late)?, ((late - OLDEST) * 1000) as i64, "as old as may be");
    assert_eq!(time(&resolved(), early)?, ((early + NEWEST) * 1000) as i64, "as new as may be");
    Ok(())
}

#[test]
fn losses_from_long_ago_are_told_now() -> TestResult {
    let start = lost_record().start;
    assert_eq!(time(&lost_record(), start + 100)?, 1_700_000_010_000);
    assert_eq!(time(&lost_record(), start + DAY)?, ((start + DAY) * 1000) as i64);
    Ok(())
}

#[test]
fn what_the_service_refuses_is_picked_by_its_indices() {
    let measure = Measure { start: 0, end: 0, records: 1, packets: 0, bytes: 0 };
    let events: Vec<_> = (0..6).map(|packets| event(Measure { packets, ..measure })).collect();
    let picked = |info: Option<RejectedLogEventsInfo>| {
        refused(info.as_ref(), &events).map(|event| event.measure.packets).collect::<Vec<_>>()
    };
    let info = |old, expired, new| {
        let info = RejectedLogEventsInfo::builder();
        let info = info.set_too_old_log_event_end_index(old).set_expired_log_event_end_index(expired);
        picked(Some(info.set_too_new_log_event_start_index(new).build()))
    };
    assert!(picked(None).is_empty());
    assert_eq!(info(Some(2), None, None), [0, 1], "the end is exclusive");
    assert_eq!(info(Some(1), Some(2), None), [0, 1]);
    assert_eq!(info(None, None, Some(4)), [4, 5], "the start is inclusive");
    assert_eq!(info(Some(1), None, Some(5)), [0, 5]);
    assert_eq!(info(Some(-1), Some(99), None), [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn few_events_wait_for_more() -> TestResult {
    let group = Group { name: "g".to_owned(), traffic: TrafficType::All, settings: Settings::default() };
    let mut cloudwatch = CloudWatch::new(group, 3);
    let mut losses = Losses::new(60);
    let mut batch = Batch::new(Arc::new(LogFormat::default()), 3);
    assert!(batch.push(&resolved(), 4));
    cloudwatch.take(&batch, &mut Turn::new(1_700_000_100, Due::Elapsed, &mut losses));
    // Without a request: there is nobody to answer one.
    cloudwatch.send(&mut Turn::new(1_700_000_104, Due::Elapsed, &mut losses)).await?;
    assert_eq!((cloudwatch.durable(), cloudwatch.streams.len()), (3, 1));
    Ok(())
}

/// What was asked of a service, by the operations' names.
struct Service {
    operations: Arc<Mutex<Vec<String>>>,
    /// With the credentials.
    _folder: tempfile::TempDir,
}

/// A service that answers the next requests with an error's name, and from then on with success.
async fn service(errors: &[&'static str]) -> TestResult<(Group, Service)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let errors = Arc::new(Mutex::new(errors.iter().copied().collect::<VecDeque<_>>()));
    let operations = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&operations);
    let answer = move |request: Request<Incoming>| {
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
        let operation = target.and_then(|target| target.rsplit('.').next()).unwrap_or_default();
        asked.lock().unwrap().push(operation.to_owned());
        let response = match errors.lock().unwrap().pop_front() {
            Some(error) => Response::builder().status(400).body(format!(r#"{{"__type":"{error}"}}"#)),
            None => Response::builder().body("{}".to_owned()),
        };
        std::future::ready(response)
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service_fn(answer.clone())));
        }
    });
    let folder = tempfile::tempdir()?;
    let profile_file = folder.path().join("config");
    std::fs::write(&profile_file, "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = s\n")?;
    let settings =
        Settings { endpoint: Some(endpoint), profile_file: Some(profile_file), ..Settings::default() };
    let group = Group { name: "flows".to_owned(), traffic: TrafficType::All, settings };
    Ok((group, Service { operations, _folder: folder }))
}

/// Sends one record; tells the trouble, and then sends what is left.
async fn trouble(errors: &[&'static str]) -> TestResult<(Trouble, Vec<String>)> {
    let (group, service) = service(errors).await?;
    let mut cloudwatch = CloudWatch::new(group, 0);
    let (mut batch, mut losses) = (Batch::new(Arc::new(LogFormat::default()), 0), Losses::new(60));
    assert!(batch.push(&resolved(), 1));
    let mut turn = Turn::new(1_700_000_100, Due::All, &mut losses);
    cloudwatch.take(&batch, &mut turn);
    let error = cloudwatch.send(&mut turn).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot put events into flows eni-0a1-all: "), "{error}");
    assert_eq!((cloudwatch.durable(), cloudwatch.bytes > 0), (0, true));
    cloudwatch.send(&mut turn).await?;
    assert_eq!((cloudwatch.durable(), cloudwatch.bytes, turn.refused), (1, 0, 0));
    let operations = service.operations.lock().unwrap().clone();
    Ok((error.trouble, operations))
}

#[tokio::test]
async fn throttling_is_told_and_what_was_throttled_is_sent_later() -> TestResult {
    let (trouble, operations) = trouble(&["ThrottlingException"; TRIES as usize]).await?;
    assert_eq!(trouble, Trouble::RateLimited);
    assert_eq!(operations, ["PutLogEvents"; 4], "the SDK tries three times, and we once more");
    Ok(())
}

#[tokio::test]
async fn what_permissions_forbid_is_told_and_sent_when_they_are_given() -> TestResult {
    let (trouble, operations) = trouble(&["AccessDeniedException"]).await?;
    assert_eq!((trouble, operations.len()), (Trouble::Access, 2));
    Ok(())
}

#[tokio::test]
async fn a_wrong_parameter_is_told_and_loses_nothing() -> TestResult {
    let (trouble, operations) = trouble(&["InvalidParameterException"]).await?;
    assert_eq!((trouble, operations.len()), (Trouble::Unknown, 2));
    Ok(())
}

#[tokio::test]
async fn a_group_and_a_stream_are_made_where_there_are_none() -> TestResult {
    // Another process makes the group at the same time.
    let (group, service) = service(&["ResourceNotFoundException", "ResourceAlreadyExistsException"]).await?;
    let mut cloudwatch = CloudWatch::new(group, 0);
    let (mut batch, mut losses) = (Batch::new(Arc::new(LogFormat::default()), 0), Losses::new(60));
    assert!(batch.push(&resolved(), 1));
    let mut turn = Turn::new(1_700_000_100, Due::All, &mut losses);
    cloudwatch.take(&batch, &mut turn);
    cloudwatch.send(&mut turn).await?;
    let expected = ["PutLogEvents", "CreateLogGroup", "CreateLogStream", "PutLogEvents"];
    assert_eq!(*service.operations.lock().unwrap(), expected);
    Ok(())
}
