//! New data keys: each wrapped before a byte is sealed with it, by a master key, a bucket key or a customer's key.

use std::sync::Arc;

use futures::future::try_join_all;
use strongroom_engine::{DataKey, KeyId, Kind, seal_small};
use strongroom_hsm::Alias;

use super::bucket_key::BUCKET_KEY_LABEL;
use super::{CustomerKey, DataKeys, Keys, ObjectPlace};
use crate::audit::Subject;
use crate::catalog::BucketRow;
use crate::catalog::encryption::Encryption;
use crate::error::OpError;
use crate::keyring::{Kept, KeyRow, Wrapped};

/// Data keys just made, and their rows, which are to be kept in the keyring before the write is committed.
pub struct FreshKeys {
    keys: DataKeys,
    rows: Vec<KeyRow>,
    alias: Alias,
}

/// Proof that the data keys of a write would survive a power cut: as many as its encryption has layers.
#[derive(Debug)]
pub struct KeptKeys(Vec<Kept>);

impl KeptKeys {
    /// The keys that are kept, the innermost layer's first.
    pub fn ids(&self) -> Vec<KeyId> {
        self.0.iter().map(Kept::id).collect()
    }
}

impl FreshKeys {
    /// The keys.
    pub fn keys(&self) -> &DataKeys {
        &self.keys
    }

    /// Their ids, the innermost layer's first.
    pub fn ids(&self) -> Vec<KeyId> {
        self.rows.iter().map(|row| row.id).collect()
    }
}

impl Keys {
    /// New data keys for a write in a bucket: one for each layer of the encryption, none for a plaintext.
    ///
    /// # Errors
    /// [`OpError::Unavailable`] while the HSM is away: nothing may be written then, but under a bucket key that serves;
    /// what [`CustomerKey::check`] refuses.
    pub async fn fresh_data_keys(
        self: &Arc<Self>,
        bucket: &BucketRow,
        place: ObjectPlace<'_>,
        encryption: &Encryption,
        customer: Option<&CustomerKey>,
    ) -> Result<FreshKeys, OpError> {
        let keys: Result<Vec<_>, _> =
            (0..encryption.layer_count()).map(|_| DataKey::generate().map(Arc::new)).collect();
        self.wrapped_anew(bucket, place, encryption, customer, keys?).await
    }

    /// The data keys of an object under new ids, wrapped as another encryption has it.
    ///
    /// # Errors
    /// As [`Keys::fresh_data_keys`].
    pub async fn rewrapped(
        self: &Arc<Self>,
        bucket: &BucketRow,
        place: ObjectPlace<'_>,
        encryption: &Encryption,
        keys: DataKeys,
    ) -> Result<FreshKeys, OpError> {
        let keys = keys.0.into_iter().map(|(_, key)| key).collect();
        self.wrapped_anew(bucket, place, encryption, None, keys).await
    }

    async fn wrapped_anew(
        self: &Arc<Self>,
        bucket: &BucketRow,
        place: ObjectPlace<'_>,
        encryption: &Encryption,
        customer: Option<&CustomerKey>,
        keys: Vec<Arc<DataKey>>,
    ) -> Result<FreshKeys, OpError> {
        CustomerKey::check(customer, encryption)?;
        let layers = (0..).zip(keys).map(async |(layer, key)| {
            let id = KeyId::fresh(self.clock.now_ms())?;
            let row = self.wrapped(bucket, place, encryption, customer, layer, (id, &key)).await?;
            Ok::<_, OpError>(((id, key), row))
        });
        let (keys, rows) = try_join_all(layers).await?.into_iter().unzip();
        let alias = encryption.kms_key().map_or(&self.alias, |key| &key.alias).clone();
        Ok(FreshKeys { keys: DataKeys(keys), rows, alias })
    }

    /// Keeps the rows of new data keys, side by side.
    ///
    /// # Errors
    /// The keyring's, and those of a wrap.
    pub async fn keep_fresh(&self, fresh: &FreshKeys, subject: Subject<'_>) -> Result<KeptKeys, OpError> {
        let rows = fresh.keys.0.iter().zip(&fresh.rows);
        let kept = rows.map(|((_, key), row)| self.keep(&fresh.alias, key, row.clone(), subject));
        Ok(KeptKeys(try_join_all(kept).await?))
    }

    /// The row of a data key of one layer, wrapped as the encryption has it.
    async fn wrapped(
        self: &Arc<Self>,
        bucket: &BucketRow,
        place: ObjectPlace<'_>,
        encryption: &Encryption,
        customer: Option<&CustomerKey>,
        layer: u8,
        (id, key): (KeyId, &DataKey),
    ) -> Result<KeyRow, OpError> {
        let context = self.data_key_context(place, layer, encryption);
        let alias = encryption.kms_key().map_or(&self.alias, |key| &key.alias);
        let wrapped = match customer {
            Some(customer) => customer.wrap(key, &context)?,
            None if encryption.has_bucket_key() => {
                let parent = self.bucket_key(bucket, alias).await?;
                let sealed = seal_small(&parent.key, BUCKET_KEY_LABEL, &context, key.expose())?;
                Wrapped::ByBucketKey { bucket_key: parent.id, sealed }
            }
            None => {
                let subject = Subject::object(&bucket.name, place.key);
                Wrapped::ByMaster(self.wrap(alias, key, &context, (Kind::DataKey, id), subject).await?)
            }
        };
        Ok(KeyRow { id, kind: Kind::DataKey, wrapped, context, session: self.session })
    }
}
