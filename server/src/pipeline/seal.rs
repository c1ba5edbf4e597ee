//! A body in, its sealed stream out, hashed on the way; with a second layer, that stream sealed once more.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::try_unfold;
use strongroom_engine::{Layout, SealBatch, Sealer, SegmentShift};
use tokio::sync::oneshot;

use crate::blob::SealedStream;
use crate::bridge;
use crate::catalog::record::{CommitmentBytes, OuterRecord, StreamRecord};
use crate::error::OpError;
use crate::ops::digest::{Digested, Digests};
use crate::ops::put::Accept;
use crate::pipeline::plain::{self, Hash};
use crate::pipeline::{Layer, Plaintext};

/// What is known of a stream once all of it has been sealed.
#[derive(Debug)]
pub struct Sealed {
    /// For the record.
    pub stream: StreamRecord,
    /// Over the plaintext.
    pub digested: Digested,
}

/// Seals `body` as it is pulled, in one layer for each of `layers`, the innermost first, or not at all. `accept` sees the
/// digests before the last batch is handed out, so a body that is not what it was said to be never becomes a whole blob.
/// The second value arrives when the stream has ended well.
///
/// # Errors
/// The random source failed.
pub fn seal(
    body: Plaintext,
    layers: &[Layer],
    plain_len: Option<u64>,
    digests: Digests,
    accept: Accept,
) -> Result<(SealedStream<'static>, BoxFuture<'static, Option<Sealed>>), OpError> {
    let shift = SegmentShift::for_plain_len(plain_len.unwrap_or(u64::MAX));
    let inner = layers.first().map(|layer| sealer(layer, shift)).transpose()?;
    let (stream, inner) = one_layer(body, inner, digests, accept);
    let [_, layer] = layers else { return Ok((stream, Box::pin(async move { inner.await.ok() }))) };

    let sealed_len = plain_len.map(|plain_len| Layout::from_plain(plain_len, shift).sealed_len());
    let sealer = sealer(layer, SegmentShift::for_plain_len(sealed_len.unwrap_or(u64::MAX)))?;
    let (stream, outer) = one_layer(stream, Some(sealer), Digests::length_only(), Box::new(|_| Ok(())));
    let both = async move {
        let (inner, outer) = (inner.await.ok()?, outer.await.ok()?);
        let record = OuterRecord { plain_len: outer.digested.len, commitment: outer.stream.commitment };
        Some(Sealed { stream: StreamRecord { outer: Some(record), ..inner.stream }, ..inner })
    };
    Ok((stream, Box::pin(both)))
}

fn sealer(layer: &Layer, shift: SegmentShift) -> Result<Sealer, OpError> {
    Ok(Sealer::new(&layer.key, layer.id, &layer.context, shift)?)
}

fn one_layer(
    body: Plaintext,
    sealer: Option<Sealer>,
    digests: Digests,
    accept: Accept,
) -> (SealedStream<'static>, oneshot::Receiver<Sealed>) {
    let (done, sealed) = oneshot::channel();
    let header = sealer.as_ref().map(|sealer| Bytes::copy_from_slice(sealer.header_bytes()));
    let sealing = Sealing {
        body,
        waiting: BytesMut::new(),
        ended: false,
        header,
        cover: sealer.map_or_else(|| Cover::Plain(Hash::default()), Cover::Sealed),
        at_end: Some(AtEnd { accept, done }),
        digests: Some(digests),
    };
    (try_unfold(sealing, Sealing::next).boxed(), sealed)
}

/// What becomes of each batch.
enum Cover {
    Sealed(Sealer),
    Plain(Hash),
}

impl Cover {
    fn batch_len(&self) -> usize {
        match self {
            Self::Sealed(sealer) => sealer.batch_len(),
            Self::Plain(_) => plain::BATCH_LEN,
        }
    }

    fn commitment(&self) -> CommitmentBytes {
        match self {
            Self::Sealed(sealer) => CommitmentBytes::from(&sealer.commitment()),
            Self::Plain(hash) => hash.clone().finish(),
        }
    }
}

struct Sealing {
    body: Plaintext,
    waiting: BytesMut,
    ended: bool,
    header: Option<Bytes>,
    cover: Cover,
    digests: Option<Digests>,
    at_end: Option<AtEnd>,
}

struct AtEnd {
    accept: Accept,
    done: oneshot::Sender<Sealed>,
}

impl Sealing {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, OpError> {
        let Some(digests) = self.digests.take() else { return Ok(None) };
        let plain = self.next_batch().await?;
        let last = self.ended && self.waiting.is_empty();
        let header = self.header.take().unwrap_or_default();
        let (digests, sealed) = match &mut self.cover {
            Cover::Sealed(sealer) => {
                let batch = sealer.next_batch(plain.len(), last)?;
                bridge::run(plain.len(), move || seal_batch(header, batch, &plain, digests)).await?
            }
            Cover::Plain(hash) => {
                let mut next = std::mem::take(hash);
                let (digests, plain, next) = bridge::run(plain.len(), move || {
                    let mut digests = digests;
                    digests.update(&plain);
                    next.update(&plain);
                    Ok((digests, plain, next))
                })
                .await?;
                *hash = next;
                (digests, plain)
            }
        };

        if last {
            self.finish(digests)?;
        } else {
            self.digests = Some(digests);
        }
        Ok(Some((sealed, self)))
    }

    /// A full batch, or what is left of the body. Reads on until it knows whether anything follows, because the last
    /// segment is sealed as the last.
    async fn next_batch(&mut self) -> Result<Bytes, OpError> {
        let full = self.cover.batch_len();
        while !self.ended && self.waiting.len() <= full {
            match self.body.next().await {
                Some(chunk) => self.waiting.extend_from_slice(&chunk?),
                None => self.ended = true,
            }
        }
        Ok(self.waiting.split_to(full.min(self.waiting.len())).freeze())
    }

    fn finish(&mut self, digests: Digests) -> Result<(), OpError> {
        let digested = digests.finish();
        if let Some(AtEnd { accept, done }) = self.at_end.take() {
            accept(&digested)?;
            let stream = StreamRecord { commitment: self.cover.commitment(), outer: None };
            // The receiver is gone only when nobody wants the blob any more.
            let _ = done.send(Sealed { stream, digested });
        }
        Ok(())
    }
}

/// The header, where it is still to come, and a batch behind it.
fn seal_batch(
    header: Bytes,
    batch: SealBatch,
    plain: &[u8],
    mut digests: Digests,
) -> Result<(Digests, Bytes), OpError> {
    let mut sealed = vec![0; header.len() + batch.sealed_len()];
    let (head, segments) = sealed.split_at_mut(header.len());
    head.copy_from_slice(&header);
    digests.update(plain);
    batch.seal(plain, segments)?;
    Ok((digests, Bytes::from(sealed)))
}
