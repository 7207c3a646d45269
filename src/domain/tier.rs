//! Tiers, and the limits that each sets to a tenant.

use crate::domain::{
    closed_set::{ClosedSet, closed_set},
    rate::Rate,
};

closed_set! {
    /// Tier of a tenant, which sets its limits; from the lowest to the highest.
    pub enum Tier as "Tier" {
        /// For trying out.
        Free = "Free",
        /// For one small application.
        Starter = "Starter",
        /// For applications under load.
        Pro = "Pro",
        /// Without limits but for what is kept.
        Enterprise = "Enterprise",
    }
}

impl Tier {
    /// The tier of a name, in any case.
    ///
    /// # Errors
    /// A message that lists the tiers.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::VALUES
            .iter()
            .copied()
            .find(|tier| tier.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("\"{text}\" is no tier; the tiers are Free, Starter, Pro and Enterprise"))
    }

    /// The tier of a tenant for which none is named: one without narrow limits, since who makes tenants mostly makes their own.
    pub const DEFAULT: Self = Self::Pro;

    /// The next higher tier.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Self::VALUES.get(self as usize + 1).copied()
    }

    /// Whether a higher tier allows more.
    #[must_use]
    pub fn has_higher(self) -> bool {
        self.next().is_some()
    }
}

closed_set! {
    /// A limit that a tier sets.
    pub enum LimitType as "LimitType" {
        /// Calls per second, and at once; a call of many items counts more than once.
        RequestRate = "RequestRate",
        /// Physical resources held at once.
        ConcurrentReservations = "ConcurrentReservations",
        /// Tickets that wait at once.
        WaitingTickets = "WaitingTickets",
        /// Event streams open at once with keys and tokens.
        SseConnections = "SseConnections",
        /// API keys.
        ApiKeys = "ApiKeys",
        /// Registered resources; a pool of N counts as N.
        Resources = "Resources",
        /// Registered companies.
        Companies = "Companies",
        /// Watched connections of the queue monitor.
        Connections = "Connections",
        /// Queue events pushed per day.
        EventsPerDay = "EventsPerDay",
        /// Bytes stored in all.
        StoredBytes = "StoredBytes",
    }
}

/// Limits of one tier. `None`: unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests per second, and at once.
    pub rate: Option<Rate>,
    /// Physical resources held at once.
    pub held: Option<u64>,
    /// Tickets that wait at once.
    pub waiting: Option<u64>,
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
    /// Jobs kept, of all connections together.
    pub jobs: u64,
    /// Events kept for streams that resume; none is kept longer than an hour.
    pub history: u64,
    /// Bytes of that history.
    pub history_bytes: u64,
    /// Bytes of everything that is stored.
    pub stored_bytes: Option<u64>,
    /// Queue events that clients may push per day.
    pub queue_events_per_day: Option<u64>,
    /// Whether keys and JWTs can be exchanged for tokens.
    pub exchange: bool,
}

/// Limits of every tier: the defaults, changed by what `TIERS_FILE` sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers([Limits; 4]);

impl Tiers {
    /// Limits of a tier.
    #[must_use]
    pub fn of(&self, tier: Tier) -> &Limits {
        &self.0[tier as usize]
    }

    /// Limits of a tier, to be changed.
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
                waiting: Some(50),
                streams: Some(1),
                keys: Some(1),
                resources: Some(100),
                companies: Some(10),
                connections: Some(1),
                jobs: 10_000,
                history: 1_000,
                history_bytes: 4 << 20,
                stored_bytes: Some(32 << 20),
                queue_events_per_day: Some(10_000),
                exchange: false,
            },
            Limits {
                rate: rate(100, 200),
                held: Some(500),
                waiting: Some(500),
                streams: Some(5),
                keys: Some(10),
                resources: Some(1_000),
                companies: Some(100),
                connections: Some(5),
                jobs: 100_000,
                history: 10_000,
                history_bytes: 16 << 20,
                stored_bytes: Some(256 << 20),
                queue_events_per_day: Some(100_000),
                exchange: true,
            },
            Limits {
                rate: rate(1_000, 2_000),
                held: Some(10_000),
                waiting: Some(10_000),
                streams: Some(20),
                keys: Some(100),
                resources: Some(100_000),
                companies: Some(10_000),
                connections: Some(50),
                jobs: 1_000_000,
                history: 100_000,
                history_bytes: 128 << 20,
                stored_bytes: Some(4 << 30),
                queue_events_per_day: Some(10_000_000),
                exchange: true,
            },
            Limits {
                rate: None,
                held: None,
                waiting: None,
                streams: None,
                keys: None,
                resources: None,
                companies: None,
                connections: None,
                jobs: 1_000_000,
                history: 1_000_000,
                history_bytes: 1 << 30,
                stored_bytes: None,
                queue_events_per_day: None,
                exchange: true,
            },
        ])
    }
}
