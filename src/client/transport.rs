//! Calls over HTTP: connections, timeouts, retries.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;

use crate::{
    client::{
        backoff::Backoff,
        call::{Call, Repeat, Reply},
        clock::BootInstant,
        connection::{Connector, Sender},
        endpoint::{ApiKey, Endpoint},
        error::{ClientError, Refusal},
    },
    sync::lock,
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Most bytes of an answer. A listing of a million reservations is about 300 MiB; a page of a thousand is far below.
const ANSWER_BYTES: usize = 64 << 20;
/// Idle connections that are kept for the next call.
const IDLE_CONNECTIONS: usize = 4;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const HOLDFAST_TIME: HeaderName = HeaderName::from_static("holdfast-time");
const HOLDFAST_POSITION: HeaderName = HeaderName::from_static("holdfast-position");
const USER_AGENT: &str = concat!("holdfast/", env!("CARGO_PKG_VERSION"));

/// Why one attempt gave no answer.
enum AttemptError {
    /// No connection: nothing was sent.
    Unsent(String),
    /// Sent, and the answer did not come, or not whole.
    Unanswered(String),
}

/// Connections to the service, and the rules of retrying. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Transport {
    shared: Arc<Shared>,
}

struct Shared {
    connector: Connector,
    key: Option<ApiKey>,
    idle: Mutex<Vec<Sender>>,
    /// Counts connections that were opened, which picks the address of a host that comes first.
    opened: AtomicUsize,
}

impl Transport {
    /// A transport to an endpoint; without a key it calls as nobody, which a service with `HOLDFAST_AUTH=open` allows. Connects at the
    /// first call.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`]: TLS cannot be used on this machine.
    pub fn new(endpoint: Endpoint, key: Option<ApiKey>) -> Result<Self, ClientError> {
        let url = endpoint.to_string();
        let connector =
            Connector::new(endpoint).map_err(|error| ClientError::Unreachable { url, reason: error.to_string() })?;
        let shared = Shared { connector, key, idle: Mutex::default(), opened: AtomicUsize::new(0) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The service's address as people write it.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.connector.endpoint().to_string()
    }

    /// Makes a call, again where that is safe and useful: no connection, no answer, 503, 504, or the rate's 429. Pauses grow with
    /// jitter, and are never shorter than the service's `Retry-After`.
    ///
    /// # Errors
    /// [`ClientError`]; of several attempts, what the last one ran into. If any attempt may have been carried out it is
    /// [`ClientError::OutcomeUnknown`].
    ///
    /// # Cancellation
    /// Dropping the future closes the connection; what was sent may be carried out.
    pub(super) async fn call(&self, call: Call) -> Result<Reply, ClientError> {
        let end = BootInstant::now() + call.timeout;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let (mut unsent, mut uncertain) = (0, false);
        loop {
            let sent = BootInstant::now();
            let timeout = call.attempt_timeout.min(end.remaining());
            let attempt = tokio::time::timeout(timeout, self.attempt(&call)).await;
            let (failure, asked_pause) = match attempt {
                Ok(Ok((status, headers, body))) if status.as_u16() < 400 => {
                    return Ok(Reply {
                        sent,
                        repeated: uncertain,
                        server_time_us: number(&headers, &HOLDFAST_TIME),
                        position: number(&headers, &HOLDFAST_POSITION),
                        body,
                        url: self.url(),
                    });
                }
                Ok(Ok((status, headers, body))) => {
                    let refusal = Refusal::parse(status, retry_after(&headers), &body);
                    let repeatable = refusal.is_temporary()
                        && status != StatusCode::INTERNAL_SERVER_ERROR
                        && (call.repeat == Repeat::Safe || nothing_changed(status));
                    uncertain |= !nothing_changed(status);
                    let asked = refusal.retry_after;
                    let error = self.refused(refusal);
                    if !repeatable {
                        return Err(error);
                    }
                    (error, asked)
                }
                Ok(Err(AttemptError::Unsent(reason))) => {
                    unsent += 1;
                    let error = self.unreached(reason, uncertain);
                    if unsent >= call.connect_attempts {
                        return Err(error);
                    }
                    (error, None)
                }
                Ok(Err(AttemptError::Unanswered(reason))) => {
                    uncertain = true;
                    let error = self.unreached(reason, true);
                    if call.repeat != Repeat::Safe {
                        return Err(error);
                    }
                    (error, None)
                }
                Err(_) => {
                    uncertain = true;
                    let error = self.unreached(format!("no answer within {timeout:.1?}"), true);
                    if call.repeat != Repeat::Safe {
                        return Err(error);
                    }
                    (error, None)
                }
            };
            let pause = backoff.pause().max(asked_pause.unwrap_or_default());
            if pause >= end.remaining() {
                return Err(failure);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// A refusal; one of the credential says which.
    fn refused(&self, refusal: Refusal) -> ClientError {
        if refusal.code != "UNAUTHORIZED" {
            return ClientError::Refused(Box::new(refusal));
        }
        let url = self.url();
        match &self.shared.key {
            Some(key) => ClientError::WrongKey { url, key: key.hint() },
            None => ClientError::NoKey { url },
        }
    }

    fn unreached(&self, reason: String, uncertain: bool) -> ClientError {
        let url = self.url();
        if uncertain { ClientError::OutcomeUnknown { url, reason } } else { ClientError::Unreachable { url, reason } }
    }

    /// One attempt, up to the whole body.
    async fn attempt(&self, call: &Call) -> Result<(StatusCode, HeaderMap, Bytes), AttemptError> {
        let (response, sender) = self.send(call).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| AttemptError::Unanswered(format!("the answer broke off: {error}")))?
            .to_bytes();
        let mut idle = lock(&self.shared.idle);
        if idle.len() < IDLE_CONNECTIONS && !sender.is_closed() {
            idle.push(sender);
        }
        Ok((head.status, head.headers, body))
    }

    /// Sends a request and waits for the head of its answer. The connection is the caller's to keep until the body has ended.
    async fn send(&self, call: &Call) -> Result<(Response<Incoming>, Sender), AttemptError> {
        let mut sender = self.connection().await?;
        let request = self.request(call).map_err(|error| AttemptError::Unsent(error.to_string()))?;
        match sender.send_request(request).await {
            Ok(response) => Ok((response, sender)),
            // The connection had ended before a byte of this request was written.
            Err(error) if error.is_canceled() => Err(AttemptError::Unsent(reason(&error))),
            Err(error) => Err(AttemptError::Unanswered(reason(&error))),
        }
    }

    /// Opens a stream: the head of the answer, whose body goes on.
    ///
    /// # Errors
    /// As [`Transport::call`], of one attempt.
    pub(super) async fn stream(&self, call: Call) -> Result<(Response<Incoming>, Sender), ClientError> {
        let (response, sender) = match tokio::time::timeout(call.attempt_timeout, self.send(&call)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(AttemptError::Unsent(reason) | AttemptError::Unanswered(reason))) => {
                return Err(self.unreached(reason, false));
            }
            Err(_) => return Err(self.unreached(format!("no answer within {:.1?}", call.attempt_timeout), false)),
        };
        let status = response.status();
        if status.as_u16() < 400 {
            return Ok((response, sender));
        }
        let retry_after = retry_after(response.headers());
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect();
        let body = tokio::time::timeout(call.attempt_timeout, body).await;
        let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(self.refused(Refusal::parse(status, retry_after, &body)))
    }

    /// An idle connection that still stands, or a new one.
    async fn connection(&self) -> Result<Sender, AttemptError> {
        loop {
            let idle = lock(&self.shared.idle).pop();
            let Some(mut sender) = idle else { break };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let number = self.shared.opened.fetch_add(1, Ordering::Relaxed);
        self.shared.connector.open(number).await.map_err(|error| AttemptError::Unsent(error.to_string()))
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, http::Error> {
        let endpoint = self.shared.connector.endpoint();
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", endpoint.base_path, call.path))
            .header(header::HOST, &endpoint.authority)
            .header(header::USER_AGENT, USER_AGENT);
        if let Some(key) = &self.shared.key {
            request = request.header(X_API_KEY, key.header());
        }
        if call.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(call.body.clone().unwrap_or_default()))
    }
}

/// Statuses that promise that nothing changed.
fn nothing_changed(status: StatusCode) -> bool {
    status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE
}

/// An error of hyper with its cause, which alone says what happened.
fn reason(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    number(headers, &header::RETRY_AFTER).and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client::{reservations::Client, scripted_peer::Peer};

    #[test]
    fn headers_that_are_no_numbers_are_left_out() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "soon".parse().unwrap());
        assert_eq!(retry_after(&headers), None);
        headers.insert(header::RETRY_AFTER, "3".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(3)));
    }

    const PUBLISH: &str = "POST /api/v1/events";

    fn refusal(code: &str) -> Value {
        json!({"error": {"code": code, "message": "No."}})
    }

    #[tokio::test]
    async fn a_call_is_made_again_only_where_that_is_safe() {
        let unknown = || (PUBLISH, 504, refusal("OUTCOME_UNKNOWN"));
        let accepted = || (PUBLISH, 202, json!({"ids": ["7"]}));
        // An event without an id of its own might be published twice.
        let peer = Peer::start(vec![unknown(), accepted()]).await;
        assert!(peer.client().publish(&json!({"type": "x"})).await.is_err());
        assert_eq!(peer.lines().len(), 1);
        // With one it is published once, and the answer says that there was an attempt before.
        let peer = Peer::start(vec![unknown(), accepted()]).await;
        assert!(peer.client().publish(&json!({"type": "x", "dedupeId": "d"})).await.unwrap().repeated);
        // Nothing changed by a 503, so anything may be asked again.
        let peer = Peer::start(vec![(PUBLISH, 503, refusal("UNAVAILABLE")), accepted()]).await;
        assert!(!peer.client().publish(&json!({"type": "x"})).await.unwrap().repeated);
        // Nor by a bug's 500, but asking again mends none.
        let peer = Peer::start(vec![(PUBLISH, 500, refusal("INTERNAL")), accepted()]).await;
        assert!(peer.client().publish(&json!({"type": "x", "dedupeId": "d"})).await.is_err());
        assert_eq!(peer.lines().len(), 1);
    }

    #[tokio::test]
    async fn a_pause_is_never_shorter_than_the_service_asks_for() {
        let mut refusal = refusal("RATE_LIMITED");
        refusal["limitType"] = "RequestRate".into();
        refusal["retryAfter"] = 1.into();
        let peer = Peer::start(vec![(PUBLISH, 429, refusal), (PUBLISH, 202, json!({"ids": []}))]).await;
        let begun = BootInstant::now();
        peer.client().publish(&json!({"type": "x"})).await.unwrap();
        assert!(BootInstant::now().since(begun) >= Duration::from_secs(1));
    }

    #[tokio::test]
    async fn what_is_not_there_is_said_soon_and_nothing_was_sent() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let endpoint = Endpoint::parse(&format!("http://{closed}")).unwrap();
        let client = Client::new(Transport::new(endpoint, None).unwrap());
        let begun = BootInstant::now();
        let error = client.check(&["x".into()]).await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        assert!(BootInstant::now().since(begun) < Duration::from_secs(3));
    }

    #[tokio::test]
    async fn one_that_never_answers_is_given_up_in_time() {
        // Accepted by the kernel, and never read.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let client = Client::new(Transport::new(endpoint, None).unwrap());
        let begun = BootInstant::now();
        let error = client.renew(&[], Some(Duration::from_millis(300))).await.unwrap_err();
        assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error}");
        assert!(BootInstant::now().since(begun) < Duration::from_secs(2));
    }
}
