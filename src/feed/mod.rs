//! Carries what scripts tell to those who listen: one subscription per replica, one ring of ready frames per tenant, one
//! cursor per subscriber.
//!
//! An event is encoded once per replica. A subscriber that is slow only lags behind in the ring; one that fell out of it is
//! closed and resumes, and nobody waits for it.

mod filter;
mod frame;
mod ring;
mod subscriber;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    domain::names::TenantId,
    store::{Address, Callers, Heard, Message, Note, Partition, Place, StoreError, Subscription},
};

pub use filter::{Filter, split_list};
pub use frame::Frame;
pub use subscriber::{Piece, Subscriber};

use ring::Ring;

/// How long a partition stays subscribed after its last subscriber here has left.
const LINGER: Duration = Duration::from_secs(30);

/// The replica's streams. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    tenants: Arc<Tenants>,
    subscription: Subscription,
}

#[derive(Debug)]
struct Tenants {
    rings: Mutex<HashMap<TenantId, (Partition, Arc<Ring>)>>,
    callers: Arc<Callers>,
}

impl Feed {
    /// Starts listening on the present runtime, which must live as long as the replica.
    #[must_use]
    pub fn open(address: Address, callers: Arc<Callers>) -> Self {
        let tenants = Arc::new(Tenants { rings: Mutex::default(), callers });
        let heard = tenants.clone();
        let subscription = Subscription::open(address, move |what| heard.hear(what));
        let feed = Self { tenants, subscription };
        tokio::spawn(feed.clone().tidy());
        feed
    }

    /// Lets a subscriber in: from here on it hears everything of its tenant that passes the filter.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when the tenant's partition cannot be heard.
    pub async fn subscribe(&self, place: &Place, credential: Option<String>, filter: Filter) -> Result<Subscriber, StoreError> {
        self.subscription.join(place.partition()).await?;
        let ring = self.tenants.rings().entry(place.tenant().clone()).or_insert_with(|| (place.partition(), Arc::default())).1.clone();
        Ok(Subscriber::new(ring, credential, filter))
    }

    /// How many streams are open.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.tenants.rings().values().map(|(_, ring)| ring.subscribers()).sum()
    }

    /// Forgets rings that nobody reads and partitions that nobody needs, every now and then.
    async fn tidy(self) {
        loop {
            tokio::time::sleep(LINGER).await;
            let needed: HashSet<_> = {
                let mut rings = self.tenants.rings();
                rings.retain(|_, (_, ring)| Arc::strong_count(ring) > 1);
                rings.values().map(|(partition, _)| *partition).collect()
            };
            self.subscription.keep_only(&needed);
        }
    }
}

impl Tenants {
    fn rings(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, (Partition, Arc<Ring>)>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, heard: Heard<'_>) {
        match heard {
            Heard::Message(bytes) => Note::read_all(bytes).into_iter().for_each(|note| self.pass_on(note)),
            // What was lost meanwhile cannot be filled in here yet: these streams end, and their readers look again.
            Heard::Broken => self.rings().values().for_each(|(_, ring)| ring.end(None)),
        }
    }

    fn pass_on(&self, note: Note) {
        if let Message::Reservation { position: Some(position), .. } = &note.message
            && let Some(place) = self.callers.known_place(&note.tenant)
        {
            place.seen(*position);
        }
        let Some(tenant) = TenantId::parse(&note.tenant) else { return };
        let Some(ring) = self.rings().get(&tenant).map(|(_, ring)| ring.clone()) else { return };
        match note.message {
            Message::Reservation { position, event, .. } => ring.push(Frame::of_reservation(position, &event)),
            Message::Ended { credential } => ring.end(credential),
        }
    }
}
