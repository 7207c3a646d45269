//! Bounded caches: credentials and tenants that a replica evicted are served as before.

use holdfast::{domain::names::TenantId, store::TenantHandle};
use reqwest::Method;
use serde_json::json;

use crate::support::{
    tenant_state::TenantState,
    world::{Answer, Replica, Tenant, World, admin},
};

/// Size of the cache of credentials here, and number of tenants that call in turn.
const REMEMBERED: usize = 16;
const TENANTS: usize = 80;

async fn forgetful() -> World<1> {
    World::with(&[], &[("KNOWN_CREDENTIALS", &REMEMBERED.to_string())]).await
}

/// Number of cached credentials and tenants, by the metrics.
async fn known(replica: &Replica) -> [f64; 2] {
    let metrics = reqwest::get(format!("{}/metrics", replica.url)).await.unwrap().text().await.unwrap();
    let value = |name: &str| {
        metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap().parse().unwrap()
    };
    [value("holdfast_known_credentials"), value("holdfast_known_tenants")]
}

/// Has so many others call that whoever called before is forgotten: twice each in turn, for the memory keeps
/// those that come again.
async fn crowd(world: &World<1>) -> Vec<Tenant> {
    let mut crowd = Vec::new();
    for _ in 0..TENANTS {
        crowd.push(world.tenant().await);
    }
    come_again(world, &crowd).await;
    crowd
}

async fn come_again(world: &World<1>, crowd: &[Tenant]) {
    for tenant in crowd.iter().flat_map(|tenant| [tenant, tenant]) {
        assert_ne!(world.at(tenant).reserve("w", "r", None).await["status"], "ALREADY_HELD");
    }
}

/// How often Redis was asked whose a credential is.
fn look_ups(world: &World<1>) -> u64 {
    let stats = world.redis.info("commandstats", "cmdstat_get").unwrap_or_default();
    stats.split(',').find_map(|part| part.strip_prefix("calls=")).map_or(0, |calls| calls.parse().unwrap())
}

/// The key of a tenant's `meta`.
fn meta(tenant: &Tenant) -> String {
    TenantHandle::new(TenantId::parse(&tenant.id).unwrap()).key(holdfast::store::KeyKind::Meta).to_string()
}

#[tokio::test]
async fn more_tenants_than_a_replica_remembers_are_served_as_before() {
    let world = forgetful().await;
    let crowd = crowd(&world).await;
    let [credentials, tenants] = known(&world.replicas[0]).await;
    // Somewhat more than what was asked for is the memory's own rounding.
    assert!((1.0..=1.5 * REMEMBERED as f64).contains(&credentials), "{credentials} credentials of {TENANTS}");
    assert!((1.0..=3.0 * REMEMBERED as f64).contains(&tenants), "{tenants} tenants of {TENANTS}");

    for tenant in &crowd {
        let at = world.at(tenant);
        let again = at.post("/Reservation/reserve", json!([{"requester": "w", "resource": "r"}])).await;
        assert_eq!(again.statuses(), ["ALREADY_HAD"]);
        let fence = again.body[0]["fencingToken"].as_i64().unwrap();
        assert_eq!(
            again.number("holdfast-position"),
            fence,
            "nothing happened since: what others did is not this tenant's"
        );
        let next = at.acquire("w", "other", None).await["fencingToken"].as_i64().unwrap();
        assert!(next > fence, "{next} after {fence}");
    }
    let [credentials, tenants] = known(&world.replicas[0]).await;
    assert!(
        credentials <= 1.5 * REMEMBERED as f64 && tenants <= 3.0 * REMEMBERED as f64,
        "{credentials} credentials, {tenants} tenants"
    );

    // A revoked key is refused whether it was evicted or not.
    let ended = &crowd[0];
    assert_eq!(admin(&world.replicas[0], Method::DELETE, &format!("/{}", ended.id), None).await.status, 204);
    for _ in 0..2 {
        world.at(ended).get("/Reservation").await.fails(401, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn being_forgotten_gives_nobody_a_new_burst() {
    let world = forgetful().await;
    let free = world.tenant_of("Free").await;
    let others = crowd(&world).await;
    let began = std::time::Instant::now();
    let (mut admitted, mut forgotten) = (0, 0);
    for _ in 0..3 {
        let before = look_ups(&world);
        for _ in 0..20 {
            let answer: Answer = world.at(&free).get("/Reservation/check/r").await;
            assert!(answer.status == 200 || answer.status == 429, "{answer:?}");
            admitted += i32::from(answer.status == 200);
        }
        forgotten += look_ups(&world) - before;
        come_again(&world, &others).await;
    }
    assert!(forgotten >= 2, "only what was forgotten tells anything: {forgotten} times");
    // 20 at once and 10 per second, as if it had been remembered; a call more for what is rounded.
    let most = 20.0 + 10.0 * began.elapsed().as_secs_f64() + 1.0;
    assert!(f64::from(admitted) <= most, "{admitted} admitted, at most {most}");
    assert!(admitted >= 20, "{admitted}");
}

#[tokio::test]
async fn positions_grow_also_where_the_clock_does_not_and_the_tenant_was_forgotten() {
    let world = forgetful().await;
    let tenant = world.tenant().await;
    // A position that is ahead of Redis' clock, as after that was set back.
    let before = world.redis.tenant_state(&meta(&tenant));
    let ahead = before.position + 3_600_000_000;
    world.redis.set_tenant_state(&meta(&tenant), &TenantState { position: ahead, ..before.clone() });
    let fence = world.at(&tenant).acquire("w", "a", None).await["fencingToken"].as_i64().unwrap();
    assert!(fence > ahead);

    // The tenant is forgotten, and then Redis loses what it had of it.
    crowd(&world).await;
    world.redis.set_tenant_state(&meta(&tenant), &TenantState { held: 1, ..before });

    let known = look_ups(&world);
    let after = world.at(&tenant).acquire("w", "b", None).await["fencingToken"].as_i64().unwrap();
    assert!(after > fence, "{after} after {fence}");
    assert!(look_ups(&world) > known, "it was forgotten");
}
