//! What a hand-over asks of Redis, and that fewer questions lose nothing: calls that share one keep their order, a message that is lost is made up for.

use std::time::{Duration, Instant};

use holdfast::{
    domain::{
        reservation::{ReserveOutcome, ReserveRequest},
        tier::Tier,
        waiting::{TicketId, Wait},
    },
    store::StoreError,
};
use serde_json::{Value, json};

use crate::support::{
    redis_server::Redis,
    silent_proxy::SilentProxy,
    store_bench::{Bench, Parts, claim, done, wanted},
    world::{Client, World, until},
};

const HELD: usize = 12;
/// Interval at which the tickets of held calls are touched, and what a call may take beside.
const TOUCHED_EVERY: Duration = Duration::from_millis(1_500);
const SLOW: Duration = Duration::from_millis(1_500);

/// An entry of Redis' log of slow commands: number, when, how long, the command, by whom.
type Entry = (i64, i64, i64, Vec<Vec<u8>>, String, String);

/// How often a function was called, of what Redis has noted.
fn calls(redis: &Redis, function: &str) -> usize {
    let entries: Vec<Entry> = redis.ask("SLOWLOG GET -1");
    let ends = format!("_{function}").into_bytes();
    entries.iter().filter(|entry| entry.3[0] == b"FCALL" && entry.3[1].ends_with(&ends)).count()
}

async fn held(at: Client<'_>, requester: &str, resource: &str) -> Value {
    let item = json!([{"requester": requester, "resource": resource, "waitSeconds": 60}]);
    let answer = at.post("/Reservation/reserve?hold=30", item).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body[0].clone()
}

async fn until_waiting(at: &Client<'_>, resource: &str, count: usize) {
    let path = format!("/Reservation/check/{resource}");
    until("they stand in line", || async { at.get(&path).await.body["waiting"] == json!(count) }).await;
}

#[tokio::test]
async fn a_held_call_costs_redis_one_call_and_its_hand_over_two() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    // Given replicas that listen: the first hold of a partition subscribes it.
    let first = at.acquire("w", "first", None).await;
    let served = [0, 1].map(|number| held(world.at_replica(number, &tenant), "other", "first"));
    let [here, there] = served;
    let give = async {
        until_waiting(&at, "first", 1).await;
        at.unreserve("w", "first", &first["releaseToken"]).await
    };
    tokio::join!(here, there, give);
    let mut token = at.acquire("w", "r", None).await["releaseToken"].clone();
    world.redis.ask::<()>("CONFIG SET slowlog-max-len 100000");
    world.redis.ask::<()>("CONFIG SET slowlog-log-slower-than 0");
    let since = Instant::now();

    let (requesters, mut calls_held) = ((0..HELD).map(|n| format!("w{n}")).collect::<Vec<_>>(), Vec::new());
    for (number, requester) in requesters.iter().enumerate() {
        let at = world.at_replica(number % 2, &tenant);
        let mut call = Box::pin(held(at, requester, "r"));
        assert!(futures_util::poll!(&mut call).is_pending());
        let mut waiting = Box::pin(until_waiting(&at, "r", number + 1));
        while futures_util::poll!(&mut waiting).is_pending() {
            assert!(futures_util::poll!(&mut call).is_pending());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        calls_held.push(call);
    }
    let mut holder = "w";
    for (requester, call) in requesters.iter().zip(calls_held) {
        let (released, got) = tokio::join!(at.unreserve(holder, "r", &token), call);
        assert_eq!(released.statuses(), ["RELINQUISHED"]);
        assert_eq!((&got["status"], &got["requester"]), (&json!("ACQUIRED"), &json!(requester)));
        (holder, token) = (requester, got["releaseToken"].clone());
    }

    let by_clock = 2 * (1 + since.elapsed().as_millis() as usize / TOUCHED_EVERY.as_millis() as usize);
    assert_eq!(calls(&world.redis, "reserve"), HELD);
    assert_eq!(calls(&world.redis, "unreserve"), HELD);
    assert_eq!(calls(&world.redis, "ticket_read"), HELD);
    let touches = calls(&world.redis, "ticket_touch");
    assert!(touches <= by_clock && by_clock < HELD, "{touches} of at most {by_clock} touches");
}

#[tokio::test]
async fn a_hand_over_whose_message_is_lost_is_noticed_all_the_same() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let (proxy, deaf) = SilentProxy::with_replica(&world).await;
    let (here, at) = (Client { replica: &deaf, key: &tenant.key }, world.at(&tenant));
    let first = at.acquire("w", "r", None).await;
    let give = async {
        until_waiting(&at, "r", 1).await;
        at.unreserve("w", "r", &first["releaseToken"]).await
    };
    let (got, _) = tokio::join!(held(here, "w1", "r"), give);

    // When messages are swallowed from here on.
    proxy.silence();
    let give = async {
        until_waiting(&at, "r", 1).await;
        at.unreserve("w1", "r", &got["releaseToken"]).await;
        Instant::now()
    };
    let (got, given_at) = tokio::join!(held(here, "w2", "r"), give);
    assert_eq!((&got["status"], &got["requester"]), (&json!("ACQUIRED"), &json!("w2")));
    assert!(proxy.has_swallowed() && given_at.elapsed() < TOUCHED_EVERY + SLOW, "after {:?}", given_at.elapsed());
}

/// An item that is waited for.
fn waits(requester: &str, resource: &str) -> ReserveRequest {
    let wait =
        Wait { ticket: TicketId::random(), wait_ms: 60_000, priority: 0, keep_alive_ms: 60_000, overtake: false };
    ReserveRequest { wait: Some(wait), ..wanted(requester, resource, 60) }
}

/// Makes these calls at the same moment: those beyond the first ones share a call of Redis.
async fn together(bench: &Bench, items: &[ReserveRequest]) -> Vec<Result<ReserveOutcome, StoreError>> {
    let (store, caller) = (&bench.store, &bench.caller);
    let call = |item: &ReserveRequest| {
        let item = [item.clone()];
        async move {
            let stamped = store.reserve(caller, &item).await?;
            match stamped.answer {
                holdfast::store::Outcome::Done(mut outcomes) => Ok(outcomes.remove(0)),
                other => panic!("{other:?}"),
            }
        }
    };
    let mut calls = Box::pin(futures_util::future::join_all(items.iter().map(call)));
    bench.redis.signal("-STOP");
    assert!(futures_util::poll!(&mut calls).is_pending());
    bench.redis.signal("-CONT");
    calls.await
}

#[tokio::test]
async fn waits_that_share_a_call_stand_in_the_order_in_which_they_came() {
    let bench = Bench::start(Tier::Pro).await;
    bench.reserve_one("holder", "r", 60).await;
    let free = bench.reserve_one("holder", "free", 60).await.token().unwrap();
    done(bench.store.unreserve(&bench.caller, &[claim("holder", "free", &free)]).await);
    bench.reserve(&[waits("first", "other")]).await; // by which the replica learns how much the tenant stores
    let before = bench.redis.function_calls();
    let mut items: Vec<_> = (0..20).map(|number| waits(&format!("w{number}"), "r")).collect();
    items.insert(10, waits("taker", "free"));
    items.insert(12, waits("w3", "r")); // asked again: the same wish is the same ticket

    let outcomes = together(&bench, &items).await;
    assert!(bench.redis.function_calls() - before < 10, "they share calls");
    let place = |at: usize| match &outcomes[at] {
        Ok(ReserveOutcome::Waiting(place)) => (place.ticket, place.place),
        other => panic!("{other:?}"),
    };
    assert_eq!(outcomes[10].as_ref().unwrap().word(), "ACQUIRED");
    assert_eq!(place(12), place(3));
    let places: Vec<_> = (0..22).filter(|at| ![10, 12].contains(at)).map(|at| place(at).1).collect();
    assert_eq!(places, (1..=20).collect::<Vec<_>>());
    for (at, item) in items.iter().enumerate().filter(|(at, _)| ![10, 12].contains(at)) {
        assert_eq!(place(at).0, item.wait.as_ref().unwrap().ticket, "each by its own ticket");
    }
}
