//! Listings: pages of objects, of uploads and of parts.

use crate::catalog::record::{ObjectRecord, PartRecord, Place, UploadRecord};
use crate::catalog::{ListQuery, Listed, PartRow, UploadMarker, UploadRow};
use crate::error::OpError;
use crate::id::WriteId;
use crate::ops::{OpenBucket, Version};
use crate::policy::{Action, Authority};
use crate::store::Store;

/// Most entries of one page.
pub const PAGE_LEN_MAX: usize = 1000;

/// One page, and whether more follow.
pub struct Page<Row> {
    /// In order.
    pub entries: Vec<Listed<Row>>,
    /// Whether the listing goes on behind the last entry.
    pub truncated: bool,
}

/// An object in a listing.
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// All that is known of it.
    pub record: ObjectRecord,
}

/// A page of objects.
///
/// # Errors
/// [`OpError::NoSuchBucket`]; [`OpError::AccessDenied`]; [`OpError::Damaged`] if a record does not open; [`OpError::Unavailable`].
pub async fn objects(
    store: &Store,
    who: &Authority,
    bucket: &str,
    query: ListQuery,
) -> Result<Page<ListedObject>, OpError> {
    let bucket = OpenBucket::open_for(store, who, bucket, Action::ListBucket).await?;
    let (rows, truncated) = store.catalog.list_versions(bucket.row.id, query).await?;
    let records = bucket.records.clone();
    let entries = crate::bridge::run(rows.len() * 200, move || {
        let open = |row| {
            let Version { row, record } = Version::open(&records, row)?;
            Ok(ListedObject { key: row.key, created_ms: row.created_ms, record })
        };
        rows.into_iter().map(|listed| map(listed, open)).collect()
    })
    .await?;
    Ok(Page { entries, truncated })
}

/// A page of open uploads.
///
/// # Errors
/// As [`objects`].
pub async fn uploads(
    store: &Store,
    who: &Authority,
    bucket: &str,
    query: ListQuery,
    after: UploadMarker,
) -> Result<Page<(UploadRow, UploadRecord)>, OpError> {
    let bucket = OpenBucket::open_for(store, who, bucket, Action::ListBucketMultipartUploads).await?;
    let (rows, truncated) = store.catalog.list_uploads(bucket.row.id, query, after).await?;
    let open = |row: UploadRow| {
        let record = bucket.records.open(Place::Upload(&row.key, row.write_id), &row.record)?;
        Ok((row, record))
    };
    let entries = rows.into_iter().map(|listed| map(listed, open)).collect::<Result<_, OpError>>()?;
    Ok(Page { entries, truncated })
}

/// Which parts of an open upload.
pub struct PartQuery<'a> {
    /// Name of the bucket.
    pub bucket: &'a str,
    /// The object's key.
    pub key: &'a str,
    /// The upload.
    pub upload: WriteId,
    /// Only parts with numbers above this one.
    pub after: u16,
    /// At most so many.
    pub limit: usize,
}

/// A page of the parts of an open upload.
pub struct PartPage {
    /// Of the upload.
    pub upload: UploadRecord,
    /// By number.
    pub parts: Vec<(PartRow, PartRecord)>,
    /// Whether more follow.
    pub truncated: bool,
}

/// A page of the parts of an open upload.
///
/// # Errors
/// [`OpError::NoSuchUpload`], and as [`objects`].
pub async fn parts(store: &Store, who: &Authority, query: PartQuery<'_>) -> Result<PartPage, OpError> {
    let PartQuery { bucket, key, upload, after, limit } = query;
    let bucket = OpenBucket::open_for_object(store, who, bucket, Action::ListMultipartUploadParts, key).await?;
    let row = store.catalog.upload(bucket.row.id, key, upload).await?.ok_or(OpError::NoSuchUpload)?;
    let record = bucket.records.open(Place::Upload(key, upload), &row.record)?;
    let mut rows = store.catalog.parts(upload, after, limit + 1).await?;
    let truncated = rows.len() > limit && limit > 0;
    rows.truncate(limit);
    let open = |row: PartRow| {
        let part = bucket.records.open(Place::Part(key, upload, row.number), &row.record)?;
        Ok((row, part))
    };
    let parts = rows.into_iter().map(open).collect::<Result<_, OpError>>()?;
    Ok(PartPage { upload: record, parts, truncated })
}

fn map<Row, Entry>(
    listed: Listed<Row>,
    open: impl Fn(Row) -> Result<Entry, OpError>,
) -> Result<Listed<Entry>, OpError> {
    Ok(match listed {
        Listed::Row(row) => Listed::Row(open(row)?),
        Listed::Prefix(prefix) => Listed::Prefix(prefix),
    })
}
