//! Exponential backoff with jitter.

use std::time::Duration;

/// The pauses between attempts: exponential backoff, each pause drawn evenly from half of its bound to the whole of it ("equal
/// jitter"), so that clients that failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    bound: Duration,
    most: Duration,
}

impl Backoff {
    /// Pauses that begin at `first` and double up to `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, bound: first, most }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = (bound * 2).min(self.most);
        jittered(bound)
    }

    /// Begins again at the first pause, after a success.
    pub fn reset(&mut self) {
        self.bound = self.first;
    }
}

/// A duration between half of `bound` and `bound`.
pub(super) fn jittered(bound: Duration) -> Duration {
    // Without randomness the whole bound: later, never a busy loop.
    let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    bound.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_most_and_begin_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for bound in [100, 200, 350, 350] {
            let pause = backoff.pause().as_millis();
            assert!((bound / 2..=bound).contains(&pause), "{pause} of {bound}");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
