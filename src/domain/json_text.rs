//! JSON that is nearly right: what Python writes that no other reader takes, and how deep a text is nested.

use std::borrow::Cow;

/// Numbers that Python's `json` writes and that are no JSON.
const NO_NUMBERS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
/// The character that stands for one that cannot be written, as an escape.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// Replaces what strict readers refuse: `NaN` and infinities become `null`, and an escape that is one half of a pair (`\ud83d` alone) becomes
/// U+FFFD. Everything else stays, byte for byte; a text without such things is borrowed.
#[must_use]
pub fn repaired(json: &[u8]) -> Cow<'_, [u8]> {
    let mut repaired = Vec::new();
    // Up to where `json` has been copied.
    let mut copied = 0;
    let mut replace = |from: usize, to: usize, by: &[u8]| {
        repaired.extend_from_slice(&json[copied..from]);
        repaired.extend_from_slice(by);
        copied = to;
    };
    let (mut at, mut is_inside) = (0, false);
    while at < json.len() {
        let rest = &json[at..];
        at += match (is_inside, rest[0]) {
            (true, b'\\') => match half_at(rest) {
                Some(Half::First) if rest.get(6..).and_then(half_at) == Some(Half::Second) => 12,
                Some(_) => {
                    replace(at, at + 6, REPLACEMENT);
                    6
                }
                None => 2,
            },
            (_, b'"') => {
                is_inside = !is_inside;
                1
            }
            (false, b'N' | b'-' | b'I') => match NO_NUMBERS.iter().find(|word| rest.starts_with(word)) {
                Some(word) => {
                    replace(at, at + word.len(), b"null");
                    word.len()
                }
                None => 1,
            },
            _ => 1,
        };
    }
    if copied == 0 && repaired.is_empty() {
        return Cow::Borrowed(json);
    }
    repaired.extend_from_slice(&json[copied..]);
    Cow::Owned(repaired)
}

/// One half of a pair of escapes that together are one character.
#[derive(PartialEq, Eq)]
enum Half {
    First,
    Second,
}

/// The half that an escape at the beginning of a text stands for.
fn half_at(text: &[u8]) -> Option<Half> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    if !digits[0].eq_ignore_ascii_case(&b'd') || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    match digits[1].to_ascii_lowercase() {
        b'8' | b'9' | b'a' | b'b' => Some(Half::First),
        b'c'..=b'f' => Some(Half::Second),
        _ => None,
    }
}

/// How many lists and objects of valid JSON stand in each other, at most.
#[must_use]
pub fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest, mut is_inside, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_inside => is_escaped = true,
            b'"' => is_inside = !is_inside,
            b'[' | b'{' if !is_inside => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !is_inside => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(json: &str) -> String {
        String::from_utf8(repaired(json.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn what_python_writes_becomes_json() {
        for (given, expected) in [
            (r#"{"a":NaN,"b":[Infinity,-Infinity,-1]}"#, r#"{"a":null,"b":[null,null,-1]}"#),
            (r#"["cut \ud83d"]"#, r#"["cut \ufffd"]"#),
            (r#"["\udcff","\uD83D\uDE00","\ud83d\ud83d\ude00"]"#, r#"["\ufffd","\uD83D\uDE00","\ufffd\ud83d\ude00"]"#),
            (r#"["NaN \\ud83d Infinity \" NaN"]"#, r#"["NaN \\ud83d Infinity \" NaN"]"#),
            (r#"{"NaN":1}"#, r#"{"NaN":1}"#),
        ] {
            assert_eq!(text(given), expected);
            serde_json::from_str::<serde_json::Value>(&text(given)).unwrap();
        }
        assert!(matches!(repaired(br#"{"a":[1,"b\n"]}"#), Cow::Borrowed(_)));
    }

    #[test]
    fn depth_counts_lists_and_objects_outside_texts() {
        assert_eq!((nesting("1"), nesting("[]"), nesting(r#"{"a":[{"b":"[[[\"{"}]}"#)), (0, 1, 3));
    }

    proptest! {
        #[test]
        fn any_json_stays_as_it_is(value in "[a-zA-Z\\\\\"\u{e9}\u{1f600} -]{0,40}") {
            let json = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(text(&json), json);
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let once = repaired(&bytes).into_owned();
            prop_assert_eq!(repaired(&once).into_owned(), once);
        }
    }
}
