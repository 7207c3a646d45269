//! Which events a subscriber wants. A filter is a wish, never a permission.

use crate::feed::Frame;

/// What passes to a subscriber. Empty: everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    types: Vec<String>,
}

impl Filter {
    /// Events of these types only; with none named, of all.
    #[must_use]
    pub fn of_types(types: Vec<String>) -> Self {
        Self { types }
    }

    /// Whether the frame passes.
    #[must_use]
    pub fn passes(&self, frame: &Frame) -> bool {
        self.types.is_empty() || self.types.iter().any(|wanted| **wanted == *frame.kind)
    }
}

/// Splits comma lists, where `\,` is a comma that belongs to a name. Empty items are left out.
#[must_use]
pub fn split_list(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, chars.peek()) {
            ('\\', Some(',')) => {
                chars.next();
                items.iter_mut().last().into_iter().for_each(|item| item.push(','));
            }
            (',', _) => items.push(String::new()),
            _ => items.iter_mut().last().into_iter().for_each(|item| item.push(char)),
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_split_at_commas_but_not_at_escaped_ones() {
        assert_eq!(split_list("a,b"), ["a", "b"]);
        assert_eq!(split_list("a\\,b,c"), ["a,b", "c"]);
        assert_eq!(split_list(",,a,"), ["a"]);
        assert_eq!(split_list("a\\b"), ["a\\b"]);
        assert!(split_list("").is_empty());
    }
}
