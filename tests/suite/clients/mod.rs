//! What programs make of the OpenAPI document: clients in several languages, and requests that search for faults.
//! `make test` installs the programs; their versions are pinned in `tests/clients`.

mod conformance;
mod generated;

use std::{path::PathBuf, time::Duration};

use serde_json::Value;
use tokio::process::Command;

use crate::support::{
    source::{read, root},
    world::{Replica, Tenant},
};

/// Timeout of one program, 15 minutes: generators start a virtual machine or a compiler, beside other tests.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(900);

/// The folder of the programs.
fn programs() -> PathBuf {
    root().join("tests/clients")
}

/// The address of the document's server, behind that of the service.
fn server_of_the_document() -> String {
    let document: Value = serde_json::from_str(&read("openapi/openapi.json")).unwrap();
    document["servers"][0]["url"].as_str().unwrap().to_owned()
}

/// A program that ends with the test, with where to call and with which key.
fn program(name: impl Into<PathBuf>, replica: &Replica, tenant: &Tenant) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(name.into()).env("HOLDFAST_URL", &replica.url);
    command.env("HOLDFAST_KEY", &tenant.key).env("HOLDFAST_SERVER", server_of_the_document()).kill_on_drop(true);
    command
}

/// The output of a program that must succeed.
async fn output_of(mut command: Command) -> String {
    let output = tokio::time::timeout(PROGRAM_TIMEOUT, command.output()).await.expect("it ends").unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{complaints}\n`make test` installs what it needs");
    printed
}
