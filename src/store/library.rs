//! The library of functions, put together from the parts in `lua/`.
//!
//! A part is a file; a group is a list of parts that work together. The names that parts give to others are locals in front of the group, and each
//! part stands in a block of its own behind them. A group's functions are made by its first call, so that they cost nothing per call, and
//! loading costs Redis only the parsing.

use std::{fmt::Write, sync::LazyLock};

use crate::{
    domain::names::TenantId,
    redis::{Address, FunctionLibrary},
    store::{
        keys::{KeyKind, Namespace},
        tenants::handle::TenantHandle,
    },
};

/// Length of the version in the names of library and functions: hexadecimal digits of the SHA-1 of the text.
const VERSION_DIGITS: usize = 8;
/// Prefix of the library's name.
pub(super) const LIBRARY_PREFIX: &str = "holdfast_";

/// What the probe of the library does: it names what the user may not do.
const RIGHTS: &str = include_str!("rights.lua");
/// Flags of the probe: it runs on a full server, too.
const PROBE_FLAGS: &str = "'no-writes', 'allow-oom'";

/// A file of `lua/`.
struct Part {
    name: &'static str,
    text: &'static str,
}

impl Part {
    /// The function that it is, and its flags.
    fn function(&self) -> Option<(&'static str, Vec<&'static str>)> {
        Some((header(self.text, "function").next()?, header(self.text, "flags").collect()))
    }

    /// Its text as a block.
    fn block(&self) -> String {
        let Self { name, text } = self;
        match self.function() {
            Some((function, _)) => {
                format!("do -- {name}\nlocal {function}\n{text}functions.{function} = {function}\nend\n")
            }
            None => format!("do -- {name}\n{text}end\n"),
        }
    }
}

macro_rules! parts {
    ($($name:literal)*) => {
        &[$(Part { name: $name, text: include_str!(concat!("../../lua/", $name, ".lua")) }),*]
    };
}

/// Parts that every group has.
const CORE: &[Part] = parts! {
    "core/words" "core/budget" "core/caller" "core/open" "core/limit" "core/history" "core/events" "core/pages"
};

/// Parts that plan a change of reservations.
const PLAN: &[Part] = parts! {
    "reservations/stage" "reservations/reservation" "reservations/definitions" "reservations/pools" "reservations/tree" "reservations/take"
    "reservations/release" "reservations/runs" "reservations/lapse" "reservations/settle" "reservations/begin" "reservations/items" "reservations/calls"
    "reservations/groups" "waiting/lines" "waiting/tickets" "waiting/hand_over" "waiting/wait"
};

const RESERVATIONS: &[Part] = parts! {
    "reservations/straight" "reservations/straight_groups" "reservations/reserve" "reservations/unreserve"
    "reservations/renew" "reservations/shared" "reservations/transactions" "reservations/expire" "reservations/force_release"
    "reservations/reset" "waiting/ticket_read" "waiting/ticket_cancel" "waiting/ticket_touch"
};

const RESOURCES: &[Part] = parts! {
    "resources/drafts" "resources/bitmap" "resources/layout" "resources/pages" "resources/availability" "resources/register"
    "resources/resource_delete" "resources/resource_list" "resources/resource_read" "resources/check" "resources/list"
    "resources/verify_fence" "resources/position" "waiting/waiting_list"
};

/// What the event streams of a tenant need, and what counts them.
const STREAMS: &[Part] = parts! {
    "events/stream_slots"
};

const EVENTS: &[Part] = parts! {
    "events/publish" "events/company_put" "events/company_read" "events/company_delete" "events/heads" "events/replay"
    "events/stream_enter"
};

const TENANTS: &[Part] = parts! {
    "tenants/sessions" "tenants/tenant_create" "tenants/tenant_read" "tenants/tenant_update" "tenants/tenant_delete"
    "tenants/key_create" "tenants/key_delete" "tenants/key_list" "tenants/key_rotate" "tenants/key_used" "tenants/session_create"
    "tenants/session_end" "tenants/issuer_claim" "tenants/issuer_drop" "tenants/usage" "tenants/stored_bytes" "tenants/replica_beat"
};

const QUEUES: &[Part] = parts! {
    "queues/monitor" "queues/values" "queues/fold" "queues/retention" "queues/counters" "queues/details" "queues/jobs" "queues/workers"
    "queues/queue_rows" "queues/observe" "queues/queue_upkeep" "queues/connection_create" "queues/connection_list"
    "queues/connection_delete" "queues/connection_forget" "queues/job_list" "queues/job_read" "queues/worker_list" "queues/queue_list"
    "queues/counts_read" "queues/watch_look" "queues/watch_take" "queues/watch_keep"
};

/// Parts that are made together, by the first call of one of their functions.
struct Group {
    name: &'static str,
    /// Parts that all of the group's functions work with.
    common: &'static [&'static [Part]],
    /// Functions, and parts of their own.
    own: &'static [&'static [Part]],
}

/// As few groups as Lua's 200 locals of a function allow: each has a copy of its common parts, and what stands in Redis twice its collector goes
/// through twice. The order of parts does not matter.
const GROUPS: &[Group] = &[
    Group { name: "reservations", common: &[CORE, PLAN], own: &[RESERVATIONS, RESOURCES] },
    Group { name: "tenants", common: &[CORE, STREAMS], own: &[EVENTS, TENANTS] },
    Group { name: "queues", common: &[CORE], own: &[QUEUES] },
];

impl Group {
    fn parts(&self) -> impl Iterator<Item = &'static Part> {
        self.common.iter().chain(self.own).copied().flatten()
    }

    /// The function that makes the group's functions, and the variable that keeps them.
    fn maker(&self) -> String {
        let Self { name, .. } = self;
        format!("local function make_{name}()\n{}return functions\nend\nlocal {name}\n", body(self.parts()))
    }
}

/// The library as it is loaded.
pub(super) static LIBRARY: LazyLock<Library> = LazyLock::new(Library::compose);

/// The library of functions, as it is loaded.
#[must_use]
pub fn function_library() -> &'static FunctionLibrary {
    &LIBRARY.loaded
}

/// The library: its version, and its text.
#[derive(Debug)]
pub(super) struct Library {
    /// The first digits of the SHA-1 of the text that does not depend on the version.
    pub(super) version: String,
    /// Name and text, as Redis loads them.
    pub(super) loaded: FunctionLibrary,
}

impl Library {
    fn compose() -> Self {
        let bodies: String = GROUPS.iter().map(Group::maker).collect();
        let probe = |version: &str| format!("hf_{version}_probe");
        let registrations = |version: &str| {
            let mut text = format!(
                "{RIGHTS}redis.register_function{{ function_name = '{}', flags = {{ {PROBE_FLAGS} }}, callback = function(_, args)\n  return rights(args)\nend }}\n",
                probe(version)
            );
            for group in GROUPS {
                let name = group.name;
                for (function, flags) in group.parts().filter_map(Part::function) {
                    let flags: String = flags.iter().map(|flag| format!("'{flag}', ")).collect();
                    // Writing to a string cannot fail.
                    let _ = write!(
                        text,
                        "redis.register_function{{ function_name = 'hf_{version}_{function}', flags = {{ {flags}}}, callback = function(keys, args)\n  \
                         {name} = {name} or make_{name}()\n  return {name}.{function}(keys, args)\nend }}\n"
                    );
                }
            }
            text
        };
        let unversioned = bodies.clone() + &registrations("");
        let version = redis::Script::new(&unversioned).get_hash()[..VERSION_DIGITS].to_owned();
        let name = format!("{LIBRARY_PREFIX}{version}");
        let text = format!("#!lua name={name}\n{bodies}{}", registrations(&version));
        let probe = probe(&version);
        let probe_script =
            format!("#!lua flags={}\n{RIGHTS}return rights(ARGV)\n", PROBE_FLAGS.replace(['\'', ' '], ""));
        Self { version, loaded: FunctionLibrary { name, text, probe, probe_script } }
    }

    /// The name by which `FCALL` calls a function.
    pub(super) fn function_name(&self, function: &str) -> String {
        format!("hf_{}_{function}", self.version)
    }
}

/// The arguments of the library's probe: what `rights.lua` needs to know of this installation.
pub(super) fn probe_arguments(namespace: &Namespace, address: &Address) -> Vec<String> {
    let handle = TenantHandle::within(namespace, TenantId::default_tenant());
    let key = handle.key(KeyKind::Meta).to_string();
    let commands = [address.publish_command(), address.subscribe_command()].map(str::to_owned);
    [namespace.pattern(), key, handle.channel()].into_iter().chain(commands).collect()
}

/// A function as a script, for servers or users without functions: the same parts, made anew by each call. `None`: no part is this function.
pub(super) fn script(function: &str) -> Option<String> {
    let is_it = |part: &Part| part.function().is_some_and(|(name, _)| name == function);
    let (group, own) = GROUPS
        .iter()
        .flat_map(|group| group.own.iter().map(move |own| (group, *own)))
        .find(|(_, own)| own.iter().any(is_it))?;
    let (_, flags) = own.iter().find(|part| is_it(part))?.function()?;
    let flags = if flags.is_empty() { String::new() } else { format!(" flags={}", flags.join(",")) };
    let body = body(group.common.iter().copied().flatten().chain(own));
    Some(format!("#!lua{flags}\n{body}return functions.{function}(KEYS, ARGV)\n"))
}

/// The text of parts that work together: the given names as locals, then each part in a block of its own. `functions` has their functions.
fn body(parts: impl Iterator<Item = &'static Part>) -> String {
    let parts: Vec<_> = parts.collect();
    let names: Vec<_> = parts.iter().flat_map(|part| header(part.text, "gives")).collect();
    let blocks: String = parts.iter().map(|part| part.block()).collect();
    format!("local functions = {{}}\nlocal {}\n{blocks}", names.join(", "))
}

/// The values of a line of a part's header: `-- gives  a, b`.
fn header(text: &'static str, key: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines()
        .filter_map(move |line| line.strip_prefix("-- ")?.strip_prefix(key)?.strip_prefix("  "))
        .flat_map(|values| values.split(','))
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_group_gives_each_name_once_and_not_too_many() {
        for group in GROUPS {
            let names: Vec<_> = group.parts().flat_map(|part| header(part.text, "gives")).collect();
            let mut seen = HashSet::new();
            let name = group.name;
            assert!(names.iter().all(|name| seen.insert(name)), "{name}: a name is given twice");
            assert!(names.len() < 180, "{name}: Lua allows 200 locals in a function, and {} are given", names.len());
        }
    }

    #[test]
    fn the_version_is_in_the_name_and_changes_with_the_text() {
        let library = &*LIBRARY;
        assert_eq!(library.loaded.name, format!("holdfast_{}", library.version));
        assert!(library.loaded.text.starts_with(&format!("#!lua name={}\n", library.loaded.name)));
        assert!(library.loaded.text.contains(&library.function_name("reserve")));
    }
}
