//! Events of the tenant's own platform, and its companies.

use serde_json::{Value, json};

use crate::support::world::World;

#[tokio::test]
async fn published_events_take_positions_in_the_tenants_order() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    let mut stream = south.events("").await;
    stream.head().await;

    let before = north.acquire("w", "a", None).await;
    let trade = json!({"type": "trade", "companyId": "clx9", "data": {"tokenSymbol": "$ALPHA", "price": 0.045, "big": 1}, "timestamp": "2026-03-28T12:01:00Z"});
    let one = north.post("/events", trade).await;
    assert_eq!(one.status, 202, "{one:?}");
    let many = south
        .post(
            "/events",
            json!([{"type": "decision", "data": []}, {"type": "own.kind", "data": "text\nand more\u{2028}"}]),
        )
        .await;
    let after = north.acquire("w", "b", None).await;

    assert_eq!(stream.event().await.2, before["fencingToken"].to_string());
    let (kind, data, id) = stream.event().await;
    assert_eq!((kind.as_str(), id.as_str()), ("trade", one.body["ids"][0].as_str().unwrap()));
    let keys: Vec<_> = data.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["id", "type", "companyId", "data", "timestamp"]);
    assert_eq!(
        (data["id"].as_str(), data["type"].as_str(), data["companyId"].as_str()),
        (Some(id.as_str()), Some("trade"), Some("clx9"))
    );
    assert_eq!(
        (data["data"]["price"].as_f64(), data["timestamp"].as_str()),
        (Some(0.045), Some("2026-03-28T12:01:00.000Z"))
    );
    let (kind, data, id) = stream.event().await;
    assert_eq!(
        (kind.as_str(), id.as_str(), &data["companyId"]),
        ("decision", many.body["ids"][0].as_str().unwrap(), &Value::Null)
    );
    let (kind, data, id) = stream.event().await;
    assert_eq!((kind.as_str(), id.as_str()), ("own.kind", many.body["ids"][1].as_str().unwrap()));
    assert_eq!(data["data"], "text\nand more\u{2028}");
    assert_eq!(stream.event().await.2, after["fencingToken"].to_string());

    // A stream that resumes gets all of them again.
    let mut again = north.events(&format!("?lastEventId={}", before["fencingToken"])).await;
    again.head().await;
    for kind in ["trade", "decision", "own.kind", "RESERVED"] {
        again.expect(kind).await;
    }
}

#[tokio::test]
async fn data_is_delivered_byte_for_byte() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut stream = at.events("").await;
    stream.head().await;
    let data = "{\"n\":123456789012345678901234567890.10,\"s\":\"\\u2028 \\\" { }\",\"e\":1E+2}";
    let body = format!("{{ \"type\" : \"raw\",\r\n \"data\" : {} }}", data.replace(',', " ,\n\t"));
    let url = format!("{}/api/v1/events", world.replicas[0].url);
    let sent = reqwest::Client::new()
        .post(url)
        .header("x-api-key", &tenant.key)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 202);
    loop {
        if let Some(crate::support::sse::Seen::Event { data: line, .. }) = stream.next().await {
            assert!(line.contains(&format!("\"data\":{data},")), "{line}");
            break;
        }
    }
}

#[tokio::test]
async fn a_dedupe_id_publishes_once() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    let mut stream = north.events("").await;
    stream.head().await;
    let event = |number: i64, id: &str| json!({"type": "score", "data": {"score": number}, "dedupeId": id});

    let first = north.post("/events", event(1, "x")).await.body["ids"][0].clone();
    assert_eq!(south.post("/events", event(2, "x")).await.body["ids"][0], first);
    let twice = south.post("/events", json!([event(3, "y"), event(4, "x"), event(5, "y")])).await.body["ids"].clone();
    assert_eq!((&twice[1], &twice[0]), (&first, &twice[2]));

    assert_eq!(stream.expect("score").await["data"]["score"], 1);
    assert_eq!(stream.expect("score").await["data"]["score"], 3);
    north.acquire("w", "a", None).await;
    stream.expect("RESERVED").await;
}

#[tokio::test]
async fn companies_are_registered_and_filtered_by_slug_or_id() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Free").await;
    let at = world.at(&tenant);
    let put = async |slug: &str, body: Value| {
        let url = format!("{}/api/v1/companies/{slug}", world.replicas[0].url);
        crate::support::world::call(reqwest::Method::PUT, &url, Some(&tenant.key), Some(body)).await
    };
    let alpha = put("alphavault", json!({"name": "Alpha", "id": "c-1"})).await;
    assert_eq!((alpha.status.as_u16(), alpha.body["id"].as_str()), (200, Some("c-1")), "{alpha:?}");
    let beta = put("betacorp", json!({"name": "Beta"})).await.body;
    assert_eq!(put("betacorp", json!({"name": "Beta 2"})).await.body["id"], beta["id"]);
    assert_eq!(put("other", json!({"name": "Other", "id": "c-1"})).await.status, 409);
    assert_eq!(put("other", json!({})).await.code(), "VALIDATION_ERROR");
    assert_eq!(at.get("/companies/betacorp").await.body["name"], "Beta 2");
    assert_eq!(at.get("/companies").await.body["companies"].as_array().unwrap().len(), 2);

    let mut stream = at.events(&format!("?companies=alphavault,{}", beta["id"].as_str().unwrap())).await;
    stream.head().await;
    at.acquire("w", "alphavault", None).await;
    let event = |at: &str, company: Value| json!({"type": "trade", at: company, "data": at});
    let events = [
        event("companyId", json!("c-1")),
        event("company", json!("betacorp")),
        event("companyId", json!("c-9")),
        event("companyId", Value::Null),
    ];
    assert_eq!(at.post("/events", json!(events)).await.status, 202);
    assert_eq!(stream.expect("trade").await["companyId"], "c-1");
    assert_eq!(stream.expect("trade").await["companyId"], beta["id"]);

    let unknown =
        at.post("/events", json!([event("company", json!("alphavault")), event("company", json!("nobody"))])).await;
    assert_eq!(
        (unknown.status.as_u16(), unknown.body["error"]["details"][0]["path"].as_str()),
        (400, Some("[1].company"))
    );
    assert_eq!(at.delete("/companies/alphavault").await.status, 204);
    assert_eq!(at.delete("/companies/alphavault").await.status, 404);
    assert_eq!(at.get("/companies/alphavault").await.status, 404);
    assert_eq!(
        at.post("/events", event("company", json!("alphavault"))).await.body["error"]["details"][0]["path"],
        "company"
    );

    // The tier's rate is low too: calls refused for it are repeated.
    let put_when_admitted = async |slug: &str| loop {
        let answer = put(slug, json!({"name": "More"})).await;
        if answer.body["limitType"] != "RequestRate" {
            break answer;
        }
    };
    for number in 0..9 {
        assert_eq!(put_when_admitted(&format!("more-{number}")).await.status, 200);
    }
    let full = put_when_admitted("too-many").await;
    assert_eq!(
        (full.status.as_u16(), full.body["limitType"].as_str(), full.body["limit"].as_i64()),
        (429, Some("Companies"), Some(10))
    );
}

#[tokio::test]
async fn invalid_fields_of_events_are_named() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let paths = async |body: Value| {
        let answer = at.post("/events", body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        answer.body["error"]["details"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["path"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(paths(json!({"type": "message", "data": 1})).await, ["type"]);
    assert_eq!(paths(json!({"type": "Bad\nkind"})).await, ["type", "data"]);
    assert_eq!(
        paths(json!([{"type": "a", "data": 1}, {"type": "a", "data": 1, "timestamp": "soon"}])).await,
        ["[1].timestamp"]
    );
    assert_eq!(paths(json!({"type": "a", "data": "x".repeat(17 << 10)})).await, ["data"]);
    assert_eq!(paths(json!([])).await, [""]);
    assert_eq!(paths(json!(vec![json!({"type": "a", "data": 1}); 1_001])).await, [""]);
    let large = at.post("/events", json!(vec![json!({"type": "a", "data": "x".repeat(8 << 10)}); 1_000])).await;
    assert_eq!(large.status, 202, "8 MiB are fine here");
}

#[tokio::test]
async fn data_is_readable_for_every_subscriber() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut stream = at.events("").await;
    stream.head().await;
    let publish = async |data: &str| {
        let request =
            reqwest::Client::new().post(format!("{}/api/v1/events", at.replica.url)).header("x-api-key", at.key);
        let body = format!("{{\"type\":\"trade\",\"data\":{data}}}");
        crate::support::world::answer(
            request.header("content-type", "application/json").body(body).send().await.unwrap(),
        )
        .await
    };
    // Half of a character, which strict readers refuse, and what is no number.
    assert_eq!(publish(r#"{"a":"cut \ud83d","b":NaN}"#).await.status, 202);
    assert_eq!(stream.event().await.1["data"], json!({"a": "cut \u{fffd}", "b": null}));
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(publish(&nested(64)).await.status, 202);
    assert_eq!(stream.event().await.0, "trade");
    let refused = publish(&nested(65)).await;
    assert_eq!(refused.paths(), ["data"]);
    assert!(refused.body["error"]["details"][0]["message"].as_str().unwrap().contains("64"), "{refused:?}");
    publish(&nested(8_000)).await.fails(400, "VALIDATION_ERROR");
}
