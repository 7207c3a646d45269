//! Every form of `REDIS_URL` with what it may hold: characters that mean something, databases, IPv6, passwords of sentinels. And what is said where it is wrong.

use std::process::Command;

use crate::{
    redis::topologies::{Sentinel, cluster, node, tenant},
    support::{
        redis_server::Redis,
        world::{Client, Replica, eventually, free_port, nameless_host, run},
    },
};

/// A password with characters that mean something in an address, and how it is written there.
const PASSWORD: (&str, &str) = ("p@ss/w:rd%1", "p%40ss%2Fw%3Ard%251");
/// The same of a user.
const USER: (&str, &str) = ("a@b", "a%40b");

async fn serves(url: &str) -> Replica {
    let replica = Replica::start(&[("REDIS_URL", url)]);
    replica.ready().await;
    let tenant = tenant(&replica).await;
    let at = Client { replica: &replica, key: &tenant.key };
    let mut events = at.events("").await;
    events.head().await;
    at.acquire("w", "printer", None).await;
    assert_eq!(events.expect("RESERVED").await["resource"], "printer");
    replica
}

fn with_user(redis: &Redis) {
    let rules = format!("ACL SETUSER {} on >{} ~* &* +@all", USER.0, PASSWORD.0);
    redis.ask::<()>(&rules);
}

/// How many keys a database has, asked as the user.
fn keys(redis: &Redis, database: i64) -> i64 {
    let keyspace = redis.info("keyspace", &format!("db{database}")).unwrap_or_default();
    keyspace.strip_prefix("keys=").and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn one_server_takes_users_passwords_databases_and_ipv6() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let redis = node(dir.path(), port, &["--bind", "127.0.0.1 ::1"]);
    with_user(&redis);
    let replica = serves(&format!("redis://{}:{}@[::1]:{port}/3", USER.1, PASSWORD.1)).await;
    assert!(keys(&redis, 3) > 0 && keys(&redis, 0) == 0);
    assert!(!replica.log().contains(PASSWORD.0) && !replica.log().contains(PASSWORD.1));
    let start = replica.log().lines().next().unwrap().to_owned();
    assert!(
        start.contains(&format!("redis://::1:{port}/3")) || start.contains(&format!("redis://[::1]:{port}/3")),
        "{start}"
    );

    let separator = if redis.url().contains('?') { '&' } else { '?' };
    serves(&format!("{}{separator}user={}&pass={}&db=2", redis.url(), USER.1, PASSWORD.1)).await;
    assert!(keys(&redis, 2) > 0);
}

#[tokio::test]
async fn sentinels_with_a_password_of_their_own_lead_to_a_primary_with_another_and_a_database() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let primary = node(dir.path(), port, &[]);
    with_user(&primary);
    let secret = "s&t=%/2";
    let sentinels = [(); 2]
        .map(|()| Sentinel::start_with(dir.path(), port, &format!("requirepass {secret}\nbind 127.0.0.1 ::1\n")));
    let hosts = format!("[::1]:{},127.0.0.1:{}", sentinels[0].port, sentinels[1].port);
    let url = format!("redis+sentinel://{}:{}@{hosts}/house/4", USER.1, PASSWORD.1);

    // Without the sentinels' password the log says what is missing, and where it belongs.
    let replica = Replica::start(&[("REDIS_URL", &url)]);
    eventually("the cause is logged", || {
        let log = replica.log();
        log.contains("NOAUTH") && log.contains("sentinel_password") && log.contains("redis+sentinel://")
    });
    drop(replica);
    let replica = serves(&format!("{url}?sentinel_password=s%26t%3D%25%2F2")).await;
    assert!(keys(&primary, 4) > 0 && keys(&primary, 0) == 0);
    assert!(!replica.log().contains(secret) && !replica.log().contains(PASSWORD.0));
}

#[tokio::test]
async fn a_cluster_takes_users_and_passwords() {
    let dir = tempfile::tempdir().unwrap();
    let (nodes, url) = cluster(dir.path());
    nodes.iter().for_each(with_user);
    serves(&url.replace("redis+cluster://", &format!("redis+cluster://{}:{}@", USER.1, PASSWORD.1))).await;
}

#[tokio::test]
async fn what_can_never_work_ends_the_start_with_a_sentence() {
    for (url, rule) in [
        ("redis+cluster://127.0.0.1:1/2", "a cluster has one database"),
        ("redis+sentinel://127.0.0.1:1/house/x", "must be a number"),
        ("redis+sentinel://::1:26379/house", "brackets"),
        ("redis+sentinel://:hun%ter2@127.0.0.1/house", "%25"),
        ("rediss://127.0.0.1/#insecure", "SSL_CERT_FILE"),
    ] {
        let error = Replica::try_start(&[("REDIS_URL", url)]).err().unwrap();
        assert!(error.contains("HOLDFAST_REDIS_URL cannot be used") && error.contains(rule), "{url}: {error}");
        assert!(!error.contains("hun"), "{error}");
    }
}

#[tokio::test]
async fn the_log_says_why_redis_is_not_reached_and_at_which_address() {
    let (dir, port, closed) = (tempfile::tempdir().unwrap(), free_port(), free_port());
    let redis = node(dir.path(), port, &["--requirepass", "right"]);
    let not_redis = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let http = not_redis.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in not_redis.incoming().map_while(Result::ok) {
            use std::io::{Read, Write};
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let (_, nameless) = (&redis, nameless_host());
    for (url, shown, cause) in [
        (format!("redis://:wrong-one@127.0.0.1:{port}"), format!("redis://127.0.0.1:{port}"), "WRONGPASS"),
        (format!("redis://127.0.0.1:{port}"), format!("redis://127.0.0.1:{port}"), "NOAUTH"),
        (format!("redis://127.0.0.1:{closed}"), format!("redis://127.0.0.1:{closed}"), "refused"),
        (format!("redis://{http}"), format!("redis://{http}"), "unknown kind"),
        (format!("redis://{nameless}:1"), format!("redis://{nameless}:1"), "lookup"),
    ] {
        let replica = Replica::start(&[("REDIS_URL", &url), ("WORKERS", "2")]);
        let lines = || {
            let log = replica.log();
            log.lines().filter(|line| line.contains("redis cannot be used")).map(str::to_owned).collect::<Vec<_>>()
        };
        eventually(cause, || lines().iter().any(|line| line.contains(&shown) && line.contains(cause)));
        assert_eq!(lines().len(), 1, "all connections tell it together: {:?}", lines());
        assert!(!replica.log().contains("wrong-one"));
        let ready = replica.get("/readyz").await;
        assert_eq!(ready.0, 503);
        assert!(ready.1["reason"].as_str().unwrap().contains("not reached"), "{ready:?}");

        let error = run(&["tenant", "list"], &[("REDIS_URL", &url)]).unwrap_err();
        assert!(error.contains(&shown) && error.contains(cause) && !error.contains("wrong-one"), "{error}");
    }
}

/// A link on which everything takes 150 ms each way still connects: the handshake is one round trip.
#[tokio::test]
async fn a_far_redis_is_reached() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let redis = node(dir.path(), port, &["--requirepass", "right"]);
    let _ = &redis;
    let far = crate::redis::topologies::FarAway::start(port, std::time::Duration::from_millis(150)).await;
    serves(&format!("redis://:right@127.0.0.1:{}/5", far.port)).await;
}

#[test]
fn ipv6_is_there() {
    // The tests above need it; a machine without it should say so by this name.
    assert!(Command::new("true").status().is_ok() && std::net::TcpListener::bind("[::1]:0").is_ok());
}
