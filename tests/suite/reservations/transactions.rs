//! Transactions, as a user meets them.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::world::{Answer, Client, TIMEOUT, World};

async fn reserve_all(at: &Client<'_>, method: &str, requester: &str, resources: &[&str]) -> Answer {
    let requests: Value =
        resources.iter().map(|resource| json!({"requester": requester, "resource": resource})).collect();
    at.post("/Reservation/transactions", json!([{"method": method, "requestType": "RESERVE", "requests": requests}]))
        .await
}

fn statuses(answer: &Answer) -> Vec<&str> {
    answer.body[0]["results"].as_array().unwrap().iter().map(|result| result["status"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn all_or_none_takes_everything_or_nothing() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    let mut stream = south.events("").await;
    stream.head().await;

    let first = reserve_all(&north, "ALL_OR_NONE", "w1", &["a", "b"]).await;
    assert_eq!((first.body[0]["status"].as_str(), statuses(&first)), (Some("APPLIED"), vec!["ACQUIRED", "ACQUIRED"]));
    let event = stream.expect("TRANSACTION_APPLIED").await;
    assert_eq!(
        (&event["method"], &event["requester"], &event["resource"]),
        (&json!("ALL_OR_NONE"), &json!("w1"), &Value::Null)
    );
    let fence = &first.body[0]["results"][0]["fencingToken"];
    assert_eq!(event["id"], fence.to_string());
    assert_eq!(event["changes"][1]["resource"], "b");
    assert_eq!(&event["changes"][1]["fencingToken"], fence, "one change, one position");

    // One of them is somebody else's: nothing is taken, what was free says so and has no token, what is had stays.
    north.acquire("w2", "c", None).await;
    stream.expect("RESERVED").await;
    let second = reserve_all(&south, "ALL_OR_NONE", "w1", &["a", "d", "c"]).await;
    assert_eq!(
        (second.body[0]["status"].as_str(), statuses(&second)),
        (Some("ROLLED_BACK"), vec!["ALREADY_HAD", "ROLLED_BACK", "ALREADY_HELD"])
    );
    assert_eq!(second.body[0]["results"][1]["releaseToken"], Value::Null);
    assert!(second.body[0]["explanation"].as_str().unwrap().contains("\"c\""));
    assert_eq!(north.listed().await, ["a", "b", "c"]);
    let event = stream.expect("TRANSACTION_ROLLED_BACK").await;
    assert_eq!((&event["explanation"], &event["id"]), (&json!("ROLLED_BACK"), &Value::Null));

    // A repeat changes nothing and emits nothing.
    let repeat = reserve_all(&south, "ALL_OR_NONE", "w1", &["a", "b"]).await;
    assert_eq!(
        (repeat.body[0]["status"].as_str(), statuses(&repeat)),
        (Some("APPLIED"), vec!["ALREADY_HAD", "ALREADY_HAD"])
    );
    north.acquire("w1", "marker", None).await;
    assert_eq!(stream.expect("RESERVED").await["resource"], "marker");
}

#[tokio::test]
async fn as_many_as_possible_skips_what_is_taken() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    at.acquire("w2", "b", None).await;
    let some = reserve_all(&at, "AS_MANY_AS_POSSIBLE", "w1", &["a", "b", "c"]).await;
    assert_eq!(
        (some.body[0]["status"].as_str(), statuses(&some)),
        (Some("APPLIED"), vec!["ACQUIRED", "ALREADY_HELD", "ACQUIRED"])
    );
    let none = reserve_all(&at, "AS_MANY_AS_POSSIBLE", "w3", &["a", "b"]).await;
    assert_eq!(none.body[0]["status"], "ROLLED_BACK");
}

#[tokio::test]
async fn first_takes_one_and_repeating_never_takes_a_second() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let other = at.acquire("w2", "a", None).await;
    let first = reserve_all(&at, "FIRST", "w1", &["a", "b", "c"]).await;
    assert_eq!(
        (first.body[0]["status"].as_str(), statuses(&first)),
        (Some("APPLIED"), vec!["ALREADY_HELD", "ACQUIRED", "SKIPPED"])
    );
    at.unreserve("w2", "a", &other["releaseToken"]).await;
    let repeat = reserve_all(&at, "FIRST", "w1", &["a", "b", "c"]).await;
    assert_eq!(
        (repeat.body[0]["status"].as_str(), statuses(&repeat)),
        (Some("APPLIED"), vec!["SKIPPED", "ALREADY_HAD", "SKIPPED"])
    );
    assert_eq!(at.listed().await, ["b"]);
}

#[tokio::test]
async fn releases_are_grouped_too_and_a_bad_token_anywhere_refuses_the_call() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let (a, b) = (at.acquire("w1", "a", None).await, at.acquire("w1", "b", None).await);
    at.acquire("w2", "c", None).await;
    let release =
        |resource: &str, token: &Value| json!({"requester": "w1", "resource": resource, "releaseToken": token});
    let call = async |method: &str, requests: Value| {
        at.post(
            "/Reservation/transactions",
            json!([{"method": method, "requestType": "UNRESERVE", "requests": requests}]),
        )
        .await
    };

    let conflict =
        call("ALL_OR_NONE", json!([release("a", &a["releaseToken"]), release("c", &a["releaseToken"])])).await;
    assert_eq!(
        (conflict.body[0]["status"].as_str(), statuses(&conflict)),
        (Some("ROLLED_BACK"), vec!["ROLLED_BACK", "DOESNT_OWN_RESERVATION"])
    );
    let two = json!([
        {"method": "ALL_OR_NONE", "requestType": "RESERVE", "requests": [{"requester": "w1", "resource": "new"}]},
        {"method": "AS_MANY_AS_POSSIBLE", "requestType": "UNRESERVE", "requests": [release("a", &a["releaseToken"]), release("b", &json!("wrong"))]}
    ]);
    let refused = at.post("/Reservation/transactions", two).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, "INVALID_RELEASE_TOKEN"));
    let results: Vec<_> =
        refused.body["results"].as_array().unwrap().iter().map(|result| result["status"].as_str().unwrap()).collect();
    assert_eq!(results, ["UNCHANGED", "UNCHANGED", "INVALID_RELEASE_TOKEN"]);
    assert_eq!(at.listed().await, ["a", "b", "c"]);

    let freed = call(
        "ALL_OR_NONE",
        json!([release("a", &a["releaseToken"]), release("gone", &json!("x")), release("b", &b["releaseToken"])]),
    )
    .await;
    assert_eq!(
        (freed.body[0]["status"].as_str(), statuses(&freed)),
        (Some("APPLIED"), vec!["RELINQUISHED", "NOT_RESERVED", "RELINQUISHED"])
    );
    assert_eq!(at.listed().await, ["c"]);
}

#[tokio::test]
async fn a_passed_limit_anywhere_refuses_the_call() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Free").await;
    let at = world.at(&tenant);
    let many: Value = (0..50).map(|n| json!({"requester": "w", "resource": format!("r{n}")})).collect();
    let groups = json!([
        {"method": "AS_MANY_AS_POSSIBLE", "requestType": "RESERVE", "requests": many},
        {"method": "FIRST", "requestType": "RESERVE", "requests": [{"requester": "w", "resource": "one more"}]}
    ]);
    let refused = at.post("/Reservation/transactions", groups).await;
    assert_eq!(
        (refused.status.as_u16(), refused.body["limitType"].as_str(), refused.body["limit"].as_i64()),
        (429, Some("ConcurrentReservations"), Some(50))
    );
    assert!(at.listed().await.is_empty());
}

#[tokio::test]
async fn mixed_kinds_go_together() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let definitions = json!([{"name": "GPU", "capacity": 2}, {"name": "rack", "treePath": "hall"}, {"name": "train", "blocks": ["budget"]}]);
    assert_eq!(at.post("/Resource/register", definitions).await.status, 200);
    let taken = reserve_all(&at, "ALL_OR_NONE", "w1", &["plain", "GPU", "rack", "train"]).await;
    assert_eq!(statuses(&taken), ["ACQUIRED"; 4]);
    assert_eq!(at.listed().await, ["GPU_0", "budget", "plain", "rack", "train"]);
    let refused = reserve_all(&at, "ALL_OR_NONE", "w2", &["GPU", "hall"]).await;
    assert_eq!(statuses(&refused), ["ROLLED_BACK", "ALREADY_HELD"]);
    assert_eq!(at.listed().await.len(), 5);
}

#[tokio::test]
async fn bad_groups_are_named() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let bad = json!([
        {"method": "SOME", "requestType": "RESERVE", "requests": [{"requester": "w", "resource": "a"}]},
        {"method": "FIRST", "requestType": "TAKE", "requests": [{"requester": "w", "resource": "a"}]},
        {"method": "FIRST", "requestType": "RESERVE", "requests": [{"resource": "a", "ttlSeconds": 0}]},
        {"method": "FIRST", "requestType": "RESERVE", "requests": []}
    ]);
    let refused = at.post("/Reservation/transactions", bad).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, "VALIDATION_ERROR"));
    let mut paths: Vec<_> = refused.body["error"]["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["path"].as_str().unwrap().to_owned())
        .collect();
    paths.sort();
    assert_eq!(
        paths,
        ["[0].method", "[1].requestType", "[2].requests[0].requester", "[2].requests[0].ttlSeconds", "[3].requests"]
    );
}

/// Many clients, three replicas, groups of 5 out of 16 in random order: no deadlock, no half-taken group, no two holders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_in_any_order_never_deadlock_and_are_never_half_held() {
    const CLIENTS: usize = 64;
    /// Groups that must be held, however long that takes on a busy machine.
    const LEAST: u64 = 21;
    let long = std::env::var("HOLDFAST_LONG").is_ok();
    let world = World::<3>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let (begun, time) = (Instant::now(), Duration::from_secs(if long { 30 } else { 3 }));
    let holders: Mutex<HashMap<String, usize>> = Mutex::default();
    let (groups, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let goes_on =
        || begun.elapsed() < time || groups.load(Ordering::Relaxed) < LEAST && begun.elapsed() < time + TIMEOUT;

    let client = async |number: usize| {
        let at = world.at_replica(number % 3, &tenant);
        let me = format!("w{number}");
        let mut random = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(number as u64 + 1);
        while goes_on() {
            let mut names: Vec<String> = (0..16).map(|n| format!("r{n}")).collect();
            for n in 0..16 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                names.swap(n, (random % 16) as usize);
            }
            names.truncate(5);
            let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
            let answer = reserve_all(&at, "ALL_OR_NONE", &me, &wanted).await;
            if answer.body[0]["status"] != "APPLIED" {
                refused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            {
                let mut holders = holders.lock().unwrap();
                for name in &names {
                    assert_eq!(holders.insert(name.clone(), number), None, "{name} has two holders");
                }
            }
            {
                let mut holders = holders.lock().unwrap();
                names.iter().for_each(|name| assert_eq!(holders.remove(name), Some(number)));
            }
            let tokens = answer.body[0]["results"].as_array().unwrap();
            let requests: Value =
                tokens.iter().map(|granted| json!({"requester": me, "resource": granted["resource"], "releaseToken": granted["releaseToken"]})).collect();
            let released = at
                .post(
                    "/Reservation/transactions",
                    json!([{"method": "ALL_OR_NONE", "requestType": "UNRESERVE", "requests": requests}]),
                )
                .await;
            assert_eq!(released.body[0]["status"], "APPLIED", "{released:?}");
            groups.fetch_add(1, Ordering::Relaxed);
        }
    };
    // A reader never sees half a group: every requester in the listing has five or none.
    let reader = async {
        while goes_on() {
            let listed = world.at_replica(2, &tenant).get("/Reservation?limit=1000").await.body;
            let mut held: HashMap<String, usize> = HashMap::new();
            for row in listed["reservations"].as_array().unwrap() {
                *held.entry(row["requester"].as_str().unwrap().into()).or_default() += 1;
            }
            assert!(held.values().all(|count| *count == 5), "half a group: {held:?}");
        }
    };
    tokio::join!(futures_util::future::join_all((0..CLIENTS).map(client)), reader);
    let (groups, refused) = (groups.into_inner(), refused.into_inner());
    assert!(groups >= LEAST, "progress: {groups} groups held, {refused} refused");
    assert!(world.at(&tenant).listed().await.is_empty());
}
