//! A blob in, plaintext out: any range, a batch at a time, each verified before a byte of it is released.
//!
//! A second layer is opened like a blob whose bytes come out of the layer around it. Header, commitment, length and the
//! last segment are checked when the blob is opened, so before a status line is sent; damage found later ends the stream
//! with an error.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use strongroom_engine::{HEADER_LEN, Layout, Opener};

use crate::blob::{BlobName, BlobReader, BlobStore};
use crate::bridge;
use crate::catalog::record::{CommitmentBytes, StreamRecord};
use crate::error::{BlobError, OpError};
use crate::pipeline::plain::PlainBlob;
use crate::pipeline::{Layer, Plaintext};

/// Sealed bytes that are read and opened at once.
const BATCH_LEN: u64 = 256 << 10;
/// Batches under way for one reader: while one is sent, the next is opened.
const BATCHES_AHEAD: usize = 2;

/// What the catalog's sealed record says of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamFacts {
    /// Plaintext length in bytes.
    pub plain_len: u64,
    /// The rest.
    pub stream: StreamRecord,
}

/// A blob of which was found right all that can be before its segments are read.
#[derive(Clone)]
pub struct OpenBlob(Open);

#[derive(Clone)]
enum Open {
    Plain(PlainBlob),
    Sealed(OpenStream),
}

impl OpenBlob {
    /// Opens the blob for reading, in one layer for each of `layers`, the innermost first.
    ///
    /// # Errors
    /// [`BlobError::Missing`] as `Ok(None)`, for the caller to read the catalog again; [`OpError::Damaged`] if the
    /// blob is not the stream of the record, with these keys and contexts.
    pub async fn open(
        blobs: &dyn BlobStore,
        name: BlobName,
        layers: &[Layer],
        facts: &StreamFacts,
    ) -> Result<Option<Self>, OpError> {
        let reader: Arc<dyn BlobReader> = match blobs.open(name).await {
            Ok(reader) => reader.into(),
            Err(BlobError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let blob_len = reader.len().await?;
        let StreamFacts { plain_len, stream: StreamRecord { commitment, outer } } = *facts;
        let open = match (layers, outer) {
            ([], None) if blob_len == plain_len => Open::Plain(PlainBlob { name, reader, plain_len, hash: commitment }),
            ([], None) => return Err(damaged(name, "another length than the object's record says")),
            ([layer], None) => Open::Sealed(
                OpenStream::open(name, Source::Blob(reader), blob_len, layer, plain_len, commitment).await?,
            ),
            ([inner, around], Some(outer)) => {
                let source = Source::Blob(reader);
                let outer_stream =
                    OpenStream::open(name, source, blob_len, around, outer.plain_len, outer.commitment).await?;
                let source = Source::Around(Arc::new(outer_stream));
                Open::Sealed(OpenStream::open(name, source, outer.plain_len, inner, plain_len, commitment).await?)
            }
            _ => return Err(damaged(name, "another number of layers than the object's record says")),
        };
        Ok(Some(Self(open)))
    }

    /// The plaintext bytes of `range`, which lies within the stream.
    pub fn range(self, range: Range<u64>) -> Plaintext {
        match self.0 {
            Open::Plain(blob) => blob.range(range),
            Open::Sealed(stream) => stream.range(range),
        }
    }
}

/// Where the bytes of a sealed stream come from.
#[derive(Clone)]
enum Source {
    Blob(Arc<dyn BlobReader>),
    /// The plaintext of the layer around it.
    Around(Arc<OpenStream>),
}

impl Source {
    async fn read(&self, name: BlobName, offset: u64, len: usize) -> Result<Vec<u8>, OpError> {
        match self {
            Self::Blob(reader) => reader.read(offset, len).await.map_err(|error| damaged(name, &error.to_string())),
            Self::Around(stream) => {
                let mut batches = stream.as_ref().clone().range(offset..offset + len as u64);
                let mut bytes = Vec::with_capacity(len);
                while let Some(batch) = batches.next().await {
                    bytes.extend_from_slice(&batch?);
                }
                Ok(bytes)
            }
        }
    }
}

/// A sealed stream whose header, commitment, length and last segment were found right.
#[derive(Clone)]
struct OpenStream {
    name: BlobName,
    source: Source,
    opener: Opener,
    layout: Layout,
}

impl OpenStream {
    async fn open(
        name: BlobName,
        source: Source,
        sealed_len: u64,
        layer: &Layer,
        plain_len: u64,
        commitment: CommitmentBytes,
    ) -> Result<Self, OpError> {
        if sealed_len < HEADER_LEN as u64 {
            return Err(damaged(name, "shorter than a header"));
        }
        let header = source.read(name, 0, HEADER_LEN).await?;
        let opener =
            Opener::new(&layer.key, &header, &layer.context).map_err(|error| damaged(name, &error.to_string()))?;
        if CommitmentBytes::from(&opener.header().commitment()) != commitment {
            return Err(damaged(name, "another stream than the object's record names"));
        }
        let layout = Layout::from_plain(plain_len, opener.header().segment_shift());
        if layout.sealed_len() != sealed_len {
            return Err(damaged(name, "another length than the object's record says"));
        }
        let open = Self { name, source, opener, layout };
        open.check_last_segment().await?;
        Ok(open)
    }

    async fn check_last_segment(&self) -> Result<(), OpError> {
        let last = self.layout.segment_count() - 1;
        let sealed = self.read(self.layout.segment_offset(last), self.layout.segment_sealed_len(last) as u64).await?;
        match self.opener.open_last(&self.layout, &sealed) {
            Ok(plain_len) if Some(plain_len) == self.layout.plain_len() => Ok(()),
            Ok(_) => Err(damaged(self.name, "another length than the object's record says")),
            Err(error) => Err(damaged(self.name, &error.to_string())),
        }
    }

    fn range(self, range: Range<u64>) -> Plaintext {
        if range.is_empty() {
            return stream::empty().boxed();
        }
        let batches = self.batches(range);
        stream::iter(batches).map(move |batch| self.clone().open_batch(batch)).buffered(BATCHES_AHEAD).boxed()
    }

    fn batches(&self, range: Range<u64>) -> impl Iterator<Item = Batch> + Send + use<> {
        let segments = self.layout.range(range.clone());
        let layout = self.layout.clone();
        let per_batch = (BATCH_LEN / layout.segment_sealed_len(0) as u64).max(1);
        let end = segments.first + segments.count;
        (segments.first..end).step_by(usize::try_from(per_batch).unwrap_or(usize::MAX)).map(move |first| {
            let count = per_batch.min(end - first);
            let last = first + count - 1;
            let plain_start = first * layout.segment_plain_len(0) as u64;
            let plain_end = last * layout.segment_plain_len(0) as u64 + layout.segment_plain_len(last) as u64;
            Batch {
                first,
                count,
                skip: range.start.saturating_sub(plain_start) as usize,
                take: (range.end.min(plain_end) - range.start.max(plain_start)) as usize,
            }
        })
    }

    async fn open_batch(self, batch: Batch) -> Result<Bytes, OpError> {
        let last = batch.first + batch.count - 1;
        let offset = self.layout.segment_offset(batch.first);
        let sealed_len = self.layout.segment_offset(last) + self.layout.segment_sealed_len(last) as u64 - offset;
        let sealed = self.read(offset, sealed_len).await?;
        bridge::run(sealed.len(), move || {
            let mut plain = Vec::with_capacity(sealed.len());
            self.opener
                .open_batch(&self.layout, batch.first, &sealed, &mut plain)
                .map_err(|error| damaged(self.name, &error.to_string()))?;
            Ok(Bytes::from(plain).slice(batch.skip..batch.skip + batch.take))
        })
        .await
    }

    async fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, OpError> {
        // A batch is 256 KiB, or one segment, which is at most 1 MiB and its 32 bytes.
        let len = usize::try_from(len).map_err(|_| damaged(self.name, "a segment longer than memory"))?;
        self.source.read(self.name, offset, len).await
    }
}

/// Consecutive segments, and which of their plaintext bytes are wanted.
struct Batch {
    first: u64,
    count: u64,
    skip: usize,
    take: usize,
}

fn damaged(name: BlobName, what: &str) -> OpError {
    OpError::Damaged(format!("blob {name}: {what}"))
}
