//! Errors: every failure has the one error body.

use reqwest::{Client as Http, Method};
use serde_json::{Value, json};

use crate::support::world::{ADMIN_KEY, Answer, World, admin, answer, call, raw};

const RESERVE: &str = "/api/v1/Reservation/reserve";

/// Posts a body as it is, with these headers.
async fn send(url: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Answer {
    let mut request = Http::new().post(url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.send().await.expect("a response")).await
}

/// Status and body of a raw response.
fn parsed(text: &str) -> (u16, Value) {
    let status = text.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {text:?}")).parse().unwrap();
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_a_validation_error() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let url = format!("{}{RESERVE}", world.replicas[0].url);
    let json = [("x-api-key", tenant.key.as_str()), ("content-type", "application/json")];

    for body in [
        "",
        " \n",
        "nonsense",
        "[",
        "{]",
        "[{\"requester\":\"w\",}]",
        "\"text\"",
        "{}",
        "null",
        "7",
        "[7]",
        "[[]]",
        "[null]",
        "[{}]",
        "\u{feff}[]",
    ] {
        send(&url, &json, body).await.fails(400, "VALIDATION_ERROR");
    }
    send(&url, &json, vec![b'[', b'"', 0xff, b'"', b']']).await.fails(400, "VALIDATION_ERROR");
    let deep = "[".repeat(100_000);
    send(&url, &json, deep).await.fails(400, "VALIDATION_ERROR");
    assert!(world.at(&tenant).listed().await.is_empty());
}

#[tokio::test]
async fn a_body_must_be_declared_as_json() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let url = format!("{}{RESERVE}", world.replicas[0].url);
    let key = ("x-api-key", tenant.key.as_str());
    let body = r#"[{"requester":"w","resource":"r"}]"#;

    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/json5; charset=utf-8",
        "text/json",
    ] {
        send(&url, &[key, ("content-type", kind)], body).await.fails(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    send(&url, &[key], body).await.fails(415, "UNSUPPORTED_MEDIA_TYPE");
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
        assert_eq!(send(&url, &[key, ("content-type", kind)], body).await.status, 200, "{kind}");
    }
}

#[tokio::test]
async fn a_body_of_more_than_a_mebibyte_is_refused_however_it_is_framed() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let url = format!("{}{RESERVE}", world.replicas[0].url);
    let json = [("x-api-key", tenant.key.as_str()), ("content-type", "application/json")];
    let of = |bytes: usize| {
        let item = r#"{"requester":"w","resource":"r"}"#;
        format!("[{item}{}]", " ".repeat(bytes - item.len() - 2))
    };
    let chunked = |text: String| {
        let pieces: Vec<_> =
            text.into_bytes().chunks(60_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
    };

    send(&url, &json, of((1 << 20) + 1)).await.fails(413, "PAYLOAD_TOO_LARGE");
    send(&url, &json, chunked(of((1 << 20) + 1))).await.fails(413, "PAYLOAD_TOO_LARGE");
    send(&url, &json, chunked(of(3 << 20))).await.fails(413, "PAYLOAD_TOO_LARGE");
    assert!(world.at(&tenant).listed().await.is_empty());
    assert_eq!(send(&url, &json, of(1 << 20)).await.statuses(), ["ACQUIRED"], "just a mebibyte fits");
    assert_eq!(send(&url, &json, chunked(of(1 << 20))).await.statuses(), ["ALREADY_HAD"]);
}

#[tokio::test]
async fn an_unknown_path_is_not_found_and_a_wrong_method_names_the_right_ones() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let base = &world.replicas[0].url;

    for path in [
        "/nothing",
        "/api",
        "/api/v1",
        "/api/v1/Reservation/nothing",
        "/api/v2/Reservation/reserve",
        "/dashboard/nothing.js",
        "/dashboard/../Cargo.toml",
    ] {
        for key in [None, Some(tenant.key.as_str())] {
            call(Method::GET, &format!("{base}{path}"), key, None).await.fails(404, "NOT_FOUND");
        }
    }
    // Case and slashes count, since a name may follow; what was probably meant is named.
    for (path, near) in [
        ("/api/v1/reservation/reserve", "/api/v1/Reservation/reserve"),
        ("/API/V1/Events", "/api/v1/events"),
        ("/api/v1/Reservation/reserve/", "/api/v1/Reservation/reserve"),
        ("/api/v1/resource/Deploy-Lock", "/api/v1/Resource/Deploy-Lock"),
        ("/Api/Queues", "/api/queues"),
    ] {
        let answer = call(Method::GET, &format!("{base}{path}"), Some(&tenant.key), None).await;
        let message = answer.fails(404, "NOT_FOUND")["message"].as_str().unwrap().to_owned();
        assert!(message.ends_with(&format!("did you mean {near}?")), "{message}");
    }
    for (method, path, allow) in [
        (Method::GET, "/Reservation/reserve", "POST"),
        (Method::DELETE, "/Reservation/activeReservations", "GET"),
        (Method::PUT, "/Reservation/check/a%2Fb", "GET"),
        (Method::PATCH, "/keys", "GET, POST"),
        (Method::GET, "/keys/some-id", "DELETE"),
        (Method::PUT, "/admin/tenants/some-id", "DELETE, GET, PATCH"),
    ] {
        let answer = call(method.clone(), &format!("{base}/api/v1{path}"), Some(&tenant.key), None).await;
        answer.fails(405, "METHOD_NOT_ALLOWED");
        let mut allowed: Vec<_> = answer.headers["allow"].to_str().unwrap().split(", ").collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(", "), allow, "{method} {path}");
    }
    for path in ["/healthz", "/", "/openapi.json"] {
        let answer = call(Method::POST, &format!("{base}{path}"), None, None).await;
        answer.fails(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.headers["allow"], "GET", "{path}");
    }
}

#[tokio::test]
async fn every_refused_credential_reads_the_same() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let made = world.at(&tenant).post("/keys", json!({"label": "short-lived"})).await;
    let revoked = made.body["apiKey"].as_str().unwrap().to_owned();
    assert_eq!(world.at(&tenant).delete(&format!("/keys/{}", made.body["id"].as_str().unwrap())).await.status, 204);
    let good = tenant.key.as_str();
    let cut = &good[..good.len() - 1];
    let (bearer_cut, bearer_good) = (format!("Bearer {cut}"), format!("Bearer {good}"));
    let long = "x".repeat(5000);

    let bad: [&[(&str, &str)]; 11] = [
        &[],
        &[("x-api-key", "")],
        &[("x-api-key", "nonsense")],
        &[("x-api-key", cut)],
        &[("x-api-key", &revoked)],
        &[("x-api-key", &long)],
        &[("authorization", &bearer_cut)],
        &[("authorization", "Basic dXNlcjpwYXNz")],
        &[("authorization", "Bearer")],
        &[("x-api-key", cut), ("authorization", &bearer_good)],
        &[("x-admin-key", ADMIN_KEY)],
    ];
    let url = format!("{}{RESERVE}", world.replicas[0].url);
    let mut bodies = Vec::new();
    for headers in bad {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        let answer = send(&url, &headers, r#"[{"requester":"w","resource":"r"}]"#).await;
        answer.fails(401, "UNAUTHORIZED");
        bodies.push(answer.body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "refusals do not differ: {bodies:?}");

    for headers in [
        [("x-api-key", good), ("authorization", "Bearer nonsense")],
        [("authorization", bearer_good.as_str()), ("accept", "*/*")],
    ] {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        assert_eq!(
            send(&url, &headers, r#"[{"requester":"w","resource":"r"}]"#).await.status,
            200,
            "the first present decides"
        );
    }
    call(Method::GET, &format!("{}/api/v1/Reservation?api_key={good}", world.replicas[0].url), None, None)
        .await
        .fails(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let taken = json!([{"requester": "w", "resource": "r", "ttlSeconds": 5}]);
    let given_back = json!([{"requester": "w", "resource": "r", "releaseToken": "x"}]);
    let renewed = json!([{"requester": "w", "resource": "r", "releaseToken": "x", "ttlSeconds": 5}]);
    let routes = [
        ("read", Method::GET, "/Reservation/activeReservations", Value::Null),
        ("read", Method::GET, "/Reservation", Value::Null),
        ("read", Method::GET, "/Reservation/check/r", Value::Null),
        ("read", Method::POST, "/Reservation/check", json!({"resources": ["r"]})),
        ("read", Method::POST, "/Reservation/verifyFence", json!({"resource": "r", "fencingToken": 1})),
        ("write", Method::POST, "/Reservation/unreserve", given_back.clone()),
        ("write", Method::POST, "/Reservation/renew", renewed.clone()),
        ("write", Method::POST, "/Reservation/reserve", taken.clone()),
        ("admin", Method::POST, "/Reservation/forceRelease", json!({"resource": "r"})),
        ("admin", Method::POST, "/Reservation/reset", json!({})),
        ("admin", Method::GET, "/keys", Value::Null),
        ("admin", Method::POST, "/keys", json!({"label": "another"})),
        ("admin", Method::POST, "/keys/nobody/rotate", Value::Null),
        ("admin", Method::DELETE, "/keys/nobody", Value::Null),
    ];
    for scope in ["read", "write", "admin"] {
        let key = world.at(&tenant).post("/keys", json!({"label": scope, "scopes": [scope]})).await.body["apiKey"]
            .as_str()
            .unwrap()
            .to_owned();
        for (needed, method, path, body) in &routes {
            let body = (!body.is_null()).then(|| body.clone());
            let answer =
                call(method.clone(), &format!("{}/api/v1{path}", world.replicas[0].url), Some(&key), body).await;
            if scope == *needed {
                assert!(answer.status.is_success() || answer.status == 404, "{scope} {path}: {answer:?}");
            } else {
                let error = answer.fails(403, "FORBIDDEN");
                assert!(error["message"].as_str().unwrap().contains(needed), "it says which scope is missing");
            }
        }
        let stream = crate::support::sse::EventStream::open(
            &format!("{}/api/v1/events", world.replicas[0].url),
            &[("x-api-key", &key)],
        )
        .await;
        assert_eq!(stream.status, if scope == "read" { 200 } else { 403 });
    }
}

#[tokio::test]
async fn the_credential_comes_first_and_the_body_second() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let made = world.at(&tenant).post("/keys", json!({"label": "reader", "scopes": ["read"]})).await;
    let reader = made.body["apiKey"].as_str().unwrap();
    let url = format!("{}{RESERVE}", world.replicas[0].url);

    for body in ["nonsense".to_owned(), "x".repeat(1_500_000)] {
        for kind in ["application/json", "text/plain"] {
            send(&url, &[("x-api-key", "bad"), ("content-type", kind)], body.clone()).await.fails(401, "UNAUTHORIZED");
            send(&url, &[("x-api-key", reader), ("content-type", kind)], body.clone()).await.fails(403, "FORBIDDEN");
        }
    }
    let url = format!("{}/api/v1/admin/tenants", world.replicas[0].url);
    send(&url, &[("x-admin-key", "bad"), ("content-type", "application/json")], "nonsense")
        .await
        .fails(401, "UNAUTHORIZED");
    assert_eq!(admin(&world.replicas[0], Method::POST, "", Some(json!({}))).await.paths(), ["name"]);
}

#[tokio::test]
async fn headers_are_bounded() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let get = |extra: String| {
        format!(
            "GET /api/v1/Reservation HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {}\r\n{extra}\r\n",
            tenant.key
        )
    };

    let (status, body) =
        parsed(&raw(&world.replicas[0], get(format!("x-large: {}\r\n", "x".repeat(40_000))).as_bytes()));
    assert_eq!((status, body["error"]["code"].as_str()), (431, Some("HEADERS_TOO_LARGE")));
    let many = |count| (0..count).map(|number| format!("x-{number}: 1\r\n")).collect::<String>();
    let (status, body) = parsed(&raw(&world.replicas[0], get(many(90)).as_bytes()));
    assert_eq!((status, body["error"]["code"].as_str()), (431, Some("HEADERS_TOO_LARGE")));
    let (status, _) = parsed(&raw(&world.replicas[0], get(many(70)).as_bytes()));
    assert_eq!(status, 200);
    // hyper refuses so many headers while it reads them; the body is ours.
    let (status, body) = parsed(&raw(&world.replicas[0], get(many(120)).as_bytes()));
    assert_eq!((status, body["error"]["code"].as_str()), (431, Some("HEADERS_TOO_LARGE")));
    let (status, _) = parsed(&raw(&world.replicas[0], get(format!("x-large: {}\r\n", "x".repeat(8_000))).as_bytes()));
    assert_eq!(status, 200);
    // hyper refuses a head of this size before it has read it; the service goes on.
    let absurd = raw(&world.replicas[0], get(format!("x-large: {}\r\n", "x".repeat(300_000))).as_bytes());
    assert!(absurd.is_empty() || absurd.starts_with("HTTP/1.1 431"), "{absurd:.40}");
    assert!(world.at(&tenant).listed().await.is_empty());
}

#[tokio::test]
async fn every_response_has_security_headers_and_a_request_id() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    for path in ["/api/v1/Reservation", "/nothing", "/healthz", "/"] {
        let answer = call(Method::GET, &format!("{}{path}", world.replicas[0].url), Some(&tenant.key), None).await;
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        uuid::Uuid::parse_str(answer.headers["x-request-id"].to_str().unwrap()).unwrap();
        assert!(answer.headers.contains_key("cache-control") && answer.headers.contains_key("content-security-policy"));
    }
    let own = send(&format!("{}{RESERVE}", world.replicas[0].url), &[("x-request-id", "mine-1")], "").await;
    assert_eq!(own.headers["x-request-id"], "mine-1");
    let odd = send(&format!("{}{RESERVE}", world.replicas[0].url), &[("x-request-id", "a b\"c")], "").await;
    uuid::Uuid::parse_str(odd.headers["x-request-id"].to_str().unwrap()).unwrap();
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_status() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    world.at(&tenant).acquire("me", "thing", None).await;
    world.at(&tenant).acquire("me", "other thing", None).await;
    world.at(&tenant).get("/Reservation/check/thing").await;
    let reserve = format!("{}{RESERVE}", world.replicas[0].url);
    call(Method::POST, &reserve, Some("wrong"), None).await.fails(401, "UNAUTHORIZED");
    raw(&world.replicas[0], b"INVENTED /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");

    // Names in paths and invented methods are no labels: each would make a time series.
    let metrics = reqwest::get(format!("{}/metrics", world.replicas[0].url)).await.unwrap().text().await.unwrap();
    let count = |labels: [&str; 3]| {
        let line = metrics.lines().find(|line| {
            line.starts_with("holdfast_requests_total{") && labels.iter().all(|label| line.contains(label))
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    assert_eq!(
        count([r#"route="/api/v1/Reservation/reserve""#, r#"method="POST""#, r#"status="200""#]),
        Some(2),
        "{metrics}"
    );
    assert_eq!(
        count([r#"route="/api/v1/Reservation/reserve""#, r#"method="POST""#, r#"status="401""#]),
        Some(1),
        "{metrics}"
    );
    assert_eq!(
        count([r#"route="/api/v1/Reservation/check/:param0""#, r#"method="GET""#, r#"status="200""#]),
        Some(1),
        "{metrics}"
    );
    assert_eq!(count([r#"route="unknown""#, r#"method="other""#, r#"status="404""#]), Some(1), "{metrics}");
    assert!(!metrics.contains("INVENTED"), "{metrics}");
}

#[tokio::test]
async fn a_stalled_body_and_a_missing_head_time_out_after_half_a_minute() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let begun = std::time::Instant::now();
    let replica = &world.replicas[0];

    let stalled = format!(
        "POST {RESERVE} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\ncontent-length: 100\r\nconnection: close\r\n\r\n[{{",
        tenant.key
    );
    let requests = [stalled, "GET /healthz HTTP/1.1\r\nhost: x\r\n".to_owned(), String::new()];
    let [body, head, nothing] = std::thread::scope(|scope| {
        requests
            .each_ref()
            .map(|request| scope.spawn(|| raw(replica, request.as_bytes())))
            .map(|raw| raw.join().unwrap())
    });

    let (status, body) = parsed(&body);
    assert_eq!((status, body["error"]["code"].as_str()), (408, Some("REQUEST_TIMEOUT")));
    for refused in [head, nothing] {
        assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 408"), "{refused}");
    }
    assert!((29..50).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}
