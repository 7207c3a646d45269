//! Several installations on one Redis, separated by database number or prefix: none notices another, ends what is another's, or removes its functions.

use reqwest::Method;
use serde_json::json;

use crate::{
    redis::functions::{libraries, ours},
    support::{
        redis_server::Redis,
        sse::EventStream,
        world::{Client, Replica, Tenant, admin, until},
    },
};

/// The same tenant in two installations: the second's data are a copy of the first's, as after a restored backup.
struct Pair {
    replicas: [Replica; 2],
    redis: Redis,
    tenant: Tenant,
    _dir: tempfile::TempDir,
}

const SECRET: (&str, &str) = ("SECRET_KEY", "a secret of the two installations");

impl Pair {
    /// By database number.
    async fn by_database() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let redis = Redis::start(dir.path(), &[]);
        let first = Replica::start(&[("REDIS_URL", &redis.url()), SECRET]);
        first.ready().await;
        let tenant = crate::redis::topologies::tenant(&first).await;
        copy_all(&redis, |key| (key.to_vec(), 1));
        let second = Replica::start(&[("REDIS_URL", &format!("{}?db=1", redis.url())), SECRET]);
        second.ready().await;
        Self { replicas: [first, second], redis, tenant, _dir: dir }
    }

    /// By prefix.
    async fn by_prefix() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let redis = Redis::start(dir.path(), &[]);
        let first = Replica::start(&[("REDIS_URL", &redis.url()), SECRET]);
        first.ready().await;
        let tenant = crate::redis::topologies::tenant(&first).await;
        copy_all(&redis, |key| ([b"blue", &key[2..]].concat(), 0));
        let second = Replica::start(&[("REDIS_URL", &redis.url()), ("PREFIX", "blue"), SECRET]);
        second.ready().await;
        Self { replicas: [first, second], redis, tenant, _dir: dir }
    }

    fn clients(&self) -> [Client<'_>; 2] {
        self.replicas.each_ref().map(|replica| Client { replica, key: &self.tenant.key })
    }
}

/// Copies every key of database 0 to the key and database that `to` says.
fn copy_all(redis: &Redis, to: impl Fn(&[u8]) -> (Vec<u8>, i64)) {
    let keys: Vec<Vec<u8>> = redis.ask("KEYS *");
    assert!(!keys.is_empty());
    for key in keys {
        let (copy, database) = to(&key);
        redis::cmd("COPY")
            .arg(&key)
            .arg(copy)
            .arg("DB")
            .arg(database)
            .arg("REPLACE")
            .exec(&mut redis.connection())
            .unwrap();
    }
}

async fn neither_notices_the_other(pair: &Pair) {
    let [first, second] = pair.clients();
    let made = first.post("/keys", json!({"label": "of the first"})).await;
    let (key, id) = (made.body["apiKey"].as_str().unwrap().to_owned(), made.body["id"].as_str().unwrap().to_owned());
    let mut streams: Vec<EventStream> = Vec::new();
    for at in [first, second, Client { replica: first.replica, key: &key }] {
        let mut stream = at.events("").await;
        stream.head().await;
        streams.push(stream);
    }

    // When things happen in the second: a grant, a refusal, the end of a session and of a tenant's key ...
    second.acquire("w1", "x", None).await;
    assert_eq!(second.reserve("w2", "x", None).await["status"], "ALREADY_HELD");
    let own = second.post("/keys", json!({"label": "of the second"})).await;
    assert_eq!(second.delete(&format!("/keys/{}", own.body["id"].as_str().unwrap())).await.status, 204);
    // ... then the first's own next event is the first that its streams see, and x is free there.
    first.acquire("w3", "y", None).await;
    assert_eq!(first.get("/Reservation/check/x").await.body["isReserved"], false);
    for stream in [0, 2] {
        let (kind, data, _) = streams[stream].event().await;
        assert_eq!((kind.as_str(), &data["resource"]), ("RESERVED", &json!("y")));
    }
    for (wanted, resource) in [("RESERVED", "x"), ("RESERVE_FAILED", "x")] {
        let (kind, data, _) = streams[1].event().await;
        assert_eq!((kind.as_str(), &data["resource"]), (wanted, &json!(resource)));
    }

    // A tenant that is deleted in the second keeps its streams and keys in the first.
    assert_eq!(admin(second.replica, Method::DELETE, &format!("/{}", pair.tenant.id), None).await.status, 204);
    streams[1].rest().await;
    first.acquire("w3", "z", None).await;
    for stream in [0, 2] {
        let (_, data, _) = streams[stream].event().await;
        assert_eq!(data["resource"], "z");
    }
    assert_eq!(first.delete(&format!("/keys/{id}")).await.status, 204);
    streams[2].rest().await;
}

#[tokio::test]
async fn two_databases_are_two_installations() {
    neither_notices_the_other(&Pair::by_database().await).await;
}

#[tokio::test]
async fn two_prefixes_are_two_installations() {
    let pair = Pair::by_prefix().await;
    neither_notices_the_other(&pair).await;
    let keys: Vec<String> = pair.redis.ask("KEYS *");
    assert!(keys.iter().all(|key| key.starts_with("hf:") || key.starts_with("blue:")), "{keys:?}");
}

#[tokio::test]
async fn the_use_of_a_library_is_noted_where_all_databases_look() {
    let pair = Pair::by_database().await;
    let noted = || {
        let mut list = redis::cmd("FUNCTION");
        list.arg("LIST").arg("LIBRARYNAME").arg("holdfastuse_*").arg("WITHCODE");
        let found: Vec<redis::Value> = list.query(&mut pair.redis.connection()).unwrap();
        found.len()
    };
    until("both have noted the use of the one library", || async { noted() == 1 }).await;
    assert_eq!(libraries(&pair.redis), [ours()]);
    // No key of either database says it: the note belongs to the server, as the library does.
    for database in 0..2 {
        let mut connection = pair.redis.connection();
        redis::cmd("SELECT").arg(database).exec(&mut connection).unwrap();
        let keys: Vec<String> = redis::cmd("KEYS").arg("*librar*").query(&mut connection).unwrap();
        assert!(keys.is_empty(), "{keys:?}");
    }
}
