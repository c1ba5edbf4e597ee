//! The bucket keys that serve now: which one the next data key of a bucket is wrapped under, and when its successor comes.
//!
//! A bucket key serves a bounded time and number of data keys. Its successor is made beside the requests, long before it
//! is used up; only the first of a bucket is waited for. No keyring row is read here: a data key under a bucket key that is
//! gone or may not be used is refused when it is to be kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use strongroom_engine::{Context, ContextDigest, DataKey, KeyId, Kind};
use strongroom_hsm::Alias;

use super::Keys;
use crate::audit::Subject;
use crate::catalog::BucketRow;
use crate::error::OpError;
use crate::id::BucketId;
use crate::keyring::{KeyRow, Wrapped};

/// Separates the wraps of a bucket key from any other use of it.
pub(super) const BUCKET_KEY_LABEL: &str = "strongroom/bucket-key/1";

/// A bucket key serves so long.
const LIFETIME: Duration = Duration::from_secs(300);
/// And so many data keys.
const SERVED_MAX: u32 = 1_000;
/// Its successor is made when so much of either is used up: three quarters.
const SUCCESSION: (Duration, u32) = (Duration::from_secs(225), 750);

/// A bucket key, unwrapped.
#[derive(Clone)]
pub(super) struct BucketKey {
    /// Of its row in the keyring.
    pub(super) id: KeyId,
    /// Itself.
    pub(super) key: Arc<DataKey>,
}

impl Keys {
    /// The bucket key of this alias for one more data key.
    pub(super) async fn bucket_key(self: &Arc<Self>, bucket: &BucketRow, alias: &Alias) -> Result<BucketKey, OpError> {
        let slot = self.bucket_keys.slot(bucket.id, alias);
        loop {
            if let Some(taken) = slot.take(Instant::now()) {
                if taken.makes_successor {
                    let (keys, slot, bucket, alias) = (self.clone(), slot.clone(), bucket.clone(), alias.clone());
                    // On nobody's behalf: it will serve whoever comes.
                    tokio::spawn(async move {
                        let made = keys.fresh_bucket_key(&bucket, &alias).await;
                        let made = made.inspect_err(|error| tracing::warn!(%error, "no new bucket key yet")).ok();
                        slot.succeed(made, Instant::now());
                    });
                }
                return Ok(taken.key);
            }
            let _turn = slot.first.lock().await;
            if !slot.serves(Instant::now()) {
                slot.succeed(Some(self.fresh_bucket_key(bucket, alias).await?), Instant::now());
            }
        }
    }

    /// A new bucket key, wrapped by the master key of this alias and kept.
    async fn fresh_bucket_key(&self, bucket: &BucketRow, alias: &Alias) -> Result<BucketKey, OpError> {
        let (id, key) = (KeyId::fresh(self.clock.now_ms())?, DataKey::generate()?);
        let (context, subject) = (self.bucket_key_context(bucket.id, id), Subject::bucket(&bucket.name));
        let wrapped = self.wrap(alias, &key, &context, (Kind::BucketKey, id), subject).await?;
        let wrapped = Wrapped::ByMaster(wrapped);
        let row = KeyRow { id, kind: Kind::BucketKey, wrapped, context, session: self.session };
        self.keep(alias, &key, row, subject).await?;
        Ok(BucketKey { id, key: Arc::new(key) })
    }

    /// Its id stands where an object has its write id, so that no two keys of a bucket can trade places.
    fn bucket_key_context(&self, bucket: BucketId, id: KeyId) -> ContextDigest {
        let mut context = Context::new(Kind::BucketKey);
        context.store_id = self.store.as_bytes();
        context.bucket_id = bucket.as_bytes();
        context.write_id = id.as_bytes();
        context.digest()
    }
}

/// The bucket keys of all buckets that were written to lately, one line of succession for each master key.
#[derive(Default)]
pub(super) struct BucketKeys {
    slots: Mutex<HashMap<(BucketId, Alias), Arc<Slot>>>,
}

/// Those of one bucket under one master key.
#[derive(Default)]
pub(super) struct Slot {
    /// Whoever makes a first bucket key holds it; the others wait, and find that key.
    pub(super) first: tokio::sync::Mutex<()>,
    serving: Mutex<Serving>,
}

#[derive(Default)]
struct Serving {
    current: Option<Served>,
    next: Option<Served>,
    is_next_made: bool,
}

struct Served {
    key: BucketKey,
    made: Instant,
    served: u32,
}

/// What a request got.
pub(super) struct Taken {
    /// For one data key.
    pub(super) key: BucketKey,
    /// Whether whoever got this is to have a successor made, and to tell of it by [`Slot::succeed`].
    pub(super) makes_successor: bool,
}

impl BucketKeys {
    /// The place of a bucket's keys under the master key of this alias.
    pub(super) fn slot(&self, bucket: BucketId, alias: &Alias) -> Arc<Slot> {
        locked(&self.slots).entry((bucket, alias.clone())).or_default().clone()
    }

    /// Forgets all of them: some may not be used any more.
    pub(super) fn forget(&self) {
        locked(&self.slots).clear();
    }

    /// Forgets those whose time is over.
    pub(super) fn forget_old(&self, now: Instant) {
        locked(&self.slots).retain(|_, slot| {
            let mut serving = locked(&slot.serving);
            serving.forget_old(now);
            // A slot that is in somebody's hands may be about to get a key.
            Arc::strong_count(slot) > 1 || serving.current.is_some() || serving.next.is_some()
        });
    }
}

impl Slot {
    /// The key for one more data key; nothing if one must be made first.
    pub(super) fn take(&self, now: Instant) -> Option<Taken> {
        locked(&self.serving).take(now)
    }

    /// Whether a key serves.
    pub(super) fn serves(&self, now: Instant) -> bool {
        locked(&self.serving).serves(now)
    }

    /// Takes up a key that was made `now`.
    pub(super) fn succeed(&self, key: Option<BucketKey>, now: Instant) {
        let mut serving = locked(&self.serving);
        serving.is_next_made = false;
        if let Some(key) = key {
            serving.next = Some(Served { key, made: now, served: 0 });
        }
    }
}

impl Serving {
    fn serves(&self, now: Instant) -> bool {
        [&self.current, &self.next].into_iter().flatten().any(|served| !served.is_used_up(now))
    }

    fn take(&mut self, now: Instant) -> Option<Taken> {
        if self.current.as_ref().is_none_or(|current| current.is_used_up(now)) {
            self.current = self.next.take();
        }
        let current = self.current.as_mut().filter(|current| !current.is_used_up(now))?;
        current.served += 1;
        let is_due = current.age(now) >= SUCCESSION.0 || current.served >= SUCCESSION.1;
        let makes_successor = is_due && self.next.is_none() && !self.is_next_made;
        self.is_next_made |= makes_successor;
        Some(Taken { key: current.key.clone(), makes_successor })
    }

    fn forget_old(&mut self, now: Instant) {
        let is_young = |served: &Served| served.age(now) < LIFETIME;
        self.current = self.current.take().filter(is_young);
        self.next = self.next.take().filter(is_young);
    }
}

impl Served {
    fn is_used_up(&self, now: Instant) -> bool {
        self.age(now) >= LIFETIME || self.served >= SERVED_MAX
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.made)
    }
}

/// Each change of what the lock guards is one assignment, so a panic elsewhere cannot have left it half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Option<BucketKey> {
        let key = Arc::new(DataKey::from_bytes(&mut [byte; 32]));
        Some(BucketKey { id: KeyId::from_bytes([byte; 16]), key })
    }

    /// The first byte of the key that serves, and whether a successor is to be made.
    fn taken(slot: &Slot, now: Instant) -> Option<(u8, bool)> {
        slot.take(now).map(|taken| (taken.key.id.as_bytes()[0], taken.makes_successor))
    }

    #[test]
    fn one_caller_alone_makes_the_successor_and_nobody_waits_for_it() {
        let (slot, now) = (Slot::default(), Instant::now());
        assert_eq!(taken(&slot, now), None);
        slot.succeed(key(1), now);
        let made: Vec<u32> = (1..=SERVED_MAX)
            .filter(|_| taken(&slot, now).is_some_and(|(_, makes_successor)| makes_successor))
            .collect();
        assert_eq!(made, [SUCCESSION.1]);
        slot.succeed(key(2), now);
        assert_eq!(taken(&slot, now), Some((2, false)));
    }

    #[test]
    fn a_key_serves_its_number_of_data_keys_and_not_one_more() {
        let (slot, now) = (Slot::default(), Instant::now());
        slot.succeed(key(1), now);
        assert!((0..SERVED_MAX).all(|_| taken(&slot, now).is_some_and(|(key, _)| key == 1)));
        assert_eq!(taken(&slot, now), None, "no successor came");
    }

    #[test]
    fn a_key_serves_its_time_and_its_successor_its_own() {
        let (slot, now) = (Slot::default(), Instant::now());
        slot.succeed(key(1), now);
        assert_eq!(taken(&slot, now + SUCCESSION.0), Some((1, true)));
        slot.succeed(key(2), now + SUCCESSION.0);
        assert_eq!(taken(&slot, now + LIFETIME - Duration::from_nanos(1)), Some((1, false)));
        assert_eq!(taken(&slot, now + LIFETIME), Some((2, false)));
        assert_eq!(taken(&slot, now + SUCCESSION.0 + LIFETIME), None);
    }

    #[test]
    fn a_successor_that_could_not_be_made_is_tried_again() {
        let (slot, now) = (Slot::default(), Instant::now());
        slot.succeed(key(1), now);
        assert_eq!(taken(&slot, now + SUCCESSION.0), Some((1, true)));
        assert_eq!(taken(&slot, now + SUCCESSION.0), Some((1, false)));
        slot.succeed(None, now + SUCCESSION.0);
        assert_eq!(taken(&slot, now + SUCCESSION.0), Some((1, true)));
    }

    #[test]
    fn a_bucket_that_is_written_to_no_more_leaves_no_key_in_memory() {
        let (keys, now) = (BucketKeys::default(), Instant::now());
        let bucket = BucketId::fresh(0).unwrap();
        keys.slot(bucket, &Alias::default_alias()).succeed(key(1), now);
        keys.forget_old(now + LIFETIME - Duration::from_nanos(1));
        assert!(keys.slot(bucket, &Alias::default_alias()).take(now).is_some());
        keys.forget_old(now + LIFETIME);
        assert!(locked(&keys.slots).is_empty());
    }
}
