//! DELETE of objects: the row goes, then the wrapped key, and only then is it answered.

use crate::catalog::Expect;
use crate::error::OpError;
use crate::ops::condition::Conditions;
use crate::ops::put::{Change, erase_displaced, make_current};
use crate::ops::{OpenBucket, check_key};
use crate::policy::{Action, Authority};
use crate::store::Store;

/// What to remove.
pub struct DeleteRequest<'a> {
    /// Name of the bucket.
    pub bucket: &'a str,
    /// The object's key.
    pub key: &'a str,
    /// Whether the request names a version.
    pub names_version: bool,
    /// On the current version.
    pub conditions: Conditions,
}

/// Removes an object. One that is not there counts as removed.
///
/// # Errors
/// The conditions'; [`OpError::NoSuchBucket`]; [`OpError::AccessDenied`]; [`OpError::Unavailable`];
/// [`OpError::OutcomeUnknown`].
pub async fn delete(store: &Store, who: &Authority, request: &DeleteRequest<'_>) -> Result<(), OpError> {
    let DeleteRequest { bucket, key, names_version, conditions } = request;
    check_key(key)?;
    let action = if *names_version { Action::DeleteObjectVersion } else { Action::DeleteObject };
    let bucket = OpenBucket::open_for_object(store, who, bucket, action, key).await?;
    if conditions.is_empty() {
        let condemned = store.catalog.delete_version(store.session, bucket.row.id, key, Expect::Anything).await?;
        return erase_displaced(store, condemned).await;
    }
    bucket.allow_to_match(store, who, conditions, key)?;
    let condemned = make_current(store, &bucket, conditions, key, Change::Delete).await?;
    erase_displaced(store, condemned).await
}
