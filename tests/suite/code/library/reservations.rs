//! Reservations and resources.

use redis::Value;

use super::core::{Core, KEYS, Packed, VEHICLES, Vehicle, key, says};
use crate::support::redis_server::Redis;

#[test]
fn the_library_decides_alike_as_functions_and_as_scripts() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in VEHICLES {
        let mut core = Core::start(&server, vehicle);
        let (mine, other) = ([7; 16], [8; 16]);

        // A plain name: taken, held against another, given back only with its token.
        assert!(says(&core.reserve("w1", "name", &mine), "OK"));
        let refused = core.reserve("w2", "name", &other);
        assert!(says(&refused, "ALREADY_HELD") && says(&refused, "w1"));
        assert!(says(&core.unreserve("w1", "name", &other), "BAD_TOKEN"));
        assert_eq!(server.ask::<i64>("HLEN hf:{1}:t:held"), 1);
        assert!(says(&core.unreserve("w1", "name", &mine), "OK"));
        assert_eq!(server.ask::<i64>("HLEN hf:{1}:t:held"), 0);
        assert_eq!(server.ask::<i64>("LLEN hf:{1}:t:history"), 2, "a grant and a release are kept");

        // A pool of one: its slot is given once.
        assert!(says(&core.register_pool("pool", 2), "OK"));
        for requester in ["w1", "w2"] {
            // The version moved: a caller with the old one looks again.
            assert!(says(&core.reserve(requester, "pool", &mine), "STALE"));
        }
        let version: Vec<u8> = redis::cmd("HGET").arg("hf:{1}:t:meta").arg("state").query(&mut core.redis).unwrap();
        let version = f64::from_le_bytes(version[32..40].try_into().unwrap());
        assert!(version > 1.0, "the first definition moves the version");
        core.clear();
    }
}

#[test]
fn an_error_in_the_middle_of_a_call_leaves_nothing_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    let mut core = Core::start(&server, Vehicle::Functions);
    // A key of the wrong type ends the call inside Redis.
    redis::cmd("SET").arg("hf:{1}:t:deadlines").arg("x").exec(&mut core.redis).unwrap();
    let tail = Packed::default().text("w1").text("UserDefined").text("label").absent().absent().int(0).0;
    let call =
        Packed::default().int(1).int(0).int(1).absent().absent().text("a").bytes(&[7; 16]).bytes(&tail).int(60_000).0;
    let keys: Vec<_> = KEYS[..5].iter().map(|kind| key(kind)).collect();
    let failed = core.command("reserve", &keys, &[core.caller(), call]).query::<Value>(&mut core.redis);
    assert!(failed.unwrap_err().to_string().contains("WRONGTYPE"));

    redis::cmd("DEL").arg("hf:{1}:t:deadlines").arg("hf:{1}:t:held").exec(&mut core.redis).unwrap();
    let answer = core.reserve("w2", "b", &[9; 16]);
    assert!(says(&answer, "OK") && !says(&answer, "w1"));
    assert_eq!(server.ask::<Vec<String>>("HKEYS hf:{1}:t:held"), ["b"]);
    core.clear();
}
