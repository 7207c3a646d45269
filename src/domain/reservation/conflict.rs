//! Conflicts: why a resource cannot be had, and the sentence that says so.

use crate::domain::{
    closed_set::closed_set,
    reservation::{Checked, outcome::ReserveStatus},
    time::{instant, iso},
};

closed_set! {
    /// Relation of a held resource to the one that was asked for.
    pub enum Relation as "ConflictRelation" {
        /// It is the resource itself.
        Itself = "resource",
        /// It is taken along with the resource.
        Blocker = "blocker",
        /// It stands above the resource in the tree.
        Ancestor = "ancestor",
        /// It stands below the resource in the tree.
        Descendant = "descendant",
    }
}

/// Holder of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The requester that holds it.
    pub requester: String,
    /// Until when, in milliseconds since the Unix epoch; `None`: until it is released.
    pub until_ms: Option<i64>,
    /// What the holder says about it.
    pub note: Option<String>,
}

impl Holder {
    /// Why `resource` is not for `requester` to release or renew, and what to do about it.
    #[must_use]
    pub fn explain_to(&self, requester: &str, resource: &str) -> String {
        let (what, _) = self.explain_as(&format!("\"{resource}\""));
        format!(
            "{what}, not by \"{requester}\"; send the requester that reserved it. If that is you, your reservation has ended."
        )
    }

    /// Who holds `what`, and what to do about it.
    fn explain_as(&self, what: &str) -> (String, String) {
        let note = self.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        let holder = format!("\"{}\"{note}", self.requester);
        match self.until_ms.map(|ms| iso(instant(ms))) {
            Some(until) => (
                format!("{what} is held by {holder} until {until}"),
                "try again then, or wait for it with waitSeconds".into(),
            ),
            None => {
                (format!("{what} is held by {holder} without an end"), "wait for its release with waitSeconds".into())
            }
        }
    }
}

/// Why a reserve was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// Something that the reservation needs is held.
    Held {
        /// Relation to the resource that was asked for.
        relation: Relation,
        /// Its name.
        resource: String,
        /// The holder.
        holder: Holder,
        /// How many wait for it.
        ahead: i64,
    },
    /// Every slot of a pool is held: of the pool that was asked for, or of one that is taken along.
    PoolFull {
        /// The pool's name.
        pool: String,
        /// When the first slot becomes free, in milliseconds since the Unix epoch; `None`: when one is released.
        free_ms: Option<i64>,
        /// How many wait for one.
        ahead: i64,
    },
    /// The name needs registration and has none.
    Unregistered {
        /// The name.
        resource: String,
    },
    /// It is free, and kept for those who wait and come first.
    Kept {
        /// The name.
        resource: String,
        /// For how many.
        ahead: i64,
    },
    /// The name spells the path of a registered resource.
    Path {
        /// That resource's name.
        resource: String,
    },
    /// More slots are wanted than the pool has, or several of what is no pool.
    Quantity {
        /// The name.
        resource: String,
    },
}

impl Conflict {
    /// Reads a conflict from the four values with which functions describe it: kind, name, holder (empty where there is none), end.
    /// `None` where they make no conflict.
    #[must_use]
    pub fn of_parts(kind: &str, resource: String, holder: String, until_ms: Option<i64>) -> Option<Self> {
        use crate::domain::closed_set::ClosedSet;
        Some(match kind {
            "registration" => Self::Unregistered { resource },
            "path" => Self::Path { resource },
            "kept" => Self::Kept { resource, ahead: until_ms.unwrap_or(1) },
            "quantity" => Self::Quantity { resource },
            _ if holder.is_empty() => Self::PoolFull { pool: resource, free_ms: until_ms, ahead: 0 },
            _ => Self::Held {
                relation: Relation::of_name(kind)?,
                resource,
                holder: Holder { requester: holder, until_ms, note: None },
                ahead: 0,
            },
        })
    }

    /// The same by now for `asker`, who wants so many slots where it is a pool, as a look at the thing that is in the way shows it. Of a tree or
    /// a blocker that is free by now, or the asker's own, it stays as it was.
    #[must_use]
    pub fn now(self, seen: Checked, asker: &str, slots: i64) -> Self {
        let Checked { holder, deadline_ms, note, waiting, .. } = seen;
        let kept_for = (waiting - 1).max(1);
        let held_by = |requester| Holder { requester, until_ms: deadline_ms, note };
        match (self, holder) {
            (Self::PoolFull { pool, ahead, .. }, _) if seen.available < slots => {
                Self::PoolFull { pool, free_ms: deadline_ms, ahead }
            }
            (Self::Kept { resource, .. }, _) if seen.capacity > 1 && seen.available < slots => {
                Self::PoolFull { pool: resource, free_ms: deadline_ms, ahead: 0 }
            }
            (Self::PoolFull { pool: resource, .. }, _) => Self::Kept { resource, ahead: kept_for },
            (Self::Held { relation, resource, ahead, .. }, Some(requester)) if requester != asker => {
                Self::Held { relation, resource, holder: held_by(requester), ahead }
            }
            (Self::Kept { resource, .. }, Some(requester)) if requester != asker => {
                Self::Held { relation: Relation::Itself, resource, holder: held_by(requester), ahead: 0 }
            }
            (Self::Held { relation: Relation::Itself, resource, .. } | Self::Kept { resource, .. }, None) => {
                Self::Kept { resource, ahead: kept_for }
            }
            (other, _) => other,
        }
    }

    /// The name of what is in the way.
    #[must_use]
    pub fn resource(&self) -> &str {
        match self {
            Self::PoolFull { pool: resource, .. }
            | Self::Held { resource, .. }
            | Self::Kept { resource, .. }
            | Self::Unregistered { resource }
            | Self::Path { resource }
            | Self::Quantity { resource } => resource,
        }
    }

    /// The same, with what the holder says about it.
    #[must_use]
    pub fn with_note(mut self, said: Option<String>) -> Self {
        if let Self::Held { holder, .. } = &mut self {
            holder.note = said;
        }
        self
    }

    /// The same, where so many wait for it already.
    #[must_use]
    pub fn behind(mut self, waiting: i64) -> Self {
        if let Self::Held { ahead, .. } | Self::PoolFull { ahead, .. } = &mut self {
            *ahead = waiting;
        }
        self
    }

    /// The status that clients read.
    #[must_use]
    pub fn status(&self) -> ReserveStatus {
        match self {
            Self::Held { .. } | Self::Kept { .. } => ReserveStatus::AlreadyHeld,
            Self::PoolFull { .. } => ReserveStatus::NotAvailable,
            Self::Unregistered { .. } | Self::Path { .. } | Self::Quantity { .. } => ReserveStatus::NotValid,
        }
    }

    /// The holder of what is in the way; `None` where no single one can be named.
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            Self::Held { holder, .. } => Some(holder),
            Self::PoolFull { .. }
            | Self::Kept { .. }
            | Self::Unregistered { .. }
            | Self::Path { .. }
            | Self::Quantity { .. } => None,
        }
    }

    /// When trying again may help, in milliseconds since the Unix epoch; `None` where no deadline says it.
    #[must_use]
    pub fn free_ms(&self) -> Option<i64> {
        match self {
            Self::Held { holder, .. } => holder.until_ms,
            Self::PoolFull { free_ms, .. } => *free_ms,
            Self::Kept { .. } | Self::Unregistered { .. } | Self::Path { .. } | Self::Quantity { .. } => None,
        }
    }

    /// A sentence: what is in the way, for somebody who waits for it.
    #[must_use]
    pub fn explain_briefly(&self) -> String {
        let (what, _) = self.what_and_advice();
        format!("{what}.")
    }

    /// What is in the way, what to do about it, and how many wait already.
    #[must_use]
    pub fn explain(&self) -> String {
        let (what, advice) = self.what_and_advice();
        let ahead = match self {
            Self::Held { ahead: 1, .. } | Self::PoolFull { ahead: 1, .. } => " 1 waits already.".into(),
            Self::Held { ahead: ahead @ 2.., .. } | Self::PoolFull { ahead: ahead @ 2.., .. } => {
                format!(" {ahead} wait already.")
            }
            _ => String::new(),
        };
        format!("{what}; {advice}.{ahead}")
    }

    /// What is in the way, and what to do about it. Names and notes may hold any character, so one text of both could not be split again.
    fn what_and_advice(&self) -> (String, String) {
        match self {
            Self::Held { relation: Relation::Itself, resource, holder, .. } => {
                holder.explain_as(&format!("\"{resource}\""))
            }
            Self::Held { relation, resource, holder, .. } => {
                holder.explain_as(&format!("The {} \"{resource}\"", relation.name()))
            }
            Self::PoolFull { pool, free_ms: Some(free_ms), .. } => {
                (format!("No slot of \"{pool}\" is free"), format!("the earliest ends at {}", iso(instant(*free_ms))))
            }
            Self::PoolFull { pool, free_ms: None, .. } => {
                (format!("No slot of \"{pool}\" is free"), "wait for a release with waitSeconds".into())
            }
            Self::Unregistered { resource } => (
                format!("\"{resource}\" is not registered, or the pool has no such slot"),
                "register it first, or mend the name".into(),
            ),
            Self::Kept { resource, ahead } => {
                let who = if *ahead == 1 { "one who waits".into() } else { format!("{ahead} who wait") };
                (
                    format!("\"{resource}\" is free, but kept for {who} for it"),
                    "wait for it, too, with waitSeconds".into(),
                )
            }
            Self::Path { resource } => (
                format!("This is the path of the registered resource \"{resource}\""),
                format!("reserve it by its name, \"{resource}\""),
            ),
            Self::Quantity { resource } => (
                format!("\"{resource}\" has fewer slots than the quantity, or is no pool"),
                "register it with the capacity you need, or ask for fewer".into(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_says_its_status_its_holder_and_what_to_do() {
        let conflict = |kind: &str, holder: &str, until_ms| {
            let conflict = Conflict::of_parts(kind, "x".into(), holder.into(), until_ms).unwrap();
            (conflict.status(), conflict.holder().is_some(), conflict.explain())
        };
        let until = Some(1_778_673_660_000);
        assert_eq!(
            conflict("resource", "w", until),
            (
                ReserveStatus::AlreadyHeld,
                true,
                "\"x\" is held by \"w\" until 2026-05-13T12:01:00.000Z; try again then, or wait for it with waitSeconds."
                    .into()
            )
        );
        let (status, has_holder, sentence) = conflict("ancestor", "w", None);
        assert_eq!((status, has_holder), (ReserveStatus::AlreadyHeld, true));
        assert!(sentence.starts_with("The ancestor \"x\" is held by \"w\" without an end;"), "{sentence}");
        for kind in ["pool", "blocker"] {
            let (status, has_holder, sentence) = conflict(kind, "", until);
            assert_eq!((status, has_holder), (ReserveStatus::NotAvailable, false));
            assert!(sentence.starts_with("No slot of \"x\" is free; the earliest ends at 2026"), "{sentence}");
        }
        assert_eq!(conflict("registration", "", None).0, ReserveStatus::NotValid);
        let kept = Conflict::Kept { resource: "x".into(), ahead: 1 };
        assert_eq!(
            kept.explain(),
            "\"x\" is free, but kept for one who waits for it; wait for it, too, with waitSeconds."
        );
        assert_eq!(Conflict::of_parts("neighbour", "x".into(), "w".into(), None), None);
    }

    #[test]
    fn who_does_not_hold_it_is_not_advised_to_wait() {
        let holder = Holder { requester: "w1".into(), until_ms: None, note: Some("posters".into()) };
        let expected = "\"x\" is held by \"w1\" (posters) without an end, not by \"w2\"; send the requester that reserved it. \
                        If that is you, your reservation has ended.";
        assert_eq!(holder.explain_to("w2", "x"), expected);
    }

    /// What a look shows of a thing that 3 wait for.
    fn seen(holder: Option<&str>, capacity: i64, available: i64) -> Checked {
        let holder = holder.map(str::to_owned);
        Checked { holder, deadline_ms: None, note: None, capacity, available, takeable: false, waiting: 3 }
    }

    #[test]
    fn what_was_in_the_way_is_looked_at_again() {
        let seen = |holder: Option<&str>| seen(holder, 1, 0);
        let held = |by: &str| Conflict::of_parts("resource", "x".into(), by.into(), None).unwrap();
        assert_eq!(held("w").now(seen(Some("v")), "me", 1), held("v"));
        let kept = held("w").now(seen(None), "me", 1);
        assert_eq!(kept, Conflict::Kept { resource: "x".into(), ahead: 2 });
        assert_eq!(kept.now(seen(Some("u")), "me", 1), held("u"));
        let ancestor = Conflict::of_parts("ancestor", "x".into(), "w".into(), None).unwrap();
        assert_eq!(ancestor.clone().now(seen(None), "me", 1), ancestor);
        // What the asker holds by now is in nobody's way but others'.
        assert_eq!(ancestor.clone().now(seen(Some("me")), "me", 1), ancestor);
    }

    #[test]
    fn a_pool_is_full_or_kept_as_its_free_slots_say() {
        let full = Conflict::of_parts("pool", "P".into(), String::new(), None).unwrap();
        let kept = Conflict::Kept { resource: "P".into(), ahead: 2 };
        for before in [&full, &kept] {
            assert_eq!(before.clone().now(seen(None, 4, 0), "me", 1), full);
            assert_eq!(before.clone().now(seen(None, 4, 1), "me", 2), full, "fewer are free than are wanted");
            assert_eq!(before.clone().now(seen(None, 4, 2), "me", 2), kept);
        }
    }

    #[test]
    fn what_is_in_the_way_is_explained_whatever_its_name_holds() {
        let conflict = Conflict::of_parts("resource", "a;b".into(), "w; x".into(), None).unwrap();
        let conflict = conflict.with_note(Some("until noon; then yours.".into()));
        let expected = "\"a;b\" is held by \"w; x\" (until noon; then yours.) without an end.";
        assert_eq!(conflict.explain_briefly(), expected);
        assert_eq!(
            conflict.behind(2).explain(),
            format!("{}; wait for its release with waitSeconds. 2 wait already.", expected.trim_end_matches('.'))
        );
    }
}
