//! Events of batches and of calls that share a script: each item has the event that it has alone, in every field.

use chrono::DateTime;
use futures_util::future::{join, join_all, join3};
use holdfast::{
    domain::{
        event::{EventType, Explanation, RequestType, ReservationEvent},
        reservation::{ReleaseRequest, RenewOutcome, RenewRequest, ReserveOutcome, ReserveRequest},
        tier::Tier,
        time::instant,
    },
    store::{Payload, TenantHandle},
};

use crate::support::{
    store_bench,
    store_bench::{Bench, Parts, claim, done, names, wanted},
};

/// Items per batch: more than two messages hold.
const MANY: usize = 90;

/// Items that share some fields with the one before, and not always the same: the encoding leaves out what is equal.
fn various(what: &str) -> Vec<ReserveRequest> {
    let item = |(number, name): (usize, String)| ReserveRequest {
        resource: format!("{name}{}", " long".repeat([0, 0, 6, 60][number / 5 % 4])),
        resource_type: ["UserDefined", "Rig"][number / 11 % 2].into(),
        note: ["", "until lunch"][number / 13 % 2].into(),
        ..wanted(["ada", "grace"][number / 3 % 2], "", [60, 60, 0, 3_600][number / 7 % 4])
    };
    names(what, MANY).into_iter().enumerate().map(item).collect()
}

/// The event expected of an item, without position and time.
fn event_of(
    bench: &Bench,
    item: &ReserveRequest,
    (kind, explanation, request): (EventType, Explanation, RequestType),
    fence: Option<i64>,
    deadline_ms: Option<i64>,
) -> ReservationEvent {
    ReservationEvent {
        resource: Some(item.resource.clone()),
        requester: Some(item.requester.clone()),
        explanation: Some(explanation),
        resource_type: Some(item.resource_type.clone()),
        api_key_label: Some("default".into()),
        request_type: Some(request),
        fencing_token: fence,
        expires_at: deadline_ms.map(instant),
        note: Some(item.note.clone()).filter(|note| !note.is_empty()),
        ..ReservationEvent::bare(kind, bench.tenant.id.as_str(), DateTime::UNIX_EPOCH)
    }
}

const RESERVED: (EventType, Explanation, RequestType) =
    (EventType::Reserved, Explanation::Acquired, RequestType::Reserve);
const RENEWED: (EventType, Explanation, RequestType) = (EventType::Renewed, Explanation::Renewed, RequestType::Renew);
const UNRESERVED: (EventType, Explanation, RequestType) =
    (EventType::Unreserved, Explanation::Relinquished, RequestType::Unreserve);

fn grant_events(bench: &Bench, items: &[ReserveRequest], granted: &[ReserveOutcome]) -> Vec<ReservationEvent> {
    let acquired = items.iter().zip(granted).filter(|(_, granted)| granted.word() == "ACQUIRED");
    acquired.map(|(item, granted)| event_of(bench, item, RESERVED, granted.fence(), granted.deadline_ms())).collect()
}

fn renewal_events(bench: &Bench, items: &[ReserveRequest], renewed: &[RenewOutcome]) -> Vec<ReservationEvent> {
    items
        .iter()
        .zip(renewed)
        .map(|(item, renewed)| event_of(bench, item, RENEWED, renewed.fence(), renewed.deadline_ms()))
        .collect()
}

fn release_events(bench: &Bench, items: &[ReserveRequest], granted: &[ReserveOutcome]) -> Vec<ReservationEvent> {
    items.iter().zip(granted).map(|(item, granted)| event_of(bench, item, UNRESERVED, granted.fence(), None)).collect()
}

fn claims(items: &[ReserveRequest], granted: &[ReserveOutcome]) -> Vec<ReleaseRequest> {
    let each = items.iter().zip(granted);
    each.map(|(item, granted)| claim(&item.requester, &item.resource, &granted.token().unwrap_or_default())).collect()
}

fn renewals(items: &[ReserveRequest], granted: &[ReserveOutcome]) -> Vec<RenewRequest> {
    let each = claims(items, granted).into_iter().enumerate();
    each.map(|(number, claim)| RenewRequest { claim, ttl_ms: [90_000, 90_000, 7_200_000][number / 4 % 3] }).collect()
}

/// The events of the history after a position, without their times, and the position where it ends. Each must name the one before.
async fn events_after(bench: &Bench, mut from: i64) -> (Vec<ReservationEvent>, i64) {
    let mut all = Vec::new();
    for note in store_bench::history_after(&bench.store, &TenantHandle::new(bench.tenant.id.clone()), from, 1_000).await
    {
        let (previous, position) = note.positions().unwrap();
        assert!(previous == from && position > previous, "{previous} is before {position}, after {from}");
        from = position;
        assert_eq!(note.tenant, bench.tenant.id.as_str());
        let Payload::Reservation { event, .. } = note.payload else {
            panic!("{:?} is of no reservation", note.payload)
        };
        assert_eq!(event.id.as_deref(), Some(&*position.to_string()));
        assert!(event.timestamp > DateTime::UNIX_EPOCH);
        all.push(ReservationEvent { id: None, timestamp: DateTime::UNIX_EPOCH, ..*event });
    }
    (all, from)
}

#[tokio::test]
async fn each_item_of_a_batch_has_its_event_with_every_field() {
    let bench = Bench::start(Tier::Enterprise).await;
    let (items, begin) = (various("r"), bench.store.position(&bench.caller).await.unwrap().position);
    // Some items are refused between those that are granted.
    for item in items.iter().step_by(13) {
        bench.reserve_one("other", &item.resource, 600).await;
    }
    let (_, from) = events_after(&bench, begin).await;

    let granted = bench.reserve(&items).await;
    let (events, from) = events_after(&bench, from).await;
    assert_eq!(events, grant_events(&bench, &items, &granted));
    assert!((MANY - 10..MANY).contains(&events.len()));

    let acquired = items.into_iter().zip(granted).filter(|(_, granted)| granted.word() == "ACQUIRED");
    let (items, granted): (Vec<_>, Vec<_>) = acquired.unzip();
    let renewed = done(bench.store.renew(&bench.caller, &renewals(&items, &granted)).await);
    let (events, from) = events_after(&bench, from).await;
    assert_eq!(events, renewal_events(&bench, &items, &renewed));
    assert!(renewed.iter().all(|renewed| renewed.word() == "RENEWED"));

    let released = done(bench.store.unreserve(&bench.caller, &claims(&items, &granted)).await);
    let (events, _) = events_after(&bench, from).await;
    assert_eq!(events, release_events(&bench, &items, &granted));
    assert!(released.iter().all(|released| released.word() == "RELINQUISHED"));
}

#[tokio::test]
async fn each_call_that_shares_a_script_has_its_event_with_every_field() {
    let bench = Bench::start(Tier::Enterprise).await;
    let (store, caller) = (&bench.store, &bench.caller);
    let take = async |item: &ReserveRequest| done(store.reserve(caller, std::slice::from_ref(item)).await).remove(0);
    let (kept, returned, taken) = (various("kept"), various("returned"), various("taken"));
    let begin = store.position(caller).await.unwrap().position;
    let (granted_kept, granted_returned) =
        join(join_all(kept.iter().map(take)), join_all(returned.iter().map(take))).await;
    let (events, from) = events_after(&bench, begin).await;
    let expected = [grant_events(&bench, &kept, &granted_kept), grant_events(&bench, &returned, &granted_returned)];
    assert_eq!(in_order(events), in_order(expected.concat()));

    // Calls of all three kinds in turn, at the same time.
    let before = bench.redis.function_calls();
    let (renewals, claims) = (renewals(&kept, &granted_kept), claims(&returned, &granted_returned));
    let each = renewals.iter().zip(&claims).zip(&taken).map(async |((renewal, claim), item)| {
        let renew = async { done(store.renew(caller, std::slice::from_ref(renewal)).await).remove(0) };
        let release = async { done(store.unreserve(caller, std::slice::from_ref(claim)).await).remove(0) };
        join3(renew, release, take(item)).await
    });
    let (mut renewed, mut granted) = (Vec::new(), Vec::new());
    for (one_renewed, one_released, one_granted) in join_all(each).await {
        assert_eq!(one_released.word(), "RELINQUISHED");
        renewed.push(one_renewed);
        granted.push(one_granted);
    }
    assert!(bench.redis.function_calls() - before < MANY as u64, "most shared a script");
    let (events, _) = events_after(&bench, from).await;
    let expected = [
        renewal_events(&bench, &kept, &renewed),
        release_events(&bench, &returned, &granted_returned),
        grant_events(&bench, &taken, &granted),
    ];
    assert_eq!(in_order(events), in_order(expected.concat()));
}

/// Sorted by resource, since concurrent calls have no order.
fn in_order(mut events: Vec<ReservationEvent>) -> Vec<ReservationEvent> {
    events.sort_by(|a, b| a.resource.cmp(&b.resource));
    events
}
