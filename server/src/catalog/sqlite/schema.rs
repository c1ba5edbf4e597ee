//! The tables of a catalog, and how its rows are read. Version 3: a change here makes a new version and a migration.
//!
//! Object keys are BLOBs of their UTF-8 bytes, so that their order is that of bytes in every locale. Names that may
//! never be used twice have unique indexes, which also answer what is still named; they rise with time, so that an
//! index grows at its end. A value of the wrong length or type is damage, never a default.

use rusqlite::Row;
use rusqlite::types::FromSql;
use strongroom_engine::KeyId;

use crate::blob::BlobName;
use crate::catalog::{
    AccessKeyRow, BucketRow, Condemnation, Condemned, PartRow, SessionState, UploadRow, UserRow, VersionRow,
};
use crate::error::CatalogError;
use crate::id::Id;

/// `SRMc`.
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"SRMc");
/// Of the tables below.
pub(super) const VERSION: i32 = 3;
/// Measured: twice as much made no difference.
pub(super) const PAGE_LEN: u32 = 4096;

/// session.state: 0 open, 1 closed, 2 swept. condemned.kind: 0 blob, 1 key; its places are never used again, so that
/// a list read earlier never takes off a later entry.
pub(super) const SCHEMA: &str = "
CREATE TABLE store (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    id BLOB NOT NULL
);
CREATE TABLE session (
    id BLOB NOT NULL PRIMARY KEY,
    beat INTEGER NOT NULL,
    state INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE user (
    name BLOB NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL,
    sealed BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE access_key (
    id BLOB NOT NULL PRIMARY KEY,
    user BLOB NOT NULL,
    generation INTEGER NOT NULL,
    sealed BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX access_key_user ON access_key (user);
CREATE TABLE bucket (
    name BLOB NOT NULL PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    catalog_key BLOB NOT NULL UNIQUE,
    config BLOB NOT NULL,
    generation INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE version (
    bucket BLOB NOT NULL,
    key BLOB NOT NULL,
    write_id BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    data_key BLOB,
    second_key BLOB,
    blob BLOB,
    record BLOB NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE UNIQUE INDEX version_data_key ON version (data_key) WHERE data_key IS NOT NULL;
CREATE UNIQUE INDEX version_second_key ON version (second_key) WHERE second_key IS NOT NULL;
CREATE UNIQUE INDEX version_blob ON version (blob) WHERE blob IS NOT NULL;
CREATE TABLE upload (
    bucket BLOB NOT NULL,
    key BLOB NOT NULL,
    write_id BLOB NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    data_key BLOB UNIQUE,
    second_key BLOB UNIQUE,
    record BLOB NOT NULL,
    PRIMARY KEY (bucket, key, write_id)
) WITHOUT ROWID;
CREATE TABLE part (
    write_id BLOB NOT NULL,
    number INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    blob BLOB NOT NULL UNIQUE,
    record BLOB NOT NULL,
    PRIMARY KEY (write_id, number)
) WITHOUT ROWID;
CREATE TABLE condemned (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    name BLOB NOT NULL,
    UNIQUE (kind, name)
);
CREATE TABLE destroyed_key (
    id BLOB NOT NULL PRIMARY KEY
) WITHOUT ROWID;";

/// In the order that [`user_row`] reads.
pub(super) const USER_COLUMNS: &str = "name, generation, sealed";
/// In the order that [`access_key_row`] reads.
pub(super) const ACCESS_KEY_COLUMNS: &str = "id, user, generation, sealed";
/// In the order that [`bucket_row`] reads.
pub(super) const BUCKET_COLUMNS: &str = "name, id, created_ms, catalog_key, config, generation";
/// In the order that [`version_row`] reads.
pub(super) const VERSION_COLUMNS: &str =
    "bucket, key, write_id, created_ms, data_key, second_key, blob, record, generation";
/// In the order that [`upload_row`] reads.
pub(super) const UPLOAD_COLUMNS: &str = "bucket, key, write_id, created_ms, data_key, second_key, record";
/// In the order that [`part_row`] reads.
pub(super) const PART_COLUMNS: &str = "number, created_ms, blob, record";

pub(super) fn user_row(row: &Row<'_>) -> Result<UserRow, CatalogError> {
    Ok(UserRow { name: text(row, 0)?, generation: count(row, 1)?, sealed: field(row, 2)? })
}

pub(super) fn access_key_row(row: &Row<'_>) -> Result<AccessKeyRow, CatalogError> {
    Ok(AccessKeyRow { id: text(row, 0)?, user: text(row, 1)?, generation: count(row, 2)?, sealed: field(row, 3)? })
}

pub(super) fn bucket_row(row: &Row<'_>) -> Result<BucketRow, CatalogError> {
    Ok(BucketRow {
        name: text(row, 0)?,
        id: id(row, 1)?,
        created_ms: count(row, 2)?,
        catalog_key: key_id(row, 3)?,
        config: field(row, 4)?,
        generation: count(row, 5)?,
    })
}

pub(super) fn version_row(row: &Row<'_>) -> Result<VersionRow, CatalogError> {
    Ok(VersionRow {
        bucket: id(row, 0)?,
        key: text(row, 1)?,
        write_id: id(row, 2)?,
        created_ms: count(row, 3)?,
        data_keys: data_keys(row)?,
        blob: field::<Option<[u8; 32]>>(row, 6)?.map(|bytes| blob_name(&bytes)).transpose()?,
        record: field(row, 7)?,
        generation: count(row, 8)?,
    })
}

pub(super) fn upload_row(row: &Row<'_>) -> Result<UploadRow, CatalogError> {
    Ok(UploadRow {
        bucket: id(row, 0)?,
        key: text(row, 1)?,
        write_id: id(row, 2)?,
        created_ms: count(row, 3)?,
        data_keys: data_keys(row)?,
        record: field(row, 6)?,
    })
}

pub(super) fn part_row(row: &Row<'_>) -> Result<PartRow, CatalogError> {
    let number = count(row, 0)?;
    Ok(PartRow {
        number: u16::try_from(number).map_err(|_| damaged(format!("a part has number {number}")))?,
        created_ms: count(row, 1)?,
        blob: blob_name(&field::<[u8; 32]>(row, 2)?)?,
        record: field(row, 3)?,
    })
}

/// Of the columns place, kind, name.
pub(super) fn condemned_row(row: &Row<'_>) -> Result<Condemned, CatalogError> {
    let what = match field::<i64>(row, 1)? {
        0 => Condemnation::Blob(blob_name(&field::<[u8; 32]>(row, 2)?)?),
        1 => Condemnation::Key(key_id(row, 2)?),
        kind => return Err(damaged(format!("the condemned list has an entry of kind {kind}"))),
    };
    Ok(Condemned { place: count(row, 0)?, what })
}

/// As `condemned` keeps it.
pub(super) fn kind_and_name(what: &Condemnation) -> (i64, Vec<u8>) {
    match what {
        Condemnation::Blob(name) => (0, name.to_bytes().to_vec()),
        Condemnation::Key(id) => (1, id.as_bytes().to_vec()),
    }
}

/// As `session` keeps it.
pub(super) fn state_number(state: SessionState) -> i64 {
    match state {
        SessionState::Open => 0,
        SessionState::Closed => 1,
        SessionState::Swept => 2,
    }
}

pub(super) fn session_state(number: i64) -> Result<SessionState, CatalogError> {
    match number {
        0 => Ok(SessionState::Open),
        1 => Ok(SessionState::Closed),
        2 => Ok(SessionState::Swept),
        other => Err(damaged(format!("a session has state {other}"))),
    }
}

pub(super) fn id<T>(row: &Row<'_>, index: usize) -> Result<Id<T>, CatalogError> {
    field(row, index).map(Id::from_bytes)
}

/// A number that is never negative.
pub(super) fn count(row: &Row<'_>, index: usize) -> Result<u64, CatalogError> {
    let number: i64 = field(row, index)?;
    u64::try_from(number).map_err(|_| damaged(format!("a column that counts holds {number}")))
}

/// As SQLite keeps it. Beyond 2^63 nothing that we count ever comes; it would be kept as the largest.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn field<T: FromSql>(row: &Row<'_>, index: usize) -> Result<T, CatalogError> {
    Ok(row.get(index)?)
}

/// Of the columns data_key and second_key, which stand in the same places of versions and uploads.
fn data_keys(row: &Row<'_>) -> Result<Vec<KeyId>, CatalogError> {
    let found: [Option<[u8; 16]>; 2] = [field(row, 4)?, field(row, 5)?];
    match found {
        [None, Some(_)] => Err(damaged("a row names a second data key and no first".to_owned())),
        found => Ok(found.into_iter().flatten().map(KeyId::from_bytes).collect()),
    }
}

/// As data_key and second_key keep them. There are never more.
pub(super) fn key_columns(keys: &[KeyId]) -> [Option<&[u8; 16]>; 2] {
    [keys.first().map(KeyId::as_bytes), keys.get(1).map(KeyId::as_bytes)]
}

fn key_id(row: &Row<'_>, index: usize) -> Result<KeyId, CatalogError> {
    field(row, index).map(KeyId::from_bytes)
}

fn text(row: &Row<'_>, index: usize) -> Result<String, CatalogError> {
    String::from_utf8(field(row, index)?).map_err(|_| damaged("a name is not UTF-8".to_owned()))
}

fn blob_name(bytes: &[u8]) -> Result<BlobName, CatalogError> {
    BlobName::from_bytes(bytes).ok_or_else(|| damaged("a blob name has the wrong length".to_owned()))
}

fn damaged(what: String) -> CatalogError {
    CatalogError::Damaged(what)
}
