//! Current versions: reading, replacing, removing, listing.
//!
//! A row with another write id displaces the one before, and condemns what that held. A row with the same write id is
//! a change of that version: its generation rises, and only what it no longer names is condemned.

use std::ops::ControlFlow;

use rusqlite::{Connection, params};

use super::buckets::check_exists;
use super::condemned::{check_keys_not_condemned, check_not_condemned, condemn, condemn_keys, condemn_parts};
use super::schema::{VERSION_COLUMNS, integer, key_columns, version_row};
use super::{change, row};
use crate::catalog::list::page;
use crate::catalog::{Condemnation, Condemned, Expect, ListQuery, Listed, UploadMarker, VersionRow};
use crate::error::CatalogError;
use crate::id::BucketId;

pub(super) fn current(
    connection: &Connection,
    bucket: BucketId,
    key: &str,
) -> Result<Option<VersionRow>, CatalogError> {
    let sql = format!("SELECT {VERSION_COLUMNS} FROM version WHERE bucket = ?1 AND key = ?2");
    row(connection, &sql, params![bucket.as_bytes(), key.as_bytes()], version_row)
}

pub(super) fn put(
    connection: &Connection,
    mut new: VersionRow,
    expect: Expect,
) -> Result<Vec<Condemned>, CatalogError> {
    check_exists(connection, new.bucket)?;
    let old = current(connection, new.bucket, &new.key)?;
    check_expected(old.as_ref(), expect)?;
    check_keys_not_condemned(connection, &new.data_keys)?;
    if let Some(blob) = new.blob {
        check_not_condemned(connection, Condemnation::Blob(blob))?;
    }
    let condemned = match &old {
        Some(old) => displace(connection, old, Some(&new))?,
        None => Vec::new(),
    };
    if let Some(old) = old.filter(|old| old.write_id == new.write_id) {
        new.generation = old.generation.saturating_add(1);
    }
    replace(connection, &new)?;
    Ok(condemned)
}

pub(super) fn delete(
    connection: &Connection,
    bucket: BucketId,
    key: &str,
    expect: Expect,
) -> Result<Vec<Condemned>, CatalogError> {
    let old = current(connection, bucket, key)?;
    check_expected(old.as_ref(), expect)?;
    let Some(old) = old else { return Ok(Vec::new()) };
    let sql = "DELETE FROM version WHERE bucket = ?1 AND key = ?2";
    change(connection, sql, params![bucket.as_bytes(), key.as_bytes()])?;
    displace(connection, &old, None)
}

pub(super) fn list(
    connection: &Connection,
    bucket: BucketId,
    query: &ListQuery,
) -> Result<(Vec<Listed<VersionRow>>, bool), CatalogError> {
    let sql = format!("SELECT {VERSION_COLUMNS} FROM version WHERE bucket = ?1 AND key >= ?2 ORDER BY key");
    let marker = UploadMarker { key: query.after.clone(), upload: None };
    page(query, &marker, |start, visit| {
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![bucket.as_bytes(), start.key])?;
        while let Some(row) = rows.next()? {
            if let ControlFlow::Break(()) = visit(version_row(row)?) {
                break;
            }
        }
        Ok(())
    })
}

fn check_expected(current: Option<&VersionRow>, expect: Expect) -> Result<(), CatalogError> {
    let holds = match (expect, current) {
        (Expect::Anything, _) | (Expect::Absent, None) => true,
        (Expect::Absent, Some(_)) | (Expect::Unchanged(..), None) => false,
        (Expect::Unchanged(write, generation), Some(row)) => row.write_id == write && row.generation == generation,
    };
    if holds { Ok(()) } else { Err(CatalogError::Conflict) }
}

/// Condemns what `old` held and `new` does not name: its data key, and its stream or parts.
fn displace(
    connection: &Connection,
    old: &VersionRow,
    new: Option<&VersionRow>,
) -> Result<Vec<Condemned>, CatalogError> {
    let kept = new.map_or(&[][..], |new| &new.data_keys);
    let mut condemned = condemn_keys(connection, &old.data_keys, kept)?;
    match old.blob {
        Some(blob) if new.is_none_or(|new| new.blob != Some(blob)) => {
            condemned.push(condemn(connection, Condemnation::Blob(blob))?);
        }
        // Parts go by the write id: a change of the same multipart version keeps them.
        None if new.is_none_or(|new| new.write_id != old.write_id || new.blob.is_some()) => {
            condemned.extend(condemn_parts(connection, old.write_id)?);
        }
        Some(_) | None => {}
    }
    Ok(condemned)
}

fn replace(connection: &Connection, new: &VersionRow) -> Result<(), CatalogError> {
    // An upsert, not INSERT OR REPLACE: that would also remove another object's row of the same data key or blob.
    let sql = format!(
        "INSERT INTO version ({VERSION_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT (bucket, key) DO UPDATE SET write_id = excluded.write_id, created_ms = excluded.created_ms,
            data_key = excluded.data_key, second_key = excluded.second_key, blob = excluded.blob, record = excluded.record,
            generation = excluded.generation"
    );
    let [data_key, second_key] = key_columns(&new.data_keys);
    change(
        connection,
        &sql,
        params![
            new.bucket.as_bytes(),
            new.key.as_bytes(),
            new.write_id.as_bytes(),
            integer(new.created_ms),
            data_key,
            second_key,
            new.blob.map(|blob| blob.to_bytes()),
            new.record,
            integer(new.generation),
        ],
    )?;
    Ok(())
}
