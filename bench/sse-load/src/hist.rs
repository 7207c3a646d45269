//! Latencies in buckets of about 1.6 %.

pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    pub max: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Self { buckets: vec![0; 64 * 64], count: 0, max: 0 }
    }

    pub fn add(&mut self, value: u64) {
        let at = if value < 64 {
            value as usize
        } else {
            let power = 63 - u64::from(value.leading_zeros());
            (((power - 5) << 6) + (value >> (power - 5))) as usize
        };
        self.buckets[at] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    /// The value below which this part of all lies.
    pub fn quantile(&self, part: f64) -> u64 {
        let wanted = ((self.count as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let power = at >> 6;
                return if power == 0 { at as u64 } else { ((at - (power << 6)) << power) as u64 };
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bucket() {
        let mut all = Histogram::new();
        (1..=10_000).for_each(|value| all.add(value));
        for (part, exact) in [(0.5, 5_000.0), (0.99, 9_900.0), (0.001, 10.0)] {
            let found = all.quantile(part) as f64;
            assert!((found / exact - 1.0).abs() < 0.035, "{part}: {found}");
        }
        assert_eq!(all.max, 10_000);
    }
}
