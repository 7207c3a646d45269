//! The decision core of `lua/library/`, put together as its README says and called on a real Redis, as functions and as scripts.
//!
//! The service still runs the scripts of `lua/`; these tests hold what the library promises until it takes over.

use std::collections::BTreeSet;

use redis::Value;

use crate::support::{
    redis_server::Redis,
    source::{read, root},
};

const CORE: &[&str] =
    &["core/words", "core/budget", "core/caller", "core/open", "core/limit", "core/history", "core/events"];

const PLAN: &[&str] = &[
    "reservations/stage",
    "reservations/reservation",
    "reservations/definitions",
    "reservations/pools",
    "reservations/tree",
    "reservations/take",
    "reservations/release",
    "reservations/lapse",
    "reservations/settle",
    "reservations/begin",
];

const DECISIONS: &[&str] = &[
    "reservations/straight",
    "reservations/items",
    "reservations/calls",
    "reservations/groups",
    "reservations/reserve",
    "reservations/unreserve",
    "reservations/renew",
    "reservations/shared",
    "reservations/transactions",
    "reservations/expire",
    "reservations/force_release",
    "reservations/reset",
];

const RESOURCES: &[&str] = &[
    "resources/drafts",
    "resources/bitmap",
    "resources/layout",
    "resources/pages",
    "resources/availability",
    "resources/register",
    "resources/resource_delete",
    "resources/resource_list",
    "resources/resource_read",
    "resources/check",
    "resources/list",
    "resources/verify_fence",
    "resources/position",
];

/// Kinds of keys of a decision, in order, without and with definitions.
const KEYS: &[&str] = &["meta", "held", "deadlines", "history", "due", "definitions", "index", "slots", "links"];

fn groups() -> [(&'static str, Vec<&'static str>); 3] {
    [
        ("events", [CORE, &["events/replay"]].concat()),
        ("reservations", [CORE, PLAN, DECISIONS].concat()),
        ("resources", [CORE, PLAN, RESOURCES].concat()),
    ]
}

fn part(name: &str) -> String {
    read(&format!("lua/library/{name}.lua"))
}

/// Values of a header line of a part, such as the names that it gives.
fn header(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("-- ")?.trim_start().strip_prefix(key));
    let values = lines.filter(|rest| rest.starts_with("  ")).flat_map(|rest| rest.split(','));
    values.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).collect()
}

/// The functions of a group, each with its flags.
fn functions(parts: &[&str]) -> Vec<(String, Vec<String>)> {
    let of = |name: &&str| {
        let text = part(name);
        header(&text, "function").pop().map(|function| (function, header(&text, "flags")))
    };
    parts.iter().filter_map(of).collect()
}

/// The text of a group: every given name is a local in front, each part stands in a block of its own.
fn body(parts: &[&str]) -> String {
    let mut names: Vec<String> = parts.iter().flat_map(|name| header(&part(name), "gives")).collect();
    names.extend(functions(parts).into_iter().map(|(function, _)| function));
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name is given once: {names:?}");
    assert!(names.len() < 150, "Lua allows 200 locals in a function, and {} are given", names.len());
    let blocks: String = parts.iter().map(|name| format!("do -- {name}\n{}end\n", part(name))).collect();
    format!("local {}\n{blocks}", names.join(", "))
}

fn library() -> String {
    let mut text = String::from("#!lua name=hf\n");
    for (group, parts) in groups() {
        let functions = functions(&parts);
        let table: Vec<_> = functions.iter().map(|(name, _)| format!("{name} = {name}")).collect();
        text += &format!(
            "local function make_{group}()\n{}return {{ {} }}\nend\nlocal {group}\n",
            body(&parts),
            table.join(", ")
        );
        for (name, flags) in functions {
            let flags: Vec<_> = flags.iter().map(|flag| format!("'{flag}'")).collect();
            text += &format!(
                "redis.register_function{{ function_name = 'hf_{name}', flags = {{ {} }}, callback = function(keys, args)\n  {group} = {group} or make_{group}()\n  return {group}.{name}(keys, args)\nend }}\n",
                flags.join(", ")
            );
        }
    }
    text
}

fn script(function: &str) -> String {
    let (_, parts) =
        groups().into_iter().find(|(_, parts)| functions(parts).iter().any(|(name, _)| name == function)).unwrap();
    format!("#!lua\n{}return {function}(KEYS, ARGV)\n", body(&parts))
}

/// Writes a MessagePack sequence.
#[derive(Default)]
struct Packed(Vec<u8>);

impl Packed {
    fn int(mut self, value: i64) -> Self {
        rmp::encode::write_sint(&mut self.0, value).unwrap();
        self
    }

    fn absent(mut self) -> Self {
        rmp::encode::write_bool(&mut self.0, false).unwrap();
        self
    }

    fn bytes(mut self, value: &[u8]) -> Self {
        rmp::encode::write_str_len(&mut self.0, value.len() as u32).unwrap();
        self.0.extend(value);
        self
    }

    fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    fn array(mut self, length: u32) -> Self {
        rmp::encode::write_array_len(&mut self.0, length).unwrap();
        self
    }
}

/// How the library is called.
#[derive(Clone, Copy)]
enum Vehicle {
    Functions,
    Scripts,
}

struct Core {
    redis: redis::Connection,
    vehicle: Vehicle,
    has_definitions: bool,
}

impl Core {
    fn start(server: &Redis, vehicle: Vehicle) -> Self {
        let mut redis = server.connection();
        redis::cmd("FLUSHALL").exec(&mut redis).unwrap();
        redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(library()).exec(&mut redis).unwrap();
        // A tenant whose version is 1.
        let state: Vec<u8> = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0f64]
            .into_iter()
            .flat_map(f64::to_le_bytes)
            .collect();
        redis::cmd("HSET").arg("hf:{1}:t:meta").arg("state").arg(state).arg("k:x").arg("id").exec(&mut redis).unwrap();
        Self { redis, vehicle, has_definitions: false }
    }

    /// Removes the tenant, whose state has another form than the one that the server is checked for at its end.
    fn clear(&mut self) {
        redis::cmd("FLUSHALL").exec(&mut self.redis).unwrap();
    }

    fn caller(&self) -> Vec<u8> {
        let head = Packed::default().text("R").text("t").0;
        let limits = Packed::default()
            .absent()
            .int(1)
            .text("hf:{1}:events")
            .text("PUBLISH")
            .int(1_000)
            .int(1 << 20)
            .bytes(&head);
        limits.int(0).int(0).int(0).absent().text("t").text("k:x").text("label").absent().absent().int(0).int(0).0
    }

    fn call(&mut self, function: &str, keys: usize, call: Packed) -> Vec<u8> {
        let mut command = match self.vehicle {
            Vehicle::Functions => redis::cmd("FCALL"),
            Vehicle::Scripts => redis::cmd("EVAL"),
        };
        match self.vehicle {
            Vehicle::Functions => command.arg(format!("hf_{function}")),
            Vehicle::Scripts => command.arg(script(function)),
        };
        command.arg(keys);
        for kind in &KEYS[..keys] {
            command.arg(if *kind == "due" { "hf:{1}:due".to_owned() } else { format!("hf:{{1}}:t:{kind}") });
        }
        let Value::BulkString(answer) = command.arg(self.caller()).arg(call.0).query(&mut self.redis).unwrap() else {
            panic!("{function} answers with bytes")
        };
        answer
    }

    fn decide(&mut self, function: &str, call: Packed) -> Vec<u8> {
        let keys = if self.has_definitions { 8 } else { 5 };
        self.call(function, keys, call)
    }

    fn reserve(&mut self, requester: &str, name: &str, token: &[u8; 16]) -> Vec<u8> {
        let tail = Packed::default().text(requester).text("UserDefined").text("label").absent().absent().int(0).0;
        self.decide(
            "reserve",
            Packed::default().int(1).int(0).int(1).absent().text(name).bytes(token).bytes(&tail).int(60_000),
        )
    }

    fn unreserve(&mut self, requester: &str, name: &str, token: &[u8; 16]) -> Vec<u8> {
        let who = Packed::default().text(requester).0;
        self.decide("unreserve", Packed::default().int(1).int(0).int(1).text(name).bytes(token).bytes(&who))
    }

    fn register_pool(&mut self, name: &str, capacity: i64) -> Vec<u8> {
        let pool = Packed::default().int(1).int(0).int(0).int(1).text(name).int(capacity).array(0).array(0);
        let answer = self.call("register", 9, pool);
        self.has_definitions = true;
        answer
    }
}

/// Whether an answer holds this word.
fn says(answer: &[u8], word: &str) -> bool {
    answer.windows(word.len()).any(|part| part == word.as_bytes())
}

#[test]
fn every_part_of_the_library_stands_in_a_group() {
    let listed: BTreeSet<String> =
        groups().into_iter().flat_map(|(_, parts)| parts).map(|name| format!("lua/library/{name}.lua")).collect();
    let there: BTreeSet<String> = crate::support::source::files_under("lua/library")
        .iter()
        .map(|path| path.strip_prefix(root()).unwrap().display().to_string())
        .filter(|path| path.ends_with(".lua"))
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn the_library_decides_alike_as_functions_and_as_scripts() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in [Vehicle::Functions, Vehicle::Scripts] {
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
            // The version moved: a caller with the old one is told to look again.
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
    let call = Packed::default().int(1).int(0).int(1).absent().text("a").bytes(&[7; 16]).bytes(&tail).int(60_000).0;
    let mut command = redis::cmd("FCALL");
    command.arg("hf_reserve").arg(5);
    for kind in &KEYS[..5] {
        command.arg(if *kind == "due" { "hf:{1}:due".to_owned() } else { format!("hf:{{1}}:t:{kind}") });
    }
    let failed = command.arg(core.caller()).arg(call).query::<Value>(&mut core.redis);
    assert!(failed.unwrap_err().to_string().contains("WRONGTYPE"));

    redis::cmd("DEL").arg("hf:{1}:t:deadlines").arg("hf:{1}:t:held").exec(&mut core.redis).unwrap();
    let answer = core.reserve("w2", "b", &[9; 16]);
    assert!(says(&answer, "OK") && !says(&answer, "w1"));
    assert_eq!(server.ask::<Vec<String>>("HKEYS hf:{1}:t:held"), ["b"]);
    core.clear();
}
