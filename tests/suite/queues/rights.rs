//! Rights of a broker's user, against the ACLs of a real server: what a watch needs, what it does without, and what it says.

use serde_json::{Value, json};

use crate::support::{
    brokers::{Broker, BullMq, Celery, Monitor, bullmq_connection, celery_connection},
    world::{World, until},
};

/// What docs/queue-monitor.md says that a watch of Celery needs.
const CELERY: &str = "-@all +@read +ping +hello +psubscribe +subscribe +info";
/// The same of BullMQ.
const BULLMQ: &str = "-@all +@read +ping +hello +psubscribe +subscribe +info +time";

/// Makes a user with these rules; returns the address for it.
fn user(broker: &Broker, name: &str, rules: &str, database: u32) -> String {
    broker.redis.ask::<()>(&format!("ACL SETUSER {name} reset on >secret ~* &* {rules}"));
    broker.url(database).replace("redis://", &format!("redis://{name}:secret@"))
}

#[test]
fn the_guide_names_the_rights_that_are_tested_here() {
    let guide = crate::support::source::read("docs/queue-monitor.md");
    for rights in [CELERY, BULLMQ] {
        let rules = rights.strip_prefix("-@all ").unwrap();
        assert!(guide.contains(&format!("`{rules}`")), "{rules}");
    }
}

#[tokio::test]
async fn a_user_who_may_only_read_is_enough_for_celery() {
    let broker = Broker::start();
    let url = user(&broker, "reader", CELERY, 0);
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let reading = Monitor::watching(at, celery_connection(&url)).await;
    // One that would ask the workers goes on without their answers, and says which right is missing.
    let mut asked = celery_connection(&url);
    asked["exactConsumers"] = json!(true);
    let asking = Monitor::watching(at, asked).await;
    let celery = Celery::over(&broker, 0, json!({}));
    let _worker = celery.worker("w", "solo", "emails");
    reading.until_workers(1).await;
    let fates = celery.drive("emails", "add").await;
    for monitor in [&reading, &asking] {
        monitor.until_job(&fates["add 0"].id, "completed").await;
        until("its consumers are inferred", || async {
            let queues = monitor.queues().await;
            let queue = queues.get("emails");
            queue.is_some_and(|queue| queue["consumers"] == 1 && queue["consumersSource"] == "inferred")
        })
        .await;
    }
    let missing = async |monitor: &Monitor<'_>| monitor.health().await["missingRight"].clone();
    until("the right is named", || async { missing(&asking).await == "+sadd" }).await;
    let health = asking.health().await;
    assert_eq!((&health["error"], health["connectedSince"].is_string()), (&Value::Null, true));
    assert_eq!((missing(&reading).await, &reading.health().await["error"]), (Value::Null, &Value::Null));

    // With the right to write, the same watch has exact numbers.
    user(&broker, "reader", &format!("{CELERY} +@write +publish"), 0);
    until("they are exact", || async { asking.queues().await["emails"]["consumersSource"] == "exact" }).await;
    until("nothing is missing", || async { missing(&asking).await == Value::Null }).await;
}

#[tokio::test]
async fn a_right_that_only_pipelines_use_is_named_until_it_is_there() {
    let broker = Broker::start();
    let url = user(&broker, "reader", &format!("{CELERY} -llen"), 0);
    let celery = Celery::over(&broker, 0, json!({}));
    let _worker = celery.worker("w", "solo", "emails");
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let monitor = Monitor::watching(world.at(&tenant), celery_connection(&url)).await;
    until("the right is named", || async { monitor.health().await["missingRight"] == "+llen" }).await;
    user(&broker, "reader", CELERY, 0);
    until("nothing is missing", || async {
        let health = monitor.health().await;
        health["missingRight"].is_null() && health["error"].is_null() && health["connectedSince"].is_string()
    })
    .await;
}

#[tokio::test]
async fn a_user_who_may_only_read_is_enough_for_bullmq() {
    let broker = Broker::start();
    let url = user(&broker, "reader", BULLMQ, 0);
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let monitor = Monitor::watching(world.at(&tenant), bullmq_connection(&url)).await;
    let bullmq = BullMq::over(&broker);
    let _worker = bullmq.worker("mails", "anna");
    let fates = bullmq.drive("mails", "plain,fail").await;
    monitor.until_job(&format!("mails:{}", fates["plain 1"].id), "completed").await;
    monitor.until_job(&format!("mails:{}", fates["fail"].id), "failed").await;
    until("the queue is polled", || async { monitor.queues().await.contains_key("mails") }).await;
    let queue = monitor.queues().await["mails"].clone();
    assert_eq!(
        (&queue["depth"], &queue["consumers"], &queue["consumersSource"]),
        (&json!(0), &Value::Null, &Value::Null)
    );
    until("the right to see workers is named", || async { monitor.health().await["missingRight"] == "+client|list" })
        .await;
    assert_eq!(monitor.health().await["error"], Value::Null);
    // With it, workers are seen.
    user(&broker, "reader", &format!("{BULLMQ} +client|list"), 0);
    until("the worker is seen", || async { monitor.queues().await["mails"]["consumers"] == 1 }).await;
    until("nothing is missing", || async { monitor.health().await["missingRight"].is_null() }).await;
}

#[tokio::test]
async fn each_right_that_is_missing_is_named() {
    let broker = Broker::start();
    broker.redis.ask::<()>("LPUSH emails waits");
    broker.redis.ask::<()>("XADD bull:mails:events * event completed jobId 1 returnvalue 1 prev active");
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    // Framework, whether its queues are named, the rules, the database, and what is missing.
    let cases = [
        ("celery", true, format!("{CELERY} -info"), 0, "+info"),
        ("celery", true, format!("{CELERY} -ping"), 0, "+ping"),
        ("celery", true, format!("{CELERY} -psubscribe"), 0, "+psubscribe"),
        ("celery", true, format!("{CELERY} -subscribe"), 0, "+subscribe"),
        ("celery", true, format!("{CELERY} resetchannels"), 0, "&*"),
        ("celery", true, format!("{CELERY} -llen"), 0, "+llen"),
        ("celery", true, format!("{CELERY} resetkeys ~other"), 0, "~*"),
        ("celery", false, format!("{CELERY} -scan"), 0, "+scan"),
        ("celery", true, format!("{CELERY} -sscan"), 0, "+sscan"),
        ("celery", true, CELERY.to_owned(), 1, "+select"),
        ("bullmq", true, format!("{BULLMQ} -time"), 0, "+time"),
        ("bullmq", true, format!("{BULLMQ} -xread"), 0, "+xread"),
        ("bullmq", true, format!("{BULLMQ} -hmget"), 0, "+hmget"),
        ("bullmq", true, format!("{BULLMQ} -xinfo"), 0, "+xinfo|stream"),
        ("bullmq", true, format!("{BULLMQ} -zcard"), 0, "+zcard"),
    ];
    let mut created = Vec::new();
    for (number, (framework, are_named, rules, database, missing)) in cases.iter().enumerate() {
        let url = user(&broker, &format!("user{number}"), rules, *database);
        let mut asked = json!({"name": missing, "framework": framework, "brokerUrl": url});
        if *are_named {
            asked["queues"] = json!(["emails", "mails"]);
        }
        let answer = at.post("/connections", asked).await;
        let monitor = Monitor { at, connection: answer.body["id"].as_str().unwrap().to_owned() };
        created.push((monitor, *missing));
    }
    for (monitor, missing) in &created {
        until(&format!("{missing} is missing"), || async {
            let health = monitor.health().await;
            health["error"] == "auth" && health["missingRight"] == *missing
        })
        .await;
    }
    let log = world.replicas[0].log();
    assert!(log.contains("+sscan") && !log.contains("secret"), "{log}");
    // A password that is wrong is no missing right.
    let wrong = celery_connection(&broker.url(0).replace("redis://", "redis://user0:wrong@"));
    let answer = at.post("/connections", wrong).await;
    let monitor = Monitor { at, connection: answer.body["id"].as_str().unwrap().to_owned() };
    until("it is refused", || async { monitor.health().await["error"] == "auth" }).await;
    assert_eq!(monitor.health().await["missingRight"], Value::Null);
}

#[tokio::test]
async fn a_right_that_our_own_redis_lacks_is_not_the_brokers_fault() {
    let broker = Broker::start();
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    world.redis.ask::<()>("ACL SETUSER default -info");
    let answer = at.post("/connections", celery_connection(&broker.url(0))).await;
    let monitor = Monitor { at, connection: answer.body["id"].as_str().unwrap().to_owned() };
    until("the health says so", || async { monitor.health().await["error"] == "own_redis_unknown" }).await;
    assert_eq!(monitor.health().await["missingRight"], Value::Null);
    let log = world.replicas[0].log();
    assert!(
        log.contains("our own Redis does not say who it is") && !log.contains("the broker cannot be watched"),
        "{log}"
    );
    world.redis.ask::<()>("ACL SETUSER default +info");
    until("it is watched", || async { monitor.health().await["connectedSince"].is_string() }).await;
}
