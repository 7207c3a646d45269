//! A reader of event streams, written from the WHATWG's standard ("Server-sent events", parsing and interpreting), independent of our
//! encoder.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::support::{document, world::TIMEOUT};

/// Everything on a stream: what a browser hands to its listeners, and what it processes silently.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// An event: its type (`message` if it has none), its data, and the last event id at that moment.
    Event { kind: String, data: String, last_id: String },
    /// A comment line.
    Comment(String),
    /// A block that only set the last event id.
    Id(String),
    /// The reconnection time in milliseconds.
    Retry(u64),
}

/// The parser's state between chunks.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    begun: bool,
    kind: String,
    data: Option<String>,
    id: Option<String>,
    last_id: String,
}

impl Parser {
    /// Feeds a chunk of the body; returns what it completes.
    pub fn feed(&mut self, chunk: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        for &byte in chunk {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    self.take_line(&line, &mut seen);
                }
                _ => {
                    self.after_cr = false;
                    self.line.push(byte);
                }
            }
        }
        seen
    }

    fn take_line(&mut self, line: &[u8], seen: &mut Vec<Seen>) {
        let mut text = String::from_utf8_lossy(line).into_owned();
        if !std::mem::replace(&mut self.begun, true) && text.starts_with('\u{feff}') {
            text.remove(0);
        }
        if text.is_empty() {
            let kind = std::mem::take(&mut self.kind);
            let id = self.id.take();
            if let Some(id) = &id {
                self.last_id.clone_from(id);
            }
            match (self.data.take(), id) {
                (Some(data), _) => seen.push(Seen::Event {
                    kind: if kind.is_empty() { "message".into() } else { kind },
                    data,
                    last_id: self.last_id.clone(),
                }),
                (None, Some(id)) => seen.push(Seen::Id(id)),
                (None, None) => {}
            }
            return;
        }
        if let Some(comment) = text.strip_prefix(':') {
            seen.push(Seen::Comment(comment.strip_prefix(' ').unwrap_or(comment).into()));
            return;
        }
        let (field, value) = text
            .split_once(':')
            .map_or((text.as_str(), ""), |(field, value)| (field, value.strip_prefix(' ').unwrap_or(value)));
        match field {
            "event" => self.kind = value.into(),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.into()),
            },
            "id" if !value.contains('\0') => self.id = Some(value.into()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                seen.extend(value.parse().ok().map(Seen::Retry))
            }
            _ => {}
        }
    }
}

/// An open stream, read in the background.
pub struct EventStream {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    /// Path of the request, by which the document describes the events.
    path: String,
    seen: mpsc::UnboundedReceiver<Seen>,
    reading: tokio::task::JoinHandle<()>,
}

impl EventStream {
    /// Opens a stream and waits for the head of the answer.
    pub async fn open(url: &str, headers: &[(&str, &str)]) -> Self {
        Self::open_by(&reqwest::Client::new(), url, headers).await
    }

    /// The same with a shared client: with thousands of streams, a client each would be most of the work.
    pub async fn open_by(client: &reqwest::Client, url: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = client.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        let (status, headers, path) =
            (response.status().as_u16(), response.headers().clone(), response.url().path().to_owned());
        let (to, seen) = mpsc::unbounded_channel();
        let reading = tokio::spawn(async move {
            let (mut parser, mut chunks) = (Parser::default(), response.bytes_stream());
            while let Some(Ok(chunk)) = chunks.next().await {
                for one in parser.feed(&chunk) {
                    if to.send(one).is_err() {
                        return;
                    }
                }
            }
        });
        Self { status, headers, path, seen, reading }
    }

    /// Whatever comes next; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<Seen> {
        self.next_within(TIMEOUT).await.expect("something on the stream")
    }

    /// Whatever comes next.
    ///
    /// # Errors
    /// When nothing came in time.
    pub async fn next_within(&mut self, timeout: Duration) -> Result<Option<Seen>, tokio::time::error::Elapsed> {
        let seen = tokio::time::timeout(timeout, self.seen.recv()).await;
        if let Ok(Some(Seen::Event { kind, data, .. })) = &seen
            && self.status == 200
        {
            document::check_event(&self.path, kind, data);
        }
        seen
    }

    /// Reads the beginning of an open stream, one block of `retry`, `connected` and `id`; returns the position that it starts from.
    pub async fn head(&mut self) -> i64 {
        assert_eq!(self.status, 200);
        let Some(Seen::Retry(retry)) = self.next().await else { panic!("retry comes first") };
        assert!((1000..=5000).contains(&retry), "{retry}");
        let Some(Seen::Event { kind, data, last_id }) = self.next().await else { panic!("connected comes second") };
        assert_eq!(
            (kind.as_str(), &serde_json::from_str::<Value>(&data).unwrap()["type"]),
            ("message", &"connected".into())
        );
        last_id.parse().expect("the position, in the same block")
    }

    /// The next event: type, data, id. Skips comments.
    pub async fn event(&mut self) -> (String, Value, String) {
        let coming = async {
            loop {
                match self.next().await {
                    Some(Seen::Event { kind, data, last_id }) => {
                        return (kind, serde_json::from_str(&data).unwrap(), last_id);
                    }
                    Some(_) => {}
                    None => panic!("the stream ended"),
                }
            }
        };
        // Keepalives alone must not keep a test waiting.
        tokio::time::timeout(2 * TIMEOUT, coming).await.expect("an event on the stream")
    }

    /// The data of the next event, which must be of this type.
    pub async fn expect(&mut self, wanted: &str) -> Value {
        let (kind, data, _) = self.event().await;
        assert_eq!(kind, wanted, "{data}");
        data
    }

    /// Waits until the stream ends; returns what came before.
    pub async fn rest(&mut self) -> Vec<Seen> {
        let mut rest = Vec::new();
        let ending = async {
            while let Some(seen) = self.next().await {
                rest.push(seen);
            }
        };
        // Keepalives would satisfy the timeout of `next` on a stream that does not end.
        tokio::time::timeout(TIMEOUT, ending).await.expect("the stream ends");
        rest
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.reading.abort();
    }
}
