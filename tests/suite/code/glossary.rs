//! One vocabulary: the glossary's words are used, and retired words do not come back.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::source::{files_under, read, root};

/// Words that named ideas for which the field has a word, and that word. None may be part of an identifier.
const RETIRED: &[(&str, &str)] = &[
    ("told", "published, reported, answered"),
    ("tell", "publish, report, answer"),
    ("tells", "publishes, reports, answers"),
    ("verdict", "outcome"),
    ("luggage", "request context"),
    ("lane", "pipelined connection"),
    ("seat", "subscriber"),
    ("seats", "subscribers"),
    ("desk", "cursor"),
    ("ear", "listener"),
    ("hear", "receive, apply"),
    ("hears", "receives"),
    ("heard", "received"),
    ("hearing", "subscribed"),
    ("deaf", "disconnected"),
    ("sight", "mapping"),
    ("sighting", "observation"),
    ("sightings", "observations"),
    ("rung", "woken"),
    ("bell", "notify"),
    ("lull", "drained"),
    ("pace", "rate"),
    ("passage", "transition"),
    ("halt", "watch end"),
    ("trouble", "error"),
    ("outlet", "sink, reporter"),
    ("news", "changes"),
    ("flights", "single flight"),
    ("patience", "timeout"),
    ("mend", "repair"),
    ("stretch", "scan"),
    ("fleet", "workers and queues"),
    ("guards", "limiters"),
    ("govern", "admin"),
    ("governing", "admin"),
    ("obstacle", "conflict"),
];

/// Folders and files in which a retired word still stands. An entry goes as soon as its last one is renamed; none is added.
const NOT_YET: &[&str] = &["tests/suite/reservations/"];

const FOLDERS: &[&str] = &["src", "tests/suite", "lua"];

/// A source file without comments and without what stands in quotes.
fn code_of(text: &str, comment: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        if rest.starts_with(comment) {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if char == '"' {
            rest = after_quote(&rest[1..], '"');
        } else if let Some(after) = after_raw(rest) {
            rest = after;
        } else if char == '\'' {
            rest = after_apostrophe(&rest[1..], comment);
        } else {
            code.push(char);
            rest = &rest[char.len_utf8()..];
        }
    }
    code
}

/// What follows a raw text of Rust, if one begins here: `r#"..."#`, with any number of `#` but none.
fn after_raw(text: &str) -> Option<&str> {
    let fences = text.strip_prefix('r')?.chars().take_while(|char| *char == '#').count();
    let body = text[1 + fences..].strip_prefix('"').filter(|_| fences > 0)?;
    let end = format!("\"{}", "#".repeat(fences));
    Some(body.find(&end).map_or("", |at| &body[at + end.len()..]))
}

fn after_quote(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        match char {
            '\\' => escaped = !escaped,
            _ if char == quote && !escaped => return &text[at + quote.len_utf8()..],
            _ => escaped = false,
        }
    }
    ""
}

/// In Rust an apostrophe begins a character or a lifetime, in Lua a text.
fn after_apostrophe<'a>(text: &'a str, comment: &str) -> &'a str {
    let is_lifetime = comment == "//" && !text.starts_with('\\') && text.chars().nth(1) != Some('\'');
    if is_lifetime { text } else { after_quote(text, '\'') }
}

/// The words of which identifiers are made: `told_of` and `ToldOf` are `told` and `of`.
fn words_of(code: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut word = String::new();
    let mut after_lower = false;
    for char in code.chars().chain([' ']) {
        let begins_another = char.is_ascii_uppercase() && after_lower;
        if (begins_another || !char.is_ascii_alphabetic()) && !word.is_empty() {
            words.insert(std::mem::take(&mut word));
        }
        if char.is_ascii_alphabetic() {
            word.push(char.to_ascii_lowercase());
        }
        after_lower = char.is_ascii_lowercase();
    }
    words
}

/// Each file of the source with the words of its identifiers.
fn vocabulary() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for path in FOLDERS.iter().flat_map(|folder| files_under(folder)) {
        let comment = match path.extension().and_then(|ending| ending.to_str()) {
            Some("rs") => "//",
            Some("lua") => "--",
            _ => continue,
        };
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let words = words_of(&code_of(&std::fs::read_to_string(&path).unwrap(), comment));
        found.insert(name, words);
    }
    found
}

/// The words of the glossary in ARCHITECTURE.md.
fn glossary() -> Vec<String> {
    let text = read("ARCHITECTURE.md");
    let section = text.split("## Glossary").nth(1).expect("a section Glossary");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    rows.map(|(word, _)| word.to_owned()).filter(|word| word != "word" && !word.starts_with('-')).collect()
}

#[test]
fn comments_and_quotes_are_no_identifiers() {
    let code = r##"let told_of = "heard \" lane"; // a seat
        let c = '"'; fn f<'a>(desk: &'a str, raw: r#"sight"#) {} struct EarLobe;"##;
    let words = words_of(&code_of(code, "//"));
    for word in ["told", "of", "desk", "ear", "lobe"] {
        assert!(words.contains(word), "{word} in {words:?}");
    }
    for word in ["heard", "lane", "seat", "sight"] {
        assert!(!words.contains(word), "{word} in {words:?}");
    }
}

#[test]
fn every_word_of_the_glossary_is_used() {
    let vocabulary = vocabulary();
    let source = vocabulary.iter().filter(|(file, _)| file.starts_with("src/"));
    let used: BTreeSet<&str> = source.flat_map(|(_, words)| words.iter().map(String::as_str)).collect();
    let glossary = glossary();
    assert!((30..=45).contains(&glossary.len()), "{} words: a glossary that nobody can learn", glossary.len());
    for entry in glossary {
        for word in entry.split(' ') {
            let is_used = used.contains(word) || used.contains(format!("{word}s").as_str());
            assert!(is_used, "the glossary explains {entry}, and src/ does not use it");
        }
    }
}

#[test]
fn retired_words_do_not_come_back() {
    let is_not_yet = |file: &str| NOT_YET.iter().any(|not_yet| file.starts_with(not_yet));
    let is_exempt = |file: &str| is_not_yet(file) || file.ends_with("code/glossary.rs");
    let vocabulary = vocabulary();
    let files = vocabulary.iter().filter(|(file, _)| !is_exempt(file));
    let found: Vec<_> = files
        .flat_map(|(file, words)| {
            let retired = RETIRED.iter().filter(|(word, _)| words.contains(*word));
            retired.map(move |(word, instead)| format!("{file}: {word} is retired; use {instead}"))
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_list_of_what_is_not_renamed_yet_only_shrinks() {
    let vocabulary = vocabulary();
    let is_clean = |not_yet: &&&str| {
        let mut of_it = vocabulary.iter().filter(|(file, _)| file.starts_with(**not_yet));
        !of_it.any(|(_, words)| RETIRED.iter().any(|(word, _)| words.contains(*word)))
    };
    let clean: Vec<_> = NOT_YET.iter().filter(is_clean).collect();
    assert!(clean.is_empty(), "without a retired word now, so remove from NOT_YET: {clean:?}");
}
