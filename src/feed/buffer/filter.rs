//! Which events a subscriber wants. A filter is a wish, never a permission.
//!
//! It is decided from what a frame carries beside its bytes, never by reading its JSON: once per event and group of equal filters.

use crate::feed::buffer::{
    frame::{About, Frame, kind_bit},
    queue_frames,
};

/// What passes to a subscriber. An absent part lets everything pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    types: Option<Types>,
    resources: Option<Names>,
    companies: Option<Vec<Box<str>>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Types {
    known: u32,
    own: Vec<Box<str>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names {
    whole: Vec<Box<str>>,
    prefixes: Vec<Box<str>>,
}

impl Filter {
    /// Reads the lists of a query, each of them a comma list or several. A list without an item lets everything pass.
    #[must_use]
    pub fn parse(types: &[String], resources: &[String], companies: &[String]) -> Self {
        Self { types: parse_types(types), resources: parse_resources(resources), companies: sorted(items(companies)) }
    }

    /// Reads the list of a connection's stream: groups (`job`) or full names (`job:state_change`).
    #[must_use]
    pub fn of_queues(types: &[String]) -> Self {
        let Some(names) = sorted(items(types)) else { return Self::default() };
        let wanted = |kind: &str| {
            names.iter().any(|name| **name == *kind || kind.split_once(':').is_some_and(|(group, _)| **name == *group))
        };
        let mut own: Vec<Box<str>> =
            queue_frames::KINDS.into_iter().filter(|kind| wanted(kind)).map(Into::into).collect();
        own.sort_unstable();
        Self { types: Some(Types { known: 0, own }), ..Self::default() }
    }

    /// Whether everything passes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the frame passes.
    #[must_use]
    pub fn passes(&self, frame: &Frame) -> bool {
        if frame.about == About::Stream {
            return true;
        }
        self.types.as_ref().is_none_or(|types| types.has(frame))
            && self.resources.as_ref().is_none_or(|names| names.has(&frame.about))
            && self.companies.as_ref().is_none_or(|wanted| has_company(wanted, &frame.about))
    }
}

impl Types {
    fn has(&self, frame: &Frame) -> bool {
        if frame.kind_bit == 0 { self.own.binary_search(&frame.kind).is_ok() } else { self.known & frame.kind_bit != 0 }
    }
}

impl Names {
    fn has(&self, about: &About) -> bool {
        match about {
            About::Resources(names) => names.iter().any(|name| self.has_name(name)),
            About::Everything | About::Stream => true,
            About::Company { .. } => false,
        }
    }

    fn has_name(&self, name: &str) -> bool {
        self.whole.binary_search_by(|wanted| (**wanted).cmp(name)).is_ok()
            || self.prefixes.iter().any(|prefix| name.starts_with(&**prefix))
    }
}

fn has_company(wanted: &[Box<str>], about: &About) -> bool {
    let About::Company { id, slug } = about else { return false };
    [id, slug].into_iter().flatten().any(|name| wanted.binary_search(name).is_ok())
}

fn parse_types(lists: &[String]) -> Option<Types> {
    let names = sorted(items(lists))?;
    let known = names.iter().fold(0, |known, name| known | kind_bit(name));
    Some(Types { known, own: names.into_iter().filter(|name| kind_bit(name) == 0).collect() })
}

fn parse_resources(lists: &[String]) -> Option<Names> {
    let (prefixes, whole): (Vec<_>, Vec<_>) = sorted(items(lists))?.into_iter().partition(|name| name.ends_with('*'));
    let prefixes = prefixes.iter().map(|prefix| prefix[..prefix.len() - 1].into()).collect();
    Some(Names { whole, prefixes })
}

fn items(lists: &[String]) -> Vec<String> {
    lists.iter().flat_map(|list| split_list(list)).collect()
}

fn sorted(items: Vec<String>) -> Option<Vec<Box<str>>> {
    let mut items: Vec<Box<str>> = items.into_iter().map(Into::into).collect();
    items.sort();
    items.dedup();
    (!items.is_empty()).then_some(items)
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

    fn frame(kind: &str, about: About) -> Frame {
        Frame::new(Some(1), kind, about, &[])
    }

    fn about(names: &[&str]) -> About {
        About::Resources(names.iter().map(|name| (*name).into()).collect())
    }

    fn filter(types: &str, resources: &str, companies: &str) -> Filter {
        Filter::parse(&[types.into()], &[resources.into()], &[companies.into()])
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
    fn types_known_and_own() {
        let wanted = filter("RESERVED,alarm", "", "");
        assert!(wanted.passes(&frame("RESERVED", about(&["a"]))));
        assert!(wanted.passes(&frame("alarm", About::Company { id: None, slug: None })));
        assert!(!wanted.passes(&frame("RENEWED", about(&["a"]))));
        assert!(!wanted.passes(&frame("alarms", About::Company { id: None, slug: None })));
        assert!(!filter("nonsense", "", "").passes(&frame("RESERVED", about(&["a"]))));
        assert!(filter("", ",", "").is_open());
    }

    #[test]
    fn resources_whole_by_prefix_and_by_pool() {
        let wanted = filter("", "printer,job-*", "");
        assert!(wanted.passes(&frame("RESERVED", about(&["job-42"]))));
        assert!(wanted.passes(&frame("RESERVED", about(&["printer_0", "printer"]))));
        assert!(wanted.passes(&frame("RESET", About::Everything)));
        assert!(!wanted.passes(&frame("RESERVED", about(&["printer_0"]))));
        assert!(!wanted.passes(&frame("trade", About::Company { id: None, slug: None })));
    }

    #[test]
    fn companies_by_slug_or_id_and_nothing_else() {
        let wanted = filter("", "", "alpha,c-2");
        let company = |id: &str, slug: Option<&str>| About::Company { id: Some(id.into()), slug: slug.map(Into::into) };
        assert!(wanted.passes(&frame("trade", company("c-1", Some("alpha")))));
        assert!(wanted.passes(&frame("trade", company("c-2", None))));
        assert!(!wanted.passes(&frame("trade", company("c-3", Some("beta")))));
        assert!(!wanted.passes(&frame("RESERVED", about(&["alpha"]))));
        assert!(wanted.passes(&Frame::reset_cursor(crate::feed::Reason::Lost, 1)));
    }
}
