//! What the documents and scripts name exists: files, links, metrics, settings, targets of make, filters of the suite.

use std::collections::BTreeSet;

use holdfast::config;

use crate::support::source::{files_under, read, root};

/// Documents for people beside those in `docs/`, all of which name files. `lua/README.md` is checked by the headers' tests.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "bench/README.md",
    "deploy/README.md",
    "examples/README.md",
    "clients/python/README.md",
    "clients/typescript/README.md",
];

/// [`DOCUMENTS`], and every page below `docs/`.
fn documents() -> Vec<String> {
    let pages = files_under("docs").into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let pages = pages.map(|path| path.strip_prefix(root()).unwrap().display().to_string());
    DOCUMENTS.iter().map(ToString::to_string).chain(pages).collect()
}

/// How a path that stands in backticks in a document begins.
const PATHS: &[&str] = &[
    "src/",
    "tests/",
    "lua/",
    "bench/",
    "fuzz/",
    "scripts/",
    "docs/",
    "deploy/",
    "web/",
    "examples/",
    "clients/",
    "openapi/",
    ".github/",
];

/// The texts between backticks, code blocks aside.
fn in_backticks(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !line.starts_with("    ") && !line.starts_with("```"));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_file_that_a_document_names_exists() {
    let is_path =
        |name: &str| PATHS.iter().any(|begin| name.starts_with(begin)) && !name.contains(['<', '*', '{', ' ', ',']);
    let mut missing = Vec::new();
    for document in &documents() {
        let text = read(document);
        let names = in_backticks(&text).into_iter().filter(|name| is_path(name) && !root().join(name).exists());
        missing.extend(names.map(|name| format!("{document} names {name}, which is not there")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_link_of_a_document_leads_to_a_file() {
    for document in &documents() {
        let text = read(document);
        let folder = root().join(document).parent().unwrap().to_owned();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap().split('#').next().unwrap();
            // Of the service, not of the repository; `web/guide/check.mjs` looks after those.
            let served = target.starts_with('/');
            if !target.is_empty() && !target.contains("://") && !served {
                assert!(folder.join(target).exists(), "{document} links to {target}, which is not there");
            }
        }
    }
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let mut known = BTreeSet::new();
    for path in files_under("src") {
        let text = std::fs::read_to_string(&path).unwrap();
        for kind in ["counter!(", "gauge!(", "histogram!("] {
            for (at, _) in text.match_indices(kind) {
                let rest = text[at + kind.len()..].trim_start();
                if let Some(name) = rest.strip_prefix('"').and_then(|name| name.split('"').next()) {
                    known.insert(name.to_owned());
                }
            }
        }
    }
    let rows = read("docs/metrics.md");
    let documented: BTreeSet<_> =
        rows.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned)).collect();
    assert_eq!(known, documented, "left: in src/; right: in docs/metrics.md");
}

#[test]
fn every_setting_that_a_document_names_is_one() {
    // Read by make, the tests and the command line, not by the service.
    let elsewhere = [
        "LONG",
        "READ_ONLY_SECONDS",
        "URL",
        "KEY",
        "PROFILE",
        "FENCE",
        "RESOURCE",
        "REQUESTER",
        "SLOT",
        "EXPIRES_AT",
        "BIN",
        "BINARY",
    ];
    let names: BTreeSet<_> = config::names().chain(elsewhere).collect();
    let others = ["compose.yaml", "Dockerfile", "Makefile", "CHANGELOG.md"].map(str::to_owned);
    for document in documents().iter().chain(&others) {
        let text = read(document);
        for (at, prefix) in text.match_indices("HOLDFAST_") {
            let rest = &text[at + prefix.len()..];
            let name = rest.split(|char: char| !(char.is_ascii_uppercase() || char == '_')).next().unwrap();
            assert!(name.is_empty() || names.contains(name), "{document} names {prefix}{name}, which is no setting");
        }
    }
}

#[test]
fn the_documents_put_on_the_path_what_make_run_builds() {
    let makefile = read("Makefile");
    let profile = makefile.lines().find_map(|line| line.strip_prefix("PROFILE ?= ")).unwrap();
    let (quick_start, readme) = (read("docs/quick-start.md"), read("README.md"));
    assert!(quick_start.contains(&format!("PATH=$PWD/target/{profile}:$PATH")), "docs/quick-start.md");
    assert!(readme.contains(&format!("target/{profile}/holdfast tenant create")), "README.md");
}

#[test]
fn no_name_of_a_document_is_taken_by_the_demo() {
    let demo = read("src/app/demo_activity.rs");
    let names = ["definition(\"", "hold(\""].into_iter().flat_map(|call| demo.split(call).skip(1));
    let names: Vec<_> = names.filter_map(|rest| rest.split('"').next()).collect();
    assert!(names.len() > 5, "{names:?}");
    for document in documents() {
        let text = read(&document);
        let taken: Vec<_> = names.iter().filter(|name| text.contains(*name)).collect();
        assert!(taken.is_empty(), "{document}: {taken:?}");
    }
}

#[test]
fn every_target_of_make_that_a_document_or_ci_names_exists() {
    let makefile = read("Makefile");
    let mut targets: BTreeSet<_> = makefile
        .lines()
        .filter_map(|line| line.split_once(':').map(|(name, _)| name))
        .filter(|name| name.chars().all(|char| char.is_ascii_lowercase() || char == '-'))
        .map(str::to_owned)
        .collect();
    let parts = makefile.lines().find_map(|line| line.strip_prefix("BENCH_PARTS := ")).unwrap();
    targets.extend(parts.split(' ').map(|part| format!("bench-{part}")));
    let mut texts = vec![read(".github/workflows/ci.yml"), read(".ci/run")];
    texts.extend(documents().iter().map(|document| read(document)));
    for text in &texts {
        for (at, prefix) in text.match_indices("make ") {
            let target: String = text[at + prefix.len()..]
                .chars()
                .take_while(|char| char.is_ascii_lowercase() || *char == '-')
                .collect();
            let is_command =
                text[..at].ends_with(['`', '\n']) || text[..at].ends_with("    ") || text[..at].ends_with("run: ");
            assert!(!is_command || target.is_empty() || targets.contains(&target), "make has no target {target}");
        }
    }
}

#[test]
fn the_inner_loop_names_files_and_tests_that_exist() {
    let script = read("scripts/affected");
    let table = script.split("table='").nth(1).unwrap().split('\'').next().unwrap();
    let left_out = script.split("left_out='").nth(1).unwrap().split('\'').next().unwrap();
    let mut filters: Vec<&str> = left_out.split_whitespace().collect();
    for row in table.lines().filter(|row| !row.is_empty()) {
        let (prefix, found) = row.split_once(' ').unwrap();
        let at = root().join(prefix);
        let exists = at.exists() || at.parent().unwrap().join(format!("{prefix}.toml")).exists();
        assert!(exists, "scripts/affected has a row for {prefix}, which is not there");
        filters.extend(found.split_whitespace());
    }
    let tests =
        files_under("tests/suite").iter().map(|path| std::fs::read_to_string(path).unwrap()).collect::<String>();
    for filter in filters {
        if !filter.contains("::") {
            assert!(
                tests.contains(&format!("{filter}() {{")),
                "scripts/affected leaves out {filter}: no test is called so"
            );
            continue;
        }
        let file = format!("tests/suite/{}.rs", filter.trim_end_matches("::").replace("::", "/"));
        assert!(root().join(&file).exists(), "scripts/affected names {filter}, but there is no {file}");
    }
}

#[test]
fn the_image_is_built_with_a_stub_for_every_target_of_the_manifest() {
    let (dockerfile, manifest) = (read("Dockerfile"), read("Cargo.toml").parse::<toml::Table>().unwrap());
    let targets = |kind: &str| manifest[kind].as_array().unwrap().clone();
    let tests = targets("test").into_iter().map(|test| test["path"].as_str().unwrap().to_owned());
    let benches = targets("bench").into_iter().map(|bench| format!("bench/{}.rs", bench["name"].as_str().unwrap()));
    for file in tests.chain(benches) {
        assert!(dockerfile.contains(&file), "the Dockerfile makes no empty {file}, so cargo refuses the manifest");
    }
}

#[test]
fn what_the_image_is_built_without_exists() {
    // Made by a person or a tool, so absent from a fresh checkout.
    let made = [".git", ".env", ".env.*", "target", "data"];
    for line in read(".dockerignore").lines().filter_map(|line| line.strip_prefix('/')) {
        let exists = made.contains(&line) || line.contains('*') || root().join(line).exists();
        assert!(exists, ".dockerignore names {line}, which is not there");
    }
}
