//! Held calls take streams of their HTTP/2 connection: some are left for the call that frees what all of them wait for.

use std::time::Duration;

use hyper::{Request, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::world::{Client, World, until};

/// As many as a connection has streams.
const WAITING: usize = 100;
/// How long the release may take. Held calls ask to be held for a minute.
const SOON: Duration = Duration::from_secs(10);

/// An HTTP/2 connection of its own.
async fn connection(at: &Client<'_>) -> SendRequest<String> {
    let stream = TcpStream::connect(at.replica.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Posts on a connection, once it has a stream for that; the first item of the answer.
async fn post(mut sender: SendRequest<String>, key: String, path: &str, item: Value) -> Value {
    let request = Request::post(format!("http://localhost/api/v1/Reservation/{path}"))
        .header("x-api-key", key)
        .header("content-type", "application/json")
        .body(json!([item]).to_string());
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut bytes = Vec::new();
    let mut body = std::pin::pin!(answer.into_body());
    while let Some(frame) = std::future::poll_fn(|context| hyper::body::Body::poll_frame(body.as_mut(), context)).await
    {
        bytes.extend(frame.unwrap().into_data().unwrap());
    }
    serde_json::from_slice::<Value>(&bytes).unwrap()[0].clone()
}

#[tokio::test]
async fn a_connection_full_of_held_calls_still_takes_the_release_that_they_wait_for() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let sender = connection(&at).await;
    let got = at.acquire("holder", "r", None).await;
    let served: Vec<_> = (0..WAITING)
        .map(|number| {
            let (sender, key) = (sender.clone(), tenant.key.clone());
            tokio::spawn(async move {
                let item = json!({"requester": format!("w{number}"), "resource": "r", "waitSeconds": 300});
                loop {
                    let got = post(sender.clone(), key.clone(), "reserve?hold=60", item.clone()).await;
                    if got["status"] != "WAITING" {
                        return got;
                    }
                }
            })
        })
        .collect();
    until("all stand in line", || async { at.get("/Reservation/check/r").await.body["waiting"] == json!(WAITING) })
        .await;

    let claim = json!({"requester": "holder", "resource": "r", "releaseToken": got["releaseToken"]});
    let released = tokio::time::timeout(SOON, post(sender.clone(), tenant.key.clone(), "unreserve", claim)).await;
    assert_eq!(released.expect("it is not stuck behind them")["status"], "RELINQUISHED");
    let served = tokio::time::timeout(SOON, futures_util::future::select_all(served)).await.expect("the next is told");
    assert_eq!(served.0.unwrap()["status"], "ACQUIRED");
}
