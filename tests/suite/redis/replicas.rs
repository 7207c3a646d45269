//! A replica's life: start, settings, limits of connections, TLS, drain; and the command line.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;

use crate::support::{
    sse::Seen,
    world::{Replica, TIMEOUT, World, admin, bound_to_test, eventually, free_port, run, until},
};

#[tokio::test]
async fn on_sigterm_it_finishes_what_it_has_begun_and_ends_its_streams() {
    let mut world = World::<1>::with(&[], &[("DRAIN_SECONDS", "3")]).await;
    let tenant = world.tenant().await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = world.at(&tenant).events("").await;
        stream.head().await;
        streams.push(stream);
    }
    // A request whose body is incomplete, and a request whose head is.
    let body = r#"[{"requester":"w","resource":"r"}]"#;
    let mut running = TcpStream::connect(world.replicas[0].address()).unwrap();
    let head = format!(
        "POST /api/v1/Reservation/reserve HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        tenant.key,
        body.len()
    );
    running.write_all(format!("{head}{}", &body[..10]).as_bytes()).unwrap();
    let mut asking = TcpStream::connect(world.replicas[0].address()).unwrap();
    asking.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n").unwrap();
    let in_use = |url: String| async move {
        reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap().contains("holdfast_connections 7")
    };
    until("all are connected", || in_use(world.replicas[0].url.clone())).await;

    let begun = Instant::now();
    world.replicas[0].signal("-TERM");
    eventually("it drains", || world.replicas[0].log().contains("\"draining\""));
    let text = |mut stream: TcpStream| {
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    asking.write_all(b"\r\n").unwrap();
    let readiness = text(asking);
    assert!(readiness.starts_with("HTTP/1.1 503") && readiness.contains("\"draining\":true"), "{readiness}");
    running.write_all(&body.as_bytes()[10..]).unwrap();
    let answer = text(running);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("ACQUIRED"), "{answer}");
    for stream in &mut streams {
        let rest = stream.rest().await;
        assert!(matches!(rest.last(), Some(Seen::Retry(1000..=5000))), "{rest:?}");
    }
    assert_eq!(world.replicas[0].ended(), 0);
    assert!(begun.elapsed() < Duration::from_secs(3) + TIMEOUT / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_client_that_never_finishes_is_cut_when_the_drain_ends() {
    let mut world = World::<1>::with(&[], &[("DRAIN_SECONDS", "1")]).await;
    let mut stuck = TcpStream::connect(world.replicas[0].address()).unwrap();
    stuck.write_all(b"POST /api/v1/Reservation/reserve HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n").unwrap();
    let in_use = |url: String| async move {
        reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap().contains("holdfast_connections 2")
    };
    until("it is connected", || in_use(world.replicas[0].url.clone())).await;

    world.replicas[0].signal("-TERM");

    assert_eq!(world.replicas[0].ended(), 0);
    let mut rest = Vec::new();
    let _ = stuck.read_to_end(&mut rest);
}

#[tokio::test]
async fn an_address_that_another_process_has_is_refused() {
    let world = World::<1>::start().await;
    let url = world.redis.url();
    let taken = world.replicas[0].address().to_owned();

    let said = Replica::try_start(&[("REDIS_URL", &url), ("LISTEN", &taken)]).err().expect("it does not start");

    assert!(said.contains(&format!("HOLDFAST_LISTEN={taken}")) && said.contains("in use"), "{said}");
    world.replicas[0].ready().await;
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_named() {
    for (name, value, word) in [
        ("REDIS_URL", "mysql://x", "redis://"),
        ("REDIS_URL", "redis+sentinel://h1", "name"),
        ("LISTEN", "nowhere", "127.0.0.1:8080"),
        ("DRAIN_SECONDS", "0", "1 to 3600"),
        ("DURABILITY", "durable", "fast"),
        ("LOG_FORMAT", "xml", "json"),
        ("TLS_CERT", "/nothing", "HOLDFAST_TLS_KEY"),
        ("LOG", "a=b=c", "cannot be read"),
    ] {
        let mut settings = vec![("REDIS_URL", "redis://127.0.0.1:1")];
        settings.push((name, value));
        let said = Replica::try_start(&settings).err().unwrap_or_else(|| panic!("{name}={value} was taken"));
        assert!(said.contains(&format!("HOLDFAST_{name}")) && said.contains(word), "{name}={value}: {said}");
    }
}

#[tokio::test]
async fn without_free_file_descriptors_connections_are_answered_and_nothing_spins() {
    let dir = tempfile::tempdir().unwrap();
    let redis = crate::support::redis_server::Redis::start(dir.path(), &[]);
    // 240 files: 40 connections, and 200 that the service keeps spare.
    let mut limited = bound_to_test("sh");
    limited.args(["-c", "ulimit -n 240; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_holdfast")]);
    let replica = Replica::launch(limited, &["serve"], &[("REDIS_URL", &redis.url()), ("WORKERS", "1")]).unwrap();
    replica.ready().await;

    let mut crowd: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(replica.address()).unwrap()).collect();
    for stream in &mut crowd {
        // One that was closed for a later one takes nothing.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    }
    let answered =
        crowd.iter_mut().filter_map(|stream| stream.read(&mut [0; 1024]).ok()).filter(|read| *read > 0).count();
    assert!(answered >= 40, "{answered} were served");
    assert!(
        !replica.log().contains("could not be accepted"),
        "the limit of connections keeps it from running out of files"
    );

    // When those connections close, others are served.
    drop(crowd);
    replica.ready().await;
}

/// A self-signed certificate for `localhost`, and its key.
pub fn certificate(dir: &std::path::Path) -> (String, String) {
    let (certificate, key) = (dir.join("cert.pem").display().to_string(), dir.join("key.pem").display().to_string());
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
        ])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    (certificate, key)
}

#[tokio::test]
async fn https_is_served_from_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let redis = crate::support::redis_server::Redis::start(dir.path(), &[]);
    let (certificate, key) = certificate(dir.path());
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let settings =
        [("REDIS_URL", redis.url()), ("TLS_CERT", certificate.clone()), ("TLS_KEY", key.clone()), ("LISTEN", listen)];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let replica = Replica::start(&settings);
    assert!(replica.url.starts_with("https://"));

    let curl = |args: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "--cacert", &certificate])
            .args(args)
            .output()
            .unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let healthz = format!("https://localhost:{port}/healthz");
    for version in ["--http1.1", "--http2"] {
        let (out, err) = curl(&[version, "-w", "%{http_version}", &healthz]);
        assert_eq!(
            (out.as_str(), err.as_str()),
            (if version == "--http2" { "{\"status\":\"ok\"}2" } else { "{\"status\":\"ok\"}1.1" }, "")
        );
    }
    // Plain HTTP on that port is told so, also where it sends much, and harms nothing.
    let body = format!("@{certificate}");
    for more in [&[][..], &["--data-binary", &body]] {
        let url = format!("http://localhost:{port}/healthz");
        let (out, err) = curl(&[more, &["-w", " %{http_code}", &url]].concat());
        assert!(out.contains("write https:// instead of http://") && out.ends_with(" 400"), "{out} {err}");
    }
    assert_eq!(curl(&[&healthz]).0, "{\"status\":\"ok\"}");

    let broken =
        Replica::try_start(&[("REDIS_URL", "redis://127.0.0.1:1"), ("TLS_CERT", &key), ("TLS_KEY", &certificate)])
            .err()
            .unwrap();
    assert!(broken.contains("HOLDFAST_TLS_CERT"), "{broken}");
}

#[tokio::test]
async fn the_command_line_does_what_the_admin_api_does() {
    let world = World::<1>::start().await;
    let url = world.redis.url();
    let settings = [("REDIS_URL", url.as_str())];
    let holdfast = |args: &[&str]| run(args, &settings);
    let field = |text: &str, name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_else(|| panic!("{name} in {text}"))
            .trim()
            .to_owned()
    };

    let made = holdfast(&["tenant", "create", "by hand", "--tier", "free"]).unwrap();
    let (id, key) = (field(&made, "tenant"), field(&made, "key"));
    let at = crate::support::world::Client { replica: &world.replicas[0], key: &key };
    at.acquire("w", "r", None).await;
    assert!(
        holdfast(&["tenant", "list"])
            .unwrap()
            .lines()
            .any(|line| line.contains(&id) && line.contains("Free") && line.ends_with("by hand"))
    );

    let limit = holdfast(&["key", "create", &id, "second"]).unwrap_err();
    assert!(limit.contains("allows 1 keys"), "{limit}");
    holdfast(&["tenant", "update", &id, "--tier", "Starter"]).unwrap();
    let second = holdfast(&["key", "create", &id, "second", "--scopes", "read"]).unwrap();
    let (second_id, second_key) = (field(&second, "id"), field(&second, "key"));
    let reader = crate::support::world::Client { replica: &world.replicas[0], key: &second_key };
    assert_eq!(reader.listed().await, ["r"]);
    let listed = holdfast(&["key", "list", &id]).unwrap();
    assert!(
        listed.contains(&second_id) && listed.contains("read,write,admin") && !listed.contains("hf_live_"),
        "{listed}"
    );

    let rotated = field(&holdfast(&["key", "rotate", &id, &second_id]).unwrap(), "key");
    reader.get("/Reservation").await.fails(401, "UNAUTHORIZED");
    let reader = crate::support::world::Client { replica: &world.replicas[0], key: &rotated };
    assert_eq!(reader.listed().await, ["r"]);
    holdfast(&["key", "delete", &id, &second_id, "--yes"]).unwrap();
    reader.get("/Reservation").await.fails(401, "UNAUTHORIZED");

    for (args, word) in [
        (vec!["tenant", "create", "x", "--tier", "Gold"], "Gold"),
        (vec!["tenant", "update", "nobody", "--tier", "Free"], "no such tenant"),
        (vec!["tenant", "delete", "00000000-0000-4000-8000-000000000000", "--yes"], "no such tenant"),
        (vec!["key", "create", &id, "x", "--scopes", "root"], "root"),
        (vec!["key", "delete", &id, &second_id, "--yes"], "no such key"),
        (vec!["key", "list", "nobody"], "no such tenant"),
    ] {
        let said = holdfast(&args).unwrap_err();
        assert!(said.contains(word), "{args:?}: {said}");
    }
    holdfast(&["tenant", "delete", &id, "--yes"]).unwrap();
    at.get("/Reservation").await.fails(401, "UNAUTHORIZED");
    assert_eq!(admin(&world.replicas[0], Method::GET, "", None).await.body["tenants"], json!([]));
    let away = run(&["tenant", "list"], &[("REDIS_URL", "redis://127.0.0.1:1")]).unwrap_err();
    assert!(away.contains("redis://127.0.0.1:1 cannot be used"), "{away}");
}
