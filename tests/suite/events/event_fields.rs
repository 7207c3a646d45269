//! What is told of batches and of calls that share a script: of each item the same as of one alone, in every field.

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
    script_bench,
    script_bench::{Bench, Parts, claim, done, names, wanted},
};

/// More than share a message, twice.
const MANY: usize = 90;

/// Things to take, each of which has something in common with the one before it, and not always the same.
fn various(what: &str) -> Vec<ReserveRequest> {
    let item = |(number, name): (usize, String)| ReserveRequest {
        resource: format!("{name}{}", " long".repeat([0, 0, 6, 60][number / 5 % 4])),
        resource_type: ["UserDefined", "Rig"][number / 11 % 2].into(),
        note: ["", "until lunch"][number / 13 % 2].into(),
        ..wanted(["ada", "grace"][number / 3 % 2], "", [60, 60, 0, 3_600][number / 7 % 4])
    };
    names(what, MANY).into_iter().enumerate().map(item).collect()
}

/// What is to be told of an item, but for the position and the moment.
fn told_of(
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
        ..ReservationEvent::bare(kind, bench.tenant.id.as_str(), DateTime::UNIX_EPOCH)
    }
}

const RESERVED: (EventType, Explanation, RequestType) =
    (EventType::Reserved, Explanation::Acquired, RequestType::Reserve);
const RENEWED: (EventType, Explanation, RequestType) = (EventType::Renewed, Explanation::Renewed, RequestType::Renew);
const UNRESERVED: (EventType, Explanation, RequestType) =
    (EventType::Unreserved, Explanation::Relinquished, RequestType::Unreserve);

fn told_of_grants(bench: &Bench, items: &[ReserveRequest], granted: &[ReserveOutcome]) -> Vec<ReservationEvent> {
    let acquired = items.iter().zip(granted).filter(|(_, granted)| granted.word() == "ACQUIRED");
    acquired.map(|(item, granted)| told_of(bench, item, RESERVED, granted.fence(), granted.deadline_ms())).collect()
}

fn told_of_renewals(bench: &Bench, items: &[ReserveRequest], renewed: &[RenewOutcome]) -> Vec<ReservationEvent> {
    items
        .iter()
        .zip(renewed)
        .map(|(item, renewed)| told_of(bench, item, RENEWED, renewed.fence(), renewed.deadline_ms()))
        .collect()
}

fn told_of_returns(bench: &Bench, items: &[ReserveRequest], granted: &[ReserveOutcome]) -> Vec<ReservationEvent> {
    items.iter().zip(granted).map(|(item, granted)| told_of(bench, item, UNRESERVED, granted.fence(), None)).collect()
}

fn claims(items: &[ReserveRequest], granted: &[ReserveOutcome]) -> Vec<ReleaseRequest> {
    let each = items.iter().zip(granted);
    each.map(|(item, granted)| claim(&item.requester, &item.resource, &granted.token().unwrap_or_default())).collect()
}

fn renewals(items: &[ReserveRequest], granted: &[ReserveOutcome]) -> Vec<RenewRequest> {
    let each = claims(items, granted).into_iter().enumerate();
    each.map(|(number, claim)| RenewRequest { claim, ttl_ms: [90_000, 90_000, 7_200_000][number / 4 % 3] }).collect()
}

/// What the history tells after a position, without the moment; each event names the one before it. And where it ends.
async fn told_after(bench: &Bench, mut from: i64) -> (Vec<ReservationEvent>, i64) {
    let mut all = Vec::new();
    for note in
        script_bench::history_after(&bench.store, &TenantHandle::new(bench.tenant.id.clone()), from, 1_000).await
    {
        let (previous, position) = note.positions().unwrap();
        assert!(previous == from && position > previous, "{previous} is before {position}, after {from}");
        from = position;
        assert_eq!(note.tenant, bench.tenant.id.as_str());
        let Payload::Reservation { event, .. } = note.message else {
            panic!("{:?} is of no reservation", note.message)
        };
        assert_eq!(event.id.as_deref(), Some(&*position.to_string()));
        assert!(event.timestamp > DateTime::UNIX_EPOCH);
        all.push(ReservationEvent { id: None, timestamp: DateTime::UNIX_EPOCH, ..*event });
    }
    (all, from)
}

#[tokio::test]
async fn of_each_item_of_a_batch_everything_is_told() {
    let bench = Bench::start(Tier::Enterprise).await;
    let (items, begin) = (various("r"), bench.store.position(&bench.caller).await.unwrap().position);
    // Some are refused between those that are granted.
    for item in items.iter().step_by(13) {
        bench.reserve_one("other", &item.resource, 600).await;
    }
    let (_, from) = told_after(&bench, begin).await;

    let granted = bench.reserve(&items).await;
    let (told, from) = told_after(&bench, from).await;
    assert_eq!(told, told_of_grants(&bench, &items, &granted));
    assert!((MANY - 10..MANY).contains(&told.len()));

    let acquired = items.into_iter().zip(granted).filter(|(_, granted)| granted.word() == "ACQUIRED");
    let (items, granted): (Vec<_>, Vec<_>) = acquired.unzip();
    let renewed = done(bench.store.renew(&bench.caller, &renewals(&items, &granted)).await);
    let (told, from) = told_after(&bench, from).await;
    assert_eq!(told, told_of_renewals(&bench, &items, &renewed));
    assert!(renewed.iter().all(|renewed| renewed.word() == "RENEWED"));

    let released = done(bench.store.unreserve(&bench.caller, &claims(&items, &granted)).await);
    let (told, _) = told_after(&bench, from).await;
    assert_eq!(told, told_of_returns(&bench, &items, &granted));
    assert!(released.iter().all(|released| released.word() == "RELINQUISHED"));
}

#[tokio::test]
async fn of_each_call_that_shares_a_script_everything_is_told() {
    let bench = Bench::start(Tier::Enterprise).await;
    let (store, caller) = (&bench.store, &bench.caller);
    let take = async |item: &ReserveRequest| done(store.reserve(caller, std::slice::from_ref(item)).await).remove(0);
    let (kept, returned, taken) = (various("kept"), various("returned"), various("taken"));
    let begin = store.position(caller).await.unwrap().position;
    let (granted_kept, granted_returned) =
        join(join_all(kept.iter().map(take)), join_all(returned.iter().map(take))).await;
    let (told, from) = told_after(&bench, begin).await;
    let expected = [told_of_grants(&bench, &kept, &granted_kept), told_of_grants(&bench, &returned, &granted_returned)];
    assert_eq!(in_order(told), in_order(expected.concat()));

    // Of all three kinds in turn, at one moment.
    let before = bench.redis.scripts();
    let (renewals, claims) = (renewals(&kept, &granted_kept), claims(&returned, &granted_returned));
    let each = renewals.iter().zip(&claims).zip(&taken).map(async |((renewal, claim), item)| {
        let renew = async { done(store.renew(caller, std::slice::from_ref(renewal)).await).remove(0) };
        let give_back = async { done(store.unreserve(caller, std::slice::from_ref(claim)).await).remove(0) };
        join3(renew, give_back, take(item)).await
    });
    let (mut renewed, mut granted) = (Vec::new(), Vec::new());
    for (one_renewed, one_released, one_granted) in join_all(each).await {
        assert_eq!(one_released.word(), "RELINQUISHED");
        renewed.push(one_renewed);
        granted.push(one_granted);
    }
    assert!(bench.redis.scripts() - before < MANY as u64, "most shared a script");
    let (told, _) = told_after(&bench, from).await;
    let expected = [
        told_of_renewals(&bench, &kept, &renewed),
        told_of_returns(&bench, &returned, &granted_returned),
        told_of_grants(&bench, &taken, &granted),
    ];
    assert_eq!(in_order(told), in_order(expected.concat()));
}

/// By resource: which of several calls comes first is open.
fn in_order(mut events: Vec<ReservationEvent>) -> Vec<ReservationEvent> {
    events.sort_by(|a, b| a.resource.cmp(&b.resource));
    events
}
