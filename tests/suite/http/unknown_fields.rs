//! Fields that are not known: refused and named, so that a misspelt one is noticed.

use reqwest::Client as Http;
use serde_json::{Value, json};

use crate::support::world::{ADMIN_KEY, World, answer};

/// Routes whose bodies others' programs make, with fields that we do not know.
const IGNORE_UNKNOWN_FIELDS: [&str; 2] = ["publish", "ingest"];

#[tokio::test]
async fn an_unknown_field_is_refused_and_named_on_every_route_with_a_body() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let document: Value = serde_json::from_str(holdfast::http::document()).unwrap();
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let name = operation["operationId"].as_str().unwrap();
            if schema.is_null() || IGNORE_UNKNOWN_FIELDS.contains(&name) {
                continue;
            }
            let is_list = schema["type"] == "array";
            let path = path.replace("{tenant_id}", &tenant.id).replace(['{', '}'], "");
            let url = format!("{}{path}", world.replicas[0].url);
            let body = if is_list { r#"[{"notAField":1}]"# } else { r#"{"notAField":1}"# };
            let request = Http::new()
                .request(method.to_uppercase().parse().unwrap(), url)
                .header("x-api-key", &tenant.key)
                .header("x-admin-key", ADMIN_KEY)
                .header("content-type", "application/json")
                .body(body);
            let answer = answer(request.send().await.unwrap()).await;
            assert_eq!(answer.paths(), [if is_list { "[0].notAField" } else { "notAField" }], "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 14, "{seen} routes with a body");

    // A lock whose time to live was misspelt must not last for ever.
    let at = world.at(&tenant);
    let misspelt = at.post("/Reservation/reserve", json!([{"requester": "w", "resource": "r", "ttl": 60}])).await;
    let detail = &misspelt.fails(400, "VALIDATION_ERROR")["details"][0];
    assert_eq!(
        (&detail["path"], &detail["message"]),
        (&json!("[0].ttl"), &json!("is no field here; did you mean ttlSeconds?"))
    );
    assert!(at.listed().await.is_empty());
    let pushed = at.post("/events", json!({"type": "a", "data": 1, "colour": "red"})).await;
    assert_eq!(pushed.status, 202, "{pushed:?}");
}
