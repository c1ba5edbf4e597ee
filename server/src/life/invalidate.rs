//! Destroys the data key of one object, or the keys of a whole bucket, for good. The sealed streams stay, and are noise.
//!
//! The catalog is told first: what it calls destroyed is never read, and a restored copy of the keyring erases it again.

use serde::{Deserialize, Serialize};
use strongroom_engine::KeyId;

use super::{LifeError, PAGE};
use crate::catalog::{ListQuery, Listed, UploadMarker};
use crate::error::OpError;
use crate::store::Store;

/// What was destroyed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invalidated {
    /// Objects, and uploads in progress, that nobody can read any more.
    pub destroyed: u64,
}

/// Destroys the key of one object, or, where none is named, those of every object and upload of the bucket and of the
/// bucket itself.
///
/// # Errors
/// [`OpError::NoSuchBucket`], [`OpError::NoSuchKey`]; the catalog's and the keyring's. On an error run it again.
pub async fn invalidate(store: &Store, bucket: &str, key: Option<&str>) -> Result<Invalidated, LifeError> {
    let row = store.catalog.bucket(bucket).await?.ok_or(OpError::NoSuchBucket)?;
    if let Some(key) = key {
        let version = store.catalog.version(row.id, key).await?.ok_or(OpError::NoSuchKey)?;
        if version.data_keys.is_empty() {
            return Err(LifeError::NotNow("the object is not encrypted: delete it instead".to_owned()));
        }
        destroy(store, version.data_keys).await?;
        tracing::warn!(bucket, key, "the data key of an object was destroyed");
        return Ok(Invalidated { destroyed: 1 });
    }
    let mut destroyed = 0;
    let mut query = ListQuery { limit: PAGE, ..ListQuery::default() };
    loop {
        let (rows, more) = store.catalog.list_versions(row.id, query.clone()).await?;
        let mut keys = Vec::new();
        for listed in rows {
            let Listed::Row(version) = listed else { continue };
            destroyed += u64::from(!version.data_keys.is_empty());
            keys.extend(version.data_keys);
            query.after = version.key;
        }
        destroy(store, keys).await?;
        if !more {
            break;
        }
    }
    let uploads = ListQuery { limit: PAGE, ..ListQuery::default() };
    let mut after = UploadMarker::default();
    loop {
        let (rows, more) = store.catalog.list_uploads(row.id, uploads.clone(), after.clone()).await?;
        let mut keys = Vec::new();
        for listed in rows {
            let Listed::Row(upload) = listed else { continue };
            destroyed += u64::from(!upload.data_keys.is_empty());
            keys.extend(upload.data_keys);
            after = UploadMarker { key: upload.key, upload: Some(upload.write_id) };
        }
        destroy(store, keys).await?;
        if !more {
            break;
        }
    }
    destroy(store, vec![row.catalog_key]).await?;
    // Those of this bucket have nothing under them any more.
    store.keyring.erase_unused_bucket_keys(KeyId::from_bytes([0xff; 16])).await?;
    tracing::warn!(bucket, destroyed, "all keys of a bucket were destroyed");
    Ok(Invalidated { destroyed })
}

async fn destroy(store: &Store, keys: Vec<KeyId>) -> Result<(), LifeError> {
    if keys.is_empty() {
        return Ok(());
    }
    store.catalog.destroy_keys(store.session, keys.clone()).await?;
    store.keyring.erase(keys).await?;
    Ok(())
}
