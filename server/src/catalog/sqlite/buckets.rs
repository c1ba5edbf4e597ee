//! Buckets.

use rusqlite::{Connection, params};

use super::condemned::{check_not_condemned, condemn, condemn_keys, condemn_parts};
use super::schema::{BUCKET_COLUMNS, UPLOAD_COLUMNS, bucket_row, integer, upload_row};
use super::{change, row, rows};
use crate::catalog::{BucketRow, Condemnation, Condemned, Generation};
use crate::error::CatalogError;
use crate::id::BucketId;

pub(super) fn all(connection: &Connection) -> Result<Vec<BucketRow>, CatalogError> {
    rows(connection, &format!("SELECT {BUCKET_COLUMNS} FROM bucket ORDER BY name"), [], bucket_row)
}

pub(super) fn named(connection: &Connection, name: &str) -> Result<Option<BucketRow>, CatalogError> {
    row(connection, &format!("SELECT {BUCKET_COLUMNS} FROM bucket WHERE name = ?1"), [name.as_bytes()], bucket_row)
}

pub(super) fn create(connection: &Connection, bucket: &BucketRow) -> Result<(), CatalogError> {
    check_not_condemned(connection, Condemnation::Key(bucket.catalog_key))?;
    change(
        connection,
        &format!("INSERT INTO bucket ({BUCKET_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"),
        params![
            bucket.name.as_bytes(),
            bucket.id.as_bytes(),
            integer(bucket.created_ms),
            bucket.catalog_key.as_bytes(),
            bucket.config,
            integer(bucket.generation),
        ],
    )?;
    Ok(())
}

pub(super) fn configure(
    connection: &Connection,
    bucket: BucketId,
    generation: Generation,
    config: &[u8],
) -> Result<(), CatalogError> {
    let sql = "UPDATE bucket SET config = ?3, generation = generation + 1 WHERE id = ?1 AND generation = ?2";
    match change(connection, sql, params![bucket.as_bytes(), integer(generation), config])? {
        0 => check_exists(connection, bucket).and(Err(CatalogError::Conflict)),
        _ => Ok(()),
    }
}

pub(super) fn delete(connection: &Connection, bucket: BucketId) -> Result<Vec<Condemned>, CatalogError> {
    let sql = format!("SELECT {BUCKET_COLUMNS} FROM bucket WHERE id = ?1");
    let found = row(connection, &sql, [bucket.as_bytes()], bucket_row)?.ok_or(CatalogError::NoSuchBucket)?;
    let holds = "SELECT 1 FROM version WHERE bucket = ?1 LIMIT 1";
    if row(connection, holds, [bucket.as_bytes()], |_| Ok(()))?.is_some() {
        return Err(CatalogError::NotEmpty);
    }
    let mut condemned = abort_all(connection, bucket)?;
    change(connection, "DELETE FROM bucket WHERE id = ?1", [bucket.as_bytes()])?;
    condemned.push(condemn(connection, Condemnation::Key(found.catalog_key))?);
    Ok(condemned)
}

/// Refuses what would lie in no bucket.
pub(super) fn check_exists(connection: &Connection, bucket: BucketId) -> Result<(), CatalogError> {
    let sql = "SELECT 1 FROM bucket WHERE id = ?1";
    row(connection, sql, [bucket.as_bytes()], |_| Ok(()))?.ok_or(CatalogError::NoSuchBucket)
}

fn abort_all(connection: &Connection, bucket: BucketId) -> Result<Vec<Condemned>, CatalogError> {
    let sql = format!("SELECT {UPLOAD_COLUMNS} FROM upload WHERE bucket = ?1");
    let mut condemned = Vec::new();
    for upload in rows(connection, &sql, [bucket.as_bytes()], upload_row)? {
        condemned.extend(condemn_keys(connection, &upload.data_keys, &[])?);
        condemned.extend(condemn_parts(connection, upload.write_id)?);
    }
    change(connection, "DELETE FROM upload WHERE bucket = ?1", [bucket.as_bytes()])?;
    Ok(condemned)
}
