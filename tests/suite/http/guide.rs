//! The guide: every command of `docs/` is run, and prints what its page says (`tests/docs/run.py` says how); the site that is
//! built of it, in a real Chromium (`tests/browser/guide.mjs`).

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::support::{
    source::root,
    world::{World, bound_to_test, without_settings},
};

fn check(pages: &[&Path]) -> Output {
    let mut command: Command = bound_to_test("python3");
    without_settings(&mut command);
    command.args(["-B", "tests/docs/run.py", "--holdfast", env!("CARGO_BIN_EXE_holdfast")]);
    command.args(pages).current_dir(root()).output().expect("python3 is there")
}

fn text(ran: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}

/// What the runner says of one page, and whether it is content.
fn said_of(page: &str) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("page.md");
    std::fs::write(&path, page).unwrap();
    let ran = check(&[&path]);
    (ran.status.success(), text(&ran))
}

#[test]
fn every_command_of_the_guide_prints_what_its_page_says() {
    let ran = check(&[]);
    assert!(ran.status.success(), "{}", text(&ran));
}

/// A page that is right: the values of its run differ from those that it shows, and are in the same places.
const PAGE: &str = r#"# A page

```console
$ holdfast reserve db --as ann --ttl 60s --json > granted.json
$ jq -r '.[0] | .status, .releaseToken, .expiresAt' granted.json
ACQUIRED
00000000-0000-0000-0000-000000000000
2026-01-01T00:00:00.000Z
$ jq -r '.[0].releaseToken' granted.json
00000000-0000-0000-0000-000000000000
```

```sh file=hello.sh
echo hello from "$HOLDFAST_RESOURCE"
```

```console
$ holdfast run greeting -- sh hello.sh
hello from greeting
```
"#;

#[test]
fn a_page_may_show_the_values_of_another_run() {
    let (right, said) = said_of(PAGE);
    assert!(right, "{said}");
}

#[test]
fn a_page_that_says_something_else_is_noticed() {
    let other_token = PAGE.replacen("0000\n```", "0001\n```", 1);
    let faults = [
        (PAGE.replace("ACQUIRED", "ALREADY_HELD"), "-ALREADY_HELD"),
        (other_token, "-<uuid 2>"),
        (PAGE.replace("hello from greeting", "hello from parting"), "-hello from parting"),
        (PAGE.replace("hello from greeting\n", ""), "+hello from greeting"),
        (PAGE.replace("sh hello.sh", "false"), "-hello from greeting"),
        (format!("{PAGE}\n```console\n$ cd nowhere 2> error.txt\n```\n"), "ended with 1 and said nothing"),
        (PAGE.replace("sh file=hello.sh", "sh"), "a block is `console`, or has `file=NAME` or `not-run: REASON`"),
        (format!("{PAGE}\n<<< ./missing.sh\n"), "missing.sh"),
    ];
    for (page, fault) in faults {
        let (right, said) = said_of(&page);
        assert!(!right && said.contains(fault), "{fault:?} in {said}");
    }
}

#[tokio::test]
async fn the_guide_is_read_and_searched_in_a_browser_without_anything_from_elsewhere() {
    // The dashboard, too: its icon is that of the guide, and a link of the guide leads there.
    for made in
        ["tests/browser/node_modules/playwright-core", "web/dist/guide/index.html", "web/dist/dashboard/index.html"]
    {
        let hint = "run `make test`, or `npm ci` in tests/browser and `make web`";
        assert!(root().join(made).exists(), "{made} is missing: {hint}");
    }
    let world = World::<1>::start().await;
    let ran = bound_to_test("node")
        .arg(root().join("tests/browser/guide.mjs"))
        .env("HOLDFAST_URL", &world.replicas[0].url)
        .stdin(Stdio::null())
        .output()
        .expect("node starts");
    assert!(ran.status.success(), "{}", text(&ran));
}
