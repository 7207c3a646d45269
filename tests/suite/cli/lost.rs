//! Every way to lose a lease: the command ends before anybody else can hold the name, and the exit code is 79.

use std::{path::Path, time::Instant};

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::json;

use crate::{
    cli::{Cli, Started},
    support::world::{TIMEOUT, World, admin, eventually},
};

/// Writes the time again and again, and does not heed TERM; a child of it in another session does the same.
const STUBBORN: &str = "trap '' TERM; work() { while :; do date +%s%N > $1.new; mv $1.new $1; sleep 0.02; done; }; \
                        export -f work; setsid bash -c \"trap '' TERM; work $0.child\" & work $0";

struct Victim {
    run: Started,
    /// Last time at which it worked, in nanoseconds since the Unix epoch; the child's beside it.
    file: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Victim {
    fn start(cli: &Cli, ttl: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("worked");
        let args = ["run", "x", "--ttl", ttl, "--grace", "500ms", "--", "bash", "-c", STUBBORN, file.to_str().unwrap()];
        let run = cli.start(&args);
        let victim = Self { run, file, _dir: dir };
        eventually("it works", || victim.worked().is_some_and(|_| worked(&victim.child()).is_some()));
        victim
    }

    fn child(&self) -> std::path::PathBuf {
        self.file.with_extension("child")
    }

    fn worked(&self) -> Option<DateTime<Utc>> {
        worked(&self.file)
    }

    /// Asserts that it ended with 79 for this reason, and worked no more by `deadline`.
    fn ended_before(self, deadline: DateTime<Utc>, says: &str) {
        let (file, child) = (self.file.clone(), self.child());
        self.run.ended().fails(79, says);
        for file in [&file, &child] {
            let last = worked(file).unwrap();
            assert!(last < deadline, "worked until {last}, and the name was free at {deadline}");
        }
    }
}

fn worked(file: &Path) -> Option<DateTime<Utc>> {
    let text = std::fs::read_to_string(file).ok()?;
    Some(DateTime::from_timestamp_nanos(text.trim().parse().ok()?))
}

/// Until when the name is held, as the service says.
fn deadline(cli: &Cli) -> DateTime<Utc> {
    let listing = cli.json(&["list"]);
    listing["reservations"][0]["expiresAt"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn redis_is_killed() {
    let mut world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let victim = Victim::start(&cli, "3s");
    // Read before, so a renewal meanwhile only makes the assertion stricter.
    let deadline = deadline(&cli);
    world.redis.kill();
    victim.ended_before(deadline + chrono::TimeDelta::seconds(1), "renewed in time");
}

#[tokio::test]
async fn the_replica_is_stopped() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let victim = Victim::start(&cli, "3s");
    world.replicas[0].signal("-STOP");
    // The other replica sees when the name comes free; whoever takes it there has it alone.
    let at = world.at_replica(1, &tenant);
    let begun = Instant::now();
    let taken = loop {
        let answer = at.reserve("other", "x", None).await;
        if answer["status"] == "ACQUIRED" {
            break Utc::now();
        }
        assert!(begun.elapsed() < TIMEOUT, "{answer}");
    };
    victim.ended_before(taken, "renewed in time");
    world.replicas[0].signal("-CONT");
}

#[tokio::test]
async fn the_key_is_revoked() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let made = at.post("/keys", json!({"label": "run"})).await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let victim = Victim::start(&cli.with_key(made.body["apiKey"].as_str().unwrap()), "3s");
    at.delete(&format!("/keys/{}", made.body["id"].as_str().unwrap())).await;
    let deadline = deadline(&cli);
    victim.ended_before(deadline, "renewed in time");
}

#[tokio::test]
async fn it_is_force_released() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let victim = Victim::start(&cli, "3s");
    let deadline = deadline(&cli);
    cli.run(&["force-release", "x", "--reason", "test"]).succeeds();
    // Nothing can keep the name of one whose name is taken away; the command ends a third of the time to live and the grace later.
    victim.ended_before(deadline, "is lost");
}

#[tokio::test]
async fn everything_is_reset() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let victim = Victim::start(&cli, "3s");
    let deadline = deadline(&cli);
    world.at(&tenant).post("/Reservation/reset", json!({})).await;
    victim.ended_before(deadline, "is lost");
}

#[tokio::test]
async fn it_is_taken_by_somebody_else() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let victim = Victim::start(&cli, "3s");
    let deadline = deadline(&cli);
    cli.run(&["force-release", "x"]).succeeds();
    world.at(&tenant).acquire("other", "x", None).await;
    victim.ended_before(deadline, "is lost");
    assert_eq!(cli.held(), ["x"], "the other one's is left alone");
}

#[tokio::test]
async fn the_tenant_is_deleted() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let victim = Victim::start(&cli, "3s");
    let deadline = deadline(&cli);
    admin(&world.replicas[0], Method::DELETE, &format!("/{}", tenant.id), None).await;
    victim.ended_before(deadline + chrono::TimeDelta::seconds(1), "renewed in time");
}

#[tokio::test]
async fn a_loss_that_shows_at_the_end_is_a_loss() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    // Given a command that ends well between two renewals, after its name was freed by somebody else.
    let ran = cli.run(&["run", "x", "--ttl", "10m", "--", "holdfast", "force-release", "x"]);
    ran.fails(79, "before the command had ended");
}

#[tokio::test]
async fn an_outage_that_ends_in_time_is_no_loss() {
    let mut world = World::<1>::with(&["--appendonly", "yes", "--appendfsync", "always"], &[]).await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let run = cli.start(&["run", "x", "--ttl", "12s", "--grace", "1s", "--", "sleep", "9"]);
    eventually("it is held", || cli.held() == ["x"]);
    world.redis.kill();
    // Past the first renewal, at a third of the time to live.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    world.redis.restart();
    let ended = run.ended();
    ended.fails(0, "renewed again");
    assert!(ended.err.contains("still trying"), "{ended:?}");
}
