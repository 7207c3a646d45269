//! Waiting at its edges: calls as large as a call may be, errors in the middle of one, and tickets that are served by another call of their
//! requester's.

use holdfast::{
    domain::names::TenantId,
    store::{KeyKind, TenantHandle},
};
use serde_json::{Value, json};

use crate::support::world::{Answer, Client, Tenant, World, until};

/// Blockers of one resource: so few are taken without a look at the budget in between.
const BLOCKERS: usize = 15;
/// More resources than one call can take with their blockers.
const RESOURCES: usize = 250;

fn wait_item(requester: &str, resource: &str, more: Value) -> Value {
    let mut item = json!({"requester": requester, "resource": resource, "waitSeconds": 60, "keepAliveSeconds": 600});
    item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    item
}

fn all_or_none(requests: &[Value], more: Value) -> Value {
    let mut group = json!({"method": "ALL_OR_NONE", "requestType": "RESERVE", "requests": requests});
    group.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!([group])
}

fn wanted(requester: &str, resource: &str) -> Value {
    json!({"requester": requester, "resource": resource})
}

async fn until_waiting(at: &Client<'_>, resource: &str, count: usize) {
    let path = format!("/Reservation/check/{resource}");
    until("they stand in line", || async { at.get(&path).await.body["waiting"] == json!(count) }).await;
}

async fn ticket(at: &Client<'_>, waiting: &Value) -> Value {
    let answer = at.get(&format!("/Reservation/tickets/{}", waiting["ticket"].as_str().unwrap())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[tokio::test]
async fn what_a_requester_takes_elsewhere_is_told_as_what_its_ticket_waited_for() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut events = at.events("?types=RESERVED").await;
    events.head().await;
    at.acquire("w3", "b", None).await;
    events.expect("RESERVED").await;
    // `a` is kept for a group, which comes after whoever asks without waiting.
    let group = all_or_none(&[wanted("w1", "b"), wanted("w1", "a")], json!({"waitSeconds": 60, "priority": -5}));
    assert_eq!(at.post("/Reservation/transactions", group).await.body[0]["status"], "WAITING");
    let held =
        async { at.post("/Reservation/reserve?hold=60", json!([wait_item("w0", "a", json!({"priority": -5}))])).await };
    let take = async {
        until_waiting(&at, "a", 2).await;
        at.acquire("w0", "a", None).await
    };
    let (answer, taken) = tokio::join!(held, take);
    let reserved = events.expect("RESERVED").await;
    assert_eq!((&reserved["resource"], &reserved["requester"]), (&json!("a"), &json!("w0")));
    assert!(reserved["ticket"].is_string() && reserved["waitedMs"].as_i64() >= Some(0), "{reserved}");
    assert_eq!(answer.statuses(), ["ACQUIRED"]);
    assert_eq!(answer.body[0]["releaseToken"], taken["releaseToken"]);
    let served = ticket(&at, &reserved).await;
    assert_eq!(served["reservation"]["releaseToken"], taken["releaseToken"]);
    assert_eq!(at.unreserve("w0", "a", &served["reservation"]["releaseToken"]).await.statuses(), ["RELINQUISHED"]);
}

/// Resources `r0`, `r1` ... that all take the same names along, of which somebody else has the last one as a blocker of `u`.
async fn register_blocked(at: &Client<'_>) {
    let blockers: Vec<_> = (0..BLOCKERS).map(|n| format!("b{n}")).collect();
    let mut definitions: Vec<_> =
        (0..RESOURCES).map(|n| json!({"name": format!("r{n}"), "blocks": blockers})).collect();
    definitions.push(json!({"name": "u", "blocks": blockers[BLOCKERS - 1..]}));
    let answer = at.post("/Resource/register", json!(definitions)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    at.acquire("other", "u", None).await;
}

#[tokio::test]
async fn a_call_that_is_just_too_large_is_refused_wherever_it_passes_the_bound() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    register_blocked(&at).await;
    let before = at.listed().await;
    for more in 0..12 {
        let plain = (0..more).map(|n| wanted("w", &format!("plain{n}")));
        let items: Vec<_> = plain.chain((0..RESOURCES).map(|n| wanted("w", &format!("r{n}")))).collect();
        at.post("/Reservation/reserve", json!(items)).await.fails(400, "TOO_MUCH_WORK");
    }
    assert_eq!(at.listed().await, before, "nothing was taken");
}

/// Waits for `a` and so many of the resources that begin with a letter: how many things that are, and the ticket. `None`: they are too many.
async fn group_of(at: &Client<'_>, letter: char, count: usize) -> Option<(usize, Value)> {
    let items = (0..count).map(|n| wanted("g", &format!("{letter}{n}")));
    let requests: Vec<_> = [wanted("g", "a")].into_iter().chain(items).collect();
    let wait = json!({"waitSeconds": 60, "keepAliveSeconds": 600});
    let answer = at.post("/Reservation/transactions", all_or_none(&requests, wait)).await;
    if answer.status != 200 {
        answer.fails(400, "TOO_MUCH_WORK");
        return None;
    }
    assert_eq!(answer.body[0]["status"], "WAITING");
    Some((requests.len(), answer.body[0].clone()))
}

async fn cancel(at: &Client<'_>, waiting: &Value) {
    let path = format!("/Reservation/tickets/{}", waiting["ticket"].as_str().unwrap());
    assert_eq!(at.delete(&path).await.body["status"], "CANCELLED");
}

/// As many as one call may wait for, of those resources.
async fn largest_group(at: &Client<'_>, letter: char) -> (usize, Value) {
    let (mut fits, mut exceeds) = (1, RESOURCES);
    while exceeds - fits > 1 {
        let count = usize::midpoint(fits, exceeds);
        match group_of(at, letter, count).await {
            Some((_, waiting)) => {
                cancel(at, &waiting).await;
                fits = count;
            }
            None => exceeds = count,
        }
    }
    // Where there are tickets, a call has a little more to do.
    for count in (1..=fits).rev() {
        if let Some((_, waiting)) = group_of(at, letter, count).await {
            return (count, waiting);
        }
    }
    panic!("not even one")
}

#[tokio::test]
async fn a_hand_over_that_is_too_large_is_no_error_and_ends_no_ticket() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    register_blocked(&at).await;
    at.acquire("w0", "a", None).await;
    let (count, waiting) = largest_group(&at, 'r').await;
    // A call in which something cannot be valid at the end of a group leaves nothing of that to the next one.
    let mut requests: Vec<_> = (0..count).map(|n| wanted("x", &format!("x{n}"))).collect();
    requests.push(json!({"requester": "x", "resource": "x", "quantity": 2}));
    let invalid = at.post("/Reservation/transactions", all_or_none(&requests, json!({}))).await;
    assert_eq!(invalid.body[0]["status"], "ROLLED_BACK", "{invalid:?}");

    for more in 0..24 {
        let extra: Vec<_> = (0..100 + 10 * more).map(|n| wanted("w0", &format!("e{n}"))).collect();
        let taken = at.post("/Reservation/reserve", json!(extra)).await;
        let held = at.post("/Reservation/reserve", json!([wanted("w0", "a")])).await;
        let both = taken.body.as_array().unwrap().iter().chain(held.body.as_array().unwrap());
        let given: Vec<_> = both.map(claim_of).collect();
        let answer = at.post("/Reservation/unreserve", json!(given)).await;
        assert_eq!(answer.status, 200, "{more}: {answer:?}");
        until("nothing is left of the hand-over", || async { pending(&world, &tenant).is_none() }).await;
        assert_eq!(ticket(&at, &waiting).await["status"], "WAITING", "{more}");
        // It is kept for the group; who has a greater priority gets it.
        let again = at.post("/Reservation/reserve", json!([wait_item("w0", "a", json!({"priority": 5}))])).await;
        assert_eq!(again.statuses(), ["ACQUIRED"]);
    }
}

#[tokio::test]
async fn a_group_of_very_many_names_is_cancelled_and_leaves_nothing() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    let blockers = |n| (0..BLOCKERS).map(|blocker| format!("c{n} {blocker}")).collect::<Vec<_>>();
    let definitions: Vec<_> = (0..RESOURCES).map(|n| json!({"name": format!("s{n}"), "blocks": blockers(n)})).collect();
    assert_eq!(at.post("/Resource/register", json!(definitions)).await.status, 200);
    at.acquire("w0", "a", None).await;
    // Each step of the search cancels a group whose names have lines by the thousand.
    let (_, waiting) = largest_group(&at, 's').await;
    cancel(&at, &waiting).await;
    until("nothing is left of the hand-over", || async { pending(&world, &tenant).is_none() }).await;
    assert_eq!(at.get("/Reservation/waiting").await.body["waiting"], json!([]));
}

/// What an answer says was taken, as it is given back.
fn claim_of(taken: &Value) -> Value {
    json!({"requester": taken["requester"], "resource": taken["resource"], "releaseToken": taken["releaseToken"]})
}

/// What is left to do of a hand-over that was too much for one call.
fn pending(world: &World<1>, tenant: &Tenant) -> Option<Vec<u8>> {
    let mut redis = world.redis.connection();
    redis::cmd("HGET").arg(key_of(tenant, KeyKind::Tickets)).arg("\0pending").query(&mut redis).unwrap()
}

fn key_of(tenant: &Tenant, kind: KeyKind) -> String {
    TenantHandle::new(TenantId::parse(&tenant.id).unwrap()).key(kind).to_string()
}

/// Puts a text in the place of the tenant's index, so that every look into it is an error. Answers what puts it back.
fn spoil_index(world: &World<1>, tenant: &Tenant) -> impl FnOnce() {
    let (key, mut redis) = (key_of(tenant, KeyKind::Index), world.redis.connection());
    let aside = format!("{key}:aside");
    let is_there: bool = redis::cmd("EXISTS").arg(&key).query(&mut redis).unwrap();
    if is_there {
        redis::cmd("RENAME").arg(&key).arg(&aside).exec(&mut redis).unwrap();
    }
    redis::cmd("SET").arg(&key).arg("spoilt").exec(&mut redis).unwrap();
    move || {
        redis::cmd("DEL").arg(&key).exec(&mut redis).unwrap();
        if is_there {
            redis::cmd("RENAME").arg(&aside).arg(&key).exec(&mut redis).unwrap();
        }
    }
}

#[tokio::test]
async fn a_hand_over_that_fails_leaves_nothing_to_the_next_call() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let made = at.post("/keys", json!({"label": "second"})).await;
    let second = Tenant { id: tenant.id.clone(), key: made.body["apiKey"].as_str().unwrap().to_owned() };
    at.post("/Resource/register", json!([{"name": "leaf", "treePath": "root"}, {"name": "root"}])).await;
    let held = at.acquire("w0", "a", None).await;
    let group = all_or_none(&[wanted("w1", "a"), wanted("w1", "root")], json!({"waitSeconds": 60}));
    let waiting = world.at(&second).post("/Reservation/transactions", group).await.body[0].clone();
    assert_eq!(waiting["status"], "WAITING", "{waiting}");
    at.acquire("w2", "before", None).await;

    // What is held below `root` is looked for in the index.
    let mend = spoil_index(&world, &tenant);
    let failed = at.unreserve("w0", "a", &held["releaseToken"]).await;
    assert!(failed.status.is_server_error(), "{failed:?}");
    mend();
    let mut events = at.events("?types=RESERVED").await;
    events.head().await;
    at.acquire("w2", "after", None).await;
    assert_eq!(events.expect("RESERVED").await["apiKeyLabel"], "default", "it is taken by the key that asks");

    assert_eq!(at.unreserve("w0", "a", &held["releaseToken"]).await.statuses(), ["RELINQUISHED"]);
    assert_eq!(ticket(&at, &waiting).await["status"], "ACQUIRED");
}

#[tokio::test]
async fn a_batch_is_not_searched_for_tickets_item_by_item_where_its_requester_has_none_behind() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    at.acquire("w0", "r", None).await;
    assert_eq!(at.post("/Reservation/reserve", json!([wait_item("w1", "r", json!({}))])).await.statuses(), ["WAITING"]);
    let items: Vec<_> = (0..100).map(|n| wanted("w2", &format!("x{n}"))).collect();
    world.redis.ask::<()>("CONFIG RESETSTAT");
    assert_eq!(at.post("/Reservation/reserve", json!(items)).await.statuses(), ["ACQUIRED"; 100]);
    let stats = world.redis.info("commandstats", "cmdstat_hget").unwrap();
    let looks: usize = stats.strip_prefix("calls=").unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(looks < 20, "{stats}");
}

/// A held call for `a`, which is handed over, and for both slots of a pool that is full, of which nothing can be looked up meanwhile.
async fn held_while_the_index_fails(wait_s: i64) -> Answer {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    at.post("/Resource/register", json!([{"name": "P", "capacity": 2}])).await;
    let full = json!([{"requester": "w9", "resource": "P", "quantity": 2, "ttlSeconds": 600}]);
    assert_eq!(at.post("/Reservation/reserve", full).await.statuses(), ["ACQUIRED"]);
    let held = at.acquire("w0", "a", None).await;
    let both = wait_item("w2", "P", json!({"quantity": 2, "waitSeconds": wait_s}));
    let call = async { at.post("/Reservation/reserve?hold=3", json!([wait_item("w1", "a", json!({})), both])).await };
    let give = async {
        until_waiting(&at, "a", 1).await;
        let mend = spoil_index(&world, &tenant);
        assert_eq!(at.unreserve("w0", "a", &held["releaseToken"]).await.statuses(), ["RELINQUISHED"]);
        mend
    };
    let (answer, mend) = tokio::join!(call, give);
    mend();
    let token = &answer.body[0]["releaseToken"];
    assert_eq!(at.unreserve("w1", "a", token).await.statuses(), ["RELINQUISHED"], "{answer:?}");
    answer
}

#[tokio::test]
async fn what_a_hold_got_is_answered_though_nobody_can_say_what_is_in_the_way_of_the_rest() {
    let answer = held_while_the_index_fails(60).await;
    assert_eq!(answer.statuses(), ["ACQUIRED", "WAITING"]);
    let explanation = answer.body[1]["explanation"].as_str().unwrap();
    assert!(explanation.starts_with("No slot of \"P\" is free"), "{explanation}");
}

#[tokio::test]
async fn what_a_hold_got_is_answered_though_a_wait_ended_in_vain_and_nobody_can_say_why() {
    let answer = held_while_the_index_fails(1).await;
    // As it was before: who asks again is told more.
    assert_eq!(answer.statuses(), ["ACQUIRED", "WAITING"]);
}

/// Items of one call that all wait.
const WAITING: usize = 120;

#[tokio::test]
async fn what_comes_after_a_hold_of_many_asks_redis_a_few_times() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let items = |requester| (0..WAITING).map(move |n| wanted(requester, &format!("r{n}"))).collect::<Vec<_>>();
    assert_eq!(at.post("/Reservation/reserve", json!(items("w0"))).await.statuses(), ["ACQUIRED"; WAITING]);
    let waits: Vec<_> = (0..WAITING).map(|n| wait_item("w1", &format!("r{n}"), json!({}))).collect();
    world.redis.ask::<()>("CONFIG RESETSTAT");
    let answer = at.post("/Reservation/reserve?hold=1", json!(waits)).await;
    assert_eq!(answer.statuses(), ["WAITING"; WAITING]);
    let calls = world.redis.function_calls();
    assert!(calls < 30, "{calls} calls for {WAITING} items");
    assert_eq!((&answer.body[119]["holder"], &answer.body[119]["place"]), (&json!("w0"), &json!(1)));

    // Their waits end in vain at once: one call says why.
    let waits: Vec<_> = (0..WAITING).map(|n| wait_item("w2", &format!("r{n}"), json!({"waitSeconds": 1}))).collect();
    world.redis.ask::<()>("CONFIG RESETSTAT");
    let answer = at.post("/Reservation/reserve?hold=5", json!(waits)).await;
    assert_eq!(answer.statuses(), ["ALREADY_HELD"; WAITING]);
    let calls = world.redis.function_calls();
    assert!(calls < 30, "{calls} calls for {WAITING} items");
}
