//! Names of resources and requesters, which come back as they went, whatever is in them.

use serde_json::json;

use crate::support::world::World;

/// Names that have broken somebody's escaping before.
fn names() -> Vec<String> {
    let plain = [
        "a/b",
        "/",
        "..",
        "a b",
        "a%2Fb",
        "%",
        "100%",
        "a+b",
        "a?b=c&d",
        "#1",
        "ä€😀",
        "\u{202e}x",
        "a\r\nid: 1\r\n\r\ndata: x",
        "\"quoted\"",
        "\\",
        "{tag}",
        "\u{1}",
        "'; --",
        "<b>",
        "check",
    ];
    plain.into_iter().map(Into::into).chain(["x".repeat(1024), "é".repeat(512)]).collect()
}

fn percent_encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn any_name_comes_back_as_it_went() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut events = at.events("").await;
    events.head().await;

    for name in names() {
        let held = at.acquire(&name, &name, Some(60)).await;
        assert_eq!((held["resource"].as_str(), held["requester"].as_str()), (Some(&*name), Some(&*name)));
        let event = events.expect("RESERVED").await;
        assert_eq!((event["resource"].as_str(), event["requester"].as_str()), (Some(&*name), Some(&*name)));
        let posted = at.post("/Reservation/check", json!({"resources": [name]})).await;
        assert_eq!(posted.body[0]["holder"].as_str(), Some(&*name));
        if name == ".." {
            continue; // a client that follows the URL standard takes it for the parent directory, encoded or not
        }
        let seen = at.get(&format!("/Reservation/check/{}", percent_encoded(&name))).await;
        assert_eq!(
            (seen.body["resource"].as_str(), seen.body["holder"].as_str()),
            (Some(&*name), Some(&*name)),
            "{seen:?}"
        );
        assert_eq!(posted.body, json!([seen.body]));
    }
    let mut all = names();
    all.sort();
    assert_eq!(at.listed().await, all);

    for name in names() {
        let token = at.reserve(&name, &name, None).await["releaseToken"].clone();
        assert_eq!(at.unreserve(&name, &name, &token).await.body[0]["released"], json!([name]));
        assert_eq!(events.expect("UNRESERVED").await["resource"].as_str(), Some(&*name));
    }
}

#[tokio::test]
async fn a_name_in_the_path_may_have_raw_slashes() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    at.acquire("w1", "rack/3/unit 4", None).await;
    at.acquire("w1", "a/", None).await;

    for (path, name) in
        [("rack/3/unit%204", "rack/3/unit 4"), ("rack%2F3/unit%204", "rack/3/unit 4"), ("a/", "a/"), ("a%2F", "a/")]
    {
        let seen = at.get(&format!("/Reservation/check/{path}")).await;
        assert_eq!(
            (seen.status.as_u16(), seen.body["resource"].as_str(), seen.body["isReserved"].as_bool()),
            (200, Some(name), Some(true)),
            "{path}"
        );
    }
    assert_eq!(at.get("/Reservation/check/a").await.body["isReserved"], false);
    at.get("/Reservation/check/%FF").await.fails(400, "VALIDATION_ERROR");
    at.get("/Reservation/check/a%00b").await.fails(400, "VALIDATION_ERROR");
    at.get(&format!("/Reservation/check/{}", "x".repeat(1025))).await.fails(400, "VALIDATION_ERROR");
}
