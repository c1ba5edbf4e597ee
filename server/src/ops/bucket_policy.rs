//! The policy of a bucket: put, answered as it was put, deleted.
//!
//! The owner may do all three whatever the policy says, or however damaged it is, so that nobody locks themselves out.

use crate::error::OpError;
use crate::ops::{OpenBucket, bucket};
use crate::policy::encryption::config;
use crate::policy::language::Policy;
use crate::policy::{Action, Authority};
use crate::store::Store;

/// Puts a policy, replacing the one before.
///
/// # Errors
/// [`OpError::MalformedPolicy`]: it would not be understood, or not be about this bucket; [`OpError::AccessDenied`].
pub async fn put(store: &Store, who: &Authority, name: &str, text: String) -> Result<(), OpError> {
    let bucket = open(store, who, name, Action::PutBucketPolicy).await?;
    Policy::of_bucket(name, &text).map_err(|error| OpError::MalformedPolicy(error.to_string()))?;
    bucket::change(store, &bucket, |config| config.policy = Some(text)).await
}

/// The policy, as it was put.
///
/// # Errors
/// [`OpError::NoSuchBucketPolicy`], [`OpError::AccessDenied`].
pub async fn get(store: &Store, who: &Authority, name: &str) -> Result<String, OpError> {
    let bucket = open(store, who, name, Action::GetBucketPolicy).await?;
    config(&bucket)?.policy.ok_or(OpError::NoSuchBucketPolicy)
}

/// Deletes the policy; none is as well.
///
/// # Errors
/// [`OpError::AccessDenied`].
pub async fn delete(store: &Store, who: &Authority, name: &str) -> Result<(), OpError> {
    let bucket = open(store, who, name, Action::DeleteBucketPolicy).await?;
    bucket::change(store, &bucket, |config| config.policy = None).await
}

/// Whether the policy makes the bucket public.
///
/// # Errors
/// [`OpError::NoSuchBucketPolicy`], [`OpError::AccessDenied`]; [`OpError::Damaged`] if it cannot be read.
pub async fn is_public(store: &Store, who: &Authority, name: &str) -> Result<bool, OpError> {
    let bucket = OpenBucket::open_for(store, who, name, Action::GetBucketPolicyStatus).await?;
    bucket.policy(store)?.map(|policy| policy.is_public()).ok_or(OpError::NoSuchBucketPolicy)
}

async fn open(store: &Store, who: &Authority, name: &str, action: Action) -> Result<OpenBucket, OpError> {
    if who.is_owner() {
        return OpenBucket::open(store, name).await;
    }
    OpenBucket::open_for(store, who, name, action).await
}
