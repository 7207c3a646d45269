//! Streams: clients that talk on them, that do not read them, that filter by thousands of names.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    neighbours::frame::{NEIGHBOUR, Neighbourhood, RawConnection, blocking},
    support::world::{TIMEOUT, until_within},
};

#[tokio::test]
async fn a_client_that_talks_on_its_stream_is_cut_off() {
    let neighbourhood = Neighbourhood::start().await;
    let tenant = neighbourhood.world.tenant_of("Free").await;
    let address = neighbourhood.replica().address();
    let attack = |address: &str, key: &str| {
        let open = || {
            let mut stream = RawConnection::open_at(address, NEIGHBOUR);
            stream.send(format!("GET /api/v1/events HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n").as_bytes());
            let head = String::from_utf8(stream.read()).unwrap();
            (head.starts_with("HTTP/1.1 200"), stream)
        };
        let (mut most, begun) = (0, Instant::now());
        while begun.elapsed() < Duration::from_secs(2) {
            // The stream before may still hold the only place of the tier.
            let (is_open, mut stream) = open();
            let mut sent = 0;
            while is_open && stream.try_send(&[b'z'; 16 << 10]) {
                sent += 16 << 10;
                assert!(sent < 64 << 20, "it may send for ever");
            }
            most = most.max(sent);
        }
        most
    };
    let cut_after = neighbourhood
        .bears(async || {
            let (address, key) = (address.to_owned(), tenant.key.clone());
            blocking(move || attack(&address, &key)).await
        })
        .await;
    assert!(cut_after >= 64 << 10, "it was never open: {cut_after} bytes");
}

#[tokio::test]
async fn a_few_bytes_on_a_stream_do_no_harm() {
    let neighbourhood = Neighbourhood::start().await;
    let tenant = neighbourhood.world.tenant_of("Free").await;
    let mut stream = RawConnection::open(neighbourhood.replica(), NEIGHBOUR);
    stream.send(format!("GET /api/v1/events HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\n\r\n", tenant.key).as_bytes());
    assert!(String::from_utf8(stream.read()).unwrap().starts_with("HTTP/1.1 200"));
    for _ in 0..6 {
        stream.send(&[b'z'; 10 << 10]);
    }
    neighbourhood.world.at(&tenant).acquire("w", "seen", None).await;
    let (mut seen, begun) = (String::new(), Instant::now());
    while !seen.contains("event: RESERVED") {
        assert!(begun.elapsed() < TIMEOUT && !seen.ends_with("0\r\n\r\n"), "{seen}");
        seen.push_str(&String::from_utf8_lossy(&stream.read()));
    }
}

#[tokio::test]
async fn a_filter_has_at_most_200_names() {
    let neighbourhood = Neighbourhood::start().await;
    let tenant = neighbourhood.world.tenant().await;
    let at = neighbourhood.world.at(&tenant);
    let names = |count: usize| (0..count).map(|at| format!("n{at}*")).collect::<Vec<_>>().join(",");
    for list in ["types", "resources", "companies"] {
        assert_eq!(at.get(&format!("/events?{list}={}", names(201))).await.paths(), [list]);
        assert_eq!(at.events(&format!("?{list}={}", names(200))).await.status, 200);
    }
}

/// A client of HTTP/2 that gives no stream a window, and answers pings.
pub struct UnreadHttp2(RawConnection, Vec<u8>);

impl UnreadHttp2 {
    pub fn open(address: &str) -> Self {
        let mut connection = RawConnection::open_at(address, NEIGHBOUR);
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut this = Self(connection, Vec::new());
        // SETTINGS_INITIAL_WINDOW_SIZE (4) is 0.
        this.frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
        this
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        self.0.send(&bytes);
    }

    /// Asks for a path; the headers are literals without an index.
    pub fn get(&mut self, stream: u32, path: &str, key: &str) {
        let mut block = Vec::new();
        for (name, value) in
            [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path), ("x-api-key", key)]
        {
            block.push(0);
            for text in [name, value] {
                block.push(text.len() as u8);
                block.extend(text.as_bytes());
            }
        }
        self.frame(1, 0x4 | 0x1, stream, &block);
    }

    /// The next frame: its type and stream; `None` at the end of the connection.
    pub fn next(&mut self) -> Option<(u8, u32)> {
        loop {
            if let [a, b, c, kind, flags, rest @ ..] = self.1.as_slice() {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if rest.len() >= 4 + length {
                    let stream = u32::from_be_bytes(rest[..4].try_into().unwrap());
                    let (kind, is_answer) = (*kind, flags & 1 == 1);
                    let payload = rest[4..4 + length].to_vec();
                    self.1.drain(..9 + length);
                    if kind == 6 && !is_answer {
                        self.frame(6, 1, 0, &payload);
                    }
                    return Some((kind, stream));
                }
            }
            let more = self.0.read();
            if more.is_empty() {
                return None;
            }
            self.1.extend(more);
        }
    }
}

#[tokio::test]
async fn a_stream_of_http2_that_nobody_reads_is_cut_off_and_its_place_is_free() {
    const RST_STREAM: u8 = 3;
    let neighbourhood = Neighbourhood::start().await;
    let tenant = neighbourhood.world.tenant_of("Free").await;
    let at = neighbourhood.world.at(&tenant);
    let (address, key) = (neighbourhood.replica().address().to_owned(), tenant.key.clone());
    let begun = Instant::now();
    let reading = blocking(move || {
        let mut client = UnreadHttp2::open(&address);
        client.get(1, "/api/v1/events", &key);
        client.get(3, "/openapi.json", &key);
        let mut reset = Vec::new();
        while reset.len() < 2 {
            let (kind, stream) = client.next().expect("the connection goes on");
            if kind == RST_STREAM {
                reset.push(stream);
            }
        }
        reset.sort_unstable();
        // The connection and its other streams are not concerned.
        client.get(5, "/healthz", &key);
        while let Some((kind, stream)) = client.next() {
            if (kind, stream) == (1, 5) {
                return reset;
            }
        }
        panic!("the connection ended");
    });
    assert_eq!(reading.await, [1, 3]);
    assert!((19..45).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    until_within(TIMEOUT, "its place is free", || async { at.events("").await.status == 200 }).await;
    at.post("/events", json!({"type": "x", "data": 1})).await;
}
