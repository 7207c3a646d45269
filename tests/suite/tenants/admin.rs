//! Tenants and their API keys: created, changed, deleted; and secrets, which are neither stored nor logged.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::world::{ADMIN_KEY, Answer, Client, Replica, World, admin, answer, call};

/// A call with exactly this admin key, or none.
async fn as_admin(replica: &Replica, method: Method, path: &str, key: Option<&str>) -> Answer {
    let mut request = reqwest::Client::new()
        .request(method, format!("{}/api/v1/admin/tenants{path}", replica.url))
        .json(&json!({"name": "n", "tier": "Free"}));
    if let Some(key) = key {
        request = request.header("x-admin-key", key);
    }
    answer(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_tenant_is_created_shown_changed_and_deleted() {
    let world = World::<2>::start().await;
    let [north, south] = &world.replicas;

    let made = admin(north, Method::POST, "", Some(json!({"name": "Grüne Wiese", "tier": "starter"}))).await;
    assert_eq!(made.status, 201);
    let keys: Vec<_> = made.body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["tenantId", "name", "tier", "apiKey"]);
    assert_eq!((&made.body["name"], &made.body["tier"]), (&json!("Grüne Wiese"), &json!("Starter")));
    let (id, key) = (made.body["tenantId"].as_str().unwrap(), made.body["apiKey"].as_str().unwrap());
    assert!(key.starts_with("hf_live_") && key.len() >= "hf_live_".len() + 22, "at least 128 random bits: {key}");

    let shown = admin(south, Method::GET, &format!("/{id}"), None).await;
    assert_eq!(
        (shown.status.as_u16(), &shown.body["tier"], &shown.body["requireRegistration"]),
        (200, &json!("Starter"), &json!(false))
    );
    assert_eq!(shown.body["createdAt"].as_str().unwrap().len(), "2026-05-13T12:01:00.000Z".len());
    assert!(shown.body.get("apiKey").is_none());

    let changed =
        admin(south, Method::PATCH, &format!("/{id}"), Some(json!({"tier": "Pro", "requireRegistration": true}))).await;
    assert_eq!(
        (changed.status.as_u16(), &changed.body["tier"], &changed.body["requireRegistration"]),
        (200, &json!("Pro"), &json!(true))
    );
    let unchanged = admin(north, Method::PATCH, &format!("/{id}"), Some(json!({}))).await;
    assert_eq!(unchanged.body, changed.body, "what is absent stays");

    assert_eq!(admin(north, Method::DELETE, &format!("/{id}"), None).await.status, 204);
    for replica in [north, south] {
        call(Method::GET, &format!("{}/api/v1/Reservation", replica.url), Some(key), None)
            .await
            .fails(401, "UNAUTHORIZED");
        for (method, body) in [(Method::GET, None), (Method::PATCH, Some(json!({}))), (Method::DELETE, None)] {
            admin(replica, method, &format!("/{id}"), body).await.fails(404, "NOT_FOUND");
        }
    }
    let left = world.redis.snapshot();
    assert!(left.is_empty(), "nothing of it is left: {left:?}");
}

#[tokio::test]
async fn faults_in_an_administrators_input_are_named() {
    let world = World::<1>::start().await;
    let replica = &world.replicas[0];
    let tenant = world.tenant().await;

    for (body, paths) in [
        (json!({}), &["name"][..]),
        (json!({"name": "", "tier": "Free"}), &["name"]),
        (json!({"name": "a\nb", "tier": "Free"}), &["name"]),
        (json!({"name": "x".repeat(257), "tier": "Gold"}), &["name", "tier"]),
        (json!({"name": 7, "tier": "Free"}), &["name"]),
    ] {
        assert_eq!(admin(replica, Method::POST, "", Some(body)).await.paths(), paths);
    }
    for (body, paths) in
        [(json!({"tier": "Gold"}), &["tier"][..]), (json!({"requireRegistration": "yes"}), &["requireRegistration"])]
    {
        assert_eq!(admin(replica, Method::PATCH, &format!("/{}", tenant.id), Some(body)).await.paths(), paths);
    }
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?cursor=nonsense"] {
        admin(replica, Method::GET, query, None).await.fails(400, "VALIDATION_ERROR");
    }
    for id in ["nobody", "00000000-0000-4000-8000-000000000000", "a%2Fb", "%7Btag%7D"] {
        admin(replica, Method::GET, &format!("/{id}"), None).await.fails(404, "NOT_FOUND");
        admin(replica, Method::DELETE, &format!("/{id}"), None).await.fails(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_tenant_gets_the_tier_that_is_named_or_one_without_narrow_limits() {
    let world = World::<1>::start().await;
    let made = admin(&world.replicas[0], Method::POST, "", Some(json!({"name": "mine"}))).await;
    assert_eq!((made.status.as_u16(), made.body["tier"].as_str()), (201, Some("Pro")));
}

#[tokio::test]
async fn a_changed_tier_counts_from_the_next_call_on_at_every_replica() {
    let world = World::<2>::start().await;
    let tenant = world.tenant_of("Free").await;
    let change = async |tier: &str| {
        let changed =
            admin(&world.replicas[0], Method::PATCH, &format!("/{}", tenant.id), Some(json!({"tier": tier}))).await;
        assert_eq!(changed.status, 200, "{changed:?}");
    };
    let [north, south] = [0, 1].map(|number| world.at_replica(number, &tenant));
    let streams = |session: &Value| {
        let usage = session["usage"].as_array().unwrap().iter();
        usage.filter(|limit| limit["limitType"] == "SseConnections").map(|limit| limit["limit"].clone()).next().unwrap()
    };
    let shows = async |at: &Client<'_>, tier: &str, limit: Value| {
        let session = at.get("/session").await.body;
        assert_eq!((session["tier"].as_str(), streams(&session)), (Some(tier), limit), "{session}");
    };
    // Both replicas have the tenant in their caches.
    for at in [&north, &south] {
        shows(at, "Free", json!(1)).await;
    }
    let _first = north.events("").await;
    assert_eq!(north.events("").await.status, 429);

    change("Starter").await;
    shows(&south, "Starter", json!(5)).await;
    let _second = north.events("").await;
    assert_eq!(_second.status, 200, "the first call after the change");
    shows(&north, "Starter", json!(5)).await;

    change("Enterprise").await;
    shows(&north, "Enterprise", Value::Null).await;
    shows(&south, "Enterprise", Value::Null).await;
    change("Free").await;
    for at in [&north, &south] {
        let refused = at.get("/events").await;
        refused.fails(429, "RATE_LIMITED");
        assert_eq!((&refused.body["tier"], &refused.body["limit"]), (&json!("Free"), &json!(1)), "{refused:?}");
        let message = refused.body["error"]["message"].as_str().unwrap();
        assert!(message.ends_with("`holdfast tenant update TENANT --tier Starter`."), "{message}");
    }
}

#[tokio::test]
async fn tenants_are_listed_in_pages_each_once() {
    let world = World::<1>::start().await;
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(world.tenant().await.id);
    }
    made.sort();

    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin(&world.replicas[0], Method::GET, &format!("?limit=3{cursor}"), None).await;
        listed.extend(
            page.body["tenants"]
                .as_array()
                .unwrap()
                .iter()
                .map(|tenant| tenant["tenantId"].as_str().unwrap().to_owned()),
        );
        match page.body["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed, made);
    assert_eq!(admin(&world.replicas[0], Method::GET, "", None).await.body["tenants"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn the_admin_routes_open_to_the_admin_key_alone() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let unset = Replica::start(&[
        ("REDIS_URL", &world.redis.url()),
        ("ADMIN_KEY", ""),
        ("SECRET_KEY", "a-secret-key-of-the-tests"),
    ]);
    unset.ready().await;
    let before = world.redis.snapshot();

    let routes =
        [(Method::POST, ""), (Method::GET, ""), (Method::GET, "/x"), (Method::PATCH, "/x"), (Method::DELETE, "/x")];
    for (method, path) in routes {
        let path = path.replace('x', &tenant.id);
        for key in
            [None, Some(""), Some("admin-key-of-the-test"), Some("admin-key-of-the-testsx"), Some(tenant.key.as_str())]
        {
            as_admin(&world.replicas[0], method.clone(), &path, key).await.fails(401, "UNAUTHORIZED");
        }
        for key in [None, Some(""), Some(ADMIN_KEY)] {
            as_admin(&unset, method.clone(), &path, key).await.fails(401, "UNAUTHORIZED");
        }
        // A tenant's key opens nothing there, however it comes.
        call(method, &format!("{}/api/v1/admin/tenants{path}", world.replicas[0].url), Some(&tenant.key), None)
            .await
            .fails(401, "UNAUTHORIZED");
    }
    assert_eq!(world.redis.snapshot(), before);
}

#[tokio::test]
async fn a_short_admin_key_is_refused_at_the_start() {
    let said = Replica::try_start(&[("REDIS_URL", "redis://127.0.0.1:1"), ("ADMIN_KEY", "tiny-key")])
        .err()
        .expect("it does not start");
    assert!(said.contains("HOLDFAST_ADMIN_KEY") && said.contains("16") && !said.contains("tiny-key"), "{said}");
}

#[tokio::test]
async fn keys_are_created_listed_rotated_and_deleted() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);

    let made = at.post("/keys", json!({"label": "worker", "scopes": ["write"]})).await;
    assert_eq!(made.status, 201);
    let names: Vec<_> = made.body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["id", "label", "scopes", "createdAt", "lastUsedAt", "apiKey"]);
    assert_eq!((&made.body["label"], &made.body["scopes"]), (&json!("worker"), &json!(["write"])));
    let usual = at.post("/keys", json!({"label": "usual"})).await;
    assert_eq!(usual.body["scopes"], json!(["read", "write"]), "unless it says otherwise");

    let listed = at.get("/keys").await;
    let labels: Vec<_> =
        listed.body["keys"].as_array().unwrap().iter().map(|key| key["label"].as_str().unwrap()).collect();
    assert_eq!((labels, &listed.body["nextCursor"]), (vec!["default", "worker", "usual"], &Value::Null));
    assert_eq!(listed.body["keys"][0]["scopes"], json!(["read", "write", "admin"]));
    assert!(!listed.body.to_string().contains("hf_live_"), "never the text");

    let (id, old) = (made.body["id"].as_str().unwrap(), made.body["apiKey"].as_str().unwrap());
    let rotated = at.post(&format!("/keys/{id}/rotate"), Value::Null).await;
    assert_eq!(
        (rotated.status.as_u16(), &rotated.body["id"], &rotated.body["scopes"]),
        (200, &json!(id), &json!(["write"]))
    );
    assert_ne!(rotated.body["apiKey"], old);
    assert_eq!(at.delete(&format!("/keys/{id}")).await.status, 204);
    for gone in [id, "nobody", "a%2Fb"] {
        at.delete(&format!("/keys/{gone}")).await.fails(404, "NOT_FOUND");
        at.post(&format!("/keys/{gone}/rotate"), Value::Null).await.fails(404, "NOT_FOUND");
    }
    for (body, path) in [
        (json!({}), "label"),
        (json!({"label": ""}), "label"),
        (json!({"label": "a\tb"}), "label"),
        (json!({"label": "x", "scopes": []}), "scopes"),
        (json!({"label": "x", "scopes": ["root"]}), "scopes"),
    ] {
        assert_eq!(at.post("/keys", body).await.paths(), [path]);
    }
}

#[tokio::test]
async fn the_last_admin_key_cannot_be_deleted() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let first = at.get("/keys").await.body["keys"][0]["id"].as_str().unwrap().to_owned();
    at.post("/keys", json!({"label": "worker"})).await;

    at.delete(&format!("/keys/{first}")).await.fails(409, "CONFLICT");
    at.get("/keys").await;

    let second = at.post("/keys", json!({"label": "second", "scopes": ["admin"]})).await;
    assert_eq!(at.delete(&format!("/keys/{first}")).await.status, 204);
    at.get("/keys").await.fails(401, "UNAUTHORIZED");
    let key = second.body["apiKey"].as_str().unwrap();
    let other = crate::support::world::Client { replica: &world.replicas[0], key };
    assert_eq!(other.get("/keys").await.status, 200);
    other.delete(&format!("/keys/{}", second.body["id"].as_str().unwrap())).await.fails(409, "CONFLICT");
}

#[tokio::test]
async fn the_tier_bounds_the_keys_and_a_new_tier_counts_at_once() {
    let world = World::<2>::start().await;
    let tenant = world.tenant_of("Free").await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    assert_eq!(south.listed().await.len(), 0, "the other replica has cached the tenant as Free");

    let refused = south.post("/keys", json!({"label": "second"})).await;
    refused.fails(429, "RATE_LIMITED");
    let beside =
        (&refused.body["upgradeRequired"], &refused.body["limitType"], &refused.body["limit"], &refused.body["tier"]);
    assert_eq!(beside, (&json!(true), &json!("ApiKeys"), &json!(1), &json!("Free")));

    assert_eq!(
        admin(north.replica, Method::PATCH, &format!("/{}", tenant.id), Some(json!({"tier": "Starter"}))).await.status,
        200
    );
    assert_eq!(south.post("/keys", json!({"label": "second"})).await.status, 201);
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_on_the_other_replica() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    for act in ["rotate", "delete"] {
        let made = at.post("/keys", json!({"label": act})).await;
        let (id, key) = (made.body["id"].as_str().unwrap(), made.body["apiKey"].as_str().unwrap().to_owned());
        let bearers =
            [0, 1].map(|number| crate::support::world::Client { replica: &world.replicas[number], key: &key });
        for bearer in bearers {
            bearer.acquire("w", &format!("{act} {}", bearer.replica.url), None).await; // both replicas cache it
        }

        match act {
            "rotate" => assert_eq!(at.post(&format!("/keys/{id}/rotate"), Value::Null).await.status, 200),
            _ => assert_eq!(at.delete(&format!("/keys/{id}")).await.status, 204),
        }

        for bearer in bearers {
            let item = json!([{"requester": "w", "resource": "too late"}]);
            bearer.post("/Reservation/reserve", item).await.fails(401, "UNAUTHORIZED");
            bearer.get("/Reservation").await.fails(401, "UNAUTHORIZED");
        }
    }
    assert!(!at.listed().await.contains(&"too late".to_owned()));
}

/// Whether any file under the directory holds these bytes.
fn holds(dir: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holds(&path, bytes)
        } else {
            path.extension().is_none_or(|kind| kind != "sock")
                && std::fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes)
        }
    })
}

#[tokio::test]
async fn secrets_are_neither_stored_nor_logged() {
    let world = World::<1>::with(&["--appendonly", "yes", "--appendfsync", "always"], &[("LOG", "trace")]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let made = at.post("/keys", json!({"label": "the label"})).await;
    let rotated = at.post(&format!("/keys/{}/rotate", made.body["id"].as_str().unwrap()), Value::Null).await;
    let held = at.acquire("w", "r", Some(60)).await;
    let token = held["releaseToken"].as_str().unwrap();
    at.unreserve("w", "r", &json!("a wrong token")).await.fails(403, "INVALID_RELEASE_TOKEN");
    at.renew("w", "r", &held["releaseToken"], 60).await;
    at.get("/Reservation?prefix=asked-in-the-query").await;
    call(Method::GET, &format!("{}/api/v1/Reservation/reserve?api_key={}", at.replica.url, tenant.key), None, None)
        .await;
    let mut events = crate::support::sse::EventStream::open(
        &format!("{}/api/v1/events?api_key={}", at.replica.url, tenant.key),
        &[],
    )
    .await;
    events.head().await;
    let metrics = at.replica.get("/metrics").await.1;

    let keys = [tenant.key.as_str(), made.body["apiKey"].as_str().unwrap(), rotated.body["apiKey"].as_str().unwrap()];
    // The append-only file has every write in the clear, so it shows what was ever in Redis.
    let dir = world.redis.dir();
    assert!(holds(dir, tenant.id.as_bytes()) && holds(dir, b"the label"), "the search finds what is there");
    for key in keys {
        assert!(!holds(dir, key.as_bytes()), "a key's text is in Redis");
        assert!(!holds(dir, key.trim_start_matches("hf_live_").as_bytes()), "a key's text is in Redis");
    }
    let log = world.replicas[0].log();
    assert!(log.contains("/api/v1/Reservation/reserve") && log.contains("DEBUG"), "the log has requests");
    for secret in keys.into_iter().chain([token, ADMIN_KEY, "a wrong token"]) {
        assert!(!log.contains(secret), "{secret} is in the log");
        assert!(!metrics.to_string().contains(secret), "{secret} is in the metrics");
    }
    assert!(!log.contains("asked-in-the-query") && !log.contains("api_key="), "a query string is in the log");
    assert!(!metrics.to_string().contains(&tenant.id), "no time series per tenant");
}
