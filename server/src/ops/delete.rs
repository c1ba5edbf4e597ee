//! DELETE of objects: the row goes, then the wrapped key, and only then is it answered.

use crate::catalog::Expect;
use crate::error::OpError;
use crate::ops::condition::Conditions;
use crate::ops::put::{Change, erase_displaced, make_current};
use crate::ops::{OpenBucket, check_key};
use crate::store::Store;

/// Removes an object. One that is not there counts as removed.
///
/// # Errors
/// The conditions'; [`OpError::NoSuchBucket`]; [`OpError::Unavailable`]; [`OpError::OutcomeUnknown`].
pub async fn delete(store: &Store, bucket: &str, key: &str, conditions: &Conditions) -> Result<(), OpError> {
    check_key(key)?;
    if conditions.is_empty() {
        // Needs no record opened, so it works while the HSM is away.
        let row = store.catalog.bucket(bucket).await?.ok_or(OpError::NoSuchBucket)?;
        let condemned = store.catalog.delete_version(store.session, row.id, key, Expect::Anything).await?;
        return erase_displaced(store, condemned).await;
    }
    let bucket = OpenBucket::open(store, bucket).await?;
    let condemned = make_current(store, &bucket, conditions, key, Change::Delete).await?;
    erase_displaced(store, condemned).await
}
