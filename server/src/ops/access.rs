//! Who may do what to a bucket and to what is in it: asked before anything is done or told.
//!
//! A bucket's policy lies in its sealed configuration. One that does not open, or that this version does not
//! understand, is damage: nothing is allowed then, but that the owner puts or deletes the policy. What was parsed is
//! remembered with the sealed bytes that it came from, so that a change on any node takes effect at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::catalog::BucketRow;
use crate::error::OpError;
use crate::id::BucketId;
use crate::ops::OpenBucket;
use crate::ops::condition::Conditions;
use crate::policy::encryption::config;
use crate::policy::language::Policy;
use crate::policy::{Action, Authority};
use crate::store::Store;

/// Policies remembered at most; beyond it all are forgotten and parsed again as they are needed.
const REMEMBERED: usize = 4096;

impl OpenBucket {
    /// The bucket of this name, if the caller may do this to it.
    ///
    /// # Errors
    /// [`OpError::AccessDenied`], and as [`OpenBucket::open`].
    pub async fn open_for(store: &Store, who: &Authority, name: &str, action: Action) -> Result<Self, OpError> {
        let bucket = Self::open(store, name).await?;
        bucket.allow(store, who, action)?;
        Ok(bucket)
    }

    /// The bucket of this name, if the caller may do this to one of its objects.
    ///
    /// # Errors
    /// [`OpError::AccessDenied`], and as [`OpenBucket::open`].
    pub async fn open_for_object(
        store: &Store,
        who: &Authority,
        name: &str,
        action: Action,
        key: &str,
    ) -> Result<Self, OpError> {
        let bucket = Self::open(store, name).await?;
        bucket.allow_object(store, who, action, key)?;
        Ok(bucket)
    }

    /// Refuses what the caller may not do to the bucket.
    ///
    /// # Errors
    /// [`OpError::AccessDenied`]; [`OpError::Damaged`] if the policy cannot be read.
    pub fn allow(&self, store: &Store, who: &Authority, action: Action) -> Result<(), OpError> {
        who.allow(action, &bucket_arn(&self.row.name), self.policy(store)?.as_deref())
    }

    /// Refuses what the caller may not do to an object.
    ///
    /// # Errors
    /// [`OpError::AccessDenied`]; [`OpError::Damaged`] if the policy cannot be read.
    pub fn allow_object(&self, store: &Store, who: &Authority, action: Action, key: &str) -> Result<(), OpError> {
        let arn = format!("{}/{key}", bucket_arn(&self.row.name));
        who.allow(action, &arn, self.policy(store)?.as_deref())
    }

    /// A write on condition that the object is a certain one tells which it is, so it needs what reading it needs.
    pub(super) fn allow_to_match(
        &self,
        store: &Store,
        who: &Authority,
        conditions: &Conditions,
        key: &str,
    ) -> Result<(), OpError> {
        match conditions.matches {
            Some(_) => self.allow_object(store, who, Action::GetObject, key),
            None => Ok(()),
        }
    }

    /// That there is no such object is told to those only who may list the bucket.
    pub(super) fn no_such_key(&self, store: &Store, who: &Authority) -> OpError {
        self.allow(store, who, Action::ListBucket).err().unwrap_or(OpError::NoSuchKey)
    }

    /// The bucket's policy, where it has one.
    ///
    /// # Errors
    /// [`OpError::Damaged`].
    pub fn policy(&self, store: &Store) -> Result<Option<Arc<Policy>>, OpError> {
        if let Some(policy) = store.policies.remembered(&self.row) {
            return Ok(policy);
        }
        let text = config(self)?.policy;
        let parsed = text.map(|text| Policy::of_bucket(&self.row.name, &text).map(Arc::new)).transpose();
        let policy = parsed.map_err(|error| {
            let name = &self.row.name;
            OpError::Damaged(format!("the policy of bucket {name} is none that this version understands: {error}"))
        })?;
        store.policies.remember(&self.row, policy.clone());
        Ok(policy)
    }
}

/// How policies name a bucket.
pub fn bucket_arn(name: &str) -> String {
    format!("arn:aws:s3:::{name}")
}

/// Policies of buckets, parsed.
#[derive(Default)]
pub struct BucketPolicies(Mutex<HashMap<BucketId, Remembered>>);

struct Remembered {
    sealed_config: Vec<u8>,
    policy: Option<Arc<Policy>>,
}

impl BucketPolicies {
    /// `None` if it is not known, or not for this very row.
    fn remembered(&self, row: &BucketRow) -> Option<Option<Arc<Policy>>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&row.id).filter(|known| known.sealed_config == row.config).map(|known| known.policy.clone())
    }

    fn remember(&self, row: &BucketRow, policy: Option<Arc<Policy>>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(row.id, Remembered { sealed_config: row.config.clone(), policy });
    }
}
