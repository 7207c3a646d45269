//! The OpenAPI document: committed, printed and served alike, and complete.

use std::{collections::BTreeSet, path::Path};

use reqwest::Method;
use serde_json::Value;

use crate::support::world::{World, call, run};

fn committed() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json"))
        .expect("openapi/openapi.json is committed")
}

/// Every operation, with its method and path.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .iter()
            .filter(|(method, _)| *method != "parameters")
            .map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    each.collect()
}

#[test]
fn the_committed_document_is_the_printed_one() {
    let printed = run(&["openapi"], &[]).unwrap();
    assert!(printed == committed(), "run: holdfast openapi > openapi/openapi.json");
}

#[tokio::test]
async fn the_served_document_is_the_committed_one() {
    let world = World::<1>::start().await;
    let url = &world.replicas[0].url;
    let served = reqwest::get(format!("{url}/openapi.json")).await.unwrap();
    assert_eq!(served.headers()["content-type"], "application/json");
    assert!(served.text().await.unwrap() == committed());

    let dashboard = call(Method::GET, &format!("{url}/"), None, None).await;
    assert_eq!(
        (dashboard.status.as_u16(), dashboard.headers["content-type"].to_str().unwrap()),
        (200, "text/html; charset=utf-8")
    );
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_how_it_can_fail() {
    let document: Value = serde_json::from_str(&committed()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let operations = operations(&document);
    let names: BTreeSet<_> = operations
        .iter()
        .map(|(at, operation)| operation["operationId"].as_str().unwrap_or_else(|| panic!("{at} has no name")))
        .collect();
    assert_eq!(names.len(), operations.len());
    for (at, operation) in &operations {
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{at}");
        for status in ["401", "429", "503", "default"] {
            assert!(responses.contains_key(status), "{at} does not document {status}");
        }
        let reads = at.starts_with("get ")
            || ["checkMany", "verifyFence"].contains(&operation["operationId"].as_str().unwrap());
        assert_eq!(
            responses.contains_key("504"),
            !reads,
            "{at}: only of a change it can be unknown whether it was done"
        );
        for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with('2')) {
            let shared = response["$ref"].as_str().unwrap_or_else(|| panic!("{at} {status} is described by itself"));
            let schema = &document.pointer(shared.strip_prefix('#').unwrap()).unwrap()["content"]["application/json"];
            assert_eq!(schema["schema"]["$ref"], "#/components/schemas/ErrorBody", "{at} {status}");
        }
        assert!(
            operation["description"].as_str().or(operation["summary"].as_str()).is_some_and(|text| !text.is_empty()),
            "{at} is not described"
        );
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document: Value = serde_json::from_str(&committed()).unwrap();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    for (at, operation) in operations(&document) {
        for scheme in
            operation["security"].as_array().into_iter().flatten().flat_map(|one| one.as_object().unwrap().keys())
        {
            assert!(schemes.contains_key(scheme), "{at}: {scheme}");
        }
    }
}

#[test]
fn every_promised_route_is_documented() {
    let document: Value = serde_json::from_str(&committed()).unwrap();
    let known: BTreeSet<_> = operations(&document).into_iter().map(|(at, _)| at).collect();
    for wanted in [
        "post /api/v1/Reservation/reserve",
        "post /api/v1/Reservation/unreserve",
        "post /api/v1/Reservation/renew",
        "get /api/v1/Reservation/check/{resource}",
        "post /api/v1/Reservation/check",
        "get /api/v1/Reservation/activeReservations",
        "get /api/v1/Reservation",
        "post /api/v1/Reservation/forceRelease",
        "post /api/v1/Reservation/reset",
        "post /api/v1/Reservation/verifyFence",
        "get /api/v1/events",
        "post /api/v1/keys",
        "get /api/v1/keys",
        "post /api/v1/keys/{id}/rotate",
        "delete /api/v1/keys/{id}",
        "post /api/v1/admin/tenants",
        "get /api/v1/admin/tenants",
        "get /api/v1/admin/tenants/{id}",
        "patch /api/v1/admin/tenants/{id}",
        "delete /api/v1/admin/tenants/{id}",
    ] {
        assert!(known.contains(wanted), "{wanted}");
    }
}

#[test]
fn every_closed_set_of_words_is_an_enum() {
    let document: Value = serde_json::from_str(&committed()).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (set, word) in [
        ("ErrorCode", "VALIDATION_ERROR"),
        ("EventType", "RESERVED"),
        ("Explanation", "RELINQUISHED"),
        ("IssuerKind", "jwks"),
        ("LimitType", "ConcurrentReservations"),
        ("ReleaseStatus", "RELINQUISHED"),
        ("RenewStatus", "RENEWED"),
        ("RequestType", "RENEW"),
        ("ReserveStatus", "ALREADY_HELD"),
        ("Scope", "admin"),
        ("Tier", "Starter"),
        ("TransactionMethod", "AS_MANY_AS_POSSIBLE"),
        ("TransactionStatus", "ROLLED_BACK"),
        ("TransactionType", "UNRESERVE"),
    ] {
        let words = schemas[set]["enum"].as_array().unwrap_or_else(|| panic!("{set} is no enum"));
        assert!(words.iter().any(|known| known == word), "{set} has no {word}");
        let description = schemas[set]["description"].as_str().unwrap();
        assert!(words.iter().all(|word| description.contains(&format!("`{}`: ", word.as_str().unwrap()))), "{set}");
    }
    for (schema, property, set) in [
        ("ReserveResult", "status", "ReserveStatus"),
        ("ErrorDetail", "code", "ErrorCode"),
        ("ReservationEvent", "type", "EventType"),
        ("Session", "tier", "Tier"),
    ] {
        let property = serde_json::to_string(&schemas[schema]["properties"][property]).unwrap();
        assert!(property.contains(&format!("#/components/schemas/{set}\"")), "{schema}: {property}");
    }
}
