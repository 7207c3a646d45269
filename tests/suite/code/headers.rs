//! Each function's header equals what the Rust side does (keys, arguments), so it cannot drift.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
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
        waiting::TicketId,
    },
    store::{AcquireOutcome, Bearer, FUNCTIONS, HeadQuery, PageCursor, ReplicaId, Secret, Store, StreamId, StreamKind},
};

use crate::support::{
    source::files_under,
    store_bench::{Bench, claim, names, names_of, of_tier, wanted},
};

/// The header of a part: its first comment, without the dashes.
fn header(text: &str) -> Vec<&str> {
    text.lines().map_while(|line| line.strip_prefix("--")).collect()
}

/// The lines of one section of a header.
fn section<'a>(text: &'a str, title: &str) -> Vec<&'a str> {
    let (mut inside, mut found) = (false, Vec::new());
    for line in header(text) {
        if let Some(rest) = line.strip_prefix(&format!(" {title}"))
            && (rest.is_empty() || rest.starts_with(' '))
        {
            inside = true;
            found.extend(Some(rest.trim()).filter(|rest| !rest.is_empty()));
        } else if line.starts_with("   ") && inside {
            found.push(line.trim());
        } else if inside {
            break;
        }
    }
    found
}

/// The parts of the library that are functions, by the function's name.
fn functions() -> BTreeMap<String, String> {
    let texts = files_under("lua").into_iter().map(|path| std::fs::read_to_string(path).unwrap());
    texts.filter_map(|text| Some((section(&text, "function").first()?.to_string(), text))).collect()
}

/// The numbered lines of a section: number, and what it says. Keys may be the same as another function's.
fn numbered(functions: &BTreeMap<String, String>, name: &str, title: &str) -> Vec<(String, String)> {
    let lines = section(&functions[name], title);
    if let Some(other) = lines.first().and_then(|line| line.strip_prefix("as ")) {
        return numbered(functions, other, title);
    }
    lines
        .into_iter()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
        .map(|line| line.split_once(' ').map(|(number, text)| (number.to_owned(), text.trim().to_owned())).unwrap())
        .collect()
}

/// The number of arguments that a header describes: fixed ones, and those of each further item. `3?` is optional and not counted.
///
/// `None` for items of varying length.
fn described_args(functions: &BTreeMap<String, String>, name: &str) -> (usize, Option<usize>) {
    let numbered = numbered(functions, name, "args");
    let (mut fixed, mut group) = (numbered.len(), Some(0));
    for (at, (number, text)) in numbered.iter().enumerate() {
        assert_eq!(number.trim_end_matches(['.', '?']), (at + 1).to_string(), "{name}: {text}");
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
fn every_function_has_a_complete_header() {
    let functions = functions();
    let known: BTreeSet<String> = FUNCTIONS.iter().map(|function| function.name.to_owned()).collect();
    assert_eq!(functions.keys().cloned().collect::<BTreeSet<_>>(), known);
    for (name, text) in &functions {
        assert!(text.lines().next().is_some_and(|line| line.contains(": ")), "{name}: the first line says what it is");
        for title in ["keys", "args", "returns", "cost"] {
            assert!(!section(text, title).is_empty(), "{name} does not say its {title}");
        }
        for flag in section(text, "flags") {
            assert!(["allow-oom", "no-writes"].contains(&flag), "{name}: {flag}");
        }
    }
}

#[test]
fn every_part_says_what_it_is() {
    for path in files_under("lua").into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "lua")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(text.starts_with(&format!("-- {name}: ")), "{}", path.display());
    }
}

#[test]
fn the_keys_are_the_ones_that_rust_sends() {
    let headers = functions();
    for function in FUNCTIONS {
        let name = function.name;
        let sent: Vec<_> = function
            .keys
            .iter()
            .map(|kind| kind.name().to_owned())
            .chain(function.optional_keys.iter().map(|kind| format!("{}?", kind.name())))
            .collect();
        let lines = numbered(&headers, name, "keys");
        for (at, (number, text)) in lines.iter().enumerate() {
            assert_eq!(number.trim_end_matches('.'), (at + 1).to_string(), "{name}: {text}");
            if number.ends_with("..") {
                assert!(sent.len() > at, "{name}: {text}");
                break;
            }
            assert_eq!(sent.get(at).map(String::as_str), text.split_whitespace().next(), "{name}: {text}");
            assert!(at + 1 < lines.len() || sent.len() == lines.len(), "{name}: Rust sends {sent:?}");
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
    let group = Transaction { method: Method::First, items: Items::Unreserve(claims.to_vec()), wait: None };
    bench.store.transactions(&bench.caller, &[group.clone(), group]).await.unwrap();
    bench.store.resource(&bench.caller, "x").await.unwrap();
    bench.store.resources(&bench.caller, &PageCursor::start(), 10).await.unwrap();
    bench.store.delete_resource(&bench.caller, "x").await.unwrap();
    bench.store.check(&bench.caller, &names_of(&two)).await.unwrap();
    bench.store.reservation_page(&bench.caller, &PageCursor::start(), 10).await.unwrap();
    bench.store.verify_fence(&bench.caller, "a", 1).await.unwrap();
    bench.store.position(&bench.caller).await.unwrap();
    bench.store.force_release(&bench.caller, "a", "reason").await.unwrap();
    let ticket = TicketId::random();
    bench.store.ticket(&bench.caller, ticket, 1).await.unwrap();
    bench.store.touch_tickets(&bench.caller, &[ticket]).await.unwrap();
    bench.store.cancel_ticket(&bench.caller, ticket).await.unwrap();
    bench.store.waiting(&bench.caller, &PageCursor::start(), 10).await.unwrap();
    bench.store.reset(&bench.caller).await.unwrap();
    bench.store.expire(&bench.tenant.id).await.unwrap();
    let other = TenantId::random();
    bench.store.create_tenant(other.clone(), "other", Tier::Free).await.unwrap();
    bench.store.tenant(&other).await.unwrap();
    bench.store.update_tenant(&other, of_tier(Tier::Pro)).await.unwrap();
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
    bench.store.ticket(&bench.caller, TicketId::random(), 1).await.unwrap();
    bench.store.cancel_ticket(&bench.caller, TicketId::random()).await.unwrap();
    bench.store.touch_tickets(&bench.caller, &[TicketId::random()]).await.unwrap();
    bench.store.waiting(&bench.caller, &PageCursor::start(), 10).await.unwrap();
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

    // Then every function was called, with the keys and arguments that its header names.
    let (calls, headers) = (sent.calls(&bench), functions());
    for function in FUNCTIONS {
        let name = function.name;
        let (keys, args) = calls.get(name).unwrap_or_else(|| panic!("{name} was not called"));
        // The keys of tickets, the last three, come only where somebody waits.
        let (least, most) = (function.keys.len(), function.keys.len() + function.optional_keys.len());
        let unless_waiting = if function.optional_keys.len() > 3 { most - 3 } else { most };
        assert!([least, unless_waiting, most].contains(keys), "{name}: {keys} keys");
        let (fixed, group) = described_args(&headers, name);
        match group {
            // Calls of one caller for one item each share a pair.
            Some(group) if name == "shared" => assert_eq!(*args % group, 0, "{name}: {group} per call"),
            Some(group) => assert_eq!(*args, fixed + 2 * group, "{name}: {fixed} and {group} per item"),
            None => assert!(*args > fixed, "{name}: {fixed} and more"),
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

    /// The functions called so far, with their numbers of keys and arguments.
    fn calls(mut self, bench: &Bench) -> BTreeMap<&'static str, (usize, usize)> {
        let _: String = bench.redis.ask("ECHO so-far");
        let mut calls = BTreeMap::new();
        loop {
            let mut line = Vec::new();
            self.0.read_until(b'\n', &mut line).unwrap();
            let words = quoted(&String::from_utf8_lossy(&line));
            match words.first().map(String::as_str) {
                Some("ECHO") => return calls,
                Some("FCALL") => {
                    let function =
                        FUNCTIONS.iter().find(|function| function.loaded_as() == words[1]).expect("one of ours");
                    let keys: usize = words[2].parse().unwrap();
                    calls.insert(function.name, (keys, words.len() - 3 - keys));
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
