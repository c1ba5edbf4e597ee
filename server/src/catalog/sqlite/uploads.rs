//! Open uploads and their parts. Complete and abort each close the upload first, in their own transaction: one wins.

use std::collections::HashMap;
use std::ops::ControlFlow;

use rusqlite::{Connection, params};

use super::buckets::check_exists;
use super::condemned::{check_keys_not_condemned, check_not_condemned, condemn, condemn_keys, condemn_parts};
use super::schema::{PART_COLUMNS, UPLOAD_COLUMNS, integer, key_columns, part_row, upload_row};
use super::{change, limit, row, rows, versions};
use crate::catalog::list::page;
use crate::catalog::{
    Condemnation, Condemned, Expect, ListQuery, Listed, PartRow, UploadMarker, UploadRow, VersionRow,
};
use crate::error::CatalogError;
use crate::id::{BucketId, WriteId};

pub(super) fn create(connection: &Connection, upload: &UploadRow) -> Result<(), CatalogError> {
    check_exists(connection, upload.bucket)?;
    check_keys_not_condemned(connection, &upload.data_keys)?;
    let [data_key, second_key] = key_columns(&upload.data_keys);
    change(
        connection,
        &format!("INSERT INTO upload ({UPLOAD_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
        params![
            upload.bucket.as_bytes(),
            upload.key.as_bytes(),
            upload.write_id.as_bytes(),
            integer(upload.created_ms),
            data_key,
            second_key,
            upload.record,
        ],
    )?;
    Ok(())
}

pub(super) fn open(
    connection: &Connection,
    bucket: BucketId,
    key: &str,
    upload: WriteId,
) -> Result<Option<UploadRow>, CatalogError> {
    let sql = format!("SELECT {UPLOAD_COLUMNS} FROM upload WHERE bucket = ?1 AND key = ?2 AND write_id = ?3");
    row(connection, &sql, params![bucket.as_bytes(), key.as_bytes(), upload.as_bytes()], upload_row)
}

pub(super) fn list(
    connection: &Connection,
    bucket: BucketId,
    query: &ListQuery,
    after: &UploadMarker,
) -> Result<(Vec<Listed<UploadRow>>, bool), CatalogError> {
    let sql = format!(
        "SELECT {UPLOAD_COLUMNS} FROM upload WHERE bucket = ?1 AND (key, write_id) >= (?2, ?3) ORDER BY key, write_id"
    );
    page(query, after, |start, visit| {
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![bucket.as_bytes(), start.key, start.upload])?;
        while let Some(row) = rows.next()? {
            if let ControlFlow::Break(()) = visit(upload_row(row)?) {
                break;
            }
        }
        Ok(())
    })
}

pub(super) fn put_part(
    connection: &Connection,
    upload: WriteId,
    new: &PartRow,
) -> Result<Vec<Condemned>, CatalogError> {
    let is_open = "SELECT 1 FROM upload WHERE write_id = ?1";
    row(connection, is_open, [upload.as_bytes()], |_| Ok(()))?.ok_or(CatalogError::NoSuchUpload)?;
    check_not_condemned(connection, Condemnation::Blob(new.blob))?;
    let old = remove_part(connection, upload, new.number)?;
    change(
        connection,
        &format!("INSERT INTO part (write_id, {PART_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5)"),
        params![upload.as_bytes(), i64::from(new.number), integer(new.created_ms), new.blob.to_bytes(), new.record,],
    )?;
    old.filter(|old| old.blob != new.blob)
        .map(|old| condemn(connection, Condemnation::Blob(old.blob)))
        .into_iter()
        .collect()
}

pub(super) fn parts(
    connection: &Connection,
    write: WriteId,
    after: u16,
    most: usize,
) -> Result<Vec<PartRow>, CatalogError> {
    let sql = format!("SELECT {PART_COLUMNS} FROM part WHERE write_id = ?1 AND number > ?2 ORDER BY number LIMIT ?3");
    rows(connection, &sql, params![write.as_bytes(), i64::from(after), limit(most)], part_row)
}

pub(super) fn complete(
    connection: &Connection,
    version: VersionRow,
    chosen: &[PartRow],
    expect: Expect,
) -> Result<Vec<Condemned>, CatalogError> {
    let upload = close(connection, version.bucket, &version.key, version.write_id)?;
    let mut chosen: HashMap<u16, &PartRow> = chosen.iter().map(|part| (part.number, part)).collect();
    let mut condemned = Vec::new();
    for part in parts(connection, version.write_id, 0, usize::MAX)? {
        match chosen.remove(&part.number) {
            Some(chosen) if *chosen == part => {}
            Some(_) => return Err(CatalogError::Conflict),
            None => {
                remove_part(connection, version.write_id, part.number)?;
                condemned.push(condemn(connection, Condemnation::Blob(part.blob))?);
            }
        }
    }
    // Chosen, but not there any more.
    if !chosen.is_empty() {
        return Err(CatalogError::Conflict);
    }
    condemned.extend(condemn_keys(connection, &upload.data_keys, &version.data_keys)?);
    condemned.extend(versions::put(connection, version, expect)?);
    Ok(condemned)
}

pub(super) fn abort(
    connection: &Connection,
    bucket: BucketId,
    key: &str,
    upload: WriteId,
) -> Result<Vec<Condemned>, CatalogError> {
    let upload = close(connection, bucket, key, upload)?;
    let mut condemned = condemn_keys(connection, &upload.data_keys, &[])?;
    condemned.extend(condemn_parts(connection, upload.write_id)?);
    Ok(condemned)
}

/// Takes the upload off the open ones: whoever comes second finds none.
fn close(connection: &Connection, bucket: BucketId, key: &str, upload: WriteId) -> Result<UploadRow, CatalogError> {
    let sql = format!("DELETE FROM upload WHERE bucket = ?1 AND key = ?2 AND write_id = ?3 RETURNING {UPLOAD_COLUMNS}");
    row(connection, &sql, params![bucket.as_bytes(), key.as_bytes(), upload.as_bytes()], upload_row)?
        .ok_or(CatalogError::NoSuchUpload)
}

fn remove_part(connection: &Connection, write: WriteId, number: u16) -> Result<Option<PartRow>, CatalogError> {
    let sql = format!("DELETE FROM part WHERE write_id = ?1 AND number = ?2 RETURNING {PART_COLUMNS}");
    row(connection, &sql, params![write.as_bytes(), i64::from(number)], part_row)
}
