//! Sessions of browsers: an HttpOnly cookie, for our own pages alone, which ends with sign-out, key or disuse.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{
    sse::EventStream,
    world::{Answer, Replica, Tenant, World, answer, until},
};

/// A browser at a replica, with its cookie.
struct Browser<'a> {
    replica: &'a Replica,
    cookie: String,
}

async fn sign_in<'a>(replica: &'a Replica, key: &str) -> (Answer, Browser<'a>) {
    let request = reqwest::Client::new().post(format!("{}/api/v1/session", replica.url)).json(&json!({"apiKey": key}));
    let answer = answer(request.send().await.unwrap()).await;
    let cookie = answer
        .headers
        .get("set-cookie")
        .map_or("", |cookie| cookie.to_str().unwrap())
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    (answer, Browser { replica, cookie })
}

impl Browser<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        reqwest::Client::new()
            .request(method, format!("{}/api/v1{path}", self.replica.url))
            .header("cookie", &self.cookie)
    }

    async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path).send().await.unwrap()).await
    }

    /// Reserves something, with headers that say which page the request comes from.
    async fn reserve_from(&self, headers: &[(&str, &str)]) -> Answer {
        let mut request =
            self.request(Method::POST, "/Reservation/reserve").json(&json!([{"requester": "w", "resource": "r"}]));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send().await.unwrap()).await
    }

    async fn sign_out(&self) -> Answer {
        answer(self.request(Method::DELETE, "/session").header("sec-fetch-site", "same-origin").send().await.unwrap())
            .await
    }

    /// Opens the event stream with the cookie.
    async fn events(&self) -> EventStream {
        EventStream::open(&format!("{}/api/v1/events", self.replica.url), &[("cookie", self.cookie.as_str())]).await
    }

    /// The same browser at another replica.
    fn at<'b>(&self, replica: &'b Replica) -> Browser<'b> {
        Browser { replica, cookie: self.cookie.clone() }
    }
}

#[tokio::test]
async fn a_session_has_the_rights_of_its_key_on_every_replica() {
    let world = World::<2>::start().await;
    let tenant = world.tenant_of("Starter").await;
    let made = world.at(&tenant).post("/keys", json!({"label": "viewer", "scopes": ["read"]})).await;

    let (answer, browser) = sign_in(&world.replicas[0], made.body["apiKey"].as_str().unwrap()).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    for part in ["holdfast_session=hf_sess_", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert!(!cookie.contains("Secure"), "it is plain HTTP");
    let south = browser.at(&world.replicas[1]);
    let shown = south.get("/session").await;
    assert_eq!(
        (&shown.body["tenantId"], &shown.body["tier"], &shown.body["scopes"]),
        (&json!(tenant.id), &json!("Starter"), &json!(["read"]))
    );
    let usage: Vec<_> = shown.body["usage"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["limitType"].as_str().unwrap(), row["limit"].as_i64()))
        .collect();
    let limits = [
        ("RequestRate", Some(200)),
        ("ConcurrentReservations", Some(500)),
        ("SseConnections", Some(5)),
        ("ApiKeys", Some(10)),
        ("Resources", Some(1_000)),
        ("Companies", Some(100)),
        ("Connections", Some(5)),
        ("EventsPerDay", Some(100_000)),
        ("StoredBytes", Some(256 << 20)),
    ];
    assert_eq!(usage, limits);
    assert_eq!(shown.body["usage"][3]["used"], 2);
    assert_eq!(south.get("/Reservation/activeReservations").await.status, 200);
    assert_eq!(
        south.reserve_from(&[("sec-fetch-site", "same-origin")]).await.status,
        403,
        "the key has no scope to write"
    );
}

#[tokio::test]
async fn a_cookie_authorizes_changes_only_from_our_own_pages() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let (_, browser) = sign_in(&world.replicas[0], &tenant.key).await;
    let ours = world.replicas[0].url.clone();

    for headers in [
        &[][..],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "cross-site"), ("origin", ours.as_str())],
        &[("origin", "http://127.0.0.1")],
    ] {
        let refused = browser.reserve_from(headers).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (403, "FORBIDDEN"), "{headers:?}");
    }
    assert!(world.at(&tenant).listed().await.is_empty());
    assert_eq!(browser.reserve_from(&[("origin", &ours)]).await.status, 200);
    assert_eq!(browser.reserve_from(&[("sec-fetch-site", "same-origin")]).await.status, 200);

    let request =
        reqwest::Client::new().post(format!("{ours}/api/v1/session")).header("origin", "https://evil.example");
    assert_eq!(answer(request.json(&json!({"apiKey": tenant.key})).send().await.unwrap()).await.status, 403);
}

#[tokio::test]
async fn a_session_ends_with_a_sign_out_and_with_its_key() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let made = world.at(&tenant).post("/keys", json!({"label": "b", "scopes": ["read", "write"]})).await;
    let (_, first) = sign_in(&world.replicas[0], &tenant.key).await;
    let (_, second) = sign_in(&world.replicas[0], made.body["apiKey"].as_str().unwrap()).await;
    for browser in [&first, &second] {
        assert_eq!(browser.at(&world.replicas[1]).get("/session").await.status, 200);
    }

    let gone = first.sign_out().await;
    assert_eq!(gone.status, 204);
    assert!(gone.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(first.at(&world.replicas[1]).get("/session").await.status, 401, "refused at once, everywhere");
    assert_eq!(second.get("/session").await.status, 200);

    let rotated = world
        .at_replica(1, &tenant)
        .post(&format!("/keys/{}/rotate", made.body["id"].as_str().unwrap()), json!({}))
        .await;
    assert_eq!(rotated.status, 200);
    assert_eq!(second.get("/session").await.status, 401, "its key was rotated");
    assert_eq!(second.sign_out().await.status, 401);
}

#[tokio::test]
async fn a_stream_of_a_session_ends_with_it() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (_, browser) = sign_in(&world.replicas[0], &tenant.key).await;
    let mut stream = browser.at(&world.replicas[1]).events().await;
    stream.head().await;
    assert_eq!(browser.sign_out().await.status, 204);
    stream.rest().await;
}

#[tokio::test]
async fn streams_of_sessions_have_a_limit_of_their_own() {
    // Given a tenant whose five stream slots are used by a key, and two browsers.
    let world = World::<2>::start().await;
    let tenant = world.tenant_of("Starter").await;
    let mut of_key = Vec::new();
    for _ in 0..5 {
        let mut stream = world.at(&tenant).events("").await;
        stream.head().await;
        of_key.push(stream);
    }
    assert_eq!(world.at_replica(1, &tenant).events("").await.status, 429);
    let (_, first) = sign_in(&world.replicas[0], &tenant.key).await;
    let (_, second) = sign_in(&world.replicas[1], &tenant.key).await;

    // Then one browser has ten streams, wherever it opens them, and not one more; the other is not concerned.
    let mut of_first = Vec::new();
    for number in 0..10 {
        let mut stream = first.at(&world.replicas[number % 2]).events().await;
        stream.head().await;
        of_first.push(stream);
    }
    assert_eq!(first.events().await.status, 429);
    let mut of_second = second.events().await;
    of_second.head().await;

    // Closing one makes room for another.
    of_first.remove(0);
    until("there is room again", || async { first.events().await.status == 200 }).await;

    // When it signs out, all of its streams end, on both replicas, and no other.
    assert_eq!(first.sign_out().await.status, 204);
    for stream in &mut of_first {
        stream.rest().await;
    }
    assert_eq!(first.events().await.status, 401);
    world.at(&tenant).acquire("w", "after", None).await;
    for stream in of_key.iter_mut().chain([&mut of_second]) {
        // The refusals above are published, too.
        let event = loop {
            let (kind, data, _) = stream.event().await;
            if kind != "TIER_LIMIT_REACHED" {
                break data;
            }
        };
        assert_eq!((event["type"].as_str(), event["resource"].as_str()), (Some("RESERVED"), Some("after")));
    }
    // They used no slot of the key's.
    assert_eq!(world.at(&tenant).events("").await.status, 429);
    of_key.remove(0);
    until("a slot of the key's is free", || async { world.at_replica(1, &tenant).events("").await.status == 200 })
        .await;
}

#[tokio::test]
async fn all_sessions_of_a_tenant_share_a_hundred_streams() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let (mut open, mut browsers) = (Vec::new(), Vec::new());
    for _ in 0..11 {
        browsers.push(sign_in(&world.replicas[0], &tenant.key).await.1);
    }
    for browser in &browsers[..10] {
        for _ in 0..10 {
            let stream = browser.events().await;
            assert_eq!(stream.status, 200);
            open.push(stream);
        }
    }
    let refused = browsers[10].get("/events").await;
    assert_eq!((refused.status.as_u16(), refused.code()), (429, "RATE_LIMITED"));
    assert_eq!(
        (refused.body["limitType"].as_str(), refused.body["limit"].as_i64()),
        (Some("SseConnections"), Some(100))
    );
    open.truncate(99);
    until("there is room again", || async { browsers[10].events().await.status == 200 }).await;
}

#[tokio::test]
async fn a_session_lasts_as_long_as_it_is_used_and_no_longer() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (_, browser) = sign_in(&world.replicas[0], &tenant.key).await;
    assert_eq!(browser.get("/session").await.status, 200);
    let meta = meta_of(&world, &tenant);
    let set = |ends_in_ms: i64, last_in_ms: i64| {
        // As the script packs it: end, latest end, hash of the key, timeout without use.
        let script = "local now = redis.call('TIME')[1] * 1000
            for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
              if string.sub(field, 1, 2) == 's:' then
                local _, _, key, idle = cmsgpack.unpack(redis.call('HGET', KEYS[1], field))
                redis.call('HSET', KEYS[1], field, cmsgpack.pack(now + ARGV[1], now + ARGV[2], key, idle))
              end
            end";
        let () = redis::cmd("EVAL")
            .arg(script)
            .arg(1)
            .arg(&meta)
            .arg(ends_in_ms)
            .arg(last_in_ms)
            .query(&mut world.redis.connection())
            .unwrap();
    };
    let ends_in_ms = || -> i64 {
        let script = "for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
              if string.sub(field, 1, 2) == 's:' then return (cmsgpack.unpack(redis.call('HGET', KEYS[1], field))) - redis.call('TIME')[1] * 1000 end
            end";
        redis::cmd("EVAL").arg(script).arg(1).arg(&meta).query(&mut world.redis.connection()).unwrap()
    };

    set(60_000, 7 * 24 * 3_600_000);
    assert_eq!(browser.get("/session").await.status, 200);
    assert!(ends_in_ms() > 7 * 3_600_000, "use prolongs it");

    set(60_000, 90_000);
    assert_eq!(browser.get("/session").await.status, 200);
    assert!(ends_in_ms() <= 91_000, "never beyond its latest end");

    set(-1_000, 90_000);
    for replica in &world.replicas {
        assert_eq!(browser.at(replica).get("/session").await.status, 401, "it was not used in time");
    }
}

fn meta_of<const N: usize>(world: &World<N>, tenant: &Tenant) -> String {
    world.redis.snapshot().into_keys().find(|key| key.ends_with(&format!("{}:meta", tenant.id))).unwrap()
}

#[tokio::test]
async fn failed_sign_ins_are_limited_per_address() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let (wrong, _) = sign_in(&world.replicas[0], "hf_live_wrong").await;
    assert_eq!((wrong.status.as_u16(), wrong.headers.get("set-cookie")), (401, None));
    let mut refused = None;
    for _ in 0..40 {
        let (answer, _) = sign_in(&world.replicas[0], "hf_live_wrong").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    assert!(refused.expect("forty attempts are too many").number("retry-after") >= 1);
    for _ in 0..30 {
        assert_eq!(sign_in(&world.replicas[0], &tenant.key).await.0.status, 200, "good keys are no attempts");
    }
}

#[tokio::test]
async fn behind_https_the_cookie_is_secure() {
    let world = World::<1>::with(&[], &[("PUBLIC_URL", "https://locks.example.org")]).await;
    let tenant = world.tenant().await;
    let (answer, browser) = sign_in(&world.replicas[0], &tenant.key).await;
    assert!(answer.headers["set-cookie"].to_str().unwrap().contains("; Secure"));
    assert_eq!(browser.reserve_from(&[("origin", "https://locks.example.org")]).await.status, 200);
    assert_eq!(
        browser.reserve_from(&[("origin", &world.replicas[0].url)]).await.status,
        403,
        "the public address is the one that counts"
    );
}

#[tokio::test]
async fn only_listed_origins_read_answers_and_never_by_cookie() {
    let world = World::<1>::with(&[], &[("CORS_ORIGINS", "https://app.example.org")]).await;
    let tenant = world.tenant().await;
    let url = format!("{}/api/v1/Reservation/check/a", world.replicas[0].url);
    let from = |method: Method, origin: &'static str| {
        reqwest::Client::new().request(method, &url).header("origin", origin).header("x-api-key", &tenant.key)
    };

    let listed = answer(from(Method::GET, "https://app.example.org").send().await.unwrap()).await;
    assert_eq!(
        (listed.status.as_u16(), listed.headers["access-control-allow-origin"].to_str().unwrap()),
        (200, "https://app.example.org")
    );
    let exposed = listed.headers["access-control-expose-headers"].to_str().unwrap().to_lowercase();
    for name in ["holdfast-position", "holdfast-time", "ratelimit", "ratelimit-policy", "retry-after"] {
        assert!(exposed.split(", ").any(|header| header == name), "{name} in {exposed}");
    }
    assert!(listed.headers.get("access-control-allow-credentials").is_none());
    assert_eq!(listed.headers["vary"], "Origin");
    let other = answer(from(Method::GET, "https://evil.example").send().await.unwrap()).await;
    assert!(other.headers.get("access-control-allow-origin").is_none());

    let preflight = |origin| from(Method::OPTIONS, origin).header("access-control-request-method", "POST").send();
    let allowed = preflight("https://app.example.org").await.unwrap();
    assert_eq!(allowed.status(), 204);
    assert!(allowed.headers()["access-control-allow-headers"].to_str().unwrap().contains("X-Api-Key"));
    assert!(preflight("https://evil.example").await.unwrap().headers().get("access-control-allow-methods").is_none());

    let any = World::<1>::with(&[], &[("CORS_ORIGINS", "*")]).await;
    let request = reqwest::Client::new()
        .get(format!("{}/api/v1/session", any.replicas[0].url))
        .header("origin", "https://x.example");
    let open = request.send().await.unwrap();
    assert_eq!((open.status().as_u16(), open.headers()["access-control-allow-origin"].to_str().unwrap()), (401, "*"));
    assert!(open.headers().get("access-control-allow-credentials").is_none());
}

#[tokio::test]
async fn a_rate_limited_browser_can_still_sign_out() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[Free]\nrequests_per_second = 1\nburst = 10\n").unwrap();
    let world = World::<1>::with(&[], &[("TIERS_FILE", file.path().to_str().unwrap())]).await;
    let tenant = world.tenant_of("Free").await;
    let (_, browser) = sign_in(&world.replicas[0], &tenant.key).await;
    until("the rate is used up", || async { browser.get("/session").await.status == 429 }).await;
    let gone = browser.sign_out().await;
    assert_eq!((gone.status.as_u16(), gone.body), (204, Value::String(String::new())));
}
