//! The interactive reader of the document, and what other people's programs say of the document.

use std::{path::Path, process::Stdio};

use crate::support::{
    source::root,
    world::{ADMIN_KEY, World, bound_to_test},
};

/// Runs a program on the document, which must find nothing; returns what it said.
fn finds_nothing(program: &Path, arguments: &[&str]) -> String {
    assert!(program.exists(), "{} is missing: run `make test`", program.display());
    let document = root().join("openapi/openapi.json");
    let output = bound_to_test(program.to_str().unwrap())
        .args(arguments)
        .arg(&document)
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn the_document_is_valid_openapi() {
    let said = finds_nothing(&root().join("tests/clients/.venv/bin/openapi-spec-validator"), &[]);
    assert!(said.contains("OK"), "{said}");
}

#[test]
fn a_linter_has_neither_errors_nor_warnings() {
    let redocly = root().join("tests/clients/node_modules/.bin/redocly");
    let said = finds_nothing(&redocly, &["lint", "--extends=recommended", "--format=json"]);
    let start = said.find("{\n").unwrap_or_else(|| panic!("no findings: {said}"));
    let mut findings = serde_json::Deserializer::from_str(&said[start..]).into_iter::<serde_json::Value>();
    let findings = findings.next().unwrap().unwrap();
    assert_eq!((&findings["totals"]["errors"], &findings["totals"]["warnings"]), (&0.into(), &0.into()), "{findings}");
}

#[tokio::test]
async fn every_operation_can_be_tried_in_a_browser() {
    assert!(
        root().join("tests/browser/node_modules/playwright-core").exists(),
        "packages are missing: run `make test`"
    );
    assert!(root().join("web/dist/reference/index.html").exists(), "the page is not built: run `make web`");
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;

    let output = bound_to_test("node")
        .arg(root().join("tests/browser/reference.mjs"))
        .env("HOLDFAST_URL", &world.replicas[0].url)
        .env("HOLDFAST_KEY", &tenant.key)
        .env("HOLDFAST_ADMIN_KEY", ADMIN_KEY)
        .stdin(Stdio::null())
        .output()
        .expect("node starts");

    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
}
