//! Closed sets of words: enums with one wire word per value.
//!
//! The word, its meaning and its place in the OpenAPI document stand in one declaration; everything else is derived from that.

/// An enum with one wire word per value. Declared by the macro `closed_set!`.
pub trait ClosedSet: Copy + Eq + Send + Sync + 'static {
    /// Name of the set in the OpenAPI document.
    const NAME: &'static str;
    /// Meaning of the set and of each word, in Markdown.
    const DESCRIPTION: &'static str;
    /// Every value, in the order of declaration.
    const VALUES: &'static [Self];

    /// The value's word on the wire.
    fn name(self) -> &'static str;

    /// Meaning of the value, in Markdown.
    fn meaning(self) -> &'static str;

    /// The value of a word; `None` for any other word. Case matters.
    #[must_use]
    fn of_name(word: &str) -> Option<Self> {
        Self::VALUES.iter().copied().find(|value| value.name() == word)
    }
}

/// Declares an enum as a [`ClosedSet`]: the doc comments become the document's descriptions, the literals the words, and what stands after
/// `as` is the set's name in the document.
macro_rules! closed_set {
    (
        $(#[doc = $doc:literal])+
        $visibility:vis enum $set:ident as $document_name:literal {
            $($(#[doc = $meaning:literal])+ $value:ident = $word:literal,)+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $visibility enum $set {
            $($(#[doc = $meaning])+ $value,)+
        }

        impl $set {
            /// The value's word on the wire.
            #[must_use]
            $visibility const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }

        impl $crate::domain::closed_set::ClosedSet for $set {
            const NAME: &'static str = $document_name;
            const DESCRIPTION: &'static str =
                concat!($($doc,)+ "\n", $("\n* `", $word, "`:", $($meaning),+),+);
            const VALUES: &'static [Self] = &[$(Self::$value),+];

            fn name(self) -> &'static str {
                self.name()
            }

            fn meaning(self) -> &'static str {
                match self {
                    $(Self::$value => concat!($($meaning),+).trim_ascii_start(),)+
                }
            }
        }

        impl serde::Serialize for $set {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.name())
            }
        }
    };
}

pub(crate) use closed_set;

#[cfg(test)]
mod tests {
    use super::*;

    closed_set! {
        /// A set of two.
        enum Two as "Two" {
            /// The first.
            First = "FIRST",
            /// The second.
            Second = "SECOND",
        }
    }

    #[test]
    fn a_word_leads_to_its_value_and_back() {
        for value in Two::VALUES {
            assert_eq!(Two::of_name(value.name()), Some(*value));
        }
        assert_eq!((Two::of_name("first"), Two::of_name("")), (None, None));
        assert_eq!(serde_json::to_string(&Two::Second).unwrap(), "\"SECOND\"");
    }

    #[test]
    fn the_description_lists_every_word() {
        assert_eq!(Two::Second.meaning(), "The second.");
        assert_eq!(Two::DESCRIPTION, " A set of two.\n\n* `FIRST`: The first.\n* `SECOND`: The second.");
    }
}
