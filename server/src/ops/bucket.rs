//! Buckets: made with a catalog key of their own, configured under it, and removed with it.

use crate::catalog::BucketRow;
use crate::catalog::encryption::{DefaultAlgorithm, DefaultEncryption};
use crate::catalog::record::{BucketConfig, Place};
use crate::error::{CatalogError, OpError};
use crate::id::BucketId;
use crate::ops::OpenBucket;
use crate::ops::put::{Made, erase_displaced};
use crate::policy::encryption as policy;
use crate::store::Store;

/// Makes a bucket.
///
/// # Errors
/// [`OpError::BucketExists`]; [`OpError::Unavailable`] while the HSM is away.
pub async fn create(store: &Store, name: &str) -> Result<(), OpError> {
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
/// [`OpError::Unavailable`].
pub async fn all(store: &Store) -> Result<Vec<BucketRow>, OpError> {
    Ok(store.catalog.buckets().await?)
}

/// A bucket's row.
///
/// # Errors
/// [`OpError::NoSuchBucket`].
pub async fn row(store: &Store, name: &str) -> Result<BucketRow, OpError> {
    store.catalog.bucket(name).await?.ok_or(OpError::NoSuchBucket)
}

/// Removes an empty bucket, its uploads and its catalog key.
///
/// # Errors
/// [`OpError::BucketNotEmpty`], [`OpError::NoSuchBucket`].
pub async fn delete(store: &Store, name: &str) -> Result<(), OpError> {
    let row = row(store, name).await?;
    let condemned = store.catalog.delete_bucket(store.session, row.id).await?;
    erase_displaced(store, condemned).await
}

/// A bucket's configuration.
///
/// # Errors
/// [`OpError::NoSuchBucket`]; [`OpError::Damaged`] if it does not open.
pub async fn config(store: &Store, name: &str) -> Result<BucketConfig, OpError> {
    policy::config(&OpenBucket::open(store, name).await?)
}

/// Sets a bucket to plaintext, or to SSE-S3.
///
/// # Errors
/// As [`configure`].
pub async fn set_plaintext(store: &Store, name: &str, plaintext: bool) -> Result<(), OpError> {
    let algorithm = if plaintext { DefaultAlgorithm::Plaintext } else { DefaultAlgorithm::SseS3 };
    let default = DefaultEncryption { algorithm, ..DefaultEncryption::default() };
    configure(store, name, |config| config.default_encryption = default).await?;
    tracing::warn!(bucket = name, plaintext, "the default encryption of a bucket was set by an administrator");
    Ok(())
}

/// Changes a bucket's configuration.
///
/// # Errors
/// As [`config`]; [`OpError::ConcurrentChange`].
pub async fn configure(store: &Store, name: &str, change: impl FnOnce(&mut BucketConfig)) -> Result<(), OpError> {
    let bucket = OpenBucket::open(store, name).await?;
    let mut config = policy::config(&bucket)?;
    change(&mut config);
    let sealed = bucket.records.seal(Place::Config, &config)?;
    Ok(store.catalog.configure_bucket(store.session, bucket.row.id, bucket.row.generation, sealed).await?)
}
