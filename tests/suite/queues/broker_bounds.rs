//! What a broker sends is bounded: great results are read in pieces, what fits nowhere is passed over as a gap, and a server that answers anything
//! costs its own watch only.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use serde_json::json;

use crate::{
    neighbours::frame::peak_memory_kib,
    support::{
        brokers::{Broker, Monitor, bullmq_connection, celery_connection, read_until},
        world::{Client, Replica, World, until},
    },
};

/// Most that a replica may take of memory, in MiB.
const MEMORY_MIB: u64 = 512;

fn peak_mib(replica: &Replica) -> u64 {
    peak_memory_kib(replica) >> 10
}

/// A server that speaks just enough of Redis to be watched, and answers every other command with `flood`, and then zeros without an end.
fn flooding_broker(flood: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer_commands(stream, flood));
        }
    });
    host
}

fn answer_commands(mut stream: TcpStream, flood: &[u8]) {
    let mut bytes = [0; 16 << 10];
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
        for command in text.split('*').filter(|command| command.contains('\n')) {
            let info = "# Server\r\nrun_id:0123456789\r\nmaster_replid:9876543210\r\n";
            let answer = match command.split("\r\n").nth(2) {
                Some("HELLO") => b"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n".to_vec(),
                Some("INFO") => format!("${}\r\n{info}\r\n", info.len()).into_bytes(),
                Some("PING") => b"+PONG\r\n".to_vec(),
                Some("SELECT" | "CLIENT") => b"+OK\r\n".to_vec(),
                Some(kind @ ("SUBSCRIBE" | "PSUBSCRIBE")) => {
                    let name = command.split("\r\n").nth(4).unwrap_or_default();
                    let kind = kind.to_lowercase();
                    format!(">3\r\n${}\r\n{kind}\r\n${}\r\n{name}\r\n:1\r\n", kind.len(), name.len()).into_bytes()
                }
                _ => {
                    let zeros = vec![b'0'; 1 << 20];
                    let _ = stream.write_all(flood);
                    // 1.5 GB, or until the other side has had enough.
                    let _ = (0..1_500).try_for_each(|_| stream.write_all(&zeros));
                    return;
                }
            };
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_broker_that_answers_without_an_end_costs_its_own_watch_alone() {
    let floods: [&'static [u8]; 3] = [b"$4000000000\r\n", b"*50000000\r\n", b"+"];
    let hosts = floods.map(flooding_broker);
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &hosts.join(","))]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    for host in &hosts {
        let made = at.post("/connections", celery_connection(&format!("redis://{host}/0"))).await;
        let monitor = Monitor { at, connection: made.body["id"].as_str().unwrap().to_owned() };
        until("it is refused for its size", || async { monitor.health().await["error"] == "too_large" }).await;
    }
    at.serves().await;
    assert!(peak_mib(&world.replicas[0]) < MEMORY_MIB, "{} MiB", peak_mib(&world.replicas[0]));
}

/// Adds an entry of BullMQ's event stream to a queue.
fn completed(broker: &Broker, queue: &str, job: u32, value: &str) {
    let mut connection = redis::Client::open(broker.url(0)).unwrap().get_connection().unwrap();
    let mut add = redis::cmd("XADD");
    add.arg(format!("bull:{queue}:events")).arg("*").arg("event").arg("completed").arg("jobId").arg(job);
    add.arg("prev").arg("active").arg("returnvalue").arg(value).exec(&mut connection).unwrap();
}

#[tokio::test]
async fn great_results_are_read_in_pieces_that_fit() {
    const QUEUES: u32 = 5;
    const JOBS: u32 = 20;
    let broker = Broker::with(&["--proto-max-bulk-len", "64mb"]);
    let value = format!("\"{}\"", "r".repeat(1 << 20));
    for job in 0..JOBS {
        for queue in 0..QUEUES {
            completed(&broker, &format!("q{queue}"), job, &value);
        }
    }
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let monitor = Monitor::watching(world.at(&tenant), bullmq_connection(&broker.url(0))).await;

    monitor.until_job("q0:0", "completed").await;
    let all = (QUEUES * JOBS) as usize;
    crate::support::world::until_within(4 * crate::support::world::TIMEOUT, "all of them are there", || async {
        monitor.jobs().await.len() == all
    })
    .await;
    assert!(monitor.jobs().await.values().all(|job| job["state"] == "completed"));
    assert_eq!(monitor.health().await["error"], json!(null));
    assert!(peak_mib(&world.replicas[0]) < MEMORY_MIB, "{} MiB", peak_mib(&world.replicas[0]));
}

#[tokio::test]
async fn an_entry_that_fits_nowhere_is_a_gap_and_what_follows_is_read() {
    let broker = Broker::start();
    completed(&broker, "mails", 1, "1");
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let monitor = Monitor::watching(world.at(&tenant), bullmq_connection(&broker.url(0))).await;
    monitor.until_job("mails:1", "completed").await;
    let mut stream = monitor.stream("").await;

    completed(&broker, "mails", 2, &"x".repeat(9 << 20));
    let received = read_until(&mut stream, "the gap is reported", |received| {
        received.iter().any(|(kind, data)| kind == "gap" && data["reason"] == "overflow")
    })
    .await;
    assert!(!received.is_empty());
    // What comes later than what was passed over.
    until("later entries are read", || async {
        completed(&broker, "mails", 3, "3");
        monitor.jobs().await.get("mails:3").is_some_and(|job| job["state"] == "completed")
    })
    .await;
    assert!(!monitor.jobs().await.contains_key("mails:2"));
    assert!(peak_mib(&world.replicas[0]) < MEMORY_MIB);
}

#[tokio::test]
async fn a_broker_of_one_tenant_is_watched_for_no_other() {
    let broker = Broker::start();
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let (owner, other) = (world.tenant().await, world.tenant().await);
    for tenant in [&owner, &other] {
        Monitor::watching(world.at(tenant), bullmq_connection(&broker.url(0))).await;
    }
    // Given connections that were made while everybody might, when the broker is one tenant's alone.
    let allowed = format!("{}={}", owner.id, broker.host());
    let url = world.redis.url();
    let replica = Replica::start(&[("REDIS_URL", &url), ("BROKER_HOSTS", &allowed)]);
    replica.ready().await;
    let World { replicas, redis: _redis, .. } = &world;
    replicas[0].signal("-KILL");
    let health = async |key: &str| {
        let at = Client { replica: &replica, key };
        at.get("/connections").await.body["connections"][0]["health"].clone()
    };
    until("the other's is refused", || async { health(&other.key).await["error"] == "not_allowed" }).await;
    until("the owner's is watched", || async {
        let health = health(&owner.key).await;
        health["error"].is_null() && !health["connectedSince"].is_null()
    })
    .await;
    let refused = Client { replica: &replica, key: &other.key };
    let answer = refused.post("/connections", bullmq_connection(&broker.url(0))).await;
    assert_eq!(answer.paths(), ["brokerUrl"]);
}
