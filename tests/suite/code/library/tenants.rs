//! Tenants, their keys and sessions, issuers.

use super::core::{Core, Item, Packed, VEHICLES, unpacked};
use crate::support::redis_server::Redis;

const SETTINGS: [&str; 10] = ["", "", "t", "PUBLISH", "hf:{1}:events", "", "", "", "", ""];

/// Creates the tenant `t` anew, with its key `x`.
fn create(server: &Redis, vehicle: super::core::Vehicle) -> Core {
    let mut core = Core::start(server, vehicle);
    redis::cmd("DEL").arg("hf:{1}:t:meta").exec(&mut core.redis).unwrap();
    let created = core.ask("tenant_create", &["name", "Pro", "id", "x", "default", "read,write,admin"]);
    assert_eq!((created.word.as_str(), created.position), ("OK", created.now_us));
    core.look_again();
    core
}

#[test]
fn a_tenant_begins_once_and_a_changed_setting_makes_every_caller_look_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in VEHICLES {
        let mut core = create(&server, vehicle);
        assert_eq!(core.ask("tenant_create", &["other", "Free", "id2", "y", "default", "read"]).word, "EXISTS");

        // What is read of it: version, name, tier, created, settings, the credential's key.
        let read = core.ask("tenant_read", &["k:x"]);
        assert_eq!(read.items[0].int(), core.version);
        assert_eq!(read.items[1..3], ["name".into(), "Pro".into()]);
        assert_eq!(read.items[3].int(), read.position / 1000);
        assert_eq!(read.items[4..7], [Item::Absent, Item::Absent, Item::Absent]);
        assert_eq!(read.items[7..9], [Item::True, "id".into()]);
        assert_eq!(unpacked(read.items[9].bytes())[..3], ["x".into(), "default".into(), "read,write,admin".into()]);
        assert_eq!(core.ask_as_caller::<&str>("key_list", &[]).items.len(), 3);

        let mut settings = SETTINGS.to_vec();
        (settings[0], settings[1]) = ("Free", "1");
        (settings[5], settings[6], settings[9]) = ("i1", "Hs256Secret", "sealed");
        settings.extend(["5000", "60000"]);
        assert_eq!(core.ask("tenant_update", &settings).items, [Item::Absent]);
        assert_eq!(core.ask_as_caller::<&str>("key_list", &[]).word, "STALE");
        core.look_again();
        let read = core.ask("tenant_read", &["i:i1"]);
        assert_eq!(read.items[2..6], ["Free".into(), read.items[3].clone(), Item::True, Item::Absent]);
        assert_eq!(unpacked(read.items[6].bytes())[0], "i1".into());
        assert_eq!(read.items[7..12], [Item::True, Item::Absent, Item::Absent, Item::Int(5_000), Item::Int(60_000)]);

        // What is left out stays; the issuer that is removed is answered.
        let mut settings = SETTINGS.to_vec();
        settings[5] = "-";
        let before = core.ask("tenant_update", &settings);
        assert_eq!(unpacked(before.items[0].bytes())[0], "i1".into());
        let read = core.ask("tenant_read", &["i:i1"]);
        assert_eq!(read.items[4..8], [Item::True, Item::Absent, Item::Absent, Item::Absent]);
        assert_eq!(read.items[10..12], [Item::Int(5_000), Item::Int(60_000)]);

        let gone = core.ask("tenant_delete", &["t", "PUBLISH", "hf:{1}:events"]);
        assert_eq!((gone.word.as_str(), &gone.items[..]), ("OK", &["x".into()][..]));
        assert_eq!(core.ask("tenant_read", &[""]).word, "STALE");
        assert_eq!(server.ask::<i64>("DBSIZE"), 0);
    }
}

#[test]
fn a_key_ends_with_its_sessions_and_the_last_admin_stays() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in VEHICLES {
        let mut core = create(&server, vehicle);
        assert_eq!(core.ask_as_caller("key_delete", &["id"]).word, "LAST_ADMIN");
        let limit = core.ask_as_caller("key_create", &["id2", "y", "second", "read,admin", "1"]);
        assert_eq!((limit.word.as_str(), &limit.items[1..3]), ("LIMIT", &[Item::Int(1), Item::Int(1)][..]));
        assert_eq!(core.ask_as_caller("key_create", &["id2", "y", "second", "read,admin", "2"]).word, "OK");

        // A session of the first key: it is good until its key is given a new secret.
        assert_eq!(core.ask_as_caller("session_create", &["s1", "60000", "600000", "1000"]).word, "OK");
        core.credential = "k:y";
        assert_eq!(core.ask_as_caller("session_create", &["s2", "60000", "600000", "1000"]).word, "OK");
        core.credential = "s:s1";
        assert_eq!(core.ask_as_caller::<&str>("usage", &[]).items[2], Item::Int(2));
        core.credential = "k:y";
        let rotated = core.ask_as_caller("key_rotate", &["id", "z"]);
        assert_eq!((rotated.word.as_str(), &rotated.items[0]), ("OK", &"x".into()));
        core.look_again();
        for (credential, word) in [("s:s1", "STALE"), ("s:s2", "OK"), ("k:y", "OK")] {
            core.credential = credential;
            assert_eq!(core.ask_as_caller::<&str>("usage", &[]).word, word, "{credential}");
        }
        assert_eq!(core.query::<Vec<String>>("ZRANGE", "sessions", &["0", "-1"]), ["s2"]);
        assert_eq!(core.ask("key_used", &["k:x", "id"]).word, "STALE", "the old secret is gone");
        assert_eq!(core.ask("key_used", &["k:z", "id"]).word, "OK");

        let gone = core.ask_as_caller("key_delete", &["id"]);
        assert_eq!((gone.word.as_str(), &gone.items[..]), ("OK", &["z".into()][..]));
        core.look_again();
        assert_eq!(core.query::<i64>("EXISTS", "used", &[]), 0);
        assert_eq!(core.ask_as_caller("key_delete", &["id2"]).word, "LAST_ADMIN");
        core.credential = "s:s2";
        assert_eq!(core.ask_as_caller::<&str>("session_end", &[]).word, "OK");
        assert_eq!(core.ask_as_caller::<&str>("session_end", &[]).word, "STALE");
        core.clear();
    }
}

#[test]
fn a_session_that_would_end_first_makes_room_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in VEHICLES {
        let mut core = create(&server, vehicle);
        for (hash, idle_ms) in [("s1", "60000"), ("s2", "30000"), ("s3", "90000")] {
            assert_eq!(core.ask_as_caller("session_create", &[hash, idle_ms, "600000", "2"]).word, "OK");
        }
        assert_eq!(core.query::<Vec<String>>("ZRANGE", "sessions", &["0", "-1"]), ["s1", "s3"]);
        assert!(!core.query::<bool>("HEXISTS", "meta", &["s:s2"]));
        core.clear();
    }
}

#[test]
fn a_list_longer_than_a_page_is_answered_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in VEHICLES {
        let mut core = create(&server, vehicle);
        let label = "l".repeat(1_000);
        let mut pipe = redis::pipe();
        for number in 0..1_000 {
            let packed = Packed::default().text("hash").text(&label).text("read").int(1).0;
            pipe.hset("hf:{1}:t:keys", format!("key{number}"), packed);
        }
        pipe.exec(&mut core.redis).unwrap();
        let (mut found, mut cursor, mut pieces) = (std::collections::BTreeSet::new(), None::<String>, 0);
        loop {
            let mut answer = core.ask_as_caller("key_list", &cursor.iter().collect::<Vec<_>>());
            cursor = (answer.word == "MORE").then(|| answer.items.remove(0).text().to_owned());
            let size: usize = answer.items.iter().step_by(3).map(|id| id.bytes().len() + label.len()).sum();
            assert!(size < 300_000, "{size} bytes");
            found.extend(answer.items.chunks(3).map(|row| row[0].text().to_owned()));
            pieces += 1;
            if cursor.is_none() {
                assert_eq!(answer.word, "OK");
                break;
            }
        }
        assert_eq!((found.len(), pieces), (1_001, 4));
        core.clear();
    }
}

#[test]
fn a_pair_of_issuer_and_audience_is_one_tenants() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in VEHICLES {
        let mut core = Core::start(&server, vehicle);
        assert_eq!(core.ask("issuer_claim", &["t", ""]).word, "OK");
        // Younger than a minute: not even where its tenant has no such issuer.
        let taken = core.ask("issuer_claim", &["u", "t"]);
        assert_eq!((taken.word.as_str(), &taken.items[..]), ("TAKEN", &["t".into()][..]));
        redis::cmd("SET").arg("hf:issuer:x").arg("t 1000").exec(&mut core.redis).unwrap();
        assert_eq!(core.ask("issuer_claim", &["u", ""]).word, "TAKEN");
        assert_eq!(core.ask("issuer_claim", &["u", "t"]).word, "OK");
        assert_eq!(core.ask("issuer_drop", &["t"]).word, "OK");
        assert_eq!(core.query::<i64>("EXISTS", "issuer", &[]), 1, "it is not t's");
        assert_eq!(core.ask("issuer_drop", &["u"]).word, "OK");
        assert_eq!(core.query::<i64>("EXISTS", "issuer", &[]), 0);
        core.clear();
    }
}
