//! Step 2: what is asked for, against what the bucket's configuration allows and mandates.

use crate::catalog::record::{BucketConfig, Encryption, Place};
use crate::error::OpError;
use crate::ops::OpenBucket;

/// How a write is encrypted: as the request says, else as the bucket's default says, else SSE-S3. Never not at all.
///
/// # Errors
/// [`OpError::Damaged`] if the bucket's configuration does not open: it is never read as absent.
pub fn encryption(bucket: &OpenBucket, asked: Option<Encryption>) -> Result<Encryption, OpError> {
    let config = config(bucket)?;
    Ok(asked.or(config.default_encryption).unwrap_or(Encryption::SseS3))
}

/// The bucket's configuration, opened.
///
/// # Errors
/// [`OpError::Damaged`].
pub fn config(bucket: &OpenBucket) -> Result<BucketConfig, OpError> {
    bucket.records.open(Place::Config, &bucket.row.config)
}
