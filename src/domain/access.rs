//! Who calls, and what they may do.

use crate::domain::{names::TenantId, tier::Tier};

/// What a credential may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Look: GETs, check, verifyFence, streams.
    Read,
    /// Reserve, release, renew, publish.
    Write,
    /// Keys, resources, companies, connections, reset and force release.
    Admin,
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    read: bool,
    write: bool,
    admin: bool,
}

impl Scopes {
    /// What a tenant's default key may do: everything.
    pub const ALL: Self = Self { read: true, write: true, admin: true };
    /// What a new key may do unless it is made with others.
    pub const READ_WRITE: Self = Self { read: true, write: true, admin: false };

    /// Reads a list of scope names.
    ///
    /// # Errors
    /// A sentence that names the unknown scope, or asks for one.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut scopes = Self { read: false, write: false, admin: false };
        for name in names {
            match name {
                "read" => scopes.read = true,
                "write" => scopes.write = true,
                "admin" => scopes.admin = true,
                other => return Err(format!("\"{other}\" is no scope; the scopes are read, write and admin")),
            }
        }
        if scopes == (Self { read: false, write: false, admin: false }) {
            return Err("names no scope; give one or more of read, write and admin".into());
        }
        Ok(scopes)
    }

    /// Whether `scope` is among them.
    #[must_use]
    pub fn allow(self, scope: Scope) -> bool {
        match scope {
            Scope::Read => self.read,
            Scope::Write => self.write,
            Scope::Admin => self.admin,
        }
    }

    /// Their names, in the order of the contract.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        [(self.read, "read"), (self.write, "write"), (self.admin, "admin")].into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
    }
}

impl Scope {
    /// The name as the API spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// A tenant as its administrators see it.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    pub tier: Tier,
    /// Milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Whether only registered names can be reserved.
    pub require_registration: bool,
}

/// An API key as it may be shown: never its secret, never its hash.
#[derive(Debug, Clone)]
pub struct ApiKey {
    pub id: String,
    pub label: String,
    pub scopes: Scopes,
    /// Milliseconds since the Unix epoch.
    pub created_ms: i64,
}
