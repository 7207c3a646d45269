//! Events of the platform, companies, heads, event streams.

use super::core::{Core, Item, Packed, VEHICLES, Vehicle, key, says, unpacked};
use crate::support::redis_server::Redis;

/// Values of a platform event, as it is published and kept.
const EVENT_VALUES: usize = 10;

fn event<'a>(company: [&'a str; 2], data: &'a str, dedupe_id: &'a str) -> [&'a str; 6] {
    ["trade", company[0], company[1], data, "0", dedupe_id]
}

/// Every kept event, in order.
fn history(core: &mut Core) -> Vec<Vec<Item>> {
    let entries: Vec<Vec<u8>> = core.query("LRANGE", "history", &["0", "-1"]);
    let events = entries.iter().flat_map(|entry| {
        let items = unpacked(entry);
        assert!(items.len() <= 32 * EVENT_VALUES, "an entry has at most 32 events");
        items.chunks(EVENT_VALUES).map(<[Item]>::to_vec).collect::<Vec<_>>()
    });
    events.collect()
}

#[test]
fn published_events_are_kept_in_the_tenants_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in VEHICLES {
        let mut core = Core::start(&server, vehicle);
        assert_eq!(core.ask_as_caller("company_put", &["shop", "c1", "", "The shop", "0"]).word, "OK");

        // One unregistered slug, and nothing is published.
        let events = [event(["", "shop"], "{}", "a"), event(["", "gone"], "{}", "b")].concat();
        let refused = core.ask_as_caller("publish", &events);
        assert_eq!((refused.word.as_str(), &refused.items[..]), ("UNKNOWN_COMPANY", &[Item::Absent, Item::True][..]));
        assert_eq!((history(&mut core).len(), core.query::<i64>("EXISTS", "dedupe", &[])), (0, 0));

        // A dedupe id that comes again, in the call or in the hour, publishes nothing and has the position of the first.
        let long = "d".repeat(200);
        let call = [event(["c1", ""], "1", "a"), event(["", "shop"], "2", &long), event(["", ""], "3", "a")].concat();
        let first = core.ask_as_caller("publish", &call);
        let positions: Vec<_> = first.items.iter().map(Item::int).collect();
        assert_eq!(positions[1..], [positions[0] + 1, positions[0]]);
        assert_eq!((first.word.as_str(), first.position), ("OK", positions[1]));
        let second = core.ask_as_caller("publish", &event(["", ""], "4", &long));
        assert_eq!(second.items, [Item::Int(positions[1])]);
        let kept = history(&mut core);
        let of = |n: usize, values: std::ops::Range<usize>| kept[n][values].to_vec();
        assert_eq!(kept.len(), 2);
        assert_eq!(of(0, 0..4), ["P".into(), "t".into(), Item::Int(0), Item::Int(positions[0])]);
        assert_eq!(of(0, 5..9), ["trade".into(), "c1".into(), "shop".into(), "1".into()]);
        assert_eq!(of(1, 2..4), [Item::Int(positions[0]), Item::Int(positions[1])]);
        assert_eq!(of(1, 6..9), ["c1".into(), "shop".into(), "2".into()]);

        // Many: each names the one before it, over entries and calls.
        let data = "z".repeat(5_000);
        let many = event(["", ""], &data, "").repeat(100);
        let positions: Vec<_> = core.ask_as_caller("publish", &many).items.iter().map(Item::int).collect();
        let kept = history(&mut core);
        assert_eq!((kept.len(), &kept[101][3]), (102, &Item::Int(positions[99])));
        assert!(kept.windows(2).all(|pair| pair[1][2] == pair[0][3]));

        // The head is the last position, and nothing was published that is not kept; a page from the middle begins where it should.
        let heads = core.ask("heads", &["2", "k:x", "k:gone"]);
        assert_eq!(heads.items, [Item::Int(positions[99]), Item::Int(0), Item::True, Item::Absent]);
        let page = Packed::default().int(0).int(0).int(positions[40]).int(1_000).0;
        let replay = core.ask("replay", &[core.caller(), page]);
        assert_eq!(replay.items[0], Item::Int(positions[99]));
        let first = unpacked(replay.items[1].bytes());
        assert!(first.chunks(EVENT_VALUES).any(|event| event[2] == Item::Int(positions[40])), "none is missing");
        core.clear();
    }
}

#[test]
fn more_than_a_call_may_publish_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in VEHICLES {
        let mut core = Core::start(&server, vehicle);
        let data = "z".repeat(16_000);
        let refused = core.ask_as_caller("publish", &event(["", ""], &data, "").repeat(100));
        assert_eq!((refused.word.as_str(), refused.items.len()), ("TOO_MUCH_WORK", 0));
        assert_eq!(history(&mut core).len(), 0);
        // A full batch of usual events is no trouble.
        let ids: Vec<_> = (0..1_000).map(|number| format!("{number:036}")).collect();
        let data = "z".repeat(300);
        let batch: Vec<_> = ids.iter().flat_map(|id| event(["", ""], &data, id)).collect();
        assert_eq!(core.ask_as_caller("publish", &batch).items.len(), 1_000);
        core.clear();
    }
}

#[test]
fn what_was_done_is_no_error_where_it_cannot_be_published() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    let mut core = Core::start(&server, Vehicle::Functions);
    let rules = ["on", "nopass", "~*", "+@all", "resetchannels"];
    redis::cmd("ACL").arg("SETUSER").arg("mute").arg(&rules).exec(&mut core.redis).unwrap();
    redis::cmd("AUTH").arg("mute").arg("x").exec(&mut core.redis).unwrap();

    assert!(says(&core.reserve("w1", "name", &[7; 16]), "OK"));
    let tail = Packed::default().text("w1").text("UserDefined").text("label").absent().absent().int(0).0;
    let two =
        Packed::default().int(1).int(0).int(2).absent().absent().text("a").text("b").bytes(&[1; 16]).bytes(&[2; 16]);
    assert!(says(&core.decide("reserve", two.bytes(&tail).bytes(b"").int(0).int(0)), "OK"));
    assert_eq!(core.ask_as_caller("publish", &event(["", ""], "{}", "")).word, "OK");
    let limit = core.ask_as_caller("company_put", &["shop", "c1", "", "The shop", "0"]);
    assert_eq!(limit.word, "OK");
    assert_eq!(core.ask_as_caller("company_put", &["other", "c2", "", "Other", "1"]).word, "LIMIT");
    assert_eq!(core.query::<i64>("LLEN", "history", &[]), 3);
    core.clear();
}

#[test]
fn companies_are_registered_under_one_slug_each() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in VEHICLES {
        let mut core = Core::start(&server, vehicle);
        let put = core.ask_as_caller("company_put", &["shop", "", "random", "The shop", "1"]);
        assert_eq!(unpacked(put.items[0].bytes())[..2], ["random".into(), "The shop".into()]);
        assert_eq!(core.ask_as_caller("company_put", &["other", "", "c2", "Other", "1"]).word, "LIMIT");
        let taken = core.ask_as_caller("company_put", &["other", "random", "", "Other", "0"]);
        assert_eq!((taken.word.as_str(), &taken.items[..]), ("TAKEN", &["shop".into()][..]));
        assert_eq!(core.ask_as_caller("company_put", &["shop", "c1", "", "Renamed", "1"]).word, "OK");
        let read = core.ask_as_caller("company_read", &["shop"]);
        assert_eq!(unpacked(read.items[1].bytes())[..2], ["c1".into(), "Renamed".into()]);
        assert_eq!(core.ask_as_caller("company_read", &[""]).items, read.items);
        assert_eq!(core.query::<Vec<String>>("HKEYS", "company_ids", &[]), ["c1"]);
        assert_eq!(core.ask_as_caller("company_delete", &["shop"]).word, "OK");
        assert_eq!(core.ask_as_caller("company_delete", &["shop"]).word, "NOT_FOUND");
        assert_eq!(core.ask_as_caller("company_read", &["shop"]).items, []);
        core.clear();
    }
}

#[test]
fn the_stream_slots_of_a_replica_that_has_died_are_given_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in VEHICLES {
        let mut core = Core::start(&server, vehicle);
        for (replica, number, word) in [("a", "1", "OK"), ("b", "1", "OK"), ("b", "2", "LIMIT")] {
            let answer = core.ask_as_caller("stream_enter", &[replica, number, "", "2", "10", "12000"]);
            assert_eq!(answer.word, word, "{replica}/{number}");
        }
        assert_eq!(core.ask_as_caller("stream_enter", &["b", "3", "session", "100", "1", "12000"]).word, "OK");
        assert_eq!(core.ask_as_caller("stream_enter", &["b", "4", "session", "100", "1", "12000"]).word, "LIMIT");
        assert_eq!(core.ask_as_caller::<&str>("usage", &[]).items[1], Item::Int(2), "sessions do not count");

        // The replica `a` had its last heartbeat long ago.
        redis::cmd("ZADD").arg(key("replicas")).arg(1_000).arg("a").exec(&mut core.redis).unwrap();
        assert_eq!(core.ask_as_caller("stream_enter", &["b", "2", "", "2", "10", "12000"]).word, "OK");
        assert!(!core.query::<bool>("HEXISTS", "streams", &["a/1"]));
        assert_eq!(core.ask("replica_beat", &["a", "12000"]).word, "OK");
        assert_eq!(core.query::<i64>("ZCARD", "replicas", &[]), 2);
        core.clear();
    }
}

#[test]
fn where_streams_are_very_many_only_some_are_looked_at_with_each_that_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in VEHICLES {
        // Given 2,400 streams of a replica that has died, and a tier of 2,000.
        let mut core = Core::start(&server, vehicle);
        let mut fields = redis::cmd("HSET");
        fields.arg(key("streams"));
        (0..2_400).for_each(|number| {
            fields.arg(format!("dead/{number}")).arg("");
        });
        fields.exec(&mut core.redis).unwrap();
        assert_eq!(core.ask_as_caller::<&str>("usage", &[]).items[1], Item::Int(2_300));
        let open = |number: usize| {
            core.ask_as_caller("stream_enter", &["b", &number.to_string(), "", "2000", "10", "12000"]).word
        };

        // Then each that asks removes some, until there is room.
        let words: Vec<_> = (0..10).map(open).collect();
        assert_eq!(words, ["LIMIT", "LIMIT", "LIMIT", "LIMIT", "OK", "OK", "OK", "OK", "OK", "OK"]);
        assert_eq!(core.ask_as_caller::<&str>("usage", &[]).items[1], Item::Int(6), "now all are counted");
        core.clear();
    }
}

#[test]
fn a_call_above_the_rate_is_refused_and_changes_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in VEHICLES {
        let mut core = Core::start(&server, vehicle);
        // 1 per second, 1 at once.
        core.rate = 1;
        let put = ["shop", "c1", "", "The shop", "0"];
        assert_eq!(core.ask_as_caller("company_put", &put).word, "OK");
        let refused = core.ask_as_caller("company_delete", &["shop"]);
        assert_eq!((refused.word.as_str(), &refused.items[0]), ("RATE", &Item::Int(1)));
        assert!(refused.backlog_us > 0 && refused.items[1].int() > 0);
        assert_eq!(core.query::<i64>("HLEN", "companies", &[]), 1);
        core.clear();
    }
}
