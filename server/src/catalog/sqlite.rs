//! The embedded catalog: one SQLite file. Here is what the trait promises; the statements are in the files below.
//!
//! Each method is one job on the one thread that writes, or one snapshot on a thread that reads. A job checks that
//! its session is open before anything else, in the transaction that commits it.

mod buckets;
mod condemned;
mod schema;
mod sessions;
mod uploads;
mod users;
mod versions;

use std::path::Path;

use async_trait::async_trait;
use rusqlite::{Connection, Params, Row};
use strongroom_engine::KeyId;

use super::{
    AccessKeyRow, BucketRow, Catalog, Condemnation, Condemned, Expect, Generation, ListQuery, Listed, PartRow,
    SessionRow, SessionState, UploadMarker, UploadRow, UserRow, VersionRow,
};
use crate::commit::{Database, DatabaseError, DatabaseFile, rows};
use crate::error::CatalogError;
use crate::id::{BucketId, SessionId, StoreId, WriteId};

/// A catalog in one SQLite file.
pub struct SqliteCatalog {
    database: Database,
}

impl SqliteCatalog {
    /// Opens the file, or makes it, readable by its owner only. Blocks: for the start of a process.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`]; [`CatalogError::Damaged`] for a file of another kind or a later version.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        let file = DatabaseFile {
            path: path.to_owned(),
            what: "catalog",
            application_id: schema::APPLICATION_ID,
            version: schema::VERSION,
            page_len: schema::PAGE_LEN,
            schema: schema::SCHEMA,
        };
        Ok(Self { database: Database::open(file)? })
    }

    /// One job of a session, refused unless that is open at its commit.
    async fn write<T: Send + 'static>(
        &self,
        session: SessionId,
        job: impl FnOnce(&Connection) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        self.database
            .write(move |connection| {
                sessions::check_open(connection, session)?;
                job(connection)
            })
            .await
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn store(&self) -> Result<Option<StoreId>, CatalogError> {
        self.database.read(sessions::store).await
    }

    async fn found(&self, store: StoreId) -> Result<(), CatalogError> {
        self.database.write(move |connection| sessions::found(connection, store)).await
    }

    async fn open_session(&self, session: SessionId) -> Result<(), CatalogError> {
        self.database.write(move |connection| sessions::open(connection, session)).await
    }

    async fn renew_session(&self, session: SessionId) -> Result<(), CatalogError> {
        self.write(session, move |connection| sessions::renew(connection, session)).await
    }

    async fn sessions(&self) -> Result<Vec<SessionRow>, CatalogError> {
        self.database.read(sessions::unswept).await
    }

    async fn unknown_sessions(&self, sessions: Vec<SessionId>) -> Result<Vec<SessionId>, CatalogError> {
        self.database.read(move |connection| sessions::unknown(connection, sessions)).await
    }

    async fn advance_session(&self, session: SessionId, state: SessionState) -> Result<(), CatalogError> {
        self.database.write(move |connection| sessions::advance(connection, session, state)).await
    }

    async fn users(&self) -> Result<Vec<UserRow>, CatalogError> {
        self.database.read(users::all).await
    }

    async fn user(&self, name: &str) -> Result<Option<UserRow>, CatalogError> {
        let name = name.to_owned();
        self.database.read(move |connection| users::named(connection, &name)).await
    }

    async fn create_user(&self, session: SessionId, row: UserRow) -> Result<(), CatalogError> {
        self.write(session, move |connection| users::create(connection, &row)).await
    }

    async fn change_user(&self, session: SessionId, row: UserRow) -> Result<(), CatalogError> {
        self.write(session, move |connection| users::change_user(connection, &row)).await
    }

    async fn delete_user(&self, session: SessionId, name: &str) -> Result<(), CatalogError> {
        let name = name.to_owned();
        self.write(session, move |connection| users::delete(connection, &name)).await
    }

    async fn access_key(&self, id: &str) -> Result<Option<(AccessKeyRow, UserRow)>, CatalogError> {
        let id = id.to_owned();
        self.database.read(move |connection| users::access_key(connection, &id)).await
    }

    async fn access_keys(&self, user: &str) -> Result<Vec<AccessKeyRow>, CatalogError> {
        let user = user.to_owned();
        self.database.read(move |connection| users::access_keys(connection, &user)).await
    }

    async fn add_access_key(&self, session: SessionId, row: AccessKeyRow) -> Result<(), CatalogError> {
        self.write(session, move |connection| users::add_access_key(connection, &row)).await
    }

    async fn change_access_key(&self, session: SessionId, row: AccessKeyRow) -> Result<(), CatalogError> {
        self.write(session, move |connection| users::change_access_key(connection, &row)).await
    }

    async fn delete_access_key(&self, session: SessionId, id: &str) -> Result<(), CatalogError> {
        let id = id.to_owned();
        self.write(session, move |connection| users::delete_access_key(connection, &id)).await
    }

    async fn buckets(&self) -> Result<Vec<BucketRow>, CatalogError> {
        self.database.read(buckets::all).await
    }

    async fn bucket(&self, name: &str) -> Result<Option<BucketRow>, CatalogError> {
        let name = name.to_owned();
        self.database.read(move |connection| buckets::named(connection, &name)).await
    }

    async fn create_bucket(&self, session: SessionId, row: BucketRow) -> Result<(), CatalogError> {
        self.write(session, move |connection| buckets::create(connection, &row)).await
    }

    async fn configure_bucket(
        &self,
        session: SessionId,
        bucket: BucketId,
        generation: Generation,
        config: Vec<u8>,
    ) -> Result<(), CatalogError> {
        self.write(session, move |connection| buckets::configure(connection, bucket, generation, &config)).await
    }

    async fn delete_bucket(&self, session: SessionId, bucket: BucketId) -> Result<Vec<Condemned>, CatalogError> {
        self.write(session, move |connection| buckets::delete(connection, bucket)).await
    }

    async fn version(&self, bucket: BucketId, key: &str) -> Result<Option<VersionRow>, CatalogError> {
        let key = key.to_owned();
        self.database.read(move |connection| versions::current(connection, bucket, &key)).await
    }

    async fn put_version(
        &self,
        session: SessionId,
        row: VersionRow,
        expect: Expect,
    ) -> Result<Vec<Condemned>, CatalogError> {
        self.write(session, move |connection| versions::put(connection, row, expect)).await
    }

    async fn delete_version(
        &self,
        session: SessionId,
        bucket: BucketId,
        key: &str,
        expect: Expect,
    ) -> Result<Vec<Condemned>, CatalogError> {
        let key = key.to_owned();
        self.write(session, move |connection| versions::delete(connection, bucket, &key, expect)).await
    }

    async fn list_versions(
        &self,
        bucket: BucketId,
        query: ListQuery,
    ) -> Result<(Vec<Listed<VersionRow>>, bool), CatalogError> {
        self.database.read(move |connection| versions::list(connection, bucket, &query)).await
    }

    async fn create_upload(&self, session: SessionId, row: UploadRow) -> Result<(), CatalogError> {
        self.write(session, move |connection| uploads::create(connection, &row)).await
    }

    async fn upload(&self, bucket: BucketId, key: &str, upload: WriteId) -> Result<Option<UploadRow>, CatalogError> {
        let key = key.to_owned();
        self.database.read(move |connection| uploads::open(connection, bucket, &key, upload)).await
    }

    async fn list_uploads(
        &self,
        bucket: BucketId,
        query: ListQuery,
        after: UploadMarker,
    ) -> Result<(Vec<Listed<UploadRow>>, bool), CatalogError> {
        self.database.read(move |connection| uploads::list(connection, bucket, &query, &after)).await
    }

    async fn put_part(
        &self,
        session: SessionId,
        upload: WriteId,
        row: PartRow,
    ) -> Result<Vec<Condemned>, CatalogError> {
        self.write(session, move |connection| uploads::put_part(connection, upload, &row)).await
    }

    async fn parts(&self, write: WriteId, after: u16, limit: usize) -> Result<Vec<PartRow>, CatalogError> {
        self.database.read(move |connection| uploads::parts(connection, write, after, limit)).await
    }

    async fn complete_upload(
        &self,
        session: SessionId,
        row: VersionRow,
        parts: Vec<PartRow>,
        expect: Expect,
    ) -> Result<Vec<Condemned>, CatalogError> {
        self.write(session, move |connection| uploads::complete(connection, row, &parts, expect)).await
    }

    async fn abort_upload(
        &self,
        session: SessionId,
        bucket: BucketId,
        key: &str,
        upload: WriteId,
    ) -> Result<Vec<Condemned>, CatalogError> {
        let key = key.to_owned();
        self.write(session, move |connection| uploads::abort(connection, bucket, &key, upload)).await
    }

    async fn condemned(&self, after: u64, limit: usize) -> Result<Vec<Condemned>, CatalogError> {
        self.database.read(move |connection| condemned::behind(connection, after, limit)).await
    }

    async fn removed(&self, session: SessionId, places: Vec<u64>) -> Result<(), CatalogError> {
        self.write(session, move |connection| condemned::removed(connection, &places)).await
    }

    async fn destroy_keys(&self, session: SessionId, keys: Vec<KeyId>) -> Result<(), CatalogError> {
        self.write(session, move |connection| condemned::destroy_keys(connection, &keys)).await
    }

    async fn destroyed(&self, keys: Vec<KeyId>) -> Result<Vec<KeyId>, CatalogError> {
        self.database.read(move |connection| condemned::destroyed(connection, keys)).await
    }

    async fn named(&self, what: Vec<Condemnation>) -> Result<Vec<Condemnation>, CatalogError> {
        self.database.read(move |connection| condemned::named(connection, what)).await
    }
}

impl From<DatabaseError> for CatalogError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Conflict => Self::Conflict,
            DatabaseError::Unavailable(why) => Self::Unavailable(why),
            DatabaseError::OutcomeUnknown(why) => Self::OutcomeUnknown(why),
            DatabaseError::Damaged(what) => Self::Damaged(what),
        }
    }
}

impl From<rusqlite::Error> for CatalogError {
    fn from(error: rusqlite::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

/// The one row of a query, if there is one.
fn row<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, CatalogError>,
) -> Result<Option<T>, CatalogError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    rows.next()?.map(read).transpose()
}

/// Runs a statement; how many rows it changed.
fn change(connection: &Connection, sql: &str, parameters: impl Params) -> Result<usize, CatalogError> {
    Ok(connection.prepare_cached(sql)?.execute(parameters)?)
}

/// As LIMIT takes it.
fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
