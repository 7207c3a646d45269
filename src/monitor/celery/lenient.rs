//! Lenient fields of Celery's events: a value of an unexpected type is converted or ignored, so that one odd field never loses an event.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de};

/// A text; numbers and booleans are converted, lists and objects ignored.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }

    pub(super) fn owned(&self) -> Option<String> {
        self.get().map(str::to_owned)
    }

    /// The text, unless it is empty.
    pub(super) fn non_empty(&self) -> Option<&str> {
        self.get().filter(|text| !text.is_empty())
    }
}

/// A number, also one written as text; anything else is ignored.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Number(Option<f64>);

impl Number {
    /// The number, unless it is infinite or not a number.
    pub(super) fn finite(self) -> Option<f64> {
        self.0.filter(|number| number.is_finite())
    }

    /// The integer part.
    pub(super) fn integer(self) -> Option<i64> {
        self.finite().map(|number| number as i64)
    }
}

/// A boolean, also one written as number; `false` for anything else.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flag(pub(super) bool);

/// A JSON value, as far as a lenient field distinguishes it.
enum Scalar<'a> {
    Text(Cow<'a, str>),
    Number(f64),
    Bool(bool),
    /// `null`, a list or an object.
    Ignored,
}

struct ScalarVisitor;

impl<'de> de::Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Ignored)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Scalar<'de>, A::Error> {
        while list.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Scalar::Ignored)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
        Ok(Scalar::Ignored)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match from.deserialize_any(ScalarVisitor)? {
            Scalar::Text(text) => Some(text),
            Scalar::Number(number) => Some(Cow::Owned(number.to_string())),
            Scalar::Bool(value) => Some(Cow::Borrowed(if value { "true" } else { "false" })),
            Scalar::Ignored => None,
        }))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match from.deserialize_any(ScalarVisitor)? {
            Scalar::Text(text) => text.parse().ok(),
            Scalar::Number(number) => Some(number),
            Scalar::Bool(_) | Scalar::Ignored => None,
        }))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match from.deserialize_any(ScalarVisitor)? {
            Scalar::Bool(value) => value,
            Scalar::Number(number) => number != 0.0,
            Scalar::Text(_) | Scalar::Ignored => false,
        }))
    }
}
