//! The two ends of a stream that is not encrypted: its SHA-256 stands where a sealed stream has its commitment.
//!
//! So damage is noticed where all of it is read, before the last batch is released. A range is not checked: it is what
//! a bucket without encryption gives up.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use sha2::{Digest as _, Sha256};

use crate::blob::{BlobName, BlobReader};
use crate::bridge;
use crate::catalog::record::CommitmentBytes;
use crate::error::OpError;
use crate::pipeline::Plaintext;

/// Bytes that are read or hashed at once.
pub(super) const BATCH_LEN: usize = 256 << 10;

/// The SHA-256 of a plaintext, while it passes.
#[derive(Clone, Default)]
pub(super) struct Hash(Sha256);

impl Hash {
    pub(super) fn update(&mut self, plain: &[u8]) {
        self.0.update(plain);
    }

    pub(super) fn finish(self) -> CommitmentBytes {
        CommitmentBytes(self.0.finalize().into())
    }
}

/// A blob that holds a plaintext, of the length that its record says.
#[derive(Clone)]
pub(super) struct PlainBlob {
    pub(super) name: BlobName,
    pub(super) reader: Arc<dyn BlobReader>,
    pub(super) plain_len: u64,
    pub(super) hash: CommitmentBytes,
}

impl PlainBlob {
    /// The bytes of `range`, which lies within; checked where that is all.
    pub(super) fn range(self, range: Range<u64>) -> Plaintext {
        let hash = (range == (0..self.plain_len)).then(Hash::default);
        let first = Reading { blob: self, range, hash };
        stream::try_unfold(first, Reading::next).boxed()
    }
}

struct Reading {
    blob: PlainBlob,
    range: Range<u64>,
    hash: Option<Hash>,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, OpError> {
        if self.range.is_empty() {
            return Ok(None);
        }
        // At most a batch, so it fits.
        let len = (self.range.end - self.range.start).min(BATCH_LEN as u64) as usize;
        let plain = self.blob.reader.read(self.range.start, len).await?;
        self.range.start += len as u64;
        let hash = self.hash.take();
        let (plain, hash) = bridge::run(len, move || {
            let hash = hash.map(|mut hash| {
                hash.update(&plain);
                hash
            });
            Ok((Bytes::from(plain), hash))
        })
        .await?;
        if self.range.is_empty() && hash.clone().is_some_and(|hash| hash.finish() != self.blob.hash) {
            return Err(OpError::Damaged(format!("blob {}: another plaintext than was written", self.blob.name)));
        }
        self.hash = hash;
        Ok(Some((plain, self)))
    }
}
