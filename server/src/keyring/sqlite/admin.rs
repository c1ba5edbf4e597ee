//! The life of master keys in the embedded keyring, and the walks over all wrapped keys.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use strongroom_engine::KeyId;
use strongroom_hsm::{Alias, MasterKeyId, Version, WrappedKey};

use super::rows::{
    KEY_COLUMNS, alias_row, change, count, field, integer, key_row, rows, state_numbers, tally, wrapped_bytes,
};
use super::{SqliteKeyring, check_parent, insert_master_key};
use crate::error::KeyringError;
use crate::keyring::{AliasRow, Entry, KeyringAdmin, MasterKeyRow, MasterKeyState, Tally, Wrapped};

#[async_trait]
impl KeyringAdmin for SqliteKeyring {
    async fn add_version(&self, row: MasterKeyRow, replaces: Option<MasterKeyId>) -> Result<(), KeyringError> {
        self.database.write(move |connection| add_version(connection, &row, replaces)).await
    }

    async fn set_state(&self, id: MasterKeyId, from: MasterKeyState, to: MasterKeyState) -> Result<(), KeyringError> {
        self.database.write(move |connection| set_state(connection, id, from, to)).await
    }

    async fn begin_version(&self, alias: &Alias, version: Version) -> Result<(), KeyringError> {
        let (sql, alias) = ("UPDATE master_key SET begun = max(begun, ?2) WHERE alias = ?1", alias.clone());
        self.database.write(move |connection| change(connection, sql, params![alias.as_str(), version.0])).await
    }

    async fn aliases(&self) -> Result<Vec<AliasRow>, KeyringError> {
        let sql = "SELECT alias, rotation_days FROM alias ORDER BY alias";
        self.database.read(move |connection| rows(connection, sql, [], alias_row)).await
    }

    async fn set_alias(&self, row: AliasRow) -> Result<(), KeyringError> {
        let sql = "INSERT INTO alias (alias, rotation_days) VALUES (?1, ?2)
                   ON CONFLICT DO UPDATE SET rotation_days = excluded.rotation_days";
        self.database
            .write(move |connection| change(connection, sql, params![row.alias.as_str(), row.rotation_days]))
            .await
    }

    async fn take_wraps(&self, id: MasterKeyId, wraps: u64) -> Result<u64, KeyringError> {
        let sql = "UPDATE master_key SET wraps = wraps + ?2 WHERE id = ?1 RETURNING wraps";
        self.database
            .write(move |connection| {
                let mut statement = connection.prepare_cached(sql)?;
                let mut taken = statement.query(params![id.as_bytes(), integer(wraps)])?;
                let row = taken.next()?.ok_or(KeyringError::UnknownParent)?;
                count(row, 0)
            })
            .await
    }

    async fn tally(&self) -> Result<Vec<Tally>, KeyringError> {
        // Of a data key under a bucket key, the bucket key's parent counts.
        let sql = "SELECT coalesce(above.parent, below.parent), below.kind, sum(below.count)
                   FROM (SELECT parent, kind, count(*) AS count FROM wrapped_key GROUP BY parent, kind) AS below
                   LEFT JOIN wrapped_key AS above
                   ON above.id = below.parent AND above.kind = 3 AND below.kind = 2 GROUP BY 1, 2";
        self.database.read(move |connection| rows(connection, sql, [], tally)).await
    }

    async fn count(&self) -> Result<u64, KeyringError> {
        let count = |connection: &Connection| {
            let mut statement = connection.prepare_cached("SELECT count(*) FROM wrapped_key")?;
            Ok::<_, KeyringError>(statement.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs())
        };
        self.database.read(count).await
    }

    async fn page(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<Entry>, KeyringError> {
        let sql = format!("SELECT {KEY_COLUMNS} FROM wrapped_key WHERE id > ?1 ORDER BY id LIMIT ?2");
        // Every id is behind the empty one.
        let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let entry = |row: &Row<'_>| Ok(Entry { id: KeyId::from_bytes(field(row, 0)?), row: key_row(row) });
        self.database.read(move |connection| rows(connection, &sql, params![after, limit], entry)).await
    }

    async fn absent(&self, ids: Vec<KeyId>) -> Result<Vec<KeyId>, KeyringError> {
        self.database
            .read(move |connection| {
                let mut kept = connection.prepare_cached("SELECT 1 FROM wrapped_key WHERE id = ?1")?;
                let mut absent = Vec::new();
                for id in ids {
                    if !kept.exists([id.as_bytes()])? {
                        absent.push(id);
                    }
                }
                Ok(absent)
            })
            .await
    }

    async fn replace(&self, id: KeyId, old: WrappedKey, new: WrappedKey) -> Result<bool, KeyringError> {
        let sql = "UPDATE wrapped_key SET wrapped = ?3, parent = ?4 WHERE id = ?1 AND wrapped = ?2";
        self.database
            .write(move |connection| {
                let (old, new) = (Wrapped::ByMaster(old), Wrapped::ByMaster(new));
                check_parent(connection, &new)?;
                let values = params![id.as_bytes(), wrapped_bytes(&old), wrapped_bytes(&new), new.parent()];
                Ok(connection.prepare_cached(sql)?.execute(values)? == 1)
            })
            .await
    }

    async fn erase_unused_bucket_keys(&self, before: KeyId) -> Result<u64, KeyringError> {
        let unused = "FROM wrapped_key WHERE kind = 3 AND id < ?1 AND NOT EXISTS (
            SELECT 1 FROM wrapped_key AS below WHERE below.parent = wrapped_key.id AND substr(below.wrapped, 1, 1) = x'02')";
        let find = format!("SELECT count(*) {unused}");
        let count = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(&find)?;
            Ok::<_, KeyringError>(statement.query_row([before.as_bytes()], |row| row.get::<_, i64>(0))?.unsigned_abs())
        };
        let found = self.database.read(count).await?;
        if found > 0 {
            // Looked at again by the transaction that deletes them.
            let sql = format!("DELETE {unused}");
            self.database.erase(move |connection| change(connection, &sql, [before.as_bytes()])).await?;
        }
        Ok(found)
    }

    async fn forget_replaced(&self) -> Result<(), KeyringError> {
        self.database.erase(|_| Ok(())).await
    }

    async fn back_up(&self, to: &Path) -> Result<(), KeyringError> {
        Self::copy(&self.path, to).await
    }
}

fn add_version(connection: &Connection, row: &MasterKeyRow, replaces: Option<MasterKeyId>) -> Result<(), KeyringError> {
    if row.current {
        let sql = "SELECT id FROM master_key WHERE alias = ?1 AND current = 1";
        let mut current = connection.prepare_cached(sql)?;
        let id = current.query_row([row.alias.as_str()], |row| row.get(0)).optional()?;
        if id.map(MasterKeyId::new) != replaces {
            return Err(KeyringError::Conflict);
        }
        change(connection, "UPDATE master_key SET current = 0 WHERE alias = ?1", [row.alias.as_str()])?;
    }
    insert_master_key(connection, row)
}

fn set_state(
    connection: &Connection,
    id: MasterKeyId,
    from: MasterKeyState,
    to: MasterKeyState,
) -> Result<(), KeyringError> {
    if matches!(to, MasterKeyState::PendingDestruction { .. }) {
        let sql = "SELECT count(*) FROM wrapped_key WHERE parent = ?1";
        let under = connection.prepare_cached(sql)?.query_row([id.as_bytes()], |row| row.get::<_, i64>(0))?;
        if under > 0 {
            return Err(KeyringError::InUse(under.unsigned_abs()));
        }
    }
    // A version that nothing is to be wrapped under cannot be the one that wraps.
    let sql = "UPDATE master_key SET state = ?4, after_ms = ?5
               WHERE id = ?1 AND state = ?2 AND after_ms = ?3 AND (current = 0 OR ?4 < 2)";
    let ((old, old_after), (new, new_after)) = (state_numbers(from), state_numbers(to));
    let values = params![id.as_bytes(), old, old_after, new, new_after];
    let changed = connection.prepare_cached(sql)?.execute(values)?;
    if changed == 1 { Ok(()) } else { Err(KeyringError::Conflict) }
}

impl SqliteKeyring {
    /// Copies the keyring in the file `from`, which may be read-only and need not be in use, to a new file.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`], with the path.
    pub async fn copy(from: &Path, to: &Path) -> Result<(), KeyringError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        tokio::task::spawn_blocking(move || back_up(&from, &to))
            .await
            .map_err(|error| KeyringError::Unavailable(error.to_string()))?
    }
}

/// A copy that holds what is committed and nothing of what was erased: rows are written anew, one by one.
fn back_up(from: &Path, to: &Path) -> Result<(), KeyringError> {
    let failed = |error: &dyn std::fmt::Display| KeyringError::Unavailable(format!("{}: {error}", to.display()));
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // VACUUM INTO takes a file that is empty, so it is ours alone from its first moment.
    let file = private(to).map_err(|error| failed(&error))?;
    let copied = || -> Result<(), rusqlite::Error> {
        let connection = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let path: PathBuf = to.into();
        connection.execute("VACUUM INTO ?1", [path.to_string_lossy()])?;
        Ok(())
    };
    copied().map_err(|error| failed(&error))?;
    file.sync_all().map_err(|error| failed(&error))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(&error))
}

fn private(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
