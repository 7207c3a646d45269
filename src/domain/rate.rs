//! A rate of requests with a burst, as GCRA counts it: one number, the backlog, says all.
//!
//! Each unit of cost adds its share of a second to the backlog, which shrinks as time goes by. A call is admitted while the backlog with
//! it stays within the burst. Nothing here reads a clock.

use crate::domain::tier::Tier;

/// How many items of a batch are in the price of the call.
const ITEMS_INCLUDED: usize = 100;
const SECOND_US: f64 = 1_000_000.0;

/// So many units per second, and so many at once after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub per_second: u32,
    pub burst: u32,
}

impl Rate {
    /// Units left, for a backlog in microseconds.
    #[must_use]
    pub fn left(self, backlog_us: i64) -> i64 {
        let in_use = (backlog_us.max(0) as f64 * f64::from(self.per_second) / SECOND_US).ceil() as i64;
        (i64::from(self.burst) - in_use).max(0)
    }

    /// How long until a call of that cost is admitted, in microseconds; 0: it is now.
    #[must_use]
    pub fn wait_us(self, backlog_us: i64, cost: u32) -> i64 {
        let unit_us = SECOND_US / f64::from(self.per_second);
        let over = backlog_us as f64 + f64::from(cost) * unit_us - f64::from(self.burst) * unit_us;
        // A microsecond of grace, as in the script: what was rounded on the way must not cost a unit.
        if over > 1.0 { over.ceil() as i64 } else { 0 }
    }

    /// In how many seconds a rest makes the whole burst available again.
    #[must_use]
    pub fn window_s(self) -> u32 {
        self.burst.div_ceil(self.per_second).max(1)
    }
}

/// What a call with so many items costs: 1, and 1 more for each further 100 begun.
#[must_use]
pub fn cost(items: usize) -> u32 {
    items.div_ceil(ITEMS_INCLUDED).max(1) as u32
}

/// Whole seconds for `Retry-After`: never too early, never 0.
#[must_use]
pub fn retry_after_s(wait_us: i64) -> i64 {
    (wait_us as f64 / SECOND_US).ceil().max(1.0) as i64
}

/// A call beyond its tenant's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFast {
    pub tier: Tier,
    pub rate: Rate,
    /// How long until it would be admitted, in microseconds, if nobody else calls.
    pub wait_us: i64,
    /// Redis' clock in microseconds, when it was Redis that counted.
    pub now_us: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Rate = Rate { per_second: 10, burst: 20 };

    #[test]
    fn a_call_costs_one_more_for_each_further_hundred_items_begun() {
        assert_eq!([0, 1, 100, 101, 200, 201, 1_000].map(cost), [1, 1, 1, 2, 2, 3, 10]);
    }

    #[test]
    fn the_backlog_says_what_is_left_and_how_long_to_wait() {
        assert_eq!((FREE.left(0), FREE.wait_us(0, 20)), (20, 0));
        assert_eq!((FREE.left(2_000_000), FREE.wait_us(2_000_000, 1)), (0, 100_000));
        assert_eq!((FREE.left(1_950_000), FREE.wait_us(1_950_000, 1)), (0, 50_000));
        assert_eq!((FREE.left(1_900_000), FREE.wait_us(1_900_000, 1)), (1, 0));
        assert_eq!(FREE.wait_us(0, 21), 100_000);
    }

    #[test]
    fn nobody_is_told_to_come_too_early() {
        assert_eq!([0, 1, 1_000_000, 1_000_001].map(retry_after_s), [1, 1, 1, 2]);
    }
}
