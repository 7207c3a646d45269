//! What is held, looked at by name and listed, through HTTP.

use serde_json::{Value, json};

use crate::support::world::World;

#[tokio::test]
async fn a_look_shows_the_holder_the_end_and_the_note() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at
        .post(
            "/Reservation/reserve",
            json!([{"requester": "w1", "resource": "taken", "ttlSeconds": 60, "note": "ask Ada first"}]),
        )
        .await;

    let answer = at.post("/Reservation/check", json!({"resources": ["free", "taken", "free"]})).await;

    let free = json!({"resource": "free", "isReserved": false, "holder": null, "expiresAt": null, "isAvailable": true, "capacity": 1, "available": 1, "note": null, "waiting": 0});
    let taken = json!({"resource": "taken", "isReserved": true, "holder": "w1", "expiresAt": held.body[0]["expiresAt"], "isAvailable": false, "capacity": 1,
        "available": 0, "note": "ask Ada first", "waiting": 0});
    assert_eq!(answer.body, json!([free, taken, free]));
    assert_eq!(answer.number("holdfast-position"), held.number("holdfast-position"), "a look takes no position");
    assert!(answer.number("holdfast-time") > held.number("holdfast-time"));

    for bad in [json!({}), json!({"resources": []}), json!({"resources": vec!["r"; 1001]})] {
        assert_eq!(at.post("/Reservation/check", bad).await.paths(), ["resources"]);
    }
    assert_eq!(at.post("/Reservation/check", json!({"resources": ["a", "", "b"]})).await.paths(), ["resources[1]"]);
    assert_eq!(
        at.post("/Reservation/check", json!({"resources": vec!["taken"; 1000]})).await.body.as_array().unwrap().len(),
        1000
    );
}

#[tokio::test]
async fn a_row_of_the_listing_has_every_key_and_never_a_token() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at
        .post(
            "/Reservation/reserve",
            json!([{"requester": "w1", "resource": "r", "ttlSeconds": 60, "resourceType": "Job", "note": "n"}]),
        )
        .await;
    let token = held.body[0]["releaseToken"].as_str().unwrap();

    for path in ["/Reservation/activeReservations", "/Reservation", "/Reservation/activeReservations?limit=10"] {
        let answer = at.get(path).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.body.to_string().contains(token), "{path}");
        let row = &answer.body["reservations"][0];
        let keys: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
        let all = "resource requester reservedAt expiresAt resourceType apiKeyLabel note pool reservedAtPath blockers blockerOf fencingToken";
        assert_eq!(keys, all.split(' ').collect::<Vec<_>>());
        assert_eq!(
            (row["resourceType"].as_str(), row["apiKeyLabel"].as_str(), row["note"].as_str()),
            (Some("Job"), Some("default"), Some("n"))
        );
        assert_eq!(
            (&row["fencingToken"], &row["expiresAt"]),
            (&held.body[0]["fencingToken"], &held.body[0]["expiresAt"])
        );
        assert_eq!((&answer.body["asOf"], &answer.body["nextCursor"]), (&held.body[0]["fencingToken"], &Value::Null));
        assert_eq!(answer.body["asOf"], answer.number("holdfast-position"));
    }
}

#[tokio::test]
async fn the_listing_is_filtered_by_prefix_and_requester() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    for (requester, resource) in [("w1", "gpu/1"), ("w2", "gpu/2"), ("w1", "cpu/1"), ("w1", "GPU/1")] {
        at.acquire(requester, resource, None).await;
    }
    let names = |query: &'static str| async move {
        let answer = at.get(&format!("/Reservation/activeReservations{query}")).await;
        let mut names: Vec<String> = answer.body["reservations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["resource"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    for limit in ["", "&limit=100"] {
        let query = |filter: &str| -> &'static str { format!("?{filter}{limit}").leak() };
        assert_eq!(names(query("prefix=gpu/")).await, ["gpu/1", "gpu/2"]);
        assert_eq!(names(query("requester=w1")).await, ["GPU/1", "cpu/1", "gpu/1"]);
        assert_eq!(names(query("prefix=gpu%2F&requester=w1")).await, ["gpu/1"]);
        assert!(names(query("prefix=nothing")).await.is_empty());
        assert_eq!(names(query("prefix=")).await.len(), 4);
    }
}

#[tokio::test]
async fn thousands_of_reservations_come_streamed_and_in_pages() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut all = Vec::new();
    for batch in 0..5 {
        let names: Vec<_> = (0..500).map(|number| format!("unit/{:04}", batch * 500 + number)).collect();
        let items =
            names.iter().map(|name| json!({"requester": "w", "resource": name, "ttlSeconds": 600})).collect::<Value>();
        assert_eq!(at.post("/Reservation/reserve", items).await.status, 200);
        all.extend(names);
    }

    assert_eq!(at.listed().await, all, "streamed: each once");

    let (mut seen, mut cursor, mut as_of) = (Vec::new(), String::new(), Value::Null);
    loop {
        let page = at.get(&format!("/Reservation/activeReservations?limit=300{cursor}")).await;
        let rows = page.body["reservations"].as_array().unwrap();
        assert!(rows.len() <= 300);
        seen.extend(rows.iter().map(|row| row["resource"].as_str().unwrap().to_owned()));
        if as_of.is_null() {
            as_of = page.body["asOf"].clone();
            at.acquire("late", "late", None).await; // what happens meanwhile does not move the pages' asOf
        }
        assert_eq!(page.body["asOf"], as_of);
        match page.body["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    seen.retain(|name| name != "late");
    seen.sort();
    seen.dedup();
    assert_eq!(seen, all, "paged: all of them");

    for bad in ["limit=0", "limit=1001", "limit=x", "limit=10&cursor=nonsense", "cursor=nonsense"] {
        at.get(&format!("/Reservation/activeReservations?{bad}")).await.fails(400, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn what_is_held_throughout_is_on_a_page_whatever_is_released_meanwhile() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut tokens = std::collections::HashMap::new();
    for batch in 0..4 {
        let items: Value = (0..500)
            .map(|number| json!({"requester": "w", "resource": format!("unit/{}", batch * 500 + number)}))
            .collect();
        for row in at.post("/Reservation/reserve", items).await.body.as_array().unwrap() {
            tokens.insert(row["resource"].as_str().unwrap().to_owned(), row["releaseToken"].clone());
        }
    }
    // Every other one stays.
    let is_kept = |name: &str| name[5..].parse::<u32>().unwrap().is_multiple_of(2);
    let mut leaving: Vec<_> = tokens.keys().filter(|name| !is_kept(name)).cloned().collect();
    let kept = tokens.len() - leaving.len();
    let (mut seen, mut cursor) = (std::collections::HashSet::new(), String::new());
    loop {
        let page = at.get(&format!("/Reservation/activeReservations?limit=5{cursor}")).await;
        for row in page.body["reservations"].as_array().unwrap() {
            seen.insert(row["resource"].as_str().unwrap().to_owned());
        }
        let gone = leaving.split_off(leaving.len().saturating_sub(20));
        if !gone.is_empty() {
            let items: Value = gone
                .iter()
                .map(|name| json!({"requester": "w", "resource": name, "releaseToken": tokens[name]}))
                .collect();
            assert_eq!(at.post("/Reservation/unreserve", items).await.status, 200);
        }
        match page.body["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(leaving.is_empty(), "all of them went while pages were read");
    let seen = seen.iter().filter(|name| is_kept(name)).count();
    assert_eq!(seen, kept, "none that stayed is left out");
}
