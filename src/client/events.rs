//! Follows the event stream through lost connections, from where it was.

use std::{collections::VecDeque, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::client::{
    backoff::{Backoff, jittered},
    call::{Call, encode},
    connection::Sender,
    error::ClientError,
    reservations::Client,
};

/// Silence after which the stream counts as dead: three of the service's signs of life, which come every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// Longest pause between two attempts to connect anew.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// First pause where the service has not yet said one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Most bytes of one line: a transaction of 1,000 items with names of 1,024 bytes fits.
const LINE_BYTES: usize = 8 << 20;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Which events a stream carries; empty lists carry all.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Types of events.
    pub types: Vec<String>,
    /// Names of resources; `*` at the end of one is a prefix.
    pub resources: Vec<String>,
    /// Companies of platform events.
    pub companies: Vec<String>,
}

impl EventFilter {
    fn query(&self) -> String {
        let mut parts = Vec::new();
        for (name, values) in [("types", &self.types), ("resources", &self.resources), ("companies", &self.companies)] {
            parts.extend(values.iter().map(|value| format!("{name}={}", encode(&value.replace(',', "\\,")))));
        }
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }
}

/// One event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its type, such as `RESERVED`; `RESET_CURSOR` where events were missed and state is to be read anew.
    pub kind: String,
    /// Its position; none of what is live only.
    pub id: Option<String>,
    /// One line of JSON.
    pub data: String,
}

/// What a follower sees.
#[derive(Debug)]
pub enum Followed {
    /// The stream stands; events since the last one follow.
    Connected,
    /// An event.
    Event(ServerEvent),
    /// The connection is lost; the follower connects anew at the next call.
    Disconnected(ClientError),
}

/// Follows the stream of a tenant's events, in order, each once, across lost connections and replaced replicas.
pub struct EventFollower {
    client: Client,
    filter: EventFilter,
    last_id: Option<String>,
    retry: Duration,
    backoff: Backoff,
    connection: Option<Connection>,
    /// When the next attempt to connect is due, after a lost connection.
    due: Option<Instant>,
}

/// An open stream. The sender is kept since dropping it ends the connection.
struct Connection {
    body: Incoming,
    _sender: Sender,
    parser: Parser,
    ready: VecDeque<Parsed>,
}

impl EventFollower {
    /// A follower that begins after the position `since`, or with what happens next.
    #[must_use]
    pub fn new(client: Client, filter: EventFilter, since: Option<String>) -> Self {
        Self {
            client,
            filter,
            last_id: since,
            retry: FIRST_PAUSE,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            connection: None,
            due: None,
        }
    }

    /// The position up to which events were seen: where another follower would go on.
    #[must_use]
    pub fn position(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The next thing that happens.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where connecting anew would be refused again: the credential, the filter, the limit of streams.
    ///
    /// # Cancellation
    /// Dropping the future loses no event, and a pause goes on where it was; an attempt to connect begins anew, so whoever looks in
    /// between keeps the future.
    pub async fn next(&mut self) -> Result<Followed, ClientError> {
        loop {
            let Some(connection) = &mut self.connection else {
                match self.connect().await {
                    Ok(()) => return Ok(Followed::Connected),
                    Err(error) if error.is_temporary() => {
                        self.pause();
                        return Ok(Followed::Disconnected(error));
                    }
                    Err(error) => return Err(error),
                }
            };
            while let Some(parsed) = connection.ready.pop_front() {
                match parsed {
                    Parsed::Event(event) => {
                        if let Some(id) = &event.id {
                            self.last_id = Some(id.clone());
                        }
                        self.backoff.reset();
                        return Ok(Followed::Event(event));
                    }
                    Parsed::Id(id) => self.last_id = Some(id),
                    Parsed::Retry(retry) => self.retry = retry,
                }
            }
            let lost = match tokio::time::timeout(SILENCE, connection.body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data().map(|bytes| connection.parser.feed(&bytes)) {
                    Ok(Ok(parsed)) => {
                        connection.ready.extend(parsed);
                        continue;
                    }
                    Ok(Err(())) => "a line of the stream is too long".into(),
                    Err(_) => continue,
                },
                Ok(Some(Err(error))) => error.to_string(),
                Ok(None) => "the service ended the stream".into(),
                Err(_) => format!("nothing came for {} s", SILENCE.as_secs()),
            };
            self.connection = None;
            self.pause();
            return Ok(Followed::Disconnected(ClientError::Unreachable { url: self.client.url(), reason: lost }));
        }
    }

    fn pause(&mut self) {
        // What the service asked for spreads the streams of a replica that leaves; the backoff spares one that is away.
        let pause = jittered(self.retry.min(LONGEST_PAUSE)).min(self.backoff.pause());
        self.due = Some(Instant::now() + pause);
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        if let Some(due) = self.due {
            tokio::time::sleep_until(due).await;
            self.due = None;
        }
        let mut call = Call::get(format!("/api/v1/events{}", self.filter.query()));
        if let Some(id) = self.last_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
            call = call.header(LAST_EVENT_ID, id);
        }
        let (response, sender) = self.client.transport.stream(call).await?;
        if response.status() != StatusCode::OK {
            return Err(ClientError::UnexpectedAnswer {
                url: self.client.url(),
                reason: format!("{} instead of an event stream", response.status()),
            });
        }
        self.connection = Some(Connection {
            body: response.into_body(),
            _sender: sender,
            parser: Parser::default(),
            ready: VecDeque::new(),
        });
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Event(ServerEvent),
    /// The cursor moved past what the filter left out.
    Id(String),
    Retry(Duration),
}

/// The parser of server-sent events (WHATWG HTML, "Parsing an event stream"), for a service that ends lines with `\n` alone.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    kind: Option<String>,
    id: Option<String>,
    data: Option<String>,
}

impl Parser {
    /// Feeds a piece of the body; what it completes. `Err` where a line passes its bound.
    fn feed(&mut self, piece: &[u8]) -> Result<Vec<Parsed>, ()> {
        let mut parsed = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.len() > LINE_BYTES {
                return Err(());
            }
            if self.line.pop_if(|byte| *byte == b'\n').is_some() {
                let line = std::mem::take(&mut self.line);
                self.take_line(String::from_utf8_lossy(&line).trim_end_matches('\r'), &mut parsed);
            }
        }
        Ok(parsed)
    }

    fn take_line(&mut self, line: &str, parsed: &mut Vec<Parsed>) {
        if line.is_empty() {
            let (kind, id, data) = (self.kind.take(), self.id.take(), self.data.take());
            match (data, id) {
                // Only the frame that greets has no type.
                (Some(data), id) => match kind {
                    Some(kind) => parsed.push(Parsed::Event(ServerEvent { kind, id, data })),
                    None => parsed.extend(id.map(Parsed::Id)),
                },
                (None, Some(id)) => parsed.push(Parsed::Id(id)),
                (None, None) => {}
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.kind = Some(value.to_owned()),
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "retry" => parsed.extend(value.parse().ok().map(Duration::from_millis).map(Parsed::Retry)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_parsed_however_it_is_cut() {
        let text = "retry: 1500\n\ndata: {\"type\":\"connected\"}\n\nid: 7\n\nid: 8\nevent: RESERVED\ndata: {}\n\n: keepalive\nid: 9\n\nevent: X\ndata: 1\n\n";
        for cut in 1..text.len() {
            let mut parser = Parser::default();
            let mut parsed = parser.feed(&text.as_bytes()[..cut]).unwrap();
            parsed.extend(parser.feed(&text.as_bytes()[cut..]).unwrap());
            assert_eq!(
                parsed,
                [
                    Parsed::Retry(Duration::from_millis(1500)),
                    Parsed::Id("7".into()),
                    Parsed::Event(ServerEvent { kind: "RESERVED".into(), id: Some("8".into()), data: "{}".into() }),
                    Parsed::Id("9".into()),
                    Parsed::Event(ServerEvent { kind: "X".into(), id: None, data: "1".into() }),
                ]
            );
        }
    }

    #[test]
    fn commas_in_names_are_escaped_in_the_query() {
        let filter = EventFilter { resources: vec!["a,b".into(), "c*".into()], ..EventFilter::default() };
        assert_eq!(filter.query(), "?resources=a%5C%2Cb&resources=c%2A");
        assert_eq!(EventFilter::default().query(), "");
    }

    #[test]
    fn a_line_without_an_end_is_refused_at_its_bound() {
        let mut parser = Parser::default();
        assert!(parser.feed(&vec![b'x'; LINE_BYTES]).is_ok());
        assert!(parser.feed(b"x").is_err());
    }
}
