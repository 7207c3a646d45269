//! The library of `lua/`, called on a real Redis without the service, as functions and as scripts.

mod composer;
mod core;
mod events;
mod queues;
mod reservations;
mod tenants;

use std::collections::BTreeSet;

use holdfast::store::FUNCTIONS;

use crate::support::{redis_server::Redis, source::root};
use core::{Core, Packed, VEHICLES};

#[test]
fn every_part_stands_in_the_library() {
    let text = composer::library();
    for path in crate::support::source::files_under("lua") {
        let name = path.strip_prefix(root().join("lua")).unwrap().display().to_string();
        let Some(name) = name.strip_suffix(".lua") else { continue };
        assert!(text.contains(&format!("\ndo -- {name}\n")), "{name} stands in no group");
    }
}

#[test]
fn the_probe_asks_for_every_command_that_the_library_runs() {
    let rights = std::fs::read_to_string(root().join("src/store/rights.lua")).unwrap();
    let mut missing = BTreeSet::new();
    for path in crate::support::source::files_under("lua") {
        let text = std::fs::read_to_string(path).unwrap();
        for (at, found) in text.match_indices("call('").chain(text.match_indices("try('")) {
            let command = text[at + found.len()..].split('\'').next().unwrap();
            let is_call = !text[..at].ends_with(|before: char| before == '_' || before.is_alphanumeric());
            if is_call && !rights.contains(&format!("{command} ")) && !rights.contains(&format!("'{command}")) {
                missing.insert(command.to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "src/store/rights.lua does not ask for {missing:?}");
}

/// Small arguments of every function: behind the caller and the packed cost and floor, or, with `false`, the whole of them. What a function of
/// reservations or resources is asked is packed behind the floor.
fn small_arguments() -> Vec<(&'static str, bool, Vec<Vec<u8>>)> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    let id = "................";
    let connection = "00000000-0000-4000-8000-0000000000c1";
    let channel = "hf:{1}:events";
    vec![
        ("company_delete", true, texts(&["slug"])),
        ("company_put", true, texts(&["slug", "", "id", "name", "0"])),
        ("company_read", true, texts(&[""])),
        ("connection_create", true, texts(&["c", "hash", "name", "celery", "", "{}", "0"])),
        ("connection_delete", true, texts(&[connection])),
        ("connection_forget", true, texts(&[connection, id, "0", "10"])),
        ("connection_list", true, texts(&[])),
        ("counts_read", true, texts(&["field"])),
        ("heads", false, texts(&["1", "k:x"])),
        ("issuer_claim", false, texts(&["t", ""])),
        ("issuer_drop", false, texts(&["t"])),
        ("job_list", true, texts(&["", "", "10"])),
        ("job_read", true, texts(&[id])),
        ("key_create", true, texts(&["id", "hash", "label", "read", "0"])),
        ("key_delete", true, texts(&["id"])),
        ("key_list", true, texts(&[])),
        ("key_rotate", true, texts(&["id", "hash"])),
        ("key_used", false, texts(&["k:x", "id"])),
        ("observe", true, texts(&[connection, id, "0", "", "10", "0", "4096", "0", ""])),
        ("position_of", true, texts(&[])),
        ("publish", true, texts(&["trade", "", "", "{}", "0", ""])),
        ("queue_list", true, texts(&["0", "10"])),
        ("queue_upkeep", true, texts(&["10", "10"])),
        ("replica_beat", false, texts(&["replica", "12000"])),
        ("session_create", true, texts(&["hash", "1000", "1000", "10"])),
        ("session_end", true, texts(&[])),
        ("stream_enter", true, texts(&["replica", "1", "", "0", "10", "12000"])),
        ("stored_bytes", true, texts(&["0"])),
        ("tenant_create", false, texts(&["name", "Pro", "id", "hash", "label", "read"])),
        ("tenant_delete", false, texts(&["t", "PUBLISH", channel])),
        ("tenant_read", false, texts(&["k:x"])),
        ("tenant_update", false, texts(&["Free", "", "t", "PUBLISH", channel, "", "", "", "", ""])),
        ("usage", true, texts(&[])),
        ("watch_keep", false, texts(&[connection, "1", "6000", "", "0", "0", "", ""])),
        ("watch_look", false, texts(&[connection])),
        ("watch_take", false, texts(&[connection, "replica", "6000"])),
        ("worker_list", true, texts(&["0", "10"])),
    ]
}

/// The same of functions that get everything packed in one argument.
fn small_packed_arguments() -> Vec<(&'static str, Packed)> {
    let call = || Packed::default().int(1).int(0);
    let item = || call().int(1);
    let tail = Packed::default().text("w").text("UserDefined").absent().absent().absent().int(0).0;
    let who = Packed::default().text("w").0;
    vec![
        ("check", call().array(1).text("a")),
        ("expire", call()),
        ("force_release", call().text("a").text("").int(0).int(0)),
        ("list", call().text("0").text("").int(10)),
        ("register", call().int(0).int(1).text("a").int(1).array(0).array(0)),
        ("renew", item().text("a").bytes(&[1; 16]).bytes(&who).int(1_000)),
        ("replay", call().int(0).int(10)),
        ("reserve", item().absent().absent().text("a").bytes(&[1; 16]).bytes(&tail).int(1_000)),
        ("reset", call()),
        ("resource_delete", call().text("a")),
        ("resource_list", call().text("0").text("").int(10)),
        ("resource_read", call().text("a")),
        ("ticket_cancel", call().text("0123456789abcdef0123456789abcdef")),
        ("ticket_read", call().array(1).text("0123456789abcdef0123456789abcdef")),
        ("ticket_touch", call().array(1).text("0123456789abcdef0123456789abcdef")),
        ("waiting_list", call().text("0").text("").int(10)),
        (
            "transactions",
            item().text("FIRST").text("UNRESERVE").int(1).absent().absent().text("a").bytes(&[1; 16]).bytes(&who),
        ),
        ("unreserve", item().text("a").bytes(&[1; 16]).bytes(&who)),
        ("verify_fence", call().text("a").int(1)),
    ]
}

#[test]
fn every_function_answers_with_backlog_word_clock_and_position() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    // `shared` has as many answers as calls, each of this form.
    let mut left: BTreeSet<&str> =
        FUNCTIONS.iter().map(|function| function.name).filter(|function| *function != "shared").collect();
    for (function, has_caller, args) in small_arguments() {
        left.remove(function);
        for vehicle in VEHICLES {
            let mut core = Core::start(&server, vehicle);
            let answer = if has_caller { core.ask_as_caller(function, &args) } else { core.ask(function, &args) };
            assert!(answer.now_us > 0 && answer.backlog_us == 0 && answer.position >= 0, "{function}: {answer:?}");
            // A tenant that is gone is a word, too.
            core.clear();
            let answer = if has_caller { core.ask_as_caller(function, &args) } else { core.ask(function, &args) };
            assert!(!has_caller || answer.word == "STALE", "{function}: {answer:?}");
            core.clear();
        }
    }
    for (function, call) in small_packed_arguments() {
        left.remove(function);
        for vehicle in VEHICLES {
            let mut core = Core::start(&server, vehicle);
            let answer = core.ask(function, &[core.caller(), call.0.clone()]);
            assert_ne!(answer.word, "STALE", "{function}: {answer:?}");
            core.clear();
            assert_eq!(core.ask(function, &[core.caller(), call.0.clone()]).word, "STALE", "{function}");
        }
    }
    assert!(left.is_empty(), "not called: {left:?}");
}
