//! Step 2: what is asked for, against what the bucket's configuration allows and mandates.

pub mod action;
pub mod authority;
pub mod language;

use crate::catalog::record::{BucketConfig, Encryption, Place};
use crate::error::OpError;
use crate::ops::OpenBucket;

pub use action::{Action, KeyAction};
pub use authority::Authority;

/// What a write says of its encryption; what it leaves open, the bucket decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// SSE-S3, by name. There is nothing else yet.
    pub sse_s3: bool,
    /// Whether a bucket key is to be used.
    pub bucket_key: Option<bool>,
}

impl Asked {
    /// Whether it says anything.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// How a write is encrypted: as the request says, else as the bucket's default says, else SSE-S3. Never not at all.
///
/// # Errors
/// [`OpError::Damaged`] if the bucket's configuration does not open: it is never read as absent.
pub fn encryption(bucket: &OpenBucket, asked: Asked) -> Result<Encryption, OpError> {
    let config = config(bucket)?;
    let default = config.default_encryption.unwrap_or(Encryption::SseS3);
    Ok(match asked.bucket_key.unwrap_or(default.has_bucket_key()) {
        false => Encryption::SseS3,
        true => Encryption::SseS3BucketKey,
    })
}

/// The bucket's configuration, opened.
///
/// # Errors
/// [`OpError::Damaged`].
pub fn config(bucket: &OpenBucket) -> Result<BucketConfig, OpError> {
    bucket.records.open(Place::Config, &bucket.row.config)
}
