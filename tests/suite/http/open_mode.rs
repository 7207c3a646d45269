//! Open mode: no credentials, one tenant, and only callers of the same machine.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::world::{Answer, Replica, World, answer, until};

async fn reserve(replica: &Replica, headers: &[(&str, &str)]) -> Answer {
    let mut request = reqwest::Client::new().post(format!("{}/api/v1/Reservation/reserve", replica.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.json(&json!([{"requester": "w", "resource": "a"}])).send().await.unwrap()).await
}

#[tokio::test]
async fn without_a_credential_callers_are_the_default_tenant() {
    let world = World::<2>::with(&[], &[("AUTH", "open")]).await;
    let [north, south] = &world.replicas;
    until("the default tenant is there", || async { reserve(north, &[]).await.status == 200 }).await;

    let (status, shown) = south.get("/api/v1/session").await;
    assert_eq!((status.as_u16(), &shown["tenantId"], &shown["tier"]), (200, &json!("default"), &json!("Enterprise")));
    assert_eq!(shown["scopes"], json!(["read", "write", "admin"]));
    let mut stream = crate::support::sse::EventStream::open(&format!("{}/api/v1/events", south.url), &[]).await;
    stream.head().await;
    assert_eq!(reserve(north, &[("origin", &north.url)]).await.body[0]["status"], "ALREADY_HAD");
    let (_, listed) = south.get("/api/v1/Reservation").await;
    assert_eq!(
        (&listed["reservations"][0]["resource"], &listed["reservations"][0]["apiKeyLabel"]),
        (&json!("a"), &Value::Null)
    );
    // Other tenants are served too, with their keys.
    let tenant = world.tenant().await;
    assert!(world.at_replica(1, &tenant).listed().await.is_empty());
    let log = north.log();
    let warning = log.lines().find(|line| line.contains("WARN") && line.contains("HOLDFAST_AUTH=open"));
    assert!(warning.is_some_and(|line| line.contains("without a credential")), "{log}");
}

#[tokio::test]
async fn callers_of_other_machines_and_origins_are_refused() {
    let world = World::<1>::with(&[], &[("AUTH", "open")]).await;
    let [replica] = &world.replicas;
    until("the default tenant is there", || async { replica.get("/api/v1/Reservation").await.0 == 200 }).await;
    for header in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("host", "evil.example"),
        ("host", "localhost.evil.example"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("via", "1.1 proxy"),
    ] {
        let refused = reserve(replica, &[header]).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (403, "FORBIDDEN"), "{header:?}");
    }
    for bad in [
        ("x-api-key", "hf_live_wrong"),
        ("authorization", "Bearer x"),
        ("authorization", "Basic x"),
        ("cookie", "holdfast_session=x"),
    ] {
        assert_eq!(reserve(replica, &[bad]).await.status, 401, "{bad:?}");
    }
    let (_, listed) = replica.get("/api/v1/Reservation").await;
    assert_eq!(listed["reservations"], json!([]), "nothing was reserved");
    let admin = reqwest::Client::new().request(Method::GET, format!("{}/api/v1/admin/tenants", replica.url));
    assert_eq!(admin.send().await.unwrap().status(), 401, "the administrator still needs the key");
}

#[test]
fn open_mode_does_not_start_on_a_public_address() {
    let output = Replica::try_start(&[("AUTH", "open"), ("LISTEN", "0.0.0.0:0"), ("REDIS_URL", "redis://127.0.0.1:1")])
        .err()
        .expect("it does not start");
    assert!(output.contains("HOLDFAST_AUTH=open") && output.contains("loopback"), "{output}");
}
