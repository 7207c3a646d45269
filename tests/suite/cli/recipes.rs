//! The recipes of `docs/recipes`, run as they stand beside programs that write down what they did.

use std::{os::unix::fs::PermissionsExt, path::Path, process::Command};

use crate::{
    cli::{Cli, Ran, Started, with_default_signals},
    support::world::{World, eventually},
};

/// A directory with the recipes, and programs of these names, each a line of shell.
struct Kitchen {
    dir: tempfile::TempDir,
    cli: Cli,
}

impl Kitchen {
    fn new(cli: &Cli, programs: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes");
        for entry in std::fs::read_dir(recipes).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        for (name, line) in programs {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        Self { dir, cli: cli.clone() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = with_default_signals(args[0]);
        self.cli.environment(&mut command);
        command.args(&args[1..]).current_dir(self.dir.path());
        command.stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    fn start(&self, args: &[&str]) -> Started {
        let mut command = self.command(args);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        Started(command.spawn().unwrap())
    }

    /// What the programs wrote down.
    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

#[tokio::test]
async fn one_deploy_at_a_time() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let kitchen =
        Kitchen::new(&cli, &[("upload", "echo upload $1 >> log; sleep 0.3"), ("switch", "echo switch $1 >> log")]);
    let deploys = ["1", "2"].map(|version| kitchen.start(&["./deploy.sh", version]));
    for deploy in deploys {
        deploy.ended().succeeds();
    }
    let log = kitchen.log();
    let one_after_the_other = ["upload 1\nswitch 1\nupload 2\nswitch 2\n", "upload 2\nswitch 2\nupload 1\nswitch 1\n"];
    assert!(one_after_the_other.contains(&log.as_str()), "{log}");
}

#[tokio::test]
async fn once_a_night_whatever_the_number_of_hosts() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let kitchen = Kitchen::new(&cli, &[("report", "echo report >> log")]);
    for host in [(); 5].map(|()| kitchen.start(&["./nightly.sh"])) {
        host.ended().succeeds();
    }
    assert_eq!(kitchen.log(), "report\n");
    let away = Kitchen { cli: cli.with_key("hf_live_none"), ..kitchen };
    away.run(&["./nightly.sh"]).fails(1, "did not run");
}

#[tokio::test]
async fn a_night_that_a_limit_refuses_is_no_other_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let tiers = dir.path().join("tiers.toml");
    std::fs::write(&tiers, "[Starter]\nconcurrent_reservations = 1\n").unwrap();
    let world = World::<1>::with(&[], &[("TIERS_FILE", tiers.to_str().unwrap())]).await;
    let tenant = world.tenant_of("Starter").await;
    world.at(&tenant).acquire("somebody", "else", None).await;
    let kitchen = Kitchen::new(&Cli::new(&world.replicas[0], &tenant), &[("report", "echo report >> log")]);
    kitchen.run(&["./nightly.sh"]).fails(1, "did not run");
    assert_eq!(kitchen.log(), "");
}

#[tokio::test]
async fn one_pod_migrates() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let kitchen = Kitchen::new(
        &cli,
        &[("is-migrated", "[ -e done ]"), ("migrate", "echo migrate >> log; sleep 0.2; touch done")],
    );
    for pod in [(); 3].map(|()| kitchen.start(&["./migrate.sh"])) {
        pod.ended().succeeds();
    }
    assert_eq!(kitchen.log(), "migrate\n");
}

#[tokio::test]
async fn make_has_as_many_jobs_as_there_are_slots() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let train = "mkdir gpu$2 || exit 1; sleep 0.2; rmdir gpu$2; echo model $1";
    let kitchen = Kitchen::new(&cli, &[("train", train)]);
    kitchen.run(&["holdfast", "register", "resources.toml"]).succeeds();
    kitchen.run(&["make", "-s", "-j", "16"]).succeeds();
    for model in ["a", "b", "c", "d"] {
        let text = std::fs::read_to_string(kitchen.dir.path().join(format!("{model}.model"))).unwrap();
        assert_eq!(text, format!("model {model}\n"));
    }
}

#[tokio::test]
async fn another_one_takes_over_from_a_leader_that_is_gone() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let kitchen = Kitchen::new(&cli, &[("lead", "echo $HOLDFAST_FENCE >> log; exec sleep 600")]);
    let _candidates = [(); 2].map(|()| kitchen.start(&["./leader.sh"]));
    let leaders = || kitchen.log().lines().map(|fence| fence.parse().unwrap()).collect::<Vec<u64>>();
    eventually("one leads", || leaders().len() == 1);
    cli.run(&["force-release", "leader"]).succeeds();
    eventually("another one leads", || leaders().len() == 2);
    assert!(leaders()[1] > leaders()[0], "its fence is greater");
}
