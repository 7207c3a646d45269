//! Who may import whom: the table in ARCHITECTURE.md, held against the source.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::support::source::{files_under, read, root};

/// Each room, and the rooms that it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("sync", &[]),
    ("domain", &[]),
    ("redis", &["sync"]),
    ("store", &["sync", "domain", "redis"]),
    ("feed", &["sync", "domain", "redis", "store"]),
    ("replica", &[]),
    ("trust", &["domain"]),
    ("monitor", &["sync", "domain", "redis", "store", "trust", "config", "replica"]),
    ("limits", &["sync", "domain", "store"]),
    ("config", &["domain"]),
    ("sweeper", &["domain", "store", "replica"]),
    (
        "http",
        &["sync", "domain", "redis", "store", "feed", "sweeper", "config", "replica", "limits", "trust", "monitor"],
    ),
    ("client", &["sync"]),
    ("cli", &["domain", "redis", "store", "config", "limits", "trust", "client"]),
    (
        "app",
        &[
            "domain", "redis", "store", "feed", "sweeper", "config", "replica", "http", "cli", "limits", "trust",
            "monitor",
        ],
    ),
];

/// Every file with its room; the binary's own file and the list of rooms have none.
fn files_by_room() -> Vec<(String, PathBuf)> {
    let source = root().join("src");
    let room = |path: &Path| {
        let first = path.strip_prefix(&source).unwrap().components().next().unwrap();
        first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    let found = files_under("src").into_iter().map(|path| (room(&path), path));
    found.filter(|(room, _)| room != "main" && room != "lib").collect()
}

/// The rooms that a text names after `crate::`, also in lists (`crate::{domain::..., store}`), outside comments.
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
fn lists_of_imports_are_parsed() {
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

/// Each room in the table of ARCHITECTURE.md, and the rooms that its row says it may import.
fn rooms_of_the_document() -> Vec<(String, BTreeSet<String>)> {
    let text = read("ARCHITECTURE.md");
    let table = text.split("## Rooms").nth(1).expect("a section Rooms").split("\n## ").next().unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `src/"));
    let cells = rows.map(|row| row.trim_end_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let names = |list: &str| list.split(", ").filter(|name| *name != "nothing").map(str::to_owned).collect();
    cells
        .filter(|cells| cells.len() == 3)
        .map(|cells| (cells[0].trim_end_matches(['`', '/']).trim_end_matches(".rs").to_owned(), names(cells[2])))
        .collect()
}

#[test]
fn the_table_of_rooms_in_the_document_is_this_one() {
    let documented = rooms_of_the_document();
    let owned = |rooms: &[&str]| rooms.iter().map(|room| (*room).to_owned()).collect::<BTreeSet<_>>();
    for (room, allowed) in MAY_IMPORT {
        let row = documented.iter().find(|(name, _)| name == room);
        let (_, imports) = row.unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for {room}"));
        assert_eq!(*imports, owned(allowed), "the row of {room} in ARCHITECTURE.md says what it may import");
    }
    assert_eq!(documented.len(), MAY_IMPORT.len(), "{documented:?}");
}

#[test]
fn only_the_store_speaks_to_our_redis_only_the_monitor_to_others_and_only_http_knows_poem() {
    for (room, path) in files_by_room() {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
        // Imports from our own rooms, of which one is called `redis`, name no crate.
        let code: Vec<_> = code
            .split("use ")
            .map(
                |part| {
                    if part.starts_with("crate::") { part.split_once(';').map_or("", |(_, rest)| rest) } else { part }
                },
            )
            .flat_map(str::lines)
            .collect();
        let names = |krate: &str| {
            code.iter().any(|line| {
                line.match_indices(krate).any(|(at, _)| {
                    !line[..at].ends_with(|before: char| before.is_alphanumeric() || "_:\"".contains(before))
                })
            })
        };
        // A broker is somebody else's Redis; ours is reached through the store alone, from there, too.
        let may_name_redis = matches!(room.as_str(), "redis" | "store" | "monitor");
        assert!(may_name_redis || !names("redis::"), "{} names the crate redis", path.display());
        assert!(room == "http" || !(names("poem::") || names("poem_openapi::")), "{} names poem", path.display());
        if room == "domain" {
            for io in ["std::fs", "std::net", "tokio::", "SystemTime", "Instant", "Utc::now"] {
                assert!(!code.iter().any(|line| line.contains(io)), "{} does {io}", path.display());
            }
        }
    }
}

#[test]
fn the_redis_room_knows_no_key_and_no_script() {
    for (_, path) in files_by_room().into_iter().filter(|(room, _)| room == "redis") {
        let text = std::fs::read_to_string(&path).unwrap();
        for foreign in ["\"hf:", "include_str!", "EVALSHA\"", "TenantId"] {
            assert!(!text.contains(foreign), "{} knows {foreign}", path.display());
        }
    }
}
