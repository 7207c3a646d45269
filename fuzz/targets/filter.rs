//! Filters of event streams: lines of an input are the lists of types, resources and companies.
#![no_main]

use holdfast::feed::{Filter, Frame, Subject, split_list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let lists: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let list = |at: usize| lists.get(at).map(std::slice::from_ref).unwrap_or_default();
    let _ = Filter::parse_queue_types(&lists);
    let Ok(filter) = Filter::parse(list(0), list(1), list(2)) else { return };
    let frames = [
        Frame::new(Some(1), "RESERVED", Subject::Resources(vec!["a".into()]), &[]),
        Frame::new(None, "deploy", Subject::Company { id: None, slug: Some("acme".into()) }, &[]),
    ];
    for frame in &frames {
        assert!(filter.matches(frame) || !filter.is_open(), "an open filter takes everything");
    }
    // Each resource that it names passes the filter of resources alone.
    let Ok(filter) = Filter::parse(&[], list(1), &[]) else { return };
    for name in list(1).iter().flat_map(|list| split_list(list)) {
        let frame = Frame::new(Some(1), "RESERVED", Subject::Resources(vec![name.as_str().into()]), &[]);
        assert!(filter.matches(&frame), "{name:?}");
    }
});
