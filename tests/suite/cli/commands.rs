//! The commands beside `run`, each with its exit codes and its JSON.

use serde_json::{Value, json};

use crate::{
    cli::Cli,
    support::world::{World, eventually},
};

#[tokio::test]
async fn what_is_reserved_is_renewed_checked_listed_and_released() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);

    let made = cli.json(&["reserve", "printer", "--as", "me", "--ttl", "60s", "--note", "paper", "--type", "Device"]);
    assert_eq!((&made[0]["status"], &made[0]["requester"]), (&json!("ACQUIRED"), &json!("me")));
    let token = made[0]["releaseToken"].as_str().unwrap();
    cli.run(&["reserve", "printer", "--as", "other"]).fails(75, "me");
    let checked = cli.json(&["check", "printer", "free"]);
    assert_eq!((&checked[0]["holder"], &checked[1]["isAvailable"]), (&json!("me"), &json!(true)));
    let listed = cli.json(&["list", "--requester", "me", "--prefix", "prin"]);
    assert_eq!((&listed["reservations"][0]["note"], &listed["nextCursor"]), (&json!("paper"), &Value::Null));
    assert!(cli.json(&["list", "--prefix", "x"])["reservations"].as_array().unwrap().is_empty());

    let renewed = cli.json(&["renew", "printer", "--as", "me", "--token", token, "--ttl", "10m"]);
    assert_eq!(renewed[0]["status"], "RENEWED");
    cli.run(&["release", "printer", "--as", "me", "--token", "wrong"]).fails(75, "INVALID_RELEASE_TOKEN");
    let wrong = cli.run(&["release", "printer", "--as", "other", "--token", token]);
    assert!(
        wrong.code == 75 && wrong.out.contains("held by \"me\"") && wrong.out.contains("not by \"other\""),
        "{wrong:?}"
    );
    let released = cli.json(&["release", "printer", "--as", "me", "--token", token]);
    assert_eq!(released[0]["status"], "RELINQUISHED");
    cli.run(&["release", "printer", "--as", "me", "--token", token]).succeeds();
    let lost = cli.run(&["renew", "printer", "--as", "me", "--token", token, "--ttl", "10m"]);
    assert_eq!(lost.code, 79, "{lost:?}");
    assert!(lost.out.contains("lost"), "{lost:?}");
}

#[tokio::test]
async fn a_shell_is_one_requester() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let ran = cli.script(
        "json=$(holdfast reserve a --json)\n\
         holdfast reserve a --json | grep -o ALREADY_HAD | head -n 1\n\
         token=$(grep -o '\"releaseToken\":\"[^\"]*' <<< $json | cut -d'\"' -f4)\n\
         HOLDFAST_TOKEN=$token holdfast release a",
    );
    assert_eq!((ran.code, ran.out.as_str()), (0, "ALREADY_HAD\na: given back\n"), "{ran:?}");
}

#[tokio::test]
async fn several_names_are_taken_as_the_option_says() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    world.at(&tenant).acquire("other", "b", None).await;
    let reserve = |option: &[&str]| cli.run(&[&["reserve", "a", "b", "c", "--as", "me"], option].concat());
    let free = || cli.run(&["force-release", "a"]).code + cli.run(&["force-release", "c"]).code;

    reserve(&["--all"]).fails(75, "other");
    assert_eq!(cli.held(), ["b"]);
    assert_eq!(reserve(&[]).code, 75);
    assert_eq!(cli.held(), ["a", "b", "c"], "each on its own");
    assert_eq!(free(), 0);
    reserve(&["--any"]).succeeds();
    assert_eq!(cli.held(), ["a", "b", "c"]);
    assert_eq!(free(), 0);
    reserve(&["--first"]).succeeds();
    assert_eq!(cli.held(), ["a", "b"]);
    reserve(&["--all", "--first"]).fails(64, "cannot be used with");
}

#[tokio::test]
async fn several_slots_of_a_pool_are_had_at_once() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let pools = json!([{"name": "gpu", "capacity": 3}, {"name": "rig", "capacity": 2}]);
    world.at(&tenant).post("/Resource/register", pools).await;
    let ran = cli.run(&[
        "run",
        "gpu",
        "--quantity",
        "2",
        "--",
        "sh",
        "-c",
        "echo \"$HOLDFAST_RESOURCE: $HOLDFAST_SLOT\"; holdfast list",
    ]);
    assert_eq!((ran.code, ran.out.lines().take(2).collect::<Vec<_>>()), (0, vec!["gpu: gpu_0", "gpu_1"]), "{ran:?}");
    assert_eq!(ran.out.lines().filter(|line| line.starts_with("gpu_")).count(), 3, "both are held: {ran:?}");
    assert!(cli.held().is_empty(), "both are given back");
    let ran = cli.run(&["run", "gpu", "rig", "--quantity", "2", "--", "printenv", "HOLDFAST_SLOT"]);
    assert_eq!(ran.out, "gpu_0\ngpu_1\nrig_0\nrig_1\n", "{ran:?}");

    let made = cli.run(&["reserve", "gpu", "--quantity", "3", "--as", "me", "--ttl", "5m"]);
    assert!(made.out.starts_with("gpu_0, gpu_1, gpu_2: acquired, until "), "{made:?}");
    cli.run(&["reserve", "rig", "--quantity", "3", "--as", "me", "--ttl", "5m"])
        .fails(75, "fewer slots than the quantity");
    cli.run(&["reserve", "rig", "--quantity", "0"]).fails(64, "--quantity");
    // The pool is named once, and the way out is an option that there is.
    let twice = cli.run(&["run", "rig", "rig", "--", "true"]);
    twice.fails(64, "use quantity");
    assert_eq!(twice.err.matches("use quantity").count(), 1, "{twice:?}");
}

#[tokio::test]
async fn a_reset_and_a_force_release_need_the_scope() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let made = at.post("/keys", json!({"label": "plain"})).await;
    at.acquire("somebody", "x", None).await;
    let plain = Cli::new(&world.replicas[0], &tenant).with_key(made.body["apiKey"].as_str().unwrap());
    plain.run(&["force-release", "x"]).fails(77, "admin");
    assert_eq!(at.listed().await, ["x"]);
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_on_another_replica() {
    let mut world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let address = world.replicas[0].address().to_owned();
    let cli = Cli::new(&world.replicas[0], &tenant);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("seen");
    let mut command = cli.command(&["watch", "--json", "--types", "RESERVED", "--resources", "a*"]);
    command.stdout(std::fs::File::create(&file).unwrap()).stderr(std::process::Stdio::piped());
    let mut watch = command.spawn().unwrap();
    let seen = || {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|event| event["resource"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // It sees what happens after it stands; until then the same is tried again.
    let mut number = 0;
    eventually("the watch stands", || {
        cli.run(&["reserve", &format!("a{number}")]).succeeds();
        number += 1;
        !seen().is_empty()
    });
    cli.run(&["reserve", "b"]).succeeds();

    // When its replica is killed, and another one comes to the same address after something has happened.
    world.replicas[0].kill();
    let url = world.redis.url();
    let other = crate::support::world::Replica::start(&[("REDIS_URL", url.as_str())]);
    other.ready().await;
    Cli::new(&other, &tenant).run(&["reserve", "away"]).succeeds();
    world.replicas[0] =
        crate::support::world::Replica::start(&[("REDIS_URL", url.as_str()), ("LISTEN", address.as_str())]);
    world.replicas[0].ready().await;
    eventually("it is connected again", || seen().contains(&"away".to_owned()));
    cli.run(&["reserve", "after"]).succeeds();
    eventually("it follows", || seen().last().is_some_and(|last| last == "after"));
    let names = seen();
    let first = names[0].clone();
    let expected: Vec<_> = (first[1..].parse::<u32>().unwrap()..number).map(|number| format!("a{number}")).collect();
    assert_eq!(names, [expected, vec!["away".into(), "after".into()]].concat(), "in order, once each");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[tokio::test]
async fn a_watch_begins_at_a_position_and_ends_with_its_reader() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let since = cli.json(&["list"])["asOf"].to_string();
    world.at(&tenant).acquire("w", "early", None).await;
    let ran = cli.script(&format!("holdfast watch --since {since} | head -n 1 & watch=$!; wait $watch"));
    assert!(ran.out.contains("RESERVED") && ran.out.contains("early by w"), "{ran:?}");
    cli.with_key("hf_live_none").run(&["watch"]).fails(77, "key");
}

#[tokio::test]
async fn a_watch_says_where_a_type_may_never_come() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let cases = [
        ("reserved", "reserved is a type of your platform's own events; reservations have RESERVED"),
        (
            "RESERVED,reservation-expired",
            "reservation-expired is a type of your platform's own events; reservations have RESERVATION_EXPIRED",
        ),
        ("RESERVE", "no event has the type RESERVE; reservations have RESERVED, UNRESERVED, "),
        ("Waiting", "no event has the type Waiting; reservations have WAITING"),
        ("RESERVED,deploy", ""),
    ];
    // Each watches until it is ended.
    std::thread::scope(|scope| {
        for (types, said) in cases {
            let cli = &cli;
            scope.spawn(move || {
                let ran = cli.script(&format!("timeout 3 holdfast watch --types {types}"));
                assert_eq!((ran.code, ran.out.as_str()), (124, ""), "{ran:?}");
                assert!(ran.err.contains(said) && ran.err.is_empty() == said.is_empty(), "{types}: {ran:?}");
            });
        }
    });
}

#[tokio::test]
async fn what_is_published_is_seen() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let one = cli.json(&["publish", "deploy", r#"{"version":7}"#, "--dedupe-id", "d"]);
    let again = cli.json(&["publish", "deploy", r#"{"version":7}"#, "--dedupe-id", "d"]);
    assert_eq!(one["ids"], again["ids"]);
    let ran = cli.script("echo '{\"a\":1}' | holdfast publish report -");
    assert_eq!(ran.code, 0, "{ran:?}");
    cli.run(&["publish", "deploy", "{"]).fails(64, "no JSON");
    cli.run(&["publish", "Deploy"]).fails(64, "type");
}

#[tokio::test]
async fn resources_are_code() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resources.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let register = |options: &[&str]| cli.run(&[&["register", file.to_str().unwrap()], options].concat());
    let names = || -> Vec<String> {
        let rows = cli.script("curl -s -H \"X-Api-Key: $HOLDFAST_KEY\" $HOLDFAST_URL/api/v1/Resource").out;
        let rows: Value = serde_json::from_str(&rows).unwrap();
        let mut names: Vec<_> =
            rows["resources"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    write("[[resource]]\nname = \"gpu\"\ncapacity = 2\n[[resource]]\nname = \"desk\"\ntreePath = \"house>room\"\n");
    let planned = register(&["--plan"]);
    assert!(planned.out.contains("+ gpu, capacity 2") && planned.out.contains("2 to create"), "{planned:?}");
    assert!(names().is_empty());
    register(&[]).succeeds();
    assert_eq!(names(), ["desk", "gpu", "house", "room"]);
    assert!(register(&[]).out.contains("0 to create, 0 to change, 0 to delete, 2 unchanged"));

    write("[[resource]]\nname = \"gpu\"\ncapacity = 3\n");
    let planned = register(&["--plan", "--prune"]);
    assert!(planned.out.contains("~ gpu, capacity 2 -> 3") && planned.out.contains("- desk"), "{planned:?}");
    register(&["--prune"]).fails(64, "--yes");
    assert_eq!(names(), ["desk", "gpu", "house", "room"], "nothing was changed");
    register(&["--prune", "--yes"]).succeeds();
    assert_eq!(names(), ["gpu"]);

    write("[[resource]]\nname = \"gpu\"\ncapcity = 3\n");
    register(&[]).fails(64, "capcity");
    write("[[resource]]\nname = \"a\"\n[[resource]]\nname = \"a\"\n");
    register(&[]).fails(64, "twice");
    cli.run(&["register", "/nonexistent"]).fails(64, "cannot be read");
}

#[tokio::test]
async fn a_profile_says_where_and_with_which_key() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("holdfast")).unwrap();
    let text = format!("[profile.test]\nurl = \"{}\"\nkey = \"{}\"\n", world.replicas[0].url, tenant.key);
    std::fs::write(dir.path().join("holdfast/config.toml"), text).unwrap();
    let cli = Cli::new(&world.replicas[0], &tenant);
    let run = |args: &[&str]| {
        let mut command = cli.command(args);
        command.env("XDG_CONFIG_HOME", dir.path()).env_remove("HOLDFAST_URL").env_remove("HOLDFAST_KEY");
        super::Ran::of(command.output().unwrap())
    };
    let ran = run(&["list", "--profile", "test"]);
    ran.succeeds();
    assert!(ran.err.contains("chmod 600"), "{ran:?}");
    run(&["list", "--profile", "prod"]).fails(64, "test");
    let key = dir.path().join("key");
    std::fs::write(&key, format!("{}\n", tenant.key)).unwrap();
    run(&["list", "--url", &world.replicas[0].url, "--key-file", key.to_str().unwrap()]).succeeds();
    run(&["list", "--url", &world.replicas[0].url]).fails(77, "key");
}

#[tokio::test]
async fn who_waits_is_listed_counted_and_cancelled() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    world.at(&tenant).acquire("somebody", "x", None).await;
    assert_eq!(cli.json(&["waiting"])["waiting"], json!([]));
    let waiting = cli.start(&["reserve", "x", "y", "--all", "--as", "me", "--wait", "1m", "--priority", "3"]);
    eventually("it waits", || cli.json(&["check", "x"])[0]["waiting"] == 1);
    let listed = cli.json(&["waiting", "--resource", "x", "--requester", "me"]);
    let row = &listed["waiting"][0];
    assert_eq!((&row["place"], &row["priority"], &row["resources"]), (&json!(1), &json!(3), &json!(["x", "y"])));
    let table = cli.run(&["check", "x"]).out;
    assert!(table.contains("WAITING") && table.contains("somebody"), "{table}");
    assert!(cli.run(&["waiting"]).out.contains(row["ticket"].as_str().unwrap()));

    // Its owner learns that it was cancelled, and who has it.
    assert_eq!(cli.json(&["cancel", row["ticket"].as_str().unwrap()])["status"], "CANCELLED");
    let ended = waiting.ended();
    ended.fails(75, "the wait was cancelled");
    ended.fails(75, "somebody");
    assert_eq!(cli.json(&["check", "x"])[0]["waiting"], 0);
    cli.run(&["cancel", "0f8fad5b-d9cb-469f-a165-70867728950e"]).fails(75, "NOT_FOUND");
}
