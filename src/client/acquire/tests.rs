//! Waiting against a peer that follows a script: each exchange is what the contract lets a service answer.

use serde_json::json;

use super::*;
use crate::client::{
    scripted_peer::{HELD_BACK, Peer},
    shapes::Status,
};

const RESERVE: &str = "POST /api/v1/Reservation/reserve";
const TRANSACT: &str = "POST /api/v1/Reservation/transactions";
const TICKET: &str = "GET /api/v1/Reservation/tickets/t-1";
const CANCEL: &str = "DELETE /api/v1/Reservation/tickets/t-1";
const RELEASE: &str = "POST /api/v1/Reservation/unreserve";

fn item(resource: &str) -> ReserveItem {
    ReserveItem {
        requester: "me".into(),
        resource: resource.into(),
        ttl_seconds: Some(30),
        resource_type: None,
        note: None,
        quantity: None,
        wait: None,
    }
}

fn result(status: &str) -> Value {
    let held = matches!(status, "ACQUIRED" | "ALREADY_HAD");
    json!({
        "resource": "x", "requester": "me", "status": status, "explanation": status,
        "releaseToken": held.then_some("token"), "expiresAt": null, "acquiredSlots": null, "acquiredBlockers": null,
        "reservedAtPath": null, "fencingToken": held.then_some(7), "holder": (!held).then_some("other"),
        "holderExpiresAt": null, "ticket": (status == "WAITING").then_some("t-1"),
        "place": (status == "WAITING").then_some(2), "waitExpiresAt": null, "expectedBy": null
    })
}

fn transaction(status: &str, results: &[Value]) -> Value {
    let waits = status == "WAITING";
    json!({
        "method": "ALL_OR_NONE", "requestType": "RESERVE", "status": status, "explanation": status, "results": results,
        "ticket": waits.then_some("t-1"), "place": waits.then_some(1), "waitExpiresAt": null, "expectedBy": null
    })
}

fn error(code: &str, path: &str) -> Value {
    json!({"error": {"code": code, "message": "No.", "details": [{"path": path, "message": "is unknown"}]}})
}

fn for_seconds(seconds: u64) -> WaitPolicy {
    WaitPolicy { until: Some(BootInstant::now() + Duration::from_secs(seconds)), priority: Some(5) }
}

/// Acquires, and what was reported meanwhile, a word each.
async fn run(peer: &Peer, mode: Mode, policy: WaitPolicy) -> (Result<Acquisition, ClientError>, Vec<String>) {
    let mut reported = Vec::new();
    let mut progress = |progress: Progress<'_>| {
        reported.push(match progress {
            Progress::Interrupted(_) => "interrupted".into(),
            Progress::Waiting { holder, place, .. } => format!("{holder:?} {place:?}"),
        });
    };
    let cancel = CancellationToken::new();
    let acquired = acquire(&peer.client(), &[item("x")], mode, Some(policy), &cancel, &mut progress).await;
    (acquired, reported)
}

fn answered(acquired: Result<Acquisition, ClientError>) -> Acquired {
    match acquired.unwrap() {
        Acquisition::Answered(acquired) => acquired,
        Acquisition::Cancelled => panic!("cancelled"),
    }
}

#[tokio::test]
async fn a_ticket_is_held_until_it_is_served() {
    let peer = Peer::start(vec![
        (RESERVE, 200, json!([result("WAITING")])),
        (RESERVE, 200, json!([result("WAITING")])),
        (RESERVE, 200, json!([result("ACQUIRED")])),
    ])
    .await;
    let (acquired, reported) = run(&peer, Mode::Each, for_seconds(60)).await;
    let acquired = answered(acquired);
    assert!(acquired.complete && !acquired.fresh && !acquired.had_before, "{acquired:?}");
    assert_eq!(reported, [r#"Some(("other", None)) Some(2)"#, r#"Some(("other", None)) Some(2)"#]);
    let requests = peer.requests();
    assert_eq!(requests[0].0, RESERVE, "the first is answered at once, so that the ticket is known");
    assert_eq!(requests[1].0, format!("{RESERVE}?hold=20"));
    assert_eq!((&requests[0].1[0]["priority"], &requests[0].1[0]["keepAliveSeconds"]), (&json!(5), &json!(15)));
    assert!((58..=60).contains(&requests[0].1[0]["waitSeconds"].as_u64().unwrap()), "{requests:?}");
}

#[tokio::test]
async fn what_was_free_at_once_is_fresh() {
    let peer = Peer::start(vec![(RESERVE, 200, json!([result("ACQUIRED")]))]).await;
    let acquired = answered(run(&peer, Mode::Each, for_seconds(60)).await.0);
    assert!(acquired.complete && acquired.fresh);
    // And what was there before is neither new nor ours.
    let peer = Peer::start(vec![(RESERVE, 200, json!([result("ALREADY_HAD")]))]).await;
    let acquired = answered(run(&peer, Mode::Each, for_seconds(60)).await.0);
    assert!(acquired.complete && !acquired.fresh && acquired.had_before);
}

#[tokio::test]
async fn a_transactions_ticket_shows_its_result() {
    let shown =
        |status: &str, transaction: Value| json!({"ticket": "t-1", "status": status, "transaction": transaction});
    let peer = Peer::start(vec![
        (TRANSACT, 200, json!([transaction("WAITING", &[])])),
        (TICKET, 200, shown("WAITING", Value::Null)),
        (TRANSACT, 200, json!([transaction("WAITING", &[])])),
        (TICKET, 200, shown("ACQUIRED", transaction("APPLIED", &[result("ACQUIRED")]))),
    ])
    .await;
    let acquired = answered(run(&peer, Mode::Transaction("ALL_OR_NONE"), for_seconds(60)).await.0);
    assert!(acquired.complete && !acquired.fresh);
    assert_eq!(acquired.results[0].release_token.as_deref(), Some("token"));
    assert_eq!(acquired.body[0]["status"], "APPLIED");
    let first = &peer.requests()[0].1[0];
    assert!(first["waitSeconds"].is_u64() && first["requests"][0].get("waitSeconds").is_none(), "{first}");
    assert!(peer.lines()[1].ends_with("?hold=20"));
}

#[tokio::test]
async fn a_ticket_that_is_no_more_is_asked_for_anew() {
    let peer = Peer::start(vec![
        (TRANSACT, 200, json!([transaction("WAITING", &[])])),
        (TICKET, 200, json!({"ticket": "t-1", "status": "LAPSED"})),
        (TRANSACT, 200, json!([transaction("WAITING", &[])])),
        (TICKET, 404, json!({"error": {"code": "NOT_FOUND"}})),
        (TRANSACT, 200, json!([transaction("APPLIED", &[result("ALREADY_HAD")])])),
    ])
    .await;
    let acquired = answered(run(&peer, Mode::Transaction("ALL_OR_NONE"), for_seconds(60)).await.0);
    assert!(acquired.complete && !acquired.had_before, "it may be the work of the lost ticket");
}

#[tokio::test]
async fn a_deadlock_is_refused_at_once() {
    let peer = Peer::start(vec![(RESERVE, 200, json!([result("WOULD_DEADLOCK")]))]).await;
    let acquired = answered(run(&peer, Mode::Each, for_seconds(60)).await.0);
    assert_eq!((acquired.complete, acquired.results[0].status), (false, Status::WouldDeadlock));
}

fn for_millis(millis: u64) -> WaitPolicy {
    WaitPolicy { until: Some(BootInstant::now() + Duration::from_millis(millis)), priority: None }
}

#[tokio::test]
async fn a_wait_in_vain_gives_its_ticket_up_when_its_owner_said() {
    for (mode, waits, held) in [
        (Mode::Each, (RESERVE, 200, json!([result("WAITING")])), RESERVE),
        (Mode::Transaction("ALL_OR_NONE"), (TRANSACT, 200, json!([transaction("WAITING", &[])])), TICKET),
    ] {
        let refused = match mode {
            Mode::Each => (RESERVE, 200, json!([result("ALREADY_HELD")])),
            Mode::Transaction(_) => (TRANSACT, 200, json!([transaction("ROLLED_BACK", &[result("ALREADY_HELD")])])),
        };
        let cancelled = (CANCEL, 200, json!({"ticket": "t-1", "status": "CANCELLED"}));
        let peer = Peer::start(vec![waits, (held, HELD_BACK, Value::Null), cancelled, refused]).await;
        let begun = BootInstant::now();
        let acquired = answered(run(&peer, mode, for_millis(500)).await.0);
        assert!(!acquired.complete, "with the refusal that it is now");
        assert_eq!(acquired.wait_end, Some(WaitEnd::TimedOut));
        assert_eq!(acquired.results[0].status, Status::AlreadyHeld);
        // Held back for whole seconds, and given up after the half one that was asked for.
        assert_eq!(peer.lines()[1], format!("{held}?hold=1"));
        assert_eq!(peer.lines()[2], CANCEL);
        let took = BootInstant::now().since(begun);
        assert!((500..5_000).contains(&took.as_millis()), "{took:?}");
    }
}

#[tokio::test]
async fn a_wait_that_somebody_cancelled_differs_from_one_that_was_too_short() {
    let shown = |status: &str| json!({"ticket": "t-1", "status": status, "transaction": null});
    for (status, end) in [("CANCELLED", WaitEnd::Cancelled), ("TIMED_OUT", WaitEnd::TimedOut)] {
        let peer = Peer::start(vec![
            (RESERVE, 200, json!([result("WAITING")])),
            (RESERVE, 200, json!([result("ALREADY_HELD")])),
            (TICKET, 200, shown(status)),
        ])
        .await;
        assert_eq!(answered(run(&peer, Mode::Each, for_seconds(60)).await.0).wait_end, Some(end));
        let peer = Peer::start(vec![
            (TRANSACT, 200, json!([transaction("WAITING", &[])])),
            (TICKET, 200, shown(status)),
            (TRANSACT, 200, json!([transaction("ROLLED_BACK", &[result("ALREADY_HELD")])])),
        ])
        .await;
        let acquired = answered(run(&peer, Mode::Transaction("ALL_OR_NONE"), for_seconds(60)).await.0);
        assert_eq!(acquired.wait_end, Some(end));
    }
    let peer = Peer::start(vec![(RESERVE, 200, json!([result("NOT_VALID")]))]).await;
    assert_eq!(answered(run(&peer, Mode::Each, for_seconds(60)).await.0).wait_end, None, "nothing waited");
}

#[tokio::test]
async fn half_a_second_is_waited_for_in_line_and_no_wait_is_rounded_down() {
    let script = || vec![(RESERVE, 200, json!([result("WAITING")])), (RESERVE, 200, json!([result("ACQUIRED")]))];
    for (millis, seconds) in [(500, 1), (5_900, 6)] {
        let peer = Peer::start(script()).await;
        assert!(answered(run(&peer, Mode::Each, for_millis(millis)).await.0).complete);
        let requests = peer.requests();
        assert_eq!(requests[0].1[0]["waitSeconds"], seconds, "{requests:?}");
        assert_eq!(requests[1].0, format!("{RESERVE}?hold={seconds}"));
    }
}

#[tokio::test]
async fn a_service_that_holds_nothing_back_is_not_asked_without_a_pause() {
    let waiting = || (RESERVE, 200, json!([result("WAITING")]));
    let peer = Peer::start((0..100).map(|_| waiting()).collect()).await;
    let cancel = CancellationToken::new();
    let client = peer.client();
    let items = [item("x")];
    let mut progress = |_: Progress<'_>| {};
    let acquiring = acquire(&client, &items, Mode::Each, Some(for_seconds(60)), &cancel, &mut progress);
    assert!(tokio::time::timeout(Duration::from_secs(1), acquiring).await.is_err(), "it waits on");
    let asked = peer.lines().len();
    assert!((3..20).contains(&asked), "{asked} times in a second");
}

#[tokio::test]
async fn a_cancelled_wait_gives_back_what_its_ticket_was_served_with() {
    let peer = Peer::start(vec![
        (RESERVE, 200, json!([result("WAITING")])),
        (RESERVE, 200, json!([result("WAITING")])),
        (CANCEL, 409, error("CONFLICT", "")),
        (TICKET, 200, json!({"ticket": "t-1", "status": "ACQUIRED", "reservation": result("ACQUIRED")})),
        (RELEASE, 200, json!([{"resource": "x", "status": "RELINQUISHED", "explanation": "", "released": ["x"]}])),
    ])
    .await;
    let cancel = CancellationToken::new();
    let mut reports = 0;
    let mut progress = |_: Progress<'_>| {
        reports += 1;
        if reports == 2 {
            cancel.cancel();
        }
    };
    let client = peer.client();
    let acquired = acquire(&client, &[item("x")], Mode::Each, Some(for_seconds(60)), &cancel, &mut progress).await;
    assert!(matches!(acquired, Ok(Acquisition::Cancelled)));
    let (line, body) = peer.requests().pop().unwrap();
    assert_eq!((line.as_str(), &body[0]["releaseToken"]), (RELEASE, &json!("token")));
}

#[tokio::test]
async fn what_cannot_come_free_is_not_waited_for() {
    let peer = Peer::start(vec![(RESERVE, 200, json!([result("NOT_VALID")]))]).await;
    let (acquired, reported) = run(&peer, Mode::Each, for_seconds(60)).await;
    assert!(!answered(acquired).complete && reported.is_empty());
}

#[tokio::test]
async fn a_service_that_is_away_does_not_end_a_wait_that_has_begun() {
    let away = || (RESERVE, 503, json!({"error": {"code": "UNAVAILABLE"}}));
    let mut script = vec![(RESERVE, 200, json!([result("WAITING")]))];
    script.extend((0..3).map(|_| away()));
    script.push((RESERVE, 200, json!([result("ACQUIRED")])));
    let peer = Peer::start(script).await;
    assert!(answered(run(&peer, Mode::Each, for_seconds(60)).await.0).complete);
}
