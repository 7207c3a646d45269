//! Requests that schemathesis makes of the document, right ones and wrong ones: no answer is a failure of the service,
//! and every answer is as the document describes it.

use crate::{
    clients::{output_of, program, programs},
    support::world::{ADMIN_KEY, Replica, Tenant, World, long},
};

/// Operations that are left out: two streams, which do not end, and the sign-out, which needs a session.
const LEFT_OUT: [&str; 3] = ["events", "queueEvents", "signOut"];
/// Operations that can end the caller's own credential, or lower its limits: searched last, by themselves.
const ENDING: [&str; 4] = ["deleteTenant", "updateTenant", "rotateKey", "deleteKey"];
/// What is held of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
response_headers_conformance,response_schema_conformance";

/// Searches with these choices of operations; the number of cases that passed.
async fn searched(replica: &Replica, tenant: &Tenant, choice: &[String]) -> usize {
    // Each in a folder of its own: it leaves a database of examples behind.
    let folder = tempfile::tempdir().unwrap();
    let mut search = program(programs().join(".venv/bin/schemathesis"), replica, tenant);
    search.arg("--config-file").arg(programs().join("schemathesis.toml")).arg("--no-color").arg("run");
    search.arg(format!("{}/openapi.json", replica.url)).args(["--origin", &replica.url]).args(choice);
    search.args(["--header", &format!("X-Api-Key:{}", tenant.key)]);
    search.args(["--header", &format!("X-Admin-Key:{ADMIN_KEY}")]).args(["--checks", CHECKS]);
    // CPython 3.11 loses count of its recursion where two threads parse at once.
    search.args(["--workers", "1"]);
    let (phases, cases) = if long() { ("examples,coverage,fuzzing", "50") } else { ("examples,fuzzing", "3") };
    search.args(["--phases", phases, "--max-examples", cases, "--no-shrink"]).current_dir(folder.path());
    let printed = output_of(search).await;
    let is_count = |(at, _): (usize, &str)| printed[..at].ends_with(|last: char| last.is_ascii_digit());
    assert!(!printed.match_indices(" failed").any(is_count), "{printed}");
    let passed = printed.lines().rev().find_map(|line| line.trim().strip_suffix(" passed")?.rsplit(' ').next());
    passed.and_then(|count| count.replace(',', "").parse().ok()).unwrap_or_else(|| panic!("{printed}"))
}

#[tokio::test]
async fn every_answer_to_what_schemathesis_invents_is_as_the_document_says() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let replica = &world.replicas[0];
    let each = |option: &str, operations: &[&str]| -> Vec<String> {
        operations.iter().flat_map(|operation| [option.to_owned(), (*operation).to_owned()]).collect()
    };
    let passed = searched(replica, &tenant, &each("--exclude-operation-id", &[&LEFT_OUT[..], &ENDING].concat())).await;
    assert!(passed >= 100, "{passed} cases");
    // The credential has been good all the time, so it was not refusals alone that were looked at.
    assert_eq!(world.at(&tenant).get("/session").await.status, 200);
    assert!(searched(replica, &tenant, &each("--include-operation-id", &ENDING)).await >= 4);
    assert!(!replica.log().contains("\"level\":\"ERROR\""), "the replica met a bug");
}
