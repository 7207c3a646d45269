//! What a tenant's tier allows.

use serde::{Deserialize, Serialize};

use crate::domain::rate::Rate;

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
}

/// The numbers of one tier. `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests.
    pub rate: Option<Rate>,
    /// Physical resources held at once.
    pub held: Option<u64>,
    /// Event streams open at once with keys and tokens; those of sessions do not count.
    pub streams: Option<u64>,
    /// API keys.
    pub keys: Option<u64>,
    /// Registered resources; a pool of N counts as N.
    pub resources: Option<u64>,
    /// Companies.
    pub companies: Option<u64>,
    /// Watched connections.
    pub connections: Option<u64>,
    /// Jobs kept of all watched connections.
    pub jobs: u64,
    /// Events kept for those who resume, and never longer than an hour.
    pub history: u64,
    /// Queue events taken in per day.
    pub queue_events_per_day: Option<u64>,
    /// Whether tokens can be had in exchange.
    pub exchange: bool,
}

/// What each tier allows here: the defaults, or what the operator made of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers([Limits; 4]);

impl Tiers {
    /// The numbers of that tier.
    #[must_use]
    pub fn of(&self, tier: Tier) -> &Limits {
        &self.0[tier as usize]
    }

    /// The numbers of that tier, to change them.
    pub fn of_mut(&mut self, tier: Tier) -> &mut Limits {
        &mut self.0[tier as usize]
    }
}

impl Default for Tiers {
    fn default() -> Self {
        let rate = |per_second, burst| Some(Rate { per_second, burst });
        Self([
            Limits {
                rate: rate(10, 20),
                held: Some(50),
                streams: Some(1),
                keys: Some(1),
                resources: Some(100),
                companies: Some(10),
                connections: Some(1),
                jobs: 10_000,
                history: 1_000,
                queue_events_per_day: Some(10_000),
                exchange: false,
            },
            Limits {
                rate: rate(100, 200),
                held: Some(500),
                streams: Some(5),
                keys: Some(10),
                resources: Some(1_000),
                companies: Some(100),
                connections: Some(5),
                jobs: 100_000,
                history: 10_000,
                queue_events_per_day: Some(100_000),
                exchange: true,
            },
            Limits {
                rate: rate(1_000, 2_000),
                held: Some(10_000),
                streams: Some(20),
                keys: Some(100),
                resources: Some(100_000),
                companies: Some(10_000),
                connections: Some(50),
                jobs: 1_000_000,
                history: 100_000,
                queue_events_per_day: Some(10_000_000),
                exchange: true,
            },
            Limits {
                rate: None,
                held: None,
                streams: None,
                keys: None,
                resources: None,
                companies: None,
                connections: None,
                jobs: 1_000_000,
                history: 1_000_000,
                queue_events_per_day: None,
                exchange: true,
            },
        ])
    }
}
