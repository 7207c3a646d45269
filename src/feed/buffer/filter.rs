//! Filters of event streams.
//!
//! A filter is decided from what a frame carries beside its bytes, never by parsing its JSON, and once per event for
//! all streams with equal filters. It selects; it grants no permission.

use crate::feed::buffer::{
    frame::{Frame, Subject, kind_bit},
    queue_frames,
};

/// Names of one list of a filter, 200: each event is compared with every prefix.
const MAX_NAMES: usize = 200;

/// A filter has a list of more than [`MAX_NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has more than {MAX_NAMES} names; at most {MAX_NAMES} are allowed")]
pub struct TooManyNames {
    /// The list: `types`, `resources` or `companies`.
    pub list: &'static str,
}

/// Events that a subscriber wants: those that match every part. An absent part matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    types: Option<Types>,
    resources: Option<Names>,
    companies: Option<Vec<Box<str>>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Types {
    /// Bits of the built-in types, as in [`Frame::kind_bit`].
    built_in: u32,
    /// Other types, sorted.
    own: Vec<Box<str>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names {
    /// Whole names, sorted.
    exact: Vec<Box<str>>,
    prefixes: Vec<Box<str>>,
}

impl Filter {
    /// Reads a query's lists, each of which may be repeated and hold several items. A list without an item matches
    /// everything.
    ///
    /// # Errors
    /// [`TooManyNames`] for the first list of more than [`MAX_NAMES`].
    pub fn parse(types: &[String], resources: &[String], companies: &[String]) -> Result<Self, TooManyNames> {
        Ok(Self {
            types: sorted("types", types)?.map(parse_types),
            resources: sorted("resources", resources)?.map(parse_resources),
            companies: sorted("companies", companies)?,
        })
    }

    /// Reads the `types` of a connection's stream: groups (`job`) or full names (`job:state_change`).
    ///
    /// # Errors
    /// [`TooManyNames`].
    pub fn parse_queue_types(types: &[String]) -> Result<Self, TooManyNames> {
        let Some(names) = sorted("types", types)? else { return Ok(Self::default()) };
        let wanted = |kind: &str| {
            names.iter().any(|name| **name == *kind || kind.split_once(':').is_some_and(|(group, _)| **name == *group))
        };
        let mut own: Vec<Box<str>> =
            queue_frames::KINDS.into_iter().filter(|kind| wanted(kind)).map(Into::into).collect();
        own.sort_unstable();
        Ok(Self { types: Some(Types { built_in: 0, own }), ..Self::default() })
    }

    /// Whether every event matches.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a frame matches. Frames about the stream itself always do.
    #[must_use]
    pub fn matches(&self, frame: &Frame) -> bool {
        if frame.subject == Subject::Stream {
            return true;
        }
        self.types.as_ref().is_none_or(|types| types.contain(frame))
            && self.resources.as_ref().is_none_or(|names| names.match_subject(&frame.subject))
            && self.companies.as_ref().is_none_or(|companies| has_company(companies, &frame.subject))
    }
}

impl Types {
    fn contain(&self, frame: &Frame) -> bool {
        match frame.kind_bit {
            0 => self.own.binary_search(&frame.kind).is_ok(),
            bit => self.built_in & bit != 0,
        }
    }
}

impl Names {
    fn match_subject(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Resources(names) => names.iter().any(|name| self.match_name(name)),
            Subject::Tenant | Subject::Stream => true,
            Subject::Company { .. } => false,
        }
    }

    fn match_name(&self, name: &str) -> bool {
        self.exact.binary_search_by(|exact| (**exact).cmp(name)).is_ok()
            || self.prefixes.iter().any(|prefix| name.starts_with(&**prefix))
    }
}

fn has_company(companies: &[Box<str>], subject: &Subject) -> bool {
    let Subject::Company { id, slug } = subject else { return false };
    [id, slug].into_iter().flatten().any(|name| companies.binary_search(name).is_ok())
}

fn parse_types(names: Vec<Box<str>>) -> Types {
    let built_in = names.iter().fold(0, |bits, name| bits | kind_bit(name));
    Types { built_in, own: names.into_iter().filter(|name| kind_bit(name) == 0).collect() }
}

fn parse_resources(names: Vec<Box<str>>) -> Names {
    let (prefixes, exact): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.ends_with('*'));
    let prefixes = prefixes.iter().map(|prefix| prefix[..prefix.len() - 1].into()).collect();
    Names { exact, prefixes }
}

/// The items of lists, sorted and without duplicates; `None` if there are none.
fn sorted(list: &'static str, lists: &[String]) -> Result<Option<Vec<Box<str>>>, TooManyNames> {
    let mut items: Vec<Box<str>> = lists.iter().flat_map(|list| split_list(list)).map(Into::into).collect();
    items.sort();
    items.dedup();
    if items.len() > MAX_NAMES {
        return Err(TooManyNames { list });
    }
    Ok((!items.is_empty()).then_some(items))
}

/// Splits a comma list. `\,` is a comma inside an item; empty items are left out.
#[must_use]
pub fn split_list(text: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, chars.peek()) {
            ('\\', Some(',')) => {
                chars.next();
                item.push(',');
            }
            (',', _) => items.push(std::mem::take(&mut item)),
            _ => item.push(char),
        }
    }
    items.push(item);
    items.retain(|item| !item.is_empty());
    items
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::feed::buffer::frame::ResetReason;

    fn frame(kind: &str, subject: Subject) -> Frame {
        Frame::new(Some(1), kind, subject, &[])
    }

    fn resources_of(names: &[&str]) -> Subject {
        Subject::Resources(names.iter().map(|name| (*name).into()).collect())
    }

    fn filter(types: &str, resources: &str, companies: &str) -> Filter {
        Filter::parse(&[types.into()], &[resources.into()], &[companies.into()]).unwrap()
    }

    #[test]
    fn lists_split_at_commas_but_not_at_escaped_ones() {
        assert_eq!(split_list("a,b"), ["a", "b"]);
        assert_eq!(split_list("a\\,b,c"), ["a,b", "c"]);
        assert_eq!(split_list(",,a,"), ["a"]);
        assert_eq!(split_list("a\\b"), ["a\\b"]);
        assert!(split_list("").is_empty());
    }

    #[test]
    fn types_built_in_and_own() {
        let wanted = filter("RESERVED,alarm", "", "");
        assert!(wanted.matches(&frame("RESERVED", resources_of(&["a"]))));
        assert!(wanted.matches(&frame("alarm", Subject::Company { id: None, slug: None })));
        assert!(!wanted.matches(&frame("RENEWED", resources_of(&["a"]))));
        assert!(!wanted.matches(&frame("alarms", Subject::Company { id: None, slug: None })));
        assert!(!filter("nonsense", "", "").matches(&frame("RESERVED", resources_of(&["a"]))));
        assert!(filter("", ",", "").is_open());
    }

    #[test]
    fn resources_by_name_by_prefix_and_by_pool() {
        let wanted = filter("", "printer,job-*", "");
        assert!(wanted.matches(&frame("RESERVED", resources_of(&["job-42"]))));
        assert!(wanted.matches(&frame("RESERVED", resources_of(&["printer_0", "printer"]))));
        assert!(wanted.matches(&frame("RESET", Subject::Tenant)));
        assert!(!wanted.matches(&frame("RESERVED", resources_of(&["printer_0"]))));
        assert!(!wanted.matches(&frame("trade", Subject::Company { id: None, slug: None })));
    }

    #[test]
    fn companies_by_slug_or_id_and_nothing_else() {
        let wanted = filter("", "", "alpha,c-2");
        let company =
            |id: &str, slug: Option<&str>| Subject::Company { id: Some(id.into()), slug: slug.map(Into::into) };
        assert!(wanted.matches(&frame("trade", company("c-1", Some("alpha")))));
        assert!(wanted.matches(&frame("trade", company("c-2", None))));
        assert!(!wanted.matches(&frame("trade", company("c-3", Some("beta")))));
        assert!(!wanted.matches(&frame("RESERVED", resources_of(&["alpha"]))));
        assert!(wanted.matches(&Frame::reset_cursor(ResetReason::Lost, 1)));
    }

    #[test]
    fn a_list_has_a_bound() {
        let names = |count: usize| vec![(0..count).map(|at| format!("name-{at}*")).collect::<Vec<_>>().join(",")];
        assert!(Filter::parse(&[], &names(MAX_NAMES), &[]).is_ok());
        assert!(Filter::parse(&[], &vec!["same".to_owned(); 1_000], &[]).is_ok(), "equal names are one");
        let refused = Filter::parse(&[], &[], &names(MAX_NAMES + 1)).unwrap_err();
        assert_eq!(refused.list, "companies");
        assert!(Filter::parse_queue_types(&names(MAX_NAMES + 1)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_that_matches_what_it_names(name in "\\PC{1,40}", lists in prop::collection::vec(".{0,60}", 0..5)) {
            let escaped = name.replace(',', "\\,");
            let mut resources = lists.clone();
            resources.push(escaped);
            let filter = Filter::parse(&lists, &resources, &lists).unwrap();
            let named = Filter { types: None, companies: None, ..filter };
            // A backslash before the comma of the list would escape it, and a star makes a prefix.
            if !name.ends_with(['\\', '*']) && !name.contains("\\,") {
                prop_assert!(named.matches(&frame("RESERVED", resources_of(&[&name]))));
            }
        }
    }
}
