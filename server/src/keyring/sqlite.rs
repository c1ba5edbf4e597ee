//! The embedded keyring: one SQLite file, of which nothing is left of a key that was erased.
//!
//! Erasing takes three things, and tests look for the bytes. secure_delete turns the row into zeros. A checkpoint
//! moves that into the database and cuts the log, which still has the row, to nothing. And where SQLite rebuilds a
//! page it moves rows and leaves their old copies in free space (measured, with 4 KiB pages and wrapped keys of
//! several lengths: 3 to 6 of 7,500 erased keys were still in the file), so the ciphertext must lie where nothing is
//! ever moved, on an overflow page of its own: with pages of [`PAGE_LEN`], SQLite keeps at most the first 102 bytes
//! of a longer row in the tree, and `wrapped`, the last column, begins at byte 89, its ciphertext at 111, that of a key
//! under a bucket key at 138, under a customer's key at 122.
//!
//! Key ids rise with time, so the tree grows at its end and a commit dirties few pages. `parent` repeats what stands
//! in the wrapped key, to refuse one of a parent that is none of ours, and to count what a version still holds.

mod admin;
mod rows;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use strongroom_engine::KeyId;

use super::{Kept, KeyRow, Keyring, KeyringIdentity, MasterKeyRow, MasterKeyState, Wrapped};
use crate::commit::{Database, DatabaseError, DatabaseFile};
use crate::error::KeyringError;
use crate::id::{SessionId, StoreId};
use rows::{
    KEY_COLUMN_COUNT, KEY_COLUMNS, MASTER_KEY_COLUMNS, change, field, integer, key_row, master_key_row, rows,
    state_if_any, state_numbers, wrapped_bytes,
};

/// `SRMk`.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"SRMk");
/// Of the tables below.
const VERSION: i32 = 5;

/// In bytes: one key is one page, and its row in the tree takes little more. Beside 4,096, measured: one client keeps
/// and all erase as fast, 32 clients keep 26 instead of 36 thousand keys a second, the file has 2.5 times the size.
const PAGE_LEN: u32 = 512;

/// kind: [`strongroom_engine::Kind`] as a number. state: 0 enabled, 1 disabled, 2 pending destruction (after after_ms),
/// 3 destroyed. canary: a [`strongroom_hsm::WrappedKey`], encoded. wrapped: one too; or 2 (1 byte), a bucket key's id
/// (16) and the sealed data key; or 3 (1 byte) and the data key sealed under a customer's key, its parent zeros. `wrapped`
/// must stay the last column. The last two indexes are of bucket keys and of what lies under them only.
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
    state INTEGER NOT NULL,
    after_ms INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    wraps INTEGER NOT NULL,
    begun INTEGER NOT NULL,
    UNIQUE (alias, version)
) WITHOUT ROWID;
CREATE UNIQUE INDEX master_key_current ON master_key (alias) WHERE current = 1;
CREATE TABLE alias (
    alias TEXT NOT NULL PRIMARY KEY,
    rotation_days INTEGER
) WITHOUT ROWID;
CREATE TABLE wrapped_key (
    id BLOB NOT NULL PRIMARY KEY,
    kind INTEGER NOT NULL,
    parent BLOB NOT NULL,
    context BLOB NOT NULL,
    session BLOB NOT NULL,
    wrapped BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX wrapped_key_session ON wrapped_key (session, id);
CREATE INDEX bucket_key ON wrapped_key (id) WHERE kind = 3;
CREATE INDEX under_bucket_key ON wrapped_key (parent) WHERE substr(wrapped, 1, 1) = x'02';";

/// A keyring in one SQLite file.
pub struct SqliteKeyring {
    path: PathBuf,
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
        Ok(Self { path: path.to_owned(), database: Database::open(file)? })
    }
}

#[async_trait]
impl Keyring for SqliteKeyring {
    async fn identity(&self) -> Result<Option<KeyringIdentity>, KeyringError> {
        self.database
            .read(|connection| {
                let mut rows = rows(connection, "SELECT store, store_key FROM identity", [], |row| {
                    Ok::<_, KeyringError>(KeyringIdentity {
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
        let sql = format!("SELECT {MASTER_KEY_COLUMNS} FROM master_key ORDER BY alias, version");
        self.database.read(move |connection| rows(connection, &sql, [], master_key_row)).await
    }

    async fn keep(&self, row: KeyRow) -> Result<Kept, KeyringError> {
        let id = row.id;
        self.database.write(move |connection| insert_key(connection, &row)).await?;
        Ok(Kept { id })
    }

    async fn row(&self, id: KeyId) -> Result<Option<KeyRow>, KeyringError> {
        let sql = format!("SELECT {KEY_COLUMNS} FROM wrapped_key WHERE id = ?1");
        self.database.read(move |connection| Ok(rows(connection, &sql, [id.as_bytes()], key_row)?.pop())).await
    }

    async fn row_to_use(&self, id: KeyId) -> Result<Option<(KeyRow, Option<MasterKeyState>)>, KeyringError> {
        let sql = format!(
            "SELECT {KEY_COLUMNS}, state, after_ms FROM wrapped_key LEFT JOIN \
             (SELECT id AS master, state, after_ms FROM master_key) ON master = parent WHERE id = ?1"
        );
        self.database
            .read(move |connection| {
                let read = |row: &Row<'_>| Ok::<_, KeyringError>((key_row(row)?, state_if_any(row, KEY_COLUMN_COUNT)?));
                Ok(rows(connection, &sql, [id.as_bytes()], read)?.pop())
            })
            .await
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
        let sql = "SELECT id FROM wrapped_key WHERE session = ?1 AND id > ?2 AND kind <> 3 ORDER BY id LIMIT ?3";
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
    let sql = format!("INSERT INTO master_key ({MASTER_KEY_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
    let (state, after_ms) = state_numbers(row.state);
    change(
        connection,
        &sql,
        params![
            row.alias.as_str(),
            row.version.0,
            row.id.as_bytes(),
            row.current,
            row.canary.encode(),
            state,
            after_ms,
            integer(row.created_ms),
            integer(row.wraps),
            row.begun.0,
        ],
    )
}

/// Refuses a parent that this keyring does not know, or that is not enabled.
fn check_parent(connection: &Connection, wrapped: &Wrapped) -> Result<(), KeyringError> {
    let (sql, parent) = match wrapped {
        Wrapped::ByMaster(wrapped) => {
            ("SELECT 1 FROM master_key WHERE id = ?1 AND state = 0", wrapped.master.as_bytes())
        }
        Wrapped::ByBucketKey { bucket_key, .. } => (
            "SELECT 1 FROM wrapped_key JOIN (SELECT id AS master, state FROM master_key) ON master = parent
             WHERE id = ?1 AND kind = 3 AND state = 0",
            bucket_key.as_bytes(),
        ),
        Wrapped::ByCustomerKey { .. } => return Ok(()),
    };
    if connection.prepare_cached(sql)?.exists([parent])? { Ok(()) } else { Err(KeyringError::UnknownParent) }
}

fn insert_key(connection: &Connection, row: &KeyRow) -> Result<(), KeyringError> {
    check_parent(connection, &row.wrapped)?;
    let sql = "INSERT INTO wrapped_key (id, kind, parent, context, session, wrapped) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    change(
        connection,
        sql,
        params![
            row.id.as_bytes(),
            row.kind as u8,
            row.wrapped.parent(),
            row.context.as_bytes(),
            row.session.as_bytes(),
            wrapped_bytes(&row.wrapped),
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
