//! The names that a client reserves: at random from its own share, so that no two clients ever meet.

/// Numbers are written with eight digits.
const NUMBERS: u64 = 100_000_000;

pub struct Names {
    random: fastrand::Rng,
    first: u64,
    client: u64,
    clients: u64,
    per_client: u64,
}

impl Names {
    /// Distributes `names` among clients. The range is random, since names of a failed run may still be held.
    pub fn shares(names: u64, clients: usize) -> impl Iterator<Item = Self> {
        let clients = clients as u64;
        let first = names * fastrand::u64(..NUMBERS / names.clamp(1, NUMBERS));
        (0..clients).map(move |client| Self { random: fastrand::Rng::with_seed(client + 1), first, client, clients, per_client: (names / clients).max(1) })
    }

    /// Which of the clients it is, from 0 on.
    pub fn client(&self) -> u64 {
        self.client
    }

    /// The next one's number.
    pub fn next(&mut self) -> u64 {
        self.batch(1).next().unwrap_or(self.client)
    }

    /// So many different ones.
    pub fn batch(&mut self, number: usize) -> impl Iterator<Item = u64> + use<> {
        let (first, client, clients, per_client) = (self.first, self.client, self.clients, self.per_client);
        let from = self.random.u64(..per_client);
        (0..number as u64).map(move |n| first + (from + n) % per_client * clients + client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_clients_ever_choose_the_same_name() {
        let mut shares: Vec<_> = Names::shares(64, 4).collect();
        let chosen: Vec<std::collections::HashSet<u64>> = shares.iter_mut().map(|names| (0..100).flat_map(|_| names.batch(5)).collect()).collect();
        assert_eq!(chosen.iter().map(|names| names.len()).sum::<usize>(), 64);
        assert_eq!(chosen.iter().flatten().collect::<std::collections::HashSet<_>>().len(), 64);
    }
}
