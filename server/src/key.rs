//! Step 3: which key a request gets.
//!
//! Every new key is wrapped by the HSM before a byte is sealed with it. A key that is remembered is used only after
//! this request read its keyring row and found it equal to the one that was unwrapped, so that a key that was erased or
//! wrapped anew takes effect at once, on every node. What other nodes did to master keys is read from the keyring when a
//! call fails for it, and from time to time.

mod bucket_key;
mod context;
mod customer;
mod fresh;
mod named;
mod open;
mod wrap;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_engine::{Context, ContextDigest, DataKey, KeyId, Kind};
use strongroom_hsm::{Alias, CacheLimits, KeyCache, MasterKeyAdmin, MasterKeyId};

use crate::audit::{AuditLog, AuditedMasters, Subject, Who, on_behalf_of};
use crate::catalog::BucketRow;
use crate::catalog::encryption::Encryption;
use crate::catalog::record::RecordKey;
use crate::clock::Clock;
use crate::error::{KeyringError, OpError};
use crate::id::{BucketId, SessionId, StoreId, WriteId};
use crate::keyring::{Kept, KeyRow, KeyringAdmin, KeyringIdentity, Wrapped};
use crate::pipeline::Layer;
use bucket_key::BucketKeys;

pub use context::{EncryptionContext, InvalidContext};
pub use customer::CustomerKey;
pub use fresh::{FreshKeys, KeptKeys};
pub use named::NamedKey;

/// Catalog keys remembered at most; beyond it all are forgotten and unwrapped again as they are needed.
const REMEMBERED: usize = 4096;

/// How keys are used, and what is told of it.
#[derive(Clone, Debug, Default)]
pub struct KeyUseConfig {
    /// Where every use of a master key leaves an event; nothing: `audit.log` in the data folder.
    pub audit_log: Option<PathBuf>,
    /// How many unwrapped data keys are held, and how long.
    pub cache: CacheLimits,
    /// Whether new buckets take writes with customers' keys (SSE-C).
    pub new_buckets_take_sse_c: bool,
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

/// The data keys of one write or object, the innermost layer's first: one, two with DSSE, none of a plaintext.
pub struct DataKeys(Vec<(KeyId, Arc<DataKey>)>);

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
    /// Aliases under whose current version nothing could be wrapped, and which version that was.
    stuck: Mutex<HashMap<Alias, MasterKeyId>>,
    /// Held while more of them are set aside.
    setting_aside: tokio::sync::Mutex<()>,
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
            stuck: Mutex::default(),
            setting_aside: tokio::sync::Mutex::default(),
            record_keys: Mutex::default(),
            store_key: Mutex::default(),
            data_keys: KeyCache::new(cache),
            bucket_keys: BucketKeys::default(),
        }
    }

    /// A new catalog key for the bucket of this name, wrapped, and ready to seal its records.
    ///
    /// # Errors
    /// [`OpError::Unavailable`] while the HSM is away.
    pub async fn fresh_record_key(&self, name: &str, bucket: BucketId) -> Result<(RecordKey, KeyRow), OpError> {
        let context = self.catalog_key_context(bucket);
        let (key, row) = self.fresh(Kind::CatalogKey, &self.alias, context, Subject::bucket(name)).await?;
        Ok((RecordKey::new(self.store, bucket, key), row))
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
    /// it is wrapped once more, under the version of `alias` that is current now.
    async fn keep(&self, alias: &Alias, key: &DataKey, mut row: KeyRow, subject: Subject<'_>) -> Result<Kept, OpError> {
        match self.keyring.keep(row.clone()).await {
            Err(KeyringError::UnknownParent) => {
                self.refresh().await?;
                // Or its bucket key, or the master key of that.
                self.bucket_keys.forget();
                let wrapped = self.wrap(alias, key, &row.context, (row.kind, row.id), subject).await?;
                row.wrapped = Wrapped::ByMaster(wrapped);
                Ok(self.keyring.keep(row).await?)
            }
            outcome => Ok(outcome?),
        }
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

    /// The layers of a stream of an object, or of a part of it (0 for a whole object), the innermost first: each key, and
    /// what binds the layer to its place.
    pub fn layers(&self, keys: &DataKeys, place: ObjectPlace<'_>, part_number: u16) -> Vec<Layer> {
        let layers = (0..).zip(&keys.0).map(|(layer, (id, key))| {
            let mut context = object_context(Kind::Stream, &self.store, &place);
            context.part_number = u32::from(part_number);
            context.layer = layer;
            Layer { id: *id, key: key.clone(), context: context.digest() }
        });
        layers.collect()
    }

    async fn fresh(
        &self,
        kind: Kind,
        alias: &Alias,
        context: ContextDigest,
        subject: Subject<'_>,
    ) -> Result<(DataKey, KeyRow), OpError> {
        let (id, key) = (KeyId::fresh(self.clock.now_ms())?, DataKey::generate()?);
        let wrapped = Wrapped::ByMaster(self.wrap(alias, &key, &context, (kind, id), subject).await?);
        Ok((key, KeyRow { id, kind, wrapped, context, session: self.session }))
    }

    fn data_key_context(&self, place: ObjectPlace<'_>, layer: u8, encryption: &Encryption) -> ContextDigest {
        let mut context = object_context(Kind::DataKey, &self.store, &place);
        context.layer = layer;
        context.encryption_context = encryption.context();
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
