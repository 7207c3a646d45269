//! What a tenant's tier allows.

use serde::{Deserialize, Serialize};

/// The four tiers, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tier {
    Free,
    Starter,
    Pro,
    Enterprise,
}

impl Tier {
    /// All tiers, from the least to the most.
    pub const ALL: [Self; 4] = [Self::Free, Self::Starter, Self::Pro, Self::Enterprise];

    /// The name as the API spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "Free",
            Self::Starter => "Starter",
            Self::Pro => "Pro",
            Self::Enterprise => "Enterprise",
        }
    }

    /// The tier of that name, in any case.
    ///
    /// # Errors
    /// A sentence that lists the tiers there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|tier| tier.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("\"{text}\" is no tier; the tiers are Free, Starter, Pro and Enterprise"))
    }

    /// What the tier allows by default.
    #[must_use]
    pub fn limits(self) -> Limits {
        match self {
            Self::Free => Limits { held: Some(50), streams: Some(1), keys: Some(1), companies: Some(10), resources: Some(100), history: 1_000 },
            Self::Starter => Limits { held: Some(500), streams: Some(5), keys: Some(10), companies: Some(100), resources: Some(1_000), history: 10_000 },
            Self::Pro => Limits { held: Some(10_000), streams: Some(20), keys: Some(100), companies: Some(10_000), resources: Some(100_000), history: 100_000 },
            Self::Enterprise => Limits { held: None, streams: None, keys: None, companies: None, resources: None, history: 1_000_000 },
        }
    }
}

/// The numbers of one tier. `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Physical resources held at once.
    pub held: Option<u64>,
    /// Event streams open at once that were opened with a key or a token.
    pub streams: Option<u64>,
    /// API keys.
    pub keys: Option<u64>,
    /// Registered resources; a pool of N counts as N.
    pub resources: Option<u64>,
    /// Registered companies.
    pub companies: Option<u64>,
    /// Events kept for those who resume, and never longer than an hour.
    pub history: u64,
}
