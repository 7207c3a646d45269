//! Redis topologies: Sentinel with a fail-over, and a Cluster of three nodes.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use holdfast::{domain::names::TenantId, store::Partition};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::support::{
    redis_server::Redis,
    sse::EventStream,
    world::{Client, Replica, Tenant, admin, bound_to_test, call, eventually, free_port, until},
};

/// A redis-server on a port of its own.
pub fn node(dir: &Path, port: u16, options: &[&str]) -> Redis {
    let (port, dir) = (port.to_string(), dir.join(port.to_string()));
    let all: Vec<_> = ["--port", &port, "--bind", "127.0.0.1"].into_iter().chain(options.iter().copied()).collect();
    Redis::start(&dir, &all)
}

/// A sentinel that monitors the primary at a port under the name `house`.
pub(super) struct Sentinel {
    child: Child,
    pub(super) port: u16,
}

impl Sentinel {
    fn start(dir: &Path, primary: u16) -> Self {
        Self::start_with(dir, primary, "bind 127.0.0.1\n")
    }

    /// Starts one with further lines in its configuration.
    pub(super) fn start_with(dir: &Path, primary: u16, lines: &str) -> Self {
        let port = free_port();
        let file = dir.join(format!("sentinel-{port}.conf"));
        let text = format!(
            "port {port}\n{lines}dir {}\nsentinel monitor house 127.0.0.1 {primary} 2\nsentinel down-after-milliseconds house 1000\n\
             sentinel failover-timeout house 5000\n",
            dir.display()
        );
        std::fs::write(&file, text).unwrap();
        let child = bound_to_test("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .expect("a sentinel starts");
        eventually("the sentinel answers", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port }
    }

    /// One field of its view of the primary.
    fn primary(&self, field: &str) -> Option<String> {
        let mut connection =
            redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap().get_connection().ok()?;
        let known: BTreeMap<String, String> =
            redis::cmd("SENTINEL").arg("MASTER").arg("house").query(&mut connection).ok()?;
        known.get(field).cloned()
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub async fn tenant(replica: &Replica) -> Tenant {
    let made = admin(replica, Method::POST, "", Some(json!({"name": "test", "tier": "Pro"}))).await;
    assert_eq!(made.status, 201, "{made:?}");
    Tenant { id: made.body["tenantId"].as_str().unwrap().into(), key: made.body["apiKey"].as_str().unwrap().into() }
}

/// A Redis primary with a replica, three sentinels, and two replicas of Holdfast.
pub struct SentinelSetup {
    pub replicas: [Replica; 2],
    pub first: Redis,
    pub second: Redis,
    _sentinels: Vec<Sentinel>,
    _dir: tempfile::TempDir,
}

impl SentinelSetup {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (first_port, second_port) = (free_port(), free_port());
        let first = node(dir.path(), first_port, &["--repl-diskless-sync-delay", "0"]);
        let second = node(
            dir.path(),
            second_port,
            &["--replicaof", "127.0.0.1", &first_port.to_string(), "--repl-diskless-sync-delay", "0"],
        );
        eventually("the replica follows", || second.info("replication", "master_link_status").as_deref() == Some("up"));
        let sentinels: Vec<_> = (0..3).map(|_| Sentinel::start(dir.path(), first_port)).collect();
        for sentinel in &sentinels {
            let knows = |what: &str, number: &str| sentinel.primary(what).as_deref() == Some(number);
            eventually("the sentinels know all", || knows("num-slaves", "1") && knows("num-other-sentinels", "2"));
        }
        let hosts: Vec<_> = sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        let url = format!("redis+sentinel://{}/house", hosts.join(","));
        let replicas = [(); 2].map(|()| Replica::start(&[("REDIS_URL", &url)]));
        for replica in &replicas {
            replica.ready().await;
        }
        Self { replicas, first, second, _sentinels: sentinels, _dir: dir }
    }

    /// Waits until the Redis replica has caught up with the primary.
    pub fn catch_up(&self) {
        eventually("the replica has it", || {
            let offset = self.first.info("replication", "master_repl_offset");
            offset.is_some() && self.second.info("replication", "slave_repl_offset") == offset
        });
    }

    /// Kills the primary, and waits until the Redis replica is promoted.
    pub fn fail_over(&mut self) {
        self.first.kill();
        eventually("the other is promoted", || self.second.info("replication", "role").as_deref() == Some("master"));
    }
}

/// A TCP proxy to a port, on which everything takes its time, each way.
pub(super) struct FarAway {
    pub(super) port: u16,
    accepting: tokio::task::JoinHandle<()>,
}

impl FarAway {
    pub(super) async fn start(port: u16, each_way: Duration) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // As long as TCP's own handshake takes.
                    tokio::time::sleep(2 * each_way).await;
                    let far = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let (near, far) = (near.into_split(), far.into_split());
                    tokio::join!(carry(near.0, far.1, each_way), carry(far.0, near.1, each_way));
                });
            }
        });
        Self { port: own_port, accepting }
    }
}

impl Drop for FarAway {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Carries bytes on, each piece `delay` after it came.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: Duration) {
    let (pieces, mut coming) = tokio::sync::mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    let reading = async move {
        let mut piece = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            let _ = pieces.send((tokio::time::Instant::now() + delay, piece[..read].to_vec()));
        }
    };
    let writing = async move {
        while let Some((at, piece)) = coming.recv().await {
            tokio::time::sleep_until(at).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}

#[tokio::test]
async fn with_sentinel_it_follows_the_primary() {
    let mut setup = SentinelSetup::start().await;
    let tenant = tenant(&setup.replicas[0]).await;
    let held = Client { replica: &setup.replicas[0], key: &tenant.key }.acquire("w", "printer", Some(600)).await;
    setup.catch_up();

    setup.fail_over();

    // Then the replicas follow by themselves: they grant, reservations are still held, positions keep growing.
    let [north, south] = setup.replicas.each_ref().map(|replica| Client { replica, key: &tenant.key });
    for at in [north, south] {
        let item = json!([{"requester": "w", "resource": at.replica.url}]);
        until("granting works again", || async { at.post("/Reservation/reserve", item.clone()).await.status == 200 })
            .await;
        at.serves().await;
    }
    let again = north.reserve("w", "printer", None).await;
    assert_eq!((&again["status"], &again["releaseToken"]), (&json!("ALREADY_HAD"), &held["releaseToken"]));
    assert!(north.acquire("w", "later", None).await["fencingToken"].as_i64() > held["fencingToken"].as_i64());
    let mut events = south.events("?types=RESERVED,RESERVATION_EXPIRED").await;
    events.head().await;
    north.acquire("w", "short", Some(1)).await;
    assert_eq!(events.expect("RESERVED").await["resource"], "short");
    assert_eq!(events.expect("RESERVATION_EXPIRED").await["resource"], "short");
}

/// The next position on a stream: `Ok` of an event, `Err` of a `RESET_CURSOR`, after which earlier events may be missing.
async fn next_position(stream: &mut EventStream) -> Result<i64, i64> {
    let (kind, data, id) = stream.event().await;
    let position = id.parse().unwrap();
    if kind == "RESET_CURSOR" {
        assert_eq!(data["asOf"], position, "{data}");
        return Err(position);
    }
    Ok(position)
}

#[tokio::test]
async fn a_fail_over_loses_no_event_without_a_reset_and_doubles_none() {
    // Given a stream on each replica, and a client that reserves as fast as it can.
    let mut setup = SentinelSetup::start().await;
    let tenant = tenant(&setup.replicas[0]).await;
    let mut streams = Vec::new();
    for replica in &setup.replicas {
        let mut stream = Client { replica, key: &tenant.key }.events("").await;
        stream.head().await;
        streams.push(stream);
    }
    let mut received = Vec::new();
    let (url, key) = (format!("{}/api/v1/Reservation/reserve", setup.replicas[0].url), tenant.key.clone());
    let stop = CancellationToken::new();
    let reserving = tokio::spawn({
        let stop = stop.clone();
        async move {
            let mut fences = Vec::new();
            for number in 0.. {
                if stop.is_cancelled() {
                    break;
                }
                let item = json!([{"requester": "w", "resource": format!("r{number}")}]);
                let answer = call(Method::POST, &url, Some(&key), Some(item)).await;
                // Only a grant that was answered is promised to be published.
                fences.extend((answer.status == 200).then(|| answer.body[0]["fencingToken"].as_i64()).flatten());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            fences
        }
    });
    for stream in &mut streams {
        for _ in 0..50 {
            received.push(next_position(stream).await.expect("no reset before the fail-over"));
        }
    }

    // When the primary is killed meanwhile, and the other one takes over.
    setup = tokio::task::spawn_blocking(move || {
        setup.fail_over();
        setup
    })
    .await
    .unwrap();
    let [north, south] = setup.replicas.each_ref().map(|replica| Client { replica, key: &tenant.key });
    for at in [north, south] {
        let item = json!([{"requester": "w", "resource": at.replica.url}]);
        until("granting works again", || async { at.post("/Reservation/reserve", item.clone()).await.status == 200 })
            .await;
    }
    stop.cancel();
    let fences = reserving.await.unwrap();
    north.serves().await;
    let last = north.acquire("w", "the last one", None).await["fencingToken"].as_i64().unwrap();

    // Then each stream has every grant once and in order, except those before a reset.
    for (number, stream) in streams.iter_mut().enumerate() {
        let (mut positions, mut excused) = (received[number * 50..][..50].to_vec(), 0);
        while positions.last() != Some(&last) {
            match next_position(stream).await {
                Ok(position) => {
                    assert!(positions.last().is_none_or(|before| position > *before), "{position} after {positions:?}");
                    positions.push(position);
                }
                Err(as_of) => excused = as_of,
            }
        }
        let lost: Vec<_> = fences.iter().filter(|fence| **fence > excused && !positions.contains(fence)).collect();
        assert!(lost.is_empty(), "{lost:?} of {} are lost without a reset; asOf {excused}", fences.len());
    }
}

/// A cluster of three primaries, created by redis-cli.
pub fn cluster(dir: &Path) -> (Vec<Redis>, String) {
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let nodes: Vec<_> = ports
        .iter()
        .map(|port| {
            node(
                dir,
                *port,
                &[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &free_port().to_string(),
                    "--cluster-node-timeout",
                    "2000",
                ],
            )
        })
        .collect();
    let hosts: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let made = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&hosts)
        .args(["--cluster-yes"])
        .output()
        .expect("redis-cli is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    for node in &nodes {
        eventually("the cluster is whole", || node.ask::<String>("CLUSTER INFO").contains("cluster_state:ok"));
    }
    (nodes, format!("redis+cluster://{}", hosts.join(",")))
}

#[tokio::test]
async fn on_a_cluster_tenants_live_on_all_nodes_and_each_works_whole() {
    // Given three nodes, two replicas of Holdfast, and a tenant on each node.
    let dir = tempfile::tempdir().unwrap();
    let (nodes, url) = cluster(dir.path());
    let replicas = [(); 2].map(|()| Replica::start(&[("REDIS_URL", &url)]));
    for replica in &replicas {
        replica.ready().await;
    }
    let mut tenants = BTreeMap::new();
    while tenants.len() < 3 {
        let tenant = tenant(&replicas[0]).await;
        let partition = Partition::of(&TenantId::parse(&tenant.id).unwrap());
        tenants.entry(partition.number() * 3 / 128).or_insert(tenant);
    }

    for tenant in tenants.values() {
        let [north, south] = replicas.each_ref().map(|replica| Client { replica, key: &tenant.key });
        let mut streams = [north.events("").await, south.events("").await];
        for stream in &mut streams {
            stream.head().await;
        }

        // When it is used in every way, on either replica.
        let held = north.acquire("w", "printer", Some(600)).await;
        assert_eq!(south.reserve("w", "printer", None).await["releaseToken"], held["releaseToken"]);
        assert_eq!(south.reserve("other", "printer", None).await["status"], "ALREADY_HELD");
        assert_eq!(south.renew("w", "printer", &held["releaseToken"], 900).await.statuses(), ["RENEWED"]);
        assert_eq!(north.listed().await, ["printer"]);
        assert_eq!(north.unreserve("w", "printer", &held["releaseToken"]).await.statuses(), ["RELINQUISHED"]);
        south.acquire("w", "short", Some(1)).await;

        // Then both replicas deliver every event, the expiry too.
        for stream in &mut streams {
            for wanted in
                ["RESERVED", "RESERVE_FAILED", "RENEWED", "UNRESERVED", "RESERVED", "RESERVATION_EXPIRED", "UNRESERVED"]
            {
                stream.expect(wanted).await;
            }
        }
        let made = north.post("/keys", json!({"label": "second"})).await;
        let second = Client { replica: south.replica, key: made.body["apiKey"].as_str().unwrap() };
        second.acquire("w", "by the second key", None).await;
        let mut ends = second.events("").await;
        ends.head().await;
        assert_eq!(north.delete(&format!("/keys/{}", made.body["id"].as_str().unwrap())).await.status, 204);
        second.get("/Reservation").await.fails(401, "UNAUTHORIZED");
        ends.rest().await;
        assert_eq!(north.post("/Reservation/reset", Value::Null).await.body, json!({"released": 1}));
    }

    // And all three nodes hold data.
    for node in &nodes {
        let keys: Vec<String> = node.ask("KEYS *:meta");
        assert!(!keys.is_empty());
    }
    for tenant in tenants.values() {
        assert_eq!(admin(&replicas[1], Method::DELETE, &format!("/{}", tenant.id), None).await.status, 204);
    }
}

#[tokio::test]
async fn a_cluster_that_lost_a_node_refuses_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let (mut nodes, url) = cluster(dir.path());
    let replica = Replica::start(&[("REDIS_URL", &url)]);
    replica.ready().await;
    let tenant = tenant(&replica).await;
    let at = Client { replica: &replica, key: &tenant.key };
    at.acquire("w", "before", None).await;
    let home = Partition::of(&TenantId::parse(&tenant.id).unwrap()).number() * 3 / 128;
    let item = |name: &str| json!([{"requester": "w", "resource": name}]);

    // The tenant's own node stops, and comes back.
    nodes[home].signal("-STOP");
    until("it is refused, or its outcome is unknown", || async {
        [503, 504].contains(&at.post("/Reservation/reserve", item("x")).await.status.as_u16())
    })
    .await;
    nodes[home].signal("-CONT");
    until("it heals", || async { at.post("/Reservation/reserve", item("after a pause")).await.status == 200 }).await;

    // Another node is lost: the cluster is down as a whole, and calls are refused.
    let other = (home + 1) % 3;
    nodes[other].kill();
    until("it is refused", || async { at.post("/Reservation/reserve", item("y")).await.status == 503 }).await;
    nodes[other].restart();
    until("it heals", || async { at.post("/Reservation/reserve", item("after a loss")).await.status == 200 }).await;
    at.serves().await;
    let names = at.listed().await;
    assert!(
        ["before", "after a pause", "after a loss"].iter().all(|name| names.contains(&(*name).to_owned())),
        "{names:?}"
    );
    let mut events = at.events("").await;
    events.head().await;
    at.acquire("w", "published", None).await;
    assert_eq!(events.expect("RESERVED").await["resource"], "published");
}
