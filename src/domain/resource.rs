//! Definitions of registered resources: pools, blockers, trees.

use crate::domain::{field_errors::FieldErrors, names};

/// Largest capacity of a pool.
pub const MAX_CAPACITY: i64 = 100_000;
/// Most blockers of one resource.
pub const MAX_BLOCKS: usize = 64;
/// Most bytes of a definition's blocks and path together, 8 KiB: every reserve of the resource reads them.
const MAX_DEFINITION_BYTES: usize = 8_192;
/// Most levels of a tree, the resource's own included.
pub const MAX_LEVELS: usize = 32;
/// Largest capacity of a pool whose slots are listed by name.
const MAX_LISTED_SLOTS: i64 = 1_000;

/// Definition of a registered resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Capacity: how many can hold it at once; more than 1 makes it a pool.
    pub capacity: i64,
    /// Blockers: names that are taken along with it.
    pub blocks: Vec<String>,
    /// Names above it in the tree, from the root on.
    pub ancestors: Vec<String>,
}

impl Definition {
    /// Checks item `at` of a list of definitions.
    pub fn parse(
        errors: &mut FieldErrors,
        at: usize,
        name: Option<String>,
        capacity: Option<i64>,
        blocks: Option<Vec<String>>,
        path: Option<String>,
    ) -> Option<Self> {
        let name = errors.check(|| format!("[{at}].name"), registered_name(name));
        let capacity = capacity.unwrap_or(1);
        if !(1..=MAX_CAPACITY).contains(&capacity) {
            errors.add(format!("[{at}].capacity"), format!("is {capacity}; it must be from 1 to {MAX_CAPACITY}"));
        } else if let Some(name) = &name {
            errors.check(|| format!("[{at}].name"), slot_names(name, capacity));
        }
        let mut distinct: Vec<String> = Vec::new();
        let blocks = blocks.unwrap_or_default();
        let bytes = blocks.iter().chain(&path).map(String::len).sum::<usize>();
        if bytes > MAX_DEFINITION_BYTES {
            let field = if blocks.is_empty() { "treePath" } else { "blocks" };
            let message =
                format!("makes {bytes} bytes of blocks and treePath; at most {MAX_DEFINITION_BYTES} are allowed");
            errors.add(format!("[{at}].{field}"), message);
        }
        if blocks.len() > MAX_BLOCKS {
            errors
                .add(format!("[{at}].blocks"), format!("has {} names; at most {MAX_BLOCKS} are allowed", blocks.len()));
        }
        for (n, block) in blocks.into_iter().enumerate() {
            let block = errors.check(|| format!("[{at}].blocks[{n}]"), names::name(Some(block)))?;
            if name.as_ref().is_some_and(|name| {
                *name == block || (capacity > 1 && slot_index(name, &block).is_some_and(|index| index < capacity))
            }) {
                errors.add(format!("[{at}].blocks[{n}]"), "is the resource itself; a resource cannot block itself");
            }
            if !distinct.contains(&block) {
                distinct.push(block);
            }
        }
        let ancestors = match (path.filter(|path| !path.is_empty()), &name) {
            (Some(path), Some(name)) => errors.check(|| format!("[{at}].treePath"), ancestors(&path, name))?,
            _ => Vec::new(),
        };
        Some(Self { name: name?, capacity, blocks: distinct, ancestors })
    }

    /// Path of its ancestors, `Equipment>IT`; `None` where it has none.
    #[must_use]
    pub fn tree_path(&self) -> Option<String> {
        (!self.ancestors.is_empty()).then(|| self.ancestors.join(">"))
    }

    /// Names of its slots: empty where it is no pool, `None` above a capacity of 1,000.
    #[must_use]
    pub fn slots(&self) -> Option<Vec<String>> {
        match self.capacity {
            1 => Some(Vec::new()),
            many if many <= MAX_LISTED_SLOTS => Some((0..many).map(|index| format!("{}_{index}", self.name)).collect()),
            _ => None,
        }
    }
}

/// Checks that the names of a pool's slots are no longer than names may be.
fn slot_names(name: &str, capacity: i64) -> Result<(), String> {
    let longest = format!("{name}_{}", capacity - 1).len();
    if capacity > 1 && longest > names::MAX_NAME_BYTES {
        let most = names::MAX_NAME_BYTES;
        return Err(format!(
            "is too long for a pool of {capacity}: its last slot's name has {longest} bytes, and names have at most {most}"
        ));
    }
    Ok(())
}

fn registered_name(name: Option<String>) -> Result<String, String> {
    let name = names::addressable(names::name(name)?)?;
    if name.contains('>') {
        Err("must not contain \">\", which separates the levels of a tree".into())
    } else {
        Ok(name)
    }
}

fn ancestors(path: &str, name: &str) -> Result<Vec<String>, String> {
    let mut ancestors: Vec<String> = Vec::new();
    for segment in path.split('>') {
        let segment = names::name(Some(segment.to_owned())).and_then(names::addressable);
        let segment = segment.map_err(|fault| format!("has a level that {fault}"))?;
        if segment == name {
            return Err("names the resource itself; it lists what stands above it".into());
        }
        if ancestors.contains(&segment) {
            return Err(format!("names \"{segment}\" twice"));
        }
        ancestors.push(segment);
    }
    if ancestors.len() >= MAX_LEVELS {
        return Err(format!(
            "has {} levels with the resource's own; at most {MAX_LEVELS} are allowed",
            ancestors.len() + 1
        ));
    }
    Ok(ancestors)
}

/// Index of the slot that `name` names in `pool`: `Printer_9` is 9 in `Printer`. `None` where it names none; only canonical decimals count.
#[must_use]
pub fn slot_index(pool: &str, name: &str) -> Option<i64> {
    let digits = name.strip_prefix(pool)?.strip_prefix('_')?;
    let canonical = (1..=6).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    canonical.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str, capacity: i64, blocks: &[&str], path: Option<&str>) -> Result<Definition, Vec<String>> {
        let mut errors = FieldErrors::default();
        let blocks = blocks.iter().map(|block| (*block).to_owned()).collect();
        let definition =
            Definition::parse(&mut errors, 0, Some(name.into()), Some(capacity), Some(blocks), path.map(Into::into));
        errors.finish(|| definition).map_err(|errors| errors.into_iter().map(|error| error.path).collect())
    }

    #[test]
    fn a_path_lists_what_stands_above() {
        assert_eq!(parsed("Printers", 1, &[], Some("Equipment>IT")).unwrap().ancestors, ["Equipment", "IT"]);
        assert_eq!(parsed("Printers", 1, &[], None).unwrap().tree_path(), None);
        for bad in ["A>>B", "A>A", "Printers>A", ">A", "A>"] {
            assert_eq!(parsed("Printers", 1, &[], Some(bad)), Err(vec!["[0].treePath".into()]), "{bad}");
        }
        let deep: Vec<_> = (0..31).map(|level| format!("L{level}")).collect();
        assert!(parsed("leaf", 1, &[], Some(&deep.join(">"))).is_ok());
        assert!(parsed("leaf", 1, &[], Some(&[deep.join(">"), "L31".into()].join(">"))).is_err());
        for name in ["a>b", ".", ".."] {
            assert_eq!(parsed(name, 1, &[], None), Err(vec!["[0].name".into()]), "{name}");
        }
        assert_eq!(parsed("a", 1, &[], Some("top>..")), Err(vec!["[0].treePath".into()]));
        assert!(parsed("...", 1, &[], None).is_ok() && parsed("a/../b", 1, &[], None).is_ok());
    }

    #[test]
    fn nothing_blocks_itself() {
        assert_eq!(parsed("A", 1, &["A"], None), Err(vec!["[0].blocks[0]".into()]));
        assert_eq!(parsed("A", 3, &["A_2"], None), Err(vec!["[0].blocks[0]".into()]));
        assert!(parsed("A", 3, &["A_3"], None).is_ok());
        assert_eq!(parsed("A", 1, &["B", "B"], None).unwrap().blocks, ["B"]);
    }

    #[test]
    fn a_definition_has_no_name_and_no_text_that_is_too_long() {
        let name = |length: usize| "x".repeat(length);
        assert!(parsed(&name(1022), 10, &[], None).is_ok());
        assert_eq!(parsed(&name(1022), 11, &[], None), Err(vec!["[0].name".into()]));
        assert!(parsed(&name(1024), 1, &[], None).is_ok());
        let blocks: Vec<_> = ('a'..='g').map(|letter| letter.to_string().repeat(1000)).collect();
        let blocks: Vec<_> = blocks.iter().map(String::as_str).collect();
        let path = |last: usize| format!("{}>{}", "y".repeat(1000), name(last));
        assert!(parsed("A", 1, &blocks, Some(&path(191))).is_ok());
        assert_eq!(parsed("A", 1, &blocks, Some(&path(192))), Err(vec!["[0].blocks".into()]));
        let long = ('a'..='i').map(|letter| letter.to_string().repeat(1000)).collect::<Vec<_>>().join(">");
        assert_eq!(parsed("A", 1, &[], Some(&long)), Err(vec!["[0].treePath".into()]));
    }

    #[test]
    fn slots_have_canonical_decimals() {
        assert_eq!(slot_index("Printer", "Printer_9"), Some(9));
        assert_eq!(slot_index("Printer", "Printer_0"), Some(0));
        for none in ["Printer_09", "Printer_", "Printer", "Printer_1x", "Printer_-1", "Printers_1"] {
            assert_eq!(slot_index("Printer", none), None, "{none}");
        }
        assert_eq!(parsed("P", 2, &[], None).unwrap().slots().unwrap(), ["P_0", "P_1"]);
        assert_eq!(parsed("P", 1001, &[], None).unwrap().slots(), None);
    }
}
