//! CloudWatch Logs as destination, which is AWS's default: one log stream for each network
//! interface, in AWS's text, each event at the time at which its record starts.
//!
//! Sources: VPC guide, `flow-logs-cwl`; CloudWatch Logs API, `PutLogEvents`.

mod batching;

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_cloudwatchlogs::{
    Client,
    config::{retry::RetryConfig, timeout::TimeoutConfig},
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    types::{InputLogEvent, RejectedLogEventsInfo},
};

use self::batching::{Event, prefix};
use super::{
    Batch, Destination, Due, Error, Trouble, Turn, aws::Settings, batch::BatchRow, text::write_line,
};
use crate::policy::TrafficType;

/// Bytes of events that are sent without waiting for more.
const ENOUGH: usize = batching::MAX_BYTES;
/// Seconds after which fewer are sent too.
const WAIT: u64 = 5;
/// How often the SDK tries a request before it tells.
const TRIES: u32 = 3;
/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Events must not be older than 14 days nor more than two hours ahead; some minutes are left for
/// the way and for clocks that differ.
const OLDEST: u64 = 14 * DAY - 10 * 60;
const NEWEST: u64 = 2 * 60 * 60 - 10 * 60;
const DAY: u64 = 24 * 60 * 60;

/// A log group and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name. If there is none, it is made.
    pub name: String,
    /// What the flow log records: stands in the streams' names.
    pub traffic: TrafficType,
    /// Where the service is, and who we are there.
    pub settings: Settings,
}

/// Puts events into a log group.
pub struct CloudWatch {
    group: Group,
    client: Option<Client>,
    streams: BTreeMap<Box<str>, Stream>,
    /// Bytes of all events that wait, as the service counts them.
    bytes: usize,
    /// When the oldest of them was taken, in Unix seconds, and where the source of records stood
    /// before it.
    oldest: Option<(u64, u64)>,
    position: u64,
}

/// The events that wait for one stream.
struct Stream {
    name: String,
    /// A batch with one record of the interface: what is refused is counted as this one's.
    sample: Batch,
    events: Vec<Event>,
}

impl CloudWatch {
    /// A log group, for records after the place `position` of their source.
    #[must_use]
    pub const fn new(group: Group, position: u64) -> Self {
        Self { group, client: None, streams: BTreeMap::new(), bytes: 0, oldest: None, position }
    }

    fn push(&mut self, row: &BatchRow<'_>, batch: &Batch, now: u64) {
        let mut line = Vec::new();
        // A vector takes everything.
        let _ = write_line(row, &mut line);
        line.pop();
        let event = Event {
            time: event_time(row, now),
            text: String::from_utf8(line).unwrap_or_default(),
            measure: row.measure,
        };
        self.bytes += event.bytes();
        match self.streams.get_mut(row.interface) {
            Some(stream) => stream.events.push(event),
            None => {
                let sample = batch.sample(row);
                let name = stream_name(row.interface, self.group.traffic);
                self.streams.insert(row.interface.into(), Stream { name, sample, events: vec![event] });
            }
        }
    }

    async fn client(&mut self) -> Client {
        match &self.client {
            Some(client) => client.clone(),
            None => {
                let found = self.group.settings.load().await;
                let timeouts = TimeoutConfig::builder().operation_attempt_timeout(PATIENCE).build();
                let config = aws_sdk_cloudwatchlogs::config::Builder::from(&found)
                    .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
                    .timeout_config(timeouts)
                    .build();
                self.client.insert(Client::from_conf(config)).clone()
            }
        }
    }
}

impl Destination for CloudWatch {
    fn take(&mut self, batch: &Batch, turn: &mut Turn<'_>) {
        for row in batch.rows() {
            self.push(&row, batch, turn.now);
        }
        self.oldest.get_or_insert((turn.now, batch.after()));
        self.position = batch.position();
    }

    async fn send(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let waited = self.oldest.is_some_and(|(taken, _)| turn.now >= taken + WAIT);
        if self.bytes == 0 || !(waited || self.bytes >= ENOUGH || turn.due == Due::All) {
            return Ok(());
        }
        let client = self.client().await;
        for stream in self.streams.values_mut() {
            // In the order of time, as the service asks for; records of one time stay as they came.
            stream.events.sort_by_key(|event| event.time);
            while !stream.events.is_empty() {
                let count = prefix(&stream.events);
                let rejected = put(&client, &self.group.name, &stream.name, &stream.events[..count]).await?;
                let sent: Vec<_> = stream.events.drain(..count).collect();
                self.bytes -= sent.iter().map(Event::bytes).sum::<usize>();
                for event in refused(rejected.as_ref(), &sent) {
                    turn.refuse(&stream.sample.row(0), event.measure);
                }
            }
        }
        // An interface that is silent costs no memory.
        self.streams.clear();
        self.oldest = None;
        Ok(())
    }

    fn durable(&self) -> u64 {
        self.oldest.map_or(self.position, |(_, after)| after)
    }
}

/// `<eni>-all`, `-accept` or `-reject`, as AWS names streams. (Observed; no page says it.)
fn stream_name(interface: &str, traffic: TrafficType) -> String {
    let suffix = match traffic {
        TrafficType::All => "all",
        TrafficType::Accept => "accept",
        TrafficType::Reject => "reject",
    };
    format!("{}-{suffix}", if interface.is_empty() { "unknown" } else { interface })
}

/// The time of a record's event, in milliseconds since the Unix epoch: when the record starts, as far as the
/// service takes that. Losses from long ago are told at the time at which they are told, so that no retention
/// of the group's makes them come again.
fn event_time(row: &BatchRow<'_>, now: u64) -> i64 {
    let start = row.measure.start;
    let time = if row.skipped && start + DAY <= now + 60 * 60 {
        now
    } else {
        start.clamp(now.saturating_sub(OLDEST), now.saturating_add(NEWEST))
    };
    i64::try_from(time.saturating_mul(1000)).unwrap_or(i64::MAX)
}

/// The events of a request that the service did not take and never will.
fn refused<'a>(info: Option<&RejectedLogEventsInfo>, events: &'a [Event]) -> impl Iterator<Item = &'a Event> {
    let length = events.len();
    let index = |given: Option<i32>| given.and_then(|given| usize::try_from(given).ok());
    let old = info.and_then(|info| {
        index(info.too_old_log_event_end_index()).max(index(info.expired_log_event_end_index()))
    });
    let new = info.and_then(|info| index(info.too_new_log_event_start_index()));
    let taken = old.unwrap_or(0)..new.unwrap_or(length);
    events.iter().enumerate().filter(move |(place, _)| !taken.contains(place)).map(|(_, event)| event)
}

/// Puts events into a stream; makes the stream, and the group, if there is none. Tells what was not taken.
async fn put(
    client: &Client,
    group: &str,
    stream: &str,
    events: &[Event],
) -> Result<Option<RejectedLogEventsInfo>, Error> {
    let mut made = false;
    loop {
        let events: Vec<_> = events.iter().filter_map(input).collect();
        let request = client.put_log_events().log_group_name(group).log_stream_name(stream);
        let error = match request.set_log_events(Some(events)).send().await {
            Ok(taken) => return Ok(taken.rejected_log_events_info().cloned()),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(refused) if refused.is_data_already_accepted_exception() => return Ok(None),
            Some(refused) if refused.is_resource_not_found_exception() && !made => {}
            _ => return Err(failed(format!("put events into {group} {stream}"), error)),
        }
        make(client, group, stream).await?;
        made = true;
    }
}

fn input(event: &Event) -> Option<InputLogEvent> {
    InputLogEvent::builder().timestamp(event.time).message(&event.text).build().ok()
}

async fn make(client: &Client, group: &str, stream: &str) -> Result<(), Error> {
    if let Err(error) = client.create_log_group().log_group_name(group).send().await
        && error.code() != Some(EXISTS)
    {
        return Err(failed(format!("make the log group {group}"), error));
    }
    if let Err(error) = client.create_log_stream().log_group_name(group).log_stream_name(stream).send().await
        && error.code() != Some(EXISTS)
    {
        return Err(failed(format!("make the log stream {group} {stream}"), error));
    }
    Ok(())
}

const EXISTS: &str = "ResourceAlreadyExistsException";

fn failed<E>(action: String, error: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let trouble = match error.code().unwrap_or_default() {
        "ThrottlingException" | "ServiceUnavailableException" | "LimitExceededException" => {
            Trouble::RateLimited
        }
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "OptInRequired" => Trouble::Access,
        _ if matches!(error, SdkError::ConstructionFailure(_)) => Trouble::Access,
        _ => Trouble::Unknown,
    };
    Error::new(action, trouble, DisplayErrorContext(error).to_string())
}

#[cfg(test)]
mod tests;
