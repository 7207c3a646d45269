//! The longest line of data that a subscriber has to be ready for, as the guide gives it.

use serde_json::{Value, json};

use crate::support::{sse::Seen, world::World};

/// The bound that `docs/events.md` gives.
const MAX_LINE_BYTES: usize = 2_621_440;

/// A control character takes six bytes in JSON, so names of them make the longest lines.
fn longest_name(number: usize) -> String {
    format!("{number:04}{}", "\u{1}".repeat(1_014))
}

/// The next event's type, and its data as it came.
async fn next_event(stream: &mut crate::support::sse::EventStream) -> (String, String) {
    loop {
        match stream.next().await {
            Some(Seen::Event { kind, data, .. }) => return (kind, data),
            Some(_) => {}
            None => panic!("the stream ended"),
        }
    }
}

#[tokio::test]
async fn the_longest_line_arrives_whole_and_is_not_longer_than_the_guide_says() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    // As many pools as one body can name.
    let names: Vec<_> = (0..171).map(longest_name).collect();
    for part in names.chunks(50) {
        let definitions: Vec<_> = part.iter().map(|name| json!({"name": name, "capacity": 2})).collect();
        assert_eq!(at.post("/Resource/register", json!(definitions)).await.status, 200);
    }
    let mut stream = at.events("").await;
    let from = stream.head().await;

    let requests: Vec<_> = names.iter().map(|name| json!({"requester": "w", "resource": name})).collect();
    let body = json!([{"method": "ALL_OR_NONE", "requestType": "RESERVE", "requests": requests}]);
    assert!(body.to_string().len() > (1 << 20) - 7_000, "one more name would not fit into a body");
    let applied = at.post("/Reservation/transactions", body).await;
    assert_eq!(applied.statuses(), ["APPLIED"]);

    let (kind, line) = next_event(&mut stream).await;
    assert_eq!(kind, "TRANSACTION_APPLIED");
    assert!(line.len() > 2_000_000 && line.len() <= MAX_LINE_BYTES, "{} bytes", line.len());
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["changes"].as_array().unwrap().len(), names.len());
    // Resumed at, it is the same.
    let mut again = at.events(&format!("?lastEventId={from}")).await;
    again.head().await;
    assert_eq!(next_event(&mut again).await, (kind, line));
}

#[tokio::test]
async fn the_slots_of_one_reservation_are_listed_within_the_bound() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    let pool = longest_name(0);
    assert_eq!(at.post("/Resource/register", json!([{"name": pool, "capacity": 1_000}])).await.status, 200);
    let mut stream = at.events("").await;
    stream.head().await;
    let reserve = async |quantity: i64| {
        at.post("/Reservation/reserve", json!([{"requester": "w", "resource": pool, "quantity": quantity}])).await
    };

    let refused = reserve(172).await;
    assert_eq!(refused.paths(), ["[0].quantity"]);
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("at most 171"), "{refused:?}");
    assert!(at.listed().await.is_empty());

    assert_eq!(reserve(171).await.statuses(), ["ACQUIRED"]);
    let (kind, line) = next_event(&mut stream).await;
    assert_eq!(kind, "RESERVED");
    assert!(line.len() > 1_000_000 && line.len() <= MAX_LINE_BYTES, "{} bytes", line.len());
}
