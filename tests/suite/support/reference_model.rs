//! The reference model of reservations: every rule by brute force, nothing indexed, nothing clever.
//!
//! Property tests apply each call to the model and to the service, at the instant by Redis' clock at which the service decided, and compare.

use std::collections::{BTreeMap, BTreeSet};

/// A registered resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    pub capacity: i64,
    pub blocks: Vec<String>,
    pub ancestors: Vec<String>,
}

/// The reservation of a physical resource, as against its being held as a blocker.
#[derive(Debug, Clone, PartialEq)]
pub struct Own {
    pub token: String,
    pub fence: i64,
    pub deadline_ms: Option<i64>,
    pub blockers: Vec<String>,
}

/// A held physical resource: by a reservation of its own, as a blocker of others, or both.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    pub requester: String,
    pub own: Option<Own>,
    /// The resources that it is a blocker of.
    pub users: BTreeSet<String>,
    /// Reserved through the pool's name.
    pub via_pool: bool,
    /// A slot of a pool: reserved as one, or held already when the pool was registered or grew.
    pub slot: bool,
    pub path: Option<String>,
}

/// One tenant's reservations and definitions.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub held: BTreeMap<String, Hold>,
    pub definitions: BTreeMap<String, Definition>,
}

/// What a reserve is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct TakeOutcome {
    pub status: &'static str,
    pub physical: Option<String>,
}

/// A reserve.
pub struct Ask<'a> {
    pub requester: &'a str,
    pub resource: &'a str,
    pub ttl_ms: Option<i64>,
}

/// A name that has the form of a slot's, `<pool>_<index>`: the pool's name and the index.
pub fn as_slot(name: &str) -> Option<(&str, i64)> {
    let (base, digits) = name.rsplit_once('_')?;
    let canonical = !base.is_empty()
        && (1..=6).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    canonical.then(|| (base, digits.parse().unwrap()))
}

impl Model {
    /// The definition that applies to a name, with the name that it stands under; for a slot the pool's, and the slot's index.
    pub fn definition_of(&self, name: &str) -> Option<(String, &Definition, Option<i64>)> {
        if let Some(definition) = self.definitions.get(name) {
            return Some((name.into(), definition, None));
        }
        let (base, index) = as_slot(name)?;
        let pool = self.definitions.get(base).filter(|pool| pool.capacity > 1)?;
        Some((base.into(), pool, Some(index)))
    }

    /// Ends every reservation whose deadline has passed.
    pub fn lapse(&mut self, now_us: i64) {
        let lapsed = |hold: &Hold| {
            hold.own.as_ref().and_then(|own| own.deadline_ms).is_some_and(|deadline| deadline * 1000 <= now_us)
        };
        while let Some(name) = self.held.iter().find(|(_, hold)| lapsed(hold)).map(|(name, _)| name.clone()) {
            self.end(&name);
        }
    }

    /// Whether the tree refuses a node to a requester: somebody else holds a node above or below it.
    fn refused_by_tree(&self, name: &str, definition: &Definition, requester: Option<&str>) -> bool {
        self.held.iter().any(|(held, hold)| {
            let Some((node, other, index)) = self.definition_of(held) else { return false };
            if index.is_some() && !hold.slot {
                return false;
            }
            Some(hold.requester.as_str()) != requester
                && (definition.ancestors.contains(&node) || other.ancestors.iter().any(|ancestor| ancestor == name))
        })
    }

    fn lowest_free(&self, pool: &str, capacity: i64) -> Option<String> {
        (0..capacity).map(|index| format!("{pool}_{index}")).find(|slot| !self.held.contains_key(slot))
    }

    /// The physical resource that a requester would get by a name, and whether it is new; or the status of the refusal.
    fn choose(&self, requester: &str, name: &str) -> Result<(String, bool), &'static str> {
        if let Some(hold) = self.held.get(name) {
            return if hold.requester == requester { Ok((name.into(), false)) } else { Err("ALREADY_HELD") };
        }
        let Some((node, definition, index)) = self.definition_of(name) else { return Ok((name.into(), true)) };
        let mut physical = name.to_owned();
        if definition.capacity > 1 && index.is_none() {
            let mine = self.held.iter().find(|(held, hold)| {
                hold.via_pool && hold.requester == requester && as_slot(held).is_some_and(|(base, _)| base == name)
            });
            if let Some((mine, _)) = mine {
                return Ok((mine.clone(), false));
            }
            physical = self.lowest_free(name, definition.capacity).ok_or("NOT_AVAILABLE")?;
        } else if index.is_some_and(|index| index >= definition.capacity) {
            return Err("NOT_VALID");
        }
        if self.refused_by_tree(&node, definition, Some(requester)) {
            Err("ALREADY_HELD")
        } else {
            Ok((physical, true))
        }
    }

    fn occupy(&mut self, requester: &str, named: &str, physical: &str) {
        let found = self.definition_of(physical);
        let slot = found.as_ref().is_some_and(|(_, _, index)| index.is_some());
        let via_pool = found.as_ref().is_some_and(|(pool, _, index)| index.is_some() && pool == named);
        let path = found
            .filter(|(_, definition, _)| !definition.ancestors.is_empty())
            .map(|(_, definition, _)| format!("{}>{physical}", definition.ancestors.join(">")));
        self.held.insert(
            physical.into(),
            Hold { requester: requester.into(), own: None, users: BTreeSet::new(), via_pool, slot, path },
        );
    }

    pub fn take(&mut self, ask: &Ask<'_>, now_us: i64) -> TakeOutcome {
        let before = self.clone();
        let refused = |status| TakeOutcome { status, physical: None };
        let (physical, new) = match self.choose(ask.requester, ask.resource) {
            Ok(chosen) => chosen,
            Err(status) => return refused(status),
        };
        if self.held.get(&physical).is_some_and(|hold| hold.own.is_some()) {
            return TakeOutcome { status: "ALREADY_HAD", physical: Some(physical) };
        }
        if new {
            self.occupy(ask.requester, ask.resource, &physical);
        }
        let mut blockers = Vec::new();
        for block in
            self.definition_of(&physical).map(|(_, definition, _)| definition.blocks.clone()).unwrap_or_default()
        {
            match self.choose(ask.requester, &block) {
                Err(status) => {
                    *self = before;
                    return refused(status);
                }
                Ok((blocker, _)) if blocker == physical => {}
                Ok((blocker, new)) => {
                    if new {
                        self.occupy(ask.requester, &block, &blocker);
                    }
                    self.held.get_mut(&blocker).unwrap().users.insert(physical.clone());
                    blockers.push(blocker);
                }
            }
        }
        let deadline_ms = ask.ttl_ms.map(|ttl| (now_us + 999) / 1000 + ttl);
        self.held.get_mut(&physical).unwrap().own = Some(Own { token: String::new(), fence: 0, deadline_ms, blockers });
        TakeOutcome { status: "ACQUIRED", physical: Some(physical) }
    }

    /// Ends a reservation; returns what became free.
    pub fn end(&mut self, name: &str) -> Vec<String> {
        let own = self.held.get_mut(name).unwrap().own.take().unwrap();
        for blocker in &own.blockers {
            self.held.get_mut(blocker).unwrap().users.remove(name);
        }
        let free: Vec<_> = self
            .held
            .iter()
            .filter(|(_, hold)| hold.own.is_none() && hold.users.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        self.held.retain(|name, _| !free.contains(name));
        free
    }

    /// The physical resource that a requester proves to hold by a name and a token, or the status of the refusal.
    pub fn claim(&self, requester: &str, name: &str, token: &str) -> Result<String, &'static str> {
        if let Some(hold) = self.held.get(name) {
            return match &hold.own {
                _ if hold.requester != requester => Err("DOESNT_OWN_RESERVATION"),
                Some(own) if own.token == token => Ok(name.into()),
                _ => Err("INVALID_RELEASE_TOKEN"),
            };
        }
        if self.definitions.get(name).is_some_and(|definition| definition.capacity > 1) {
            let slots: Vec<_> = self
                .held
                .iter()
                .filter(|(held, hold)| hold.slot && as_slot(held).is_some_and(|(base, _)| base == name))
                .collect();
            let mine = slots.iter().find(|(_, hold)| {
                hold.requester == requester && hold.own.as_ref().is_some_and(|own| own.token == token)
            });
            if let Some((slot, _)) = mine {
                return Ok((*slot).clone());
            }
            if slots.iter().any(|(_, hold)| hold.requester == requester && hold.via_pool) {
                return Err("INVALID_RELEASE_TOKEN");
            }
        }
        Err("NOT_RESERVED")
    }

    /// Whether a requester has a reservation by this name.
    pub fn has(&self, requester: &str, name: &str) -> bool {
        let own =
            |held: &str| self.held.get(held).is_some_and(|hold| hold.requester == requester && hold.own.is_some());
        if self.held.contains_key(name) {
            return own(name);
        }
        let pool = self.definitions.get(name).is_some_and(|definition| definition.capacity > 1);
        pool && self
            .held
            .iter()
            .any(|(held, hold)| hold.via_pool && as_slot(held).is_some_and(|(base, _)| base == name) && own(held))
    }

    /// Ends whatever is held under a name, of a pool every slot, and what it is a blocker of.
    pub fn force_release(&mut self, name: &str) {
        let mut named = vec![name.to_owned()];
        if self.definitions.get(name).is_some_and(|definition| definition.capacity > 1) {
            named.extend(
                self.held
                    .iter()
                    .filter(|(held, hold)| hold.slot && as_slot(held).is_some_and(|(base, _)| base == name))
                    .map(|(held, _)| held.clone()),
            );
        }
        let users: Vec<_> =
            named.iter().filter_map(|name| self.held.get(name)).flat_map(|hold| hold.users.clone()).collect();
        for name in named.into_iter().chain(users) {
            if self.held.get(&name).is_some_and(|hold| hold.own.is_some()) {
                self.end(&name);
            }
        }
    }

    /// The deadline after which a held resource is free, including its use as a blocker; `None`: none.
    pub fn ends(&self, name: &str) -> Option<i64> {
        let hold = &self.held[name];
        let own = hold.own.iter().map(|own| own.deadline_ms);
        let users = hold.users.iter().map(|user| self.held[user].own.as_ref().unwrap().deadline_ms);
        own.chain(users).map(|deadline| deadline.unwrap_or(i64::MAX)).max().filter(|latest| *latest < i64::MAX)
    }

    /// How many of a name are free, and whether a new requester could reserve it.
    pub fn availability(&self, name: &str) -> (i64, bool) {
        let Some((node, definition, index)) = self.definition_of(name) else {
            let free = !self.held.contains_key(name);
            return (i64::from(free), free);
        };
        let free = if definition.capacity > 1 && index.is_none() {
            (0..definition.capacity).filter(|index| !self.held.contains_key(&format!("{name}_{index}"))).count() as i64
        } else {
            i64::from(!self.held.contains_key(name) && index.is_none_or(|index| index < definition.capacity))
        };
        let blockers_free = definition.blocks.iter().all(|block| self.choose("a stranger", block).is_ok());
        (free, free > 0 && !self.refused_by_tree(&node, definition, None) && blockers_free)
    }

    fn below(&self, name: &str) -> Vec<String> {
        self.definitions
            .iter()
            .filter(|(_, definition)| definition.ancestors.iter().any(|ancestor| ancestor == name))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn is_held(&self, name: &str) -> bool {
        self.held
            .iter()
            .any(|(held, hold)| held == name || (hold.slot && as_slot(held).is_some_and(|(base, _)| base == name)))
    }

    fn register_one(&mut self, name: &str, wanted: Definition) -> Result<(), ()> {
        let before = self.definitions.get(name).cloned();
        if before.as_ref() == Some(&wanted) {
            return Ok(());
        }
        if as_slot(name).is_some_and(|(base, _)| self.definitions.get(base).is_some_and(|pool| pool.capacity > 1)) {
            return Err(());
        }
        if wanted.capacity > 1
            && self.definitions.keys().any(|other| as_slot(other).is_some_and(|(base, _)| base == name))
        {
            return Err(());
        }
        let moves = before.as_ref().map_or(!wanted.ancestors.is_empty(), |before| before.ancestors != wanted.ancestors);
        if moves {
            if self.is_held(name) || self.below(name).iter().any(|below| self.is_held(below)) {
                return Err(());
            }
            for below in self.below(name) {
                let definition = self.definitions.get_mut(&below).unwrap();
                let at = definition.ancestors.iter().position(|ancestor| ancestor == name).unwrap();
                definition.ancestors =
                    wanted.ancestors.iter().cloned().chain(definition.ancestors[at..].iter().cloned()).collect();
            }
        }
        let was_pool = before.as_ref().is_some_and(|before| before.capacity > 1);
        if was_pool != (wanted.capacity > 1) && if was_pool { self.is_held(name) } else { self.held.contains_key(name) }
        {
            return Err(());
        }
        for (held, hold) in &mut self.held {
            if as_slot(held).is_some_and(|(base, index)| base == name && wanted.capacity > 1 && index < wanted.capacity)
                && !hold.slot
            {
                let path = || format!("{}>{held}", wanted.ancestors.join(">"));
                (hold.slot, hold.path) = (true, (!wanted.ancestors.is_empty()).then(path));
            }
        }
        self.definitions.insert(name.into(), wanted);
        Ok(())
    }

    /// Registers a name and its ancestors; `false` on a conflict, and then nothing changes.
    pub fn register(&mut self, name: &str, wanted: &Definition) -> bool {
        let before = self.clone();
        for (depth, ancestor) in wanted.ancestors.iter().enumerate() {
            let above = wanted.ancestors[..depth].to_vec();
            let fits = match self.definitions.get(ancestor) {
                Some(known) => known.ancestors == above,
                None => self
                    .register_one(ancestor, Definition { capacity: 1, blocks: Vec::new(), ancestors: above })
                    .is_ok(),
            };
            if !fits {
                *self = before;
                return false;
            }
        }
        let done = self.register_one(name, wanted.clone()).is_ok();
        if !done {
            *self = before;
        }
        done
    }

    /// Deletes a definition; returns the status: 204, 404 or 409.
    pub fn delete(&mut self, name: &str) -> u16 {
        if !self.definitions.contains_key(name) {
            return 404;
        }
        let needed = self.is_held(name)
            || self.definitions.values().any(|other| {
                other.ancestors.last().is_some_and(|parent| parent == name)
                    || other.blocks.iter().any(|block| block == name)
            });
        if needed {
            return 409;
        }
        self.definitions.remove(name);
        204
    }
}
