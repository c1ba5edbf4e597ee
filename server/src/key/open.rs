//! How a wrapped key is opened again, and when one that is held unwrapped may be used.
//!
//! Every use reads the key's row in the keyring first, with the state of the master key above it. What is held is used
//! only if it came from the very bytes that stand in that row, so that a key that was erased, moved or disabled on any
//! node is used no more; past its time it is used only if the HSM turns out to be away.

use std::sync::Arc;
use std::time::Instant;

use strongroom_engine::{ContextDigest, DataKey, KeyId, Kind, open_small};
use strongroom_hsm::{CacheStatus, Cached, Health, KeyError, MasterKeyId, WrappedKey};

use super::bucket_key::BUCKET_KEY_LABEL;
use super::{CustomerKey, DataKeys, Keys, ObjectPlace};
use crate::audit::{Subject, UseError};
use crate::catalog::encryption::Encryption;
use crate::error::{KeyringError, OpError};
use crate::keyring::{KeyRow, MasterKeyState, Wrapped};

impl Keys {
    /// The data keys with these ids, of an object in the bucket of this name; `None` if the keyring has lost a row.
    ///
    /// # Errors
    /// [`OpError::Damaged`] if there are others than the encryption has, or a row is not this object's data key;
    /// [`OpError::Unavailable`]; what [`CustomerKey::check`] refuses.
    pub async fn data_keys(
        &self,
        ids: &[KeyId],
        bucket: &str,
        place: ObjectPlace<'_>,
        encryption: &Encryption,
        customer: Option<&CustomerKey>,
    ) -> Result<Option<DataKeys>, OpError> {
        CustomerKey::check(customer, encryption)?;
        if ids.len() != encryption.layer_count() {
            return Err(OpError::damaged("a row names another number of data keys than its record"));
        }
        let mut keys = Vec::with_capacity(ids.len());
        for (layer, id) in (0..).zip(ids) {
            let context = self.data_key_context(place, layer, encryption);
            match self.data_key(*id, context, Subject::object(bucket, place.key), customer).await? {
                Some(key) => keys.push((*id, key)),
                None => return Ok(None),
            }
        }
        Ok(Some(DataKeys(keys)))
    }

    async fn data_key(
        &self,
        id: KeyId,
        context: ContextDigest,
        subject: Subject<'_>,
        customer: Option<&CustomerKey>,
    ) -> Result<Option<Arc<DataKey>>, OpError> {
        let Some(row) = self.row(id, Kind::DataKey, &context).await? else {
            self.data_keys.forget(id);
            return Ok(None);
        };
        match &row.wrapped {
            Wrapped::ByMaster(wrapped) => Ok(Some(self.held_or_unwrapped(&row, wrapped, subject).await?)),
            Wrapped::ByCustomerKey { sealed } => {
                let customer = customer.ok_or_else(|| OpError::damaged("a data key lies under a customer's key"))?;
                Ok(Some(Arc::new(customer.unwrap(&row.context, sealed)?)))
            }
            // To open it costs microseconds; what is held is its bucket key.
            Wrapped::ByBucketKey { .. } => match self.unwrap(&row, subject).await {
                // It may have been erased since its row was read, and its bucket key with it.
                Err(UseError::Key(KeyError::Refused)) if self.keyring.row(id).await?.is_none() => Ok(None),
                outcome => Ok(Some(Arc::new(outcome?))),
            },
        }
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

    /// Unwraps what a row holds, whatever kind of key it is, and whatever is its parent, if the store has that.
    ///
    /// # Errors
    /// The HSM's; [`KeyError::Refused`] if its bucket key is gone or does not open it; [`KeyError::Away`] where the keyring
    /// cannot be read; [`UseError::Audit`].
    pub async fn unwrap(&self, row: &KeyRow, subject: Subject<'_>) -> Result<DataKey, UseError> {
        match &row.wrapped {
            Wrapped::ByMaster(wrapped) => self.unwrap_by_master(row, wrapped, subject).await,
            Wrapped::ByBucketKey { bucket_key, sealed } => {
                let parent = self.opened_bucket_key(*bucket_key, subject).await?;
                let mut plain =
                    open_small(&parent, BUCKET_KEY_LABEL, &row.context, sealed).map_err(|_| KeyError::Refused)?;
                let key: &mut [u8; 32] = plain.as_mut_slice().try_into().map_err(|_| KeyError::Refused)?;
                Ok(DataKey::from_bytes(key))
            }
            Wrapped::ByCustomerKey { .. } => Err(KeyError::Refused.into()),
        }
    }

    /// The row of a key that may be used now: it is there, it is the one that is meant, its master key is enabled.
    pub(super) async fn row(&self, id: KeyId, kind: Kind, context: &ContextDigest) -> Result<Option<KeyRow>, OpError> {
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

    /// The key of a row that was read just now, from the cache if it is there.
    async fn held_or_unwrapped(
        &self,
        row: &KeyRow,
        wrapped: &WrappedKey,
        subject: Subject<'_>,
    ) -> Result<Arc<DataKey>, UseError> {
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
            (Err(UseError::Key(KeyError::Away { .. })), Some(key)) => {
                self.data_keys.used_offline();
                Ok(key)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The bucket key that a data key was wrapped under.
    async fn opened_bucket_key(&self, id: KeyId, subject: Subject<'_>) -> Result<Arc<DataKey>, UseError> {
        let row = match self.keyring.row_to_use(id).await {
            Ok(row) => row,
            Err(KeyringError::Damaged(_)) => return Err(KeyError::Refused.into()),
            Err(error) => return Err(KeyError::Away { reason: error.to_string() }.into()),
        };
        let Some((row, state)) = row.filter(|(row, _)| row.kind == Kind::BucketKey) else {
            return Err(KeyError::Refused.into());
        };
        let Wrapped::ByMaster(wrapped) = &row.wrapped else { return Err(KeyError::Refused.into()) };
        if state.is_some_and(|state| state != MasterKeyState::Enabled) {
            return Err(KeyError::Disabled { id: wrapped.master }.into());
        }
        self.held_or_unwrapped(&row, wrapped, subject).await
    }

    async fn unwrap_by_master(
        &self,
        row: &KeyRow,
        wrapped: &WrappedKey,
        subject: Subject<'_>,
    ) -> Result<DataKey, UseError> {
        let what = (row.kind, row.id);
        match self.audited.unwrap(wrapped, &row.context, what, subject).await {
            // Made on another node since the keyring was last read, or enabled there.
            Err(UseError::Key(KeyError::UnknownMasterKey { .. } | KeyError::Disabled { .. }))
                if self.refresh().await.is_ok() =>
            {
                self.audited.unwrap(wrapped, &row.context, what, subject).await
            }
            outcome => outcome,
        }
    }
}
