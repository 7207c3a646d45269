//! Lists and whole numbers of request bodies.

use std::{borrow::Cow, fmt, marker::PhantomData};

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::{ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};
use serde_json::Value;

/// A list of at most `MAX` items. The first item too many is refused while the list is read, so that its memory is that
/// of the items that are allowed.
#[derive(Debug, Clone)]
pub(in crate::http) struct List<T, const MAX: usize>(pub(in crate::http) Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> List<T, MAX> {
    /// The list of these items, of which nothing has been read yet.
    pub(in crate::http) fn of_items<A: de::SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        de::Visitor::visit_seq(ListVisitor::<T, MAX>(PhantomData), items)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(ListVisitor::<T, MAX>(PhantomData))
    }
}

/// Reads the items of a [`List`].
pub(in crate::http) struct ListVisitor<T, const MAX: usize>(pub(in crate::http) PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> de::Visitor<'de> for ListVisitor<T, MAX> {
    type Value = List<T, MAX>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while list.len() < MAX {
            let Some(item) = items.next_element()? else { return Ok(List(list)) };
            list.push(item);
        }
        match items.next_element::<IgnoredAny>()? {
            None => Ok(List(list)),
            Some(_) => Err(de::Error::custom(format!("has more than {MAX} items; send 1 to {MAX}"))),
        }
    }
}

impl<T: Type, const MAX: usize> Type for List<T, MAX> {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;
    type RawElementValueType = T::RawValueType;

    fn name() -> Cow<'static, str> {
        Vec::<T>::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        let items = Some(Box::new(T::schema_ref()));
        MetaSchemaRef::Inline(Box::new(MetaSchema { items, max_items: Some(MAX), ..MetaSchema::new("array") }))
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self::RawElementValueType> + 'a> {
        Box::new(self.0.iter().filter_map(Type::as_raw_value))
    }
}

impl<T: ToJSON, const MAX: usize> ToJSON for List<T, MAX> {
    fn to_json(&self) -> Option<Value> {
        self.0.to_json()
    }
}

impl<T: ParseFromJSON, const MAX: usize> ParseFromJSON for List<T, MAX> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Vec::parse_from_json(value).map(Self).map_err(poem_openapi::types::ParseError::propagate)
    }
}

/// Reads a whole number in any spelling that JSON has for it: `60` and `60.0` are the same number.
///
/// # Errors
/// For anything else, and for a number that `N` cannot hold.
pub(in crate::http) fn whole_number<'de, D: Deserializer<'de>, N: TryFrom<i64>>(
    from: D,
) -> Result<Option<N>, D::Error> {
    let Some(Whole(number)) = Option::deserialize(from)? else { return Ok(None) };
    let number = N::try_from(number).map_err(|_| de::Error::custom(format!("is {number}, which is out of range")))?;
    Ok(Some(number))
}

struct Whole(i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Number;
        impl de::Visitor<'_> for Number {
            type Value = Whole;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a whole number")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
                let signed = i64::try_from(number);
                signed.map(Whole).map_err(|_| E::custom(format!("is {number}, which is out of range")))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
                // Up to 2^53 every whole number has a float of its own.
                let is_whole = number.fract() == 0.0 && number.abs() <= MAX_EXACT as f64;
                let refused = || E::invalid_value(de::Unexpected::Float(number), &self);
                is_whole.then_some(Whole(number as i64)).ok_or_else(refused)
            }
        }
        from.deserialize_i64(Number)
    }
}

/// Greatest number up to which floats and integers are the same, 2^53: what Lua, JavaScript and MessagePack keep exactly.
pub(in crate::http) const MAX_EXACT: i64 = 1 << 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Item {
        #[serde(default, deserialize_with = "whole_number")]
        count: Option<u32>,
    }

    #[test]
    fn a_list_is_read_up_to_its_bound() {
        assert_eq!(serde_json::from_str::<List<u8, 3>>("[1,2,3]").unwrap().0, [1, 2, 3]);
        let error = serde_json::from_str::<List<u8, 3>>("[1,2,3,\"what comes here does not matter\"").unwrap_err();
        assert!(error.to_string().starts_with("has more than 3 items"), "{error}");
    }

    #[test]
    fn a_whole_number_has_several_spellings() {
        let count = |text: &str| serde_json::from_str::<Item>(&format!("{{\"count\":{text}}}")).map(|item| item.count);
        for sixty in ["60", "60.0", "6e1", "600e-1"] {
            assert_eq!(count(sixty).unwrap(), Some(60), "{sixty}");
        }
        assert_eq!(count("null").unwrap(), None);
        assert_eq!(serde_json::from_str::<Item>("{}").unwrap().count, None);
        for wrong in ["60.5", "\"60\"", "-1", "4294967296", "1e300", "18446744073709551615", "true", "[]"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }
}
