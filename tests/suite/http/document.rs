//! The document and the service, both ways: every example works, and every answer that the document has is given. That every answer which any
//! test receives is in the document, `support::document` sees to.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{
    document::{self, DOCUMENT, Operation, operations, was_seen},
    world::{ADMIN_KEY, Client, Replica, Tenant, World, admin, answer_to, call, until},
};

/// Statuses that this test does not cause, and why.
const NOT_CAUSED: [(&str, &str); 1] =
    [("408", "it takes half a minute of silence; http::errors causes it, and one function reads all bodies")];

/// Who calls: what each security scheme sends.
#[derive(Clone, Default)]
struct Credentials {
    key: String,
    ingest_key: String,
    cookie: String,
}

impl Credentials {
    fn of(&self, operation: &Operation) -> Option<(&'static str, String)> {
        let schemes = operation.value["security"].as_array().unwrap();
        let scheme = schemes.iter().find_map(|scheme| scheme.as_object().unwrap().keys().next());
        Some(match scheme?.as_str() {
            "adminKey" => ("x-admin-key", ADMIN_KEY.into()),
            "ingestKey" => ("authorization", format!("Bearer {}", self.ingest_key)),
            "session" => ("cookie", self.cookie.clone()),
            _ => ("x-api-key", self.key.clone()),
        })
    }
}

/// A request as the document's examples make it.
struct Request<'a> {
    operation: &'a Operation,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
}

impl<'a> Request<'a> {
    /// With real values in place of some examples.
    fn new(operation: &'a Operation, real: &HashMap<&str, String>) -> Self {
        let mut request =
            Self { operation, path: operation.path.clone(), query: Vec::new(), headers: Vec::new(), body: None };
        for parameter in operation.value["parameters"].as_array().into_iter().flatten() {
            let Some(example) = parameter["example"].as_str() else { continue };
            let value = real.get(example).cloned().unwrap_or_else(|| example.to_owned());
            let name = parameter["name"].as_str().unwrap();
            match parameter["in"].as_str().unwrap() {
                "path" => request.path = request.path.replace(&format!("{{{name}}}"), &value),
                _ => request.query.push((name.to_owned(), value)),
            }
        }
        request.body = bodies(operation).into_iter().next().map(|body| body.to_string());
        request
    }

    fn by(mut self, credentials: &Credentials) -> Self {
        self.headers.extend(credentials.of(self.operation));
        self
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn body(mut self, body: impl Into<String>) -> Self {
        self.body = Some(body.into());
        self
    }

    async fn send(&self, replica: &Replica) -> u16 {
        let client = reqwest::Client::new();
        let url = format!("{}{}", replica.url, self.path);
        let mut request = client.request(self.operation.method.clone(), url).query(&self.query);
        let is_typed = self.headers.iter().any(|(name, _)| *name == "content-type");
        if let Some(body) = &self.body {
            request = request.body(body.clone());
            if !is_typed {
                request = request.header("content-type", "application/json");
            }
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = request.timeout(Duration::from_secs(60)).send().await.expect("an answer");
        self.judge(response).await
    }

    async fn judge(&self, response: Response) -> u16 {
        let is_stream = response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream");
        if is_stream {
            // It has no end; its events are judged where streams are read.
            let (status, url) = (response.status().as_u16(), response.url().clone());
            document::check(Some(&self.operation.method), &url, status, response.headers(), &Value::Null);
            return status;
        }
        answer_to(Some(&self.operation.method), response).await.status.as_u16()
    }
}

fn resolved(schema: &Value) -> &Value {
    let reference = schema.get("$ref").and_then(|reference| reference.as_str()?.strip_prefix('#'));
    reference.map_or(schema, |pointer| DOCUMENT.pointer(pointer).unwrap())
}

/// The bodies that an operation's examples have.
fn bodies(operation: &Operation) -> Vec<Value> {
    let Some(content) = operation.value["requestBody"]["content"].get("application/json") else { return Vec::new() };
    match content["examples"].as_object() {
        Some(named) => named.values().map(|example| example["value"].clone()).collect(),
        None => vec![resolved(&content["schema"])["example"].clone()],
    }
}

fn named(id: &str) -> Operation {
    operations().into_iter().find(|operation| operation.id() == id).unwrap()
}

/// A tenant with a pushed connection and a session.
async fn credentials_of(world: &World<2>, tenant: &Tenant) -> (Credentials, Value) {
    let at = world.at(tenant);
    let connection = at.post("/connections", json!({"name": "shop", "framework": "celery"})).await.body;
    let signed_in = at.post("/session", json!({"apiKey": tenant.key})).await;
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let ingest_key = connection["ingestKey"].as_str().unwrap().to_owned();
    (Credentials { key: tenant.key.clone(), ingest_key, cookie }, connection)
}

#[test]
fn everything_has_an_example() {
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        let example = schema.get("example").unwrap_or_else(|| panic!("{name} has no example"));
        document::assert_is(name, example, "its example");
    }
    for operation in operations() {
        let at = operation.id();
        if let Some(content) = operation.value["requestBody"]["content"].get("application/json") {
            for body in bodies(&operation) {
                document::assert_matches(&content["schema"], &body, &format!("an example of {at}"));
            }
            assert!(!bodies(&operation).is_empty(), "{at} has no example");
        }
        for parameter in operation.value["parameters"].as_array().into_iter().flatten() {
            let has_example = parameter.get("example").is_some();
            assert!(has_example || parameter["required"] == false, "{at}: {} has no example", parameter["name"]);
            assert!(parameter["description"].is_string(), "{at}: {} is not described", parameter["name"]);
        }
    }
    // Nobody who tries an example holds something for ever.
    let of_transactions = bodies(&named("transactions")).into_iter().flat_map(|body| body.as_array().unwrap().clone());
    let reserving = of_transactions.filter(|transaction| transaction["requestType"] == "RESERVE");
    let items = reserving.flat_map(|transaction| transaction["requests"].as_array().unwrap().clone());
    let alone = bodies(&named("reserve")).into_iter().flat_map(|body| body.as_array().unwrap().clone());
    for item in items.chain(alone).chain([DOCUMENT["components"]["schemas"]["ReserveItem"]["example"].clone()]) {
        assert!(item["ttlSeconds"].is_i64(), "{item}");
    }
}

#[tokio::test]
async fn every_example_works_as_it_stands() {
    let world = World::<2>::start().await;
    for operation in operations() {
        // Examples of ids name nothing that a fresh tenant has, and that of a key is none.
        let may_be_missing = operation.path.contains('{') || operation.id() == "queueEvents";
        let refused = if operation.id() == "signIn" { Some(401) } else { may_be_missing.then_some(404) };
        for body in 0..bodies(&operation).len().max(1) {
            let tenant = world.tenant().await;
            let (credentials, _) = credentials_of(&world, &tenant).await;
            let mut request = Request::new(&operation, &HashMap::new()).by(&credentials);
            request.body = bodies(&operation).get(body).map(Value::to_string);
            if operation.id() == "signOut" {
                request = request.header("sec-fetch-site", "same-origin");
            }
            let status = request.send(&world.replicas[0]).await;
            assert!((200..300).contains(&status) || Some(status) == refused, "{} {body}: {status}", operation.id());
        }
    }
}

/// Gives every success, in an order in which things are there.
async fn succeed(world: &World<2>) -> (Tenant, Credentials, HashMap<&'static str, String>) {
    let tenant = world.tenant().await;
    let (credentials, connection) = credentials_of(world, &tenant).await;
    let at = world.at(&tenant);
    let own = |value: &Value| value.as_str().unwrap().to_owned();
    let key = own(&at.post("/keys", json!({"label": "spare"})).await.body["id"]);
    let waits = json!([{"requester": "w", "resource": "busy", "ttlSeconds": 60, "waitSeconds": 60}]);
    at.acquire("holder", "busy", Some(600)).await;
    let ticket = own(&at.post("/Reservation/reserve", waits).await.body[0]["ticket"]);
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let job = json!({"events": [{"type": "job:state_change", "timestamp": now, "framework": "celery",
        "job": {"externalId": "j", "name": "charge", "state": "active"}}]});
    let ingest = named("ingest");
    assert_eq!(
        Request::new(&ingest, &HashMap::new()).by(&credentials).body(job.to_string()).send(&world.replicas[0]).await,
        202
    );
    let listed = call(Method::GET, &format!("{}/api/jobs", world.replicas[0].url), Some(&tenant.key), None).await.body;
    let other = world.tenant().await;
    let example = |id: &str| -> &'static str {
        let pointer = format!("/components/schemas/{id}");
        Box::leak(
            own(&DOCUMENT.pointer(&pointer).unwrap()["example"][if id == "Tenant" { "tenantId" } else { "id" }])
                .into_boxed_str(),
        )
    };
    let ticket_example = own(&DOCUMENT["components"]["schemas"]["TicketState"]["example"]["ticket"]);
    let real = HashMap::from([
        (example("Key"), key),
        (example("Connection"), own(&connection["id"])),
        (example("Job"), own(&listed["data"][0]["id"])),
        (example("Tenant"), other.id.clone()),
        (&*Box::leak(ticket_example.into_boxed_str()), ticket),
    ]);
    // What ends something comes last, sign-out after all.
    let mut in_order = operations();
    in_order.sort_by_key(|operation| (operation.id() == "signOut", operation.method == Method::DELETE));
    in_order.sort_by_key(|operation| operation.id() == "reset");
    for operation in in_order {
        let mut request = Request::new(&operation, &real).by(&credentials).header("sec-fetch-site", "same-origin");
        if operation.id() == "signIn" {
            request = request.body(json!({"apiKey": tenant.key}).to_string());
        }
        // Its example's holder has it with another token by now.
        if let "unreserve" | "renew" = operation.id() {
            request.body = request.body.map(|body| body.replace("deploy-lock", "free"));
        }
        let status = request.send(&world.replicas[0]).await;
        assert!((200..300).contains(&status), "{}: {status}", operation.id());
    }
    (tenant, credentials, real)
}

/// A request that an operation must find wrong, where it takes any input.
fn wrong<'a>(operation: &'a Operation, credentials: &Credentials) -> Option<Request<'a>> {
    let mut request = Request::new(operation, &HashMap::new()).by(credentials);
    let parameters = operation.value["parameters"].as_array().cloned().unwrap_or_default();
    let has = |name: &str| parameters.iter().any(|parameter| parameter["name"] == name);
    if request.body.is_some() {
        let body = match operation.id() {
            "exchangeToken" => "{\"tenantId\":\"t\"}",
            _ => "{\"none\":",
        };
        return Some(request.body(body));
    }
    if let Some(name) = ["limit", "hold"].into_iter().find(|name| has(name)) {
        request.query.push((name.into(), "-1".into()));
    } else if operation.id() == "events" {
        request.query.push((
            "types".into(),
            vec!["t"; 300].iter().enumerate().map(|(n, t)| format!("{t}{n}")).collect::<Vec<_>>().join(","),
        ));
    } else if operation.id() == "queueEvents" {
        request.query = vec![("connectionId".into(), "none".into())];
    } else if operation.path.contains('{') {
        let start = operation.path.find('{').unwrap();
        request.path = format!("{}%FF{}", &operation.path[..start], operation.path.split('}').next_back().unwrap());
    } else {
        return None;
    }
    Some(request)
}

/// Gives the conflicts.
async fn conflict(world: &World<2>) {
    let [tenant, other] = [world.tenant().await, world.tenant().await];
    let at = world.at(&tenant);
    let held = json!([{"name": "Printers", "treePath": "Equipment"}]);
    assert_eq!(at.post("/Resource/register", held).await.status, 200);
    at.acquire("w", "Printers", Some(60)).await;
    let moved = json!([{"name": "Printers", "treePath": "Attic"}]);
    assert_eq!(at.post("/Resource/register", moved).await.status, 409);
    assert_eq!(at.delete("/Resource/Printers").await.status, 409);
    let put = async |slug: &str| {
        let by = Credentials { key: tenant.key.clone(), ..Credentials::default() };
        let company = json!({"id": "c-1", "name": "Acme"}).to_string();
        let operation = named("putCompany");
        let request = Request::new(&operation, &HashMap::from([("acme", slug.to_owned())])).by(&by).body(company);
        request.send(&world.replicas[0]).await
    };
    assert_eq!((put("one").await, put("two").await), (200, 409));
    let keys = at.get("/keys").await.body;
    assert_eq!(at.delete(&format!("/keys/{}", keys["keys"][0]["id"].as_str().unwrap())).await.status, 409);
    claimed_ticket(&at).await;
    let issuer = json!({"jwt": {"hs256Secret": "a secret of the tests", "issuer": "i", "audience": "a"}});
    for (tenant, status) in [(&tenant, 200), (&other, 409)] {
        let path = format!("/{}", tenant.id);
        let answer = admin(&world.replicas[0], Method::PATCH, &path, Some(issuer.clone()));
        assert_eq!(answer.await.status, status);
    }
}

async fn claimed_ticket(at: &Client<'_>) {
    let holder = at.acquire("w", "busy", Some(60)).await;
    let waits = json!([{"requester": "v", "resource": "busy", "ttlSeconds": 60, "waitSeconds": 60}]);
    let ticket = at.post("/Reservation/reserve", waits).await.body[0]["ticket"].as_str().unwrap().to_owned();
    at.unreserve("w", "busy", &holder["releaseToken"]).await;
    until("the ticket is served", || async {
        at.get(&format!("/Reservation/tickets/{ticket}")).await.body["status"] == "ACQUIRED"
    })
    .await;
    assert_eq!(at.delete(&format!("/Reservation/tickets/{ticket}")).await.status, 409);
}

/// Gives refusals for who calls, and from where.
async fn forbid(world: &World<2>, tenant: &Tenant, credentials: &Credentials) {
    let at = world.at(tenant);
    let mut limited = Vec::new();
    for scope in ["read", "write", "admin"] {
        let key = at.post("/keys", json!({"label": scope, "scopes": [scope]})).await.body["apiKey"]
            .as_str()
            .unwrap()
            .to_owned();
        limited.push(Credentials { key, ..credentials.clone() });
    }
    let none = HashMap::new();
    for operation in operations() {
        // A session's cookie without a page of ours, a page of somebody else, and keys without the scope.
        let foreign = Request::new(&operation, &none).by(credentials).header("origin", "https://elsewhere.example");
        foreign.send(&world.replicas[0]).await;
        for credentials in &limited {
            Request::new(&operation, &none).by(credentials).send(&world.replicas[0]).await;
        }
    }
    // Without credentials only this machine may call, and not through a proxy.
    let open = World::<1>::with(&[], &[("AUTH", "open"), ("ADMIN_KEY", ADMIN_KEY)]).await;
    let session = named("session");
    let proxied = Request::new(&session, &none).header("x-forwarded-for", "192.0.2.1");
    assert_eq!(proxied.send(&open.replicas[0]).await, 403);
}

#[tokio::test]
async fn every_answer_of_the_document_is_given() {
    let world = World::<2>::start().await;
    let (tenant, _, real) = succeed(&world).await;
    let (all, none) = (operations(), HashMap::new());
    let large = [16 << 10, 1 << 20, 16 << 20].map(|bytes| "x".repeat(bytes + 1));

    conflict(&world).await;
    let credentials = credentials_of(&world, &tenant).await.0;
    for operation in &all {
        let replica = &world.replicas[0];
        assert_eq!(Request::new(operation, &none).send(replica).await, 401, "{}", operation.id());
        if let Some(request) = wrong(operation, &credentials) {
            assert_eq!(request.send(replica).await, 400, "{}", operation.id());
        }
        Request::new(operation, &none).by(&credentials).header("sec-fetch-site", "same-origin").send(replica).await;
        let too_long = Request::new(operation, &none).by(&credentials).header("x-long", "x".repeat(40_000));
        assert_eq!(too_long.send(replica).await, 431, "{}", operation.id());
        if !bodies(operation).is_empty() {
            let text =
                Request::new(operation, &none).by(&credentials).body("text").header("content-type", "text/plain");
            assert_eq!(text.send(replica).await, 415, "{}", operation.id());
            let body = match operation.id() {
                "signIn" | "exchangeToken" => &large[0],
                "publish" | "ingest" => &large[2],
                _ => &large[1],
            };
            assert_eq!(
                Request::new(operation, &none).by(&credentials).body(body).send(replica).await,
                413,
                "{}",
                operation.id()
            );
        }
    }
    let credentials = credentials_of(&world, &tenant).await.0;
    forbid(&world, &tenant, &credentials).await;
    // A release token that is not that of the holder.
    let at = world.at(&tenant);
    at.acquire("worker-1", "taken", Some(600)).await;
    for id in ["unreserve", "renew", "transactions"] {
        let operation = named(id);
        let claims = bodies(&operation).pop().unwrap().to_string();
        let claims = ["deploy-lock", "database-5"]
            .iter()
            .fold(claims, |text, name| text.replace(name, "taken"))
            .replace("worker-5", "worker-1");
        let status = Request::new(&operation, &none).by(&credentials).body(claims).send(&world.replicas[0]).await;
        assert_eq!(status, 403, "{id}");
    }

    // At the other replica, so that this address is not counted here.
    let bad = Credentials {
        key: "hf_live_bad".into(),
        ingest_key: "sk_live_bad".into(),
        cookie: "holdfast_session=bad".into(),
    };
    for operation in &all {
        let mut request = Request::new(operation, &real).by(&bad);
        request.headers.iter_mut().filter(|(name, _)| *name == "x-admin-key").for_each(|(_, key)| *key = "bad".into());
        let mut tries = 0;
        while request.send(&world.replicas[1]).await != 429 {
            tries += 1;
            assert!(tries < 200, "{} is never refused for its rate", operation.id());
        }
    }

    // Redis hangs, and then is gone.
    let credentials = credentials_of(&world, &tenant).await.0;
    let ask = async |operation: &Operation| {
        let mut request = Request::new(operation, &real).by(&credentials).header("sec-fetch-site", "same-origin");
        if operation.id() == "signIn" {
            request = request.body(json!({"apiKey": tenant.key}).to_string());
        }
        request.send(&world.replicas[0]).await
    };
    // So that its credentials are in the cache: what cannot be looked up is refused, since nothing was done.
    let session = reqwest::Client::new().get(format!("{}/api/v1/session", world.replicas[0].url));
    assert_eq!(session.header("cookie", &credentials.cookie).send().await.unwrap().status(), 200);
    assert_eq!(Request::new(&named("ingest"), &none).by(&credentials).send(&world.replicas[0]).await, 202);
    let reads = |operation: &&Operation| {
        operation.method == Method::GET || ["checkMany", "verifyFence"].contains(&operation.id())
    };
    // Large calls take turns, two at once. One that waits for its turn has not been sent, so that nothing is unknown of it.
    let (reading, writing): (Vec<_>, Vec<_>) = all.iter().partition(reads);
    let (alone, writing): (Vec<_>, Vec<_>) = writing.into_iter().partition(|operation| operation.id() == "reset");
    for (operations, expected) in [(reading, 503), (writing, 504), (alone, 504)] {
        world.redis.signal("-STOP");
        let hung = join_all(operations.iter().map(|operation| ask(operation))).await;
        world.redis.signal("-CONT");
        for (operation, status) in operations.iter().zip(hung) {
            assert_eq!(status, expected, "{}", operation.id());
        }
        until("it serves again", || async { at.get("/Reservation/check/anything").await.status == 200 }).await;
    }
    world.redis.signal("-KILL");
    for operation in &all {
        until("the replica sees that Redis is gone", || async { ask(operation).await == 503 }).await;
    }

    let missing: Vec<_> = all
        .iter()
        .flat_map(|operation| {
            let described = operation.value["responses"].as_object().unwrap().keys();
            described.filter(|name| !was_seen(operation, name)).map(|name| format!("{} {name}", operation.id()))
        })
        .filter(|missing| !NOT_CAUSED.iter().any(|(status, _)| missing.ends_with(status)))
        .collect();
    assert!(missing.is_empty(), "described and never given: {missing:?}");
}
