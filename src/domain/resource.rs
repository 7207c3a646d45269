//! Registered resources: pools, what takes what along, and places in the tree.

use crate::domain::{fault::FieldErrors, names};

/// The largest pool.
pub const CAPACITY_MAX: i64 = 100_000;
/// The most that one resource takes along.
pub const BLOCKS_MAX: usize = 64;
/// The most levels of a tree, the resource's own included.
pub const LEVELS_MAX: usize = 32;
/// Slots are listed by name up to this capacity.
const SLOTS_LISTED: i64 = 1_000;

/// What is registered under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// How many can have it at once; more than one makes it a pool.
    pub capacity: i64,
    /// What is taken along with it.
    pub blocks: Vec<String>,
    /// Above it in the tree, from the root on.
    pub ancestors: Vec<String>,
}

impl Definition {
    /// Reads one as a client gives it.
    pub fn parse(
        faults: &mut FieldErrors,
        at: usize,
        name: Option<String>,
        capacity: Option<i64>,
        blocks: Option<Vec<String>>,
        path: Option<String>,
    ) -> Option<Self> {
        let name = faults.keep(|| format!("[{at}].name"), registered_name(name));
        let capacity = capacity.unwrap_or(1);
        if !(1..=CAPACITY_MAX).contains(&capacity) {
            faults.add(format!("[{at}].capacity"), format!("is {capacity}; it must be from 1 to {CAPACITY_MAX}"));
        }
        let mut distinct: Vec<String> = Vec::new();
        let blocks = blocks.unwrap_or_default();
        if blocks.len() > BLOCKS_MAX {
            faults
                .add(format!("[{at}].blocks"), format!("has {} names; at most {BLOCKS_MAX} are allowed", blocks.len()));
        }
        for (n, block) in blocks.into_iter().enumerate() {
            let block = faults.keep(|| format!("[{at}].blocks[{n}]"), names::name(Some(block)))?;
            if name.as_ref().is_some_and(|name| {
                *name == block || (capacity > 1 && slot_index(name, &block).is_some_and(|index| index < capacity))
            }) {
                faults.add(format!("[{at}].blocks[{n}]"), "is the resource itself; a resource cannot block itself");
            }
            if !distinct.contains(&block) {
                distinct.push(block);
            }
        }
        let ancestors = match (path.filter(|path| !path.is_empty()), &name) {
            (Some(path), Some(name)) => faults.keep(|| format!("[{at}].treePath"), ancestors(&path, name))?,
            _ => Vec::new(),
        };
        Some(Self { name: name?, capacity, blocks: distinct, ancestors })
    }

    /// Where it stands: `Equipment>IT`; `None` for what stands alone or at a root.
    #[must_use]
    pub fn tree_path(&self) -> Option<String> {
        (!self.ancestors.is_empty()).then(|| self.ancestors.join(">"))
    }

    /// The names of its slots; `None` where there are too many to list, none where it is no pool.
    #[must_use]
    pub fn slots(&self) -> Option<Vec<String>> {
        match self.capacity {
            1 => Some(Vec::new()),
            many if many <= SLOTS_LISTED => Some((0..many).map(|index| format!("{}_{index}", self.name)).collect()),
            _ => None,
        }
    }
}

fn registered_name(name: Option<String>) -> Result<String, String> {
    let name = names::name(name)?;
    if name.contains('>') {
        Err("must not contain \">\", which separates the levels of a tree".into())
    } else {
        Ok(name)
    }
}

fn ancestors(path: &str, name: &str) -> Result<Vec<String>, String> {
    let mut ancestors: Vec<String> = Vec::new();
    for segment in path.split('>') {
        let segment = names::name(Some(segment.to_owned())).map_err(|fault| format!("has a level that {fault}"))?;
        if segment == name {
            return Err("names the resource itself; it lists what stands above it".into());
        }
        if ancestors.contains(&segment) {
            return Err(format!("names \"{segment}\" twice"));
        }
        ancestors.push(segment);
    }
    if ancestors.len() >= LEVELS_MAX {
        return Err(format!(
            "has {} levels with the resource's own; at most {LEVELS_MAX} are allowed",
            ancestors.len() + 1
        ));
    }
    Ok(ancestors)
}

/// The index that `name` has as a slot of `pool`: canonical decimals only.
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
        let mut faults = FieldErrors::default();
        let blocks = blocks.iter().map(|block| (*block).to_owned()).collect();
        let definition =
            Definition::parse(&mut faults, 0, Some(name.into()), Some(capacity), Some(blocks), path.map(Into::into));
        faults.or(definition).map(Option::unwrap).map_err(|faults| faults.into_iter().map(|fault| fault.path).collect())
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
        assert_eq!(parsed("a>b", 1, &[], None), Err(vec!["[0].name".into()]));
    }

    #[test]
    fn nothing_blocks_itself() {
        assert_eq!(parsed("A", 1, &["A"], None), Err(vec!["[0].blocks[0]".into()]));
        assert_eq!(parsed("A", 3, &["A_2"], None), Err(vec!["[0].blocks[0]".into()]));
        assert!(parsed("A", 3, &["A_3"], None).is_ok());
        assert_eq!(parsed("A", 1, &["B", "B"], None).unwrap().blocks, ["B"]);
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
