//! Credentials: wrong ones are limited, and good ones are never refused for what others behind the same address do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;

use crate::{
    neighbours::frame::{NEIGHBOUR, RawConnection, blocking, request},
    support::{
        sse::EventStream,
        world::{ADMIN_KEY, Replica, World, call},
    },
    tenants::signer::{Signer, claims, exchange, now_s, register, with},
};

/// Sends a request about 100 times a second until it is dropped; how often it was answered 401 and 429.
struct Flood {
    is_over: Arc<AtomicBool>,
    sending: std::thread::JoinHandle<[u32; 2]>,
}

impl Flood {
    fn start(replica: &Replica, request: String) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut connection = RawConnection::open(replica, [127, 0, 0, 1]);
        let sending = std::thread::spawn({
            let is_over = is_over.clone();
            move || {
                let mut counts = [0; 2];
                while !is_over.load(Ordering::Relaxed) {
                    connection.send(request.as_bytes());
                    match connection.answer().0 {
                        401 => counts[0] += 1,
                        429 => counts[1] += 1,
                        other => panic!("{other}"),
                    }
                    std::thread::sleep(Duration::from_millis(8));
                }
                counts
            }
        });
        Self { is_over, sending }
    }

    fn stop(self) -> [u32; 2] {
        self.is_over.store(true, Ordering::Relaxed);
        self.sending.join().unwrap()
    }
}

#[tokio::test]
async fn a_good_key_is_found_whatever_others_behind_its_address_send() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let wrong = request("GET", "/api/v1/Reservation", &[("x-api-key", "hf_live_of-another-time")], "");
    let flood = Flood::start(&world.replicas[1], wrong);
    let begun = Instant::now();
    let mut found = 0;
    // The limit of wrong answers is passed after a second; good keys come all the time, new to this replica.
    while begun.elapsed() < Duration::from_secs(4) {
        let made = world.at(&tenant).post("/keys", json!({"label": "new"})).await;
        let key = made.body["apiKey"].as_str().unwrap();
        let answer = call(Method::GET, &format!("{}/api/v1/Reservation", world.replicas[1].url), Some(key), None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        world.at(&tenant).delete(&format!("/keys/{}", made.body["id"].as_str().unwrap())).await;
        found += 1;
    }
    let [refused, limited] = flood.stop();
    assert!(found >= 10 && refused >= 100 && limited >= 10, "{found} found, {refused} refused, {limited} limited");
}

#[tokio::test]
async fn a_good_jwt_is_exchanged_while_others_of_its_address_have_expired() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let [replica] = &world.replicas;
    let signer = Signer::ed();
    let keys = json!({"jwks": {"keys": [signer.jwk("o")]}, "issuer": "https://issuer.example", "audience": "locks"});
    assert_eq!(register(replica, &tenant, keys).await.status, 200);
    let expired = signer.jwt(Some("o"), &with(claims("eve"), "exp", json!(now_s() - 10)));
    let flood = Flood::start(replica, request("POST", "/auth/token", &[], &json!({"jwt": expired}).to_string()));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let good = exchange(replica, json!({"jwt": signer.jwt(Some("o"), &claims("ada"))})).await;
        assert_eq!(good.status, 200, "{good:?}");
    }
    let [refused, limited] = flood.stop();
    assert!(refused >= 100 && limited >= 10, "{refused} refused, {limited} limited");
}

#[tokio::test]
async fn wrong_admin_keys_are_limited_before_they_are_compared() {
    let world = World::<1>::start().await;
    let [replica] = &world.replicas;
    let list = |key: &str| request("GET", "/api/v1/admin/tenants", &[("x-admin-key", key)], "");
    let mut guessing = RawConnection::open(replica, NEIGHBOUR);
    let mut ask = |key: &str| {
        guessing.send(list(key).as_bytes());
        guessing.answer().0
    };
    assert_eq!(ask(ADMIN_KEY), 200);
    let guesses: Vec<_> = (0..30).map(|number| ask(&format!("guess number {number}"))).collect();
    assert_eq!((guesses[0], guesses[29]), (401, 429));
    assert_eq!(ask(ADMIN_KEY), 429, "what the right key would get tells nothing");
    // API keys from there are not concerned, nor is the administrator elsewhere.
    let tenant = world.tenant().await;
    let mut api = RawConnection::open(replica, NEIGHBOUR);
    api.send(request("GET", "/api/v1/Reservation", &[("x-api-key", &tenant.key)], "").as_bytes());
    assert_eq!(api.answer().0, 200);
    let mut home = RawConnection::open(replica, [127, 0, 0, 1]);
    home.send(list(ADMIN_KEY).as_bytes());
    assert_eq!(home.answer().0, 200);
}

#[tokio::test]
async fn addresses_with_ports_differ_behind_a_trusted_proxy() {
    let world = World::<1>::with(&[], &[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let address = world.replicas[0].address().to_owned();
    let answers = blocking(move || {
        let mut proxy = RawConnection::open_at(&address, [127, 0, 0, 1]);
        let mut ask = |from: &str| {
            let headers = [("x-api-key", "hf_live_wrong"), ("x-forwarded-for", from)];
            proxy.send(request("GET", "/api/v1/Reservation", &headers, "").as_bytes());
            proxy.answer().0
        };
        let of_one: Vec<_> = (0..150).map(|port| ask(&format!("203.0.113.7:{}", 50_000 + port))).collect();
        (of_one, ask("198.51.100.9:40000"), ask("[2001:db8::1]:443"))
    })
    .await;
    assert_eq!((answers.0[0], answers.0[149]), (401, 429));
    assert_eq!((answers.1, answers.2), (401, 401));
}

#[tokio::test]
async fn basic_authentication_of_a_proxy_in_front_is_no_failed_key() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let url = &world.replicas[0].url;
    let basic = ("authorization", "Basic dXNlcjpwYXNz");
    let signed_in = reqwest::Client::new()
        .post(format!("{url}/api/v1/session"))
        .header(basic.0, basic.1)
        .json(&json!({"apiKey": tenant.key}))
        .send()
        .await
        .unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let read = |cookie: Option<&str>| {
        let mut read = reqwest::Client::new().get(format!("{url}/api/v1/session")).header(basic.0, basic.1);
        if let Some(cookie) = cookie {
            read = read.header("cookie", cookie);
        }
        async { read.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(read(Some(&cookie)).await, 200);
    let stream = EventStream::open(&format!("{url}/api/v1/events?api_key={}", tenant.key), &[basic]).await;
    assert_eq!(stream.status, 200);
    for _ in 0..150 {
        assert_eq!(read(None).await, 401, "it proves nothing, and is never counted");
    }
}

#[tokio::test]
async fn behind_https_browsers_keep_to_it() {
    let world = World::<1>::with(&[], &[("PUBLIC_URL", "https://locks.example")]).await;
    let (plain, tenant) = (World::<1>::start().await, world.tenant().await);
    for path in ["/", "/healthz", "/nothing", "/api/v1/Reservation"] {
        let get = |url: String| async move { reqwest::get(url).await.unwrap().headers().clone() };
        let headers = get(format!("{}{path}", world.replicas[0].url)).await;
        assert_eq!(headers["strict-transport-security"], "max-age=31536000", "{path}");
        assert!(!get(format!("{}{path}", plain.replicas[0].url)).await.contains_key("strict-transport-security"));
    }
    let session = format!("{}/api/v1/session", world.replicas[0].url);
    let signed_in = call(Method::POST, &session, None, Some(json!({"apiKey": tenant.key}))).await;
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-holdfast_session=") && cookie.contains("Path=/;"), "{cookie}");
    // What a neighbouring host plants under the other name does not count beside it.
    let own = cookie.split(';').next().unwrap();
    let answer = reqwest::Client::new()
        .get(format!("{}/api/v1/session", world.replicas[0].url))
        .header("cookie", format!("holdfast_session=hf_sess_planted; {own}"));
    assert_eq!(answer.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_documents_page_runs_its_own_scripts_alone() {
    let world = World::<1>::start().await;
    let page = reqwest::get(format!("{}/docs", world.replicas[0].url)).await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(!policy.contains("unsafe") && policy.contains("script-src 'self';"), "{policy}");
    let html = page.text().await.unwrap();
    assert!(!html.contains("<script>") && !html.contains(" style="), "all of them are files");
}

#[tokio::test]
async fn sec_fetch_site_decides_before_origin_does() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let sign_in = |headers: [(&'static str, &'static str); 2]| {
        let mut request = reqwest::Client::new().post(format!("{}/api/v1/session", world.replicas[0].url));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.json(&json!({"apiKey": tenant.key}));
        async { crate::support::world::answer(request.send().await.unwrap()).await }
    };
    let behind_proxy = sign_in([("origin", "https://locks.example"), ("sec-fetch-site", "same-origin")]);
    assert_eq!(behind_proxy.await.status, 200);
    let foreign = sign_in([("origin", "https://locks.example"), ("accept", "*/*")]).await;
    let message = foreign.fails(403, "FORBIDDEN")["message"].as_str().unwrap().to_owned();
    for part in ["Origin https://locks.example", "Host 127.0.0.1:", "HOLDFAST_PUBLIC_URL"] {
        assert!(message.contains(part), "{message}");
    }
    for (origin, host) in
        [("https://locks.example", "LOCKS.example:443"), ("http://locks.example", "locks.example.:80")]
    {
        assert_eq!(sign_in([("origin", origin), ("host", host)]).await.status, 200, "{origin} at {host}");
    }
}

#[tokio::test]
async fn a_broker_of_one_tenant_is_refused_to_others() {
    let first = World::<1>::start().await;
    let (owner, other) = (first.tenant().await, first.tenant().await);
    let hosts = format!("{}=127.0.0.1:1,127.0.0.1:2", owner.id);
    let redis = first.redis.url();
    let replica = Replica::start(&[("REDIS_URL", &redis), ("BROKER_HOSTS", &hosts)]);
    replica.ready().await;
    let create = |key: String, port: u16| {
        let body = json!({"name": "c", "framework": "celery", "brokerUrl": format!("redis://127.0.0.1:{port}/0")});
        let url = format!("{}/api/v1/connections", replica.url);
        async move { call(Method::POST, &url, Some(&key), Some(body)).await }
    };
    assert_eq!(create(owner.key.clone(), 1).await.status, 201);
    assert_eq!(create(owner.key.clone(), 2).await.status, 201);
    assert_eq!(create(other.key.clone(), 1).await.paths(), ["brokerUrl"]);
    assert_eq!(create(other.key.clone(), 2).await.status, 201);
}
