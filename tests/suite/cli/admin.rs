//! `holdfast tenant` and `key`: names, JSON, and no deletion by accident.

use serde_json::Value;

use crate::support::world::{World, run};

#[tokio::test]
async fn tenants_are_named_shown_and_deleted() {
    let world = World::<1>::start().await;
    let url = world.redis.url();
    let settings = [("REDIS_URL", url.as_str()), ("LOG", "error")];
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&run(&[args, &["--json"]].concat(), &settings).unwrap()).unwrap()
    };

    let made = json(&["tenant", "create", "acme", "--tier", "Pro"]);
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
    for _ in 0..2 {
        run(&["tenant", "create", "twin"], &settings).unwrap();
    }
    let asked = run(&["tenant", "delete", "twin", "--yes"], &settings).unwrap_err();
    assert!(asked.contains("2 tenants") && asked.contains("by its id"), "{asked}");
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
