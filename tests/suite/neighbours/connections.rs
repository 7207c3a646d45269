//! Connections: places, idle ones, heads, and what the HTTP library itself refuses.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    neighbours::{
        frame::{NEIGHBOUR, Neighbourhood, OTHER_NEIGHBOUR, RawConnection, assert_small_error, blocking, request},
        streams::UnreadHttp2,
    },
    support::{
        redis_server::Redis,
        world::{Replica, World, binary, raw, until},
    },
};

const HOME: [u8; 4] = [127, 0, 0, 1];

/// A replica with 100 places for connections.
fn small_replica(redis: &Redis) -> Replica {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "prlimit", "--nofile=300", &binary()]);
    Replica::launch(command, &["serve"], &[("REDIS_URL", &redis.url())]).expect("the replica starts")
}

/// Connections that begin to sign in and send no more.
fn slow_bodies(replica: &Replica, from: [u8; 4], count: usize) -> Vec<RawConnection> {
    let begin = request("POST", "/api/v1/session", &[], &" ".repeat(1_000));
    let open = |_| {
        let mut connection = RawConnection::open(replica, from);
        connection.try_send(&begin.as_bytes()[..begin.len() - 500]);
        connection
    };
    (0..count).map(open).collect()
}

fn get(replica: &Replica, from: [u8; 4], path: &str, key: &str) -> (u16, String) {
    let mut connection = RawConnection::open(replica, from);
    connection.send(request("GET", path, &[("x-api-key", key)], "").as_bytes());
    connection.answer()
}

#[tokio::test]
async fn slow_bodies_of_one_address_leave_room_for_others_and_those_of_many_for_health_checks() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let replica = small_replica(&world.redis);
    replica.ready().await;

    // One address takes half of the places, and no more.
    let _first = slow_bodies(&replica, NEIGHBOUR, 150);
    for _ in 0..20 {
        let (status, body) = get(&replica, HOME, "/api/v1/Reservation", &tenant.key);
        assert_eq!(status, 200, "{body}");
    }
    assert_small_error(&get(&replica, NEIGHBOUR, "/api/v1/Reservation", &tenant.key), 503, "UNAVAILABLE");
    assert_eq!(get(&replica, NEIGHBOUR, "/healthz", "").0, 200, "also from there");

    // Two take all; health checks are served, and the rest is told so at once.
    let _second = slow_bodies(&replica, OTHER_NEIGHBOUR, 150);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(&replica, HOME, path, "").0, 200, "{path}");
    }
    let begun = Instant::now();
    assert_small_error(&get(&replica, HOME, "/api/v1/Reservation", &tenant.key), 503, "UNAVAILABLE");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());

    // And it heals when they are gone.
    drop((_first, _second));
    until("there is room again", || async { get(&replica, HOME, "/api/v1/Reservation", &tenant.key).0 == 200 }).await;
}

#[tokio::test]
async fn connections_with_a_credential_are_not_counted_by_address() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let replica = small_replica(&world.redis);
    replica.ready().await;
    let call = request("GET", "/api/v1/Reservation", &[("x-api-key", &tenant.key)], "");
    let mut open = Vec::new();
    for _ in 0..80 {
        let mut connection = RawConnection::open(&replica, NEIGHBOUR);
        connection.send(call.as_bytes());
        let (status, body) = connection.answer();
        assert_eq!(status, 200, "{body}");
        open.push(connection);
    }
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_longer_than_proxies_keep_theirs() {
    let world = World::<1>::start().await;
    let replica = &world.replicas[0];
    let mut idle = RawConnection::open(replica, HOME);
    let mut begun = RawConnection::open(replica, HOME);
    for connection in [&mut idle, &mut begun] {
        connection.send(request("GET", "/healthz", &[], "").as_bytes());
        assert_eq!(connection.answer().0, 200);
    }
    begun.send(b"GET /healthz HT");
    let since = Instant::now();
    // A client of HTTP/2 that asked once, and answers pings ever since.
    let address = replica.address().to_owned();
    let pinging = std::thread::spawn(move || {
        let mut client = UnreadHttp2::open(&address);
        client.get(1, "/healthz", "");
        while client.next().is_some() {
            assert!(since.elapsed() < Duration::from_secs(100));
        }
        since.elapsed().as_secs()
    });
    let (of_begun, of_idle) = blocking(move || {
        let wait = |connection: &mut RawConnection| {
            while !connection.is_closed() {
                assert!(since.elapsed() < Duration::from_secs(100));
                std::thread::sleep(Duration::from_millis(100));
            }
            since.elapsed().as_secs()
        };
        (wait(&mut begun), wait(&mut idle))
    })
    .await;
    assert!((29..50).contains(&of_begun), "{of_begun} s: a head that has begun");
    assert!((74..95).contains(&of_idle), "{of_idle} s: the next head");
    let of_pinging = blocking(move || pinging.join().unwrap()).await;
    assert!((74..100).contains(&of_pinging), "{of_pinging} s: HTTP/2 without a request");
}

#[tokio::test]
async fn raw_characters_of_a_path_belong_to_the_name() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    for name in ["Plant>Line-1", "a<b", "a`b", "A#B", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}"] {
        at.acquire("w", name, None).await;
        let (status, body) = get(at.replica, HOME, &format!("/api/v1/Reservation/check/{name}"), &tenant.key);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body["resource"].as_str(), body["holder"].as_str()), (200, Some(name), Some("w")));
        let (status, body) = get(at.replica, HOME, &format!("/api/v1/Reservation?limit=10&prefix={name}"), &tenant.key);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body["reservations"][0]["resource"].as_str()), (200, Some(name)), "{body}");
    }
    // What stands before a raw '#' is another thing.
    at.post("/Resource/register", serde_json::json!([{"name": "A"}])).await;
    let mut connection = RawConnection::open(at.replica, HOME);
    connection.send(request("DELETE", "/api/v1/Resource/A#B", &[("x-api-key", &tenant.key)], "").as_bytes());
    assert_eq!(connection.answer().0, 404);
    assert_eq!(at.get("/Resource/A").await.status, 200, "it is still there");
}

#[tokio::test]
async fn what_the_http_library_refuses_has_our_body() {
    let neighbourhood = Neighbourhood::start().await;
    let replica = neighbourhood.replica();
    let many = (0..150).map(|number| format!("x-{number}: 1\r\n")).collect::<String>();
    let cases = [
        ("GET /a b HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400, "VALIDATION_ERROR"),
        ("nonsense\r\n\r\n".to_owned(), 400, "VALIDATION_ERROR"),
        ("GET /healthz HTTP/1.1\r\nbad header: x\r\n\r\n".to_owned(), 400, "VALIDATION_ERROR"),
        ("POST /auth/token HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n".to_owned(), 400, "VALIDATION_ERROR"),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(70_000)), 431, "HEADERS_TOO_LARGE"),
        (format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{many}\r\n"), 431, "HEADERS_TOO_LARGE"),
    ];
    for (request, status, code) in cases {
        let text = raw(replica, request.as_bytes());
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?} for {request:.60}"));
        let found = head.split(' ').nth(1).unwrap().parse().unwrap();
        assert_small_error(&(found, body.to_owned()), status, code);
        for header in ["content-type: application/json", "x-request-id: ", "x-content-type-options: nosniff"] {
            assert!(head.contains(header), "{head}");
        }
    }
    let metrics = reqwest::get(format!("{}/metrics", replica.url)).await.unwrap().text().await.unwrap();
    let is_count = |line: &&str| line.contains(r#"route="unknown""#) && line.contains(r#"status="400""#);
    let counted = metrics.lines().find(is_count).expect("they are counted");
    assert!(counted.ends_with(" 4"), "{counted}");
}
