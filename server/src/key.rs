//! Step 3: which key a request gets, and how a wrapped key is opened again.
//!
//! Every new key is wrapped by the HSM before a byte is sealed with it. A key that is remembered is used only after
//! this request read its keyring row and found it equal to the one that was unwrapped, so that a key that was erased or
//! wrapped anew takes effect at once, on every node. What other nodes did to master keys is read from the keyring when a
//! call fails for it, and from time to time.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use strongroom_engine::{Context, ContextDigest, DataKey, KeyId, Kind, open_small, seal_small};
use strongroom_hsm::{
    Alias, CacheLimits, CacheStatus, Cached, Health, KeyCache, KeyError, MasterKeyAdmin, MasterKeyId, WrappedKey,
};

use crate::audit::{AuditLog, AuditedMasters, Subject, Who, on_behalf_of};
use crate::bucket_key::{BucketKey, BucketKeys};
use crate::catalog::BucketRow;
use crate::catalog::record::{Encryption, RecordKey};
use crate::clock::Clock;
use crate::error::{KeyringError, OpError};
use crate::id::{BucketId, SessionId, StoreId, WriteId};
use crate::keyring::{Kept, KeyRow, KeyringAdmin, KeyringIdentity, MasterKeyState, Wrapped};

/// Catalog keys remembered at most; beyond it all are forgotten and unwrapped again as they are needed.
const REMEMBERED: usize = 4096;

/// Separates the wraps of a bucket key from any other use of it.
const BUCKET_KEY_LABEL: &str = "strongroom/bucket-key/1";

/// Wraps that this process sets aside at once under a master key; at most so many are counted and never made.
const WRAPS_AT_ONCE: u64 = 1 << 20;

/// A call that fails because another node changed a master key is tried so often again, with a rest between: a rotation
/// has its new version on the token a moment before the keyring names it.
const TRIES: usize = 6;
const REST: Duration = Duration::from_millis(250);

/// How keys are used, and what is told of it.
#[derive(Clone, Debug, Default)]
pub struct KeyUseConfig {
    /// Where every use of a master key leaves an event; nothing: `audit.log` in the data folder.
    pub audit_log: Option<PathBuf>,
    /// How many unwrapped data keys are held, and how long.
    pub cache: CacheLimits,
}

/// Which object a key, or a stream, belongs to.
#[derive(Clone, Copy)]
pub struct ObjectPlace<'a> {
    /// The bucket's identity.
    pub bucket: BucketId,
    /// The object's key.
    pub key: &'a str,
    /// The write that made it.
    pub write_id: WriteId,
}

/// A key that is remembered, and the wrapped form that it came from.
struct Remembered<K> {
    wrapped: Wrapped,
    key: Arc<K>,
}

/// Makes, wraps and opens the keys of one store.
pub struct Keys {
    store: StoreId,
    store_key_id: KeyId,
    session: SessionId,
    masters: Arc<dyn MasterKeyAdmin>,
    audited: AuditedMasters,
    keyring: Arc<dyn KeyringAdmin>,
    clock: Arc<dyn Clock>,
    alias: Alias,
    wraps_left: Mutex<HashMap<MasterKeyId, u64>>,
    record_keys: Mutex<HashMap<BucketId, Remembered<RecordKey>>>,
    store_key: Mutex<Option<Remembered<DataKey>>>,
    data_keys: KeyCache,
    bucket_keys: BucketKeys,
}

impl Keys {
    /// The keys of a store, for what is made in `session`.
    pub fn new(
        identity: KeyringIdentity,
        session: SessionId,
        masters: Arc<dyn MasterKeyAdmin>,
        audit: AuditLog,
        keyring: Arc<dyn KeyringAdmin>,
        clock: Arc<dyn Clock>,
        cache: CacheLimits,
    ) -> Self {
        let audited = AuditedMasters::new(masters.clone(), audit);
        Self {
            store: identity.store,
            store_key_id: identity.store_key,
            session,
            masters,
            audited,
            keyring,
            clock,
            alias: Alias::default_alias(),
            wraps_left: Mutex::default(),
            record_keys: Mutex::default(),
            store_key: Mutex::default(),
            data_keys: KeyCache::new(cache),
            bucket_keys: BucketKeys::default(),
        }
    }

    /// A new data key for a write in a bucket, wrapped by the master key or by a bucket key; the row is to be kept in the
    /// keyring before the write is committed.
    ///
    /// # Errors
    /// [`OpError::Unavailable`] while the HSM is away: nothing may be written then, but under a bucket key that serves.
    pub async fn fresh_data_key(
        self: &Arc<Self>,
        bucket: &BucketRow,
        place: ObjectPlace<'_>,
        encryption: Encryption,
    ) -> Result<(DataKey, KeyRow), OpError> {
        let context = self.data_key_context(place);
        if !encryption.has_bucket_key() {
            return self.fresh(Kind::DataKey, context, Subject::object(&bucket.name, place.key)).await;
        }
        let parent = self.bucket_key(bucket).await?;
        let (id, key) = (KeyId::fresh(self.clock.now_ms())?, DataKey::generate()?);
        let sealed = seal_small(&parent.key, BUCKET_KEY_LABEL, &context, key.expose())?;
        let wrapped = Wrapped::ByBucketKey { bucket_key: parent.id, sealed };
        Ok((key, KeyRow { id, kind: Kind::DataKey, wrapped, context, session: self.session }))
    }

    /// The bucket key for one more data key.
    async fn bucket_key(self: &Arc<Self>, bucket: &BucketRow) -> Result<BucketKey, OpError> {
        let slot = self.bucket_keys.slot(bucket.id);
        loop {
            if let Some(taken) = slot.take(Instant::now()) {
                if taken.makes_successor {
                    let (keys, slot, bucket) = (self.clone(), slot.clone(), bucket.clone());
                    // On nobody's behalf: it will serve whoever comes.
                    tokio::spawn(async move {
                        let made = keys.fresh_bucket_key(&bucket).await;
                        let made = made.inspect_err(|error| tracing::warn!(%error, "no new bucket key yet")).ok();
                        slot.succeed(made, Instant::now());
                    });
                }
                return Ok(taken.key);
            }
            let _turn = slot.first.lock().await;
            if !slot.serves(Instant::now()) {
                slot.succeed(Some(self.fresh_bucket_key(bucket).await?), Instant::now());
            }
        }
    }

    /// A new bucket key, wrapped by the master key and kept.
    async fn fresh_bucket_key(&self, bucket: &BucketRow) -> Result<BucketKey, OpError> {
        let (id, key) = (KeyId::fresh(self.clock.now_ms())?, DataKey::generate()?);
        let (context, subject) = (self.bucket_key_context(bucket.id, id), Subject::bucket(&bucket.name));
        let wrapped = self.wrap(&self.alias, &key, &context, (Kind::BucketKey, id), subject).await?;
        let wrapped = Wrapped::ByMaster(wrapped);
        let row = KeyRow { id, kind: Kind::BucketKey, wrapped, context, session: self.session };
        self.keep(&key, row, subject).await?;
        Ok(BucketKey { id, key: Arc::new(key) })
    }

    /// A new catalog key for the bucket of this name, wrapped, and ready to seal its records.
    ///
    /// # Errors
    /// [`OpError::Unavailable`] while the HSM is away.
    pub async fn fresh_record_key(&self, name: &str, bucket: BucketId) -> Result<(RecordKey, KeyRow), OpError> {
        let (key, row) = self.fresh(Kind::CatalogKey, self.catalog_key_context(bucket), Subject::bucket(name)).await?;
        Ok((RecordKey::new(self.store, bucket, key), row))
    }

    /// The data key with this id, of an object in the bucket of this name; `None` if the keyring has no such row.
    ///
    /// # Errors
    /// [`OpError::Damaged`] if the row is not this object's data key; [`OpError::Unavailable`].
    pub async fn data_key(
        &self,
        id: KeyId,
        bucket: &str,
        place: ObjectPlace<'_>,
    ) -> Result<Option<Arc<DataKey>>, OpError> {
        let context = self.data_key_context(place);
        let Some(row) = self.row(id, Kind::DataKey, &context).await? else {
            self.data_keys.forget(id);
            return Ok(None);
        };
        let subject = Subject::object(bucket, place.key);
        match &row.wrapped {
            Wrapped::ByMaster(wrapped) => Ok(Some(self.held_or_unwrapped(&row, wrapped, subject).await?)),
            // To open it costs microseconds; what is held is its bucket key.
            Wrapped::ByBucketKey { .. } => Ok(Some(Arc::new(self.unwrap(&row, subject).await?))),
        }
    }

    /// The key of a row that was read just now, from the cache if it is there.
    async fn held_or_unwrapped(
        &self,
        row: &KeyRow,
        wrapped: &WrappedKey,
        subject: Subject<'_>,
    ) -> Result<Arc<DataKey>, KeyError> {
        let now = Instant::now();
        let spent = match self.data_keys.find(row.id, wrapped, now) {
            Cached::Fresh(key) => return Ok(key),
            Cached::Spent(key) => Some(key),
            Cached::Absent => None,
        };
        match (self.unwrap_by_master(row, wrapped, subject).await, spent) {
            (Ok(key), _) => {
                let key = Arc::new(key);
                self.data_keys.hold(row.id, wrapped.clone(), key.clone(), now);
                Ok(key)
            }
            (Err(KeyError::Away { .. }), Some(key)) => {
                self.data_keys.used_offline();
                Ok(key)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The bucket key that a data key was wrapped under.
    async fn opened_bucket_key(&self, id: KeyId, subject: Subject<'_>) -> Result<Arc<DataKey>, KeyError> {
        let row = match self.keyring.row_to_use(id).await {
            Ok(row) => row,
            Err(KeyringError::Damaged(_)) => return Err(KeyError::Refused),
            Err(error) => return Err(KeyError::Away { reason: error.to_string() }),
        };
        let Some((row, state)) = row.filter(|(row, _)| row.kind == Kind::BucketKey) else {
            return Err(KeyError::Refused);
        };
        let Wrapped::ByMaster(wrapped) = &row.wrapped else { return Err(KeyError::Refused) };
        if state.is_some_and(|state| state != MasterKeyState::Enabled) {
            return Err(KeyError::Disabled { id: wrapped.master });
        }
        self.held_or_unwrapped(&row, wrapped, subject).await
    }

    /// What became of lookups in the data-key cache.
    pub fn cache_status(&self) -> CacheStatus {
        self.data_keys.status()
    }

    /// Forgets the data keys whose time is over.
    pub async fn forget_old(&self) {
        let is_away = matches!(self.masters.health().await, Health::Degraded { .. });
        self.data_keys.forget_old(Instant::now(), is_away);
        self.bucket_keys.forget_old(Instant::now());
    }

    /// The key that seals a bucket's records.
    ///
    /// # Errors
    /// [`OpError::Damaged`] if the keyring lost the row or it is not this bucket's; [`OpError::Unavailable`].
    pub async fn record_key(&self, bucket: &BucketRow) -> Result<Arc<RecordKey>, OpError> {
        let context = self.catalog_key_context(bucket.id);
        let row = self.row(bucket.catalog_key, Kind::CatalogKey, &context).await?;
        let row = row.ok_or_else(|| OpError::damaged("the keyring has no catalog key for this bucket"))?;
        if let Some(known) = locked(&self.record_keys).get(&bucket.id).filter(|known| known.wrapped == row.wrapped) {
            return Ok(known.key.clone());
        }
        let key = self.unwrap(&row, Subject::bucket(&bucket.name)).await?;
        let key = Arc::new(RecordKey::new(self.store, bucket.id, key));
        let mut remembered = locked(&self.record_keys);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(bucket.id, Remembered { wrapped: row.wrapped, key: key.clone() });
        Ok(key)
    }

    /// The key that seals the store's own configuration: users, access keys, policies.
    ///
    /// # Errors
    /// [`OpError::Damaged`] if the keyring lost it; [`OpError::Unavailable`].
    pub async fn store_key(&self) -> Result<Arc<DataKey>, OpError> {
        let context = store_key_context(self.store);
        let row = self.row(self.store_key_id, Kind::StoreKey, &context).await?;
        let row = row.ok_or_else(|| OpError::damaged("the keyring has lost the store key"))?;
        if let Some(known) = locked(&self.store_key).as_ref().filter(|known| known.wrapped == row.wrapped) {
            return Ok(known.key.clone());
        }
        // Looked up before anybody's signature was found right, so on nobody's behalf.
        let key = on_behalf_of(Who::server(), self.unwrap(&row, Subject::default())).await?;
        let key = Arc::new(key);
        *locked(&self.store_key) = Some(Remembered { wrapped: row.wrapped, key: key.clone() });
        Ok(key)
    }

    /// Keeps the row of a key in the keyring. Where its master key was disabled since it was wrapped, on whatever node,
    /// it is wrapped once more, under the version that is current now.
    ///
    /// # Errors
    /// The keyring's, and those of a wrap.
    pub async fn keep(&self, key: &DataKey, mut row: KeyRow, subject: Subject<'_>) -> Result<Kept, OpError> {
        match self.keyring.keep(row.clone()).await {
            Err(KeyringError::UnknownParent) => {
                self.refresh().await?;
                // Or its bucket key, or the master key of that.
                self.bucket_keys.forget();
                let wrapped = self.wrap_again(&self.alias, key, &row, subject).await?;
                row.wrapped = Wrapped::ByMaster(wrapped);
                Ok(self.keyring.keep(row).await?)
            }
            outcome => Ok(outcome?),
        }
    }

    /// Unwraps what a row holds, whatever kind of key it is, and whatever is its parent.
    ///
    /// # Errors
    /// The HSM's; [`KeyError::Refused`] if its bucket key is gone or does not open it; [`KeyError::Away`] where the keyring
    /// cannot be read.
    pub async fn unwrap(&self, row: &KeyRow, subject: Subject<'_>) -> Result<DataKey, KeyError> {
        match &row.wrapped {
            Wrapped::ByMaster(wrapped) => self.unwrap_by_master(row, wrapped, subject).await,
            Wrapped::ByBucketKey { bucket_key, sealed } => {
                let parent = self.opened_bucket_key(*bucket_key, subject).await?;
                let mut plain =
                    open_small(&parent, BUCKET_KEY_LABEL, &row.context, sealed).map_err(|_| KeyError::Refused)?;
                let key: &mut [u8; 32] = plain.as_mut_slice().try_into().map_err(|_| KeyError::Refused)?;
                Ok(DataKey::from_bytes(key))
            }
        }
    }

    async fn unwrap_by_master(
        &self,
        row: &KeyRow,
        wrapped: &WrappedKey,
        subject: Subject<'_>,
    ) -> Result<DataKey, KeyError> {
        let what = (row.kind, row.id);
        match self.audited.unwrap(wrapped, &row.context, what, subject).await {
            // Made on another node since the keyring was last read, or enabled there.
            Err(KeyError::UnknownMasterKey { .. } | KeyError::Disabled { .. }) if self.refresh().await.is_ok() => {
                self.audited.unwrap(wrapped, &row.context, what, subject).await
            }
            outcome => outcome,
        }
    }

    /// Wraps the key of a row anew, under the current version of `alias`.
    ///
    /// # Errors
    /// [`OpError::Unavailable`], [`OpError::KeyDisabled`].
    pub async fn wrap_again(
        &self,
        alias: &Alias,
        key: &DataKey,
        row: &KeyRow,
        subject: Subject<'_>,
    ) -> Result<WrappedKey, OpError> {
        self.wrap(alias, key, &row.context, (row.kind, row.id), subject).await
    }

    /// Wraps a key under the current version of `alias`, and counts the wrap before it is made.
    async fn wrap(
        &self,
        alias: &Alias,
        key: &DataKey,
        context: &ContextDigest,
        what: (Kind, KeyId),
        subject: Subject<'_>,
    ) -> Result<WrappedKey, OpError> {
        for _ in 1..TRIES {
            self.count_wrap(alias).await?;
            match self.audited.wrap(alias, key, context, what, subject).await {
                Err(KeyError::Superseded { .. } | KeyError::UnknownMasterKey { .. } | KeyError::NoSuchAlias { .. }) => {
                    self.refresh().await?;
                    tokio::time::sleep(REST).await;
                }
                Err(KeyError::Disabled { .. }) => {
                    self.refresh().await?;
                    break;
                }
                outcome => return Ok(outcome?),
            }
        }
        Ok(self.audited.wrap(alias, key, context, what, subject).await?)
    }

    /// Tells the provider what the keyring knows of master keys.
    ///
    /// # Errors
    /// The keyring's.
    pub async fn refresh(&self) -> Result<(), KeyringError> {
        let rows = self.keyring.master_keys().await?;
        self.masters.register(rows.into_iter().filter_map(crate::life::known).collect());
        Ok(())
    }

    /// One wrap of those that were set aside in the keyring; more are set aside when none is left.
    async fn count_wrap(&self, alias: &Alias) -> Result<(), KeyringError> {
        let Some((id, _)) = self.masters.current(alias) else { return Ok(()) };
        let take = |left: &mut u64| left.checked_sub(1).map(|fewer| *left = fewer).is_some();
        if locked(&self.wraps_left).get_mut(&id).is_some_and(take) {
            return Ok(());
        }
        self.keyring.take_wraps(id, WRAPS_AT_ONCE).await?;
        *locked(&self.wraps_left).entry(id).or_default() += WRAPS_AT_ONCE - 1;
        Ok(())
    }

    /// What binds a sealed stream to its object, and to its part (0 for a whole object).
    pub fn stream_context(&self, place: ObjectPlace<'_>, part_number: u16) -> ContextDigest {
        let mut context = object_context(Kind::Stream, &self.store, &place);
        context.part_number = u32::from(part_number);
        context.digest()
    }

    async fn fresh(
        &self,
        kind: Kind,
        context: ContextDigest,
        subject: Subject<'_>,
    ) -> Result<(DataKey, KeyRow), OpError> {
        let (id, key) = (KeyId::fresh(self.clock.now_ms())?, DataKey::generate()?);
        let wrapped = Wrapped::ByMaster(self.wrap(&self.alias, &key, &context, (kind, id), subject).await?);
        Ok((key, KeyRow { id, kind, wrapped, context, session: self.session }))
    }

    /// The row of a key that may be used now: it is there, it is the one that is meant, its master key is enabled.
    async fn row(&self, id: KeyId, kind: Kind, context: &ContextDigest) -> Result<Option<KeyRow>, OpError> {
        let Some((row, state)) = self.keyring.row_to_use(id).await? else { return Ok(None) };
        if row.kind != kind || row.context != *context {
            return Err(OpError::damaged("a wrapped key belongs elsewhere"));
        }
        // That of a bucket key is looked at when the bucket key is read.
        if state.is_some_and(|state| state != MasterKeyState::Enabled) {
            // Whatever is remembered: from now on this node, too, knows that it is disabled.
            self.refresh().await?;
            return Err(KeyError::Disabled { id: MasterKeyId::new(*row.wrapped.parent()) }.into());
        }
        Ok(Some(row))
    }

    fn data_key_context(&self, place: ObjectPlace<'_>) -> ContextDigest {
        object_context(Kind::DataKey, &self.store, &place).digest()
    }

    /// Its id stands where an object has its write id, so that no two keys of a bucket can trade places.
    fn bucket_key_context(&self, bucket: BucketId, id: KeyId) -> ContextDigest {
        let mut context = Context::new(Kind::BucketKey);
        context.store_id = self.store.as_bytes();
        context.bucket_id = bucket.as_bytes();
        context.write_id = id.as_bytes();
        context.digest()
    }

    fn catalog_key_context(&self, bucket: BucketId) -> ContextDigest {
        let mut context = Context::new(Kind::CatalogKey);
        context.store_id = self.store.as_bytes();
        context.bucket_id = bucket.as_bytes();
        context.digest()
    }
}

/// What the store key of `store` is wrapped for.
pub fn store_key_context(store: StoreId) -> ContextDigest {
    let mut context = Context::new(Kind::StoreKey);
    context.store_id = store.as_bytes();
    context.digest()
}

fn object_context<'a>(kind: Kind, store: &'a StoreId, place: &'a ObjectPlace<'a>) -> Context<'a> {
    let mut context = Context::new(kind);
    context.store_id = store.as_bytes();
    context.bucket_id = place.bucket.as_bytes();
    context.object_key = place.key.as_bytes();
    context.write_id = place.write_id.as_bytes();
    context
}

/// What the lock guards is replaced as a whole, so a panic elsewhere cannot have left it half changed.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
