//! COPY of an object: a read and a write, always with a fresh data key.

use std::sync::Arc;

use crate::catalog::record::Description;
use crate::error::OpError;
use crate::key::CustomerKey;
use crate::ops::condition::Conditions;
use crate::ops::digest::Algorithm;
use crate::ops::encryption::naming_key;
use crate::ops::get::{GetRequest, Wanted, source};
use crate::ops::put::{CREATES_OBJECT, PutRequest, Written, put};
use crate::ops::{BODY_LEN_MAX, OpenBucket};
use crate::policy::encryption::Asked;
use crate::policy::{Action, Authority};
use crate::store::Store;

/// From where to where, and what changes on the way.
pub struct CopyRequest {
    /// Name of the source's bucket.
    pub source_bucket: String,
    /// The source's key.
    pub source_key: String,
    /// Whether the request names a version of the source.
    pub names_version: bool,
    /// On the source.
    pub source_conditions: Conditions,
    /// Of the source, where it needs one.
    pub source_customer_key: Option<CustomerKey>,
    /// Name of the target's bucket.
    pub bucket: String,
    /// The target's key.
    pub key: String,
    /// On the target.
    pub conditions: Conditions,
    /// What is said of the target; `None` copies what is said of the source.
    pub description: Option<Description>,
    /// Storage class of the target, where the description is copied.
    pub storage_class: Option<String>,
    /// Redirect of the target, where the description is copied.
    pub website_redirect: Option<String>,
    /// As asked for; without, the target bucket's default.
    pub encryption: Asked,
    /// The checksum to take; `None` takes the source's.
    pub algorithm: Option<Algorithm>,
}

/// COPY of one object, also onto itself, which re-keys it.
///
/// # Errors
/// Those of a GET of the source and a PUT of the target; [`OpError::InvalidRequest`] if nothing would change.
pub async fn copy(store: &Arc<Store>, who: &Authority, request: CopyRequest) -> Result<Written, OpError> {
    let onto_itself = request.source_bucket == request.bucket && request.source_key == request.key;
    let changes = request.description.is_some()
        || !request.encryption.is_nothing()
        || request.storage_class.is_some()
        || request.website_redirect.is_some();
    if onto_itself && !changes {
        return Err(OpError::InvalidRequest(
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes."
                .into(),
        ));
    }
    // Before the source is read: a copy has its rights on both ends, or is none.
    let writer = naming_key(store, who.knowing(CREATES_OBJECT, "true"), &request.encryption).await?;
    OpenBucket::open_for_object(store, &writer, &request.bucket, Action::PutObject, &request.key).await?;
    let read = GetRequest {
        bucket: request.source_bucket,
        key: request.source_key,
        names_version: request.names_version,
        wanted: Wanted::Whole,
        conditions: request.source_conditions,
        customer_key: request.source_customer_key,
    };
    let (head, plaintext) = source(store, who, &read).await?;
    if head.record.plain_len > BODY_LEN_MAX {
        return Err(OpError::InvalidRequest(
            "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120".into(),
        ));
    }
    let algorithms = match request.algorithm {
        Some(algorithm) => vec![algorithm],
        None => inherited(&head.record.checksums),
    };
    let description = request.description.unwrap_or_else(|| {
        let mut description = head.record.description.clone();
        // S3 copies neither of these: they are the target's own.
        description.headers.website_redirect = request.website_redirect;
        description.storage_class = request.storage_class;
        description
    });
    let write = PutRequest {
        bucket: request.bucket,
        key: request.key,
        description,
        encryption: request.encryption,
        conditions: request.conditions,
        algorithms,
        takes_md5: false,
        plain_len: Some(head.record.plain_len),
    };
    let expected = head.record.plain_len;
    let whole = Box::new(move |digested: &crate::ops::digest::Digested| match digested.len == expected {
        true => Ok(()),
        false => Err(OpError::damaged("the copy source is another length than its record says")),
    });
    put(store, who, write, plaintext, whole).await
}

/// The algorithms of a source's checksums, each taken over the whole of the copy; S3's own where it has none.
fn inherited(checksums: &[crate::ops::digest::Checksum]) -> Vec<Algorithm> {
    let mut algorithms: Vec<_> = checksums.iter().map(|checksum| checksum.algorithm).collect();
    if algorithms.is_empty() {
        algorithms.push(Algorithm::Crc64Nvme);
    }
    algorithms
}
