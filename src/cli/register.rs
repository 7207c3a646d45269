//! `holdfast register`: resources as code.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::PathBuf,
};

use clap::{Args, ValueHint};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    cli::{
        confirm::confirm,
        exit::{Exit, Failure},
        output::{Colour, coloured, has_colours, note, print, print_json, visible},
        profile::ConnectionArgs,
    },
    client::{Client, Definition},
};

/// Most definitions of one call.
const BATCH: usize = 1_000;

/// Register the resources that a file defines.
#[derive(Debug, Args)]
#[command(after_help = "\
The file is JSON, a list of definitions as the API takes them, or TOML with [[resource]] tables:

  [[resource]]
  name = \"gpu\"
  capacity = 4

  [[resource]]
  name = \"press\"
  blocks = [\"hall-light\"]
  treePath = \"plant>hall\"

Examples:
  holdfast register resources.toml --plan
  holdfast register resources.toml --prune")]
pub struct RegisterArgs {
    /// The file of definitions; - reads standard input as JSON
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Show what would change, and change nothing
    #[arg(long)]
    plan: bool,
    /// Delete what is registered and not in the file; needs a key with the scope admin
    #[arg(long)]
    prune: bool,
    /// Delete without asking
    #[arg(long, short = 'y')]
    yes: bool,
    /// One JSON document: {created, changed, deleted, unchanged}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TomlFile {
    #[serde(default)]
    resource: Vec<Definition>,
}

/// The difference between a file and what is registered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    created: Vec<Definition>,
    changed: Vec<(Definition, Definition)>,
    /// Children before their parents, as deleting needs it.
    deleted: Vec<String>,
    unchanged: usize,
}

/// Registers what a file defines.
///
/// # Errors
/// [`Exit::Usage`]: the file. [`Exit::Refused`]: the service found a conflict; nothing of that call was changed.
pub(super) async fn register(args: RegisterArgs) -> Result<(), Failure> {
    let wanted = read(&args.file)?;
    let client = args.connection.client()?;
    let plan = Plan::of(&wanted, &client.resources().await?, args.prune)?;
    if !args.json {
        plan.print()?;
    }
    if !args.plan {
        apply(&client, &plan, args.yes).await?;
    }
    if args.json { print_json(&plan.json()) } else { Ok(()) }
}

async fn apply(client: &Client, plan: &Plan, yes: bool) -> Result<(), Failure> {
    if !plan.deleted.is_empty() {
        confirm(&format!("Delete {} registered resources?", plan.deleted.len()), yes)?;
    }
    let definitions: Vec<_> =
        plan.created.iter().chain(plan.changed.iter().map(|(_, wanted)| wanted)).cloned().collect();
    for batch in definitions.chunks(BATCH) {
        client.register(batch).await?;
    }
    for name in &plan.deleted {
        if !client.delete_resource(name).await? {
            note(&format!("{} was deleted by somebody else meanwhile", visible(name)));
        }
    }
    Ok(())
}

fn read(file: &PathBuf) -> Result<Vec<Definition>, Failure> {
    let shown = file.display();
    let fault = |what: String| Failure::new(Exit::Usage, format!("{shown}: {what}"));
    let standard_input = file.as_os_str() == "-";
    let text = if standard_input {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| fault(format!("cannot be read: {error}")))?;
    let definitions = parse(&text, file.extension().is_some_and(|extension| extension == "toml")).map_err(fault)?;
    let mut names = BTreeSet::new();
    for definition in &definitions {
        if !names.insert(&definition.name) {
            return Err(fault(format!("{:?} is defined twice", definition.name)));
        }
    }
    Ok(definitions)
}

fn parse(text: &str, is_toml: bool) -> Result<Vec<Definition>, String> {
    if is_toml {
        return toml::from_str::<TomlFile>(text).map(|file| file.resource).map_err(|error| {
            let is_single = text.lines().any(|line| line.trim() == "[resource]");
            let hint = if is_single { "\nwrite [[resource]], in double brackets: there may be several" } else { "" };
            format!("{}{hint}", error.to_string().trim_end())
        });
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| match error.path().to_string() {
        path if path == "." => error.into_inner().to_string(),
        path => format!("{path}: {}", error.into_inner()),
    })
}

impl Plan {
    fn of(wanted: &[Definition], registered: &[Value], prune: bool) -> Result<Self, Failure> {
        let mut present: BTreeMap<String, (Definition, Vec<String>)> = BTreeMap::new();
        for row in registered {
            let (definition, ancestors) = registered_definition(row)
                .map_err(|error| Failure::new(Exit::Fault, format!("a registered resource cannot be read: {error}")))?;
            present.insert(definition.name.clone(), (definition, ancestors));
        }
        let mut plan = Self::default();
        // Ancestors are registered on the way, so a file need not name them.
        let mut kept: BTreeSet<&str> = wanted.iter().map(|definition| definition.name.as_str()).collect();
        for definition in wanted {
            kept.extend(definition.tree_path.iter().flat_map(|path| path.split('>')));
            match present.get(&definition.name) {
                None => plan.created.push(definition.clone()),
                Some((known, _)) if same(known, definition) => plan.unchanged += 1,
                Some((known, _)) => plan.changed.push((known.clone(), definition.clone())),
            }
        }
        if prune {
            let mut gone: Vec<_> = present
                .iter()
                .filter(|(name, _)| !kept.contains(name.as_str()))
                .map(|(name, (_, above))| (above.len(), name))
                .collect();
            gone.sort_by(|one, other| other.cmp(one));
            plan.deleted = gone.into_iter().map(|(_, name)| name.clone()).collect();
        }
        Ok(plan)
    }

    fn print(&self) -> Result<(), Failure> {
        let colours = has_colours(&std::io::stdout());
        let mut lines = Vec::new();
        for definition in &self.created {
            lines.push(coloured(&format!("+ {}", shown(definition)), Colour::Green, colours));
        }
        for (known, wanted) in &self.changed {
            lines.push(coloured(&format!("~ {}", difference(known, wanted)), Colour::Yellow, colours));
        }
        for name in &self.deleted {
            lines.push(coloured(&format!("- {}", visible(name)), Colour::Red, colours));
        }
        lines.push(format!(
            "{} to create, {} to change, {} to delete, {} unchanged",
            self.created.len(),
            self.changed.len(),
            self.deleted.len(),
            self.unchanged
        ));
        print(&format!("{}\n", lines.join("\n")))
    }

    fn json(&self) -> Value {
        let changed: Vec<_> = self.changed.iter().map(|(known, wanted)| json!({"from": known, "to": wanted})).collect();
        json!({"created": self.created, "changed": changed, "deleted": self.deleted, "unchanged": self.unchanged})
    }
}

/// A row of the listing as a definition, and what stands above it.
fn registered_definition(row: &Value) -> Result<(Definition, Vec<String>), serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Row {
        name: String,
        capacity: i64,
        #[serde(default)]
        blocks: Vec<String>,
        tree_path: Option<String>,
        #[serde(default)]
        ancestors: Vec<String>,
    }
    let row = Row::deserialize(row)?;
    let definition =
        Definition { name: row.name, capacity: row.capacity, blocks: row.blocks, tree_path: row.tree_path };
    Ok((definition, row.ancestors))
}

/// Whether two definitions are the same: the order of blockers says nothing.
fn same(one: &Definition, other: &Definition) -> bool {
    let blocks = |definition: &Definition| definition.blocks.iter().cloned().collect::<BTreeSet<_>>();
    let path = |definition: &Definition| definition.tree_path.clone().filter(|path| !path.is_empty());
    one.capacity == other.capacity && path(one) == path(other) && blocks(one) == blocks(other)
}

fn shown(definition: &Definition) -> String {
    let mut text = visible(&definition.name);
    if definition.capacity != 1 {
        text.push_str(&format!(", capacity {}", definition.capacity));
    }
    if !definition.blocks.is_empty() {
        text.push_str(&format!(", blocks {}", visible(&definition.blocks.join(", "))));
    }
    if let Some(path) = &definition.tree_path {
        text.push_str(&format!(", at {}", visible(path)));
    }
    text
}

fn difference(known: &Definition, wanted: &Definition) -> String {
    let mut text = visible(&wanted.name);
    let mut differ = |field: &str, from: String, to: String| {
        if from != to {
            text.push_str(&format!(", {field} {} -> {}", visible(&from), visible(&to)));
        }
    };
    let or_none = |text: String| if text.is_empty() { "none".into() } else { text };
    differ("capacity", known.capacity.to_string(), wanted.capacity.to_string());
    differ("blocks", or_none(known.blocks.join(", ")), or_none(wanted.blocks.join(", ")));
    differ(
        "at",
        or_none(known.tree_path.clone().unwrap_or_default()),
        or_none(wanted.tree_path.clone().unwrap_or_default()),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = "[[resource]]\nname = \"gpu\"\ncapacity = 4\n[[resource]]\nname = \"press\"\nblocks = [\"light\"]\ntreePath = \"plant>hall\"\n";

    #[test]
    fn both_forms_say_the_same() {
        let json = r#"[{"name":"gpu","capacity":4},{"name":"press","blocks":["light"],"treePath":"plant>hall"}]"#;
        assert_eq!(parse(TOML, true), parse(json, false));
        let fault = parse(r#"[{"name":"a"},{"name":"b","capcity":2}]"#, false).unwrap_err();
        assert!(fault.contains("[1]") && fault.contains("capcity") && fault.contains("capacity"), "{fault}");
    }

    #[test]
    fn a_plan_prunes_children_first_and_keeps_ancestors() {
        let row = |name: &str, capacity: i64, path: Option<&str>| {
            let ancestors: Vec<_> = path.into_iter().flat_map(|path| path.split('>')).collect();
            json!({"name": name, "capacity": capacity, "slots": null, "blocks": [], "treePath": path, "ancestors": ancestors})
        };
        let registered = [
            row("gpu", 2, None),
            row("plant", 1, None),
            row("hall", 1, Some("plant")),
            row("old", 1, None),
            row("part", 1, Some("old")),
        ];
        let plan = Plan::of(&parse(TOML, true).unwrap(), &registered, true).unwrap();
        assert_eq!(plan.created.iter().map(|made| made.name.as_str()).collect::<Vec<_>>(), ["press"]);
        assert_eq!(difference(&plan.changed[0].0, &plan.changed[0].1), "gpu, capacity 2 -> 4");
        assert_eq!(plan.deleted, ["part", "old"]);
        let again = Plan::of(&parse(TOML, true).unwrap(), &registered, false).unwrap();
        assert!(again.deleted.is_empty());
    }
}
