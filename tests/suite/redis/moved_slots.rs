//! Slots of a cluster that change hands, by a reshard or by a fail-over: what goes by messages goes on coming.

use std::time::{Duration, Instant};

use holdfast::{
    domain::{names::TenantId, queue::job_id},
    store::{KeyKind, Partition, TenantHandle},
};
use serde_json::json;

use crate::{
    queues::push_connection::{PushConnection, job},
    redis::topologies::{cluster, node, tenant},
    support::{
        redis_server::Redis,
        sse::EventStream,
        world::{Client, Replica, TIMEOUT, Tenant, eventually, free_port},
    },
};

/// Moves the slot of a tenant from one primary to another, as `redis-cli --cluster reshard` does; `others` are all other primaries.
pub fn move_slot(tenant: &str, from: &Redis, (to, port): (&Redis, u16), others: &[&Redis]) {
    let meta = TenantHandle::new(TenantId::parse(tenant).unwrap()).key(KeyKind::Meta).to_string();
    let slot: i64 = to.ask(&format!("CLUSTER KEYSLOT {meta}"));
    let (old_id, new_id): (String, String) = (from.ask("CLUSTER MYID"), to.ask("CLUSTER MYID"));
    to.ask::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {old_id}"));
    from.ask::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {new_id}"));
    let keys: Vec<String> = from.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 1000"));
    let mut migrate = redis::cmd("MIGRATE");
    migrate.arg("127.0.0.1").arg(port).arg("").arg(0).arg(5000).arg("KEYS").arg(&keys);
    migrate.exec(&mut from.connection()).unwrap();
    for node in [to, from].iter().chain(others) {
        node.ask::<()>(&format!("CLUSTER SETSLOT {slot} NODE {new_id}"));
    }
}

/// The primary that has a tenant's slot, of three.
fn home(tenant: &Tenant) -> usize {
    Partition::of(&TenantId::parse(&tenant.id).unwrap()).number() * 3 / 128
}

fn port_of(node: &Redis) -> u16 {
    node.ask::<(String, String)>("CONFIG GET port").1.parse().unwrap()
}

/// How long what goes by one message may stay unnoticed where that message is lost, and what a busy machine adds.
const NOTICED_WITHIN: Duration = Duration::from_secs(2 + 3);

/// What a replica delivers of one tenant: events and refusals, changes of a queue, and the end of a key.
struct Watched<'a> {
    north: Client<'a>,
    south: Client<'a>,
    stream: EventStream,
    queues: PushConnection<'a>,
    queue_stream: EventStream,
    /// Id and text of a second key.
    key: (String, String),
    stream_of_key: EventStream,
}

impl<'a> Watched<'a> {
    /// Streams at the first replica; what happens is asked for at the second one.
    async fn start(replicas: &'a [Replica; 2], tenant: &'a Tenant) -> Self {
        let [north, south] = replicas.each_ref().map(|replica| Client { replica, key: &tenant.key });
        let made = south.post("/keys", json!({"label": "second"})).await;
        let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
        let key = (text("id"), text("apiKey"));
        let mut stream = north.events("").await;
        let mut stream_of_key = Client { replica: north.replica, key: &key.1 }.events("?types=RESET").await;
        stream.head().await;
        stream_of_key.head().await;
        let queues = PushConnection::create(south).await;
        let at_north = PushConnection { at: north, id: queues.id, ingest_key: String::new() };
        let queue_stream = at_north.stream("&types=job").await;
        let mut this = Self { north, south, stream, queues, queue_stream, key, stream_of_key };
        this.delivers("before").await;
        this
    }

    /// Asserts that everything comes: an event, the refusal that follows it, and a job.
    async fn delivers(&mut self, name: &str) {
        self.south.acquire("w", name, None).await;
        self.until_event("RESERVED", name).await;
        assert_eq!(self.south.reserve("other", name, None).await["status"], "ALREADY_HELD");
        self.until_event("RESERVE_FAILED", name).await;
        assert_eq!(self.queues.push(json!([job(name, "active", 1)])).await.status, 202);
        let wanted = job_id(self.queues.id, name).to_string();
        while self.queue_stream.event().await.1["id"] != wanted.as_str() {}
    }

    async fn until_event(&mut self, kind: &str, name: &str) {
        loop {
            let (found, event, _) = self.stream.event().await;
            if found == kind && event["resource"] == name {
                return;
            }
        }
    }

    /// Waits until refusals come again: published and never kept, they come only where the slot is subscribed now.
    async fn until_refusals(&mut self) {
        let begun = Instant::now();
        loop {
            assert_eq!(self.south.reserve("other", "before", None).await["status"], "ALREADY_HELD");
            let next = tokio::time::timeout(Duration::from_millis(500), self.until_event("RESERVE_FAILED", "before"));
            if next.await.is_ok() {
                return;
            }
            assert!(begun.elapsed() < TIMEOUT, "timeout: a refusal is delivered again");
        }
    }

    /// Revokes the second key; how long its stream lives on.
    async fn revoke(&mut self) -> Duration {
        assert_eq!(self.south.delete(&format!("/keys/{}", self.key.0)).await.status, 204);
        let begun = Instant::now();
        self.stream_of_key.rest().await;
        begun.elapsed()
    }
}

#[tokio::test]
async fn a_slot_that_moves_takes_the_subscription_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (nodes, url) = cluster(dir.path());
    let replicas = [(); 2].map(|()| Replica::start(&[("REDIS_URL", &url)]));
    for replica in &replicas {
        replica.ready().await;
    }
    let tenant = tenant(&replicas[0]).await;
    let mut watched = Watched::start(&replicas, &tenant).await;

    let home = home(&tenant);
    let (old, new) = (&nodes[home], &nodes[(home + 1) % 3]);
    move_slot(&tenant.id, old, (new, port_of(new)), &[&nodes[(home + 2) % 3]]);

    watched.until_refusals().await;
    let subscribed: Vec<String> = new.ask("PUBSUB SHARDCHANNELS *");
    assert!(!subscribed.is_empty(), "the new node has the subscription");
    watched.delivers("after").await;
    let took = watched.revoke().await;
    assert!(took < NOTICED_WITHIN, "{took:?}");
}

/// Adds a replica of one of the cluster's primaries, and waits until it follows.
fn add_replica(dir: &std::path::Path, primary: &Redis) -> Redis {
    let (port, bus) = (free_port(), free_port());
    let options = ["--cluster-enabled", "yes", "--cluster-port", &bus.to_string(), "--cluster-node-timeout", "2000"];
    let added = node(dir, port, &[&options[..], &["--repl-diskless-sync-delay", "0"]].concat());
    let id: String = primary.ask("CLUSTER MYID");
    primary.ask::<()>(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}"));
    eventually("it knows the primary", || added.ask::<String>("CLUSTER NODES").contains(&id));
    eventually("it becomes a replica", || {
        redis::cmd("CLUSTER").arg("REPLICATE").arg(&id).exec(&mut added.connection()).is_ok()
    });
    eventually("it follows", || added.info("replication", "master_link_status").as_deref() == Some("up"));
    let added_id: String = added.ask("CLUSTER MYID");
    eventually("the primary knows it as its replica", || {
        let known: String = primary.ask("CLUSTER NODES");
        known.lines().any(|line| line.starts_with(&added_id) && line.contains("slave"))
    });
    added
}

#[tokio::test]
async fn a_plain_fail_over_of_a_cluster_loses_no_message_for_longer_than_two_seconds() {
    // Given a tenant whose slot's primary has a replica in Redis, and a second tenant on the same one.
    let dir = tempfile::tempdir().unwrap();
    let (nodes, url) = cluster(dir.path());
    let replicas = [(); 2].map(|()| Replica::start(&[("REDIS_URL", &url)]));
    for replica in &replicas {
        replica.ready().await;
    }
    let first = tenant(&replicas[0]).await;
    let second = loop {
        let other = tenant(&replicas[0]).await;
        if home(&other) == home(&first) {
            break other;
        }
    };
    let successor = add_replica(dir.path(), &nodes[home(&first)]);
    let mut of_first = Watched::start(&replicas, &first).await;
    let mut of_second = Watched::start(&replicas, &second).await;

    // When an operator asks for the fail-over, and a key is revoked as soon as calls are served again.
    successor.ask::<()>("CLUSTER FAILOVER");
    eventually("it is the primary", || successor.info("replication", "role").as_deref() == Some("master"));
    of_second.south.serves().await;
    let took = of_second.revoke().await;

    // Then its stream ends, whether or not the message was lost; events, refusals and jobs come again.
    assert!(took < NOTICED_WITHIN, "{took:?}");
    of_first.until_refusals().await;
    let subscribed: Vec<String> = successor.ask("PUBSUB SHARDCHANNELS *");
    assert!(!subscribed.is_empty(), "the new primary has the subscription");
    for watched in [&mut of_first, &mut of_second] {
        watched.delivers("after").await;
        watched.north.serves().await;
    }
    let took = of_first.revoke().await;
    assert!(took < NOTICED_WITHIN, "{took:?}");
}
