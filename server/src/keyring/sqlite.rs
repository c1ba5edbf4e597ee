//! The embedded keyring: one SQLite file, of which nothing is left of a key that was erased.
//!
//! Erasing takes three things, and tests look for the bytes. secure_delete turns the row into zeros. A checkpoint
//! moves that into the database and cuts the log, which still has the row, to nothing. And where SQLite rebuilds a
//! page it moves rows and leaves their old copies in free space (measured, with 4 KiB pages and wrapped keys of
//! several lengths: 3 to 6 of 7,500 erased keys were still in the file), so the ciphertext must lie where nothing is
//! ever moved, on an overflow page of its own: with pages of [`PAGE_LEN`], SQLite keeps at most the first 102 bytes
//! of a longer row in the tree, and `wrapped`, the last column, begins at byte 89, its ciphertext at 111.
//!
//! Key ids rise with time, so the tree grows at its end and a commit dirties few pages. `parent` repeats what stands
//! in the wrapped key, to refuse one of a master key that is none of ours, and to count what a version still holds.

use std::path::Path;

use async_trait::async_trait;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};
use strongroom_engine::{ContextDigest, KeyId, Kind};
use strongroom_hsm::{Alias, MasterKeyId, Version, WrappedKey};

use super::{Kept, KeyRow, Keyring, KeyringIdentity, MasterKeyRow};
use crate::commit::{Database, DatabaseError, DatabaseFile};
use crate::error::KeyringError;
use crate::id::{SessionId, StoreId};

/// `SRMk`.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"SRMk");
/// Of the tables below.
const VERSION: i32 = 1;

/// In bytes: one key is one page, and its row in the tree takes little more. Beside 4,096, measured: one client keeps
/// and all erase as fast, 32 clients keep 26 instead of 36 thousand keys a second, the file has 2.5 times the size.
const PAGE_LEN: u32 = 512;

/// kind: [`Kind`] as a number. wrapped, canary: a [`WrappedKey`], encoded. `wrapped` must stay the last column.
const SCHEMA: &str = "
CREATE TABLE identity (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    store BLOB NOT NULL,
    store_key BLOB NOT NULL
);
CREATE TABLE master_key (
    id BLOB NOT NULL PRIMARY KEY,
    alias TEXT NOT NULL,
    version INTEGER NOT NULL,
    current INTEGER NOT NULL,
    canary BLOB NOT NULL,
    UNIQUE (alias, version)
) WITHOUT ROWID;
CREATE UNIQUE INDEX master_key_current ON master_key (alias) WHERE current = 1;
CREATE TABLE wrapped_key (
    id BLOB NOT NULL PRIMARY KEY,
    kind INTEGER NOT NULL,
    parent BLOB NOT NULL,
    context BLOB NOT NULL,
    session BLOB NOT NULL,
    wrapped BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX wrapped_key_session ON wrapped_key (session, id);";

/// A keyring in one SQLite file.
pub struct SqliteKeyring {
    database: Database,
}

impl SqliteKeyring {
    /// Opens the file, or makes it, readable by its owner only. Blocks: for the start of a process.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`]; [`KeyringError::Damaged`] for a file of another kind or a later version.
    pub fn open(path: &Path) -> Result<Self, KeyringError> {
        let file = DatabaseFile {
            path: path.to_owned(),
            what: "keyring",
            application_id: APPLICATION_ID,
            version: VERSION,
            page_len: PAGE_LEN,
            schema: SCHEMA,
        };
        Ok(Self { database: Database::open(file)? })
    }
}

#[async_trait]
impl Keyring for SqliteKeyring {
    async fn identity(&self) -> Result<Option<KeyringIdentity>, KeyringError> {
        self.database
            .read(|connection| {
                let mut rows = rows(connection, "SELECT store, store_key FROM identity", [], |row| {
                    Ok(KeyringIdentity {
                        store: StoreId::from_bytes(field(row, 0)?),
                        store_key: KeyId::from_bytes(field(row, 1)?),
                    })
                })?;
                Ok(rows.pop())
            })
            .await
    }

    async fn found(
        &self,
        identity: KeyringIdentity,
        master: MasterKeyRow,
        store_key: KeyRow,
    ) -> Result<(), KeyringError> {
        self.database
            .write(move |connection| {
                let sql = "INSERT INTO identity (only, store, store_key) VALUES (1, ?1, ?2)";
                change(connection, sql, params![identity.store.as_bytes(), identity.store_key.as_bytes()])?;
                insert_master_key(connection, &master)?;
                insert_key(connection, &store_key)
            })
            .await
    }

    async fn master_keys(&self) -> Result<Vec<MasterKeyRow>, KeyringError> {
        let sql = "SELECT alias, version, id, current, canary FROM master_key ORDER BY alias, version";
        self.database.read(move |connection| rows(connection, sql, [], master_key_row)).await
    }

    async fn keep(&self, row: KeyRow) -> Result<Kept, KeyringError> {
        let id = row.id;
        self.database.write(move |connection| insert_key(connection, &row)).await?;
        Ok(Kept { id })
    }

    async fn row(&self, id: KeyId) -> Result<Option<KeyRow>, KeyringError> {
        let sql = "SELECT id, kind, wrapped, context, session, parent FROM wrapped_key WHERE id = ?1";
        self.database.read(move |connection| Ok(rows(connection, sql, [id.as_bytes()], key_row)?.pop())).await
    }

    async fn erase(&self, ids: Vec<KeyId>) -> Result<(), KeyringError> {
        self.database
            .erase(move |connection| {
                for id in &ids {
                    change(connection, "DELETE FROM wrapped_key WHERE id = ?1", [id.as_bytes()])?;
                }
                Ok(())
            })
            .await
    }

    async fn sessions(&self) -> Result<Vec<SessionId>, KeyringError> {
        self.database.read(sessions).await
    }

    async fn kept_by(
        &self,
        session: SessionId,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyId>, KeyringError> {
        let sql = "SELECT id FROM wrapped_key WHERE session = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
        // Every id is behind the empty one.
        let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.database
            .read(move |connection| {
                rows(connection, sql, params![session.as_bytes(), after, limit], |row| {
                    Ok(KeyId::from_bytes(field(row, 0)?))
                })
            })
            .await
    }
}

impl From<DatabaseError> for KeyringError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Conflict => Self::Conflict,
            DatabaseError::Unavailable(why) => Self::Unavailable(why),
            DatabaseError::OutcomeUnknown(why) => Self::OutcomeUnknown(why),
            DatabaseError::Damaged(what) => Self::Damaged(what),
        }
    }
}

impl From<rusqlite::Error> for KeyringError {
    fn from(error: rusqlite::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

fn insert_master_key(connection: &Connection, row: &MasterKeyRow) -> Result<(), KeyringError> {
    let sql = "INSERT INTO master_key (id, alias, version, current, canary) VALUES (?1, ?2, ?3, ?4, ?5)";
    let canary = row.canary.encode();
    change(connection, sql, params![row.id.as_bytes(), row.alias.as_str(), row.version.0, row.current, canary])
}

fn insert_key(connection: &Connection, row: &KeyRow) -> Result<(), KeyringError> {
    let parent = row.wrapped.master.as_bytes();
    let mut known = connection.prepare_cached("SELECT 1 FROM master_key WHERE id = ?1")?;
    if !known.exists([parent])? {
        return Err(KeyringError::UnknownParent);
    }
    let sql = "INSERT INTO wrapped_key (id, kind, parent, context, session, wrapped) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    change(
        connection,
        sql,
        params![
            row.id.as_bytes(),
            row.kind as u8,
            parent,
            row.context.as_bytes(),
            row.session.as_bytes(),
            row.wrapped.encode(),
        ],
    )
}

/// A seek for each session, whatever it kept.
fn sessions(connection: &Connection) -> Result<Vec<SessionId>, KeyringError> {
    let mut next =
        connection.prepare_cached("SELECT session FROM wrapped_key WHERE session > ?1 ORDER BY session LIMIT 1")?;
    let mut sessions: Vec<SessionId> = Vec::new();
    loop {
        let last = sessions.last().map_or(&[][..], |session| session.as_bytes());
        match next.query_row([last], |row| row.get(0)).optional()? {
            Some(session) => sessions.push(SessionId::from_bytes(session)),
            None => return Ok(sessions),
        }
    }
}

/// Of the columns id, kind, wrapped, context, session, parent.
fn key_row(row: &Row<'_>) -> Result<KeyRow, KeyringError> {
    let wrapped = wrapped_key(row, 2)?;
    if field::<[u8; 16]>(row, 5)? != *wrapped.master.as_bytes() {
        return Err(KeyringError::Damaged("a wrapped key and its row name different master keys".to_owned()));
    }
    Ok(KeyRow {
        id: KeyId::from_bytes(field(row, 0)?),
        kind: kind(field(row, 1)?)?,
        wrapped,
        context: ContextDigest::from_bytes(field(row, 3)?),
        session: SessionId::from_bytes(field(row, 4)?),
    })
}

/// Of the columns alias, version, id, current, canary.
fn master_key_row(row: &Row<'_>) -> Result<MasterKeyRow, KeyringError> {
    let alias: String = field(row, 0)?;
    Ok(MasterKeyRow {
        alias: Alias::new(alias).map_err(|error| KeyringError::Damaged(error.to_string()))?,
        version: Version(field(row, 1)?),
        id: MasterKeyId::new(field(row, 2)?),
        current: field(row, 3)?,
        canary: wrapped_key(row, 4)?,
    })
}

fn wrapped_key(row: &Row<'_>, index: usize) -> Result<WrappedKey, KeyringError> {
    let bytes: Vec<u8> = field(row, index)?;
    WrappedKey::decode(&bytes).map_err(|error| KeyringError::Damaged(error.to_string()))
}

/// The kinds that a keyring holds.
fn kind(number: u8) -> Result<Kind, KeyringError> {
    [Kind::DataKey, Kind::CatalogKey, Kind::StoreKey]
        .into_iter()
        .find(|kind| *kind as u8 == number)
        .ok_or_else(|| KeyringError::Damaged(format!("a wrapped key has kind {number}")))
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, KeyringError>,
) -> Result<Vec<T>, KeyringError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}

fn change(connection: &Connection, sql: &str, parameters: impl Params) -> Result<(), KeyringError> {
    connection.prepare_cached(sql)?.execute(parameters)?;
    Ok(())
}

fn field<T: FromSql>(row: &Row<'_>, index: usize) -> Result<T, KeyringError> {
    Ok(row.get(index)?)
}
