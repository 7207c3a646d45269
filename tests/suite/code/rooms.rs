//! Who may import whom: the table in ARCHITECTURE.md, held against the source.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Each room, and the rooms that it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("store", &["domain"]),
    ("feed", &["domain", "store"]),
    ("replica", &[]),
    ("trust", &["domain"]),
    ("monitor", &["domain", "store", "trust", "config", "replica"]),
    ("limits", &["domain", "store"]),
    ("config", &["domain"]),
    ("sweeper", &["domain", "store", "replica"]),
    ("http", &["domain", "store", "feed", "sweeper", "config", "replica", "limits", "trust", "monitor"]),
    ("cli", &["domain", "store", "config", "limits", "trust"]),
    ("app", &["domain", "store", "feed", "sweeper", "config", "replica", "http", "cli", "limits", "trust", "monitor"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Every file with the room that it stands in; the binary's own file and the list of rooms stand in none.
fn files_by_room() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    files(&source(), &mut found);
    let room = |path: &Path| {
        path.strip_prefix(source())
            .unwrap()
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned()
    };
    found.into_iter().map(|path| (room(&path), path)).filter(|(room, _)| room != "main" && room != "lib").collect()
}

/// The rooms that a text names after `crate::`, also in lists (`crate::{domain::..., store}`), comments aside.
fn imported(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    let mut rooms = BTreeSet::new();
    let first_word = |text: &str| {
        text.trim_start().chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect::<String>()
    };
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            rooms.insert(first_word(rest));
            continue;
        };
        let (mut depth, mut fresh) = (0, true);
        for (at, char) in list.char_indices() {
            match char {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                _ if fresh && depth == 0 && !char.is_whitespace() => {
                    rooms.insert(first_word(&list[at..]));
                    fresh = false;
                }
                _ => {}
            }
        }
    }
    rooms
}

#[test]
fn lists_of_imports_are_understood() {
    let text = "use crate::{\n    domain::{a, b},\n    store::Store, // crate::http\n};\nfn f() { crate::feed::x(); }";
    assert_eq!(imported(text), ["domain", "feed", "store"].map(String::from).into());
}

#[test]
fn rooms_import_only_what_they_may() {
    let by_room = files_by_room();
    let rooms: BTreeSet<_> = by_room.iter().map(|(room, _)| room.as_str()).collect();
    assert_eq!(
        rooms,
        MAY_IMPORT.iter().map(|(room, _)| *room).collect(),
        "every room has its line here and in ARCHITECTURE.md"
    );
    for (room, path) in &by_room {
        let (_, allowed) = MAY_IMPORT.iter().find(|(known, _)| known == room).unwrap();
        for import in imported(&std::fs::read_to_string(path).unwrap()) {
            assert!(import == *room || allowed.contains(&import.as_str()), "{} imports {import}", path.display());
        }
    }
}

#[test]
fn only_the_store_knows_our_redis_only_the_monitor_others_and_only_http_poem() {
    for (room, path) in files_by_room() {
        let text = std::fs::read_to_string(&path).unwrap();
        let code: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
        let names = |krate: &str| {
            code.iter().any(|line| {
                line.match_indices(krate).any(|(at, _)| {
                    !line[..at].ends_with(|before: char| before.is_alphanumeric() || "_:\"".contains(before))
                })
            })
        };
        // A broker is somebody else's Redis; ours is reached through the store alone, from there, too.
        assert!(matches!(room.as_str(), "store" | "monitor") || !names("redis::"), "{} names redis", path.display());
        assert!(room == "http" || !(names("poem::") || names("poem_openapi::")), "{} names poem", path.display());
        if room == "domain" {
            for io in ["std::fs", "std::net", "tokio::", "SystemTime", "Instant", "Utc::now"] {
                assert!(!code.iter().any(|line| line.contains(io)), "{} does {io}", path.display());
            }
        }
    }
}
