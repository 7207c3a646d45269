//! Tenants, their credentials, and what a credential may do.

use crate::domain::{
    closed_set::{ClosedSet, closed_set},
    names::TenantId,
    tier::Tier,
};

/// Shortest secret that people choose: admin key, secret key, an issuer's shared secret. In bytes: 128 bits.
pub const MIN_SECRET_BYTES: usize = 16;
/// Credentials in a replica's cache unless a setting says otherwise.
pub const DEFAULT_KNOWN_CREDENTIALS: usize = 4_096;

closed_set! {
    /// Right of a credential.
    pub enum Scope as "Scope" {
        /// Read: GETs, check, verifyFence, streams.
        Read = "read",
        /// Reserve, release, renew, transactions, register, publish.
        Write = "write",
        /// Manage keys, companies, connections; delete resources; reset and force release.
        Admin = "admin",
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    read: bool,
    write: bool,
    admin: bool,
}

impl Scopes {
    /// Every scope: of a tenant's default key.
    pub const ALL: Self = Self { read: true, write: true, admin: true };
    /// No scope.
    pub const NONE: Self = Self { read: false, write: false, admin: false };
    /// Read and write: of a new key whose request names no scopes.
    pub const READ_WRITE: Self = Self { read: true, write: true, admin: false };

    /// Reads a list of scope names.
    ///
    /// # Errors
    /// A message that names the unknown scope, or asks for one.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut scopes = Self::NONE;
        for name in names {
            match Scope::of_name(name) {
                Some(Scope::Read) => scopes.read = true,
                Some(Scope::Write) => scopes.write = true,
                Some(Scope::Admin) => scopes.admin = true,
                None => return Err(format!("\"{name}\" is no scope; the scopes are read, write and admin")),
            }
        }
        if scopes == Self::NONE {
            return Err("names no scope; give one or more of read, write and admin".into());
        }
        Ok(scopes)
    }

    /// Whether the set has `scope`.
    #[must_use]
    pub fn allow(self, scope: Scope) -> bool {
        match scope {
            Scope::Read => self.read,
            Scope::Write => self.write,
            Scope::Admin => self.admin,
        }
    }

    /// The scopes that both sets have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { read: self.read && other.read, write: self.write && other.write, admin: self.admin && other.admin }
    }

    /// The scopes of the set, in their order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::VALUES.iter().copied().filter(move |scope| self.allow(*scope))
    }

    /// Names of the scopes, separated by commas.
    #[must_use]
    pub fn to_list(self) -> String {
        self.iter().map(Scope::name).collect::<Vec<_>>().join(",")
    }
}

/// A tenant as its administrators see it.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its id, for good.
    pub id: TenantId,
    /// Display name; need not be unique.
    pub name: String,
    /// Which limits it has.
    pub tier: Tier,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Whether only registered names can be reserved.
    pub require_registration: bool,
    /// Time to live of a reservation whose request names none, in milliseconds; `None`: it has no end.
    pub default_ttl_ms: Option<i64>,
    /// Longest time to live of a reservation, in milliseconds; `None`: there is no bound.
    pub max_ttl_ms: Option<i64>,
}

impl Tenant {
    /// Checks a time to live against the tenant's settings, in milliseconds; `None`: the request names none.
    ///
    /// # Errors
    /// A message that names the bound.
    pub fn check_ttl(&self, ttl_ms: Option<i64>) -> Result<(), String> {
        match (self.max_ttl_ms, ttl_ms.or(self.default_ttl_ms)) {
            (Some(max_ms), None) => {
                Err(format!("is missing; reservations of this tenant end within {} s", max_ms / 1_000))
            }
            (Some(max_ms), Some(ttl_ms)) if ttl_ms > max_ms => {
                Err(format!("is {}; this tenant allows at most {}", ttl_ms / 1_000, max_ms / 1_000))
            }
            _ => Ok(()),
        }
    }
}

/// Settings of a tenant that are changed; what is `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct TenantSettings {
    /// Which limits it has.
    pub tier: Option<Tier>,
    /// Whether only registered names can be reserved.
    pub require_registration: Option<bool>,
    /// Time to live of a reservation whose request names none, in milliseconds; 0: it has no end.
    pub default_ttl_ms: Option<i64>,
    /// Longest time to live of a reservation, in milliseconds; 0: there is no bound.
    pub max_ttl_ms: Option<i64>,
}

impl TenantSettings {
    /// The default and the longest time to live as they would be then, in milliseconds, where the default is longer: every reserve that
    /// relies on it would be refused.
    #[must_use]
    pub fn default_beyond_max(&self, present: Option<&Tenant>) -> Option<(i64, i64)> {
        let of_present = |ttl_ms: fn(&Tenant) -> Option<i64>| present.and_then(ttl_ms);
        let default_ms = self.default_ttl_ms.or(of_present(|tenant| tenant.default_ttl_ms)).unwrap_or(0);
        let max_ms = self.max_ttl_ms.or(of_present(|tenant| tenant.max_ttl_ms)).unwrap_or(0);
        (max_ms > 0 && default_ms > max_ms).then_some((default_ms, max_ms))
    }
}

/// An API key as it may be shown: never its text, never its hash.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Its id, which a rotation does not change.
    pub id: String,
    /// Label, shown in events.
    pub label: String,
    /// Its scopes.
    pub scopes: Scopes,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Last use, exact to about a minute, in milliseconds since the Unix epoch; `None`: not known.
    pub used_ms: Option<i64>,
}

/// Claims of a token that Holdfast signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The tenant for which it speaks.
    pub tenant: TenantId,
    /// The credential for which it was exchanged, as a field of the tenant's state: the token ends with it.
    pub credential: String,
    /// The user of the tenant's application (`sub`), where the tenant's issuer named one.
    pub end_user: Option<String>,
    /// Its scopes.
    pub scopes: Scopes,
    /// End of its life, in milliseconds since the Unix epoch on Redis' clock.
    pub ends_ms: i64,
}

closed_set! {
    /// Form of an issuer's keys.
    pub enum IssuerKind as "IssuerKind" {
        /// A JSON Web Key Set.
        Jwks = "jwks",
        /// One public key in PEM.
        PublicKeyPem = "publicKeyPem",
        /// A shared secret for HMAC with SHA-256.
        Hs256Secret = "hs256Secret",
    }
}

/// An issuer of tokens that a tenant trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// New with every registration, so that tokens exchanged under an earlier one are refused.
    pub id: String,
    /// Form of its keys.
    pub kind: IssuerKind,
    /// Value that the claim `iss` of its tokens must have; `None`: any.
    pub issuer: Option<String>,
    /// Value that the claim `aud` of its tokens must contain; `None`: any.
    pub audience: Option<String>,
    /// Its keys, encrypted by the vault.
    pub sealed: String,
}

impl Issuer {
    /// Issuer and audience, by which the tenant of a token is found; `None` where a request must name the tenant.
    #[must_use]
    pub fn pair(&self) -> Option<(&str, &str)> {
        self.issuer.as_deref().zip(self.audience.as_deref())
    }
}
