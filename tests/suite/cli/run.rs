//! `holdfast run`: the environment of the command, its exit code, signals, what it leaves behind, and its three processes.

use std::{process::Stdio, time::Duration};

use serde_json::json;

use crate::{
    cli::{Cli, children, number_in, runs},
    support::world::{World, eventually, signal_to},
};

#[tokio::test]
async fn the_command_finds_its_reservation_and_the_name_is_given_back() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);

    let script = "holdfast list --json; echo; env | grep ^HOLDFAST_ | sort";
    let ran = cli.run(&["run", "deploy", "--note", "v2", "--", "sh", "-c", script]);
    ran.succeeds();
    let (listing, environment) = ran.out.split_once("\n\n").unwrap();
    let listing: serde_json::Value = serde_json::from_str(listing).unwrap();
    let row = &listing["reservations"][0];
    assert_eq!((&row["resource"], &row["note"]), (&json!("deploy"), &json!("v2")));
    for (name, value) in [
        ("FENCE", row["fencingToken"].to_string()),
        ("RESOURCE", "deploy".into()),
        ("REQUESTER", row["requester"].as_str().unwrap().into()),
        ("EXPIRES_AT", row["expiresAt"].as_str().unwrap().into()),
    ] {
        assert!(environment.contains(&format!("HOLDFAST_{name}={value}\n")), "{name}={value} in {environment}");
    }
    assert!(!environment.contains("HOLDFAST_SLOT"), "{environment}");
    assert!(cli.held().is_empty());
}

#[tokio::test]
async fn the_exit_code_is_the_commands_or_says_why_there_was_none() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let run = |command: &[&str]| cli.run(&[&["run", "x", "--"], command].concat());

    assert_eq!(run(&["true"]).code, 0);
    assert_eq!(run(&["sh", "-c", "exit 7"]).code, 7);
    assert_eq!(run(&["sh", "-c", "kill -TERM $$"]).code, 143);
    assert_eq!(run(&["sh", "-c", "kill -KILL $$"]).code, 137);
    run(&["/nonexistent/program"]).fails(127, "/nonexistent/program");
    run(&["/"]).fails(126, "cannot be executed");
    assert!(cli.held().is_empty(), "whatever the end");

    cli.run(&["run", "x"]).fails(64, "COMMAND");
    cli.run(&["run", "x", "--ttl", "10", "--", "true"]).fails(64, "no unit");
    cli.run(&["run", "x", "--ttl", "1500ms", "--", "true"]).fails(64, "whole seconds");
    cli.run(&["run", "x", "--ttl", "10s", "--grace", "6s", "--", "true"]).fails(64, "--grace");
    cli.run(&["run", "x", "--url", "ftp://x", "--", "true"]).fails(64, "http");
    cli.run(&["run", "x", "--url", "http://127.0.0.1:1", "--", "true"]).fails(69, "127.0.0.1:1");
    cli.with_key("hf_live_none").run(&["run", "x", "--", "true"]).fails(77, "HOLDFAST_KEY");

    world.at(&tenant).acquire("somebody", "x", None).await;
    cli.run(&["run", "x", "--wait", "0s", "--", "true"]).fails(75, "somebody");
    let waited = cli.run(&["run", "x", "--wait", "1s", "--", "true"]);
    waited.fails(75, "somebody");
    assert_eq!(world.at(&tenant).listed().await, ["x"]);
}

#[tokio::test]
async fn several_names_are_had_all_or_none_and_a_pool_gives_its_slot() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let cli = Cli::new(&world.replicas[0], &tenant);
    at.post("/Resource/register", json!([{"name": "gpu", "capacity": 2}])).await;
    at.acquire("somebody", "a", None).await;

    cli.run(&["run", "b", "a", "--wait", "0s", "--", "true"]).fails(75, "somebody");
    assert_eq!(at.listed().await, ["a"]);

    let ran = cli.run(&["run", "b", "gpu", "--", "sh", "-c", "printf %s \"$HOLDFAST_RESOURCE|$HOLDFAST_SLOT\""]);
    ran.succeeds();
    assert_eq!(ran.out, "b\ngpu|\ngpu_0");
    assert_eq!(cli.run(&["run", "a", "c", "--first", "--", "printenv", "HOLDFAST_RESOURCE"]).out, "c\n");
}

#[tokio::test]
async fn two_runs_of_one_requester_are_not_one() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let first = cli.start(&["run", "x", "--as", "me", "--", "sleep", "60"]);
    eventually("it is held", || cli.held() == ["x"]);
    cli.run(&["run", "x", "--as", "me", "--", "true"]).fails(75, "same --as");
    first.signal("-TERM");
    assert_eq!(first.ended().code, 143);
}

#[tokio::test]
async fn signals_are_passed_on() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let dir = tempfile::tempdir().unwrap();
    let ready = dir.path().join("ready");
    for (signal, name) in [("-TERM", "TERM"), ("-INT", "INT"), ("-HUP", "HUP"), ("-USR1", "USR1"), ("-QUIT", "QUIT")] {
        let script = format!(
            "trap 'echo got {name}; exit 5' {name}; echo $$ > {}; while :; do sleep 0.02; done",
            ready.display()
        );
        let run = cli.start(&["run", "x", "--", "sh", "-c", &script]);
        number_in(&ready);
        run.signal(signal);
        let ended = run.ended();
        assert_eq!((ended.code, ended.out.trim()), (5, format!("got {name}").as_str()), "{ended:?}");
        std::fs::remove_file(&ready).unwrap();
    }
    assert!(cli.held().is_empty());
}

#[tokio::test]
async fn a_signal_that_comes_before_the_command_is_not_lost() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    for step in 0..16 {
        let run = cli.start(&["run", "x", "--", "sleep", "600"]);
        // From before it is reserved to after the command is started; before signals are taken in, TERM ends it as any program.
        std::thread::sleep(Duration::from_millis(5 * step));
        run.signal("-TERM");
        assert_eq!(run.ended().code, 143, "after {} ms", 5 * step);
        assert!(cli.held().is_empty());
    }
}

#[tokio::test]
async fn what_the_caller_ignores_stays_ignored() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    // Given a run under nohup, whose command says what it ignores: bit 0 of the mask is HUP.
    let ran = cli.script("nohup holdfast run x -- sh -c 'grep SigIgn /proc/self/status' 2>/dev/null");
    let mask = u64::from_str_radix(ran.out.trim().strip_prefix("SigIgn:\t").unwrap(), 16).unwrap();
    assert_eq!(mask & 1, 1, "{ran:?}");
    // And nothing is blocked.
    let ran = cli.run(&["run", "x", "--", "grep", "SigBlk", "/proc/self/status"]);
    assert_eq!(ran.out, "SigBlk:\t0000000000000000\n");
}

#[tokio::test]
async fn what_the_command_leaves_in_its_group_ends_and_a_daemon_does_not() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let dir = tempfile::tempdir().unwrap();
    let (left, daemon) = (dir.path().join("left"), dir.path().join("daemon"));
    let script = format!(
        "sleep 60 & echo $! > {}; setsid sh -c 'echo $$ > {}; exec sleep 60' </dev/null >/dev/null 2>&1 & sleep 0.2",
        left.display(),
        daemon.display()
    );
    let ran = cli.run(&["run", "x", "--", "sh", "-c", &format!("{script} >/dev/null 2>&1")]);
    ran.succeeds();
    assert!(!runs(number_in(&left)), "what worked on the name is gone before the name is free");
    let daemon = number_in(&daemon);
    assert!(runs(daemon), "who left the group meant to stay");
    signal_to(daemon, "-KILL");
}

#[tokio::test]
async fn the_last_lines_of_a_pipeline_are_written() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    // The shell ends before what it feeds has written its line.
    let ran = cli.run(&["run", "x", "--", "bash", "-c", "echo last > >(sleep 0.2; cat)"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "last\n"), "{ran:?}");
}

#[tokio::test]
async fn it_stands_in_pipelines() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let ran = cli.script("set -o pipefail; seq 100000 | holdfast run x -- cat | tail -n 1");
    assert_eq!((ran.code, ran.out.as_str()), (0, "100000\n"), "{ran:?}");
    // A reader that leaves early ends the command by SIGPIPE, as without us.
    let ran = cli.script("holdfast run x -- yes | head -n 1; echo ${PIPESTATUS[0]}");
    assert_eq!(ran.out, "y\n141\n", "{ran:?}");
}

#[tokio::test]
async fn the_client_may_be_killed() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let dir = tempfile::tempdir().unwrap();
    let (own, other) = (dir.path().join("own"), dir.path().join("other"));
    // Given a command with a child in another session, under a lease of ten minutes.
    let script = format!(
        "setsid sh -c 'echo $$ > {}; exec sleep 600' & echo $$ > {}; while :; do sleep 0.1; done",
        other.display(),
        own.display()
    );
    let run = cli.start(&["run", "x", "--ttl", "10m", "--", "sh", "-c", &script]);
    let (own, other) = (number_in(&own), number_in(&other));

    // When the client is killed, everything of it ends, and the name is free long before its time.
    run.signal("-KILL");
    eventually("all has ended", || !runs(own) && !runs(other));
    eventually("the name is free", || cli.held().is_empty());
    drop(run.ended());
}

#[tokio::test]
async fn the_guard_may_be_killed() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("other");
    let script = format!("setsid sh -c 'echo $$ > {}; exec sleep 600' & wait", file.display());
    let run = cli.start(&["run", "x", "--ttl", "10m", "--", "sh", "-c", &script]);
    let (other, guard) = (number_in(&file), children(run.pid())[0]);
    let command = children(guard)[0];

    signal_to(guard, "-KILL");
    run.ended().fails(1, "guarded");
    assert!(!runs(command) && !runs(other));
    assert!(cli.held().is_empty());
}

#[tokio::test]
async fn the_command_does_not_outlive_client_and_guard() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let run = cli.start(&["run", "x", "--", "sleep", "600"]);
    eventually("the command runs", || children(run.pid()).first().is_some_and(|guard| !children(*guard).is_empty()));
    let guard = children(run.pid())[0];
    let command = children(guard)[0];
    // Stopped first, so that neither acts on the other's end; the guard first, for the end of its parent would continue it.
    for pid in [run.pid(), guard] {
        signal_to(pid, "-STOP");
    }
    for pid in [guard, run.pid()] {
        signal_to(pid, "-KILL");
    }
    eventually("the command has ended", || !runs(command));
    drop(run.ended());
}

#[tokio::test]
async fn a_stopped_client_does_not_let_the_command_outlive_its_lease() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = format!("trap '' TERM; echo $$ > {}; while :; do sleep 0.02; done", file.display());
    let run = cli.start(&["run", "x", "--ttl", "3s", "--", "sh", "-c", &script]);
    let command = number_in(&file);

    run.signal("-STOP");
    // It is gone no later than the name: whoever sees the name free sees no command.
    eventually("the name is free", || {
        let gone = !runs(command);
        let free = cli.held().is_empty();
        assert!(!free || gone || !runs(command), "the command runs while the name is free");
        free
    });
    run.signal("-CONT");
    run.ended().fails(79, "renewed in time");
}

#[tokio::test]
async fn as_the_first_process_of_a_container_it_collects_orphans() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let container = "unshare --user --map-root-user --pid --fork --mount-proc";
    if cli.script(&format!("{container} true")).code != 0 {
        eprintln!("this machine gives no process namespace to its users");
        return;
    }
    // Given orphans of the command, and of another program of the container, which the first process adopts.
    let script = "(sleep 0.05 &); sleep 0.3; ps -eo stat | grep -c Z; exit 3";
    let ran = cli.script(&format!("{container} holdfast run x -- sh -c '{script}'"));
    assert_eq!((ran.code, ran.out.trim()), (3, "0"), "{ran:?}");
    let term =
        format!("{container} --kill-child holdfast run x -- sleep 60 & sleep 1; kill -TERM $(pgrep -P $!); wait $!");
    assert_eq!(cli.script(&term).code, 143);
    assert!(cli.held().is_empty());
}

#[tokio::test]
async fn a_wait_that_is_interrupted_leaves_nothing_behind() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let at = world.at(&tenant);
    let held = at.acquire("somebody", "x", None).await;
    let mut command = cli.command(&["run", "x", "--", "true"]);
    let waiting = super::Started(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    eventually("it is in line", || cli.json(&["check", "x"])[0]["waiting"] == 1);
    waiting.signal("-INT");
    let ended = waiting.ended();
    ended.fails(130, "somebody");
    at.unreserve("somebody", "x", &held["releaseToken"]).await;
    assert!(at.listed().await.is_empty());
}

#[tokio::test]
async fn what_waits_is_served_when_the_holder_gives_back() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let at = world.at(&tenant);
    let held = at.acquire("somebody", "x", None).await;
    let waiting = cli.start(&["run", "x", "--wait", "1m", "--", "echo", "mine"]);
    eventually("it is in line", || cli.json(&["check", "x"])[0]["waiting"] == 1);
    at.unreserve("somebody", "x", &held["releaseToken"]).await;
    let ended = waiting.ended();
    assert_eq!((ended.code, ended.out.as_str()), (0, "mine\n"), "{ended:?}");
}
