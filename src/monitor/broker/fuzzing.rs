//! Entry for fuzzing: replies of a broker.

use redis::ErrorKind;

use super::reply_scanner::ReplyScanner;

/// Follows replies through the bytes of a connection.
///
/// # Panics
/// Where the scanner's answer depends on how the bytes are cut, or where redis-rs would read on behind what the scanner takes for the end of a
/// reply: then its buffer would have no bound.
pub fn replies(bytes: &[u8]) {
    let mut at_once = ReplyScanner::default();
    let scanned = at_once.scan(bytes);
    let mut scanner = ReplyScanner::default();
    let (mut begin, mut in_pieces) = (0, Ok(()));
    for (at, byte) in bytes.iter().enumerate() {
        in_pieces = scanner.scan(std::slice::from_ref(byte));
        if in_pieces.is_err() {
            break;
        }
        if scanner.pending_bytes() == 0 {
            let reply = &bytes[begin..=at];
            match redis::parse_redis_value(reply) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Io => panic!("redis-rs reads on behind {reply:?}"),
                // It ends the connection.
                Err(_) => return,
            }
            begin = at + 1;
        }
    }
    assert_eq!(scanned, in_pieces);
    if scanned.is_ok() {
        assert_eq!(at_once.pending_bytes(), scanner.pending_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_once_found_is_refused_now() {
        for bytes in [
            &b"+\n+\n+\n"[..],
            b"=-1\r\n+OK\r\n",
            b"!-1\r\n",
            b"%-33\r\nbul3",
            b"$00000000000000000000000000000000000000000009\r\n+\r\n+\r\n",
            b"*2\r\n$3\r\na\nb\r\n:1\r\n%1\r\n+a\r\n#t\r\n>2\r\n+message\r\n_\r\n",
        ] {
            replies(bytes);
        }
    }
}
