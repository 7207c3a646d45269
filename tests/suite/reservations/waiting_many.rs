//! Many calls that are held at once, each on a connection of its own: all stand in line, and each takes little memory.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::world::{Client, World, until};

/// Held calls, of which the first replica has more than the connections that one address may have without a credential.
const HELD: usize = 600;

/// A connection, and the call that is held on it.
struct HeldCall {
    stream: TcpStream,
    request: Vec<u8>,
}

fn request(line: &str, at: &Client<'_>, body: &str) -> Vec<u8> {
    let (key, length) = (at.key, body.len());
    let head = "host: localhost\r\ncontent-type: application/json";
    format!("{line} HTTP/1.1\r\n{head}\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

impl HeldCall {
    /// A connection on which nothing was asked yet.
    async fn connect(at: &Client<'_>, requester: &str) -> Self {
        let item = json!([{"requester": requester, "resource": "r", "waitSeconds": 600, "keepAliveSeconds": 600}]);
        let request = request("POST /api/v1/Reservation/reserve?hold=60", at, &item.to_string());
        Self { stream: TcpStream::connect(at.replica.address()).await.unwrap(), request }
    }

    /// Asks for `r`, and for the answer to be held back.
    async fn send(&mut self) {
        self.stream.write_all(&self.request).await.unwrap();
    }

    /// What it is answered in the end: a hold that was over is begun again.
    async fn served(&mut self) -> Value {
        loop {
            let (status, body) = self.answer().await;
            assert_eq!(status, 200, "{body}");
            if body[0]["status"] != "WAITING" {
                return body[0].clone();
            }
            self.send().await;
        }
    }

    async fn answer(&mut self) -> (u16, Value) {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert_ne!(self.stream.read_buf(&mut bytes).await.unwrap(), 0, "it is answered");
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let mut body = bytes.split_off(end);
        while body.len() < length.unwrap_or(0) {
            assert_ne!(self.stream.read_buf(&mut body).await.unwrap(), 0, "its body is whole");
        }
        (status, serde_json::from_slice(&body).unwrap())
    }
}

/// Waits until so many stand in line.
async fn until_waiting(at: &Client<'_>, count: usize) {
    until("they stand in line", || async { at.get("/Reservation/check/r").await.body["waiting"] == json!(count) })
        .await;
}

/// All who wait, page by page.
async fn requesters_in_line(at: &Client<'_>) -> BTreeSet<String> {
    let (mut all, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = at.get(&format!("/Reservation/waiting?limit=1000{cursor}")).await.body;
        let requesters = page["waiting"].as_array().unwrap().iter().map(|row| row["requester"].as_str().unwrap());
        all.extend(requesters.map(str::to_owned));
        let Some(next) = page["nextCursor"].as_str() else { return all };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test]
async fn six_hundred_calls_are_held_at_once_and_served_in_order() {
    let world = World::<2>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    let mut held = at.acquire("w", "r", None).await;
    // On new connections, every eighth at the other replica, each once the one before it stands in line.
    let mut calls = Vec::new();
    for number in 0..HELD {
        let replica = world.at_replica(usize::from(number % 8 == 0), &tenant);
        let mut call = HeldCall::connect(&replica, &format!("w{number}")).await;
        call.send().await;
        calls.push(call);
        until_waiting(&at, number + 1).await;
    }

    assert_eq!(requesters_in_line(&at).await.len(), HELD);
    let mut requester = "w".to_owned();
    for (number, call) in calls.iter_mut().enumerate() {
        let released = at.unreserve(&requester, "r", &held["releaseToken"]).await;
        assert_eq!(released.statuses(), ["RELINQUISHED"]);
        held = call.served().await;
        requester = format!("w{number}");
        assert_eq!((&held["status"], &held["requester"]), (&json!("ACQUIRED"), &json!(requester)), "{held}");
    }
    assert_eq!(at.get("/Reservation/waiting").await.body["waiting"], json!([]));
}

/// Calls of the test of memory, and how many bytes of the replica each may take beyond its idle connection. It is less than 2,000 without
/// optimisation; allocator and tables grow in steps.
const MEASURED: usize = 1_000;
const MAX_BYTES: usize = 6_000;

fn resident_bytes(pid: u32) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn a_held_call_takes_little_memory() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    at.acquire("w", "r", None).await;
    let mut calls = Vec::new();
    for number in 0..MEASURED {
        let mut call = HeldCall::connect(&at, &format!("w{number}")).await;
        call.stream.write_all(&request("GET /api/v1/Reservation/check/r", &at, "")).await.unwrap();
        assert_eq!(call.answer().await.0, 200);
        calls.push(call);
    }
    let before = resident_bytes(world.replicas[0].pid());
    // A few at a time: what a call takes until it is held is not measured.
    for (number, call) in calls.iter_mut().enumerate() {
        call.send().await;
        if number % 10 == 9 {
            until_waiting(&at, number + 1).await;
        }
    }
    let each = resident_bytes(world.replicas[0].pid()).saturating_sub(before) / MEASURED;
    assert!(each < MAX_BYTES, "{each} bytes per held call");
}
