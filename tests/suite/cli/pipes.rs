//! Readers that go away: of what commands print, and of a service's log.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    cli::with_default_signals,
    support::world::{World, admin, call, collect, eventually, without_settings},
};

/// Runs a command whose output nobody reads beyond so many bytes; its exit code and what it complains of.
fn read_a_little(args: &[&str], settings: &[(&str, &str)], bytes: usize) -> (Option<i32>, String) {
    let mut command = with_default_signals(env!("CARGO_BIN_EXE_holdfast"));
    without_settings(&mut command);
    command.args(args).envs(settings.iter().map(|(name, value)| (format!("HOLDFAST_{name}"), value)));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut vec![0; bytes]).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_reader_that_leaves_early_is_no_fault() {
    let world = World::<1>::start().await;
    let url = world.redis.url();
    let settings = [("REDIS_URL", url.as_str()), ("LOG", "error")];
    // A list that is longer than a pipe holds.
    let name = "n".repeat(250);
    for _ in 0..300 {
        admin(&world.replicas[0], Method::POST, "", Some(json!({"name": name, "tier": "Free"}))).await;
    }
    for (args, bytes) in [
        (&["openapi"][..], 10),
        (&["tenant", "list"], 10),
        (&["tenant", "list", "--json"], 10),
        (&["completions", "bash"], 10),
        (&["man"], 10),
        (&["--help"], 0),
        (&["serve", "--help"], 0),
        (&["--version"], 0),
    ] {
        let (code, complaints) = read_a_little(args, &settings, bytes);
        assert_eq!((code, complaints.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[tokio::test]
async fn a_service_goes_on_when_nobody_reads_its_log_or_its_greeting() {
    let world = World::<1>::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut command: Command = with_default_signals(env!("CARGO_BIN_EXE_holdfast"));
    without_settings(&mut command);
    command
        .args(["serve", "--demo"])
        .env("HOLDFAST_LISTEN", "localhost:0")
        .env("HOLDFAST_LOG", "debug")
        .env("HOLDFAST_LOG_FORMAT", "json")
        .env("HOLDFAST_REDIS_URL", world.redis.url())
        .env("HOLDFAST_SECRET_KEY", "a-secret-key-of-the-tests")
        .env("HOLDFAST_DATA_DIR", dir.path());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let address = loop {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it has ended");
        let entry: Value = serde_json::from_str(&line).unwrap_or_default();
        if entry["message"] == "listening" {
            break entry["address"].as_str().unwrap().to_owned();
        }
    };
    drop(log);
    // Each request is a line of the log.
    for _ in 0..20 {
        assert_eq!(call(Method::GET, &format!("{address}/healthz"), None, None).await.status, 200);
    }
    eventually("the demo is made, whose lines nobody reads", || dir.path().join("demo-key").exists());
    assert_eq!(call(Method::GET, &format!("{address}/healthz"), None, None).await.status, 200);
    assert!(child.try_wait().unwrap().is_none(), "it is still there");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_log_that_goes_to_a_file_has_no_colours() {
    let mut command = with_default_signals(env!("CARGO_BIN_EXE_holdfast"));
    without_settings(&mut command);
    command
        .arg("serve")
        .env("HOLDFAST_LISTEN", ":0")
        .env("HOLDFAST_LOG_FORMAT", "text")
        .env("HOLDFAST_REDIS_URL", "redis://127.0.0.1:1")
        .env("HOLDFAST_SECRET_KEY", "a-secret-key-of-the-tests")
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR");
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = collect(child.stderr.take().unwrap());
    eventually("it listens", || log.lock().unwrap().contains("listening"));
    child.kill().unwrap();
    child.wait().unwrap();
    let log = log.lock().unwrap();
    assert!(log.contains("listen=0.0.0.0:0") && !log.contains('\x1b'), "{log}");
}
