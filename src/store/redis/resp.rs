//! RESP2, the protocol that Redis speaks until it is asked for another: how commands are written, and replies are read.
//!
//! As <https://redis.io/docs/latest/develop/reference/protocol-spec/> has it. What an error means is left to redis-rs.

use std::io;

use redis::{Cmd, Value};

/// What a buffer may keep when nothing is in it.
pub(in crate::store) const KEPT: usize = 256 << 10;
/// Room before a command for the number of its arguments.
const HEAD: usize = 24;
/// How what is published begins, on a connection that has subscribed.
pub(in crate::store) const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n";

/// What takes the arguments of a command, one after the other.
pub(in crate::store) trait Arguments {
    /// Adds an argument, given in two parts.
    fn add(&mut self, begin: &[u8], end: &[u8]);
}

impl dyn Arguments + '_ {
    pub(in crate::store) fn bytes(&mut self, argument: &[u8]) {
        self.add(argument, b"");
    }

    pub(in crate::store) fn text(&mut self, argument: &str) {
        self.add(argument.as_bytes(), b"");
    }

    pub(in crate::store) fn int(&mut self, argument: i64) {
        self.add(itoa::Buffer::new().format(argument).as_bytes(), b"");
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

/// A command as it is put together.
#[derive(Debug, Default)]
pub(in crate::store) struct Command {
    bytes: Vec<u8>,
    count: usize,
}

impl Arguments for Command {
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

impl Command {
    /// Begins a command.
    pub(in crate::store) fn begin(&mut self) {
        self.count = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.bytes.resize(HEAD, 0);
    }

    /// All of it.
    pub(in crate::store) fn end(&mut self) -> &[u8] {
        let mut digits = itoa::Buffer::new();
        let count = digits.format(self.count).as_bytes();
        let from = HEAD - count.len() - 3;
        self.bytes[from] = b'*';
        self.bytes[from + 1..HEAD - 2].copy_from_slice(count);
        self.bytes[HEAD - 2..HEAD].copy_from_slice(b"\r\n");
        &self.bytes[from..]
    }
}

/// What is published on a channel, which stands first of what was read, and the size of all of it; `None`: it is not complete yet.
pub(in crate::store) fn read_message(bytes: &[u8]) -> io::Result<Option<(&[u8], usize)>> {
    let Some((_channel, channel)) = read_text(&bytes[MESSAGE.len()..])? else { return Ok(None) };
    let begins = MESSAGE.len() + channel;
    Ok(read_text(&bytes[begins..])?.map(|(message, size)| (message, begins + size)))
}

/// A text, and its size with what is around it.
fn read_text(bytes: &[u8]) -> io::Result<Option<(&[u8], usize)>> {
    let Some(line) = bytes.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let digits =
        bytes.strip_prefix(b"$").and_then(|bytes| std::str::from_utf8(bytes.get(..line.checked_sub(2)?)?).ok());
    let len: usize =
        digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| malformed("a length that is no number"))?;
    let (from, to) = (line + 1, (line + 1).saturating_add(len));
    Ok(bytes.get(from..to.saturating_add(2)).map(|text| (&text[..len], to + 2)))
}

/// The first reply of what was read, and its size; `None`: it is not complete yet.
pub(in crate::store) fn read(bytes: &[u8]) -> io::Result<Option<(Value, usize)>> {
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
            Ok(len) => return read_items(bytes, at, len),
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

fn read_items(bytes: &[u8], mut at: usize, len: usize) -> io::Result<Option<(Value, usize)>> {
    let mut items = Vec::new();
    for _ in 0..len {
        let Some((item, size)) = read(&bytes[at..])? else { return Ok(None) };
        items.push(item);
        at += size;
    }
    Ok(Some((Value::Array(items), at)))
}

pub(in crate::store) fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_written_as_redis_rs_writes_it() {
        let mut command = Command::default();
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
        let published = [MESSAGE, b"$2\r\nch\r\n$7\r\nan\r\nev\0\r\n"].concat();
        assert!(
            (MESSAGE.len()..published.len())
                .all(|end| read_message(&published[..end]).is_ok_and(|read| read.is_none()))
        );
        let more = [&published[..], MESSAGE].concat();
        assert_eq!(read_message(&more).ok().flatten(), Some((&b"an\r\nev\0"[..], published.len())));
        for broken in [&b"$x\r\n"[..], b"*y\r\n", b"?what\r\n", b"$\r\n"] {
            assert!(read(broken).is_err());
        }
    }
}
