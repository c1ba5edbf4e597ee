//! Step 7, the database of users, buckets, versions, uploads and parts: the trait and its rows.
//!
//! A row shows names, sizes of tables and times; everything else is sealed (see [`record`]). Every commit names the
//! session that makes it and is refused when that session is closed, so that a process that was taken for dead cannot
//! commit what the sweeper removes. What a commit displaces goes onto the condemned list in the same transaction.

pub mod encryption;
mod list;
pub mod record;
mod sqlite;

use async_trait::async_trait;
use strongroom_engine::KeyId;

use crate::blob::BlobName;
use crate::error::CatalogError;
use crate::id::{BucketId, SessionId, StoreId, WriteId};

pub use sqlite::SqliteCatalog;

/// Counts the changes of one row; a commit that depends on what was read names the generation that it read.
pub type Generation = u64;

/// A user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserRow {
    /// As people and policies name it.
    pub name: String,
    /// Rises with each change of `sealed`.
    pub generation: Generation,
    /// Who that is, and the policies.
    pub sealed: Vec<u8>,
}

/// An access key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessKeyRow {
    /// As requests name it.
    pub id: String,
    /// Whose it is, to find it by; what counts is sealed.
    pub user: String,
    /// Rises with each change of `sealed`.
    pub generation: Generation,
    /// The secret, and whose it is.
    pub sealed: Vec<u8>,
}

/// A bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketRow {
    /// As S3 shows it.
    pub name: String,
    /// Its identity: a bucket made again under the same name is another.
    pub id: BucketId,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// The wrapped key of its catalog key.
    pub catalog_key: KeyId,
    /// Sealed [`record::BucketConfig`].
    pub config: Vec<u8>,
    /// Rises with each change of `config`.
    pub generation: Generation,
}

/// The current version of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionRow {
    /// Its bucket.
    pub bucket: BucketId,
    /// 1 to 1,024 bytes of UTF-8.
    pub key: String,
    /// Names this write for good.
    pub write_id: WriteId,
    /// Milliseconds since 1970, as S3 answers Last-Modified.
    pub created_ms: u64,
    /// The wrapped keys of its data keys, the innermost layer's first: none of a plaintext, two of DSSE.
    pub data_keys: Vec<KeyId>,
    /// Where its stream lies; `None` for a multipart object, whose streams are in its [`PartRow`]s.
    pub blob: Option<BlobName>,
    /// Sealed [`record::ObjectRecord`].
    pub record: Vec<u8>,
    /// Rises with each change of the row.
    pub generation: Generation,
}

/// An open multipart upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadRow {
    /// Its bucket.
    pub bucket: BucketId,
    /// The key that it will have.
    pub key: String,
    /// The upload id that S3 shows, in hexadecimal; the write id of the object to be.
    pub write_id: WriteId,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// The wrapped keys of the data keys of every part, as a version has them.
    pub data_keys: Vec<KeyId>,
    /// Sealed [`record::UploadRecord`].
    pub record: Vec<u8>,
}

/// One part, of an open upload or of a multipart object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartRow {
    /// 1 to 10,000.
    pub number: u16,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Where its stream lies.
    pub blob: BlobName,
    /// Sealed [`record::PartRecord`].
    pub record: Vec<u8>,
}

/// What a version must be at the moment of the commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// Whatever it is.
    Anything,
    /// There is no current version.
    Absent,
    /// The current version is still the write that was read, unchanged since.
    Unchanged(WriteId, Generation),
}

/// Something that no row names any more and that is to be removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condemned {
    /// Its place on the list, rising.
    pub place: u64,
    /// What it is.
    pub what: Condemnation,
}

/// What is to be removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condemnation {
    /// A blob: removed once no GET can be reading it.
    Blob(BlobName),
    /// A wrapped key: erased at once.
    Key(KeyId),
}

/// A page of a listing, in the order of the keys' UTF-8 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listed<Row> {
    /// A row.
    Row(Row),
    /// All keys that begin with this, rolled up at the delimiter.
    Prefix(String),
}

/// What to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListQuery {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Where to roll up keys behind the prefix; empty for never.
    pub delimiter: String,
    /// Only keys behind this one. Where it ends with the delimiter and is itself a rolled-up prefix, everything under
    /// it is behind us too.
    pub after: String,
    /// At most so many entries.
    pub limit: usize,
}

/// Where a listing of uploads goes on: behind this key, or behind this upload of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UploadMarker {
    /// Behind this key.
    pub key: String,
    /// Where given: at this key still, behind this upload.
    pub upload: Option<WriteId>,
}

/// A session, as the sweeper sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionRow {
    /// Its name.
    pub id: SessionId,
    /// Counts its renewals: one that stands still for longer than a lease is dead.
    pub beat: u64,
    /// Open, closed, or closed and swept.
    pub state: SessionState,
}

/// Where a session is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionState {
    /// Its process lives; it commits.
    Open,
    /// It commits no more; what it left may be removed.
    Closed,
    /// Nothing of it is left but what rows name.
    Swept,
}

/// The database of users, buckets, versions, uploads and parts. Every method that changes something commits durably before
/// it returns, and returns [`CatalogError::SessionClosed`] when its session is not open and
/// [`CatalogError::OutcomeUnknown`] when nobody can tell whether the commit happened.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// The store that this catalog belongs to; `None` before [`Catalog::found`].
    async fn store(&self) -> Result<Option<StoreId>, CatalogError>;
    /// Gives a new catalog its store. Refused with [`CatalogError::Conflict`] if it has one.
    async fn found(&self, store: StoreId) -> Result<(), CatalogError>;

    /// Opens a session.
    async fn open_session(&self, session: SessionId) -> Result<(), CatalogError>;
    /// Shows that the session's process lives.
    async fn renew_session(&self, session: SessionId) -> Result<(), CatalogError>;
    /// Every session that is not swept.
    async fn sessions(&self) -> Result<Vec<SessionRow>, CatalogError>;
    /// Which of these sessions the catalog has never known.
    async fn unknown_sessions(&self, sessions: Vec<SessionId>) -> Result<Vec<SessionId>, CatalogError>;
    /// Moves a session on; never back.
    async fn advance_session(&self, session: SessionId, state: SessionState) -> Result<(), CatalogError>;

    /// All users, by name.
    async fn users(&self) -> Result<Vec<UserRow>, CatalogError>;
    /// The user of this name.
    async fn user(&self, name: &str) -> Result<Option<UserRow>, CatalogError>;
    /// Adds a user; [`CatalogError::Conflict`] if the name is taken.
    async fn create_user(&self, session: SessionId, row: UserRow) -> Result<(), CatalogError>;
    /// Replaces the row that was read in `row.generation`; [`CatalogError::Conflict`] if it changed since or is gone.
    async fn change_user(&self, session: SessionId, row: UserRow) -> Result<(), CatalogError>;
    /// Removes a user with all access keys; [`CatalogError::Conflict`] if there is none.
    async fn delete_user(&self, session: SessionId, name: &str) -> Result<(), CatalogError>;
    /// The access key `id` and its user, as they are at one moment. [`CatalogError::Damaged`] if the user is gone.
    async fn access_key(&self, id: &str) -> Result<Option<(AccessKeyRow, UserRow)>, CatalogError>;
    /// The access keys of a user, by id.
    async fn access_keys(&self, user: &str) -> Result<Vec<AccessKeyRow>, CatalogError>;
    /// Adds an access key; [`CatalogError::Conflict`] if it exists, or its user does not.
    async fn add_access_key(&self, session: SessionId, row: AccessKeyRow) -> Result<(), CatalogError>;
    /// Replaces the row that was read in `row.generation`; [`CatalogError::Conflict`] if it changed since or is gone.
    async fn change_access_key(&self, session: SessionId, row: AccessKeyRow) -> Result<(), CatalogError>;
    /// Removes an access key; [`CatalogError::Conflict`] if there is none.
    async fn delete_access_key(&self, session: SessionId, id: &str) -> Result<(), CatalogError>;

    /// All buckets, by name.
    async fn buckets(&self) -> Result<Vec<BucketRow>, CatalogError>;
    /// The bucket of this name.
    async fn bucket(&self, name: &str) -> Result<Option<BucketRow>, CatalogError>;
    /// Adds a bucket; [`CatalogError::Conflict`] if the name is taken.
    async fn create_bucket(&self, session: SessionId, row: BucketRow) -> Result<(), CatalogError>;
    /// Replaces the configuration that was read in `generation`; [`CatalogError::Conflict`] if it changed since.
    async fn configure_bucket(
        &self,
        session: SessionId,
        bucket: BucketId,
        generation: Generation,
        config: Vec<u8>,
    ) -> Result<(), CatalogError>;
    /// Removes an empty bucket and aborts its uploads, condemning its catalog key and all that the uploads hold.
    /// [`CatalogError::NotEmpty`] if a version is left, [`CatalogError::NoSuchBucket`].
    async fn delete_bucket(&self, session: SessionId, bucket: BucketId) -> Result<Vec<Condemned>, CatalogError>;

    /// The current version of an object.
    async fn version(&self, bucket: BucketId, key: &str) -> Result<Option<VersionRow>, CatalogError>;
    /// Makes a version current, displacing the one before: what that held is condemned and returned.
    /// [`CatalogError::NoSuchBucket`] if the bucket is gone, [`CatalogError::Conflict`] if `expect` does not hold.
    async fn put_version(
        &self,
        session: SessionId,
        row: VersionRow,
        expect: Expect,
    ) -> Result<Vec<Condemned>, CatalogError>;
    /// Removes the current version, if there is one. [`CatalogError::Conflict`] if `expect` does not hold.
    async fn delete_version(
        &self,
        session: SessionId,
        bucket: BucketId,
        key: &str,
        expect: Expect,
    ) -> Result<Vec<Condemned>, CatalogError>;
    /// A page of current versions, and whether more follow.
    async fn list_versions(
        &self,
        bucket: BucketId,
        query: ListQuery,
    ) -> Result<(Vec<Listed<VersionRow>>, bool), CatalogError>;

    /// Opens an upload. [`CatalogError::NoSuchBucket`].
    async fn create_upload(&self, session: SessionId, row: UploadRow) -> Result<(), CatalogError>;
    /// The open upload of this id.
    async fn upload(&self, bucket: BucketId, key: &str, upload: WriteId) -> Result<Option<UploadRow>, CatalogError>;
    /// A page of open uploads by key, then by upload id, and whether more follow. `query.after` is not read.
    async fn list_uploads(
        &self,
        bucket: BucketId,
        query: ListQuery,
        after: UploadMarker,
    ) -> Result<(Vec<Listed<UploadRow>>, bool), CatalogError>;
    /// Adds a part to an open upload, replacing and condemning the one of the same number.
    /// [`CatalogError::NoSuchUpload`] if it is not open.
    async fn put_part(&self, session: SessionId, upload: WriteId, row: PartRow)
    -> Result<Vec<Condemned>, CatalogError>;
    /// Parts of an upload or of a multipart object, with numbers above `after`, by number, at most `limit`.
    async fn parts(&self, write: WriteId, after: u16, limit: usize) -> Result<Vec<PartRow>, CatalogError>;
    /// Turns an open upload into the current version: `row.write_id` is the upload's, `parts` are the parts exactly as
    /// they were read. The others, and the version displaced, are condemned. [`CatalogError::NoSuchUpload`] if it is
    /// not open, [`CatalogError::Conflict`] if a part was replaced since it was read or `expect` does not hold.
    async fn complete_upload(
        &self,
        session: SessionId,
        row: VersionRow,
        parts: Vec<PartRow>,
        expect: Expect,
    ) -> Result<Vec<Condemned>, CatalogError>;
    /// Closes an upload and condemns its data key and parts. [`CatalogError::NoSuchUpload`] if it is not open.
    async fn abort_upload(
        &self,
        session: SessionId,
        bucket: BucketId,
        key: &str,
        upload: WriteId,
    ) -> Result<Vec<Condemned>, CatalogError>;

    /// The condemned list behind place `after`, at most `limit` entries.
    async fn condemned(&self, after: u64, limit: usize) -> Result<Vec<Condemned>, CatalogError>;
    /// Takes off the condemned list what has been removed.
    async fn removed(&self, session: SessionId, places: Vec<u64>) -> Result<(), CatalogError>;
    /// Calls these wrapped keys destroyed for good, whatever copy of a keyring still has them.
    async fn destroy_keys(&self, session: SessionId, keys: Vec<KeyId>) -> Result<(), CatalogError>;
    /// Which of these were destroyed by [`Catalog::destroy_keys`].
    async fn destroyed(&self, keys: Vec<KeyId>) -> Result<Vec<KeyId>, CatalogError>;
    /// Which of these some row, or the condemned list, names.
    async fn named(&self, what: Vec<Condemnation>) -> Result<Vec<Condemnation>, CatalogError>;
}
