//! How one write is encrypted, decided once and in this order: request and bucket, the caller's right to the master key,
//! the state of that key.

use crate::catalog::encryption::{Encryption, KmsKey};
use crate::error::OpError;
use crate::key::CustomerKey;
use crate::ops::OpenBucket;
use crate::policy::encryption::{Asked, AskedKey, Granted, config, encryption};
use crate::store::Store;

/// The encryption of a write, and the customer's key where it takes one.
pub(super) struct Chosen {
    pub(super) encryption: Encryption,
    pub(super) customer: Option<CustomerKey>,
}

/// The encryption that a write to `bucket` gets.
///
/// # Errors
/// [`OpError::AccessDenied`]; an alias that there is none of, or that may not be used; [`OpError::Damaged`] if the bucket's
/// configuration does not open.
pub(super) async fn choose(store: &Store, bucket: &OpenBucket, asked: Asked) -> Result<Chosen, OpError> {
    let mut customer = None;
    let encryption = match encryption(&config(bucket)?, asked)? {
        Granted::Plaintext => Encryption::Plaintext,
        Granted::SseS3 { bucket_key } => Encryption::SseS3 { bucket_key },
        Granted::SseKms { key, bucket_key } => Encryption::SseKms { key: kms_key(store, key).await?, bucket_key },
        Granted::DsseKms { key } => Encryption::DsseKms { key: kms_key(store, key).await? },
        Granted::SseC(key) => {
            let fingerprint = key.fingerprint()?;
            customer = Some(key);
            Encryption::SseC { fingerprint }
        }
    };
    Ok(Chosen { encryption, customer })
}

/// The master key that a client means, if it may be used now.
///
/// # Errors
/// [`OpError::NoSuchMasterKey`], [`OpError::KeyDisabled`], [`OpError::KeyPendingDestruction`].
pub(super) async fn kms_key(store: &Store, asked: AskedKey) -> Result<KmsKey, OpError> {
    let (alias, key_id) = store.keys.named(asked.key_id).await?.usable()?;
    Ok(KmsKey { alias, key_id, context: asked.context.into_json() })
}
