//! The tools: schemas, results, waiting, and the API's limits and errors as a model reads them.

use reqwest::Client as Http;
use serde_json::{Value, json};

use crate::{
    http::agents::{item, message, post, refuses, waiting_item},
    support::world::{Client, World, answer, until},
};

#[tokio::test]
async fn every_tool_has_the_schema_of_the_call_that_it_stands_for() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let tools = world.at(&tenant).mcp(message("tools/list", json!({}))).await.body["result"]["tools"].clone();
    let document: Value = serde_json::from_str(holdfast::http::document()).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let tool = |name: &str| tools.as_array().unwrap().iter().find(|tool| tool["name"] == name).unwrap();
    assert_eq!(
        tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["reserve", "release", "renew", "check", "list", "waiting"]
    );
    for (name, schema) in [("reserve", "ReserveItem"), ("release", "UnreserveItem"), ("renew", "RenewItem")] {
        let documented = &document["components"]["schemas"][schema];
        let items = &tool(name)["inputSchema"]["properties"]["requests"]["items"];
        assert_eq!(names(&items["properties"]), names(&documented["properties"]), "{name}");
        assert_eq!(items["required"], documented["required"], "{name}");
        assert_eq!(items["additionalProperties"], false, "what the call refuses, the schema does, too");
    }
    assert_eq!(names(&tool("check")["inputSchema"]["properties"]), ["resources"]);
    assert_eq!(names(&tool("list")["inputSchema"]["properties"]), ["prefix", "requester", "limit", "cursor"]);
    assert_eq!(names(&tool("waiting")["inputSchema"]["properties"]), ["resource", "requester", "limit", "cursor"]);
    for name in ["check", "list", "waiting"] {
        assert_eq!(tool(name)["annotations"]["readOnlyHint"], true);
    }
    let unknown = world.at(&tenant).mcp(message("tools/list", json!({"cursor": "x"}))).await;
    assert_eq!(unknown.body["error"]["code"], -32_602);
}

#[tokio::test]
async fn what_one_agent_gives_back_is_the_next_ones_at_another_replica() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let [north, south] = [0, 1].map(|replica| world.at_replica(replica, &tenant));
    let held = north.one("reserve", json!({"requests": [item("north", "src/a.rs")]})).await;
    assert_eq!(held["status"], "ACQUIRED");
    let refused = south.one("reserve", json!({"requests": [item("south", "src/a.rs")]})).await;
    assert_eq!((&refused["status"], &refused["holder"]), (&json!("ALREADY_HELD"), &json!("north")));

    // The held call is bounded; asked again, it is the same ticket in the same place.
    let wish = |hold: i64| json!({"requests": [waiting_item("south", "src/a.rs")], "hold": hold});
    let waiting = south.one("reserve", wish(1)).await;
    assert_eq!((&waiting["status"], &waiting["place"]), (&json!("WAITING"), &json!(1)));
    let (_, line) = north.tool("waiting", json!({"resource": "src/a.rs"})).await;
    assert_eq!(line["waiting"][0]["ticket"], waiting["ticket"]);
    let release =
        json!({"requests": [{"requester": "north", "resource": "src/a.rs", "releaseToken": held["releaseToken"]}]});
    let (handed_over, released) = tokio::join!(south.one("reserve", wish(60)), async {
        until("the other call is held", || async {
            north.tool("waiting", json!({})).await.1["waiting"][0]["place"] == 1
        })
        .await;
        north.one("release", release).await
    });
    assert_eq!((&released["status"], &handed_over["status"]), (&json!("RELINQUISHED"), &json!("ACQUIRED")));
    assert!(handed_over["fencingToken"].as_i64() > held["fencingToken"].as_i64(), "{handed_over}");
    let (_, listed) = north.tool("list", json!({"prefix": "src/"})).await;
    assert_eq!(listed["reservations"][0]["requester"], "south");
    let mut claim = json!({"requester": "south", "resource": "src/a.rs", "ttlSeconds": 90});
    claim["releaseToken"] = handed_over["releaseToken"].clone();
    assert_eq!(north.one("renew", json!({"requests": [claim]})).await["status"], "RENEWED");
}

#[tokio::test]
async fn an_agent_that_goes_away_while_it_is_held_keeps_its_place() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.one("reserve", json!({"requests": [item("first", "a")]})).await;
    let wish = json!({"name": "reserve", "arguments": {"requests": [waiting_item("second", "a")], "hold": 60}});
    let call = tokio::spawn(post(at.replica, at.key).json(&message("tools/call", wish)).send());
    let line = || async { at.tool("waiting", json!({})).await.1["waiting"].clone() };
    until("the second is in line", || async { line().await[0]["requester"] == "second" }).await;
    let ticket = line().await[0]["ticket"].clone();
    call.abort();
    let again = at.one("reserve", json!({"requests": [waiting_item("second", "a")], "hold": 0})).await;
    assert_eq!((&again["status"], &again["ticket"]), (&json!("WAITING"), &ticket));
    at.unreserve("first", "a", &held["releaseToken"]).await;
    let got = at.one("reserve", json!({"requests": [waiting_item("second", "a")]})).await;
    assert_eq!(got["status"], "ALREADY_HAD", "it was handed over meanwhile: {got}");
}

#[tokio::test]
async fn a_credential_counts_as_it_does_everywhere() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let replica = &world.replicas[0];
    let list = message("tools/list", json!({}));
    let keyless = answer(Http::new().post(format!("{}/mcp", replica.url)).json(&list).send().await.unwrap()).await;
    refuses(&keyless, 401, "UNAUTHORIZED");
    refuses(&Client { replica, key: "hf_live_none" }.mcp(list.clone()).await, 401, "UNAUTHORIZED");
    let bearer = Http::new().post(format!("{}/mcp", replica.url)).bearer_auth(&tenant.key).json(&list);
    assert_eq!(bearer.send().await.unwrap().status(), 200);

    let made = at.post("/keys", json!({"label": "reader", "scopes": ["read"]})).await.body;
    let reader = Client { replica, key: made["apiKey"].as_str().unwrap() };
    assert_eq!(reader.one("check", json!({"resources": ["a"]})).await["isReserved"], false);
    reader.refused("reserve", json!({"requests": [item("w", "a")]}), "FORBIDDEN").await;
    assert!(at.listed().await.is_empty());
    at.delete(&format!("/keys/{}", made["id"].as_str().unwrap())).await;
    for message in [list, message("tools/call", json!({"name": "check", "arguments": {"resources": ["a"]}}))] {
        refuses(&reader.mcp(message).await, 401, "UNAUTHORIZED");
    }

    // What another tenant holds is not seen.
    let other = world.tenant().await;
    at.acquire("w", "a", None).await;
    assert_eq!(world.at(&other).one("check", json!({"resources": ["a"]})).await["isReserved"], false);
}

#[tokio::test]
async fn the_tenants_limits_and_rate_are_errors_that_the_model_reads() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Free").await;
    let at = world.at(&tenant);
    let many: Vec<_> = (0..51).map(|number| item("w", &format!("file-{number}"))).collect();
    let limited = at.refused("reserve", json!({"requests": many}), "RATE_LIMITED").await;
    assert_eq!((&limited["limitType"], &limited["limit"]), (&json!("ConcurrentReservations"), &json!(50)));
    assert!(limited["retryAfter"].as_i64() >= Some(1) && limited["upgradeRequired"] == true);
    assert!(at.listed().await.is_empty());

    // A burst of 20: whether Redis or the replica in front of it refuses, the agent sees the same.
    let calls = (0..40).map(|_| at.tool("check", json!({"resources": ["a"]})));
    let answers = futures_util::future::join_all(calls).await;
    let refused: Vec<_> = answers.iter().filter(|(is_error, _)| *is_error).map(|(_, text)| text).collect();
    assert!((10..=39).contains(&refused.len()), "{} of 40", refused.len());
    for text in refused {
        assert_eq!((&text["error"]["code"], &text["limitType"]), (&json!("RATE_LIMITED"), &json!("RequestRate")));
    }
    // What is no tool's call has no result to say it in.
    let calls = (0..40).map(|_| at.mcp(message("tools/list", json!({}))));
    let refused = futures_util::future::join_all(calls).await.into_iter().find(|listed| listed.status != 200).unwrap();
    refuses(&refused, 429, "RATE_LIMITED");
    assert!(refused.number("retry-after") >= 1 && refused.body["id"] == 7);
    assert!(refused.headers.contains_key("ratelimit"));
}

#[tokio::test]
async fn wrong_arguments_are_named_by_their_path() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    for (tool, arguments, paths) in [
        ("reserve", json!({}), json!(["requests"])),
        ("reserve", json!({"requests": []}), json!(["requests"])),
        ("reserve", json!({"requests": {}}), json!(["requests"])),
        ("reserve", json!({"requests": [{"requester": "w", "resource": "a", "ttl": 60}]}), json!(["requests[0].ttl"])),
        (
            "reserve",
            json!({"requests": [item("w", "a"), {"ttlSeconds": 0}]}),
            json!(["requests[1].requester", "requests[1].resource", "requests[1].ttlSeconds"]),
        ),
        ("reserve", json!({"requests": [item("w", "a")], "hold": 61}), json!(["hold"])),
        ("reserve", json!({"requests": [item("w", "a")], "hold": "soon"}), json!(["hold"])),
        ("reserve", json!({"requests": [item("w", "a")], "wait": 5}), json!(["wait"])),
        (
            "renew",
            json!({"requests": [{"requester": "w", "resource": "a", "releaseToken": "t"}]}),
            json!(["requests[0].ttlSeconds"]),
        ),
        ("check", json!({"resources": ["a", ""]}), json!(["resources[1]"])),
        ("check", json!({"resource": "a"}), json!(["resource"])),
        ("list", json!({"limit": 0}), json!(["limit"])),
        ("list", json!({"prefix": ["a"]}), json!(["prefix"])),
    ] {
        let refused = at.refused(tool, arguments.clone(), "VALIDATION_ERROR").await;
        let details = refused["error"]["details"].as_array().unwrap();
        assert_eq!(
            details.iter().map(|detail| detail["path"].clone()).collect::<Value>(),
            paths,
            "{tool} {arguments}: {refused}"
        );
        let first = paths[0].as_str().unwrap();
        assert!(details.len() > 1 || refused["error"]["message"].as_str().unwrap().contains(first), "{refused}");
    }
    assert!(at.listed().await.is_empty());
    let unknown = at.mcp(message("tools/call", json!({"name": "reserv", "arguments": {}}))).await;
    assert_eq!((unknown.status.as_u16(), &unknown.body["error"]["code"]), (200, &json!(-32_602)), "{unknown:?}");
    assert!(unknown.body["error"]["message"].as_str().unwrap().ends_with("did you mean reserve?"));
    let wrong = at.mcp(message("tools/call", json!({"name": "check", "arguments": [1]}))).await;
    assert_eq!(wrong.body["error"]["data"]["error"]["details"][0]["path"], "arguments", "{wrong:?}");
    let held = at.acquire("w", "a", None).await;
    let claim = json!({"requests": [{"requester": "w", "resource": "a", "releaseToken": "x"}]});
    let refused = at.refused("release", claim, "INVALID_RELEASE_TOKEN").await;
    assert_eq!(refused["results"][0]["status"], "INVALID_RELEASE_TOKEN");
    assert_eq!(at.one("check", json!({"resources": ["a"]})).await["holder"], held["holder"]);
}

#[tokio::test]
async fn a_tools_call_is_counted_and_logged_as_the_call_that_it_is() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let request = post(at.replica, at.key).header("x-request-id", "agent-7");
    let call = json!({"name": "reserve", "arguments": {"requests": [item("w", "a")]}});
    request.json(&message("tools/call", call)).send().await.unwrap();
    at.refused("reserve", json!({"requests": []}), "VALIDATION_ERROR").await;
    let metrics = at.replica.get("/metrics").await.1;
    let counted = |route: &str, status: u16| {
        let line = format!("holdfast_requests_total{{route=\"{route}\",method=\"POST\",status=\"{status}\"}} 1");
        metrics.as_str().unwrap().lines().any(|known| known == line)
    };
    assert!(counted("/api/v1/Reservation/reserve", 200) && counted("/api/v1/Reservation/reserve", 400), "{metrics}");
    assert!(metrics.as_str().unwrap().contains("route=\"/mcp\",method=\"POST\",status=\"200\"} 2"), "{metrics}");
    let logged = |path: &str| {
        let log = at.replica.log();
        let of_request = |line: &&str| line.contains("agent-7") && line.contains(&format!("\"path\":\"{path}\""));
        log.lines().filter(of_request).count()
    };
    assert_eq!((logged("/mcp"), logged("/api/v1/Reservation/reserve")), (1, 1));
}
