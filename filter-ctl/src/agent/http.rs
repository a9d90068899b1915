//! `/metrics` and `/health`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::{
    board::{Board, Report},
    metrics,
};
use crate::datapath::{Places, inspect::inspect};

/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Seconds without a round after which the collecting loop counts as stuck.
const STUCK: u64 = 60;

/// Serves a connection.
pub(super) async fn serve(stream: TcpStream, places: Places, board: Arc<Board>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (places, board) = (places.clone(), Arc::clone(&board));
        async move { Ok::<_, Infallible>(answer(&request, places, board).await) }
    });
    // A client that goes away is no trouble of ours.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: &Request<Incoming>, places: Places, board: Arc<Board>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            // Reading the kernel's maps of many interfaces takes a while.
            let read = tokio::task::spawn_blocking(move || {
                let (interfaces, _) = inspect(&places).map_err(|error| error.to_string())?;
                metrics::text(&board.report(), &interfaces).map_err(|error| error.to_string())
            });
            match read.await {
                Ok(Ok(metrics)) => with(StatusCode::OK, metrics::CONTENT_TYPE, metrics),
                Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be read\n"),
            }
        }
        "/health" => {
            let troubles = troubles(&board.report(), board.idle_seconds());
            let status = if troubles.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let report = serde_json::json!({
                "healthy": troubles.is_empty(),
                "troubles": troubles,
                "agent": board.report(),
            });
            with(status, "application/json", format!("{report:#}\n"))
        }
        _ => text(StatusCode::NOT_FOUND, "expected /metrics or /health\n"),
    }
}

/// What is wrong.
fn troubles(report: &Report, idle_seconds: u64) -> Vec<String> {
    let mut troubles = Vec::new();
    if idle_seconds > STUCK {
        troubles.push(format!("nothing was collected for {idle_seconds} s"));
    }
    if let Some(error) = report.policy.as_ref().and_then(|policy| policy.error.as_ref()) {
        troubles.push(format!("the document is not applied: {error}"));
    }
    for log in &report.flow_logs {
        troubles.extend(log.error.as_ref().map(|error| format!("{}: {error}", log.id)));
    }
    troubles
}

fn text(status: StatusCode, what: &str) -> Response<Full<Bytes>> {
    with(status, "text/plain; charset=utf-8", what.to_owned())
}

fn with(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::board::{LogReport, PolicyReport};

    #[test]
    fn health_names_what_is_wrong() {
        assert!(troubles(&Report::default(), 3).is_empty());
        let policy = PolicyReport { error: Some("line 3".into()), ..PolicyReport::default() };
        let log = LogReport { id: "fl-1".into(), error: Some("down".into()), ..LogReport::default() };
        let report = Report { policy: Some(policy), flow_logs: vec![log], ..Report::default() };
        assert_eq!(
            troubles(&report, 61),
            ["nothing was collected for 61 s", "the document is not applied: line 3", "fl-1: down"]
        );
    }
}
