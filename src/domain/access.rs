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
    /// Nothing.
    pub const NONE: Self = Self { read: false, write: false, admin: false };
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

    /// Those that are in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { read: self.read && other.read, write: self.write && other.write, admin: self.admin && other.admin }
    }

    /// Their names, in the order of the contract.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        [(self.read, "read"), (self.write, "write"), (self.admin, "admin")]
            .into_iter()
            .filter_map(|(has, name)| has.then_some(name))
            .collect()
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
    /// When it was last used, within a minute or so; milliseconds since the Unix epoch.
    pub used_ms: Option<i64>,
}

/// What one of our own tokens says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Whose it is.
    pub tenant: TenantId,
    /// The credential that it was had from, as a field of the tenant's state: it dies with that.
    pub credential: String,
    /// The user of the tenant's application, when an issuer vouched for one.
    pub end_user: Option<String>,
    pub scopes: Scopes,
    /// Milliseconds since the Unix epoch, on Redis' clock.
    pub ends_ms: i64,
}

/// An issuer of tokens that a tenant trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// New with every registration, so that what came from the one before is refused.
    pub id: String,
    /// `jwks`, `publicKeyPem` or `hs256Secret`.
    pub kind: String,
    /// What its tokens must say in `iss`.
    pub issuer: Option<String>,
    /// What its tokens must say in `aud`.
    pub audience: Option<String>,
    /// Its keys, encrypted.
    pub sealed: String,
}

impl Issuer {
    /// What the tenant can be found by; `None` when it must be named.
    #[must_use]
    pub fn pair(&self) -> Option<(&str, &str)> {
        self.issuer.as_deref().zip(self.audience.as_deref())
    }
}
