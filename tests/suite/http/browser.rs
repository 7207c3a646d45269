//! The dashboard in a real Chromium: see `tests/browser/`.

use std::{path::Path, process::Stdio};

use crate::support::world::{World, bound_to_test};

#[tokio::test]
async fn the_dashboard_shows_what_happens_without_a_reload() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    assert!(
        dir.join("node_modules/playwright-core").exists(),
        "packages are missing: run `make test`, or `npm ci` in tests/browser"
    );
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;

    let output = bound_to_test("node")
        .arg(dir.join("dashboard.mjs"))
        .env("HOLDFAST_URL", &world.replicas[0].url)
        .env("HOLDFAST_KEY", &tenant.key)
        .env("AT_ONCE_MS", "5000") // other tests run beside this one
        .stdin(Stdio::null())
        .output()
        .expect("node starts");

    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(world.at(&tenant).listed().await.is_empty(), "it leaves the tenant as it found it");
}
