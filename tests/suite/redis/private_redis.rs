//! The private Redis: Holdfast as one process with a redis-server of its own.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::world::{Client, Replica, admin, call, eventually, run, until};

fn start(dir: &Path) -> Replica {
    Replica::start(&[("DATA_DIR", dir.to_str().unwrap())])
}

/// Processes whose command line or working directory is in the directory: our redis-server. The service names it only in its environment.
fn servers_of(dir: &Path) -> Vec<u32> {
    let dir = dir.canonicalize().unwrap();
    let named = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&format!("{}/", dir.display()))
            || std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| at.starts_with(&dir))
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(named)
        .collect()
}

async fn tenant(replica: &Replica) -> String {
    replica.ready().await;
    let made = admin(replica, Method::POST, "", Some(json!({"name": "n", "tier": "Pro"}))).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body["apiKey"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_second_service_in_the_directory_is_refused_and_the_first_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path());

    let said = Replica::try_start(&[("DATA_DIR", dir.path().to_str().unwrap())]).err().expect("it does not start");

    assert!(said.contains(&format!("process {}", first.pid())) && said.contains("HOLDFAST_DATA_DIR"), "{said}");
    first.ready().await;
}

#[tokio::test]
async fn killed_it_leaves_no_orphan_and_the_next_start_finds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = start(dir.path());
    let key = tenant(&first).await;
    let held = Client { replica: &first, key: &key }.acquire("w", "r", Some(600)).await;
    eventually("it runs its own redis-server", || servers_of(dir.path()).len() == 1);
    // Redis writes its file once a second; a kill may lose that second.
    let file = dir.path().join("redis");
    eventually("the reservation is on the disk", || is_on_disk(&file, held["releaseToken"].as_str().unwrap()));

    first.kill();

    eventually("its redis-server is gone with it", || servers_of(dir.path()).is_empty());
    let second = start(dir.path());
    second.ready().await;
    let at = Client { replica: &second, key: &key };
    assert_eq!(at.reserve("w", "r", None).await["releaseToken"], held["releaseToken"]);
}

/// Whether a file under the directory contains this release token, in binary form.
fn is_on_disk(dir: &Path, token: &str) -> bool {
    holds(dir, uuid::Uuid::try_parse(token).expect("a release token").as_bytes())
}

fn holds(dir: &Path, wanted: &[u8]) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.filter_map(Result::ok).any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            holds(&path, wanted)
        } else {
            std::fs::read(&path).is_ok_and(|bytes| bytes.windows(wanted.len()).any(|window| window == wanted))
        }
    })
}

#[tokio::test]
async fn a_kill_and_a_start_at_once_never_run_two_servers_over_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = start(dir.path());
    let key = tenant(&first).await;
    for round in 0..3 {
        let resource = format!("r{round}");
        first.kill();
        first = start(dir.path());
        first.ready().await;
        Client { replica: &first, key: &key }.acquire("w", &resource, None).await;
        assert_eq!(servers_of(dir.path()).len(), 1);
        let token = Client { replica: &first, key: &key }.reserve("w", &resource, None).await["releaseToken"]
            .as_str()
            .unwrap()
            .to_owned();
        eventually("the reservation is on the disk", || is_on_disk(&dir.path().join("redis"), &token));
    }
    assert_eq!(Client { replica: &first, key: &key }.listed().await, ["r0", "r1", "r2"]);
}

#[tokio::test]
async fn on_sigterm_it_ends_in_order_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = start(dir.path());
    let key = tenant(&first).await;
    Client { replica: &first, key: &key }.acquire("w", "the last one", None).await;

    first.signal("-TERM");

    assert_eq!(first.ended(), 0);
    eventually("its redis-server is gone with it", || servers_of(dir.path()).is_empty());
    let mut second = start(dir.path());
    second.ready().await;
    assert_eq!(Client { replica: &second, key: &key }.listed().await, ["the last one"]);
    second.signal("-INT");
    assert_eq!(second.ended(), 0);
}

#[tokio::test]
async fn a_data_directory_may_have_a_long_path() {
    let dir = tempfile::tempdir().unwrap();
    let long: PathBuf = dir.path().join("d".repeat(120)).join("e".repeat(60));
    let mut replica = start(&long);
    let key = tenant(&replica).await;
    Client { replica: &replica, key: &key }.acquire("w", "r", None).await;
    assert!(long.join("redis").exists());

    // Its socket is elsewhere. What a killed service leaves there goes with the next start.
    let socket_directory = || std::fs::read_to_string(long.join("socket-directory")).unwrap();
    let before = socket_directory();
    assert!(Path::new(&before).join("redis.sock").exists());
    replica.signal("-KILL");
    replica.ended();
    let mut next = start(&long);
    next.ready().await;
    assert_ne!(socket_directory(), before);
    assert!(!Path::new(&before).exists(), "{before}");
    next.signal("-INT");
    assert_eq!(next.ended(), 0);
}

#[tokio::test]
async fn a_server_that_is_killed_is_started_again_over_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = start(dir.path());
    let key = tenant(&replica).await;
    let at = Client { replica: &replica, key: &key };
    at.acquire("w", "kept", None).await;
    // The log of writes is synced each second.
    let socket = dir.path().join("redis.sock");
    let ask = |section: &str, field: &str| -> Option<String> {
        let mut connection =
            redis::Client::open(format!("redis+unix://{}", socket.display())).ok()?.get_connection().ok()?;
        let info: String = redis::cmd("INFO").arg(section).query(&mut connection).ok()?;
        info.lines().find_map(|line| line.strip_prefix(field)).map(|value| value.trim().to_owned())
    };
    eventually("it is on disk", || ask("persistence", "aof_pending_bio_fsync:").as_deref() == Some("0"));
    let before = ask("server", "process_id:").unwrap();
    for _ in 0..2 {
        let pid = ask("server", "process_id:").unwrap();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        eventually("another one is there", || ask("server", "process_id:").is_some_and(|other| other != pid));
        replica.ready().await;
    }
    assert_eq!(at.listed().await, ["kept"]);
    let log = replica.log();
    assert_eq!(log.matches("the private redis-server has ended").count(), 2, "{log}");
    assert_ne!(ask("server", "process_id:").unwrap(), before);
    // The end stops the server of the moment.
    let last = ask("server", "process_id:").unwrap();
    replica.signal("-TERM");
    assert_eq!(replica.ended(), 0);
    assert!(!Path::new("/proc").join(last).exists());
}

#[tokio::test]
async fn the_data_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let replica = start(&data);
    replica.ready().await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join("lock")), mode(&data.join("redis.sock"))), (0o700, 0o600, 0o700));

    // The server has none of the secrets that the service was started with.
    let url = format!("redis+unix://{}", data.join("redis.sock").display());
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    let info: String = redis::cmd("INFO").arg("server").query(&mut connection).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap().trim();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("HOLDFAST"));
}

#[tokio::test]
async fn the_demo_prints_lines_that_work_when_pasted_and_keeps_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("DATA_DIR", dir.path().to_str().unwrap())];
    let mut first = Replica::start_demo(&settings);
    let lines = |replica: &Replica| {
        eventually("it prints what to paste", || replica.stdout().matches("curl").count() == 2);
        replica.stdout()
    };
    let said = lines(&first);
    let key_of =
        |said: &str| said.lines().find_map(|line| line.trim().strip_prefix("demo key")).unwrap().trim().to_owned();
    let key = key_of(&said);
    assert!(key.starts_with("hf_live_") && said.contains(&first.url), "{said}");

    let reserve = said.lines().find(|line| line.contains("/Reservation/reserve")).unwrap();
    let output = Command::new("sh").args(["-c", reserve.trim()]).stderr(Stdio::inherit()).output().unwrap();
    let granted: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(granted[0]["status"], "ACQUIRED", "{granted}");
    first.signal("-TERM");
    assert_eq!(first.ended(), 0);

    let second = Replica::start_demo(&settings);
    let said = lines(&second);
    assert_eq!(key_of(&said), key, "the demo tenant is made once");
    let again = Command::new("sh")
        .args(["-c", said.lines().find(|line| line.contains("/Reservation/reserve")).unwrap().trim()])
        .output()
        .unwrap();
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&again[0]["status"], &again[0]["releaseToken"]), (&json!("ALREADY_HAD"), &granted[0]["releaseToken"]));
    assert!(!second.log().contains(&key), "the key is for the terminal, not for the log");
}

#[tokio::test]
async fn the_demo_is_alive() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Replica::start_demo(&[("DATA_DIR", dir.path().to_str().unwrap())]);
    eventually("it prints the key", || demo.stdout().contains("demo key"));
    let said = demo.stdout();
    let key = said.lines().find_map(|line| line.trim().strip_prefix("demo key")).unwrap().trim();
    assert!(said.contains(&format!("{}/#/sign-in?key={key}", demo.url)), "a link that signs in: {said}");
    assert!(said.contains(&format!("{}/guide/\n", demo.url)), "a link to the guide: {said}");

    let at = Client { replica: &demo, key };
    let seen: [Cell<bool>; 4] = Default::default();
    let [slots, jobs, waits, tree] = &seen;
    let note = |seen: &Cell<bool>, now: bool| seen.set(seen.get() || now);
    until("a pool, a tree, a line and jobs are in use", || async {
        let held = at.listed().await;
        note(slots, held.iter().any(|name| name.starts_with("demo-gpu_")));
        note(tree, held.iter().any(|name| name == "demo-press"));
        let waiting = at.get("/Reservation/waiting").await;
        note(waits, !waiting.body["waiting"].as_array().unwrap().is_empty());
        let listed = call(Method::GET, &format!("{}/api/jobs", demo.url), Some(key), None).await;
        note(jobs, listed.body["data"].as_array().unwrap().iter().any(|job| job["state"] == "completed"));
        seen.iter().all(Cell::get)
    })
    .await;
}

#[tokio::test]
async fn the_command_line_reaches_the_private_redis_of_a_running_service() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("DATA_DIR", dir.path().to_str().unwrap())];
    let nobody = run(&["tenant", "list"], &settings).unwrap_err();
    assert!(nobody.contains("HOLDFAST_DATA_DIR"), "{nobody}");

    let replica = start(dir.path());
    replica.ready().await;
    let made = run(&["tenant", "create", "cli", "--tier", "Pro"], &settings).unwrap();
    let key = made.lines().find_map(|line| line.strip_prefix("key")).unwrap().trim();
    Client { replica: &replica, key }.acquire("w", "r", None).await;
}

#[test]
fn without_a_redis_server_it_says_what_to_install() {
    let dir = tempfile::tempdir().unwrap();
    // A PATH without redis-server.
    for program in ["setpriv", "env"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{program}"), dir.path().join(program)).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .arg("serve")
        .env_clear()
        .env("PATH", dir.path())
        .env("HOLDFAST_DATA_DIR", dir.path().join("data"))
        .env("HOLDFAST_LISTEN", "127.0.0.1:0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success()
            && said.contains("redis-server")
            && said.contains("apt-get install")
            && said.contains("HOLDFAST_REDIS_URL"),
        "{said}"
    );
}
