//! Whose catalog this is, and which processes may commit to it.

use rusqlite::{Connection, params};

use super::schema::{count, field, id, session_state, state_number};
use super::{change, row, rows};
use crate::catalog::{SessionRow, SessionState};
use crate::error::CatalogError;
use crate::id::{SessionId, StoreId};

pub(super) fn store(connection: &Connection) -> Result<Option<StoreId>, CatalogError> {
    row(connection, "SELECT id FROM store", [], |row| id(row, 0))
}

pub(super) fn found(connection: &Connection, store: StoreId) -> Result<(), CatalogError> {
    change(connection, "INSERT INTO store (only, id) VALUES (1, ?1)", [store.as_bytes()])?;
    Ok(())
}

/// Refuses a session that is not open; the first thing that every other job does.
pub(super) fn check_open(connection: &Connection, session: SessionId) -> Result<(), CatalogError> {
    match state(connection, session)? {
        Some(SessionState::Open) => Ok(()),
        Some(SessionState::Closed | SessionState::Swept) | None => Err(CatalogError::SessionClosed),
    }
}

pub(super) fn open(connection: &Connection, session: SessionId) -> Result<(), CatalogError> {
    let sql = "INSERT INTO session (id, beat, state) VALUES (?1, 0, ?2)";
    change(connection, sql, params![session.as_bytes(), state_number(SessionState::Open)])?;
    Ok(())
}

pub(super) fn renew(connection: &Connection, session: SessionId) -> Result<(), CatalogError> {
    change(connection, "UPDATE session SET beat = beat + 1 WHERE id = ?1", [session.as_bytes()])?;
    Ok(())
}

pub(super) fn unswept(connection: &Connection) -> Result<Vec<SessionRow>, CatalogError> {
    let sql = "SELECT id, beat, state FROM session WHERE state <> ?1 ORDER BY id";
    rows(connection, sql, [state_number(SessionState::Swept)], |row| {
        Ok(SessionRow { id: id(row, 0)?, beat: count(row, 1)?, state: session_state(field(row, 2)?)? })
    })
}

pub(super) fn unknown(connection: &Connection, sessions: Vec<SessionId>) -> Result<Vec<SessionId>, CatalogError> {
    let mut unknown = Vec::new();
    for session in sessions {
        if state(connection, session)?.is_none() {
            unknown.push(session);
        }
    }
    Ok(unknown)
}

/// To where it is already: nothing to do. Back, or a session that never was: a conflict.
pub(super) fn advance(connection: &Connection, session: SessionId, to: SessionState) -> Result<(), CatalogError> {
    let sql = "UPDATE session SET state = ?2 WHERE id = ?1 AND state <= ?2";
    match change(connection, sql, params![session.as_bytes(), state_number(to)])? {
        0 => Err(CatalogError::Conflict),
        _ => Ok(()),
    }
}

fn state(connection: &Connection, session: SessionId) -> Result<Option<SessionState>, CatalogError> {
    let sql = "SELECT state FROM session WHERE id = ?1";
    row(connection, sql, [session.as_bytes()], |row| session_state(field(row, 0)?))
}
