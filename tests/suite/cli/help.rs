//! Help texts are held by a snapshot; completions and the man page are made from the same definitions.

use std::{io::Write, path::Path, process::Command, process::Stdio};

use clap::CommandFactory;
use holdfast::cli::Cli as Definition;

use crate::support::world::run;

/// Every command by its words, the program itself first.
fn commands() -> Vec<Vec<String>> {
    fn collect(command: &clap::Command, words: &[String], found: &mut Vec<Vec<String>>) {
        found.push(words.to_vec());
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            collect(inner, &[words, &[inner.get_name().to_owned()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    collect(&Definition::command(), &[], &mut found);
    found
}

fn help(words: &[String]) -> String {
    let args: Vec<_> = words.iter().map(String::as_str).chain(["--help"]).collect();
    run(&args, &[]).unwrap()
}

#[test]
fn help_texts_are_the_committed_ones() {
    let pages: Vec<_> = commands()
        .iter()
        .map(|words| format!("$ holdfast {}\n{}", [words.join(" "), "--help".into()].join(" ").trim(), help(words)))
        .collect();
    let pages = pages.join("\n");
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("help.txt");
    std::fs::write(&made, &pages).unwrap();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/cli/help.txt");
    let known = std::fs::read_to_string(&committed).unwrap_or_default();
    assert!(pages == known, "read the difference, then: cp {} tests/suite/cli/help.txt", made.display());
}

#[test]
fn every_help_ends_with_examples_and_shows_no_secret_argument() {
    for words in commands() {
        let help = help(&words);
        assert!(help.contains("Examples:\n  "), "{words:?}: {help}");
        assert!(!help.contains("--key "), "a key is never an argument: {words:?}");
    }
}

#[test]
fn completions_are_read_by_their_shells() {
    let bash = run(&["completions", "bash"], &[]).unwrap();
    let script =
        format!("{bash}\nCOMP_WORDS=(holdfast re); COMP_CWORD=1; _holdfast holdfast re; echo \"${{COMPREPLY[@]}}\"");
    let mut shell =
        Command::new("bash").args(["--norc", "-s"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let out = String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap();
    for name in ["release", "renew", "reserve", "register"] {
        assert!(out.contains(name), "{out}");
    }
    for (shell, says) in [("zsh", "#compdef holdfast"), ("fish", "complete -c holdfast")] {
        let text = run(&["completions", shell], &[]).unwrap();
        assert!(text.contains(says) && text.contains("force-release"), "{shell}");
    }
    assert!(!bash.contains("__guard") && !bash.contains("__launch"));
}

#[test]
fn the_man_page_has_a_section_per_command() {
    let page = run(&["man"], &[]).unwrap();
    assert!(page.contains(".TH holdfast 1"));
    for words in commands().iter().filter(|words| words.len() == 1) {
        assert!(page.contains(&words[0].replace('-', "\\-")), "{words:?}");
    }
}
