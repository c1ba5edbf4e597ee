//! Buckets: made with a catalog key of their own, configured under it, and removed with it.

use crate::catalog::BucketRow;
use crate::catalog::encryption::{DefaultAlgorithm, DefaultEncryption};
use crate::catalog::record::{BucketConfig, Place};
use crate::error::{CatalogError, OpError};
use crate::id::BucketId;
use crate::ops::OpenBucket;
use crate::ops::access::bucket_arn;
use crate::ops::put::{Made, erase_displaced};
use crate::policy::encryption as policy;
use crate::policy::{Action, Authority};
use crate::store::Store;

/// Makes a bucket.
///
/// # Errors
/// [`OpError::BucketExists`]; [`OpError::AccessDenied`]; [`OpError::Unavailable`] while the HSM is away.
pub async fn create(store: &Store, who: &Authority, name: &str) -> Result<(), OpError> {
    who.allow(Action::CreateBucket, &bucket_arn(name), None)?;
    if store.catalog.bucket(name).await?.is_some() {
        return Err(OpError::BucketExists);
    }
    let created_ms = store.clock.now_ms();
    let id = BucketId::fresh(created_ms)?;
    let (records, key_row) = store.keys.fresh_record_key(name, id).await?;
    let made = Made { blobs: vec![], keys: vec![key_row.id] };
    let outcome = async {
        let config = BucketConfig { blocks_sse_c: !store.new_buckets_take_sse_c, ..BucketConfig::default() };
        let config = records.seal(Place::Config, &config)?;
        let kept = store.keyring.keep(key_row).await?;
        let row = BucketRow { name: name.to_owned(), id, created_ms, catalog_key: kept.id(), config, generation: 0 };
        store.catalog.create_bucket(store.session, row).await.map_err(|error| match error {
            CatalogError::Conflict => OpError::BucketExists,
            error => error.into(),
        })
    };
    made.cleared_on_failure(store, outcome.await).await
}

/// All buckets, by name.
///
/// # Errors
/// [`OpError::AccessDenied`], [`OpError::Unavailable`].
pub async fn all(store: &Store, who: &Authority) -> Result<Vec<BucketRow>, OpError> {
    who.allow(Action::ListAllMyBuckets, &bucket_arn("*"), None)?;
    Ok(store.catalog.buckets().await?)
}

/// Removes an empty bucket, its uploads and its catalog key.
///
/// # Errors
/// [`OpError::BucketNotEmpty`], [`OpError::NoSuchBucket`], [`OpError::AccessDenied`].
pub async fn delete(store: &Store, who: &Authority, name: &str) -> Result<(), OpError> {
    let bucket = OpenBucket::open_for(store, who, name, Action::DeleteBucket).await?;
    let condemned = store.catalog.delete_bucket(store.session, bucket.row.id).await?;
    erase_displaced(store, condemned).await
}

/// A bucket's configuration.
///
/// # Errors
/// [`OpError::NoSuchBucket`], [`OpError::AccessDenied`]; [`OpError::Damaged`] if it does not open.
pub async fn config(store: &Store, who: &Authority, name: &str, action: Action) -> Result<BucketConfig, OpError> {
    policy::config(&OpenBucket::open_for(store, who, name, action).await?)
}

/// Sets a bucket to plaintext, or to SSE-S3. Who may, the admin socket has asked.
///
/// # Errors
/// As [`configure`].
pub async fn set_plaintext(store: &Store, name: &str, plaintext: bool) -> Result<(), OpError> {
    let algorithm = if plaintext { DefaultAlgorithm::Plaintext } else { DefaultAlgorithm::SseS3 };
    let default = DefaultEncryption { algorithm, ..DefaultEncryption::default() };
    let bucket = OpenBucket::open(store, name).await?;
    change(store, &bucket, |config| config.default_encryption = default).await?;
    tracing::warn!(bucket = name, plaintext, "the default encryption of a bucket was set by an administrator");
    Ok(())
}

/// Changes a bucket's configuration.
///
/// # Errors
/// As [`config`]; [`OpError::ConcurrentChange`].
pub async fn configure(
    store: &Store,
    who: &Authority,
    name: &str,
    action: Action,
    change: impl FnOnce(&mut BucketConfig),
) -> Result<(), OpError> {
    let bucket = OpenBucket::open_for(store, who, name, action).await?;
    self::change(store, &bucket, change).await
}

/// Changes the configuration of a bucket that was opened for it.
///
/// # Errors
/// As [`configure`].
pub(super) async fn change(
    store: &Store,
    bucket: &OpenBucket,
    change: impl FnOnce(&mut BucketConfig),
) -> Result<(), OpError> {
    let mut config = policy::config(bucket)?;
    change(&mut config);
    let sealed = bucket.records.seal(Place::Config, &config)?;
    Ok(store.catalog.configure_bucket(store.session, bucket.row.id, bucket.row.generation, sealed).await?)
}
