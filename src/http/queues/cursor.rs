//! Cursor of the list of jobs: the position of a page's last job, bound to the sort and order of its list.
//!
//! Format, in base64 for URLs: `d` or `a` for the direction, the sorted field, `:`, the job's id, `:`, and the sort key: `n` and a number, `t`
//! and a text, or `-` where it is absent.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::domain::queue::{SortKey, SortOrder, SortPosition};

/// Maximum of a cursor, in bytes.
const CURSOR_BYTES: usize = 1_000;

pub(in crate::http) fn encode(position: &SortPosition, sort_by: &str, order: SortOrder) -> String {
    let key = match &position.key {
        SortKey::Number(number) => format!("n{number}"),
        SortKey::Text(text) => format!("t{text}"),
        SortKey::Absent => "-".into(),
    };
    URL_SAFE_NO_PAD.encode(format!("{}{sort_by}:{}:{key}", direction(order), position.id.simple()))
}

/// Decodes a cursor; `None` if it is malformed, or of a list with another sort or order.
pub(in crate::http) fn decode(cursor: &str, sort_by: &str, order: SortOrder) -> Option<SortPosition> {
    if cursor.len() > CURSOR_BYTES {
        return None;
    }
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let rest = text.strip_prefix(direction(order))?.strip_prefix(sort_by)?.strip_prefix(':')?;
    let (id, key) = rest.split_once(':')?;
    let key = match key.split_at_checked(1)? {
        ("n", number) => SortKey::Number(number.parse().ok()?),
        ("t", text) => SortKey::Text(text.into()),
        ("-", "") => SortKey::Absent,
        _ => return None,
    };
    Some(SortPosition { key, id: Uuid::try_parse(id).ok()? })
}

fn direction(order: SortOrder) -> char {
    match order {
        SortOrder::Descending => 'd',
        SortOrder::Ascending => 'a',
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cursor_round_trips_within_its_own_sort_and_order() {
        const DESCENDING: SortOrder = SortOrder::Descending;
        for key in [SortKey::Number(-5), SortKey::Text("a:b".into()), SortKey::Text(String::new()), SortKey::Absent] {
            let position = SortPosition { key, id: Uuid::from_u128(7) };
            let cursor = encode(&position, "name", DESCENDING);
            assert_eq!(decode(&cursor, "name", DESCENDING), Some(position));
            assert_eq!(decode(&cursor, "name", SortOrder::Ascending), None);
            assert_eq!(decode(&cursor, "queue", DESCENDING), None);
        }
        let longest = SortPosition { key: SortKey::Text("x".repeat(512)), id: Uuid::nil() };
        assert!(encode(&longest, "durationMs", DESCENDING).len() <= CURSOR_BYTES);
        assert_eq!(decode("!", "name", DESCENDING), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_cursor_or_none(text in ".{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            for cursor in [text.clone(), URL_SAFE_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&bytes)] {
                if let Some(position) = decode(&cursor, "name", SortOrder::Ascending) {
                    let again = encode(&position, "name", SortOrder::Ascending);
                    prop_assert_eq!(decode(&again, "name", SortOrder::Ascending), Some(position));
                }
            }
        }

        #[test]
        fn any_position_round_trips(text in ".{0,100}", number in any::<i64>(), id in any::<u128>()) {
            for key in [SortKey::Text(text.clone()), SortKey::Number(number), SortKey::Absent] {
                let position = SortPosition { key, id: Uuid::from_u128(id) };
                let cursor = encode(&position, "name", SortOrder::Descending);
                prop_assert_eq!(decode(&cursor, "name", SortOrder::Descending), Some(position));
            }
        }
    }
}
