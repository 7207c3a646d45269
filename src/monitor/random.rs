//! Random numbers for jitter.

/// A random number from 0 to 1, to spread retries and polls of several replicas. Not for secrets.
pub(super) fn random_fraction() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}
