//! A tenant over the library on a real Redis, whose functions tests call.

use redis::Value;

use super::composer::{function as of_name, keys_of, library};
use crate::support::redis_server::Redis;

/// Writes a MessagePack sequence.
#[derive(Default)]
pub(super) struct Packed(pub(super) Vec<u8>);

impl Packed {
    pub(super) fn int(mut self, value: i64) -> Self {
        rmp::encode::write_sint(&mut self.0, value).unwrap();
        self
    }

    pub(super) fn absent(mut self) -> Self {
        rmp::encode::write_bool(&mut self.0, false).unwrap();
        self
    }

    pub(super) fn present(mut self) -> Self {
        rmp::encode::write_bool(&mut self.0, true).unwrap();
        self
    }

    pub(super) fn bytes(mut self, value: &[u8]) -> Self {
        rmp::encode::write_str_len(&mut self.0, value.len() as u32).unwrap();
        self.0.extend(value);
        self
    }

    pub(super) fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    pub(super) fn array(mut self, length: u32) -> Self {
        rmp::encode::write_array_len(&mut self.0, length).unwrap();
        self
    }
}

/// How the library is called.
#[derive(Clone, Copy)]
pub(super) enum Vehicle {
    Functions,
    Scripts,
}

/// Both, for tests that call the library either way.
pub(super) const VEHICLES: [Vehicle; 2] = [Vehicle::Functions, Vehicle::Scripts];

/// Kinds of keys of a decision, in order, without and with definitions.
pub(super) const KEYS: &[&str] = &[
    "meta",
    "held",
    "deadlines",
    "history",
    "due",
    "definitions",
    "index",
    "slots",
    "lines",
    "tickets",
    "ticket_ends",
    "links",
];

/// A tenant `t` of version 1 with the API key `x`, which a caller without a limit bears.
pub(super) struct Core {
    pub(super) redis: redis::Connection,
    vehicle: Vehicle,
    has_definitions: bool,
    /// The tenant's version, as the caller knows it.
    pub(super) version: i64,
    /// Calls per second, and at once; 0: no limit.
    pub(super) rate: i64,
    /// The field of the caller's credential.
    pub(super) credential: &'static str,
}

impl Core {
    pub(super) fn start(server: &Redis, vehicle: Vehicle) -> Self {
        let mut redis = server.connection();
        redis::cmd("FLUSHALL").exec(&mut redis).unwrap();
        redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(library()).exec(&mut redis).unwrap();
        let state: Vec<u8> = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0f64]
            .into_iter()
            .flat_map(f64::to_le_bytes)
            .collect();
        redis::cmd("HSET")
            .arg("hf:{1}:t:meta")
            .arg("state")
            .arg(state)
            .arg("k:x")
            .arg("id")
            .arg("created")
            .arg(1)
            .exec(&mut redis)
            .unwrap();
        Self { redis, vehicle, has_definitions: false, version: 1, rate: 0, credential: "k:x" }
    }

    /// Removes the tenant, whose state has another form than the one that the server is checked for at its end.
    pub(super) fn clear(&mut self) {
        redis::cmd("FLUSHALL").exec(&mut self.redis).unwrap();
    }

    pub(super) fn caller(&self) -> Vec<u8> {
        let head = Packed::default().text("R").text("t").0;
        let session =
            if self.credential.starts_with("s:") { Packed::default().present() } else { Packed::default().absent() };
        let limits =
            session.int(self.version).text("hf:{1}:events").text("PUBLISH").int(1_000).int(1 << 20).bytes(&head);
        limits
            .int(0)
            .int(self.rate)
            .int(self.rate)
            .absent()
            .text("t")
            .text(self.credential)
            .text("label")
            .absent()
            .absent()
            .int(0)
            .int(0)
            .int(0)
            .0
    }

    /// The command that calls a function with these keys and arguments.
    pub(super) fn command<A: redis::ToRedisArgs>(&self, function: &str, keys: &[String], args: &[A]) -> redis::Cmd {
        let mut command = match self.vehicle {
            Vehicle::Functions => redis::cmd("FCALL"),
            Vehicle::Scripts => redis::cmd("EVAL"),
        };
        match self.vehicle {
            Vehicle::Functions => command.arg(of_name(function).loaded_as()),
            Vehicle::Scripts => command.arg(of_name(function).script()),
        };
        command.arg(keys.len()).arg(keys).arg(args);
        command
    }

    /// Calls a function with the keys that its header names. Answers its bytes.
    pub(super) fn ask<A: redis::ToRedisArgs>(&mut self, function: &str, args: &[A]) -> Answer {
        let keys: Vec<_> = keys_of(function).iter().map(|kind| key(kind)).collect();
        Answer::read(&self.run(function, &keys, args))
    }

    /// The same of a counted function, as the caller, with the arguments behind caller and cost.
    pub(super) fn ask_as_caller<A: AsRef<[u8]>>(&mut self, function: &str, args: &[A]) -> Answer {
        let mut all = vec![self.caller(), Packed::default().int(1).int(0).0];
        all.extend(args.iter().map(|arg| arg.as_ref().to_vec()));
        self.ask(function, &all)
    }

    fn run<A: redis::ToRedisArgs>(&mut self, function: &str, keys: &[String], args: &[A]) -> Vec<u8> {
        let answer = self.command(function, keys, args).query(&mut self.redis).unwrap();
        let Value::BulkString(answer) = answer else { panic!("{function} answers with bytes, not {answer:?}") };
        answer
    }

    pub(super) fn call(&mut self, function: &str, keys: usize, call: Packed) -> Vec<u8> {
        let keys: Vec<_> = KEYS[..keys].iter().map(|kind| key(kind)).collect();
        self.run(function, &keys, &[self.caller(), call.0])
    }

    /// The caller looks at the tenant again, as a replica does when its version has moved.
    pub(super) fn look_again(&mut self) {
        let state: Vec<u8> = self.query("HGET", "meta", &["state"]);
        self.version = f64::from_le_bytes(state[32..40].try_into().unwrap()) as i64;
    }

    /// A value of a key of the tenant's.
    pub(super) fn query<T: redis::FromRedisValue>(&mut self, command: &str, kind: &str, args: &[&str]) -> T {
        redis::cmd(command).arg(key(kind)).arg(args).query(&mut self.redis).unwrap()
    }

    pub(super) fn decide(&mut self, function: &str, call: Packed) -> Vec<u8> {
        let keys = if self.has_definitions { 8 } else { 5 };
        self.call(function, keys, call)
    }

    pub(super) fn reserve(&mut self, requester: &str, name: &str, token: &[u8; 16]) -> Vec<u8> {
        let tail = Packed::default().text(requester).text("UserDefined").text("label").absent().absent().int(0).0;
        self.decide(
            "reserve",
            Packed::default().int(1).int(0).int(1).absent().absent().text(name).bytes(token).bytes(&tail).int(60_000),
        )
    }

    pub(super) fn unreserve(&mut self, requester: &str, name: &str, token: &[u8; 16]) -> Vec<u8> {
        let who = Packed::default().text(requester).0;
        self.decide("unreserve", Packed::default().int(1).int(0).int(1).text(name).bytes(token).bytes(&who))
    }

    pub(super) fn register_pool(&mut self, name: &str, capacity: i64) -> Vec<u8> {
        let pool = Packed::default().int(1).int(0).int(0).int(1).text(name).int(capacity).array(0).array(0);
        let answer = self.call("register", 12, pool);
        self.has_definitions = true;
        answer
    }
}

/// The name of a key of the tenant's, or of its partition's.
pub(super) fn key(kind: &str) -> String {
    match kind {
        "due" | "replicas" => format!("hf:{{1}}:{kind}"),
        "issuer" => "hf:issuer:x".to_owned(),
        _ => format!("hf:{{1}}:t:{kind}"),
    }
}

/// A value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    Absent,
    True,
    Int(i64),
    Float(f64),
    Bytes(Vec<u8>),
    Array(Vec<Item>),
}

impl Item {
    pub(super) fn int(&self) -> i64 {
        if let Self::Int(value) = self { *value } else { panic!("no whole number: {self:?}") }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        if let Self::Bytes(value) = self { value } else { panic!("no text: {self:?}") }
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap()
    }

    pub(super) fn array(&self) -> &[Item] {
        if let Self::Array(value) = self { value } else { panic!("no array: {self:?}") }
    }
}

impl From<&str> for Item {
    fn from(text: &str) -> Self {
        Self::Bytes(text.into())
    }
}

/// Decodes a MessagePack sequence.
pub(super) fn unpacked(mut bytes: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        items.push(read_item(&mut bytes));
    }
    items
}

fn read_item(bytes: &mut &[u8]) -> Item {
    use rmp::{Marker, decode};
    match Marker::from_u8(bytes[0]) {
        Marker::False => {
            *bytes = &bytes[1..];
            Item::Absent
        }
        Marker::True => {
            *bytes = &bytes[1..];
            Item::True
        }
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            let length = decode::read_array_len(bytes).unwrap();
            Item::Array((0..length).map(|_| read_item(bytes)).collect())
        }
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
            let length = decode::read_str_len(bytes).unwrap() as usize;
            let (text, rest) = bytes.split_at(length);
            *bytes = rest;
            Item::Bytes(text.to_vec())
        }
        Marker::F64 => Item::Float(decode::read_f64(bytes).unwrap()),
        Marker::F32 => Item::Float(decode::read_f32(bytes).unwrap().into()),
        _ => Item::Int(decode::read_int(bytes).unwrap()),
    }
}

/// An answer of a function.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) backlog_us: i64,
    pub(super) word: String,
    pub(super) now_us: i64,
    pub(super) position: i64,
    pub(super) items: Vec<Item>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let mut items = unpacked(bytes);
        assert!(items.len() >= 4, "an answer begins with backlog, word, clock and position: {items:?}");
        let rest = items.split_off(4);
        let (word, now_us) = (items[1].text().to_owned(), items[2].int());
        Self { backlog_us: items[0].int(), word, now_us, position: items[3].int(), items: rest }
    }
}

/// Whether an answer holds this word.
pub(super) fn says(answer: &[u8], word: &str) -> bool {
    answer.windows(word.len()).any(|part| part == word.as_bytes())
}
