//! How a database file is made, recognised and opened: identity, permissions, and the settings durability rests on.
//!
//! A file carries the application id of its kind and the version of its schema. One of another kind, or of a later
//! version, is refused before a byte of it is changed.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::DatabaseError;

/// How long SQLite waits for another process (a backup) before a call fails. Tests make it fail, and do not wait.
const BUSY_WAIT_MAX: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 5_000 });

/// More than every statement that a catalog or a keyring has.
const CACHED_STATEMENT_COUNT: usize = 64;

/// Measured: a larger log made no difference, so SQLite's own default stays.
/// FULL: each COMMIT fsyncs. secure_delete: deleted bytes become zeros. temp_store: no key leaves for a temporary file.
const SETTINGS: &str = "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON;
    PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;";

/// A database file, and what it must be.
#[derive(Clone)]
pub(crate) struct DatabaseFile {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// What people call it: `catalog`, `keyring`.
    pub(crate) what: &'static str,
    /// In the header of every file of this kind.
    pub(crate) application_id: i32,
    /// Of the schema.
    pub(crate) version: i32,
    /// Of a new file, in bytes.
    pub(crate) page_len: u32,
    /// The statements that make a new file's tables.
    pub(crate) schema: &'static str,
}

impl DatabaseFile {
    /// Opens the connection that writes; makes the file if it is absent.
    pub(super) fn open_writer(&self) -> Result<Connection, DatabaseError> {
        self.create_private().map_err(|error| self.unavailable(&error))?;
        let mut connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let new = self.check_identity(&connection)?;
        if new {
            connection.pragma_update(None, "page_size", self.page_len)?;
        }
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(self.unavailable(&"it cannot be put into WAL mode"));
        }
        connection.execute_batch(SETTINGS)?;
        if new {
            self.create_tables(&mut connection)?;
        }
        Ok(connection)
    }

    /// Opens a connection that reads only.
    pub(super) fn open_reader(&self) -> Result<Connection, DatabaseError> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.execute_batch(SETTINGS)?;
        Ok(connection)
    }

    fn connect(&self, access: OpenFlags) -> Result<Connection, DatabaseError> {
        let connection = Connection::open_with_flags(&self.path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|error| self.unavailable(&error))?;
        connection.busy_timeout(BUSY_WAIT_MAX)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENT_COUNT);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        Ok(connection)
    }

    /// Readable by its owner only from the first moment; SQLite gives its log the same mode.
    fn create_private(&self) -> io::Result<()> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path) {
            Ok(_) => sync_folder_of(&self.path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the file is new; an error if it is anything but ours.
    fn check_identity(&self, connection: &Connection) -> Result<bool, DatabaseError> {
        let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i32>(0));
        let application_id = number("PRAGMA application_id")?;
        let version = number("PRAGMA user_version")?;
        if application_id == 0 && version == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0 {
            return Ok(true);
        }
        let (path, what) = (self.path.display(), self.what);
        if application_id != self.application_id {
            return Err(DatabaseError::Damaged(format!("{path} is no strongroom {what}")));
        }
        if version != self.version {
            return Err(DatabaseError::Damaged(format!(
                "{path} is a {what} of version {version}, and this program reads version {}: use a program of its version",
                self.version
            )));
        }
        Ok(false)
    }

    fn create_tables(&self, connection: &mut Connection) -> Result<(), DatabaseError> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have made them since we looked.
        if self.check_identity(&transaction)? {
            transaction.execute_batch(self.schema)?;
            transaction.pragma_update(None, "application_id", self.application_id)?;
            transaction.pragma_update(None, "user_version", self.version)?;
        }
        Ok(transaction.commit()?)
    }

    fn unavailable(&self, why: &dyn std::fmt::Display) -> DatabaseError {
        DatabaseError::Unavailable(format!("{}: {why}", self.path.display()))
    }
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::File::open(folder)?.sync_all()
}
