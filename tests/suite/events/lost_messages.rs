//! Messages of what is in no history, refusals and changes of queues, that are lost on their way: the streams get to know it, within 2 s.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    queues::push_connection::{PushConnection, job},
    support::{
        silent_proxy::SilentProxy,
        sse::EventStream,
        world::{Client, TIMEOUT, World},
    },
};

/// How long a lost message may stay unnoticed, and what a busy machine adds.
const NOTICED_WITHIN: Duration = Duration::from_secs(2 + 3);

/// The next event of a type; those before it are of the other types that may come, and are dropped.
async fn until(stream: &mut EventStream, wanted: &str, others: &[&str]) -> Value {
    loop {
        let (kind, data, _) = stream.event().await;
        if kind == wanted {
            return data;
        }
        assert!(others.contains(&kind.as_str()), "{kind}: {data}");
    }
}

#[tokio::test]
async fn what_is_lost_is_reported_though_nothing_follows_and_the_second_time_the_subscription_is_made_anew() {
    // Given a replica whose connections to Redis can be made silent, with a stream of events and one of a connection's jobs.
    let world = World::<1>::start().await;
    let (proxy, replica) = SilentProxy::with_replica(&world).await;
    let tenant = world.tenant().await;
    let (here, elsewhere) = (Client { replica: &replica, key: &tenant.key }, world.at(&tenant));
    let pushed = PushConnection::create(elsewhere).await;
    let jobs_here = PushConnection { at: here, id: pushed.id, ingest_key: String::new() };
    let mut stream = here.events("").await;
    let first = stream.head().await;
    let mut jobs = jobs_here.stream("&types=job").await;
    elsewhere.acquire("w", "printer", None).await;
    stream.expect("RESERVED").await;

    // When the message of a refusal is lost, and nothing else happens.
    proxy.silence();
    let begun = Instant::now();
    assert_eq!(elsewhere.reserve("other", "printer", None).await["status"], "ALREADY_HELD");
    let (kind, reset, id) = stream.event().await;
    let took = begun.elapsed();

    // Then both streams get to know it, for it may have been of either; the stream goes on from where it was.
    assert!(proxy.has_swallowed() && took < NOTICED_WITHIN, "it was reported after {took:?}");
    assert_eq!((kind.as_str(), &reset["reason"]), ("RESET_CURSOR", &json!("lost")));
    let id = id.parse::<i64>().unwrap();
    assert!(id > first && reset["asOf"] == id, "{reset} {id}");
    assert_eq!(until(&mut jobs, "gap", &["heartbeat"]).await["reason"], "interrupted");

    // When the change of a job is lost, too.
    let begun = Instant::now();
    assert_eq!(pushed.push(json!([job("one", "active", 1)])).await.status, 202);
    assert_eq!(until(&mut jobs, "gap", &["heartbeat"]).await["reason"], "interrupted");
    let took = begun.elapsed();
    assert!(took < NOTICED_WITHIN, "it was reported after {took:?}");

    // Then the subscription is another one, over which everything comes.
    let begun = Instant::now();
    loop {
        assert_eq!(elsewhere.reserve("other", "printer", None).await["status"], "ALREADY_HELD");
        let coming = until(&mut stream, "RESERVE_FAILED", &["RESET_CURSOR"]);
        if tokio::time::timeout(Duration::from_millis(500), coming).await.is_ok() {
            break;
        }
        assert!(begun.elapsed() < TIMEOUT, "timeout: refusals come again");
    }
    assert!(replica.log().contains("subscribing anew"), "{}", replica.log());
}

#[tokio::test]
async fn a_refusal_while_the_subscription_is_away_is_delivered_or_reported_as_lost() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    let mut stream = north.events("").await;
    stream.head().await;
    south.acquire("w", "printer", None).await;
    stream.expect("RESERVED").await;

    // A replica is away for 0.1 s at least, and a refusal takes some ms: on a busy machine it may come too late to be lost.
    for _ in 0..20 {
        let killed: i64 = world.redis.ask("CLIENT KILL TYPE pubsub");
        assert!(killed >= 1, "the replicas subscribe");
        let begun = Instant::now();
        assert_eq!(south.reserve("other", "printer", None).await["status"], "ALREADY_HELD");
        let (kind, event, _) = stream.event().await;
        let took = begun.elapsed();
        assert!(took < NOTICED_WITHIN, "{kind} came after {took:?}");
        if kind == "RESET_CURSOR" {
            assert_eq!(event["reason"], "lost");
            // Nothing is missing of what comes next.
            assert_eq!(south.reserve("other", "printer", None).await["status"], "ALREADY_HELD");
            stream.expect("RESERVE_FAILED").await;
            return;
        }
        assert_eq!(kind, "RESERVE_FAILED", "{event}");
    }
    panic!("no refusal was lost");
}

#[tokio::test]
async fn nothing_is_reported_where_everything_arrives() {
    // Refusals at two replicas all the time, over several comparisons with what Redis counts.
    let world = World::<2>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    let mut stream = north.events("").await;
    stream.head().await;
    south.acquire("w", "printer", None).await;
    stream.expect("RESERVED").await;
    let begun = Instant::now();
    let refuse = async |at: Client<'_>| {
        let mut refused = 0;
        while begun.elapsed() < Duration::from_secs(5) {
            assert_eq!(at.reserve("other", "printer", None).await["status"], "ALREADY_HELD");
            refused += 1;
        }
        refused
    };
    let (one, other) = tokio::join!(refuse(north), refuse(south));
    for _ in 0..one + other {
        stream.expect("RESERVE_FAILED").await;
    }
}
