//! `holdfast tenant` and `key`: names, JSON, and no deletion by accident.

use serde_json::Value;

use crate::{
    cli::{Ran, with_default_signals},
    support::world::{World, call, run, without_settings},
};

fn command_with(args: &[&str], settings: &[(&str, &str)]) -> std::process::Command {
    let mut command = with_default_signals(env!("CARGO_BIN_EXE_holdfast"));
    without_settings(&mut command);
    command.args(args).envs(settings.iter().map(|(name, value)| (format!("HOLDFAST_{name}"), value)));
    command.stdin(std::process::Stdio::null());
    command
}

fn with_settings(args: &[&str], settings: &[(&str, &str)]) -> Ran {
    Ran::of(command_with(args, settings).output().unwrap())
}

#[tokio::test]
async fn tenants_are_named_shown_and_deleted() {
    let world = World::<1>::start().await;
    let url = world.redis.url();
    let settings = [("REDIS_URL", url.as_str()), ("LOG", "error")];
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&run(&[args, &["--json"]].concat(), &settings).unwrap()).unwrap()
    };

    let made = json(&["tenant", "create", "acme", "--tier", "Pro"]);
    assert!(run(&["tenant", "show", "acme"], &settings).unwrap().contains("ttl      no end by default, no bound"));
    assert!(made["apiKey"].as_str().unwrap().starts_with("hf_live_"));
    let id = made["tenantId"].as_str().unwrap();
    for by in ["acme", id] {
        let shown = json(&["tenant", "show", by]);
        assert_eq!((shown["tenantId"].as_str(), shown["tier"].as_str()), (Some(id), Some("Pro")));
        assert_eq!(shown["keys"].as_array().unwrap().len(), 1);
        assert!(!shown.to_string().contains("hf_live_"));
    }
    assert!(run(&["tenant", "show", "acme"], &settings).unwrap().contains(id));
    assert_eq!(json(&["tenant", "update", "acme", "--tier", "Free"])["tier"], "Free");
    assert_eq!(json(&["tenant", "list"])["tenants"].as_array().unwrap().len(), 1);

    let asked = run(&["tenant", "delete", "acme"], &settings).unwrap_err();
    assert!(asked.contains("--yes"), "{asked}");
    assert_eq!(json(&["tenant", "list"])["tenants"].as_array().unwrap().len(), 1);
    run(&["tenant", "delete", "acme", "--yes"], &settings).unwrap();
    let gone = run(&["tenant", "show", "acme"], &settings).unwrap_err();
    assert!(gone.contains("no such tenant") && gone.contains("holdfast tenant list"), "{gone}");
}

#[tokio::test]
async fn a_tenant_for_whom_no_tier_is_named_has_room_and_a_limit_names_the_way_out() {
    let world = World::<1>::start().await;
    let url = world.redis.url();
    let settings = [("REDIS_URL", url.as_str()), ("LOG", "error")];
    run(&["tenant", "create", "mine"], &settings).unwrap();
    run(&["key", "create", "mine", "second"], &settings).unwrap();
    assert!(run(&["tenant", "show", "mine"], &settings).unwrap().contains("tier     Pro"));

    let made = run(&["tenant", "create", "small", "--tier", "free", "--json"], &settings).unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    let refused = run(&["key", "create", "small", "second"], &settings).unwrap_err();
    let way_out = format!("`holdfast tenant update {} --tier Starter`", made["tenantId"].as_str().unwrap());
    assert!(refused.contains("the tier Free allows 1 keys") && refused.contains(&way_out), "{refused}");
    run(&["tenant", "update", "small", "--tier", "Starter"], &settings).unwrap();
    run(&["key", "create", "small", "second"], &settings).unwrap();
}

#[tokio::test]
async fn a_name_that_several_have_is_not_guessed() {
    let world = World::<1>::start().await;
    let url = world.redis.url();
    let settings = [("REDIS_URL", url.as_str()), ("LOG", "error")];
    let made = run(&["tenant", "create", "twin", "--json"], &settings).unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    let again = with_settings(&["tenant", "create", "twin"], &settings);
    again.fails(75, &format!("\"twin\" already, {}; --another makes one more", made["tenantId"].as_str().unwrap()));
    run(&["tenant", "create", "twin", "--another"], &settings).unwrap();
    let asked = run(&["tenant", "delete", "twin", "--yes"], &settings).unwrap_err();
    assert!(asked.contains("2 tenants") && asked.contains("by its id"), "{asked}");
}

#[tokio::test]
async fn a_tenants_times_to_live_are_set_and_shown() {
    let world = World::<1>::start().await;
    let url = world.redis.url();
    let settings = [("REDIS_URL", url.as_str()), ("LOG", "error")];
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&run(&[args, &["--json"]].concat(), &settings).unwrap()).unwrap()
    };
    let ttls = |row: &Value| (row["defaultTtlSeconds"].as_i64(), row["maxTtlSeconds"].as_i64());

    let made = json(&["tenant", "create", "lab", "--default-ttl", "5m", "--max-ttl", "1h"]);
    assert_eq!(ttls(&made), (Some(300), Some(3_600)));
    assert_eq!(ttls(&json(&["tenant", "show", "lab"])), (Some(300), Some(3_600)));
    assert!(run(&["tenant", "show", "lab"], &settings).unwrap().contains("5m00s by default, 1h00m at most"));
    // They hold: a reservation that names none ends.
    let key = made["apiKey"].as_str().unwrap();
    let item = serde_json::json!([{"requester": "w", "resource": "r"}]);
    let reserve = format!("{}/api/v1/Reservation/reserve", world.replicas[0].url);
    let answer = call(reqwest::Method::POST, &reserve, Some(key), Some(item)).await;
    assert!(answer.body[0]["expiresAt"].is_string(), "{answer:?}");

    let changed = json(&["tenant", "update", "lab", "--default-ttl", "0s"]);
    assert_eq!((ttls(&changed), changed["tier"].as_str()), ((None, Some(3_600)), Some("Pro")));
    assert_eq!(ttls(&json(&["tenant", "show", "lab"])), (None, Some(3_600)));
    for args in [
        &["tenant", "update", "lab", "--default-ttl", "2h"][..],
        &["tenant", "create", "no", "--default-ttl", "2h", "--max-ttl", "1h"],
    ] {
        with_settings(args, &settings).fails(64, "longer than the longest one, 1h00m");
    }
    with_settings(&["tenant", "update", "lab"], &settings).fails(64, "--max-ttl");
    assert_eq!(json(&["tenant", "list"])["tenants"].as_array().unwrap().len(), 1, "what is refused is not made");
}

#[test]
fn where_no_service_runs_the_whole_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command_with(&["tenant", "list"], &[("DATA_DIR", "data")]);
    let ran = Ran::of(command.current_dir(dir.path()).output().unwrap());
    let whole = dir.path().canonicalize().unwrap().join("data");
    ran.fails(64, &format!("no Holdfast runs over the directory {}: ", whole.display()));
}

#[tokio::test]
async fn keys_are_named_shown_rotated_and_deleted() {
    let world = World::<1>::start().await;
    let url = world.redis.url();
    let settings = [("REDIS_URL", url.as_str()), ("LOG", "error")];
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&run(&[args, &["--json"]].concat(), &settings).unwrap()).unwrap()
    };
    run(&["tenant", "create", "acme", "--tier", "Pro"], &settings).unwrap();

    let made = json(&["key", "create", "acme", "worker", "--scopes", "read"]);
    assert!(made["apiKey"].as_str().unwrap().starts_with("hf_live_"));
    assert_eq!(made["scopes"], serde_json::json!(["read"]));
    for by in ["worker", made["id"].as_str().unwrap()] {
        let shown = json(&["key", "show", "acme", by]);
        assert_eq!(shown["id"], made["id"]);
        assert!(shown.get("apiKey").is_none());
    }
    assert_ne!(json(&["key", "rotate", "acme", "worker"])["apiKey"], made["apiKey"]);
    assert!(run(&["key", "delete", "acme", "worker"], &settings).unwrap_err().contains("--yes"));
    run(&["key", "delete", "acme", "worker", "--yes"], &settings).unwrap();
    assert_eq!(json(&["key", "list", "acme"])["keys"].as_array().unwrap().len(), 1);
    let last = json(&["key", "list", "acme"])["keys"][0]["id"].as_str().unwrap().to_owned();
    assert!(run(&["key", "delete", "acme", &last, "--yes"], &settings).unwrap_err().contains("scope admin"));
}
