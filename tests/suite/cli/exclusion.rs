//! Many runs of one name never overlap, whatever is killed meanwhile.

use std::{
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use nix::{sys::signal::Signal, unistd::Pid};
use reqwest::Method;
use serde_json::json;

use crate::{
    cli::{Cli, children},
    support::{
        redis_server::Redis,
        world::{Replica, Tenant, admin, free_port, long},
    },
};

/// Creates a file that must not be there (O_EXCL), works, removes it. One that was killed leaves its file behind, so what is found counts as an
/// overlap only where its maker lives.
const WORK: &str = r#"
set -C
if ! echo $$ 2>/dev/null > "$1/inside"; then
    other=$(cat "$1/inside")
    if [ -d "/proc/$other" ] && ! grep -q '^State:.Z' "/proc/$other/status"; then
        echo "$$ met $other" >> "$1/overlaps"
        exit 99
    fi
    rm "$1/inside"
    echo $$ > "$1/inside" || { echo "$$ met another" >> "$1/overlaps"; exit 99; }
fi
sleep 0.0$((RANDOM % 5))
rm "$1/inside"
"#;

#[tokio::test]
async fn runs_of_one_name_never_overlap_whatever_is_killed() {
    let (at_once, lasts) = if long() { (50, Duration::from_secs(120)) } else { (20, Duration::from_secs(15)) };
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(&dir.path().join("redis"), &[]);
    let ports = [free_port(), free_port()];
    let start = |port: u16| {
        let (listen, url) = (format!("127.0.0.1:{port}"), redis.url());
        Replica::start(&[("LISTEN", listen.as_str()), ("REDIS_URL", url.as_str())])
    };
    let mut replicas = ports.map(start);
    for replica in &replicas {
        replica.ready().await;
    }
    let made = admin(&replicas[0], Method::POST, "", Some(json!({"name": "t", "tier": "Enterprise"}))).await;
    let text = |field: &str| made.body[field].as_str().unwrap().to_owned();
    let tenant = Tenant { id: text("tenantId"), key: text("apiKey") };
    let clis: Vec<_> = replicas.iter().map(|replica| Cli::new(replica, &tenant)).collect();
    let (stop, done, killed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));

    std::thread::scope(|scope| {
        for number in 0..at_once {
            let (cli, stop, done, killed, dir) = (&clis[number % 2], &stop, &done, &killed, dir.path());
            // Waiting is fair: each has few turns, so the first to be killed is another one's than the next.
            scope.spawn(move || keep_running(cli, dir, stop, done, killed, number as u32));
        }
        let begun = Instant::now();
        for number in [0, 1].into_iter().cycle() {
            if begun.elapsed() >= lasts {
                break;
            }
            std::thread::sleep(Duration::from_secs(3));
            replicas[number].kill();
            replicas[number] = start(ports[number]);
        }
        stop.store(true, Ordering::Relaxed);
    });

    let overlaps = std::fs::read_to_string(dir.path().join("overlaps")).unwrap_or_default();
    let (done, killed) = (done.into_inner(), killed.into_inner());
    eprintln!("{done} runs, {killed} of them killed");
    assert_eq!(overlaps, "", "of {done} runs, {killed} of them killed");
    assert!(done >= at_once && killed >= 5, "{done} runs, {killed} killed");
}

/// Runs again and again; one run of four has a process of it killed: the client, the guard or the command.
fn keep_running(cli: &Cli, dir: &Path, stop: &AtomicBool, done: &AtomicUsize, killed: &AtomicUsize, first_turn: u32) {
    let mut turn = first_turn;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let args =
            ["run", "x", "--ttl", "4s", "--grace", "1s", "--", "bash", "-c", WORK, "work", dir.to_str().unwrap()];
        let mut run = cli.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let client = run.id();
        let begun = Instant::now();
        let mut hit = false;
        loop {
            if let Some(status) = run.try_wait().unwrap() {
                assert_ne!(status.code(), Some(99), "it met another one");
                break;
            }
            if turn.is_multiple_of(4) && !hit {
                // As soon as there is a command.
                let guard = children(client).first().copied();
                let command = guard.and_then(|guard| children(guard).first().copied());
                if let (Some(guard), Some(command)) = (guard, command) {
                    let victim = [client, guard, command][(turn / 4 % 3) as usize];
                    kill(victim, Signal::SIGKILL);
                    hit = true;
                    killed.fetch_add(1, Ordering::Relaxed);
                }
            }
            if stop.load(Ordering::Relaxed) && begun.elapsed() > Duration::from_secs(1) {
                kill(client, Signal::SIGTERM);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Signals a process, which may have ended meanwhile.
fn kill(pid: u32, signal: Signal) {
    let _ = nix::sys::signal::kill(Pid::from_raw(pid as i32), signal);
}
