//! `sluice-celery`, the published SDK, unchanged, in a real Celery worker that pushes to a replica. `make test` installs it.

use std::{path::PathBuf, process::Stdio};

use holdfast::domain::queue::job_id;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    redis_server::Redis,
    world::{World, bound_to_test, call, collect, until},
};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_in_a_real_worker_pushes_what_its_tasks_do() {
    // Given a Celery worker over a broker of its own, with the SDK pointed at us.
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let created = at.post("/connections", json!({"name": "shop", "framework": "celery"})).await;
    assert_eq!(created.status, 201, "{created:?}");
    let (connection, key) =
        (created.body["id"].as_str().unwrap().to_owned(), created.body["ingestKey"].as_str().unwrap().to_owned());
    let dir = tempfile::tempdir().unwrap();
    let broker = Redis::start(dir.path(), &[]);
    let broker_url = format!("redis+socket://{}", broker.dir().join("redis.sock").display());
    let python = |args: &[&str]| {
        let mut command = bound_to_test(directory().join(".venv/bin/python").to_str().unwrap());
        command
            .args(args)
            .current_dir(directory().join("sluice"))
            .env("BROKER_URL", &broker_url)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
            .env("SLUICE_BASE_URL", &world.replicas[0].url)
            .env("SLUICE_API_KEY", &key)
            .env("SLUICE_CONNECTION_ID", &connection);
        command
    };
    let mut worker = python(&["-m", "celery", "-A", "tasks", "worker", "--pool", "solo", "--loglevel", "INFO"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = collect(worker.stderr.take().unwrap());

    // When tasks are done, fail, and are tried again.
    let sent = python(&["send.py"]).output().unwrap();
    assert!(sent.status.success(), "{}\n{}", String::from_utf8_lossy(&sent.stderr), log.lock().unwrap());
    let ids: Value = serde_json::from_slice(&sent.stdout).unwrap();

    // Then the state and history of each are known.
    for (task, state, states) in [
        ("charge", "completed", vec!["queued", "active", "completed"]),
        ("fail", "failed", vec!["queued", "active", "failed"]),
        ("again", "completed", vec!["queued", "active", "retrying", "queued", "active", "completed"]),
    ] {
        let id = job_id(connection.parse().unwrap(), ids[task].as_str().unwrap());
        let url = format!("{}/api/jobs/{id}", world.replicas[0].url);
        let show = async || call(Method::GET, &url, Some(&tenant.key), None).await;
        until(&format!("{task} is {state}"), async || show().await.body["state"] == state).await;
        let found = show().await.body;
        assert_eq!(found["name"], format!("shop.{task}"));
        let history: Vec<_> = found["stateHistory"]
            .as_array()
            .unwrap()
            .iter()
            .map(|transition| transition["state"].as_str().unwrap())
            .collect();
        assert_eq!(history, states, "{found}");
        if task == "fail" {
            assert_eq!(found["error"], "declined");
        }
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(!log.lock().unwrap().contains("events dropped"), "{}", log.lock().unwrap());
}
