//! Versions, headers, bodies and origins: what makes a request to the endpoint one.

use reqwest::{Client as Http, Method};
use serde_json::{Value, json};

use crate::{
    http::agents::{MODERN, message, post, refuses},
    support::world::{World, answer},
};

#[tokio::test]
async fn a_handshake_agrees_on_the_version_and_nothing_is_remembered_of_it() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    for (asked, agreed) in [
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2024-11-05", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
    ] {
        let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let greeted = at.mcp(message("initialize", params)).await;
        assert_eq!(greeted.status, 200, "{greeted:?}");
        assert_eq!(greeted.body["result"]["protocolVersion"], agreed, "{asked}");
        assert_eq!(greeted.body["result"]["serverInfo"]["name"], "holdfast");
        assert!(greeted.body["result"]["capabilities"]["tools"].is_object());
        assert!(!greeted.headers.contains_key("mcp-session-id"), "there is no session");
    }
    let notified = at.mcp(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!((notified.status.as_u16(), &notified.body), (202, &json!("")));

    // Another replica knows nothing of the handshake, and a session that somebody invents is nothing to it.
    let there = world.at_replica(1, &tenant);
    let listed = post(there.replica, there.key).header("mcp-session-id", "invented");
    let listed = listed.header("mcp-protocol-version", "2025-06-18").json(&message("tools/list", json!({})));
    let listed = answer(listed.send().await.unwrap()).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    assert_eq!(
        listed.body["result"],
        at.mcp(message("tools/list", json!({}))).await.body["result"],
        "the same everywhere"
    );
    assert_eq!(at.mcp(message("ping", json!({}))).await.body["result"], json!({}));
}

#[tokio::test]
async fn a_modern_request_stands_for_itself_and_its_headers_must_agree() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let send = async |method: &str, params: Value, headers: &[(&str, &str)]| {
        let mut params = params;
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let mut request = post(&world.replicas[0], &tenant.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.json(&message(method, params)).send().await.unwrap()).await
    };
    let version = ("mcp-protocol-version", MODERN);

    let found = send("server/discover", json!({}), &[version, ("mcp-method", "server/discover")]).await;
    let result = &found.body["result"];
    assert_eq!(found.status, 200, "{found:?}");
    assert_eq!(result["supportedVersions"], json!([MODERN, "2025-11-25", "2025-06-18", "2025-03-26"]));
    assert_eq!((&result["resultType"], result["ttlMs"].is_u64()), (&json!("complete"), true));
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "holdfast");

    let listed = send("tools/list", json!({}), &[version, ("mcp-method", "tools/list")]).await;
    assert_eq!(
        (&listed.body["result"]["cacheScope"], listed.body["result"]["tools"].as_array().unwrap().len()),
        (&json!("public"), 6)
    );
    let call = json!({"name": "check", "arguments": {"resources": ["a"]}});
    let called = [version, ("mcp-method", "tools/call"), ("mcp-name", "check")];
    let checked = send("tools/call", call.clone(), &called).await;
    assert_eq!(checked.body["result"]["resultType"], "complete", "{checked:?}");
    assert_eq!(checked.body["result"]["structuredContent"]["results"][0]["isReserved"], false);

    let faults = [
        (&[version, ("mcp-method", "tools/call"), ("mcp-name", "reserve")][..], 400, -32_020),
        (&[version, ("mcp-method", "tools/list"), ("mcp-name", "check")], 400, -32_020),
        (&[version, ("mcp-method", "tools/call")], 400, -32_020),
        (&[("mcp-method", "tools/call"), ("mcp-name", "check")], 400, -32_020),
        (&[("mcp-protocol-version", "2025-06-18"), ("mcp-method", "tools/call")], 400, -32_020),
    ];
    for (headers, status, code) in faults {
        let refused = send("tools/call", call.clone(), headers).await;
        assert_eq!((refused.status.as_u16(), &refused.body["error"]["code"]), (status, &json!(code)), "{refused:?}");
        assert_eq!(refused.body["id"], 7);
    }
    let unknown = send("tools/lst", json!({}), &[version, ("mcp-method", "tools/lst")]).await;
    assert_eq!((unknown.status.as_u16(), &unknown.body["error"]["code"]), (404, &json!(-32_601)), "{unknown:?}");
    let nameless = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let nameless = post(&world.replicas[0], &tenant.key).header(version.0, version.1).json(&nameless);
    let nameless = answer(nameless.send().await.unwrap()).await;
    assert_eq!((nameless.status.as_u16(), &nameless.body["error"]["code"]), (400, &json!(-32_602)), "{nameless:?}");
    let future =
        post(&world.replicas[0], &tenant.key).header(version.0, "2099-01-01").json(&message("ping", json!({})));
    let future = answer(future.send().await.unwrap()).await;
    assert_eq!((future.status.as_u16(), &future.body["error"]["code"]), (400, &json!(-32_022)), "{future:?}");
    assert_eq!(future.body["error"]["data"]["supported"][0], MODERN);
}

#[tokio::test]
async fn bodies_are_bounded_and_what_is_no_message_is_refused() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let (replica, at) = (&world.replicas[0], world.at(&tenant));
    let raw = async |kind: &str, body: String| {
        let request = post(replica, &tenant.key).header("content-type", kind).body(body);
        answer(request.send().await.unwrap()).await
    };
    refuses(&raw("application/json", "x".repeat((1 << 20) + 1)).await, 413, "PAYLOAD_TOO_LARGE");
    refuses(&raw("text/plain", "{}".into()).await, 415, "UNSUPPORTED_MEDIA_TYPE");
    for (body, code) in [
        ("", -32_700),
        ("{\"jsonrpc\"", -32_700),
        ("7", -32_700),
        ("{}", -32_600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32_600),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, -32_600),
    ] {
        let refused = raw("application/json", body.into()).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["error"]["code"]),
            (400, &json!(code)),
            "{body}: {refused:?}"
        );
        assert_eq!(refused.body["id"], Value::Null);
    }
    // The largest body that is allowed, most of it an argument that is none.
    let padded = message(
        "tools/call",
        json!({"name": "check", "arguments": {"resources": ["a"], "pad": "p".repeat((1 << 20) - 200)}}),
    );
    assert_eq!(at.mcp(padded).await.body["result"]["isError"], true);

    // Whatever is large or manifold is refused before anything is made of it.
    let many: serde_json::Map<_, _> = (0..100_000).map(|number| (number.to_string(), json!(0))).collect();
    let refused = at.mcp(message("tools/call", json!({"name": "list", "arguments": many}))).await;
    assert_eq!(refused.body["error"]["data"]["error"]["details"][0]["path"], "arguments", "{refused:?}");
    let long = at.mcp(message("tools/call", json!({"name": "list", "arguments": {"prefix": "p".repeat(9_000)}}))).await;
    assert_eq!(long.body["result"]["isError"], true, "{long:?}");
    let odd = json!({"jsonrpc": "2.0", "id": vec![0; 200_000], "method": "ping"});
    assert_eq!(at.mcp(odd).await.body["error"]["code"], -32_600);

    // Batches are of the oldest version alone, and short.
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/x"});
    let batch = json!([message("ping", json!({})), notification, message("tools/lst", json!({}))]);
    let answered = at.mcp(batch.clone()).await;
    assert_eq!(
        (answered.body.as_array().unwrap().len(), &answered.body[1]["error"]["code"]),
        (2, &json!(-32_601)),
        "{answered:?}"
    );
    let newer = post(replica, &tenant.key).header("mcp-protocol-version", "2025-06-18").json(&batch);
    assert_eq!(answer(newer.send().await.unwrap()).await.body["error"]["code"], -32_600);
    let long = json!(vec![message("ping", json!({})); 21]);
    assert_eq!(at.mcp(long).await.body["error"]["code"], -32_700);
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_and_there_is_no_stream_to_get() {
    let world = World::<1>::with(&[], &[("CORS_ORIGINS", "https://inspector.example")]).await;
    let tenant = world.tenant().await;
    let replica = &world.replicas[0];
    let from = async |origin: &str| {
        let request = post(replica, &tenant.key).header("origin", origin).json(&message("ping", json!({})));
        answer(request.send().await.unwrap()).await
    };
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        refuses(&from(origin).await, 403, "FORBIDDEN");
    }
    assert_eq!(from(&replica.url).await.status, 200, "a page of this service");
    let listed = from("https://inspector.example").await;
    assert_eq!(
        (listed.status.as_u16(), &listed.headers["access-control-allow-origin"]),
        (200, &"https://inspector.example".parse().unwrap())
    );
    let preflight = Http::new().request(Method::OPTIONS, format!("{}/mcp", replica.url));
    let preflight =
        preflight.header("origin", "https://inspector.example").header("access-control-request-method", "POST");
    let preflight = preflight.send().await.unwrap();
    assert_eq!(preflight.status(), 204);
    assert!(preflight.headers()["access-control-allow-headers"].to_str().unwrap().contains("Mcp-Protocol-Version"));
    for method in [Method::GET, Method::DELETE] {
        let request = Http::new().request(method, format!("{}/mcp", replica.url)).header("x-api-key", &tenant.key);
        let refused = answer(request.send().await.unwrap()).await;
        refused.fails(405, "METHOD_NOT_ALLOWED");
        assert_eq!(refused.headers["allow"], "POST");
    }

    // Any origin for the API is none for agents; and an open service serves no name that somebody else points to it.
    let open = World::<1>::with(&[], &[("AUTH", "open"), ("CORS_ORIGINS", "*")]).await;
    let ping = || Http::new().post(format!("{}/mcp", open.replicas[0].url)).json(&message("tools/list", json!({})));
    assert_eq!(ping().send().await.unwrap().status(), 200);
    assert_eq!(ping().header("origin", "http://evil.example").send().await.unwrap().status(), 403);
    assert_eq!(
        ping().header("host", "evil.example").header("origin", "http://evil.example").send().await.unwrap().status(),
        403
    );
}
