//! The programs of `examples/`, as people copy them.

use std::{
    path::Path,
    process::{Child, ChildStdin, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::support::{
    source::root,
    world::{Tenant, World, bound_to_test, collect, eventually, signal_to, until},
};

/// An example at work.
struct Example {
    child: Child,
    stdin: Option<ChildStdin>,
    printed: Arc<Mutex<String>>,
    complaints: Arc<Mutex<String>>,
}

impl Example {
    fn start(world: &World, tenant: &Tenant, command: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut child = bound_to_test(command[0])
            .args(&command[1..])
            .current_dir(root())
            .env("HOLDFAST_URL", &world.replicas[0].url)
            .env("HOLDFAST_KEY", &tenant.key)
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv is there");
        let (printed, complaints) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
        Self { stdin: child.stdin.take(), child, printed, complaints }
    }

    fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    fn complaints(&self) -> String {
        self.complaints.lock().unwrap().clone()
    }

    /// Waits until it has complained with this text.
    fn complains(&self, text: &str) {
        eventually(&format!("{text} is on standard error"), || self.complaints().contains(text));
    }

    /// Waits until it has printed a line that contains the text; that line.
    fn prints(&self, text: &str) -> String {
        let mut found = None;
        eventually(&format!("{text} is printed; {}", self.complaints()), || {
            found = self.printed().lines().find(|line| line.contains(text)).map(str::to_owned);
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until it ends; its exit code, if no signal ended it.
    fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("the example ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const HOLD: &str = "examples/hold.sh";
const FENCED_WRITE: &str = "examples/fenced_write.py";
const FOLLOW: &str = "examples/follow.mjs";

/// A command that runs until the file is there, and ends with 7.
fn until_there(file: &Path) -> String {
    format!("while ! [ -e '{}' ]; do sleep 0.05; done; exit 7", file.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_example_holds_a_resource_while_its_command_runs() {
    let (world, dir) = (World::<1>::start().await, tempfile::tempdir().unwrap());
    let tenant = world.tenant().await;
    let mut events = world.at(&tenant).events("").await;
    events.head().await;
    let done = dir.path().join("done");

    // Given a command that runs for longer than a third of the TTL.
    let held = [HOLD, "deploy lock", "sh", "-c", &until_there(&done)];
    let mut first = Example::start(&world, &tenant, &held, &[("HOLD_SECONDS", "3")]);
    let reserved = events.expect("RESERVED").await;
    assert_eq!(reserved["resource"], "deploy lock");
    events.expect("RENEWED").await;

    // When others want it, who does not wait is refused and names the holder, and who waits stands in line.
    let mut second = Example::start(&world, &tenant, &[HOLD, "deploy lock", "true"], &[("HOLD_WAIT", "0")]);
    assert_eq!(second.ended(), Some(75));
    second.complains(reserved["requester"].as_str().unwrap());
    let mut third = Example::start(&world, &tenant, &[HOLD, "deploy lock", "true"], &[]);
    while events.event().await.0 != "WAITING" {}

    // Then it is the next one's as soon as the command ends, whose exit code is handed on.
    std::fs::write(&done, "").unwrap();
    assert_eq!(first.ended(), Some(7), "{}", first.complaints());
    let next = loop {
        let (kind, event, _) = events.event().await;
        if kind == "RESERVED" {
            break event;
        }
    };
    assert!(next["ticket"].is_string() && next["requester"] != reserved["requester"], "{next}");
    assert_eq!(third.ended(), Some(0), "{}", third.complaints());
    assert!(world.at(&tenant).listed().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_example_stops_its_command_when_the_reservation_is_lost() {
    let (world, dir) = (World::<1>::start().await, tempfile::tempdir().unwrap());
    let tenant = world.tenant().await;
    let never = dir.path().join("never");
    let held = [HOLD, "deploy-lock", "sh", "-c", &until_there(&never)];
    let mut example = Example::start(&world, &tenant, &held, &[("HOLD_SECONDS", "3")]);
    until("it holds the lock", || async { !world.at(&tenant).listed().await.is_empty() }).await;

    let at = world.at(&tenant);
    assert_eq!(at.post("/Reservation/forceRelease", json!({"resource": "deploy-lock"})).await.status, 200);

    assert_eq!(example.ended(), Some(128 + 15), "SIGTERM ended the command: {}", example.complaints());
    example.complains("lost deploy-lock");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_examples_database_refuses_a_holder_that_was_paused_for_too_long() {
    let (world, dir) = (World::<1>::start().await, tempfile::tempdir().unwrap());
    let tenant = world.tenant().await;
    let database = dir.path().join("config.db").display().to_string();
    let write = |value| ["python3", FENCED_WRITE, "printer", &database, value, "--ttl", "1"];

    // Given a holder that is paused between its grant and its write, for longer than its TTL.
    let asking = [&write("late")[..], &["--ask"]].concat();
    let mut paused = Example::start(&world, &tenant, &asking, &[]);
    let grant: i64 = paused.prints("acquired ").strip_prefix("acquired ").unwrap().parse().unwrap();
    signal_to(paused.child.id(), "-STOP");

    // When another one gets the resource meanwhile and writes.
    let mut code = Some(75);
    while code == Some(75) {
        let mut other = Example::start(&world, &tenant, &write("in time"), &[]);
        code = other.ended();
        if code == Some(0) {
            let fence: i64 = other.prints("written ").strip_prefix("written ").unwrap().parse().unwrap();
            assert!(fence > grant, "{fence} after {grant}");
        }
    }
    assert_eq!(code, Some(0));

    // Then the first one's write is refused, though it does not know that it has lost the resource.
    signal_to(paused.child.id(), "-CONT");
    drop(paused.stdin.take());
    assert_eq!(paused.ended(), Some(1), "{}", paused.complaints());
    assert_eq!(paused.prints("refused "), format!("refused {grant}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_example_resumes_where_it_was_killed() {
    let (world, dir) = (World::<1>::start().await, tempfile::tempdir().unwrap());
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let file = dir.path().join("last-event-id");
    let follow = ["node", FOLLOW, file.to_str().unwrap()];
    let last_id = || std::fs::read_to_string(&file).unwrap_or_default();

    // Given a follower that has handled an event and is killed.
    let mut first = Example::start(&world, &tenant, &follow, &[]);
    eventually("the stream is open", || !last_id().is_empty());
    let before = at.acquire("w", "before", None).await["fencingToken"].to_string();
    first.prints("before");
    eventually("the event is noted", || last_id() == before);
    first.child.kill().unwrap();
    first.child.wait().unwrap();

    // When something happens while nobody follows, and it is started again.
    at.acquire("w", "meanwhile", None).await;
    let second = Example::start(&world, &tenant, &follow, &[]);
    second.prints("meanwhile");
    at.acquire("w", "after", None).await;
    second.prints("after");

    // Then it has seen each event once, in order.
    let resources: Vec<Value> = second
        .printed()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|event| event["resource"].clone())
        .collect();
    assert_eq!(resources, ["meanwhile", "after"]);
}
