//! How one write is encrypted, decided once and in this order: request and bucket, the caller's right to the master key,
//! the state of that key.

use crate::catalog::encryption::{Encryption, KmsKey};
use crate::error::OpError;
use crate::key::CustomerKey;
use crate::ops::OpenBucket;
use crate::policy::encryption::{Asked, AskedKey, AskedMode, Granted, config, encryption};
use crate::policy::{Authority, KeyAction};
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
pub(super) async fn choose(
    store: &Store,
    who: &Authority,
    bucket: &OpenBucket,
    asked: Asked,
) -> Result<Chosen, OpError> {
    let mut customer = None;
    let encryption = match encryption(&config(bucket)?, asked)? {
        Granted::Plaintext => Encryption::Plaintext,
        Granted::SseS3 { bucket_key } => Encryption::SseS3 { bucket_key },
        Granted::SseKms { key, bucket_key } => {
            Encryption::SseKms { key: kms_key(store, who, &[KeyAction::GenerateDataKey], key).await?, bucket_key }
        }
        Granted::DsseKms { key } => {
            Encryption::DsseKms { key: kms_key(store, who, &[KeyAction::GenerateDataKey], key).await? }
        }
        Granted::SseC(key) => {
            let fingerprint = key.fingerprint()?;
            customer = Some(key);
            Encryption::SseC { fingerprint }
        }
    };
    Ok(Chosen { encryption, customer })
}

/// The master key that a client means, if this client may do that with it, and it may be used now: asked in this order.
///
/// # Errors
/// [`OpError::AccessDenied`], [`OpError::NoSuchMasterKey`], [`OpError::KeyDisabled`], [`OpError::KeyPendingDestruction`].
pub(super) async fn kms_key(
    store: &Store,
    who: &Authority,
    actions: &[KeyAction],
    asked: AskedKey,
) -> Result<KmsKey, OpError> {
    let named = store.keys.named(asked.key_id).await?;
    let arns = named.arns();
    actions.iter().try_for_each(|action| who.allow_key(*action, &arns))?;
    let (alias, key_id) = named.usable()?;
    Ok(KmsKey { alias, key_id, context: asked.context.into_json() })
}

/// Refuses what is under a master key to who may not unwrap with it, whatever state the key is in.
///
/// # Errors
/// [`OpError::AccessDenied`].
pub(super) async fn allow_decrypt(store: &Store, who: &Authority, encryption: &Encryption) -> Result<(), OpError> {
    let Some(key) = encryption.kms_key() else { return Ok(()) };
    let named = store.keys.named(Some(key.key_id.clone())).await?;
    who.allow_key(KeyAction::Decrypt, &named.arns())
}

/// The same authority, knowing the master key that a write names by each of its names: a policy may use another one than
/// the client.
///
/// # Errors
/// The keyring's.
pub(super) async fn naming_key(store: &Store, who: Authority, asked: &Asked) -> Result<Authority, OpError> {
    let (Some(AskedMode::SseKms(key)) | Some(AskedMode::DsseKms(key))) = &asked.mode else { return Ok(who) };
    let Some(key_id) = &key.key_id else { return Ok(who) };
    let mut names = store.keys.named(Some(key_id.clone())).await?.arns();
    if !names.contains(key_id) {
        names.insert(0, key_id.clone());
    }
    Ok(who.knowing_all("s3:x-amz-server-side-encryption-aws-kms-key-id", names))
}
