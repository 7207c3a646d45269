//! Inputs of any kind, over real HTTP: served or refused in the one form of errors, never a failure of the service.

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngSeed, TestRunner},
};
use serde_json::Value;

use crate::{
    neighbours::frame::{Neighbourhood, RawConnection, blocking, request},
    support::world::long,
};

/// Inputs of each kind, a few in the short form.
fn rounds() -> usize {
    if long() { 2_000 } else { 60 }
}

/// Asserts that a list, a stream or an error came back, and no 5xx.
fn assert_served_or_refused(answer: &(u16, String), what: &str) {
    let (status, body) = answer;
    match status {
        200 | 202 => {}
        400 | 404 | 409 | 413 | 414 | 431 => {
            let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{what}: {status} {body}"));
            assert!(body["error"]["code"].is_string(), "{what}: {body}");
        }
        _ => panic!("{what}: {status} {body}"),
    }
}

#[tokio::test]
async fn any_cursor_filter_and_body_is_answered() {
    let neighbourhood = Neighbourhood::start().await;
    let tenant = neighbourhood.world.tenant_of("Enterprise").await;
    let address = neighbourhood.replica().address().to_owned();
    blocking(move || {
        // The same inputs at each run, so that a failure can be repeated.
        let config = Config { rng_seed: RngSeed::Fixed(1), ..Config::default() };
        let mut runner = TestRunner::new(config);
        let mut random = |strategy: &BoxedStrategy<String>| strategy.new_tree(&mut runner).unwrap().current();
        let raw = "[^ \r\n]{0,80}".boxed();
        let json = r#"[\[\]{}",:0-9a-z\\u. -]{0,80}"#.boxed();
        let headers = [("x-api-key", tenant.key.as_str())];
        // One connection after the other: a refusal by the HTTP library closes it.
        let call = |method: &str, path: &str, body: &str| {
            let mut connection = RawConnection::open_at(&address, [127, 0, 0, 1]);
            connection.send(request(method, path, &headers, body).as_bytes());
            assert_served_or_refused(&connection.answer(), &format!("{method} {path} {body}"));
        };
        for _ in 0..rounds() {
            for list in ["v1/Reservation", "v1/Resource", "jobs", "workers", "queues"] {
                call("GET", &format!("/api/{list}?limit=10&cursor={}", random(&raw)), "");
            }
            for parameter in ["prefix", "requester", "limit"] {
                call("GET", &format!("/api/v1/Reservation?limit=10&{parameter}={}", random(&raw)), "");
            }
            call("GET", &format!("/api/v1/Reservation/check/x{}", random(&raw)), "");
            for route in
                ["Reservation/reserve", "Reservation/transactions", "Reservation/check", "Resource/register", "events"]
            {
                call("POST", &format!("/api/v1/{route}"), &random(&json));
            }
        }
    })
    .await;
}
