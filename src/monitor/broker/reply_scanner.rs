//! Bounds of a broker's replies, checked as they arrive: what is announced to be too large is refused before it is read.
//!
//! redis-rs parses replies of any size; a broker belongs to a tenant, and what it sends must not fill the memory that all tenants share.
//! So a reply must end here no earlier than in redis-rs, which would keep what follows: what it might read otherwise is refused.

/// Bytes that are kept of a line. One that announces a length is shorter.
const MAX_HEADER_BYTES: usize = 32;
/// Deepest nesting of a reply: no command that we send is answered with more than five levels.
const MAX_DEPTH: usize = 16;

/// Largest reply, or message, in bytes: 8 MiB.
pub(super) const MAX_REPLY_BYTES: u64 = 8 << 20;
/// Most elements of a reply in all its levels.
pub(super) const MAX_REPLY_ELEMENTS: u64 = 200_000;

/// Why a reply is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It has more bytes, elements or levels than allowed.
    TooLarge,
    /// It is no RESP.
    Malformed,
}

/// Follows the frames of RESP2 and RESP3 through the bytes of a connection.
#[derive(Debug, Default)]
pub(super) struct ReplyScanner {
    /// Items that are missing in each open aggregate, the outermost first.
    open: Vec<u64>,
    /// The line that is read, as far as it says a type and a length.
    line: Vec<u8>,
    /// Whether the last byte of that line was a carriage return.
    has_return: bool,
    /// Bytes of a bulk string and its line end that are still to come.
    bulk: u64,
    /// Bytes and elements of the present reply so far.
    bytes: u64,
    elements: u64,
}

impl ReplyScanner {
    /// Bytes of the reply that has begun and is not complete.
    pub(super) fn pending_bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next bytes of the connection.
    pub(super) fn scan(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        while !bytes.is_empty() {
            if self.bulk > 0 {
                let taken = self.bulk.min(bytes.len() as u64);
                self.bulk -= taken;
                self.bytes += taken;
                bytes = &bytes[taken as usize..];
                if self.bulk == 0 {
                    self.end_item();
                }
                continue;
            }
            let line_end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let (part, rest) = bytes.split_at(line_end.unwrap_or(bytes.len()));
            self.bytes += part.len() as u64;
            if self.bytes > MAX_REPLY_BYTES {
                return Err(Refused::TooLarge);
            }
            let kept = part.len().min(MAX_HEADER_BYTES.saturating_sub(self.line.len()));
            self.line.extend_from_slice(&part[..kept]);
            bytes = rest;
            if line_end.is_some() {
                let has_return = if part.len() > 1 { part[part.len() - 2] == b'\r' } else { self.has_return };
                if !has_return {
                    return Err(Refused::Malformed);
                }
                self.begin_item()?;
                self.line.clear();
            }
            self.has_return = part.last() == Some(&b'\r');
        }
        Ok(())
    }

    /// A line is complete: an item of its own, or the head of one.
    fn begin_item(&mut self) -> Result<(), Refused> {
        let (kind, rest) = self.line.split_first().ok_or(Refused::Malformed)?;
        let number = || {
            if self.line.len() >= MAX_HEADER_BYTES {
                return Err(Refused::Malformed);
            }
            let digits = std::str::from_utf8(rest).map_err(|_| Refused::Malformed)?;
            digits.trim_end_matches(['\r', '\n']).parse::<i64>().map_err(|_| Refused::Malformed)
        };
        match kind {
            b'$' | b'=' | b'!' => {
                let Ok(length) = u64::try_from(number()?) else {
                    // The null of RESP2, which no other kind has.
                    if *kind != b'$' {
                        return Err(Refused::Malformed);
                    }
                    self.end_item();
                    return Ok(());
                };
                self.bulk = length.saturating_add(2);
                if self.bytes.saturating_add(self.bulk) > MAX_REPLY_BYTES {
                    return Err(Refused::TooLarge);
                }
            }
            b'*' | b'~' | b'>' | b'%' => {
                let per_element = if *kind == b'%' { 2 } else { 1 };
                let count = match u64::try_from(number()?) {
                    Ok(count) => count.saturating_mul(per_element),
                    // The null list of RESP2, which no other kind has.
                    Err(_) if *kind == b'*' => 0,
                    Err(_) => return Err(Refused::Malformed),
                };
                self.elements = self.elements.saturating_add(count);
                if self.elements > MAX_REPLY_ELEMENTS || self.open.len() >= MAX_DEPTH {
                    return Err(Refused::TooLarge);
                }
                if count == 0 {
                    self.end_item();
                } else {
                    self.open.push(count);
                }
            }
            b'+' | b'-' | b':' | b',' | b'_' | b'#' | b'(' => self.end_item(),
            _ => return Err(Refused::Malformed),
        }
        Ok(())
    }

    /// An item is complete, and with it perhaps what it is the last item of.
    fn end_item(&mut self) {
        while let Some(missing) = self.open.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                return;
            }
            self.open.pop();
        }
        (self.bytes, self.elements) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_announced_to_be_too_large_is_refused_before_it_comes() {
        for (head, refused) in [
            ("$4000000000\r\n", Refused::TooLarge),
            ("*50000000\r\n", Refused::TooLarge),
            ("%150000\r\n", Refused::TooLarge),
            (&"*1\r\n".repeat(MAX_DEPTH + 1), Refused::TooLarge),
            ("$x\r\n", Refused::Malformed),
            ("HTTP/1.1 400 Bad Request\r\n", Refused::Malformed),
            ("\n", Refused::Malformed),
            // What redis-rs would go on reading.
            ("+\n", Refused::Malformed),
            ("+a\rb\n", Refused::Malformed),
            ("=-1\r\n", Refused::Malformed),
            ("!-1\r\n", Refused::Malformed),
            ("%-33\r\nbul3", Refused::Malformed),
            ("~-1\r\n", Refused::Malformed),
            (">-1\r\n", Refused::Malformed),
            (&format!("${}4000000000\r\n", "0".repeat(MAX_HEADER_BYTES)), Refused::Malformed),
        ] {
            assert_eq!(ReplyScanner::default().scan(head.as_bytes()), Err(refused), "{head:?}");
        }
        let mut scanner = ReplyScanner::default();
        let pieces: [&[u8]; 4] = [b"+OK\r", b"\n+OK", b"\r\n+OK\r\n:1", b"\n"];
        assert_eq!(pieces.map(|piece| scanner.scan(piece)), [Ok(()), Ok(()), Ok(()), Err(Refused::Malformed)]);
        let mut scanner = ReplyScanner::default();
        let line = [b"+".as_slice(), &vec![b'x'; MAX_REPLY_BYTES as usize]].concat();
        assert_eq!(scanner.scan(&line), Err(Refused::TooLarge), "a line has no length in front");
        // Many replies of which each is small are no great one.
        let mut scanner = ReplyScanner::default();
        let reply = [b"$1048576\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
        for _ in 0..20 {
            assert_eq!(scanner.scan(&reply), Ok(()));
        }
        assert_eq!(scanner.pending_bytes(), 0);
    }

    /// Any reply, in RESP.
    fn reply() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|text| [
                format!("${}\r\n", text.len()).as_bytes(),
                &text,
                b"\r\n"
            ]
            .concat()),
            any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
            "[a-zA-Z 0-9]{0,60}".prop_map(|line| format!("+{line}\r\n").into_bytes()),
            Just(b"$-1\r\n".to_vec()),
            Just(b"*-1\r\n".to_vec()),
            Just(b"_\r\n".to_vec()),
        ];
        leaf.prop_recursive(4, 64, 8, |item| {
            (prop::collection::vec(item, 0..8), prop::sample::select(vec!['*', '~', '>', '%'])).prop_map(
                |(mut items, kind)| {
                    if kind == '%' && items.len() % 2 == 1 {
                        items.pop();
                    }
                    let count = if kind == '%' { items.len() / 2 } else { items.len() };
                    [format!("{kind}{count}\r\n").into_bytes(), items.concat()].concat()
                },
            )
        })
    }

    proptest! {
        #[test]
        fn the_end_of_a_reply_is_found_however_it_is_cut(replies in prop::collection::vec(reply(), 1..4), cut in 1_usize..50) {
            let mut scanner = ReplyScanner::default();
            for reply in &replies {
                let (whole, last) = reply.split_at(reply.len() - 1);
                for piece in whole.chunks(cut) {
                    prop_assert_eq!(scanner.scan(piece), Ok(()));
                    prop_assert!(scanner.pending_bytes() > 0);
                }
                prop_assert_eq!(scanner.scan(last), Ok(()));
                prop_assert_eq!(scanner.pending_bytes(), 0);
            }
        }

        #[test]
        fn any_bytes_are_taken_or_refused_and_never_more_than_allowed(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let mut scanner = ReplyScanner::default();
            for piece in bytes.chunks(7) {
                if scanner.scan(piece).is_err() {
                    break;
                }
                prop_assert!(scanner.pending_bytes() <= MAX_REPLY_BYTES && scanner.open.len() <= MAX_DEPTH);
            }
        }
    }
}
