//! PUT of one object, and the end that every write of an object shares.

use strongroom_engine::KeyId;

use crate::audit::Subject;
use crate::blob::{BlobName, Durable};
use crate::catalog::encryption::Encryption;
use crate::catalog::record::{Body, Description, ObjectRecord, Place};
use crate::catalog::{Condemned, Expect, PartRow, VersionRow};
use crate::error::{CatalogError, OpError};
use crate::id::WriteId;
use crate::key::{KeptKeys, ObjectPlace};
use crate::ops::condition::Conditions;
use crate::ops::digest::{Algorithm, Checksum, Digested, Digests, Etag};
use crate::ops::encryption::{Chosen, choose, naming_key};
use crate::ops::{OpenBucket, check_key};
use crate::pipeline::{self, Plaintext, Sealed};
use crate::policy::encryption::Asked;
use crate::policy::{Action, Authority};
use crate::store::Store;

/// The condition key that tells the steps of an upload that make no object from those that do.
pub(super) const CREATES_OBJECT: &str = "s3:ObjectCreationOperation";

/// Decides, once all of a body has passed, whether it is what its sender said it was.
pub type Accept = Box<dyn FnOnce(&Digested) -> Result<(), OpError> + Send>;

/// Where to write what.
pub struct PutRequest {
    /// Name of the bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// What the client says about the object.
    pub description: Description,
    /// As asked for; without, the bucket's default.
    pub encryption: Asked,
    /// On the current version.
    pub conditions: Conditions,
    /// Checksums to take and to store.
    pub algorithms: Vec<Algorithm>,
    /// Whether the body's MD5 is to be taken, whatever its ETag will be.
    pub takes_md5: bool,
    /// Announced length in bytes, where it is known.
    pub plain_len: Option<u64>,
}

/// What was written.
pub struct Written {
    /// Of the new version.
    pub etag: Etag,
    /// Of the new version.
    pub checksums: Vec<Checksum>,
    /// How it is encrypted.
    pub encryption: Encryption,
    /// Milliseconds since 1970.
    pub created_ms: u64,
}

/// PUT of one object. Each step takes the proof of the step before: none can be left out or swapped.
///
/// # Errors
/// Nothing is stored then, and nothing that was there is changed, unless it is [`OpError::OutcomeUnknown`].
pub async fn put(
    store: &Store,
    who: &Authority,
    request: PutRequest,
    body: Plaintext,
    accept: Accept,
) -> Result<Written, OpError> {
    check_key(&request.key)?;
    let who = naming_key(store, who.knowing(CREATES_OBJECT, "true"), &request.encryption).await?;
    let bucket = OpenBucket::open_for_object(store, &who, &request.bucket, Action::PutObject, &request.key).await?;
    bucket.allow_to_match(store, &who, &request.conditions, &request.key)?;
    if !request.conditions.is_empty() {
        request.conditions.check_write(bucket.version(store, &request.key).await?.as_ref())?;
    }
    let Chosen { encryption, customer } = choose(store, &who, &bucket, request.encryption).await?;

    let write_id = WriteId::fresh(store.clock.now_ms())?;
    let place = ObjectPlace { bucket: bucket.row.id, key: &request.key, write_id };
    let fresh = store.keys.fresh_data_keys(&bucket.row, place, &encryption, customer.as_ref()).await?;
    let blob = store.fresh_blob()?;
    let made = Made { blobs: vec![blob], keys: fresh.ids() };
    tracing::debug!(bucket = %bucket.row.id, %write_id, %blob, key_ids = ?fresh.ids(), "sealing");

    let outcome = async {
        let layers = store.keys.layers(fresh.keys(), place, 0);
        let digests = Digests::new(&request.algorithms, request.takes_md5 || encryption.has_md5_etag());
        let (stream, sealed) = pipeline::seal(body, &layers, request.plain_len, digests, accept)?;
        let subject = Subject::object(&bucket.row.name, place.key);
        // Side by side: neither needs the other. Both end before either's error counts, so that what is to be
        // cleaned up stands still.
        let (durable, kept) = tokio::join!(store.blobs.write(blob, stream), store.keys.keep_fresh(&fresh, subject));
        let (durable, kept) = (durable?, kept?);
        let Sealed { stream, digested } = sealed.await.ok_or_else(lost)?;

        let record = ObjectRecord {
            plain_len: digested.len,
            etag: etag(&encryption, &digested)?,
            checksums: digested.checksums,
            description: request.description,
            encryption,
            body: Body::Stream(stream),
        };
        commit(store, &bucket, place, record, durable, kept, &request.conditions).await
    };
    made.cleared_on_failure(store, outcome.await).await
}

/// The catalog commit of a version whose stream is durable and whose key is kept: now, and only now, it exists.
async fn commit(
    store: &Store,
    bucket: &OpenBucket,
    place: ObjectPlace<'_>,
    record: ObjectRecord,
    durable: Durable,
    kept: KeptKeys,
    conditions: &Conditions,
) -> Result<Written, OpError> {
    let row = VersionRow {
        bucket: place.bucket,
        key: place.key.to_owned(),
        write_id: place.write_id,
        created_ms: store.clock.now_ms(),
        data_keys: kept.ids(),
        blob: Some(durable.name()),
        record: bucket.records.seal(Place::Object(place.key, place.write_id), &record)?,
        generation: 0,
    };
    let created_ms = row.created_ms;
    let condemned = make_current(store, bucket, conditions, place.key, Change::Put(row)).await?;
    erase_displaced(store, condemned).await?;
    Ok(Written { etag: record.etag, checksums: record.checksums, encryption: record.encryption, created_ms })
}

/// The ETag of one stream: its MD5 where S3 documents that, else 16 bytes that tell nothing of it.
///
/// # Errors
/// The random source failed.
pub(super) fn etag(encryption: &Encryption, digested: &Digested) -> Result<Etag, OpError> {
    match digested.md5.filter(|_| encryption.has_md5_etag()) {
        Some(md5) => Ok(Etag::of_stream(md5)),
        None => Ok(Etag::random()?),
    }
}

/// What becomes of the current version of an object.
pub(super) enum Change {
    /// It is displaced by this one.
    Put(VersionRow),
    /// It is displaced by what an upload becomes, out of these parts.
    Complete(VersionRow, Vec<PartRow>),
    /// It goes.
    Delete,
}

/// Commits under the conditions of a request, which are looked at again when another commit came between.
///
/// # Errors
/// The conditions'; [`OpError::ConcurrentChange`] when others come between every time.
pub(super) async fn make_current(
    store: &Store,
    bucket: &OpenBucket,
    conditions: &Conditions,
    key: &str,
    change: Change,
) -> Result<Vec<Condemned>, OpError> {
    const TRIES: usize = 8;
    let (catalog, session) = (&store.catalog, store.session);
    for _ in 0..TRIES {
        let expect = if conditions.is_empty() {
            Expect::Anything
        } else {
            conditions.check_write(bucket.version(store, key).await?.as_ref())?
        };
        let outcome = match &change {
            Change::Put(row) => catalog.put_version(session, row.clone(), expect).await,
            Change::Complete(row, parts) => catalog.complete_upload(session, row.clone(), parts.clone(), expect).await,
            Change::Delete if expect == Expect::Absent => return Ok(vec![]),
            Change::Delete => catalog.delete_version(session, bucket.row.id, key, expect).await,
        };
        match outcome {
            Err(CatalogError::Conflict) => {}
            outcome => return Ok(outcome?),
        }
    }
    Err(OpError::ConcurrentChange)
}

/// Erases the keys of what a commit displaced. The commit stands: a failure means only that it may not be
/// acknowledged yet, because the old version's key still lives.
///
/// # Errors
/// [`OpError::OutcomeUnknown`].
pub(super) async fn erase_displaced(store: &Store, condemned: Vec<Condemned>) -> Result<(), OpError> {
    store.remover.remove(condemned).await.map_err(|error| OpError::OutcomeUnknown(error.to_string()))
}

/// What a request has made and no row names yet.
pub(super) struct Made {
    pub(super) blobs: Vec<BlobName>,
    pub(super) keys: Vec<KeyId>,
}

impl Made {
    /// Removes it all if the request failed, unless nobody can tell whether it did.
    pub(super) async fn cleared_on_failure<T>(self, store: &Store, outcome: Result<T, OpError>) -> Result<T, OpError> {
        if !matches!(outcome, Ok(_) | Err(OpError::OutcomeUnknown(_))) {
            store.remover.discard(&self.blobs, &self.keys).await;
        }
        outcome
    }
}

/// A blob was written whole, yet its pipeline says nothing of it.
pub(super) fn lost() -> OpError {
    OpError::Internal("the sealing pipeline ended without a result".into())
}
