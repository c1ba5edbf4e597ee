//! Unwrapped keys, held a while: bounded in number, in time and in uses.
//!
//! Holds keys in the engine's locked memory and forgets them wiped. It never says whether a key may still be used: the
//! caller has just read the key's row in the keyring, shows its wrapped form here, and gets the key only if it is the
//! one that was unwrapped then. Time is told by the caller and monotonic; nothing here looks at a clock.

use crate::wrapped::WrappedKey;
use lru::LruCache;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use strongroom_engine::{DataKey, KeyId};

/// How much is held, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Keys; 0: nothing is held.
    pub entries_max: usize,
    /// A key is used so long after it was unwrapped.
    pub lifetime: Duration,
    /// And so often.
    pub uses_max: u64,
    /// While the HSM is away, a key is used so long, and as often as it is needed. No less than `lifetime`.
    pub offline_lifetime: Duration,
}

impl Default for CacheLimits {
    /// 10,000 keys (320 KB), 5 minutes, 10,000 uses; an hour while the HSM is away.
    fn default() -> Self {
        Self {
            entries_max: 10_000,
            lifetime: Duration::from_secs(300),
            uses_max: 10_000,
            offline_lifetime: Duration::from_secs(3_600),
        }
    }
}

/// What became of the lookups so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CacheStatus {
    /// Keys held.
    pub entries: u64,
    /// Keys held at most.
    pub entries_max: u64,
    /// Lookups that spared an unwrap.
    pub hits: u64,
    /// Those of them that were answered only because the HSM was away.
    pub offline_hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Keys that made room for others.
    pub evictions: u64,
    /// Keys whose time was over or whose wrapped form had changed.
    pub expirations: u64,
}

/// What the cache has of a key.
pub enum Cached {
    /// It may be used.
    Fresh(Arc<DataKey>),
    /// Its time or its uses are over: it may be used if the HSM turns out to be away, by [`KeyCache::used_offline`].
    Spent(Arc<DataKey>),
    /// Nothing.
    Absent,
}

/// Unwrapped keys by their ids.
pub struct KeyCache {
    limits: CacheLimits,
    /// Nothing where nothing is to be held.
    held: Option<Mutex<Held>>,
}

struct Held {
    keys: LruCache<KeyId, Entry>,
    status: CacheStatus,
}

struct Entry {
    wrapped: WrappedKey,
    key: Arc<DataKey>,
    unwrapped: Instant,
    use_count: u64,
}

impl KeyCache {
    /// An empty cache.
    pub fn new(limits: CacheLimits) -> Self {
        let held = NonZeroUsize::new(limits.entries_max).map(|room| {
            // Grows as it is filled: the largest that may be asked for need not fit into memory at once.
            let mut keys = LruCache::unbounded();
            keys.resize(room);
            Mutex::new(Held { keys, status: CacheStatus::default() })
        });
        let limits = CacheLimits { offline_lifetime: limits.offline_lifetime.max(limits.lifetime), ..limits };
        Self { limits, held }
    }

    /// The key `id`, if what its row holds `now` is what it was unwrapped from.
    pub fn find(&self, id: KeyId, wrapped: &WrappedKey, now: Instant) -> Cached {
        let Some(mut held) = self.held() else { return Cached::Absent };
        let Held { keys, status } = &mut *held;
        let Some(entry) = keys.get_mut(&id) else {
            status.misses += 1;
            return Cached::Absent;
        };
        let age = now.saturating_duration_since(entry.unwrapped);
        if entry.wrapped != *wrapped || age >= self.limits.offline_lifetime {
            keys.pop(&id);
            status.misses += 1;
            status.expirations += 1;
            return Cached::Absent;
        }
        let key = entry.key.clone();
        if age >= self.limits.lifetime || entry.use_count >= self.limits.uses_max {
            status.misses += 1;
            return Cached::Spent(key);
        }
        entry.use_count += 1;
        status.hits += 1;
        Cached::Fresh(key)
    }

    /// Counts the use of a key that was [`Cached::Spent`], since the HSM is away.
    pub fn used_offline(&self) {
        if let Some(mut held) = self.held() {
            held.status.misses = held.status.misses.saturating_sub(1);
            held.status.hits += 1;
            held.status.offline_hits += 1;
        }
    }

    /// Holds a key that was unwrapped `now`, which is its first use.
    pub fn hold(&self, id: KeyId, wrapped: WrappedKey, key: Arc<DataKey>, now: Instant) {
        let Some(mut held) = self.held() else { return };
        let Held { keys, status } = &mut *held;
        if let Some((old, _)) = keys.push(id, Entry { wrapped, key, unwrapped: now, use_count: 1 }) {
            match old == id {
                true => status.expirations += 1,
                false => status.evictions += 1,
            }
        }
    }

    /// Forgets a key whose row is gone.
    pub fn forget(&self, id: KeyId) {
        if let Some(mut held) = self.held()
            && held.keys.pop(&id).is_some()
        {
            held.status.expirations += 1;
        }
    }

    /// Forgets every key whose time is over; which time, the HSM decides by being away or not.
    pub fn forget_old(&self, now: Instant, is_away: bool) {
        let Some(mut held) = self.held() else { return };
        let lifetime = if is_away { self.limits.offline_lifetime } else { self.limits.lifetime };
        let is_old = |entry: &Entry| now.saturating_duration_since(entry.unwrapped) >= lifetime;
        let old: Vec<KeyId> = held.keys.iter().filter(|(_, entry)| is_old(entry)).map(|(id, _)| *id).collect();
        held.status.expirations += old.len() as u64;
        for id in old {
            held.keys.pop(&id);
        }
    }

    /// The counts so far.
    pub fn status(&self) -> CacheStatus {
        match self.held() {
            None => CacheStatus::default(),
            Some(held) => CacheStatus {
                entries: held.keys.len() as u64,
                entries_max: self.limits.entries_max as u64,
                ..held.status
            },
        }
    }

    /// What is held; a panic elsewhere cannot have left a count or an entry half made.
    fn held(&self) -> Option<MutexGuard<'_, Held>> {
        self.held.as_ref().map(|held| held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::MasterKeyId;
    use crate::rung::Rung;

    const SECOND: Duration = Duration::from_secs(1);

    fn wrapped(byte: u8) -> WrappedKey {
        WrappedKey { master: MasterKeyId::new([byte; 16]), rung: Rung::AesGcm, ciphertext: vec![byte; 63] }
    }

    fn id(byte: u8) -> KeyId {
        KeyId::from_bytes([byte; 16])
    }

    fn key(byte: u8) -> Arc<DataKey> {
        Arc::new(DataKey::from_bytes(&mut [byte; 32]))
    }

    /// Two keys, ten seconds, three uses, a hundred seconds offline; key 1 is held.
    fn cache(now: Instant) -> KeyCache {
        let cache = KeyCache::new(CacheLimits {
            entries_max: 2,
            lifetime: 10 * SECOND,
            uses_max: 3,
            offline_lifetime: 100 * SECOND,
        });
        cache.hold(id(1), wrapped(1), key(1), now);
        cache
    }

    fn is_fresh(cache: &KeyCache, byte: u8, now: Instant) -> bool {
        matches!(cache.find(id(byte), &wrapped(byte), now), Cached::Fresh(key) if *key.expose() == [byte; 32])
    }

    #[test]
    fn a_key_is_found_by_its_id_and_its_wrapped_form_only() {
        let now = Instant::now();
        let cache = cache(now);
        assert!(is_fresh(&cache, 1, now));
        assert!(!is_fresh(&cache, 2, now));
        assert!(matches!(cache.find(id(1), &wrapped(2), now), Cached::Absent), "it was wrapped anew");
        assert!(!is_fresh(&cache, 1, now), "what was replaced is forgotten");
    }

    #[test]
    fn a_key_is_spent_after_its_time_and_gone_after_its_offline_time() {
        let now = Instant::now();
        let cache = cache(now);
        assert!(is_fresh(&cache, 1, now + 10 * SECOND - Duration::from_nanos(1)));
        assert!(matches!(cache.find(id(1), &wrapped(1), now + 10 * SECOND), Cached::Spent(_)));
        assert!(matches!(cache.find(id(1), &wrapped(1), now + 99 * SECOND), Cached::Spent(_)));
        assert!(matches!(cache.find(id(1), &wrapped(1), now + 100 * SECOND), Cached::Absent));
        assert_eq!(cache.status().entries, 0);
    }

    #[test]
    fn a_key_is_spent_after_its_uses_of_which_the_first_is_the_one_it_was_unwrapped_for() {
        let now = Instant::now();
        let cache = cache(now);
        assert!(is_fresh(&cache, 1, now) && is_fresh(&cache, 1, now));
        assert!(matches!(cache.find(id(1), &wrapped(1), now), Cached::Spent(_)));
        cache.hold(id(1), wrapped(1), key(1), now);
        assert!(is_fresh(&cache, 1, now), "unwrapped again, it is used again");
    }

    #[test]
    fn the_key_that_was_not_used_longest_makes_room() {
        let now = Instant::now();
        let cache = cache(now);
        cache.hold(id(2), wrapped(2), key(2), now);
        assert!(is_fresh(&cache, 1, now));
        cache.hold(id(3), wrapped(3), key(3), now);
        assert!(is_fresh(&cache, 1, now) && is_fresh(&cache, 3, now) && !is_fresh(&cache, 2, now));
        assert_eq!(cache.status().evictions, 1);
    }

    #[test]
    fn old_keys_are_forgotten_without_being_asked_for_and_later_while_the_hsm_is_away() {
        let now = Instant::now();
        let cache = cache(now);
        cache.forget_old(now + 10 * SECOND, true);
        assert_eq!(cache.status().entries, 1);
        cache.forget_old(now + 10 * SECOND, false);
        assert_eq!((cache.status().entries, cache.status().expirations), (0, 1));
    }

    #[test]
    fn a_forgotten_key_is_wiped_when_its_last_user_is_done() {
        let now = Instant::now();
        let cache = cache(now);
        let held = key(9);
        let watched = Arc::downgrade(&held);
        cache.hold(id(9), wrapped(9), held, now);
        let Cached::Fresh(in_use) = cache.find(id(9), &wrapped(9), now) else { panic!("it was held") };
        cache.forget(id(9));
        assert!(watched.upgrade().is_some());
        drop(in_use);
        assert!(watched.upgrade().is_none());
    }

    #[test]
    fn hits_and_misses_are_counted() {
        let now = Instant::now();
        let cache = cache(now);
        assert!(is_fresh(&cache, 1, now) && !is_fresh(&cache, 2, now));
        assert!(matches!(cache.find(id(1), &wrapped(1), now + 50 * SECOND), Cached::Spent(_)));
        cache.used_offline();
        let status = cache.status();
        assert_eq!((status.hits, status.offline_hits, status.misses), (2, 1, 1));
        assert_eq!((status.entries, status.entries_max), (1, 2));
    }

    #[test]
    fn a_cache_without_room_holds_nothing() {
        let now = Instant::now();
        let cache = KeyCache::new(CacheLimits { entries_max: 0, ..CacheLimits::default() });
        cache.hold(id(1), wrapped(1), key(1), now);
        assert!(!is_fresh(&cache, 1, now));
        assert_eq!(cache.status(), CacheStatus::default());
    }
}
