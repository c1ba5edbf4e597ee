//! Errors that do not know S3, sorted by what the caller can do. None holds a secret.

use std::path::PathBuf;

use strongroom_engine::{OpenError, RandomFailed, SealError};
use strongroom_hsm::{KeyError, MasterKeyId};

use crate::audit::UseError;
use crate::blob::BlobName;

/// The catalog did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Another commit came first, or what was to be made exists: read again.
    #[error("the catalog row changed meanwhile")]
    Conflict,
    /// There is no such bucket.
    #[error("no such bucket")]
    NoSuchBucket,
    /// The bucket still holds objects.
    #[error("the bucket still holds objects")]
    NotEmpty,
    /// The upload was completed, aborted, or never opened.
    #[error("no such upload is open")]
    NoSuchUpload,
    /// This process was taken for dead and must open another session.
    #[error("this process's session is closed: it was taken for dead; restart it")]
    SessionClosed,
    /// Wait and ask again.
    #[error("catalog unavailable: {0}")]
    Unavailable(String),
    /// Nobody can tell whether the commit happened; nothing may be cleaned up.
    #[error("catalog commit of unknown outcome: {0}")]
    OutcomeUnknown(String),
    /// A row that this version did not write like that.
    #[error("catalog damaged: {0}; restore it from a backup")]
    Damaged(String),
}

/// The keyring did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A row with this key id exists.
    #[error("the keyring holds such a row already")]
    Conflict,
    /// The key is wrapped under a master key that this keyring does not know, or that is not enabled: wrap it again.
    #[error("wrapped under a master key that this keyring does not know, or that is not enabled")]
    UnknownParent,
    /// Rewrap them first.
    #[error("{0} wrapped keys are under it: rewrap its alias first")]
    InUse(u64),
    /// Wait and ask again.
    #[error("keyring unavailable: {0}")]
    Unavailable(String),
    /// Nobody can tell whether the commit happened.
    #[error("keyring commit of unknown outcome: {0}")]
    OutcomeUnknown(String),
    /// A row that this version did not write like that.
    #[error("keyring damaged: {0}; restore it from a backup")]
    Damaged(String),
}

/// The blob store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No blob has this name.
    #[error("blob {0} is missing")]
    Missing(BlobName),
    /// It cannot be read, or ends too early.
    #[error("cannot read {what}")]
    Read {
        /// Path or name.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be made durable; nothing is left of it.
    #[error("cannot write {path}")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be removed.
    #[error("cannot remove {path}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Why an operation did not happen, sorted by what its caller can do.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// Name another bucket.
    #[error("no such bucket")]
    NoSuchBucket,
    /// Name another object.
    #[error("no such object")]
    NoSuchKey,
    /// Open another upload.
    #[error("no such upload is open")]
    NoSuchUpload,
    /// The bucket is there already.
    #[error("the bucket exists")]
    BucketExists,
    /// Delete its objects first.
    #[error("the bucket still holds objects")]
    BucketNotEmpty,
    /// A condition of the request does not hold.
    #[error("a condition of the request does not hold: {0}")]
    PreconditionFailed(&'static str),
    /// The client's copy is current.
    #[error("not modified")]
    NotModified(Box<crate::ops::get::Head>),
    /// Another request changed the object at the same moment: ask again.
    #[error("another request changed the object at the same moment")]
    ConcurrentChange,
    /// The range lies behind the end of the object.
    #[error("the range cannot be satisfied for an object of {plain_len} bytes")]
    InvalidRange {
        /// Of the whole object.
        plain_len: u64,
    },
    /// The object has no part of this number.
    #[error("the object has no part of this number")]
    InvalidPartNumber,
    /// A part that was named is absent, or differs from what was uploaded.
    #[error("part {0} was not uploaded, or its entity tag or checksum is another")]
    InvalidPart(u16),
    /// Parts must be named in ascending order.
    #[error("parts must be named in ascending order")]
    InvalidPartOrder,
    /// A part that is not the last is under 5 MiB.
    #[error("part {0} is smaller than 5 MiB and not the last")]
    EntityTooSmall(u16),
    /// Longer than S3 allows.
    #[error("{what} is longer than {limit} bytes")]
    TooLong {
        /// What.
        what: &'static str,
        /// In bytes.
        limit: u64,
    },
    /// Shorter than the policy of its form allows.
    #[error("the file is shorter than {limit} bytes")]
    TooShort {
        /// In bytes.
        limit: u64,
    },
    /// An object key beyond 1,024 bytes.
    #[error("the object key is longer than 1,024 bytes")]
    KeyTooLong,
    /// User metadata beyond 2 KiB.
    #[error("user metadata is longer than 2,048 bytes")]
    MetadataTooLarge,
    /// Say it otherwise.
    #[error("{0}")]
    InvalidRequest(String),
    /// A field has a value that it cannot have.
    #[error("{field}: {why}")]
    InvalidArgument {
        /// The header or parameter.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A digest that is no digest of its algorithm.
    #[error("the Content-MD5 you specified is not valid")]
    InvalidDigest,
    /// The bucket is set to plaintext.
    #[error("The server side encryption configuration was not found")]
    NoDefaultEncryption,
    /// With a customer's key there is only one algorithm.
    #[error("the encryption request you specified is not valid: supported value: AES256")]
    InvalidEncryptionAlgorithm,
    /// STANDARD or REDUCED_REDUNDANCY.
    #[error("the storage class you specified is not valid: STANDARD and REDUCED_REDUNDANCY are")]
    InvalidStorageClass,
    /// There is one region.
    #[error("the specified location constraint is not valid: this server is one region")]
    InvalidLocation,
    /// Buckets are their owner's: access control lists change nothing.
    #[error("the bucket does not allow access control lists")]
    AclNotSupported,
    /// A request that must carry a digest of its body.
    #[error("missing required header for this request: Content-MD5 or x-amz-checksum-*")]
    MissingDigest,
    /// There are no versions but the current one, `null`.
    #[error("no such version")]
    NoSuchVersion,
    /// The trailer that was announced did not come, or another did.
    #[error("the trailer of the body is malformed, or not the one that was announced")]
    MalformedTrailer,
    /// A document that does not say what it must.
    #[error("the XML you provided was not well-formed or did not validate: {0}")]
    MalformedXml(&'static str),
    /// The body ended before its announced length.
    #[error("the body ended before its announced length")]
    IncompleteBody,
    /// The body is not what its digest says.
    #[error("the {0} of the body is another than the one that was sent")]
    BadDigest(&'static str),
    /// The body does not match its signed SHA-256.
    #[error("the body does not match x-amz-content-sha256")]
    ContentSha256Mismatch,
    /// The signature of a chunk of the body is wrong.
    #[error("the signature of a chunk of the body is wrong")]
    ChunkSignature,
    /// The framing of the body is broken.
    #[error("the body cannot be read: {0}")]
    BadBody(String),
    /// This server does not do that; it did nothing.
    #[error("not implemented: {0}")]
    NotImplemented(&'static str),
    /// The access key is unknown.
    #[error("no such access key")]
    NoSuchAccessKey,
    /// A document that is no policy, or none of this bucket: where, and why.
    #[error("{0}")]
    MalformedPolicy(String),
    /// The bucket has no policy.
    #[error("the bucket policy does not exist")]
    NoSuchBucketPolicy,
    /// The client may not do that.
    #[error("access denied: {0}")]
    AccessDenied(&'static str),

    /// An administrator has disabled the master key.
    #[error("{0}")]
    KeyDisabled(String),
    /// The key id names no master key.
    #[error("there is no master key {0}")]
    NoSuchMasterKey(String),
    /// The master key that was named is on its way out.
    #[error("master key {0} is pending destruction")]
    KeyPendingDestruction(MasterKeyId),
    /// The object is protected by a customer's key, and the request brings none.
    #[error(
        "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to \
         retrieve the object."
    )]
    CustomerKeyMissing,
    /// The request brings a customer's key for an object that needs none.
    #[error("The encryption parameters are not applicable to this object.")]
    CustomerKeyUnwanted,
    /// The customer's key is not the one that protects the object.
    #[error("the customer key is not the one that the object was encrypted with")]
    WrongCustomerKey,
    /// A part comes without the customer's key of its upload, or with another.
    #[error(
        "The multipart upload initiate requested encryption. Subsequent part requests must include the same encryption \
         parameters, and no others."
    )]
    CustomerKeyOfUpload,
    /// The object's key, or its bucket's, was destroyed on purpose: nobody reads it any more.
    #[error("the key of this object was destroyed")]
    KeyDestroyed,

    /// Wait: master keys, databases or disks are away for now.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Nobody can tell whether a commit happened: nothing was cleaned up, ask again.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
    /// What was stored is not what was written. Nothing of it is shown.
    #[error("damaged: {0}")]
    Damaged(String),
    /// A fault of this program or its machine.
    #[error("internal fault: {0}")]
    Internal(String),
}

impl OpError {
    /// [`OpError::Damaged`], with what was found.
    pub fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

impl From<CatalogError> for OpError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Conflict => Self::ConcurrentChange,
            CatalogError::NoSuchBucket => Self::NoSuchBucket,
            CatalogError::NotEmpty => Self::BucketNotEmpty,
            CatalogError::NoSuchUpload => Self::NoSuchUpload,
            CatalogError::SessionClosed | CatalogError::Unavailable(_) => Self::Unavailable(error.to_string()),
            CatalogError::OutcomeUnknown(_) => Self::OutcomeUnknown(error.to_string()),
            CatalogError::Damaged(_) => Self::Damaged(error.to_string()),
        }
    }
}

impl From<KeyringError> for OpError {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::Conflict | KeyringError::InUse(_) => Self::Internal(error.to_string()),
            KeyringError::Unavailable(_) | KeyringError::UnknownParent => Self::Unavailable(error.to_string()),
            KeyringError::OutcomeUnknown(_) => Self::OutcomeUnknown(error.to_string()),
            KeyringError::Damaged(_) => Self::Damaged(error.to_string()),
        }
    }
}

impl From<BlobError> for OpError {
    fn from(error: BlobError) -> Self {
        let with_cause = match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        match &error {
            BlobError::Missing(_) => Self::Damaged(with_cause),
            // What lies there is no blob: a link, a folder, or less than was written.
            BlobError::Read { source, .. } if is_no_blob(source) => Self::Damaged(with_cause),
            BlobError::Read { .. } | BlobError::Write { .. } | BlobError::Remove { .. } => {
                Self::Unavailable(with_cause)
            }
        }
    }
}

fn is_no_blob(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, UnexpectedEof};
    let link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    link || matches!(error.kind(), IsADirectory | NotADirectory | UnexpectedEof)
}

impl From<KeyError> for OpError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Refused => Self::damaged("a wrapped key was altered, or belongs elsewhere"),
            KeyError::Disabled { .. } => Self::KeyDisabled(error.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<UseError> for OpError {
    fn from(error: UseError) -> Self {
        match error {
            UseError::Key(error) => error.into(),
            UseError::Audit(error) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<OpenError> for OpError {
    fn from(error: OpenError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<SealError> for OpError {
    fn from(error: SealError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<RandomFailed> for OpError {
    fn from(error: RandomFailed) -> Self {
        Self::Internal(error.to_string())
    }
}
