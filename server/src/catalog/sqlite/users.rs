//! Users and their access keys. Every change names the generation that was read, and finds it or changes nothing.

use rusqlite::{Connection, params};

use super::schema::{ACCESS_KEY_COLUMNS, USER_COLUMNS, access_key_row, integer, user_row};
use super::{change, row, rows};
use crate::catalog::{AccessKeyRow, UserRow};
use crate::error::CatalogError;

pub(super) fn all(connection: &Connection) -> Result<Vec<UserRow>, CatalogError> {
    rows(connection, &format!("SELECT {USER_COLUMNS} FROM user ORDER BY name"), [], user_row)
}

pub(super) fn named(connection: &Connection, name: &str) -> Result<Option<UserRow>, CatalogError> {
    row(connection, &format!("SELECT {USER_COLUMNS} FROM user WHERE name = ?1"), [name.as_bytes()], user_row)
}

pub(super) fn create(connection: &Connection, user: &UserRow) -> Result<(), CatalogError> {
    let sql = format!("INSERT INTO user ({USER_COLUMNS}) VALUES (?1, ?2, ?3)");
    change(connection, &sql, params![user.name.as_bytes(), integer(user.generation), user.sealed])?;
    Ok(())
}

pub(super) fn change_user(connection: &Connection, user: &UserRow) -> Result<(), CatalogError> {
    let sql = "UPDATE user SET sealed = ?3, generation = generation + 1 WHERE name = ?1 AND generation = ?2";
    one(change(connection, sql, params![user.name.as_bytes(), integer(user.generation), user.sealed])?)
}

pub(super) fn delete(connection: &Connection, name: &str) -> Result<(), CatalogError> {
    change(connection, "DELETE FROM access_key WHERE user = ?1", [name.as_bytes()])?;
    one(change(connection, "DELETE FROM user WHERE name = ?1", [name.as_bytes()])?)
}

pub(super) fn access_key(connection: &Connection, id: &str) -> Result<Option<(AccessKeyRow, UserRow)>, CatalogError> {
    let sql = format!("SELECT {ACCESS_KEY_COLUMNS} FROM access_key WHERE id = ?1");
    let Some(key) = row(connection, &sql, [id.as_bytes()], access_key_row)? else { return Ok(None) };
    let user = named(connection, &key.user)?;
    let user = user.ok_or_else(|| CatalogError::Damaged(format!("the user of access key {id} is gone")))?;
    Ok(Some((key, user)))
}

pub(super) fn access_keys(connection: &Connection, user: &str) -> Result<Vec<AccessKeyRow>, CatalogError> {
    let sql = format!("SELECT {ACCESS_KEY_COLUMNS} FROM access_key WHERE user = ?1 ORDER BY id");
    rows(connection, &sql, [user.as_bytes()], access_key_row)
}

pub(super) fn add_access_key(connection: &Connection, key: &AccessKeyRow) -> Result<(), CatalogError> {
    // An INSERT that finds no user adds nothing.
    let sql =
        format!("INSERT INTO access_key ({ACCESS_KEY_COLUMNS}) SELECT ?1, name, ?3, ?4 FROM user WHERE name = ?2");
    let values = params![key.id.as_bytes(), key.user.as_bytes(), integer(key.generation), key.sealed];
    one(change(connection, &sql, values)?)
}

pub(super) fn change_access_key(connection: &Connection, key: &AccessKeyRow) -> Result<(), CatalogError> {
    let sql = "UPDATE access_key SET sealed = ?3, generation = generation + 1 WHERE id = ?1 AND generation = ?2";
    one(change(connection, sql, params![key.id.as_bytes(), integer(key.generation), key.sealed])?)
}

pub(super) fn delete_access_key(connection: &Connection, id: &str) -> Result<(), CatalogError> {
    one(change(connection, "DELETE FROM access_key WHERE id = ?1", [id.as_bytes()])?)
}

/// The one row that was to change did.
fn one(changed: usize) -> Result<(), CatalogError> {
    if changed == 1 { Ok(()) } else { Err(CatalogError::Conflict) }
}
