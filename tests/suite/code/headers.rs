//! Each script's header equals what the Rust side does (keys, parts, arguments), so it cannot drift.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use holdfast::{
    domain::{
        access::{Issuer, Scopes},
        names::TenantId,
        platform::NewEvent,
        queue::{
            Framework, JobFilter, JobObservation, JobQuery, JobSort, Observation, QueueObservation, SortOrder,
            TimeRange,
            connection::{ConnectionOptions, NewConnection, WatchHealth},
            job_id,
        },
        reservation::RenewRequest,
        resource::Definition,
        tier::Tier,
        transaction::{Items, Method, Transaction},
    },
    store::{
        AcquireOutcome, Bearer, HeadQuery, PageCursor, ReplicaId, SCRIPTS, Script, Secret, Store, StreamId, StreamKind,
    },
};

use crate::support::script_bench::{Bench, claim, names, names_of, wanted};

/// The lines of one part of a header, without the comment's dashes.
fn section<'a>(script: &'a Script, title: &str) -> Vec<&'a str> {
    let lines = script.file().lines().skip(1).map_while(|line| line.strip_prefix("--"));
    let mut inside = false;
    let mut found = Vec::new();
    for line in lines {
        if line.starts_with(&format!(" {title}")) {
            inside = true;
            let rest = line[title.len() + 1..].trim();
            if !rest.is_empty() {
                found.push(rest);
            }
        } else if line.starts_with("   ") && inside {
            found.push(line.trim());
        } else if inside {
            break;
        }
    }
    found
}

/// The number of arguments that a header describes: fixed ones, and those of each further item. `3?` is optional and not counted.
///
/// `None` for items of varying length.
fn described_args(script: &Script) -> (usize, Option<usize>) {
    let mut group = Some(0);
    let numbered: Vec<_> = section(script, "args")
        .into_iter()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    let mut fixed = numbered.len();
    for (at, line) in numbered.iter().enumerate() {
        let (number, text) = line.split_once(' ').unwrap();
        assert_eq!(number.trim_end_matches(['.', '?']), (at + 1).to_string(), "{}: {line}", script.name);
        if number.ends_with('?') {
            fixed -= 1;
        }
        if number.ends_with("..") {
            fixed -= 1;
            group = match text.split_whitespace().next() {
                Some("per") => None,
                Some("sextets") => Some(6),
                Some("quintets") => Some(5),
                Some("quartets") => Some(4),
                Some("triples") => Some(3),
                Some("pairs") => Some(2),
                _ => Some(1),
            };
        }
    }
    (fixed, group)
}

#[test]
fn every_file_is_a_script_with_a_complete_header() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("lua");
    let files: BTreeSet<String> = std::fs::read_dir(dir)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".lua").map(Into::into))
        .collect();
    let known: BTreeSet<String> = SCRIPTS.iter().map(|script| script.name.to_owned()).collect();
    assert_eq!(files, known);

    for script in SCRIPTS {
        let lines: Vec<_> = script.file().lines().collect();
        assert!(
            matches!(lines[0], "#!lua" | "#!lua flags=no-writes" | "#!lua flags=allow-oom"),
            "{}: {}",
            script.name,
            lines[0]
        );
        assert!(lines[1].starts_with(&format!("-- {}: ", script.name)), "{}: {}", script.name, lines[1]);
        for part in ["keys", "returns", "cost"] {
            assert!(!section(script, part).is_empty(), "{} does not say its {part}", script.name);
        }
        let only_reads = lines[0].ends_with("no-writes");
        let writes = ["'SET'", "'DEL'", "HSET", "HDEL", "ZADD", "ZREM", "UNLINK", "HINCRBY", "commit()", "tell("]
            .iter()
            .any(|word| script.file().contains(word))
            || section(script, "uses").first().is_some_and(|uses| uses.contains("change") || uses.contains("open"));
        assert_eq!(only_reads, !writes, "{}: no-writes is for scripts that only read", script.name);
    }
}

#[test]
fn the_keys_are_the_ones_that_rust_sends() {
    for script in SCRIPTS {
        let lines: Vec<_> = section(script, "keys")
            .into_iter()
            .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
            .collect();
        for (at, line) in lines.iter().enumerate() {
            let mut words = line.split_whitespace();
            let number = words.next().unwrap();
            assert_eq!(number.trim_end_matches('.'), (at + 1).to_string(), "{}: {line}", script.name);
            if number.ends_with("..") {
                assert!(script.keys.len() > at, "{}: {line}", script.name);
                break;
            }
            assert_eq!(Some(script.keys[at].name()), words.next(), "{}: {line}", script.name);
            assert!(
                at + 1 < lines.len() || script.keys.len() == lines.len(),
                "{}: Rust sends {:?}",
                script.name,
                script.keys
            );
        }
    }
}

#[test]
fn the_parts_are_put_before_the_script_that_uses_them() {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("lua/lib");
    for entry in std::fs::read_dir(&lib).unwrap() {
        let path = entry.unwrap().path();
        let part = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        for script in SCRIPTS {
            // The first line stands for the part, since other parts are inserted into it. `open` brings its refusals and, unless the script
            // is `straight`, its end.
            let says = |what: &str| {
                section(script, "uses").first().is_some_and(|uses| uses.split(", ").any(|used| used == what))
            };
            let brought = match name {
                "limit" | "save" => says("open"),
                "close" => says("open") && !says("straight"),
                "caller" => says("open"),
                "digits" => says("change"),
                _ => false,
            };
            assert_eq!(
                script.source().contains(part.lines().next().unwrap()),
                says(name) || brought,
                "{} and {name}",
                script.name
            );
        }
    }
    for script in SCRIPTS {
        assert_eq!(script.source().lines().next(), script.file().lines().next(), "the shebang stays first");
        for used in section(script, "uses").first().into_iter().flat_map(|uses| uses.split(", ")) {
            assert!(used == "straight" || lib.join(format!("{used}.lua")).exists(), "{} uses {used}", script.name);
        }
    }
}

#[tokio::test]
async fn the_arguments_are_as_many_as_rust_sends() {
    let bench = Bench::start(Tier::Pro).await;
    let sent = Monitor::start(&bench);

    // When each wrapper is called, with two items where it takes items: before anything is registered, and after.
    let two = [wanted("w", "a", 60), wanted("w", "b", 60)];
    let claims = [claim("w", "a", "x"), claim("w", "b", "x")];
    let definition =
        |name: &str| Definition { name: name.into(), capacity: 1, blocks: Vec::new(), ancestors: Vec::new() };
    bench.reserve_together("w", &names("together", 6), 60).await;
    for _ in 0..2 {
        bench.store.reserve(&bench.caller, &two).await.unwrap();
        bench
            .store
            .renew(&bench.caller, &claims.clone().map(|claim| RenewRequest { claim, ttl_ms: 1000 }))
            .await
            .unwrap();
        bench.store.unreserve(&bench.caller, &claims).await.unwrap();
        bench.store.register(&bench.caller, &[definition("x"), definition("y")]).await.unwrap();
    }
    let group = Transaction { method: Method::First, items: Items::Unreserve(claims.to_vec()) };
    bench.store.transactions(&bench.caller, &[group.clone(), group]).await.unwrap();
    bench.store.resource(&bench.caller, "x").await.unwrap();
    bench.store.resources(&bench.caller, &PageCursor::start(), 10).await.unwrap();
    bench.store.delete_resource(&bench.caller, "x").await.unwrap();
    bench.store.check(&bench.caller, &names_of(&two)).await.unwrap();
    bench.store.page(&bench.caller, &PageCursor::start(), 10).await.unwrap();
    bench.store.verify_fence(&bench.caller, "a", 1).await.unwrap();
    bench.store.position(&bench.caller).await.unwrap();
    bench.store.force_release(&bench.caller, "a", "reason").await.unwrap();
    bench.store.reset(&bench.caller).await.unwrap();
    bench.store.expire(&bench.tenant.id).await.unwrap();
    let other = TenantId::random();
    bench.store.create_tenant(other.clone(), "other", Tier::Free).await.unwrap();
    bench.store.tenant(&other).await.unwrap();
    bench.store.update_tenant(&other, Some(Tier::Pro), None).await.unwrap();
    bench.store.delete_tenant(&other).await.unwrap();
    bench.store.create_key(&bench.caller, "label", Scopes::READ_WRITE).await.unwrap();
    let keys = bench.store.keys(&bench.caller).await.unwrap().answer;
    bench.store.rotate_key(&bench.caller, &keys[1].id).await.unwrap();
    bench.store.delete_key(&bench.caller, &keys[1].id).await.unwrap();

    let issuer = Issuer {
        id: "i".into(),
        kind: holdfast::domain::access::IssuerKind::Hs256Secret,
        issuer: Some("iss".into()),
        audience: Some("aud".into()),
        sealed: "sealed".into(),
    };
    bench.store.register_issuer(&bench.tenant.id, &issuer).await.unwrap();
    bench.store.remove_issuer(&bench.tenant.id).await.unwrap();
    let fresh = bench.store.caller(bench.caller.bearer()).await.unwrap().unwrap();
    let session = bench.store.open_session(&fresh).await.unwrap().answer;
    bench.store.usage(&fresh).await.unwrap();
    let session = bench.store.caller(&Bearer::Session(Secret::of(&session))).await.unwrap().unwrap();
    bench.store.end_session(&session).await.unwrap();
    let (replica, handle) = (ReplicaId::random(), bench.store.tenant_handle(&bench.tenant.id));
    bench
        .store
        .acquire_stream_slot(&fresh, &StreamId { replica: replica.clone(), number: 1 }, &StreamKind::Key)
        .await
        .unwrap();
    bench.store.send_heartbeat(handle.partition(), &replica).await.unwrap();
    bench.store.heads(&[HeadQuery { tenant_handle: handle.clone(), credentials: vec!["k:x".into()] }]).await.unwrap();
    bench.store.replay(&handle, 0, 10).await.unwrap();
    let event =
        NewEvent { kind: "trade".into(), company: None, data: "{}".into(), timestamp_ms: None, dedupe_id: None };
    bench.store.publish(&fresh, &[event.clone(), event]).await.unwrap();
    bench.store.put_company(&fresh, "slug", None, "name").await.unwrap();
    bench.store.companies(&fresh, None).await.unwrap();
    bench.store.delete_company(&fresh, "slug").await.unwrap();
    let connection = Store::new_connection_id();
    let new = NewConnection {
        name: "n".into(),
        framework: Framework::Celery,
        broker_url: None,
        options: ConnectionOptions::default(),
    };
    bench.store.create_connection(&fresh, &connection, &new, Some("sealed".into())).await.unwrap();
    bench.store.connections(&fresh).await.unwrap();
    bench.store.watch_availability(&bench.tenant.id, &[&connection, "gone"]).await.unwrap();
    let AcquireOutcome::Acquired(acquired) =
        bench.store.acquire_watch(&bench.tenant.id, &connection, &replica).await.unwrap()
    else {
        panic!("it is free")
    };
    bench.store.renew_watch(&acquired.lease, &WatchHealth::default()).await.unwrap();
    bench.store.delete_connection(&fresh, &connection).await.unwrap();

    let lease = bench.connection();
    let job = JobObservation {
        external_id: "j".into(),
        at_us: 1_778_673_600_000_000,
        name: Some("task".into()),
        ..JobObservation::default()
    };
    let job = Observation::Job(Box::new(job));
    let queue =
        Observation::Queue(QueueObservation { name: "emails".into(), at_us: 1, depth: Some(1), consumers: None });
    bench.store.observe(&lease, &[job, queue], &[]).await.unwrap();
    bench.store.maintain_queues(&bench.tenant.id).await.unwrap();
    bench.store.delete_observations(&bench.tenant.id, lease.connection).await.unwrap();
    let query = JobQuery {
        filter: JobFilter::default(),
        sort: JobSort::CreatedAt,
        order: SortOrder::Descending,
        after: None,
        limit: 10,
    };
    bench.store.jobs(&fresh, &query).await.unwrap();
    bench.store.job(&fresh, job_id(lease.connection, "j")).await.unwrap();
    bench.store.workers(&fresh).await.unwrap();
    let mut queues = bench.store.queues(&fresh).await.unwrap().answer;
    bench.store.count_queues(&fresh, &mut queues, TimeRange::Hour, 0).await.unwrap();

    // Then every script was called, with the keys and arguments that its header names.
    let calls = sent.calls(&bench);
    for script in SCRIPTS {
        let (keys, args) = calls.get(script.name).unwrap_or_else(|| panic!("{} was not called", script.name));
        assert_eq!(*keys, script.keys.len(), "{}", script.name);
        let (fixed, group) = described_args(script);
        match group {
            Some(group) => assert_eq!(*args, fixed + 2 * group, "{}: {fixed} and {group} per item", script.name),
            None => assert!(*args > fixed, "{}: {fixed} and more", script.name),
        }
    }
}

/// Redis' MONITOR: every command that it is sent.
struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn start(bench: &Bench) -> Self {
        let mut stream = UnixStream::connect(bench.redis.dir().join("redis.sock")).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut lines = BufReader::new(stream);
        let mut ok = String::new();
        lines.read_line(&mut ok).unwrap();
        assert_eq!(ok, "+OK\r\n");
        Self(lines)
    }

    /// The scripts called so far, with their numbers of keys and arguments.
    fn calls(mut self, bench: &Bench) -> BTreeMap<&'static str, (usize, usize)> {
        let _: String = bench.redis.ask("ECHO so-far");
        let mut calls = BTreeMap::new();
        loop {
            let mut line = Vec::new();
            self.0.read_until(b'\n', &mut line).unwrap();
            let words = quoted(&String::from_utf8_lossy(&line));
            match words.first().map(String::as_str) {
                Some("ECHO") => return calls,
                Some("EVALSHA") => {
                    let script = SCRIPTS.iter().find(|script| script.sha() == words[1]).expect("one of our scripts");
                    let keys: usize = words[2].parse().unwrap();
                    calls.insert(script.name, (keys, words.len() - 3 - keys));
                }
                _ => {}
            }
        }
    }
}

/// The quoted words of a line of MONITOR, still escaped.
fn quoted(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = line.chars();
    while chars.by_ref().any(|char| char == '"') {
        let mut word = String::new();
        while let Some(char) = chars.next().filter(|char| *char != '"') {
            word.push(char);
            if char == '\\' {
                word.extend(chars.next());
            }
        }
        words.push(word);
    }
    words
}
