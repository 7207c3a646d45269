//! Clients that generators make of the document: without a warning, accepted by the checkers of their languages, and
//! at work where the machine has the language.

use serde_json::Value;
use tokio::process::Command;

use crate::{
    clients::{output_of, program, programs},
    support::{source::root, world::World},
};

/// Generates and checks the client of a language in a folder; the folder of its code.
async fn generated(language: &str, folder: &tempfile::TempDir) -> String {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(programs().join(".venv/bin/python"));
    command.arg(programs().join("generated/generate.py")).arg(language);
    command.arg(root().join("openapi/openapi.json")).arg(folder.path()).kill_on_drop(true);
    let made: Value = serde_json::from_str(&output_of(command).await).unwrap();
    assert_eq!((&made["language"], &made["warnings"]), (&language.into(), &0.into()));
    assert!(made["lines"].as_u64() > Some(1_000), "{made}");
    made["code"].as_str().unwrap().to_owned()
}

/// What a program of a generated client must print at its end.
fn is_at_work(printed: &str) {
    let seen: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert!(seen["fence"].as_i64() > Some(0) && seen["handedOver"] == "ALREADY_HAD", "{seen}");
}

#[tokio::test]
async fn pythons_generated_client_is_typed_and_works() {
    let (world, folder) = (World::<1>::start().await, tempfile::tempdir().unwrap());
    let tenant = world.tenant().await;
    let code = generated("python", &folder).await;
    let mut using = program(programs().join(".venv/bin/python"), &world.replicas[0], &tenant);
    using.arg("use.py").current_dir(code);
    is_at_work(&output_of(using).await);
}

#[tokio::test]
async fn typescripts_generated_types_are_right_and_work() {
    let (world, folder) = (World::<1>::start().await, tempfile::tempdir().unwrap());
    let tenant = world.tenant().await;
    let code = generated("typescript", &folder).await;
    let mut using = program("node", &world.replicas[0], &tenant);
    using.arg("use.js").current_dir(code);
    is_at_work(&output_of(using).await);
}

#[tokio::test]
async fn javas_client_is_generated_without_a_warning() {
    generated("java", &tempfile::tempdir().unwrap()).await;
}

#[tokio::test]
async fn gos_client_is_generated_without_a_warning() {
    generated("go", &tempfile::tempdir().unwrap()).await;
}
