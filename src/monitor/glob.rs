//! Glob patterns of Redis' `SCAN MATCH` and `PSUBSCRIBE`.

/// Escapes a text, so that the pattern matches it literally.
pub(super) fn escape(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(escape("a*[b]?\\"), "a\\*\\[b\\]\\?\\\\");
        assert_eq!(escape("acme:"), "acme:");
    }
}
