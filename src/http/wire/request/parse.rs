//! Parsing of JSON bodies, and what is wrong with one, in the words of JSON.
//!
//! A body is parsed once. Only if that fails it is looked at again, item by item, for the path of each error; the work
//! of that is bounded by the number of errors that an answer names.

use serde::{Deserializer, de};
use serde_json::value::RawValue;

use crate::{
    domain::{
        field_errors::{FieldError, FieldErrors},
        nearest::nearest,
    },
    http::wire::error::ApiError,
};

/// Bytes of a text from the body that an error quotes.
const MAX_QUOTED_BYTES: usize = 64;

/// Parses JSON, with or without a byte order mark.
///
/// # Errors
/// 400 with the errors of the body.
pub(in crate::http) fn parse<T: de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::field("", "the body is empty; it must be JSON"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_syntax() || error.is_eof() {
            return ApiError::field("", format!("the body is not JSON: {error}"));
        }
        ApiError::validation(errors_of::<T>(bytes, &error))
    })
}

/// Errors of a body that is JSON but no `T`; of a list, the first error of each item. `found` is the first of them.
fn errors_of<T: de::DeserializeOwned>(bytes: &[u8], found: &serde_json::Error) -> Vec<FieldError> {
    let mut errors = FieldErrors::default();
    if is_list(bytes) {
        let items = ItemErrors::<T> { errors: &mut errors, item: std::marker::PhantomData };
        // What stops it has been reported as an error of the whole body.
        let _ = serde_json::Deserializer::from_slice(bytes).deserialize_seq(items);
    } else if let Some(error) = error_of::<T>(bytes) {
        errors.add(error.path, error.message);
    }
    let none = errors.finish(|| Some(()));
    none.err().unwrap_or_else(|| vec![FieldError { path: String::new(), message: message_of(&found.to_string()) }])
}

fn is_list(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// The first error of a text, with its path.
fn error_of<T: de::DeserializeOwned>(json: &[u8]) -> Option<FieldError> {
    let mut json = serde_json::Deserializer::from_slice(json);
    let error = serde_path_to_error::deserialize::<_, T>(&mut json).err()?;
    let path = error.path().to_string();
    let (path, text) = (if path == "." { "" } else { &path }, error.inner().to_string());
    match unknown_field(&text) {
        Some((field, known)) => {
            // The path ends at the object or at the field, by how the object was read.
            let object = path.strip_suffix(field).map_or(path, |object| object.trim_end_matches('.'));
            let path = if object.is_empty() { shortened(field) } else { format!("{object}.{}", shortened(field)) };
            Some(FieldError { path, message: unknown_message(field, &known) })
        }
        None => Some(FieldError { path: path.to_owned(), message: message_of(&text) }),
    }
}

/// Looks at the items of a list one by one, without keeping them, until there are enough errors.
struct ItemErrors<'a, T> {
    errors: &'a mut FieldErrors,
    item: std::marker::PhantomData<T>,
}

impl<'de, T: de::DeserializeOwned> de::Visitor<'de> for ItemErrors<'_, T> {
    type Value = ();

    fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("a list")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut alone = String::new();
        for at in 0.. {
            let Some(item) = items.next_element::<&RawValue>()? else { break };
            // `T` is the list, so each item is parsed as the only one of a list.
            alone.clear();
            alone.extend(["[", item.get(), "]"]);
            if let Some(FieldError { path, message }) = error_of::<T>(alone.as_bytes()) {
                let Some(rest) = path.strip_prefix("[0]") else { break }; // an error of the list, not of the item
                self.errors.add(format!("[{at}]{rest}"), message);
            }
            if self.errors.is_full() || at >= MAX_ITEMS {
                break;
            }
        }
        Ok(())
    }
}

/// Items that are looked at, 1,000: no list of a body may have more, and a longer one is refused for its length.
const MAX_ITEMS: usize = 1_000;

/// The field and the known ones, of an error about a field that is unknown.
fn unknown_field(text: &str) -> Option<(&str, Vec<&str>)> {
    let rest = text.strip_prefix("unknown field `")?;
    let (field, known) =
        rest.rsplit_once("`, expected ").or_else(|| rest.rsplit_once("`, there are ").map(|(field, _)| (field, "")))?;
    Some((field, known.split('`').skip(1).step_by(2).collect()))
}

/// What is wrong with a field that is none of `known`: with the nearest of them, or all.
pub(in crate::http) fn unknown_message(field: &str, known: &[&str]) -> String {
    match nearest(field, known) {
        Some(near) => format!("is no field here; did you mean {near}?"),
        None if known.is_empty() => "is no field here; the object has none".to_owned(),
        None => format!("is no field here; there are {}", known.join(", ")),
    }
}

/// The parser's message in the words of JSON: `invalid type: string "60", expected i64 at line 1 column 20` becomes
/// `must be a whole number, not "60"`.
fn message_of(text: &str) -> String {
    let text = text.rfind(" at line ").map_or(text, |at| &text[..at]);
    let mismatch = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    let Some((given, wanted)) = mismatch.and_then(|text| text.rsplit_once(", expected ")) else {
        return shortened(text);
    };
    let (given, wanted) = (given_as(given), wanted_as(wanted));
    if wanted == "a list" && given == "an object" {
        return "must be a list, not an object; send a list of items, also of one: [{...}]".to_owned();
    }
    format!("must be {wanted}, not {given}")
}

fn wanted_as(expected: &str) -> &str {
    match expected {
        "i8" | "i16" | "i32" | "i64" | "isize" | "integer" => "a whole number",
        "u8" => "a whole number from 0 to 255",
        "u16" | "u32" | "u64" | "usize" => "a whole number of 0 or more",
        "f32" | "f64" => "a number",
        "a string" | "string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        _ if expected.starts_with("struct ") => "an object",
        _ => expected,
    }
}

fn given_as(unexpected: &str) -> String {
    match unexpected.split_once(' ') {
        Some(("string", text)) => shortened(text),
        Some(("integer" | "boolean", text)) => text.trim_matches('`').to_owned(),
        Some(("floating", text)) => text.trim_start_matches("point ").trim_matches('`').to_owned(),
        _ => match unexpected {
            "map" => "an object".to_owned(),
            "sequence" => "a list".to_owned(),
            "unit value" | "null" | "Option value" => "null".to_owned(),
            _ => shortened(unexpected),
        },
    }
}

/// At most [`MAX_QUOTED_BYTES`] of a text.
fn shortened(text: &str) -> String {
    if text.len() <= MAX_QUOTED_BYTES {
        return text.to_owned();
    }
    let end = (0..=MAX_QUOTED_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", &text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::wire::request::list::{List, whole_number};

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[allow(dead_code, reason = "only its parsing is tested")]
    struct Item {
        #[serde(default, deserialize_with = "whole_number")]
        ttl_seconds: Option<i64>,
        resource: Option<String>,
        inner: Option<Box<Item>>,
        names: Option<List<String, 3>>,
    }

    type Items = List<Item, 1_000>;

    fn errors(body: &str) -> Vec<(String, String)> {
        let error = parse::<Items>(body.as_bytes()).expect_err("a body that is refused");
        error.details().iter().map(|error| (error.path.clone(), error.message.clone())).collect()
    }

    fn error(body: &str) -> (String, String) {
        let found = errors(body);
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    }

    #[test]
    fn every_wrong_item_is_named_up_to_the_bound() {
        let found = errors(r#"[{"ttlSeconds":1},{"ttlSeconds":"x"},{},{"ttlSeconds":1.5}]"#);
        assert_eq!(
            found.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
            ["[1].ttlSeconds", "[3].ttlSeconds"]
        );
        assert_eq!(errors(&format!("[{}0]", "0,".repeat(500_000))).len(), 20);
    }

    #[test]
    fn a_message_speaks_of_json() {
        for (body, path, message) in [
            (r#"[{"ttlSeconds":"60"}]"#, "[0].ttlSeconds", "must be a whole number, not \"60\""),
            (r#"[{"ttlSeconds":1.5}]"#, "[0].ttlSeconds", "must be a whole number, not 1.5"),
            (r#"[{"resource":7}]"#, "[0].resource", "must be a text, not 7"),
            (r#"[{"resource":{}}]"#, "[0].resource", "must be a text, not an object"),
            (r#"[{"inner":{"names":["a",null]}}]"#, "[0].inner.names[1]", "must be a text, not null"),
            (r#"[{"names":["a","b","c","d"]}]"#, "[0].names", "has more than 3 items; send 1 to 3"),
            (
                r#"[{"names":{}}]"#,
                "[0].names",
                "must be a list, not an object; send a list of items, also of one: [{...}]",
            ),
            (r#"[true]"#, "[0]", "must be an object, not true"),
            (r#"{"resource":"x"}"#, "", "must be a list, not an object; send a list of items, also of one: [{...}]"),
            (r#""text""#, "", "must be a list, not \"text\""),
        ] {
            assert_eq!(error(body), (path.to_owned(), message.to_owned()), "{body}");
        }
    }

    #[test]
    fn an_unknown_field_is_named_with_the_nearest_known_one() {
        for (body, path, near) in [
            (r#"[{"ttl":60}]"#, "[0].ttl", "did you mean ttlSeconds?"),
            (r#"[{"TtlSeconds":60}]"#, "[0].TtlSeconds", "did you mean ttlSeconds?"),
            (r#"[{},{"inner":{"resorce":"x"}}]"#, "[1].inner.resorce", "did you mean resource?"),
            (r#"[{"colour":"red"}]"#, "[0].colour", "there are ttlSeconds, resource, inner, names"),
        ] {
            let (found, message) = error(body);
            assert_eq!(found, path);
            assert!(message.ends_with(near), "{message}");
        }
    }

    #[test]
    fn null_is_absent_and_a_byte_order_mark_is_nothing() {
        assert!(parse::<Items>("\u{feff}[{\"ttlSeconds\":null}]".as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_json_is_refused_as_such() {
        for body in ["", "  ", "[", "nonsense", "{]", "\u{feff}", "[{\"ttlSeconds\":1e400}]"] {
            assert!(parse::<Items>(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_refused_for_its_length() {
        let (path, message) = error(&format!("[{}{{}}]", "{},".repeat(300_000)));
        assert_eq!((path.as_str(), message.as_str()), ("", "has more than 1000 items; send 1 to 1000"));
    }

    /// JSON of any shape, with fields that are known and some that are not.
    fn json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::{Value, json};
        let field = prop_oneof![
            Just("ttlSeconds".to_owned()),
            Just("resource".to_owned()),
            Just("inner".to_owned()),
            Just("names".to_owned()),
            ".{0,80}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            ".{0,200}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 30, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..30).prop_map(Value::from),
                prop::collection::hash_map(field.clone(), inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// A refusal is a 400 that names 1 to 20 errors and is at most 16 KiB long.
    fn is_refusal(error: &ApiError) -> bool {
        let count = error.details().len();
        error.status() == 400 && (1..=20).contains(&count) && error.body(false).len() <= 16 << 10
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused_in_one_form(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Err(error) = parse::<Items>(&bytes) {
                prop_assert!(is_refusal(&error));
            }
        }

        #[test]
        fn any_json_is_parsed_or_refused_in_one_form(body in json()) {
            if let Err(error) = parse::<Items>(body.to_string().as_bytes()) {
                prop_assert!(is_refusal(&error), "{}", error.body(false));
            }
        }
    }
}
