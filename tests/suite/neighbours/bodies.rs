//! Bodies: long lists, lists of nonsense, large ones at once, slow ones.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    neighbours::frame::{NEIGHBOUR, Neighbourhood, RawConnection, assert_small_error, blocking, request},
    support::world::{TIMEOUT, Tenant},
};

const MIB: usize = 1 << 20;

/// A list of about so many bytes.
fn list_of(item: &str, bytes: usize) -> String {
    format!("[{}{item}]", format!("{item},").repeat(bytes / (item.len() + 1)))
}

/// Sends one request on a connection of its own; returns status and body of the answer.
fn call(address: &str, request: &str) -> (u16, String) {
    let mut connection = RawConnection::open_at(address, NEIGHBOUR);
    connection.try_send(request.as_bytes());
    connection.answer()
}

#[tokio::test]
async fn nonsense_without_a_key_costs_nothing() {
    let neighbourhood = Neighbourhood::start().await;
    let address = neighbourhood.replica().address();
    let attack = |address: &str| {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            for path in ["/api/v1/session", "/api/v1/auth/token", "/auth/token"] {
                for item in ["0", "[]", "{}"] {
                    let large = call(address, &request("POST", path, &[], &list_of(item, MIB - 10)));
                    assert_small_error(&large, 413, "PAYLOAD_TOO_LARGE");
                    let small = call(address, &request("POST", path, &[], &list_of(item, 16_000)));
                    assert_small_error(&small, 400, "VALIDATION_ERROR");
                }
            }
        }
    };
    neighbourhood
        .bears(async || {
            let address = address.to_owned();
            blocking(move || attack(&address)).await;
        })
        .await;
}

#[tokio::test]
async fn lists_of_nonsense_are_refused_at_their_first_item_too_many() {
    let neighbourhood = Neighbourhood::start().await;
    let tenant = neighbourhood.world.tenant_of("Free").await;
    let at = neighbourhood.world.at(&tenant);
    let made = at.post("/connections", json!({"name": "c", "framework": "celery"})).await;
    let bearer = format!("Bearer {}", made.body["ingestKey"].as_str().expect("an ingest key"));
    let address = neighbourhood.replica().address();
    let attack = |address: &str, key: &str, bearer: &str| {
        let (key, ingest) = ([("x-api-key", key)], [("authorization", bearer)]);
        // A transaction of many small requests, and many transactions without any.
        let transactions =
            format!(r#"[{{"method":"FIRST","requestType":"RESERVE","requests":{}}}]"#, list_of("{}", MIB - 90));
        for (path, headers, body) in [
            ("/api/v1/Reservation/reserve", &key, list_of("{}", MIB - 10)),
            ("/api/v1/Reservation/reserve", &key, list_of("0", MIB - 10)),
            ("/api/v1/Reservation/transactions", &key, transactions),
            ("/api/v1/Reservation/transactions", &key, list_of("{}", MIB - 10)),
            ("/api/v1/Resource/register", &key, list_of("[]", MIB - 10)),
            ("/api/v1/Reservation/check", &key, format!("{{\"resources\":{}}}", list_of("\"\"", MIB - 40))),
            ("/api/v1/events", &key, list_of("{}", 16 * MIB - 10)),
            ("/api/v1/events", &key, list_of("0", 16 * MIB - 10)),
            ("/api/ingest", &ingest, format!("{{\"events\":{}}}", list_of("{}", 16 * MIB - 40))),
            ("/api/ingest", &ingest, format!("{{\"events\":{}}}", list_of("[]", 16 * MIB - 40))),
        ] {
            let begun = Instant::now();
            let answer = call(address, &request("POST", path, headers, &body));
            assert_small_error(&answer, 400, "VALIDATION_ERROR");
            assert!(begun.elapsed() < Duration::from_secs(5), "{path}: {:?}", begun.elapsed());
        }
    };
    neighbourhood
        .bears(async || {
            let (address, key, bearer) = (address.to_owned(), tenant.key.clone(), bearer.clone());
            blocking(move || attack(&address, &key, &bearer)).await;
        })
        .await;
}

#[tokio::test]
async fn large_bodies_at_once_fill_a_budget_and_no_more() {
    let neighbourhood = Neighbourhood::start().await;
    let tenant = neighbourhood.world.tenant().await;
    let address = neighbourhood.replica().address();
    let others = neighbourhood.world.tenant().await;
    let attack = |address: &str, tenant: &Tenant, others: &Tenant| {
        // All but the last byte of many bodies, so that all are there at the same time.
        let body = format!("[{}]", format!("{{\"type\":\"x\",\"data\":\"{}\"}},", "z".repeat(15_000)).repeat(1_000));
        let whole = |tenant: &Tenant| request("POST", "/api/v1/events", &[("x-api-key", &tenant.key)], &body);
        let (begin, end) = (whole(tenant), &body[body.len() - 1..]);
        let mut open: Vec<_> = (0..8)
            .map(|_| {
                let mut connection = RawConnection::open_at(address, NEIGHBOUR);
                connection.try_send(&begin.as_bytes()[..begin.len() - 1]);
                connection
            })
            .collect();
        // Somebody else still has room for a large body.
        let mut other = RawConnection::open_at(address, NEIGHBOUR);
        other.send(whole(others).as_bytes());
        let of_other = other.answer();
        let mut answers = vec![of_other];
        for connection in &mut open {
            connection.try_send(end.as_bytes());
            answers.push(connection.answer());
        }
        answers
    };
    let answers = neighbourhood
        .bears(async || {
            let (address, tenant, others) = (address.to_owned(), tenant.clone(), others.clone());
            blocking(move || attack(&address, &tenant, &others)).await
        })
        .await;
    // The list ends with a comma, so that nothing is done: 400 is the answer to a body that was read.
    assert_eq!(answers[0].0, 400, "{:?}", answers[0]);
    let refused = answers[1..].iter().filter(|(status, _)| *status == 503).count();
    let read = answers[1..].iter().filter(|(status, _)| *status == 400).count();
    // 32 MiB of one tenant are two bodies; of those that arrive at the same moment, also fewer.
    assert!(refused + read == 8 && (1..=2).contains(&read), "{refused} refused, {read} read");
    for refused in answers.iter().filter(|(status, _)| *status == 503) {
        assert_small_error(refused, 503, "UNAVAILABLE");
    }
}

#[tokio::test]
async fn held_calls_with_large_bodies_leave_room_for_those_of_others() {
    let neighbourhood = Neighbourhood::start().await;
    let world = &neighbourhood.world;
    let address = neighbourhood.replica().address().to_owned();
    let (one, two, other) = (world.tenant().await, world.tenant().await, world.tenant().await);
    for tenant in [&one, &two] {
        world.at(tenant).reserve("holder", "printer", None).await;
    }
    // Each as long as a body may be, though there is little in it; all of them would fill the budget of bodies.
    let whole = |tenant: &Tenant, path: &str, item: String| {
        let body = format!("[{item}{}]", " ".repeat((1 << 20) - item.len() - 2));
        request("POST", path, &[("x-api-key", &tenant.key)], &body)
    };
    let held: Vec<_> = [&one, &two]
        .iter()
        .flat_map(|tenant| {
            (0..32).map(move |n| {
                let item = format!(r#"{{"requester":"r{n}","resource":"printer","waitSeconds":120}}"#);
                whole(tenant, "/api/v1/Reservation/reserve?hold=60", item)
            })
        })
        .collect();
    let large = whole(&other, "/api/v1/events", r#"{"type":"x","data":1}"#.into());
    let (answered, silent, of_other) = blocking(move || {
        let mut calls: Vec<_> = held
            .iter()
            .map(|call| {
                let mut connection = RawConnection::open_at(&address, NEIGHBOUR);
                connection.send(call.as_bytes());
                connection
            })
            .collect();
        let begun = Instant::now();
        // Of each tenant 16 MiB are held; what is beyond is answered after a second.
        while calls.iter().filter(|call| call.is_silent()).count() > 32 {
            assert!(begun.elapsed() < Duration::from_secs(30), "they are all held");
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut other = RawConnection::open_at(&address, NEIGHBOUR);
        other.send(large.as_bytes());
        let of_other = other.answer();
        let (silent, mut answered): (Vec<_>, Vec<_>) = calls.drain(..).partition(|call| call.is_silent());
        let answers: Vec<_> = answered.iter_mut().map(RawConnection::answer).collect();
        (answers, silent.len(), of_other)
    })
    .await;
    assert_eq!(of_other.0, 202, "{of_other:?}");
    for (status, body) in &answered {
        assert!(*status == 200 && body.contains("WAITING"), "{status} {body}");
    }
    assert_eq!((silent, answered.len()), (32, 32));
}

#[tokio::test]
async fn a_body_that_trickles_is_cut_off() {
    let neighbourhood = Neighbourhood::start().await;
    let address = neighbourhood.replica().address().to_owned();
    let tenant = neighbourhood.world.tenant().await;
    let (answer, took) = blocking(move || {
        let begun = Instant::now();
        let mut slow = RawConnection::open_at(&address, NEIGHBOUR);
        let head = request("POST", "/api/v1/Reservation/reserve", &[("x-api-key", &tenant.key)], &"x".repeat(5_000));
        slow.send(&head.as_bytes()[..head.len() - 5_000]);
        // A byte often enough that it never stalls for 30 s.
        while slow.is_silent() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is still read");
            slow.try_send(b"[");
            std::thread::sleep(Duration::from_millis(500));
        }
        (slow.rest(), begun.elapsed())
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("REQUEST_TIMEOUT"), "{answer}");
    assert!(took > Duration::from_secs(29) && took < Duration::from_secs(30) + TIMEOUT, "{took:?}");
}
