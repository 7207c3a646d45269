//! RESP2, the protocol that Redis speaks until it is asked for another: commands encoded, replies decoded.
//!
//! As <https://redis.io/docs/latest/develop/reference/protocol-spec/> has it. The meaning of an error line is left to redis-rs.

use std::io;

use redis::{Cmd, Value};

/// Capacity, in bytes, that an empty buffer keeps: 256 KiB. A burst may grow it; it shrinks back to this.
pub(super) const IDLE_CAPACITY: usize = 256 << 10;
/// Bytes reserved in front of a command for its count of arguments, which is known at its end.
const COUNT_BYTES: usize = 24;
/// The first bytes of a published message, on a connection that has subscribed.
pub(super) const MESSAGE_PREFIX: &[u8] = b"*3\r\n$7\r\nmessage\r\n";

/// Takes the arguments of a command, one after the other; the name of the command is the first.
pub trait Arguments {
    /// Adds one argument, given in two parts that belong together.
    fn add(&mut self, begin: &[u8], end: &[u8]);
}

impl dyn Arguments + '_ {
    /// Adds an argument of bytes.
    pub fn bytes(&mut self, argument: &[u8]) {
        self.add(argument, b"");
    }

    /// Adds an argument of text.
    pub fn text(&mut self, argument: &str) {
        self.add(argument.as_bytes(), b"");
    }

    /// Adds a number in decimal digits.
    pub fn int(&mut self, argument: i64) {
        self.add(itoa::Buffer::new().format(argument).as_bytes(), b"");
    }
}

/// A command that can be sent. It writes its arguments straight into the connection's buffer, perhaps more than once.
pub trait Command {
    /// Writes the name of the command and its arguments.
    fn write(&self, to: &mut dyn Arguments);

    /// How many requests this command carries; a batch has more than one. A connection flushes after a number of requests.
    fn weight(&self) -> u32 {
        1
    }
}

impl Command for [&str] {
    fn write(&self, to: &mut dyn Arguments) {
        self.iter().for_each(|part| to.text(part));
    }
}

impl Command for Cmd {
    fn write(&self, to: &mut dyn Arguments) {
        for part in self.args_iter() {
            // A command with a cursor keeps it apart from its arguments; none of ours has one.
            if let redis::Arg::Simple(part) = part {
                to.bytes(part);
            }
        }
    }
}

impl Arguments for Cmd {
    fn add(&mut self, begin: &[u8], end: &[u8]) {
        if end.is_empty() {
            self.arg(begin);
        } else {
            self.arg([begin, end].concat());
        }
    }
}

/// The buffer in which a command is encoded.
#[derive(Debug, Default)]
pub(super) struct CommandBuffer {
    bytes: Vec<u8>,
    count: usize,
}

impl Arguments for CommandBuffer {
    fn add(&mut self, begin: &[u8], end: &[u8]) {
        self.count += 1;
        self.bytes.push(b'$');
        self.bytes.extend_from_slice(itoa::Buffer::new().format(begin.len() + end.len()).as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes.extend_from_slice(begin);
        self.bytes.extend_from_slice(end);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

impl CommandBuffer {
    /// Begins the next command.
    pub(super) fn begin(&mut self) {
        self.count = 0;
        self.bytes.clear();
        self.bytes.shrink_to(IDLE_CAPACITY);
        self.bytes.resize(COUNT_BYTES, 0);
    }

    /// Completes the command: its count of arguments goes in front of them.
    pub(super) fn end(&mut self) -> &[u8] {
        let mut digits = itoa::Buffer::new();
        let count = digits.format(self.count).as_bytes();
        let from = COUNT_BYTES - count.len() - 3;
        self.bytes[from] = b'*';
        self.bytes[from + 1..COUNT_BYTES - 2].copy_from_slice(count);
        self.bytes[COUNT_BYTES - 2..COUNT_BYTES].copy_from_slice(b"\r\n");
        &self.bytes[from..]
    }
}

/// Decodes a published message, which begins with [`MESSAGE_PREFIX`]: its payload and its whole size in bytes; `None` while it is incomplete.
pub(super) fn read_message(bytes: &[u8]) -> io::Result<Option<(&[u8], usize)>> {
    let Some((_channel, channel)) = read_text(&bytes[MESSAGE_PREFIX.len()..])? else { return Ok(None) };
    let start = MESSAGE_PREFIX.len() + channel;
    Ok(read_text(&bytes[start..])?.map(|(message, size)| (message, start + size)))
}

/// Decodes a bulk string: the text, and its size in bytes with length line and line end.
fn read_text(bytes: &[u8]) -> io::Result<Option<(&[u8], usize)>> {
    let Some(line) = bytes.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let digits =
        bytes.strip_prefix(b"$").and_then(|bytes| std::str::from_utf8(bytes.get(..line.checked_sub(2)?)?).ok());
    let len: usize =
        digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| malformed("a length that is no number"))?;
    let (from, to) = (line + 1, (line + 1).saturating_add(len));
    Ok(bytes.get(from..to.saturating_add(2)).map(|text| (&text[..len], to + 2)))
}

/// Deepest nesting of lists in a reply: FUNCTION LIST has the most of what we ask, 4.
const MAX_DEPTH: usize = 16;

/// Decodes the first reply: its value and its size in bytes; `None` while it is incomplete.
pub(super) fn read(bytes: &[u8]) -> io::Result<Option<(Value, usize)>> {
    read_below(bytes, 0)
}

fn read_below(bytes: &[u8], depth: usize) -> io::Result<Option<(Value, usize)>> {
    let Some(line) = bytes.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let at = line + 1;
    let text = bytes
        .get(1..line.saturating_sub(1))
        .and_then(|text| std::str::from_utf8(text).ok())
        .ok_or_else(|| malformed("a line without an end"))?;
    let number = || text.parse::<i64>().map_err(|_| malformed("a length that is no number"));
    let value = match bytes[0] {
        b'$' if text == "-1" => Value::Nil,
        b'$' => return Ok(read_text(bytes)?.map(|(text, size)| (Value::BulkString(text.to_vec()), size))),
        b'*' => match usize::try_from(number()?) {
            Ok(_) if depth == MAX_DEPTH => return Err(malformed("lists within lists without an end")),
            Ok(len) => return read_items(bytes, at, len, depth + 1),
            Err(_) => Value::Nil,
        },
        b':' => Value::Int(number()?),
        b'+' if text == "OK" => Value::Okay,
        b'+' => Value::SimpleString(text.to_owned()),
        b'-' => redis::parse_redis_value(&bytes[..at]).map_err(io::Error::other)?,
        _ => return Err(malformed("a reply of an unknown kind")),
    };
    Ok(Some((value, at)))
}

fn read_items(bytes: &[u8], mut at: usize, len: usize, depth: usize) -> io::Result<Option<(Value, usize)>> {
    let mut items = Vec::new();
    for _ in 0..len {
        let Some((item, size)) = read_below(&bytes[at..], depth)? else { return Ok(None) };
        items.push(item);
        at += size;
    }
    Ok(Some((Value::Array(items), at)))
}

/// The error for bytes that are no RESP.
pub(super) fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that are RESP, or nearly.
    fn nearly_resp() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            3 => "[$*:+-][0-9-]{0,6}\r\n".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..20),
            1 => Just(MESSAGE_PREFIX.to_vec()),
        ];
        prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_reply_an_error_or_incomplete(bytes in nearly_resp()) {
            if let Ok(Some((value, size))) = read(&bytes) {
                prop_assert!(size > 0 && size <= bytes.len());
                // However much of it is there: less is incomplete, more changes nothing.
                prop_assert!(matches!(read(&bytes[..size - 1]), Ok(None)));
                prop_assert_eq!(read(&bytes[..size]).ok().flatten(), Some((value, size)));
            }
            let message = [MESSAGE_PREFIX, &bytes].concat();
            if let Ok(Some((payload, size))) = read_message(&message) {
                prop_assert!(size <= message.len() && payload.len() < size);
            }
        }
    }

    #[test]
    fn lists_within_lists_have_an_end() {
        let nested = |depth: usize| ["*1\r\n".repeat(depth), ":1\r\n".into()].concat().into_bytes();
        assert!(read(&nested(MAX_DEPTH)).is_ok_and(|read| read.is_some()));
        assert!(read(&nested(MAX_DEPTH + 1)).is_err() && read(&nested(1_000_000)).is_err());
    }

    #[test]
    fn a_command_is_written_as_redis_rs_writes_it() {
        let mut command = CommandBuffer::default();
        for count in [1, 9, 10, 2_000] {
            command.begin();
            let mut expected = Cmd::new();
            for at in 0..count {
                (&mut command as &mut dyn Arguments).int(at);
                expected.arg(at);
            }
            command.add(b"be\r\ngin", b":end");
            expected.arg("be\r\ngin:end");
            assert_eq!(command.end(), expected.get_packed_command());
        }
    }

    #[test]
    fn a_reply_is_read_when_all_of_it_is_there() {
        let replies: [&[u8]; 10] = [
            b"$3\r\na\nb\r\n",
            b"$0\r\n\r\n",
            b"$-1\r\n",
            b"+OK\r\n",
            b"-NOSCRIPT no such thing\r\n",
            b":-12\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"+PONG\r\n",
            b"*3\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n+b\r\n",
        ];
        for reply in replies {
            for end in 0..reply.len() {
                assert!(
                    read(&reply[..end]).is_ok_and(|read| read.is_none()),
                    "{:?}",
                    String::from_utf8_lossy(&reply[..end])
                );
            }
            let more = [reply, b"+more\r\n"].concat();
            let (value, size) = read(&more).ok().flatten().unwrap_or((Value::Nil, 0));
            assert_eq!(size, reply.len());
            assert_eq!(Some(value), redis::parse_redis_value(reply).ok());
        }
        let published = [MESSAGE_PREFIX, b"$2\r\nch\r\n$7\r\nan\r\nev\0\r\n"].concat();
        assert!(
            (MESSAGE_PREFIX.len()..published.len())
                .all(|end| read_message(&published[..end]).is_ok_and(|read| read.is_none()))
        );
        let more = [&published[..], MESSAGE_PREFIX].concat();
        assert_eq!(read_message(&more).ok().flatten(), Some((&b"an\r\nev\0"[..], published.len())));
        for broken in [&b"$x\r\n"[..], b"*y\r\n", b"?what\r\n", b"$\r\n"] {
            assert!(read(broken).is_err());
        }
    }
}
