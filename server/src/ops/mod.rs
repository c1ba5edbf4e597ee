//! What the server does: the story of each operation, top to bottom. Only this module knows the order of the steps.
//!
//! request -> policy -> key -> engine -> blob -> keyring -> catalog, and backwards for a read. Nothing here knows HTTP
//! or S3's codes. An operation that changes something must not be dropped halfway: its caller runs it as a task of its
//! own, so that a client that hangs up ends the body, not the clean-up.

pub mod access;
pub mod bucket;
pub mod bucket_policy;
pub mod condition;
pub mod copy;
pub mod delete;
pub mod digest;
mod encryption;
pub mod get;
pub mod list;
pub mod multipart;
pub mod put;
pub mod update_encryption;

use std::sync::Arc;

use crate::catalog::record::{ObjectRecord, Place, RecordKey};
use crate::catalog::{BucketRow, VersionRow};
use crate::error::OpError;
use crate::key::ObjectPlace;
use crate::store::Store;

/// Longest object key in bytes of UTF-8.
pub const KEY_LEN_MAX: usize = 1024;
/// Largest body of one PUT or part: 5 GiB.
pub const BODY_LEN_MAX: u64 = 5 << 30;

/// A bucket, with the key of its records.
pub struct OpenBucket {
    /// Its row.
    pub row: BucketRow,
    /// Seals and opens its records.
    pub records: Arc<RecordKey>,
}

impl OpenBucket {
    /// The bucket of this name.
    ///
    /// # Errors
    /// [`OpError::NoSuchBucket`]; [`OpError::Unavailable`] while the HSM is away.
    pub async fn open(store: &Store, name: &str) -> Result<Self, OpError> {
        let row = store.catalog.bucket(name).await?.ok_or(OpError::NoSuchBucket)?;
        match store.keys.record_key(&row).await {
            Err(OpError::Damaged(what)) => {
                let destroyed = store.catalog.destroyed(vec![row.catalog_key]).await?;
                Err(if destroyed.is_empty() { OpError::Damaged(what) } else { OpError::KeyDestroyed })
            }
            records => Ok(Self { row, records: records? }),
        }
    }

    /// The current version of an object, its record opened; `None` if there is none.
    ///
    /// # Errors
    /// [`OpError::Damaged`] if the record does not open.
    pub async fn version(&self, store: &Store, key: &str) -> Result<Option<Version>, OpError> {
        match store.catalog.version(self.row.id, key).await? {
            Some(row) => Version::open(&self.records, row).map(Some),
            None => Ok(None),
        }
    }
}

/// A version of an object, its record opened.
pub struct Version {
    /// Its row.
    pub row: VersionRow,
    /// All that S3 answers about it.
    pub record: ObjectRecord,
}

impl Version {
    /// Opens the record of `row`.
    ///
    /// # Errors
    /// [`OpError::Damaged`].
    pub fn open(records: &RecordKey, row: VersionRow) -> Result<Self, OpError> {
        let record = records.open(Place::Object(&row.key, row.write_id), &row.record)?;
        Ok(Self { row, record })
    }

    /// What its data key and streams are bound to.
    pub fn place(&self) -> ObjectPlace<'_> {
        ObjectPlace { bucket: self.row.bucket, key: &self.row.key, write_id: self.row.write_id }
    }
}

fn check_key(key: &str) -> Result<(), OpError> {
    if key.len() > KEY_LEN_MAX {
        return Err(OpError::KeyTooLong);
    }
    Ok(())
}
