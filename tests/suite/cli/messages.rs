//! What the command line says where something is not as meant: what it is, and a way out that it has itself.

use serde_json::json;

use crate::{
    cli::Cli,
    support::world::{World, eventually},
};

#[tokio::test]
async fn who_releases_as_somebody_else_reads_whose_it_is_and_not_to_wait() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    // A pipeline is a shell of its own, so it is another requester than the shell that reads its output.
    let ran = cli.script(
        "token=$(holdfast reserve db --ttl 5m --json | grep -o '\"releaseToken\":\"[^\"]*' | cut -d'\"' -f4)\n\
         holdfast check db --json | grep -o '\"holder\":\"[^\"]*' | cut -d'\"' -f4\n\
         holdfast release db --token \"$token\"; echo \"$?\"\n\
         holdfast renew db --token \"$token\" --ttl 1m; echo \"$? $$\"",
    );
    let lines: Vec<_> = ran.out.lines().collect();
    let [holder, release, release_code, renewal, renewal_code] = lines[..] else { panic!("{ran:?}") };
    let (code, shell) = renewal_code.split_once(' ').unwrap();
    assert_eq!((release_code, code), ("75", "79"), "{ran:?}");
    for line in [release, renewal] {
        assert!(line.contains(&format!("held by \"{holder}\" until")) && !line.contains("wait"), "{line}");
        assert!(line.contains(&format!(":{shell}\"; send the requester")), "the likeliest one is named: {line}");
    }
    let hint =
        format!("say who reserved it with --as; without it this shell is {}", holder.rsplit_once(':').unwrap().0);
    assert_eq!(ran.err.matches(&hint).count(), 2, "{ran:?}");
    let named = cli.run(&["release", "db", "--as", "me", "--token", "x"]);
    assert!(named.code == 75 && !named.err.contains("--as"), "{named:?}");
    assert_eq!(cli.held(), ["db"]);
}

#[tokio::test]
async fn a_reservation_says_its_end_or_that_it_has_none_and_whose_it_is() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let endless = cli.run(&["reserve", "printer", "--as", "me"]);
    endless.succeeds();
    let first = "printer: acquired, without an end: it stays until released; --ttl 5m ends it\n";
    assert!(endless.out.starts_with(first) && endless.out.ends_with(", as me\n"), "{endless:?}");
    let again = cli.run(&["reserve", "printer", "--as", "me", "--ttl", "5m"]);
    assert!(
        again.out.contains("already yours, without an end: it stays until released; `holdfast renew`"),
        "{again:?}"
    );
    let short = cli.run(&["reserve", "scanner", "--as", "me", "--ttl", "5m"]);
    assert!(short.out.starts_with("scanner: acquired, until ") && !short.out.contains("end"), "{short:?}");
}

#[tokio::test]
async fn a_refusal_is_in_the_words_of_the_command_line() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let (cli, at) = (Cli::new(&world.replicas[0], &tenant), world.at(&tenant));
    at.acquire("somebody", "x", None).await;
    let once = cli.run(&["reserve", "x", "--as", "me"]);
    let said = "holdfast: x: held by \"somebody\" without an end\n--wait 5m waits for it\n";
    assert_eq!((once.code, once.err.as_str()), (75, said));
    let both = cli.run(&["reserve", "x", "y", "--all", "--as", "me"]);
    both.fails(75, "\ny: free, but not taken without x\n");
    let waited = cli.run(&["reserve", "x", "--as", "me", "--wait", "1s"]);
    assert!(
        waited.err.ends_with("holdfast: x: not free within 1s; held by \"somebody\" without an end\n"),
        "{waited:?}"
    );

    for names in [&["x"][..], &["x", "y", "--all"]] {
        let waiting = cli.start(&[&["reserve"], names, &["--as", "me", "--wait", "1m"]].concat());
        eventually("it waits", || cli.json(&["check", "x"])[0]["waiting"] == 1);
        let ticket = cli.json(&["waiting"])["waiting"][0]["ticket"].as_str().unwrap().to_owned();
        cli.run(&["cancel", &ticket]).succeeds();
        let ended = waiting.ended();
        ended.fails(75, "\nholdfast: x: the wait was cancelled; held by \"somebody\" without an end\n");
        assert!(!ended.err.contains("--wait"), "{ended:?}");
    }
}

#[tokio::test]
async fn who_waits_is_listed_by_name_and_place() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let (cli, at) = (Cli::new(&world.replicas[0], &tenant), world.at(&tenant));
    let names = ["b", "a"];
    for name in names {
        at.acquire("somebody", name, None).await;
    }
    for place in 1..=6 {
        for name in names {
            let requester = format!("{name}-{place}");
            let item = json!([{"requester": requester, "resource": name, "ttlSeconds": 60, "waitSeconds": 600}]);
            assert_eq!(at.post("/Reservation/reserve", item).await.statuses(), ["WAITING"]);
        }
    }
    let listed = cli.run(&["waiting"]).out;
    let shown: Vec<_> = listed.lines().skip(1).map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    let expected: Vec<_> = ["a", "b"].iter().flat_map(|name| (1..=6).map(move |n| format!("{name}-{n}"))).collect();
    assert_eq!(shown, expected, "{listed}");
}

#[tokio::test]
async fn no_key_and_a_wrong_key_are_two_sentences_and_neither_shows_a_key() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let url = &world.replicas[0].url;
    let none = cli.with_key("").run(&["list"]);
    none.fails(77, &format!("{url} asks for a key, and none is set: export HOLDFAST_KEY="));
    let wrong = "hf_live_abcdefghijklmnopqrstuvwxyz0123456789";
    for command in [&["list"][..], &["watch"], &["run", "x", "--", "true"]] {
        let ran = cli.with_key(wrong).run(command);
        ran.fails(77, &format!("the key hf_live_ab... of HOLDFAST_KEY is not valid at {url}: "));
        assert!(!ran.err.contains("hf_live_abc") && !ran.err.contains("header"), "{ran:?}");
    }
}

#[tokio::test]
async fn an_address_that_is_nearly_right_works_or_says_what_is_wrong() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let url = &world.replicas[0].url;
    cli.run(&["list", "--url", &format!("{url}/api/v1")]).succeeds();
    let ran = cli.run(&["list", "--url", &url.replace("http://", "https://")]);
    ran.fails(69, "it answers, but not in TLS: is it http:// instead of https://?");
    assert!(!ran.err.contains("Is the service running"), "{ran:?}");
}

#[tokio::test]
async fn a_fault_is_said_once() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let empty = cli.run(&["run", "", "--", "true"]);
    empty.fails(64, "must not be empty");
    assert_eq!(empty.err.matches("must not be empty").count(), 1, "{empty:?}");
    let several = cli.run(&["reserve", "", "", "--as", "me"]);
    assert_eq!(several.err.matches("must not be empty").count(), 2, "{several:?}");
    cli.run(&["reserve", "x", "--ttl", "60"]).fails(64, "write it like 60s, 5m or 2h");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resources.toml");
    std::fs::write(&file, "[resource]\nname = \"gpu\"\n").unwrap();
    cli.run(&["register", file.to_str().unwrap()]).fails(64, "write [[resource]], in double brackets");
}
