//! The known name that a misspelt one was probably meant to be.

/// The nearest of `known`: another spelling of the same words, a part of the other, or a few letters apart.
#[must_use]
pub fn nearest<'a>(field: &str, known: &[&'a str]) -> Option<&'a str> {
    // No known name is longer; a longer one is not even compared.
    if field.len() > MAX_COMPARED_BYTES {
        return None;
    }
    let field = letters(field);
    let scored = known.iter().filter_map(|name| Some((distance(&field, &letters(name))?, *name)));
    scored.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

const MAX_COMPARED_BYTES: usize = 64;
/// Fewest letters of a name that count as a part of another one.
const MIN_PART: usize = 3;

/// A name without case and separators.
fn letters(name: &str) -> Vec<char> {
    name.chars().filter(|char| char.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// How far apart two names are; `None`: too far to be meant.
fn distance(field: &[char], known: &[char]) -> Option<usize> {
    let edits = edit_distance(field, known);
    let is_part = |part: &[char], whole: &[char]| {
        part.len() >= MIN_PART && whole.windows(part.len()).any(|window| window == part)
    };
    let near_enough = edits <= known.len() / 3 || is_part(field, known) || is_part(known, field);
    (near_enough && !field.is_empty()).then_some(edits)
}

/// Levenshtein's distance: insertions, deletions and substitutions.
fn edit_distance(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, one) in from.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, other) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(one != other);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_recognised() {
        let known = ["requester", "resource", "ttlSeconds", "resourceType", "note"];
        for (field, meant) in [
            ("ttl", "ttlSeconds"),
            ("TTLSECONDS", "ttlSeconds"),
            ("ttl_seconds", "ttlSeconds"),
            ("resourcetype", "resourceType"),
            ("Resource", "resource"),
            ("requestor", "requester"),
            ("notes", "note"),
        ] {
            assert_eq!(nearest(field, &known), Some(meant), "{field}");
        }
        for far in ["", "x", "colour", &"resource".repeat(100)] {
            assert_eq!(nearest(far, &known), None, "{far}");
        }
    }
}
