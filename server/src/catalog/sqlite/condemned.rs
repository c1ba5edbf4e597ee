//! What is to be removed, and what is still named: nothing is ever both.

use rusqlite::{Connection, params};
use strongroom_engine::KeyId;

use super::schema::{condemned_row, count, field, integer, kind_and_name};
use super::{change, limit, row, rows};
use crate::catalog::{Condemnation, Condemned};
use crate::error::CatalogError;
use crate::id::WriteId;

/// Condemns one thing.
pub(super) fn condemn(connection: &Connection, what: Condemnation) -> Result<Condemned, CatalogError> {
    let (kind, name) = kind_and_name(&what);
    let sql = "INSERT INTO condemned (kind, name) VALUES (?1, ?2) RETURNING place";
    let place = row(connection, sql, params![kind, name], |row| count(row, 0))?;
    // INSERT returns its row or fails.
    Ok(Condemned { place: place.ok_or(CatalogError::Conflict)?, what })
}

/// Condemns those of `keys` that `kept` does not have.
pub(super) fn condemn_keys(
    connection: &Connection,
    keys: &[KeyId],
    kept: &[KeyId],
) -> Result<Vec<Condemned>, CatalogError> {
    let gone = keys.iter().filter(|key| !kept.contains(key));
    gone.map(|key| condemn(connection, Condemnation::Key(*key))).collect()
}

/// Removes the parts of a write that are left, and condemns their blobs.
pub(super) fn condemn_parts(connection: &Connection, write: WriteId) -> Result<Vec<Condemned>, CatalogError> {
    let write = write.as_bytes();
    let sql = "INSERT INTO condemned (kind, name) SELECT 0, blob FROM part WHERE write_id = ?1 ORDER BY number
        RETURNING place, kind, name";
    let condemned = rows(connection, sql, [write], condemned_row)?;
    change(connection, "DELETE FROM part WHERE write_id = ?1", [write])?;
    Ok(condemned)
}

/// Refuses to name again what was condemned: somebody removes it at any moment.
pub(super) fn check_not_condemned(connection: &Connection, what: Condemnation) -> Result<(), CatalogError> {
    if is_condemned(connection, &what)? { Err(CatalogError::Conflict) } else { Ok(()) }
}

/// As [`check_not_condemned`], of each of these keys.
pub(super) fn check_keys_not_condemned(connection: &Connection, keys: &[KeyId]) -> Result<(), CatalogError> {
    keys.iter().try_for_each(|key| check_not_condemned(connection, Condemnation::Key(*key)))
}

pub(super) fn behind(connection: &Connection, after: u64, most: usize) -> Result<Vec<Condemned>, CatalogError> {
    let sql = "SELECT place, kind, name FROM condemned WHERE place > ?1 ORDER BY place LIMIT ?2";
    rows(connection, sql, params![integer(after), limit(most)], condemned_row)
}

pub(super) fn removed(connection: &Connection, places: &[u64]) -> Result<(), CatalogError> {
    for place in places {
        change(connection, "DELETE FROM condemned WHERE place = ?1", [integer(*place)])?;
    }
    Ok(())
}

pub(super) fn named(connection: &Connection, what: Vec<Condemnation>) -> Result<Vec<Condemnation>, CatalogError> {
    let mut named = Vec::new();
    for one in what {
        if is_in_a_row(connection, &one)? || is_condemned(connection, &one)? {
            named.push(one);
        }
    }
    Ok(named)
}

/// Names stay for ever: sixteen bytes for each key that was destroyed on purpose.
pub(super) fn destroy_keys(connection: &Connection, keys: &[KeyId]) -> Result<(), CatalogError> {
    for key in keys {
        change(connection, "INSERT INTO destroyed_key (id) VALUES (?1) ON CONFLICT DO NOTHING", [key.as_bytes()])?;
    }
    Ok(())
}

pub(super) fn destroyed(connection: &Connection, keys: Vec<KeyId>) -> Result<Vec<KeyId>, CatalogError> {
    let mut found = Vec::new();
    for key in keys {
        if exists(connection, "SELECT EXISTS (SELECT 1 FROM destroyed_key WHERE id = ?1)", [key.as_bytes()])? {
            found.push(key);
        }
    }
    Ok(found)
}

fn is_condemned(connection: &Connection, what: &Condemnation) -> Result<bool, CatalogError> {
    let (kind, name) = kind_and_name(what);
    exists(connection, "SELECT EXISTS (SELECT 1 FROM condemned WHERE kind = ?1 AND name = ?2)", params![kind, name])
}

fn is_in_a_row(connection: &Connection, what: &Condemnation) -> Result<bool, CatalogError> {
    let sql = match what {
        Condemnation::Blob(_) => {
            "SELECT EXISTS (SELECT 1 FROM version WHERE blob = ?1) OR EXISTS (SELECT 1 FROM part WHERE blob = ?1)"
        }
        Condemnation::Key(_) => {
            "SELECT EXISTS (SELECT 1 FROM version WHERE data_key = ?1)
                OR EXISTS (SELECT 1 FROM version WHERE second_key = ?1)
                OR EXISTS (SELECT 1 FROM upload WHERE data_key = ?1)
                OR EXISTS (SELECT 1 FROM upload WHERE second_key = ?1)
                OR EXISTS (SELECT 1 FROM bucket WHERE catalog_key = ?1)"
        }
    };
    exists(connection, sql, [kind_and_name(what).1])
}

fn exists(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<bool, CatalogError> {
    Ok(row(connection, sql, parameters, |row| field(row, 0))?.unwrap_or(false))
}
