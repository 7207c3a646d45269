//! Tickets that have ended: kept for ten minutes, then forgotten, with all that they had in Redis.

use holdfast::{
    domain::names::TenantId,
    store::{KeyKind, TenantHandle},
};
use serde_json::{Value, json};

use crate::support::world::{Client, Tenant, World};

/// Seconds for which an ended ticket is kept.
const KEPT_S: i64 = 600;

/// Makes all that has ended so much older, and has the next call look after it: as if that time had passed.
const AGE: &str = "local ms = ARGV[1] * 1000
    for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
        local ticket = { cmsgpack.unpack(redis.call('HGET', KEYS[2], id)) }
        if ticket[14] then
            ticket[3], ticket[4], ticket[14] = ticket[3] - ms, ticket[4] - ms, ticket[14] - ms
            redis.call('HSET', KEYS[2], id, cmsgpack.pack(unpack(ticket, 1, 16)))
        end
        redis.call('ZINCRBY', KEYS[1], -ms, id)
    end
    local reset = redis.call('HGET', KEYS[2], '\\0reset')
    if reset then
        local position, at = cmsgpack.unpack(reset)
        redis.call('HSET', KEYS[2], '\\0reset', cmsgpack.pack(position, at - ms))
    end
    local state = redis.call('HGET', KEYS[3], 'state')
    redis.call('HSET', KEYS[3], 'state', state:sub(1, 8) .. struct.pack('<d', redis.call('TIME')[1] * 1000 - 1) .. state:sub(17))";

struct Tickets<'a> {
    world: &'a World<1>,
    at: Client<'a>,
    keys: TenantHandle,
}

impl<'a> Tickets<'a> {
    fn of(world: &'a World<1>, tenant: &'a Tenant) -> Self {
        Self { world, at: world.at(tenant), keys: TenantHandle::new(TenantId::parse(&tenant.id).unwrap()) }
    }

    fn age(&self, seconds: i64) {
        let script = redis::Script::new(AGE);
        let mut call = script.arg(seconds);
        for kind in [KeyKind::TicketEnds, KeyKind::Tickets, KeyKind::Meta] {
            call.key(self.keys.key(kind).to_string());
        }
        call.invoke::<()>(&mut self.world.redis.connection()).unwrap();
    }

    async fn wait(&self, requester: &str) -> String {
        let item = json!([{"requester": requester, "resource": "r", "waitSeconds": 86_400, "keepAliveSeconds": 3_600}]);
        let answer = self.at.post("/Reservation/reserve", item).await;
        assert_eq!(answer.statuses(), ["WAITING"]);
        answer.body[0]["ticket"].as_str().unwrap().to_owned()
    }

    /// The status of a ticket; null where there is none.
    async fn status(&self, ticket: &str) -> Value {
        let answer = self.at.get(&format!("/Reservation/tickets/{ticket}")).await;
        if answer.status == 200 {
            return answer.body["status"].clone();
        }
        answer.fails(404, "NOT_FOUND");
        Value::Null
    }

    /// Asserts that nothing of tickets is left in Redis.
    fn are_forgotten(&self) {
        for kind in [KeyKind::Tickets, KeyKind::TicketEnds, KeyKind::Lines] {
            let key = self.keys.key(kind).to_string();
            assert!(!self.world.redis.ask::<bool>(&format!("EXISTS {key}")), "{key}");
        }
        let [.., waiting, tickets] = self.world.redis.tenant_state(&self.keys.key(KeyKind::Meta).to_string()).rest;
        assert_eq!((waiting, tickets), (0.0, 0.0), "counts of the state");
    }
}

#[tokio::test]
async fn an_ended_ticket_is_forgotten_after_ten_minutes() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let tickets = Tickets::of(&world, &tenant);
    let held = tickets.at.acquire("w0", "r", None).await;
    let (served, cancelled) = (tickets.wait("w1").await, tickets.wait("w2").await);
    tickets.at.delete(&format!("/Reservation/tickets/{cancelled}")).await;
    tickets.at.unreserve("w0", "r", &held["releaseToken"]).await;
    assert_eq!(tickets.status(&served).await, "ACQUIRED");

    // A lost answer can be asked for again for ten minutes.
    tickets.age(KEPT_S - 30);
    assert_eq!(tickets.status(&served).await, "ACQUIRED");
    assert_eq!(tickets.status(&cancelled).await, "CANCELLED");
    tickets.age(30);
    assert_eq!(tickets.status(&served).await, Value::Null);
    assert_eq!(tickets.status(&cancelled).await, Value::Null);
    tickets.are_forgotten();
    assert_eq!(tickets.at.listed().await, ["r"], "what it was served with is held on");
}

#[tokio::test]
async fn what_a_reset_has_cancelled_is_forgotten_likewise() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let tickets = Tickets::of(&world, &tenant);
    tickets.at.acquire("w0", "r", None).await;
    let (first, second) = (tickets.wait("w1").await, tickets.wait("w2").await);
    assert_eq!(tickets.at.post("/Reservation/reset", json!({})).await.status, 200);
    // Nobody looks at the second one before its wait would have ended.
    assert_eq!(tickets.status(&first).await, "CANCELLED");
    tickets.age(86_400);
    assert_eq!(tickets.status(&first).await, Value::Null);
    assert_eq!(tickets.status(&second).await, Value::Null);
    tickets.are_forgotten();
}
