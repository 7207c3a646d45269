//! The dashboard in a real Chromium: see `tests/browser/`.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::support::world::{ADMIN_KEY, Replica, Tenant, World, bound_to_test, collect, free_port};

#[tokio::test]
async fn every_view_and_action_of_the_dashboard_works() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    Browser::new(&world, &tenant).run("dashboard.mjs", |_| panic!("it asks for nothing"));
    assert!(world.at(&tenant).listed().await.is_empty(), "it leaves the tenant as it found it");
}

#[tokio::test]
async fn the_dashboard_says_how_true_it_is() {
    let address = format!("127.0.0.1:{}", free_port());
    // A Redis that loses nothing when killed.
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut world = World::<2>::with(&durable, &[]).await;
    let tenant = world.tenant().await;
    let redis_url = world.redis.url();
    let settings = [("REDIS_URL", redis_url.as_str()), ("LISTEN", address.as_str())];
    let mut watched = Some(Replica::start(&settings));
    let here = watched.as_ref().unwrap().url.clone();
    let mut browser = Browser::new(&world, &tenant);
    browser.urls = format!("{here},{}", world.replicas[1].url);
    browser.run("truth.mjs", |what| match what {
        "redis kill" => world.redis.kill(),
        "redis restart" => world.redis.restart(),
        "replica kill" => watched = None,
        "replica restart" => watched = Some(Replica::start(&settings)),
        other => panic!("it asks for {other}"),
    });
}

#[tokio::test]
async fn the_dashboard_is_accessible_in_every_view_and_size() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    Browser::new(&world, &tenant).run("craft.mjs", |_| panic!("it asks for nothing"));
}

#[tokio::test]
async fn the_dashboard_shows_many_rows_and_many_events_a_second() {
    let world = World::<2>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    Browser::new(&world, &tenant).run("scale.mjs", |_| panic!("it asks for nothing"));
}

#[tokio::test]
async fn the_dashboard_shows_limits_and_manages_keys_and_tenants() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    Browser::new(&world, &tenant).run("usage.mjs", |_| panic!("it asks for nothing"));
}

#[tokio::test]
async fn the_charts_of_the_dashboard_show_what_happened() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    Browser::new(&world, &tenant).run("charts.mjs", |_| panic!("it asks for nothing"));
}

/// A run of one of the scripts.
pub struct Browser {
    dir: PathBuf,
    urls: String,
    key: String,
    /// Further variables for the script.
    pub settings: Vec<(&'static str, String)>,
}

impl Browser {
    pub fn new(world: &World<2>, tenant: &Tenant) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/dist/dashboard/index.html");
        assert!(built.exists(), "the dashboard is not built: run `make test`, or `make web`");
        assert!(
            dir.join("node_modules/playwright-core").exists(),
            "packages are missing: run `make test`, or `npm ci` in tests/browser"
        );
        let urls = world.replicas.each_ref().map(|replica| replica.url.as_str()).join(",");
        Self { dir, urls, key: tenant.key.clone(), settings: Vec::new() }
    }

    /// Runs a script to its end. `please` does what it asks for between its checks.
    pub fn run(&self, script: &str, mut please: impl FnMut(&str)) {
        let mut child = bound_to_test("node")
            .arg(self.dir.join(script))
            .env("HOLDFAST_URLS", &self.urls)
            .env("HOLDFAST_KEY", &self.key)
            .env("HOLDFAST_ADMIN_KEY", ADMIN_KEY)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("node starts");
        let complaints = collect(child.stderr.take().unwrap());
        let mut answers = child.stdin.take().unwrap();
        let mut said = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if let Some(what) = line.strip_prefix("please: ") {
                please(what);
                // A script that has ended meanwhile is told by its exit.
                let _ = writeln!(answers, "done");
            }
            said.push_str(&line);
            said.push('\n');
        }
        let status = child.wait().unwrap();
        assert!(status.success(), "{said}{}", complaints.lock().unwrap());
    }
}
