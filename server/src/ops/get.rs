//! GET and HEAD of one object: conditions, ranges and parts, and the plaintext behind them.

use std::ops::Range;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::blob::BlobName;
use crate::bridge;
use crate::catalog::record::{Body, ObjectRecord, PartRecord, Place, StreamRecord, part_table_digest};
use crate::error::OpError;
use crate::key::{CustomerKey, DataKeys};
use crate::ops::condition::{Conditions, Failed};
use crate::ops::digest::Checksum;
use crate::ops::encryption::allow_decrypt;
use crate::ops::{OpenBucket, Version, check_key};
use crate::pipeline::{OpenBlob, Plaintext, StreamFacts};
use crate::policy::{Action, Authority};
use crate::store::Store;

/// Which bytes of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// All.
    Whole,
    /// From `first` to `last`, both included, or to the end.
    From(u64, Option<u64>),
    /// So many from the end.
    Last(u64),
    /// Those of one part.
    Part(u16),
}

/// What to read, and under which conditions.
pub struct GetRequest {
    /// Name of the bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// Whether the request names a version.
    pub names_version: bool,
    /// Which bytes.
    pub wanted: Wanted,
    /// On the current version.
    pub conditions: Conditions,
    /// For an object that a customer's key protects.
    pub customer_key: Option<CustomerKey>,
}

impl GetRequest {
    /// The bucket, if the caller may read this in it.
    async fn open(&self, store: &Store, who: &Authority) -> Result<OpenBucket, OpError> {
        check_key(&self.key)?;
        let action = if self.names_version { Action::GetObjectVersion } else { Action::GetObject };
        OpenBucket::open_for_object(store, who, &self.bucket, action, &self.key).await
    }
}

/// What is answered about an object before its bytes.
#[derive(Clone, Debug)]
pub struct Head {
    /// Of the version.
    pub record: ObjectRecord,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// The plaintext bytes that are answered.
    pub range: Range<u64>,
    /// Whether they were asked for as a range or part.
    pub partial: bool,
    /// Where one part was asked for: its own checksums.
    pub part_checksums: Option<Vec<Checksum>>,
}

/// HEAD: what GET answers, without the bytes.
///
/// # Errors
/// As [`get`].
pub async fn head(store: &Store, who: &Authority, request: &GetRequest) -> Result<Head, OpError> {
    let bucket = request.open(store, who).await?;
    let version = bucket.version(store, &request.key).await?;
    let version = version.ok_or_else(|| bucket.no_such_key(store, who))?;
    Ok(select(store, &bucket, &version, request).await?.0)
}

/// GET: the head, and the bytes, of which every one was authenticated before it is released.
///
/// # Errors
/// [`OpError::NoSuchKey`], [`OpError::AccessDenied`], a condition, [`OpError::InvalidRange`], [`OpError::Damaged`], [`OpError::Unavailable`].
pub async fn get(store: &Arc<Store>, who: &Authority, request: &GetRequest) -> Result<(Head, Plaintext), OpError> {
    let bucket = request.open(store, who).await?;
    let mut missed = None;
    loop {
        // From before the row is read until the last byte is sent, no blob that it names is removed.
        let reading = store.remover.reading();
        let version = bucket.version(store, &request.key).await?;
        let version = version.ok_or_else(|| bucket.no_such_key(store, who))?;
        allow_decrypt(store, who, &version.record.encryption).await?;
        let (head, parts) = select(store, &bucket, &version, request).await?;
        let customer = request.customer_key.as_ref();
        if let Some(plaintext) =
            plaintext(store, &bucket.row.name, &version, parts, head.range.clone(), customer).await?
        {
            return Ok((head, hold_while(reading, begun(plaintext).await?)));
        }
        // The key or a blob was gone: an overwrite came between, or it is damage.
        let seen = (version.row.write_id, version.row.generation);
        if missed.replace(seen) == Some(seen) {
            if !store.catalog.destroyed(version.row.data_keys.clone()).await?.is_empty() {
                return Err(OpError::KeyDestroyed);
            }
            return Err(OpError::Damaged(format!(
                "the data key or a blob of write {} of bucket {} is missing",
                version.row.write_id, bucket.row.id
            )));
        }
    }
}

/// One stream of an object and where its plaintext lies in the whole.
#[derive(Clone, Copy)]
struct Extent {
    blob: BlobName,
    part_number: u16,
    start: u64,
    plain_len: u64,
    stream: StreamRecord,
}

async fn select(
    store: &Store,
    bucket: &OpenBucket,
    version: &Version,
    request: &GetRequest,
) -> Result<(Head, Vec<Extent>), OpError> {
    let record = &version.record;
    CustomerKey::check(request.customer_key.as_ref(), &record.encryption)?;
    let whole = || Head {
        record: record.clone(),
        created_ms: version.row.created_ms,
        range: 0..record.plain_len,
        partial: false,
        part_checksums: None,
    };
    match request.conditions.check_read(&record.etag, version.row.created_ms) {
        Ok(()) => {}
        Err(Failed::Precondition(which)) => return Err(OpError::PreconditionFailed(which)),
        Err(Failed::NotModified) => return Err(OpError::NotModified(Box::new(whole()))),
    }
    let (extents, part_records) = extents(store, bucket, version).await?;
    let mut head = whole();
    match request.wanted {
        Wanted::Whole => {}
        Wanted::Part(number) => {
            let extent = part_extent(record, &extents, number)?;
            head.range = extent.start..extent.start + extent.plain_len;
            head.partial = true;
            let part = part_records.into_iter().find(|(part, _)| *part == number);
            head.part_checksums = part.map(|(_, record)| record.checksums);
        }
        Wanted::From(first, last) => head = partial(head, first, last)?,
        Wanted::Last(0) => return Err(OpError::InvalidRange { plain_len: record.plain_len }),
        Wanted::Last(len) => head = partial(head, record.plain_len.saturating_sub(len), None)?,
    }
    Ok((head, extents))
}

fn partial(mut head: Head, first: u64, last: Option<u64>) -> Result<Head, OpError> {
    let plain_len = head.record.plain_len;
    if first >= plain_len {
        return Err(OpError::InvalidRange { plain_len });
    }
    head.range = first..last.map_or(plain_len, |last| last.saturating_add(1).min(plain_len));
    head.partial = true;
    Ok(head)
}

/// A part by the number it was uploaded under; an object of one stream has part 1 only.
fn part_extent(record: &ObjectRecord, extents: &[Extent], number: u16) -> Result<Extent, OpError> {
    let found = match record.body {
        Body::Stream(_) => extents.first().filter(|_| number == 1),
        Body::Parts { .. } => extents.iter().find(|extent| extent.part_number == number),
    };
    found.copied().ok_or(OpError::InvalidPartNumber)
}

/// Where the streams of a version lie; for a multipart object its part table, checked against the record.
async fn extents(
    store: &Store,
    bucket: &OpenBucket,
    version: &Version,
) -> Result<(Vec<Extent>, Vec<(u16, PartRecord)>), OpError> {
    let (count, table) = match &version.record.body {
        Body::Stream(stream) => {
            let blob = version.row.blob.ok_or_else(|| OpError::damaged("a version's row names no blob"))?;
            let plain_len = version.record.plain_len;
            return Ok((vec![Extent { blob, part_number: 0, start: 0, plain_len, stream: *stream }], vec![]));
        }
        Body::Parts { count, table } => (*count as usize, *table),
    };
    let rows = store.catalog.parts(version.row.write_id, 0, count + 1).await?;
    let (records, key, write_id) = (bucket.records.clone(), version.row.key.clone(), version.row.write_id);
    bridge::run(rows.iter().map(|row| row.record.len()).sum(), move || {
        let mut start = 0;
        let mut extents = Vec::with_capacity(rows.len());
        let mut parts = Vec::with_capacity(rows.len());
        for row in &rows {
            let part: PartRecord = records.open(Place::Part(&key, write_id, row.number), &row.record)?;
            let (plain_len, stream) = (part.plain_len, part.stream);
            extents.push(Extent { blob: row.blob, part_number: row.number, start, plain_len, stream });
            start += plain_len;
            parts.push((row.number, part));
        }
        if part_table_digest(parts.iter().map(|(number, part)| (*number, part))) != table {
            return Err(OpError::damaged("the part table is not the one that the object's record names"));
        }
        Ok((extents, parts))
    })
    .await
}

/// The bytes of `range`; `None` if the key or the first blob is gone.
async fn plaintext(
    store: &Arc<Store>,
    bucket: &str,
    version: &Version,
    extents: Vec<Extent>,
    range: Range<u64>,
    customer: Option<&CustomerKey>,
) -> Result<Option<Plaintext>, OpError> {
    let (ids, encryption) = (&version.row.data_keys, &version.record.encryption);
    let keys = store.keys.data_keys(ids, bucket, version.place(), encryption, customer).await?;
    let Some(keys) = keys else { return Ok(None) };
    let end = |extent: &Extent| extent.start + extent.plain_len;
    let touched = |extent: &Extent| extent.start < range.end && end(extent) > range.start;
    let mut wanted: Vec<Extent> = extents.iter().copied().filter(touched).collect();
    // Of an empty object, or of an empty range, the stream is still looked at: damage is never answered with 200.
    if wanted.is_empty() {
        wanted.extend(extents.first());
    }
    let streams = Streams { store: store.clone(), keys: Arc::new(keys), version: version.row.clone() };
    // The last first: it is checked before the status line too.
    if let [_, .., last] = wanted.as_slice()
        && streams.open(last).await?.is_none()
    {
        return Ok(None);
    }
    let Some(first) = wanted.first() else { return Ok(Some(stream::empty().boxed())) };
    let Some(opened) = streams.open(first).await? else { return Ok(None) };
    let head = opened.range(within(first, &range));
    let rest = stream::iter(wanted.into_iter().skip(1)).then(move |extent| {
        let (streams, range) = (streams.clone(), range.clone());
        async move {
            let opened = streams.open(&extent).await?;
            let opened = opened.ok_or_else(|| OpError::Damaged(format!("blob {} is missing", extent.blob)))?;
            Ok::<_, OpError>(opened.range(within(&extent, &range)))
        }
    });
    Ok(Some(head.chain(rest.try_flatten()).boxed()))
}

fn within(extent: &Extent, range: &Range<u64>) -> Range<u64> {
    let start = range.start.clamp(extent.start, extent.start + extent.plain_len);
    let end = range.end.clamp(start, extent.start + extent.plain_len);
    start - extent.start..end - extent.start
}

/// Opens the streams of one version.
#[derive(Clone)]
struct Streams {
    store: Arc<Store>,
    keys: Arc<DataKeys>,
    version: crate::catalog::VersionRow,
}

impl Streams {
    async fn open(&self, extent: &Extent) -> Result<Option<OpenBlob>, OpError> {
        let version = &self.version;
        let place = crate::key::ObjectPlace { bucket: version.bucket, key: &version.key, write_id: version.write_id };
        let layers = self.store.keys.layers(&self.keys, place, extent.part_number);
        let facts = StreamFacts { plain_len: extent.plain_len, stream: extent.stream };
        OpenBlob::open(self.store.blobs.as_ref(), extent.blob, &layers, &facts).await
    }
}

/// The same plaintext, its first batch opened already: damage there is told before a status line is sent.
async fn begun(mut plaintext: Plaintext) -> Result<Plaintext, OpError> {
    Ok(match plaintext.next().await.transpose()? {
        Some(first) => stream::once(std::future::ready(Ok(first))).chain(plaintext).boxed(),
        None => plaintext,
    })
}

/// Holds something until the last byte was sent; damage found on the way breaks the answer off and is told in the log.
fn hold_while<T: Send + 'static>(held: T, plaintext: Plaintext) -> Plaintext {
    plaintext
        .map(move |chunk| {
            let _held = &held;
            chunk.inspect_err(|error| tracing::error!(%error, "damage found: the answer was broken off"))
        })
        .boxed()
}

/// Where a copy reads from: the source's version and the bytes that are wanted.
///
/// # Errors
/// As [`get`].
pub(super) async fn source(
    store: &Arc<Store>,
    who: &Authority,
    request: &GetRequest,
) -> Result<(Head, Plaintext), OpError> {
    match get(store, who, request).await {
        Err(OpError::NotModified(_)) => Err(OpError::PreconditionFailed("If-None-Match")),
        outcome => outcome,
    }
}
