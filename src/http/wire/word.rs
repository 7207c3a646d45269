//! Words of closed sets in bodies: enums in the OpenAPI document.

use std::{borrow::Cow, marker::PhantomData};

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::domain::closed_set::ClosedSet;

/// A word in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(in crate::http) struct Word<T>(pub(in crate::http) T);

impl<T> From<T> for Word<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

/// A word in a request, as the client wrote it: any text. The domain checks it, together with everything else, so that one answer names
/// every error of the request.
#[derive(Debug, Clone)]
pub(in crate::http) struct UncheckedWord<T> {
    text: String,
    set: PhantomData<T>,
}

impl<T> UncheckedWord<T> {
    pub(in crate::http) fn as_str(&self) -> &str {
        &self.text
    }
}

impl<'de, T> Deserialize<'de> for UncheckedWord<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self { text: String::deserialize(from)?, set: PhantomData })
    }
}

/// The reference to the set's schema.
fn schema_ref<T: ClosedSet>() -> MetaSchemaRef {
    MetaSchemaRef::Reference(T::NAME.into())
}

/// Adds the set's schema to the document: its words and what each means.
fn register<T: ClosedSet>(registry: &mut Registry) {
    registry.create_schema::<T, _>(T::NAME.into(), |_| MetaSchema {
        description: Some(T::DESCRIPTION.trim_start()),
        enum_items: T::VALUES.iter().map(|value| value.name().into()).collect(),
        ..MetaSchema::new("string")
    });
}

impl<T: ClosedSet> Type for Word<T> {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn schema_ref() -> MetaSchemaRef {
        schema_ref::<T>()
    }

    fn register(registry: &mut Registry) {
        register::<T>(registry);
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl<T: ClosedSet> ToJSON for Word<T> {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.name().into())
    }
}

impl<T: ClosedSet> ParseFromJSON for Word<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let value = value.unwrap_or_default();
        let word = value.as_str().and_then(T::of_name);
        word.map(Self).ok_or_else(|| ParseError::expected_type(value))
    }
}

impl<T: ClosedSet> Type for UncheckedWord<T> {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn schema_ref() -> MetaSchemaRef {
        schema_ref::<T>()
    }

    fn register(registry: &mut Registry) {
        register::<T>(registry);
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl<T: ClosedSet> ToJSON for UncheckedWord<T> {
    fn to_json(&self) -> Option<Value> {
        Some(self.text.as_str().into())
    }
}

impl<T: ClosedSet> ParseFromParameter for UncheckedWord<T> {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Ok(Self { text: value.to_owned(), set: PhantomData })
    }
}

impl<T: ClosedSet> ParseFromJSON for UncheckedWord<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value.unwrap_or_default() {
            Value::String(text) => Ok(Self { text, set: PhantomData }),
            other => Err(ParseError::expected_type(other)),
        }
    }
}
