//! UpdateObjectEncryption: an object's data key is wrapped anew, under a master key that is named; its data stays.
//!
//! The second wrapping is added to the keyring, the record that names it committed, then the first is erased. A crash
//! between leaves an object that one of the two opens, and the other to be swept. The header of a stream goes on naming
//! the key id that it was sealed under: the record decides.

use std::sync::Arc;

use crate::audit::Subject;
use crate::catalog::encryption::Encryption;
use crate::catalog::record::{ObjectRecord, Place};
use crate::catalog::{Expect, VersionRow};
use crate::error::{CatalogError, OpError};
use crate::ops::encryption::{allow_decrypt, kms_key};
use crate::ops::put::{Made, erase_displaced};
use crate::ops::{OpenBucket, Version, check_key};
use crate::policy::encryption::AskedKey;
use crate::policy::{Action, Authority, KeyAction};
use crate::store::Store;

/// Commits that may come between before it is given up.
const TRIES: usize = 8;

/// Which object, and where to.
pub struct UpdateRequest {
    /// Name of the bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The master key, as it was sent.
    pub key_id: String,
    /// Whether a bucket key is used.
    pub bucket_key: bool,
}

/// Changes how an object's data key is wrapped, to SSE-KMS. Nothing else of it changes.
///
/// # Errors
/// [`OpError::InvalidRequest`] for an object that is not SSE-S3 or SSE-KMS; [`OpError::AccessDenied`]; those of a write under that
/// master key.
pub async fn update(store: &Arc<Store>, who: &Authority, request: UpdateRequest) -> Result<(), OpError> {
    check_key(&request.key)?;
    let action = Action::UpdateObjectEncryption;
    let bucket = OpenBucket::open_for_object(store, who, &request.bucket, action, &request.key).await?;
    bucket.allow_object(store, who, Action::PutObject, &request.key)?;
    for _ in 0..TRIES {
        let version = bucket.version(store, &request.key).await?;
        let version = version.ok_or_else(|| bucket.no_such_key(store, who))?;
        allow_decrypt(store, who, &version.record.encryption).await?;
        refuse_other_sources(&version.record.encryption)?;
        let asked = AskedKey { key_id: Some(request.key_id.clone()), ..AskedKey::default() };
        let key = kms_key(store, who, &[KeyAction::Encrypt, KeyAction::GenerateDataKey], asked).await?;
        let encryption = Encryption::SseKms { key, bucket_key: request.bucket_key };
        match rewrap(store, &bucket, version, encryption).await {
            // Another commit came between: a rewrap of the object that is there now.
            Err(OpError::ConcurrentChange) => {}
            outcome => return outcome,
        }
    }
    Err(OpError::ConcurrentChange)
}

fn refuse_other_sources(encryption: &Encryption) -> Result<(), OpError> {
    let why = match encryption {
        Encryption::SseS3 { .. } | Encryption::SseKms { .. } => return Ok(()),
        Encryption::Plaintext => "unencrypted source objects",
        Encryption::DsseKms { .. } | Encryption::SseC { .. } => {
            "source objects with the encryption type DSSE-KMS or SSE-C"
        }
    };
    Err(OpError::InvalidRequest(format!(
        "The UpdateObjectEncryption operation doesn't support {why}. Only source objects encrypted with SSE-S3 or SSE-KMS \
         are supported."
    )))
}

async fn rewrap(
    store: &Arc<Store>,
    bucket: &OpenBucket,
    version: Version,
    encryption: Encryption,
) -> Result<(), OpError> {
    let (ids, from) = (&version.row.data_keys, &version.record.encryption);
    let keys = store.keys.data_keys(ids, &bucket.row.name, version.place(), from, None).await?;
    let Some(keys) = keys else { return Err(missing(store, &version).await) };
    let fresh = store.keys.rewrapped(&bucket.row, version.place(), &encryption, keys).await?;
    let made = Made { blobs: vec![], keys: fresh.ids() };
    let outcome = async {
        let kept = store.keys.keep_fresh(&fresh, Subject::object(&bucket.row.name, &version.row.key)).await?;
        let Version { row, record } = version;
        let record = ObjectRecord { encryption, ..record };
        let record = bucket.records.seal(Place::Object(&row.key, row.write_id), &record)?;
        let expect = Expect::Unchanged(row.write_id, row.generation);
        let row = VersionRow { data_keys: kept.ids(), record, ..row };
        Ok(store.catalog.put_version(store.session, row, expect).await?)
    };
    let condemned = made.cleared_on_failure(store, outcome.await).await?;
    erase_displaced(store, condemned).await
}

/// Why the keyring has no key of this version: it was overwritten meanwhile, or destroyed, or it is damage.
async fn missing(store: &Store, version: &Version) -> OpError {
    let looked = async {
        let now = store.catalog.version(version.row.bucket, &version.row.key).await?;
        let is_unchanged = now.is_some_and(|row| row == version.row);
        Ok::<_, CatalogError>((is_unchanged, store.catalog.destroyed(version.row.data_keys.clone()).await?))
    };
    match looked.await {
        Err(error) => error.into(),
        Ok((false, _)) => OpError::ConcurrentChange,
        Ok((true, destroyed)) if destroyed.is_empty() => OpError::damaged("the data key of an object is missing"),
        Ok((true, _)) => OpError::KeyDestroyed,
    }
}
