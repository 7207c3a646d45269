//! The official SDK for Python as the client, and the recipe for agents.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{http::agents::MODERN, support::world::World};

/// What a program of the official SDK sees, by step.
async fn seen_by(program: &str, argument: &str) -> Vec<(String, Value)> {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let clients = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let urls = world.replicas.each_ref().map(|replica| replica.url.clone()).join(",");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(clients.join(".venv/bin/python"));
    command.arg(clients.join("agents").join(program)).arg(argument);
    command
        .env("HOLDFAST_URLS", urls)
        .env("HOLDFAST_URL", &world.replicas[0].url)
        .env("HOLDFAST_KEY", &tenant.key)
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(120), command.output()).await.expect("it ends").unwrap();
    let (seen, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{seen}\n{errors}\n`make test` installs what it needs");
    let lines = seen.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["step"].as_str().unwrap().to_owned(), line["seen"].clone())).collect()
}

/// What both kinds of versions must show.
fn is_shared(seen: &[(String, Value)], version: &str) {
    let step = |name: &str| &seen.iter().find(|(step, _)| step == name).unwrap_or_else(|| panic!("{name}: {seen:?}")).1;
    let connected = step("connected");
    assert_eq!((&connected[0], &connected[1]), (&json!(version), &json!("holdfast")));
    assert!(connected[2].as_str().unwrap().contains("releaseToken"));
    let tools: Vec<_> = seen.iter().filter(|(step, _)| step == "tools").map(|(_, tools)| tools).collect();
    assert_eq!((tools.len(), tools[0], tools[0].as_array().unwrap().len()), (2, tools[1], 6));
    assert_eq!(step("held")["status"], "ACQUIRED");
    assert_eq!((&step("waiting")["status"], &step("waiting")["holder"]), (&json!("WAITING"), &json!("north")));
    assert_eq!(step("line")["waiting"][0]["ticket"], step("waiting")["ticket"]);
    assert_eq!(step("renewed")["results"][0]["status"], "RENEWED");
    assert_eq!(step("released")["results"][0]["status"], "RELINQUISHED");
    assert_eq!(step("handed over")["status"], "ACQUIRED");
    assert!(step("handed over")["fencingToken"].as_i64() > step("held")["fencingToken"].as_i64());
    assert_eq!(
        (&step("checked")["results"][0]["holder"], &step("checked")["results"][1]["isAvailable"]),
        (&json!("south"), &json!(true))
    );
    assert_eq!(step("listed")["reservations"][0]["requester"], "south");
    let wrong = step("wrong");
    assert_eq!(
        (&wrong["isError"], &wrong["error"]["details"][0]["path"]),
        (&json!(true), &json!("requests[0].resorce"))
    );
    assert_eq!(step("not mine")["error"]["code"], "INVALID_RELEASE_TOKEN");
    assert_eq!(step("given back")["results"][0]["status"], "RELINQUISHED");
    assert!(step("stranger").as_str().unwrap().contains("A valid API key is needed"), "{}", step("stranger"));
}

#[tokio::test]
async fn pythons_sdk_shares_a_file_over_two_replicas() {
    is_shared(&seen_by("share.py", "auto").await, MODERN);
}

#[tokio::test]
async fn pythons_sdk_shares_a_file_with_the_older_handshake() {
    is_shared(&seen_by("share.py", "legacy").await, "2025-11-25");
}

#[tokio::test]
async fn the_recipe_for_agents_works_as_it_stands() {
    let recipe = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/recipes/agents.md");
    let seen = seen_by("recipe.py", recipe.to_str().unwrap()).await;
    let steps = |wanted: &str| seen.iter().filter(|(step, _)| step == wanted).map(|(_, seen)| seen).collect::<Vec<_>>();
    let clients: Vec<_> = steps("client").into_iter().map(|client| client["name"].as_str().unwrap()).collect();
    assert_eq!(clients, ["Claude Code", "Codex", "Cursor", "Gemini CLI", "VS Code"]);
    for client in steps("client") {
        assert_eq!(client["tools"], json!(["reserve", "release", "renew", "check", "list", "waiting"]), "{client}");
    }
    let calls = steps("call");
    assert!(calls.len() >= 6, "{calls:?}");
    for call in calls {
        assert_eq!(call["seen"], call["written"], "{call}");
    }
}
