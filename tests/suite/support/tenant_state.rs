//! The packed `state` of a tenant, as `lua/README.md` describes it.

/// The state that every function reads first.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantState {
    pub position: i64,
    pub due_ms: Option<i64>,
    pub upkeep_us: i64,
    pub rate_us: f64,
    pub version: i64,
    /// How many physical resources are held.
    pub held: i64,
    /// What the history holds, whether something is unsettled, how many wait, how many tickets there are.
    pub rest: [f64; 7],
    /// How many messages of what is not kept were published.
    pub not_kept: f64,
}

impl TenantState {
    pub fn read(packed: &[u8]) -> Self {
        let numbers: Vec<_> =
            packed.chunks_exact(8).map(|eight| f64::from_le_bytes(eight.try_into().unwrap())).collect();
        let [position, due_ms, upkeep_us, rate_us, version, held, ref rest @ .., not_kept] = numbers[..] else {
            panic!("{packed:?} is no state")
        };
        Self {
            position: position as i64,
            due_ms: (due_ms > 0.0).then_some(due_ms as i64),
            upkeep_us: upkeep_us as i64,
            rate_us,
            version: version as i64,
            held: held as i64,
            rest: rest.try_into().unwrap(),
            not_kept,
        }
    }

    pub fn packed(&self) -> Vec<u8> {
        let numbers = [
            self.position as f64,
            self.due_ms.unwrap_or(0) as f64,
            self.upkeep_us as f64,
            self.rate_us,
            self.version as f64,
            self.held as f64,
        ];
        numbers.into_iter().chain(self.rest).chain([self.not_kept]).flat_map(f64::to_le_bytes).collect()
    }

    /// Without what a refused call may change: the rate, and how many refusals were published.
    pub fn without_rate(self) -> Self {
        Self { rate_us: 0.0, not_kept: 0.0, ..self }
    }
}
