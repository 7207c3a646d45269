//! Redis as people run it when one server is not enough: Sentinel, and a Cluster of three.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use holdfast::{domain::names::TenantId, store::Partition};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{
    redis_server::Redis,
    sse::EventStream,
    world::{Client, Replica, Tenant, admin, call, eventually, free_port, until, with_us},
};

/// A redis-server on a port of its own.
fn node(dir: &Path, port: u16, options: &[&str]) -> Redis {
    let (port, dir) = (port.to_string(), dir.join(port.to_string()));
    let all: Vec<_> = ["--port", &port, "--bind", "127.0.0.1"].into_iter().chain(options.iter().copied()).collect();
    Redis::start(&dir, &all)
}

/// A sentinel that watches the primary at a port under the name `house`.
struct Sentinel {
    child: Child,
    port: u16,
}

impl Sentinel {
    fn start(dir: &Path, primary: u16) -> Self {
        let port = free_port();
        let file = dir.join(format!("sentinel-{port}.conf"));
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor house 127.0.0.1 {primary} 2\nsentinel down-after-milliseconds house 1000\n\
             sentinel failover-timeout house 5000\n",
            dir.display()
        );
        std::fs::write(&file, text).unwrap();
        let child = with_us("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .expect("a sentinel starts");
        eventually("the sentinel answers", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port }
    }

    /// What it knows of the primary.
    fn knows(&self, what: &str) -> Option<String> {
        let mut connection =
            redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap().get_connection().ok()?;
        let known: BTreeMap<String, String> =
            redis::cmd("SENTINEL").arg("MASTER").arg("house").query(&mut connection).ok()?;
        known.get(what).cloned()
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn tenant(replica: &Replica) -> Tenant {
    let made = admin(replica, Method::POST, "", Some(json!({"name": "test", "tier": "Pro"}))).await;
    assert_eq!(made.status, 201, "{made:?}");
    Tenant { id: made.body["tenantId"].as_str().unwrap().into(), key: made.body["apiKey"].as_str().unwrap().into() }
}

/// A primary with a replica, three sentinels that watch them, and two of ours.
struct Watched {
    ours: [Replica; 2],
    first: Redis,
    second: Redis,
    _sentinels: Vec<Sentinel>,
    _dir: tempfile::TempDir,
}

impl Watched {
    async fn start() -> Self {
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
            let knows = |what: &str, number: &str| sentinel.knows(what).as_deref() == Some(number);
            eventually("the sentinels know all", || knows("num-slaves", "1") && knows("num-other-sentinels", "2"));
        }
        let hosts: Vec<_> = sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        let url = format!("redis+sentinel://{}/house", hosts.join(","));
        let ours = [(); 2].map(|()| Replica::start(&[("REDIS_URL", &url)]));
        for replica in &ours {
            replica.ready().await;
        }
        Self { ours, first, second, _sentinels: sentinels, _dir: dir }
    }

    /// Waits until the replica has everything that the primary has.
    fn in_step(&self) {
        eventually("the replica has it", || {
            let offset = self.first.info("replication", "master_repl_offset");
            offset.is_some() && self.second.info("replication", "slave_repl_offset") == offset
        });
    }

    /// Kills the primary, and waits until the other one is promoted.
    fn fail_over(&mut self) {
        self.first.kill();
        eventually("the other is promoted", || self.second.info("replication", "role").as_deref() == Some("master"));
    }
}

#[tokio::test]
async fn with_sentinel_it_follows_the_primary() {
    let mut house = Watched::start().await;
    let tenant = tenant(&house.ours[0]).await;
    let held = Client { replica: &house.ours[0], key: &tenant.key }.acquire("w", "printer", Some(600)).await;
    house.in_step();

    house.fail_over();

    // Then ours follow by themselves: they grant, they know what was held, and positions go on growing.
    let [north, south] = house.ours.each_ref().map(|replica| Client { replica, key: &tenant.key });
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
    north.acquire("w", "told", Some(1)).await;
    assert_eq!(events.expect("RESERVED").await["resource"], "told");
    assert_eq!(events.expect("RESERVATION_EXPIRED").await["resource"], "told");
}

/// What a stream tells of positions: `Ok` of an event, `Err` where it says that something before is lost and where it goes on.
async fn told(stream: &mut EventStream) -> Result<i64, i64> {
    let (kind, data, id) = stream.event().await;
    let position = id.parse().unwrap();
    if kind == "RESET_CURSOR" {
        assert_eq!(data["asOf"], position, "{data}");
        return Err(position);
    }
    Ok(position)
}

#[tokio::test]
async fn a_fail_over_under_streams_loses_nothing_untold_and_doubles_nothing() {
    // Given a stream on each of ours, and somebody who reserves as fast as it goes.
    let mut house = Watched::start().await;
    let tenant = tenant(&house.ours[0]).await;
    let mut streams = Vec::new();
    for replica in &house.ours {
        let mut stream = Client { replica, key: &tenant.key }.events("").await;
        stream.head().await;
        streams.push(stream);
    }
    let mut granted = Vec::new();
    let (url, key) = (format!("{}/api/v1/Reservation/reserve", house.ours[0].url), tenant.key.clone());
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
                // Refused, or nobody knows: only what was granted is promised to be told.
                fences.extend((answer.status == 200).then(|| answer.body[0]["fencingToken"].as_i64()).flatten());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            fences
        }
    });
    for stream in &mut streams {
        for _ in 0..50 {
            granted.push(told(stream).await.expect("nothing is lost yet"));
        }
    }

    // When the primary is killed in the midst of it, and the other one takes over.
    house = tokio::task::spawn_blocking(move || {
        house.fail_over();
        house
    })
    .await
    .unwrap();
    let [north, south] = house.ours.each_ref().map(|replica| Client { replica, key: &tenant.key });
    for at in [north, south] {
        let item = json!([{"requester": "w", "resource": at.replica.url}]);
        until("granting works again", || async { at.post("/Reservation/reserve", item.clone()).await.status == 200 })
            .await;
    }
    stop.cancel();
    let fences = reserving.await.unwrap();
    north.serves().await;
    let last = north.acquire("w", "the last one", None).await["fencingToken"].as_i64().unwrap();

    // Then each stream tells every grant once and in order, but for those before a word that something is lost.
    for (number, stream) in streams.iter_mut().enumerate() {
        let (mut heard, mut excused) = (granted[number * 50..][..50].to_vec(), 0);
        while heard.last() != Some(&last) {
            match told(stream).await {
                Ok(position) => {
                    assert!(heard.last().is_none_or(|before| position > *before), "{position} after {heard:?}");
                    heard.push(position);
                }
                Err(as_of) => excused = as_of,
            }
        }
        let lost: Vec<_> = fences.iter().filter(|fence| **fence > excused && !heard.contains(fence)).collect();
        assert!(lost.is_empty(), "{lost:?} of {} are lost without a word; asOf {excused}", fences.len());
    }
}

/// Three primaries that share the slots, made the way the manual says.
fn cluster(dir: &Path) -> (Vec<Redis>, String) {
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
    // Given three nodes, two of ours, and a tenant on each of the nodes.
    let dir = tempfile::tempdir().unwrap();
    let (nodes, url) = cluster(dir.path());
    let ours = [(); 2].map(|()| Replica::start(&[("REDIS_URL", &url)]));
    for replica in &ours {
        replica.ready().await;
    }
    let mut tenants = BTreeMap::new();
    while tenants.len() < 3 {
        let tenant = tenant(&ours[0]).await;
        let partition = Partition::of(&TenantId::parse(&tenant.id).unwrap());
        tenants.entry(partition.number() * 3 / 128).or_insert(tenant);
    }

    for tenant in tenants.values() {
        let [north, south] = ours.each_ref().map(|replica| Client { replica, key: &tenant.key });
        let mut streams = [north.events("").await, south.events("").await];
        for stream in &mut streams {
            stream.head().await;
        }

        // When it is used in every way, on either of ours.
        let held = north.acquire("w", "printer", Some(600)).await;
        assert_eq!(south.reserve("w", "printer", None).await["releaseToken"], held["releaseToken"]);
        assert_eq!(south.reserve("other", "printer", None).await["status"], "ALREADY_HELD");
        assert_eq!(south.renew("w", "printer", &held["releaseToken"], 900).await.statuses(), ["RENEWED"]);
        assert_eq!(north.listed().await, ["printer"]);
        assert_eq!(north.unreserve("w", "printer", &held["releaseToken"]).await.statuses(), ["RELINQUISHED"]);
        south.acquire("w", "short", Some(1)).await;

        // Then each of ours tells all of it, the expiry too.
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

    // And all three nodes had a part in it.
    for node in &nodes {
        let keys: Vec<String> = node.ask("KEYS *:meta");
        assert!(!keys.is_empty());
    }
    for tenant in tenants.values() {
        assert_eq!(admin(&ours[1], Method::DELETE, &format!("/{}", tenant.id), None).await.status, 204);
    }
}

#[tokio::test]
async fn a_cluster_that_lost_a_node_refuses_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let (mut nodes, url) = cluster(dir.path());
    let ours = Replica::start(&[("REDIS_URL", &url)]);
    ours.ready().await;
    let tenant = tenant(&ours).await;
    let at = Client { replica: &ours, key: &tenant.key };
    at.acquire("w", "before", None).await;
    let home = Partition::of(&TenantId::parse(&tenant.id).unwrap()).number() * 3 / 128;
    let item = |name: &str| json!([{"requester": "w", "resource": name}]);

    // The tenant's own node stops, and comes back.
    nodes[home].signal("-STOP");
    until("it is refused, or nobody knows", || async {
        [503, 504].contains(&at.post("/Reservation/reserve", item("x")).await.status.as_u16())
    })
    .await;
    nodes[home].signal("-CONT");
    until("it heals", || async { at.post("/Reservation/reserve", item("after a pause")).await.status == 200 }).await;

    // Another node is lost: the cluster as a whole says that it is down, and we say that it refuses.
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
    at.acquire("w", "told", None).await;
    assert_eq!(events.expect("RESERVED").await["resource"], "told");
}
