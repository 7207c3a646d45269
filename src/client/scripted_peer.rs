//! For tests: a peer that answers as a script says.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::client::{endpoint::Endpoint, reservations::Client, transport::Transport};

/// In place of a status: the answer is held back for longer than anybody waits.
pub(super) const HELD_BACK: u16 = 0;

/// What a request was, and the answer to it.
pub(super) type Exchange = (&'static str, u16, Value);

/// Answers requests in the order of its script, whatever connection they come over; afterwards 404.
pub(super) struct Peer {
    url: String,
    /// Method, path and body of each request.
    requests: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Peer {
    pub(super) async fn start(script: Vec<Exchange>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(script.into_iter()));
        let known = requests.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (known, script) = (known.clone(), script.clone());
                tokio::spawn(async move {
                    while let Some((line, body)) = read_request(&mut stream).await {
                        let is_stream = line.starts_with("GET /api/v1/events");
                        let (status, answer) = if is_stream {
                            (429, json!({"error": {"code": "RATE_LIMITED"}, "limitType": "SseConnections"}))
                        } else {
                            known.lock().unwrap().push((line.clone(), body));
                            let next = script.lock().unwrap().next();
                            let (begins, status, answer) =
                                next.unwrap_or(("", 404, json!({"error": {"code": "NOT_FOUND"}})));
                            assert!(line.starts_with(begins), "{line} instead of {begins}");
                            (status, answer)
                        };
                        if status == HELD_BACK {
                            // Until the client gives up.
                            let _ = stream.read_u8().await;
                            return;
                        }
                        let body = answer.to_string();
                        let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                        if let Some(seconds) = answer["retryAfter"].as_u64() {
                            head.push_str(&format!("retry-after: {seconds}\r\n"));
                        }
                        head.push_str("\r\n");
                        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Self { url, requests }
    }

    pub(super) fn client(&self) -> Client {
        Client::new(Transport::new(Endpoint::parse(&self.url).unwrap(), None).unwrap())
    }

    pub(super) fn requests(&self) -> Vec<(String, Value)> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|(line, _)| line).collect()
    }
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    while bytes.len() < end + length.unwrap_or(0) {
        stream.read_buf(&mut bytes).await.ok()?;
    }
    let line = head.lines().next()?.strip_suffix(" HTTP/1.1")?.to_owned();
    Some((line, serde_json::from_slice(&bytes[end..]).unwrap_or_default()))
}
